package ruletest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"spire-falco/falco/condition"
	"spire-falco/falco/internal/yaml"
	"spire-falco/internal/safefile"
)

// recording is a file of events, one a line.
type recording struct {
	events []condition.Event
	err    error
}

// sources are the keys of a case that bring its events.
var sources = []string{"event", "events", "recording", "like"}

func (s *Suite) decodeEvents(d *document, n *yaml.Node, m fields, c *Case) {
	var given []string
	for _, key := range sources {
		if m[key] != nil {
			given = append(given, key)
		}
	}
	if len(given) != 1 {
		has := "none"
		if len(given) > 0 {
			has = strings.Join(given, " and ")
		}
		d.fail(n, "the case must have one of the keys %s; it has %s", strings.Join(sources, ", "), has)
		return
	}
	if m["only"] != nil && m["recording"] == nil {
		d.fail(m["only"], "only chooses events of a recording, and there is none")
	}
	switch source := m[given[0]]; given[0] {
	case "event":
		c.Events = append(c.Events, s.inlineEvent(d, source))
	case "events":
		for _, item := range d.list(source, "events") {
			c.Events = append(c.Events, s.inlineEvent(d, item))
		}
		if len(c.Events) == 0 && source.Kind == yaml.Sequence {
			d.fail(source, "events: there is none")
		}
	case "like":
		s.like(d, source, c)
	case "recording":
		s.recorded(d, source, m["only"], c)
	}
	for i, ev := range c.Events {
		if _, ok := ev.Get("evt.dir"); !ok {
			// Falco's events have a direction: the end of the call, since 0.42 always.
			all := maps.Clone(ev.Fields())
			if all == nil {
				continue // it is reported
			}
			all["evt.dir"] = condition.StringValue("<")
			c.Events[i] = condition.NewEvent(all)
		}
	}
	s.change(d, m, c)
	for i, ev := range c.Events {
		if len(c.Problems) == 0 && ev.Text("evt.type") == "" {
			which := "the event"
			if len(c.Events) > 1 {
				which = fmt.Sprintf("event %d", i+1)
			}
			d.report(int(n.Offset), "every event has one; an alert often does not: give it with set", "%s has no evt.type", which)
		}
	}
}

// like takes the events of a case before.
func (s *Suite) like(d *document, n *yaml.Node, c *Case) {
	name := d.str(n, "like")
	var names []string
	for _, o := range s.Cases {
		if o.Name == name && name != "" {
			if len(o.Problems) > 0 {
				d.fail(n, "the case %s is broken", quote(name))
			}
			c.Events = slices.Clone(o.Events)
			return
		}
		names = append(names, o.Name)
	}
	if name != "" {
		hint := ""
		if near := condition.Nearest(name, names); near != "" {
			hint = "did you mean " + quote(near) + "?"
		}
		d.report(int(n.Offset), hint, "no case before this one has the name %s", quote(name))
	}
}

// recorded takes events of a file: all of them, or those of the given numbers.
func (s *Suite) recorded(d *document, n, only *yaml.Node, c *Case) {
	name := d.str(n, "recording")
	if name == "" {
		return
	}
	path := s.relative(name)
	r := s.recordings[path]
	if r == nil {
		r = readRecording(path)
		s.recordings[path] = r
	}
	if r.err != nil {
		d.fail(n, "%v", r.err)
		return
	}
	if only == nil {
		c.Events = slices.Clone(r.events)
		return
	}
	for _, item := range d.list(only, "only") {
		num, err := strconv.ParseInt(item.Value, 10, 64)
		if err != nil {
			d.fail(item, "only: %s is not the evt.num of an event", quote(item.Value))
			continue
		}
		i := slices.IndexFunc(r.events, func(ev condition.Event) bool { return ev.Text("evt.num") == strconv.FormatInt(num, 10) })
		if i < 0 {
			d.fail(item, "only: no event of the recording has the evt.num %d", num)
			continue
		}
		c.Events = append(c.Events, r.events[i])
	}
}

// change applies remove, set and each.
func (s *Suite) change(d *document, m fields, c *Case) {
	var removed []string
	if n := m["remove"]; n != nil {
		for _, item := range d.list(n, "remove") {
			if name := d.str(item, "an item of remove"); name != "" && s.checkField(d, item, name) {
				removed = append(removed, name)
			}
		}
	}
	values := func(n *yaml.Node, what string) map[string]condition.EventValue {
		out := map[string]condition.EventValue{}
		if n == nil {
			return out
		}
		if n.Kind != yaml.Map {
			d.fail(n, "%s is %s: it must be a map of fields", what, kindOf(n))
			return out
		}
		s.inlineFields(d, n, out, func(name string) { removed = append(removed, name) })
		return out
	}
	set := values(m["set"], "set")
	variants := []map[string]condition.EventValue{nil}
	if n := m["each"]; n != nil {
		variants = nil
		for _, item := range d.list(n, "each") {
			variants = append(variants, values(item, "an item of each"))
		}
		if len(variants) == 0 && n.Kind == yaml.Sequence {
			d.fail(n, "each: there is none")
		}
	}
	if len(removed) == 0 && len(set) == 0 && m["each"] == nil {
		return
	}
	var changed []condition.Event
	for _, ev := range c.Events {
		for _, v := range variants {
			all := maps.Clone(ev.Fields())
			for _, name := range removed {
				delete(all, name)
			}
			maps.Copy(all, set)
			maps.Copy(all, v)
			changed = append(changed, condition.NewEvent(all))
		}
	}
	c.Events = changed
}

// inlineEvent reads an event of the test file: a map of fields, nested or not, an alert of Falco, or either as JSON in a text.
func (s *Suite) inlineEvent(d *document, n *yaml.Node) condition.Event {
	if n.Kind == yaml.Scalar {
		ev, err := parseEvent([]byte(n.Value))
		if err != nil {
			d.fail(n, "the event is neither a map of fields nor JSON: %v", err)
		}
		return ev
	}
	if n.Kind != yaml.Map {
		d.fail(n, "an event is %s: it must be a map of fields", kindOf(n))
		return condition.Event{}
	}
	out := map[string]condition.EventValue{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Kind == yaml.Scalar && key.Value == "output_fields" && n.Content[i+1].Kind == yaml.Map {
			for j := 0; j+1 < len(n.Content); j += 2 {
				if key := n.Content[j]; !slices.Contains(alertKeys, key.Value) {
					d.report(int(key.Offset), didYouMean(key.Value, alertKeys), "unknown key %s of an alert", quote(key.Value))
				}
			}
			s.alertFields(n.Content[i+1], out)
			return condition.NewEvent(out)
		}
	}
	s.inlineFields(d, n, out, func(string) {})
	return condition.NewEvent(out)
}

// alertKeys are the keys of an alert in Falco's JSON.
var alertKeys = []string{"output_fields", "rule", "priority", "output", "time", "hostname", "source", "tags", "uuid"}

// alertFields takes the fields of an alert as Falco wrote them, which another version may not have.
func (s *Suite) alertFields(n *yaml.Node, out map[string]condition.EventValue) {
	flat(n, "", func(name string, _, v *yaml.Node) {
		switch v.Kind {
		case yaml.Scalar:
			out[name] = condition.StringValue(v.Value)
			if ref, ok, err := s.lang.LookupField(name); ok && err == nil {
				if typed, err := s.lang.EventValue(ref, v.Value); err == nil {
					out[name] = typed
				}
			}
		case yaml.Sequence:
			out[name] = condition.ListValue(scalars(v))
		}
	})
	completeTime(out)
}

// completeTime takes the time of an alert for that of the event.
func completeTime(fields map[string]condition.EventValue) {
	const alert, raw = "evt.time", "evt.rawtime"
	if v, ok := fields[alert]; ok {
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			delete(fields, alert)
			if _, ok := fields[raw]; !ok {
				fields[raw] = condition.IntValue(n)
			}
		}
	}
}

// inlineFields reads fields that a person wrote. A field that is null goes to absent.
func (s *Suite) inlineFields(d *document, n *yaml.Node, out map[string]condition.EventValue, absent func(string)) {
	flat(n, "", func(name string, key, v *yaml.Node) {
		if key.Kind != yaml.Scalar {
			d.fail(key, "the name of a field is %s", kindOf(key))
			return
		}
		if !s.checkField(d, key, name) {
			return
		}
		if _, twice := out[name]; twice {
			d.fail(key, "the field %s is there twice", quote(name))
		}
		ref, _, _ := s.lang.LookupField(name) // checkField has found it
		switch v.Kind {
		case yaml.Null:
			absent(name)
		case yaml.Map:
			d.fail(v, "the map below %s is nested too deep for a field", name)
		case yaml.Sequence:
			out[name] = condition.ListValue(scalars(v))
			if !ref.Info.List {
				d.fail(v, "%s has one value, not a list", name)
			}
		default:
			value, err := s.lang.EventValue(ref, v.Value)
			if err != nil {
				d.fail(v, "%s is %s: %v", name, quote(v.Value), err)
			}
			out[name] = value
		}
	})
}

// checkField reports a field that events of this Falco do not have.
func (s *Suite) checkField(d *document, at *yaml.Node, name string) bool {
	ref, ok, err := s.lang.LookupField(name)
	switch {
	case err != nil || !ok:
		d.report(int(at.Offset), s.lang.FieldHint(name), "Falco %s has no field %s", s.Falco.Number, quote(name))
		return false
	case ref.Info.FilterOnly:
		d.report(int(at.Offset), filterOnlyHint(name), "no event has the field %s: Falco works it out from others", name)
		return false
	}
	return true
}

// filterOnlyHint says which fields of an event stand behind one that only conditions have.
func filterOnlyHint(name string) string {
	if strings.HasPrefix(name, "fd.") {
		return "give fd.type, and fd.cip, fd.cport, fd.sip and fd.sport"
	}
	return ""
}

// flat visits the values of a map, and of maps in it under their names joined by dots: proc: {name: cat} is proc.name.
func flat(n *yaml.Node, prefix string, visit func(name string, key, value *yaml.Node)) {
	const deepest = 5 // a map may contain itself; no field has more dots
	if n.Kind != yaml.Map {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.Map && strings.Count(prefix, ".") < deepest {
			flat(value, prefix+key.Value+".", visit)
			continue
		}
		visit(prefix+key.Value, key, value)
	}
}

func scalars(n *yaml.Node) []string {
	out := []string{}
	for _, item := range n.Content {
		if item.Kind == yaml.Scalar {
			out = append(out, item.Value)
		}
	}
	return out
}

// readRecording reads a file of events or alerts, one JSON object a line.
func readRecording(path string) *recording {
	content, err := safefile.Read(path, maxRecording)
	if err != nil {
		return &recording{err: fmt.Errorf("read the recording: %w", err)}
	}
	r := &recording{}
	line := 0
	for text := range bytes.Lines(content) {
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		ev, err := parseEvent(text)
		if err != nil {
			return &recording{err: fmt.Errorf("%s:%d: %w", filepath.ToSlash(path), line, err)}
		}
		r.events = append(r.events, ev)
	}
	if len(r.events) == 0 {
		return &recording{err: fmt.Errorf("the recording %s has no event", path)}
	}
	return r
}

// parseEvent reads an event as JSON: flat fields, nested ones, or an alert.
func parseEvent(text []byte) (condition.Event, error) {
	ev, flatErr := condition.ParseEvent(text)
	if flatErr == nil {
		return ev, nil
	}
	var object map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil || decoder.More() {
		return condition.Event{}, flatErr
	}
	out := map[string]condition.EventValue{}
	if inner, ok := object["output_fields"].(map[string]any); ok {
		err := nested(inner, "", out)
		completeTime(out)
		return condition.NewEvent(out), err
	}
	err := nested(object, "", out)
	return condition.NewEvent(out), err
}

func nested(object map[string]any, prefix string, out map[string]condition.EventValue) error {
	for key, value := range object {
		name := prefix + key
		if inner, ok := value.(map[string]any); ok {
			if err := nested(inner, name+".", out); err != nil {
				return err
			}
			continue
		}
		v, ok, err := jsonValue(value)
		if err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
		if _, twice := out[name]; twice {
			return fmt.Errorf("field %s: it is there twice, nested and not", name)
		}
		if ok {
			out[name] = v
		}
	}
	return nil
}

// jsonValue is a value as an event has it; ok is false for null.
func jsonValue(value any) (v condition.EventValue, ok bool, err error) {
	switch x := value.(type) {
	case nil:
		return v, false, nil
	case string:
		return condition.StringValue(x), true, nil
	case bool:
		return condition.BoolValue(x), true, nil
	case json.Number:
		if n, err := strconv.ParseInt(x.String(), 10, 64); err == nil {
			return condition.IntValue(n), true, nil
		}
		if n, err := strconv.ParseUint(x.String(), 10, 64); err == nil {
			return condition.UintValue(n), true, nil
		}
		f, err := x.Float64()
		return condition.FloatValue(f), true, err //nolint:wrapcheck // it names the number
	case []any:
		var items []string
		for _, item := range x {
			v, ok, err := jsonValue(item)
			if err != nil {
				return v, false, err
			}
			if ok {
				items = append(items, v.String())
			}
		}
		return condition.ListValue(items), true, nil
	}
	return v, false, errors.New("it is an object in a list")
}
