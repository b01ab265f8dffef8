package ruletest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"spire-falco/falco/clauses"
	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/falco/stock"
	"spire-falco/internal/safefile"
)

// Outcome of a case.
type Outcome string

// The outcomes.
const (
	// Passed: the alerts are those expected.
	Passed Outcome = "passed"
	// Failed: an alert is missing, is another one, or was not expected.
	Failed Outcome = "failed"
	// Broken: the case cannot be judged.
	Broken Outcome = "broken"
)

// Result is what came of a test file.
type Result struct {
	Suite *Suite
	// Set is what the rule files came to; nil when they did not load.
	Set *ruleset.Ruleset
	// Problems are what kept the whole file from being judged; then there are no cases.
	Problems []Problem
	Cases    []CaseResult
	// Took is the time that loading the rules and running the cases took.
	Took time.Duration

	rules []*ownRule
}

// CaseResult is what came of one case.
type CaseResult struct {
	*Case
	Outcome Outcome
	// Fired are all alerts, in the order of the events.
	Fired []Fired
	// Missing are the expected alerts that did not come, and Unexpected those that nothing expected.
	Missing    []Missing
	Unexpected []Fired
	// Problems are what kept the case from being judged.
	Problems []Problem
	Took     time.Duration
}

// Fired is an alert with the event that it is of.
type Fired struct {
	ruleset.Alert
	// Event counts from 1.
	Event int
}

// Missing is an expected alert that did not come.
type Missing struct {
	Expected
	// Count is how many are missing.
	Count int
	// Other is an unexpected alert of the same rule, and what is different about it; nil when there is none.
	Other      *Fired
	Difference []string
	// Why says what of the rule's condition kept it from firing, a line each.
	Why []string
}

// ownRule is a rule that is judged, with its condition clause by clause.
type ownRule struct {
	ruleset.Rule
	tree  *clauses.Tree
	types condition.EventTypes
	// unsure names what the condition uses of the stock rules whose text is not here.
	unsure string
}

// about reports whether the condition can be true for the events of a name.
func (r *ownRule) about(lang *condition.Language, name string) bool {
	return lang.MatchesAll(r.types) || r.types.Intersects(lang.EventTypesOf(name))
}

// Run judges the cases of a test file whose names selected takes; nil takes all.
func Run(s *Suite, selected func(name string) bool) *Result {
	start := time.Now()
	r := &Result{Suite: s, Problems: s.Problems}
	if len(r.Problems) == 0 {
		r.load()
	}
	if len(r.Problems) == 0 {
		engine := r.judged().NewEngine(s.Matching)
		for i := range s.Cases {
			if c := &s.Cases[i]; selected == nil || selected(c.Name) {
				r.Cases = append(r.Cases, r.run(engine, c))
			}
		}
	}
	r.Took = time.Since(start)
	return r
}

// load loads the rule files as Falco does.
func (r *Result) load() {
	s := r.Suite
	var files []ruleset.File
	fail := func(format string, args ...any) {
		r.Problems = append(r.Problems, Problem{File: s.Path, Message: fmt.Sprintf(format, args...)})
	}
	paths := s.Rules
	if s.Stock != "" {
		paths = append([]string{s.Stock}, paths...)
	}
	if s.Placeholders {
		file, err := stock.Rules(s.Falco)
		if err != nil {
			fail("stock: %v", err)
			return
		}
		files = append(files, file)
	}
	for _, path := range paths {
		content, err := safefile.Read(path, maxFile)
		if err != nil {
			fail("read the rules: %v", err)
			return
		}
		files = append(files, ruleset.File{Name: path, Content: content})
	}
	set, report := ruleset.Load(files, ruleset.Options{Falco: s.Falco})
	stock.Hide(report.Errors)
	for _, p := range report.Errors {
		hint := p.Hint
		p.Hint = ""
		message := strings.TrimPrefix(p.String(), p.File)
		if p.Line > 0 {
			message = strings.TrimPrefix(message, fmt.Sprintf(":%d:%d", p.Line, p.Column))
		}
		r.Problems = append(r.Problems, Problem{p.File, p.Line, p.Column, "Falco " + s.Falco.Number + " would refuse the rules" + message, hint})
	}
	if set == nil {
		return
	}
	r.Set = set
	for _, rule := range set.Rules() {
		if stock.IsPlaceholder(rule.File) || !rule.Enabled {
			continue
		}
		own := &ownRule{Rule: rule}
		var err error
		if own.tree, err = clauses.New(set.Language(), rule.Expr, own.unknown); err == nil {
			own.types, err = set.Language().NeededEventTypes(rule.Expr)
		}
		if err != nil {
			fail("%v", err) // Load has compiled the same condition before
			return
		}
		r.rules = append(r.rules, own)
	}
}

// unknown reports whether a check comes from a placeholder of the stock rules, or has a list of them, and notes which.
func (r *ownRule) unknown(e condition.Expr) bool {
	is := false
	note := func(p condition.Pos) {
		if at, ok := p.Location(); ok && stock.IsPlaceholder(at.File) {
			is = true
		}
	}
	condition.Walk(e, func(e condition.Expr) bool {
		note(e.Position())
		if list, ok := e.(*condition.List); ok {
			for i := range list.Values {
				note(list.PositionOf(i))
			}
		}
		return true
	})
	if is && r.unsure == "" {
		r.unsure = "macros or lists of the stock rules"
	}
	return is
}

// judged are the rules that events are held against: not the placeholders.
func (r *Result) judged() *ruleset.Ruleset {
	return r.Set.Only(func(rule ruleset.Rule) bool { return !stock.IsPlaceholder(rule.File) })
}

func (r *Result) run(engine *ruleset.Engine, c *Case) (res CaseResult) {
	start := time.Now()
	res = CaseResult{Case: c, Problems: slices.Clone(c.Problems)}
	defer func() {
		res.Took = time.Since(start)
		switch {
		case len(res.Problems) > 0:
			res.Outcome = Broken
		case len(res.Missing) > 0 || len(res.Unexpected) > 0:
			res.Outcome = Failed
		default:
			res.Outcome = Passed
		}
	}()
	if len(res.Problems) > 0 {
		return res
	}
	for _, w := range c.Want {
		r.checkRule(w, &res)
	}
	for i, ev := range c.Events {
		var fired []string
		for _, a := range engine.Eval(ev) {
			res.Fired = append(res.Fired, Fired{a, i + 1})
			fired = append(fired, a.Rule)
		}
		r.checkCertain(ev, fired, &res)
	}
	if len(res.Problems) > 0 {
		return res
	}
	res.compare()
	for i := range res.Missing {
		r.explain(&res.Missing[i], &res)
	}
	return res
}

// checkRule reports an expected rule that cannot fire whatever the event.
func (r *Result) checkRule(w Expected, res *CaseResult) {
	rule, ok := r.Set.Rule(w.Rule)
	broken := func(message, hint string) {
		res.Problems = append(res.Problems, Problem{w.File, w.Line, w.Column, message, hint})
	}
	switch {
	case !ok:
		var names []string
		for _, own := range r.rules {
			names = append(names, own.Name)
		}
		hint := ""
		if near := nearestName(w.Rule, names); near != "" {
			hint = "did you mean " + quote(near) + "?"
		}
		broken("the rules have no rule "+quote(w.Rule), hint)
	case stock.IsPlaceholder(rule.File):
		broken("the rule "+quote(w.Rule)+" is one of the stock rules, whose text is not here", needStock)
	case !rule.Enabled:
		broken("the rule "+quote(w.Rule)+" is disabled, so it never fires", "")
	}
}

// needStock says how to judge what needs the stock rules.
const needStock = "name the file of your Falco's own rules, falco_rules.yaml, with stock: FILE or --stock FILE"

// nearestName is the name that was probably meant; names are sentences, in which more letters may be wrong.
func nearestName(name string, names []string) string {
	lower := make([]string, len(names))
	for i, n := range names {
		lower[i] = strings.ToLower(n)
	}
	near := condition.Nearest(strings.ToLower(name), lower)
	if i := slices.Index(lower, near); i >= 0 {
		return names[i]
	}
	for i, n := range lower {
		if strings.Contains(n, strings.ToLower(name)) || strings.Contains(strings.ToLower(name), n) {
			return names[i]
		}
	}
	return ""
}

// checkCertain reports rules of which it is not known whether they fire, since they use stock rules whose text is not here.
func (r *Result) checkCertain(ev condition.Event, fired []string, res *CaseResult) {
	lang := r.Set.Language()
	for _, own := range r.rules {
		if own.unsure != "" && own.about(lang, ev.Text("evt.type")) && own.tree.Eval(ev) == clauses.Unknown {
			message := fmt.Sprintf("whether the rule %s fires is not known: it uses %s, whose text is not here", quote(own.Name), own.unsure)
			p := Problem{res.File, res.Line, res.Column, message, needStock}
			if !slices.Contains(res.Problems, p) {
				res.Problems = append(res.Problems, p)
			}
			return
		}
		if r.Suite.Matching == ruleset.First && slices.Contains(fired, own.Name) {
			return // those after it do not see the event
		}
	}
}

// explain says why a rule did not fire as expected.
func (r *Result) explain(m *Missing, res *CaseResult) {
	if m.Other != nil {
		return
	}
	i := slices.IndexFunc(r.rules, func(own *ownRule) bool { return own.Name == m.Rule })
	if i < 0 {
		return
	}
	own := r.rules[i]
	var best []clauses.Check
	event := 0
	for k, ev := range res.Events {
		if own.tree.Eval(ev) == clauses.True {
			j := slices.IndexFunc(res.Fired, func(f Fired) bool { return f.Event == k+1 })
			if j >= 0 && res.Fired[j].Rule != own.Name {
				m.Why = []string{fmt.Sprintf("its condition is true for event %d, but %s, which loads before it, takes the event (rule_matching first)",
					k+1, quote(res.Fired[j].Rule))}
				return
			}
			continue // it fired, and another expected alert is this one
		}
		if blame := own.tree.Blame(); best == nil || len(blame) < len(best) {
			best, event = blame, k
		}
	}
	const most = 5
	for _, c := range best[:min(most, len(best))] {
		line := checkText(c, res.Events[event])
		if len(res.Events) > 1 {
			line = fmt.Sprintf("event %d: %s", event+1, line)
		}
		m.Why = append(m.Why, line)
	}
	if more := len(best) - most; more > 0 {
		m.Why = append(m.Why, fmt.Sprintf("and %d more checks", more))
	}
}

// checkText says which value a check has and what it looked at.
func checkText(c clauses.Check, ev condition.Event) string {
	var b strings.Builder
	if at := clauses.PlaceOf(c.Expr); at.Line > 0 {
		fmt.Fprintf(&b, "%s: ", Place(at))
	}
	text, value := bounded(c.String()), "false"
	if c.Value == clauses.True {
		value = "true"
	}
	fmt.Fprintf(&b, "%s is %s", text, value)
	for _, f := range ruleset.FieldsOf(c.Expr) {
		if v, ok := ev.Get(f); ok {
			fmt.Fprintf(&b, "; %s is %s", f, bounded(quote(v.String())))
		} else {
			fmt.Fprintf(&b, "; the event has no %s", f)
		}
	}
	return b.String()
}

// bounded cuts what would fill the screen.
func bounded(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}
