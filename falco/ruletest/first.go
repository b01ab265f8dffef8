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

	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/internal/lazyregexp"
)

// Draft is a test file that was made, not yet written.
type Draft struct {
	// Path is where it belongs: the rule files are named from there.
	Path string
	Text []byte
	// Cases is how many cases it has.
	Cases int
	// Notes say what has no case, and why.
	Notes []string
}

// drafter writes a test file.
type drafter struct {
	out    strings.Builder
	result *Result
	engine *ruleset.Engine
	names  map[string]bool
	draft  Draft
}

// newDraft loads the rule files that a test file at path is to test.
func newDraft(path string, rules []string, o Overrides) (*drafter, error) {
	s := &Suite{Path: path, Falco: o.Falco, Stock: o.Stock, Rules: rules, recordings: map[string]*recording{}}
	if s.Falco.Number == "" {
		s.Falco = falco.Newest()
	}
	r := &Result{Suite: s}
	if r.load(); len(r.Problems) > 0 && s.Stock == "" { // they may need the stock rules
		s.Placeholders = true
		with := &Result{Suite: s}
		if with.load(); len(with.Problems) == 0 {
			r = with
		}
	}
	if len(r.Problems) > 0 {
		errs := make([]error, len(r.Problems))
		for i, p := range r.Problems {
			errs[i] = errors.New(p.String())
		}
		return nil, errors.Join(errs...)
	}
	d := &drafter{result: r, names: map[string]bool{}, draft: Draft{Path: path}}
	s.lang = r.Set.Language()
	d.engine = r.judged().NewEngine(s.Matching)
	fmt.Fprintf(&d.out, "falco: %s\nrules:\n", s.Falco.Number)
	for _, rule := range rules {
		fmt.Fprintf(&d.out, "  - %s\n", scalar(d.fromFile(rule)))
	}
	switch {
	case s.Stock != "":
		fmt.Fprintf(&d.out, "stock: %s\n", scalar(d.fromFile(s.Stock)))
	case s.Placeholders:
		d.out.WriteString("stock: true\n")
	}
	d.out.WriteString("\ncases:\n")
	return d, nil
}

// fromFile is the path of a file as the test file names it.
func (d *drafter) fromFile(path string) string {
	dir := filepath.Dir(d.draft.Path)
	if filepath.IsAbs(path) != filepath.IsAbs(dir) {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
	}
	if rel, err := filepath.Rel(dir, path); err == nil {
		return filepath.ToSlash(rel)
	}
	return path
}

// First makes a first test file of rule files: for each rule an event that it fires on, made of its condition, and one that
// differs in one field and is silent. All its cases pass.
func First(path string, rules []string, o Overrides) (*Draft, error) {
	d, err := newDraft(path, rules, o)
	if err != nil {
		return nil, err
	}
	for _, own := range d.result.rules {
		if own.Source != "syscall" {
			d.note(own.Name, "its events are those of the source "+own.Source)
			continue
		}
		if own.unsure != "" {
			d.note(own.Name, "it uses "+own.unsure+"; "+needStock)
			continue
		}
		ev, asked, ok := solve(d.result.Suite.lang, own.Expr, d.anyEvent(own), nil)
		if !ok {
			d.note(own.Name, "no event was found that its condition is true for")
			continue
		}
		name := d.write(own, ev, own.Name+" fires", "")
		d.nearMiss(own, ev, asked, name)
	}
	return d.finish()
}

// anyEvent is an event type for a rule that does not ask for one.
func (d *drafter) anyEvent(own *ownRule) map[string]condition.EventValue {
	if d.result.Suite.lang.MatchesAll(own.types) {
		return map[string]condition.EventValue{"evt.type": condition.StringValue("execve")}
	}
	return nil
}

// note says why something has no case, in the file too.
func (d *drafter) note(rule, why string) {
	note := fmt.Sprintf("no case for the rule %s: %s", quote(rule), why)
	d.draft.Notes = append(d.draft.Notes, note)
	fmt.Fprintf(&d.out, "  # %s\n", comment(note))
}

// comment is a text that a comment of one line can hold.
func comment(text string) string { return strings.Join(strings.Fields(text), " ") }

// write writes a case of an event, with what the rules say of it, and returns its name.
func (d *drafter) write(own *ownRule, ev condition.Event, name, remark string) string {
	name = d.unique(name)
	d.draft.Cases++
	fmt.Fprintf(&d.out, "  - name: %s\n", scalar(name))
	if remark != "" {
		fmt.Fprintf(&d.out, "    # %s\n", comment(remark))
	}
	d.out.WriteString("    event:\n")
	fields := ev.Fields()
	for _, f := range slices.SortedFunc(maps.Keys(fields), typeFirst) {
		if f == "evt.dir" && fields[f].String() == "<" {
			continue // which an event has by itself
		}
		fmt.Fprintf(&d.out, "      %s: %s\n", f, value(fields[f]))
	}
	d.fires(own, ev)
	return name
}

// typeFirst orders fields by name, evt.type before all.
func typeFirst(a, b string) int {
	if (a == "evt.type") != (b == "evt.type") {
		if a == "evt.type" {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// fires writes the key fires as the rules answer.
func (d *drafter) fires(own *ownRule, ev condition.Event) {
	alerts := d.engine.Eval(ev)
	if len(alerts) == 0 {
		d.out.WriteString("    fires: []\n")
		return
	}
	d.out.WriteString("    fires:\n")
	for _, a := range alerts {
		if a.Rule != own.Name {
			fmt.Fprintf(&d.out, "      # loads before %s, which is true for this event too\n", comment(own.Name))
		}
		fmt.Fprintf(&d.out, "      - rule: %s\n        priority: %s\n        output: %s\n",
			scalar(a.Rule), scalar(a.Priority), scalar(strings.TrimSuffix(a.Message, a.Appended)))
	}
}

// nearMiss writes a case of the same event with one field changed, so that the rule is silent.
func (d *drafter) nearMiss(own *ownRule, ev condition.Event, asked []condition.Expr, base string) {
	for _, check := range slices.Backward(asked) {
		field := leftField(check)
		old, ok := ev.Get(field)
		if !ok || strings.HasPrefix(field, "evt.") {
			continue
		}
		ref, ok, err := d.result.Suite.lang.LookupField(field)
		if err != nil || !ok {
			continue
		}
		values := []string{"other", "/other", "0", "1", "false", "true", "203.0.113.9"}
		if strings.HasPrefix(old.String(), "/") {
			values[0], values[1] = values[1], values[0]
		}
		for _, text := range values {
			v, err := d.result.Suite.lang.EventValue(ref, text)
			if err != nil || v.String() == old.String() {
				continue
			}
			fields := maps.Clone(ev.Fields())
			fields[field] = v
			if changed := condition.NewEvent(fields); len(d.engine.Eval(changed)) == 0 {
				d.draft.Cases++
				fmt.Fprintf(&d.out, "  - name: %s\n    like: %s\n    set:\n      %s: %s\n    fires: []\n",
					scalar(d.unique(own.Name+" is silent for another "+field)), scalar(base), field, value(v))
				return
			}
		}
	}
}

// unique is a name that no case has yet.
func (d *drafter) unique(name string) string {
	for n, base := 2, name; d.names[name]; n++ {
		name = fmt.Sprintf("%s (%d)", base, n)
	}
	d.names[name] = true
	return name
}

// finish proves that every case passes.
func (d *drafter) finish() (*Draft, error) {
	d.draft.Text = []byte(d.out.String())
	if d.draft.Cases == 0 {
		return nil, fmt.Errorf("no case could be made:\n  %s", strings.Join(d.draft.Notes, "\n  "))
	}
	s := &Suite{Path: d.draft.Path, recordings: map[string]*recording{}}
	s.decode(d.draft.Text, Overrides{})
	r := Run(s, nil)
	for _, p := range r.Problems {
		return nil, fmt.Errorf("the tests that were made are broken: %s", p)
	}
	for i := range r.Cases {
		if c := &r.Cases[i]; c.Outcome != Passed {
			return nil, fmt.Errorf("the case %s that was made %s: %v\n%s", quote(c.Name), c.Outcome, c.Problems, c.Diff())
		}
	}
	return &d.draft, nil
}

// maxPerRule is how many alerts of one rule become cases: after so many a person reads no more.
const maxPerRule = 20

// FromAlerts makes a test file of a log of alerts, one JSON object a line: a case for each alert that differs from the others in
// a field that its rule asks about. An alert has the fields of its output alone; what else the rule asks about is made up.
func FromAlerts(path, name string, log []byte, rules []string, o Overrides) (*Draft, error) {
	d, err := newDraft(path, rules, o)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	perRule, left := map[string]int{}, map[string]int{}
	unknown, lines, alerts := map[string]int{}, 0, 0
	for text := range bytes.Lines(log) {
		lines++
		var alert struct {
			Rule   string         `json:"rule"`
			Fields map[string]any `json:"output_fields"`
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if decoder.Decode(&alert) != nil || alert.Rule == "" || alert.Fields == nil {
			continue // Falco's own messages are in the same log
		}
		alerts++
		i := slices.IndexFunc(d.result.rules, func(own *ownRule) bool { return own.Name == alert.Rule })
		if i < 0 {
			unknown[alert.Rule]++
			continue
		}
		own := d.result.rules[i]
		given := map[string]condition.EventValue{}
		if err := nested(alert.Fields, "", given); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, lines, err)
		}
		completeTime(given)
		key := own.Name
		for _, f := range ruleset.FieldsOf(own.Expr) {
			key += fmt.Sprintf("\x00%s=%s", f, given[f])
		}
		switch {
		case seen[key]:
			continue
		case perRule[own.Name] >= maxPerRule:
			left[own.Name]++
			continue
		}
		seen[key] = true
		perRule[own.Name]++
		d.fromAlert(own, given, alert.Fields, fmt.Sprintf("%s:%d", name, lines))
	}
	if alerts == 0 {
		return nil, fmt.Errorf("%s has no alert of Falco's JSON output (json_output: true) in its %d lines", name, lines)
	}
	for _, rule := range slices.Sorted(maps.Keys(unknown)) {
		d.note(rule, fmt.Sprintf("the rule files do not have it; %d alerts", unknown[rule]))
	}
	for _, rule := range slices.Sorted(maps.Keys(left)) {
		d.note(rule, fmt.Sprintf("for %d more alerts, after the first %d that differ", left[rule], maxPerRule))
	}
	return d.finish()
}

// fromAlert writes a case of an alert, completed so that its rule fires.
func (d *drafter) fromAlert(own *ownRule, given map[string]condition.EventValue, fields map[string]any, place string) {
	if own.unsure != "" {
		d.note(own.Name, place+": it uses "+own.unsure+"; "+needStock)
		return
	}
	lang := d.result.Suite.lang
	fixed := map[string]bool{}
	for name := range fields {
		fixed[name] = true
	}
	for name := range given { // fields of another Falco, such as those of an output with transformers, are no event's
		if ref, ok, err := lang.LookupField(name); err != nil || !ok || ref.Info.FilterOnly {
			delete(given, name)
		}
	}
	known := slices.Collect(maps.Keys(given))
	for name, v := range d.anyEvent(own) {
		if _, ok := given[name]; !ok {
			given[name] = v
		}
	}
	ev, _, ok := solve(lang, own.Expr, given, fixed)
	if !ok {
		d.note(own.Name, place+": its condition is not true for the alert, whatever the fields are that the alert does not have")
		return
	}
	var made []string
	for _, f := range slices.SortedFunc(maps.Keys(ev.Fields()), typeFirst) {
		if !slices.Contains(known, f) && f != "evt.dir" {
			made = append(made, f)
		}
	}
	remark := "the alert of " + place
	if len(made) > 0 {
		remark += ", which does not have " + strings.Join(made, ", ") + ": made up from the condition"
	}
	d.write(own, ev, own.Name+" fired", remark)
}

// value is a value of a field in YAML.
func value(v condition.EventValue) string {
	if list, ok := v.Any().([]string); ok {
		items := make([]string, len(list))
		for i, item := range list {
			items[i] = quoted(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if _, ok := v.Any().(string); ok {
		return scalar(v.String())
	}
	return v.String()
}

// plainScalar is what YAML reads as a text without quotes, and a person too.
var plainScalar = lazyregexp.New(`^[A-Za-z0-9_/.][A-Za-z0-9_/.@%+=(),<>-]*( [A-Za-z0-9_/.@%+=(),<>-]+)*$`)

// scalar is a text as a YAML scalar.
func scalar(s string) string {
	if plainScalar.MatchString(s) && !slices.Contains([]string{"null", "Null", "NULL"}, s) {
		return s
	}
	return quoted(s)
}

// quoted is a text in double quotes, whose escapes in Go are YAML's too. A byte that is no text is replaced.
func quoted(s string) string { return strconv.Quote(string([]rune(s))) }
