// Package alerts reads Falco's alerts: from the logs of its pods on every node, or from a file or pipe, once or as they
// come. It filters them, shows them to people and machines, and is the gate that stops a CI run.
package alerts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Priority of an alert, as in syslog: the lower the number, the graver.
type Priority int

// The priorities, from the gravest.
const (
	Emergency Priority = iota
	Alarm              // Falco's name is Alert
	Critical
	Error
	Warning
	Notice
	Informational
	Debug
)

var priorityNames = [...]string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}

// ParsePriority reads a priority in any case; info is short for informational. The error lists what is allowed.
func ParsePriority(text string) (Priority, error) {
	if strings.EqualFold(text, "info") {
		return Informational, nil
	}
	for i, name := range priorityNames {
		if strings.EqualFold(text, name) {
			return Priority(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no priority; allowed: %s", text, strings.ToLower(strings.Join(priorityNames[:], ", ")))
}

// String is Falco's spelling in alerts, such as Critical.
func (p Priority) String() string {
	if p < 0 || int(p) >= len(priorityNames) {
		return fmt.Sprintf("Priority(%d)", int(p))
	}
	return priorityNames[p]
}

// MarshalText writes Falco's spelling.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a priority as ParsePriority does.
func (p *Priority) UnmarshalText(text []byte) error {
	parsed, err := ParsePriority(string(text))
	*p = parsed
	return err
}

// Alert is one alert of Falco.
type Alert struct {
	// Time of the event by the node's clock.
	Time     time.Time `json:"time"`
	Priority Priority  `json:"priority"`
	Rule     string    `json:"rule"`
	// Output is the rule's message with the fields filled in.
	Output string `json:"output"`
	// Hostname is the node, as Falco knows it.
	Hostname string   `json:"hostname"`
	Source   string   `json:"source"`
	Tags     []string `json:"tags"`
	// OutputFields is the JSON object of the fields that the output names.
	OutputFields json.RawMessage `json:"output_fields"`

	// Raw is the line as Falco wrote it.
	Raw []byte `json:"-"`
	// FalcoPod is the name of the Falco pod that wrote it; empty when it was not read from a pod.
	FalcoPod string `json:"-"`

	fields map[string]any
}

// ErrNotAlert says that a line is none of Falco's alerts: Falco's own log messages are in the same stream.
var ErrNotAlert = errors.New("not an alert")

// Parse reads one line. Its error is ErrNotAlert for a line that is something else, and another for a line that begins as
// an alert and cannot be read to the end. The alert keeps line.
func Parse(line []byte) (*Alert, error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' || !bytes.Contains(line, []byte(`"rule"`)) || !bytes.Contains(line, []byte(`"priority"`)) {
		return nil, ErrNotAlert
	}
	a := &Alert{Raw: line}
	if err := json.Unmarshal(line, a); err != nil {
		return nil, fmt.Errorf("read the alert: %w", err)
	}
	if a.Rule == "" {
		return nil, ErrNotAlert
	}
	return a, nil
}

// Field is the value of an output field as text, such as k8s.pod.name; empty when the alert has none.
func (a *Alert) Field(name string) string {
	if a.fields == nil {
		a.fields = map[string]any{}
		decoder := json.NewDecoder(bytes.NewReader(a.OutputFields))
		decoder.UseNumber() // ports and times as Falco wrote them
		_ = decoder.Decode(&a.fields)
	}
	switch v := a.fields[name].(type) {
	case nil:
		return ""
	case string:
		if v == "<NA>" { // what Falco writes for a field without a value
			return ""
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// Pod is the namespace and the name of the pod that the alert is about; both are empty for one about the node.
func (a *Alert) Pod() (namespace, name string) {
	return a.Field("k8s.ns.name"), a.Field("k8s.pod.name")
}

// Where is the place in words: namespace/pod, a container, or the node.
func (a *Alert) Where() string {
	if namespace, name := a.Pod(); name != "" {
		return namespace + "/" + name
	}
	if id := a.Field("container.id"); id != "" && id != "host" {
		return "container " + id
	}
	return "node " + a.Hostname
}

// Message is the output without the time and the priority that Falco writes before it.
func (a *Alert) Message() string {
	if head, rest, ok := strings.Cut(a.Output, ": "); ok && !strings.Contains(head, " ") {
		if message, ok := strings.CutPrefix(rest, a.Priority.String()+" "); ok {
			return message
		}
	}
	return a.Output
}
