package ruleset

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"spire-falco/falco/condition"
)

// Event is one event as a flat set of fields.
type Event = condition.Event

// ParseEvent reads one event: a JSON object of fields on one line, as
// recordings hold it.
func ParseEvent(line []byte) (Event, error) { return condition.ParseEvent(line) }

// Matching tells how many rules may fire for an event, Falco's setting
// rule_matching.
type Matching int

const (
	// First lets only the first matching rule fire. It is Falco's default.
	First Matching = iota
	// All lets every matching rule fire.
	All
)

// ParseMatching reads "first" or "all".
func ParseMatching(s string) (Matching, error) {
	switch {
	case strings.EqualFold(s, "first"):
		return First, nil
	case strings.EqualFold(s, "all"):
		return All, nil
	}
	return First, fmt.Errorf("rule matching %q: want first or all", s)
}

// String returns first or all.
func (m Matching) String() string {
	if m == All {
		return "all"
	}
	return "first"
}

// Alert is what a rule that fires says, in the form of Falco's JSON output.
type Alert struct {
	// Time is that of the event in UTC with nanoseconds, "" when unknown.
	Time     string `json:"time,omitempty"`
	Rule     string `json:"rule"`
	Priority string `json:"priority"`
	Source   string `json:"source"`
	Hostname string `json:"hostname,omitempty"`
	// Output is the time of day, the priority and the rule's output.
	Output string `json:"output"`
	// Message is the rule's output alone.
	Message string `json:"-"`
	// Appended is the end of Message that the rule does not have: Falco adds fields of the container to every output.
	Appended string `json:"-"`
	// OutputFields holds the fields that the output names; null is nil.
	OutputFields map[string]any `json:"output_fields"`
	Tags         []string       `json:"tags"`
}

// JSON returns the alert on one line, as Falco prints it.
func (a Alert) JSON() ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(a); err != nil {
		return nil, fmt.Errorf("write alert of rule %q: %w", a.Rule, err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// Engine evaluates events against the enabled rules of a set. It keeps the
// event at hand: it is not safe for concurrent use, make one per goroutine.
type Engine struct {
	lang     *condition.Language
	matching Matching
	rules    []engineRule
	ctx      *condition.Context
	// byType holds the rules to try per event type, in order.
	byType map[string][]int
	fired  []int
	// suggested is what Falco adds to every output; nil when it adds nothing.
	suggested *outputFormat
}

type engineRule struct {
	*compiledRule
	program *condition.Program
	format  *outputFormat
	prefix  string
}

// NewEngine returns an engine for the enabled rules of the set.
func (rs *Ruleset) NewEngine(matching Matching) *Engine {
	e := &Engine{lang: rs.lang, matching: matching, byType: map[string][]int{}}
	layout := &condition.Layout{}
	for _, r := range rs.compiled.rules {
		if !r.info.enabled {
			continue
		}
		p, _, err := rs.lang.CompileInto(layout, r.condition)
		if err != nil {
			// Load has compiled the same condition before.
			panic(fmt.Sprintf("rule %q: %v", r.info.name, err))
		}
		e.rules = append(e.rules, engineRule{r, p, parseOutput(rs.lang, r.output), r.info.priority.String() + " "})
	}
	if rs.compiled.loader.suggestedOutput {
		e.suggested = parseOutput(rs.lang, suggestedOutput)
	}
	e.ctx = layout.NewContext()
	return e
}

// candidates returns the rules whose condition can be true for a type of events.
func (e *Engine) candidates(name string) []int {
	if list, ok := e.byType[name]; ok {
		return list
	}
	types := e.lang.EventTypesOf(name)
	var list []int
	for i := range e.rules {
		if types.Len() == 0 || e.rules[i].types.Intersects(types) {
			list = append(list, i)
		}
	}
	if types.Len() > 0 {
		e.byType[name] = list
	}
	return list
}

// Match returns the names of the rules that fire for an event, in order. It
// does not allocate unless one does.
func (e *Engine) Match(ev Event) []string {
	fired := e.match(ev)
	if len(fired) == 0 {
		return nil
	}
	names := make([]string, len(fired))
	for i, k := range fired {
		names[i] = e.rules[k].info.name
	}
	return names
}

func (e *Engine) match(ev Event) []int {
	e.ctx.Reset(ev)
	e.fired = e.fired[:0]
	for _, i := range e.candidates(ev.Text("evt.type")) {
		if e.rules[i].program.Match(e.ctx) {
			e.fired = append(e.fired, i)
			if e.matching == First {
				break
			}
		}
	}
	return e.fired
}

// Eval returns the alerts that an event raises.
func (e *Engine) Eval(ev Event) []Alert {
	fired := e.match(ev)
	if len(fired) == 0 {
		return nil
	}
	alerts := make([]Alert, len(fired))
	for i, k := range fired {
		alerts[i] = e.rules[k].alert(ev)
		if e.suggested != nil {
			var b strings.Builder
			e.suggested.render(&b, ev)
			alerts[i].Appended = b.String()
		}
	}
	return alerts
}

func (r *engineRule) alert(ev Event) Alert {
	a := Alert{
		Rule: r.info.name, Priority: r.info.priority.String(), Source: r.info.source,
		Hostname: ev.Text("evt.hostname"), Tags: r.info.tags, OutputFields: r.format.fields(ev),
	}
	if a.Tags == nil {
		a.Tags = []string{}
	}
	var message strings.Builder
	r.format.render(&message, ev)
	a.Message = message.String()
	clock := notAvailable
	if at, ok := eventTime(ev); ok {
		a.Time = at.Format("2006-01-02T15:04:05.000000000Z")
		clock = at.Format("15:04:05.000000000")
		a.OutputFields["evt.time"] = at.UnixNano()
	}
	a.Output = clock + ": " + r.prefix + a.Message
	return a
}

func eventTime(ev Event) (time.Time, bool) {
	v, ok := ev.Get("evt.rawtime")
	if !ok {
		return time.Time{}, false
	}
	switch n := v.Any().(type) {
	case int64:
		return time.Unix(0, n).UTC(), true
	case uint64:
		return time.Unix(0, int64(n)).UTC(), true
	}
	return time.Time{}, false
}
