// Package alerts reads Falco's alerts from the logs of its pods on every node, or from a file or pipe, once or
// continuously. It filters them, prints them for people and programs, and is the gate that can fail a CI run.
package alerts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/tidwall/gjson"

	"spire-falco/falco"
)

// Alert is one alert of Falco.
type Alert struct {
	// Time is when the event happened, by the node's clock; zero when it is missing or malformed.
	Time     time.Time      `json:"time"`
	Priority falco.Priority `json:"priority"`
	// Rule is empty for an alert of Falco's text output, which does not name it.
	Rule string `json:"rule"`
	// Output is the rule's message with the fields filled in.
	Output string `json:"output"`
	// Hostname is Falco's name of the node.
	Hostname string   `json:"hostname"`
	Source   string   `json:"source"`
	Tags     []string `json:"tags"`
	// OutputFields is the JSON object of the fields in the output.
	OutputFields json.RawMessage `json:"output_fields"`

	// Raw is the alert as Falco wrote it, as JSON on one line. For an alert of Falco's text output it is generated.
	Raw []byte `json:"-"`
	// Plain is set for an alert of Falco's text output: Rule, Hostname and OutputFields are not known.
	Plain bool `json:"-"`
	// FalcoPod is the name of the Falco pod that wrote it; empty when it was not read from a pod.
	FalcoPod string `json:"-"`
}

// ErrNotAlert means that a text contains no alert: Falco writes its log messages to the same stream.
var ErrNotAlert = errors.New("not an alert")

// Parse returns the first alert in a text, as Reader finds it. The error is ErrNotAlert for any other text, and another
// one for a text that is or may be an alert but cannot be read.
func Parse(text []byte) (*Alert, error) {
	var first *Alert
	var unread error
	r := NewReader("", func(l Line) {
		if first == nil {
			first = l.Alert
		}
		if unread == nil {
			unread = l.Err
		}
	})
	_, _ = r.Write(text)
	r.End()
	switch {
	case first != nil:
		return first, nil
	case unread != nil:
		return nil, fmt.Errorf("read the alert: %w", unread)
	}
	return nil, ErrNotAlert
}

// parseObject decodes an alert from a JSON object whose structure is known to be valid.
func parseObject(object []byte) (*Alert, error) {
	a := &Alert{Raw: oneLine(object), Priority: falco.PriorityDebug + 1}
	torn, bad := a.decode()
	// Falco writes the priority twice. When the two differ, two lines were joined into one object.
	if m := plainAlert().FindStringSubmatchIndex(a.Output); m != nil && m[0] == 0 {
		if p, err := falco.ParsePriority(a.Output[m[4]:m[5]]); err == nil {
			a.Priority = min(a.Priority, p)
		}
	}
	if torn || wordOf().MatchString(a.Rule) || hasAlertKey([]byte(a.Rule)) != "" {
		if p, name, ok := namesIn(bytes.ToLower(a.Raw), a.Raw); ok && p < a.Priority {
			bad = fmt.Errorf("it is torn: it has a duplicate key, or an output as its rule, and names the priority %s", name)
		}
	}
	switch {
	case bad != nil:
		return nil, bad
	case a.Priority > falco.PriorityDebug:
		return nil, errors.New("it has no priority")
	case a.Rule == "":
		return nil, errors.New("it has no rule")
	}
	return a, nil
}

// decode sets the fields from Raw. It reports a duplicate key, which a torn line has, and an invalid priority.
func (a *Alert) decode() (torn bool, bad error) {
	// Not encoding/json, which takes four times as long: a gate reads hundreds of thousands of lines.
	gjson.ParseBytes(a.Raw).ForEach(func(key, value gjson.Result) bool {
		switch strings.ToLower(key.String()) {
		case "time":
			if at := parseTime(value); !at.IsZero() {
				a.Time = at
			}
		case "priority":
			p, err := falco.ParsePriority(priorityText(textOf(value)))
			if err != nil {
				bad = fmt.Errorf("priority: %w", err)
			}
			a.Priority = min(a.Priority, p) // of two, from a torn line, the more severe one counts
		case "rule":
			torn = torn || a.Rule != ""
			a.Rule = textOf(value)
		case "output":
			torn = torn || a.Output != ""
			a.Output = textOf(value)
		case "hostname":
			a.Hostname = textOf(value)
		case "source":
			a.Source = textOf(value)
		case "tags":
			for _, tag := range value.Array() {
				a.Tags = append(a.Tags, textOf(tag))
			}
		case "output_fields":
			torn = torn || a.OutputFields != nil
			a.OutputFields = json.RawMessage(value.Raw)
		}
		return true
	})
	return torn, bad
}

// textOf returns the text of a JSON string, and the JSON of any other value.
func textOf(value gjson.Result) string {
	if value.Type != gjson.String || len(value.Raw) < 2 {
		return value.Raw
	}
	return string(unescape([]byte(value.Raw[1 : len(value.Raw)-1]))) // gjson stops at the first raw control character
}

// priorityText strips white space and colours around a priority.
func priorityText(s string) string {
	s = string(withoutColor([]byte(s)))
	return strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// timeLayouts are the formats in which Falco, its outputs and log shippers write the time of an alert.
var timeLayouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999-0700", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999 -0700 MST", "2006-01-02 15:04:05.999999999",
}

// parseTime returns zero for a malformed time, which does not make the alert invalid.
func parseTime(value gjson.Result) time.Time {
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, value.Str); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}

// oneLine returns a copy of the object, without the white space between its values if it has several lines.
func oneLine(object []byte) []byte {
	if bytes.IndexByte(object, '\n') < 0 {
		return bytes.Clone(object)
	}
	out := make([]byte, 0, len(object))
	inString, escaped := false, false
	for _, c := range object {
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case !inString && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			continue
		}
		out = append(out, c)
	}
	return out
}

// Field returns an output field such as k8s.pod.name as text; empty when the alert does not have it.
func (a *Alert) Field(name string) string {
	value := gjson.GetBytes(a.OutputFields, gjson.Escape(name))
	if value.Type == gjson.Null || value.Str == "<NA>" { // Falco's notation for a field without a value
		return ""
	}
	if value.Type == gjson.Number {
		return value.Raw // ports and times as Falco wrote them
	}
	return value.String()
}

// Pod returns the namespace and the name of the pod that the alert is about; both are empty if it is about the node.
func (a *Alert) Pod() (namespace, name string) {
	return a.Field("k8s.ns.name"), a.Field("k8s.pod.name")
}

// Where returns a readable location: namespace/pod, a container, or the node.
func (a *Alert) Where() string {
	if namespace, name := a.Pod(); name != "" {
		return namespace + "/" + name
	}
	if id := a.Field("container.id"); id != "" && id != "host" {
		return "container " + id
	}
	if a.Hostname == "" {
		return "unknown"
	}
	return "node " + a.Hostname
}

// Message returns the output without its prefix of time and priority.
func (a *Alert) Message() string {
	_, message := a.split()
	return message
}

// split splits the output into the time of its prefix, which may be empty, and the message.
func (a *Alert) split() (clock, message string) {
	if head, rest, ok := strings.Cut(a.Output, ": "); ok && !strings.Contains(head, " ") {
		if name, message, ok := strings.Cut(rest, " "); ok && strings.EqualFold(name, a.Priority.String()) {
			return head, message
		}
	}
	return "", a.Output
}
