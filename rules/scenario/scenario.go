package scenario

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed" // the recordings travel in the binary
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"spire-falco/falco/condition"
)

//go:embed scenarios.yaml
var table []byte

//go:embed acts.yaml
var actTable []byte

//go:embed bypasses.yaml
var bypassTable []byte

//go:embed testdata/events.tar.gz
var recordings []byte

//go:embed testdata/acts.tar.gz
var acts []byte

//go:embed testdata/bypasses.tar.gz
var bypasses []byte

// Group says where a scenario's events come from.
type Group string

// The groups of scenarios.
const (
	// Recording is a recording whole.
	Recording Group = "recording"
	// Act is an act done on a newer Falco, recorded whole.
	Act Group = "act"
	// Bypass are recorded events, changed as an attacker changes the act to pass the rules by.
	Bypass Group = "bypass"
	// Guide is a test that the user's guide documents, as single events of a recording.
	Guide Group = "guide"
	// Derived are recorded events with fields changed by hand.
	Derived Group = "derived"
)

// Alert is one rule firing on one event.
type Alert struct {
	// Rule that fires.
	Rule string
	// Event is the number of the event: evt.num in a recording, 1 and up among derived events.
	Event int64
}

// Scenario is a set of events and the alerts that they must give.
type Scenario struct {
	Group Group
	// Name as a sentence.
	Name string
	// Recording that the events are from.
	Recording string
	// Benign is true when the recording is of normal work.
	Benign bool
	// Note explains an expectation that is not plain.
	Note string
	// Unseen is true when the recording is of an attack that raises no alert of ours; Note says why.
	Unseen bool
	// Events in Falco's order.
	Events []condition.Event
	// Want is every alert, in the order of events; nothing else may fire.
	Want []Alert
}

type document struct {
	Recordings []struct {
		Recording string             `yaml:"recording"`
		Kind      string             `yaml:"kind"`
		Name      string             `yaml:"name"`
		Note      string             `yaml:"note"`
		Unseen    bool               `yaml:"unseen"`
		Alerts    map[string][]int64 `yaml:"alerts"`
	} `yaml:"recordings"`
	Guide []struct {
		Name      string             `yaml:"name"`
		Recording string             `yaml:"recording"`
		Alerts    map[string][]int64 `yaml:"alerts"`
	} `yaml:"guide"`
	Derived []struct {
		Name string `yaml:"name"`
		From struct {
			Recording string `yaml:"recording"`
			Event     int64  `yaml:"event"`
		} `yaml:"from"`
		Fires string           `yaml:"fires"`
		Set   map[string]any   `yaml:"set"`
		Unset []string         `yaml:"unset"`
		Each  []map[string]any `yaml:"each"`
	} `yaml:"derived"`
}

// Load returns all scenarios: recordings, the guide's tests, derived events. The events are shared between calls and must not be changed.
func Load() ([]Scenario, error) { return loadOnce() }

var loadOnce = sync.OnceValues(func() ([]Scenario, error) {
	events, err := readRecordings(recordings)
	if err != nil {
		return nil, err
	}
	performed, err := readRecordings(acts)
	if err != nil {
		return nil, err
	}
	for name, evs := range performed {
		seen := map[int64]bool{}
		for _, e := range evs {
			if n := Num(e); !seen[n] { // the recorder wrote some events twice
				seen[n] = true
				events[name] = append(events[name], declared(e)) // no two recordings have one name
			}
		}
	}
	changed, err := readRecordings(bypasses)
	if err != nil {
		return nil, err
	}
	var out []Scenario
	for _, part := range []struct {
		table  []byte
		events map[string][]condition.Event
		group  Group
	}{{table, events, Recording}, {actTable, events, Act}, {bypassTable, changed, Bypass}} {
		scenarios, err := load(part.table, part.events, part.group)
		if err != nil {
			return nil, err
		}
		out = append(out, scenarios...)
	}
	return out, nil
})

// declared returns an event of the recorded acts as it is with the image of the pods declared: their container mtls-server ran a
// program that does what it is told, in an image of its own.
func declared(e condition.Event) condition.Event {
	const name, repository = "container.name", "container.image.repository"
	if e.Text(name) != "mtls-server" || e.Text(repository) != "docker.io/library/evilserver" {
		return e
	}
	fields := maps.Clone(e.Fields())
	fields[repository] = condition.StringValue("docker.io/library/mtls-server")
	return condition.NewEvent(fields)
}

// load reads a table; group is that of its recordings.
func load(table []byte, events map[string][]condition.Event, group Group) ([]Scenario, error) {
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(table))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("parse scenarios: %w", err)
	}
	var out []Scenario
	for _, r := range doc.Recordings {
		evs, ok := events[r.Recording]
		if !ok {
			return nil, fmt.Errorf("scenario %q: no recording %q", r.Name, r.Recording)
		}
		s := Scenario{Group: group, Name: r.Name, Recording: r.Recording, Benign: r.Kind == "benign", Note: r.Note, Unseen: r.Unseen, Events: evs}
		var err error
		if s.Want, err = wanted(evs, r.Alerts); err != nil {
			return nil, fmt.Errorf("recording %s: %w", r.Recording, err)
		}
		out = append(out, s)
	}
	for _, g := range doc.Guide {
		want, err := wanted(events[g.Recording], g.Alerts)
		if err != nil {
			return nil, fmt.Errorf("scenario %q: %w", g.Name, err)
		}
		s := Scenario{Group: Guide, Name: g.Name, Recording: g.Recording, Want: want}
		for _, a := range want {
			e, _ := find(events[g.Recording], a.Event) // wanted found it
			s.Events = append(s.Events, e)
		}
		out = append(out, s)
	}
	for _, d := range doc.Derived {
		base, ok := find(events[d.From.Recording], d.From.Event)
		if !ok {
			return nil, fmt.Errorf("scenario %q: recording %s has no event %d", d.Name, d.From.Recording, d.From.Event)
		}
		s := Scenario{Group: Derived, Name: d.Name, Recording: d.From.Recording}
		variants := d.Each
		if len(variants) == 0 {
			variants = []map[string]any{nil}
		}
		for i, v := range variants {
			fields := maps.Clone(base.Fields())
			for _, f := range d.Unset {
				delete(fields, f)
			}
			for _, set := range []map[string]any{d.Set, v} {
				for f, x := range set {
					var err error
					if fields[f], err = value(x); err != nil {
						return nil, fmt.Errorf("scenario %q: field %s: %w", d.Name, f, err)
					}
				}
			}
			n := int64(i + 1)
			fields["evt.num"] = condition.IntValue(n)
			s.Events = append(s.Events, condition.NewEvent(fields))
			if d.Fires != "" {
				s.Want = append(s.Want, Alert{Rule: d.Fires, Event: n})
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// wanted returns the alerts in the order of the events.
func wanted(events []condition.Event, byRule map[string][]int64) ([]Alert, error) {
	var out []Alert
	for _, rule := range slices.Sorted(maps.Keys(byRule)) {
		for _, n := range byRule[rule] {
			if _, ok := find(events, n); !ok {
				return nil, fmt.Errorf("no event %d for rule %q", n, rule)
			}
			out = append(out, Alert{Rule: rule, Event: n})
		}
	}
	slices.SortStableFunc(out, func(a, b Alert) int { return int(a.Event - b.Event) })
	return out, nil
}

func find(events []condition.Event, num int64) (condition.Event, bool) {
	for _, e := range events {
		if Num(e) == num {
			return e, true
		}
	}
	return condition.Event{}, false
}

// Num returns the number of an event, evt.num, and 0 when it has none.
func Num(e condition.Event) int64 {
	v, ok := e.Get("evt.num")
	if !ok {
		return 0
	}
	switch n := v.Any().(type) {
	case int64:
		return n
	case uint64:
		return int64(n) // Falco counts up from 1; no stream is that long
	default:
		return 0
	}
}

// readRecordings returns the events of every recording by its name, from a gzipped tar of JSON Lines files.
func readRecordings(archive []byte) (map[string][]condition.Event, error) {
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("open the recordings: %w", err)
	}
	tr := tar.NewReader(zr)
	out := map[string][]condition.Event{}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the recordings: %w", err)
		}
		if h.Typeflag != tar.TypeReg || path.Ext(h.Name) != ".jsonl" {
			continue
		}
		name := strings.TrimSuffix(path.Base(h.Name), ".jsonl")
		if out[name], err = ReadEvents(tr); err != nil {
			return nil, fmt.Errorf("recording %s: %w", name, err)
		}
	}
}

// ReadEvents reads JSON Lines, one event a line; empty lines are skipped. An error names the line.
func ReadEvents(r io.Reader) ([]condition.Event, error) {
	const longest = 1 << 22 // of one event; Falco's are a few kilobytes
	var out []condition.Event
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, longest)
	for line := 1; sc.Scan(); line++ {
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		e, err := condition.ParseEvent(sc.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		out = append(out, e)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return out, nil
}

func value(x any) (condition.EventValue, error) {
	switch v := x.(type) {
	case string:
		return condition.StringValue(v), nil
	case bool:
		return condition.BoolValue(v), nil
	case int:
		return condition.IntValue(int64(v)), nil
	default:
		return condition.EventValue{}, fmt.Errorf("value %v: want a text, a whole number or a truth value", x)
	}
}
