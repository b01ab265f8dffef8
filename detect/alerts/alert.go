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

	"github.com/tidwall/gjson"
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
	// Not encoding/json, which takes four times as long: a gate reads hundreds of thousands of lines.
	if !gjson.ValidBytes(line) {
		return nil, errors.New("read the alert: it is no complete JSON object")
	}
	a := &Alert{Raw: line}
	var at, priority string
	gjson.ParseBytes(line).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "time":
			at = value.Str
		case "priority":
			priority = value.Str
		case "rule":
			a.Rule = value.Str
		case "output":
			a.Output = value.Str
		case "hostname":
			a.Hostname = value.Str
		case "source":
			a.Source = value.Str
		case "tags":
			for _, tag := range value.Array() {
				a.Tags = append(a.Tags, tag.Str)
			}
		case "output_fields":
			a.OutputFields = json.RawMessage(value.Raw)
		}
		return true
	})
	if a.Rule == "" {
		return nil, ErrNotAlert
	}
	var err error
	if a.Priority, err = ParsePriority(priority); err != nil {
		return nil, fmt.Errorf("read the alert: priority: %w", err)
	}
	if a.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
		return nil, fmt.Errorf("read the alert: time: %w", err)
	}
	return a, nil
}

// Field is the value of an output field as text, such as k8s.pod.name; empty when the alert has none.
func (a *Alert) Field(name string) string {
	value := gjson.GetBytes(a.OutputFields, gjson.Escape(name))
	if value.Type == gjson.Null || value.Str == "<NA>" { // what Falco writes for a field without a value
		return ""
	}
	if value.Type == gjson.Number {
		return value.Raw // ports and times as Falco wrote them
	}
	return value.String()
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
