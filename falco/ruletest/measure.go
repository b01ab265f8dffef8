package ruletest

import (
	"fmt"
	"slices"
	"strings"

	"spire-falco/falco/clauses"
	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/falco/stock"
)

// Coverage is how much of the rules the cases of test files exercise. Broken cases, disabled rules and stock rules do not count.
type Coverage struct {
	Rules []RuleCoverage `json:"rules"`
}

// RuleCoverage is how much of one rule the cases exercise.
type RuleCoverage struct {
	Rule   string `json:"rule"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Fired is set when the rule fired in a case.
	Fired bool `json:"fired"`
	// Clauses are the checks of the condition, with its macros and exceptions.
	Clauses []ClauseCoverage `json:"clauses"`
}

// ClauseCoverage says what a check of a rule decided: that the rule fired, or that it did not. A check decides when the opposite
// value of it alone would have changed that.
type ClauseCoverage struct {
	Clause string `json:"clause"`
	Place
	DecidedFired  bool `json:"decidedFired"`
	DecidedSilent bool `json:"decidedSilent"`
}

// Place is where something is written. Line and Column count from 1.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String is the place in the form file:line:column.
func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Decided reports whether the clause decided any case.
func (c ClauseCoverage) Decided() bool { return c.DecidedFired || c.DecidedSilent }

// Fired is how many of the rules fired.
func (c Coverage) Fired() int {
	n := 0
	for _, r := range c.Rules {
		if r.Fired {
			n++
		}
	}
	return n
}

// Clauses is how many clauses there are, and how many of them decided a case.
func (c Coverage) Clauses() (all, decided int) {
	for _, r := range c.Rules {
		all += len(r.Clauses)
		for _, cl := range r.Clauses {
			if cl.Decided() {
				decided++
			}
		}
	}
	return all, decided
}

// Percent is how many of a hundred clauses decided a case; 100 when there are none.
func (c Coverage) Percent() float64 { return percent(c.Clauses()) }

func percent(all, some int) float64 {
	if all == 0 {
		return 100
	}
	return 100 * float64(some) / float64(all)
}

// key tells apart the rules of several results; the same rule in the same form is one.
func (r *ownRule) key() string {
	return fmt.Sprintf("%s:%d:%d %s %s", r.File, r.Line, r.Column, r.Name, r.ConditionExpanded)
}

// measured are the rules of a result that are measured: not those of the stock file.
func (r *Result) measured() []*ownRule {
	return slices.DeleteFunc(slices.Clone(r.rules), func(own *ownRule) bool { return own.File == r.Suite.Stock && own.File != "" })
}

// events are the events of the cases that are not broken.
func (r *Result) events() []condition.Event {
	var out []condition.Event
	for i := range r.Cases {
		if r.Cases[i].Outcome != Broken {
			out = append(out, r.Cases[i].Events...)
		}
	}
	return out
}

// Cover measures what the cases of the results exercise.
func Cover(results []*Result) Coverage {
	var c Coverage
	index := map[string]int{}
	for _, r := range results {
		of := map[*ownRule]int{} // so that no event asks for the key of a rule
		for _, own := range r.measured() {
			key := own.key()
			if i, ok := index[key]; ok {
				of[own] = i
				continue
			}
			index[key], of[own] = len(c.Rules), len(c.Rules)
			rule := RuleCoverage{Rule: own.Name, File: own.File, Line: own.Line, Column: own.Column}
			for _, e := range own.tree.Checks() {
				rule.Clauses = append(rule.Clauses, ClauseCoverage{Clause: e.String(), Place: Place(clauses.PlaceOf(e))})
			}
			c.Rules = append(c.Rules, rule)
		}
		for _, ev := range r.events() {
			r.cover(ev, func(own *ownRule) *RuleCoverage {
				if i, ok := of[own]; ok {
					return &c.Rules[i]
				}
				return nil
			})
		}
	}
	for i := range c.Rules { // what is not known cannot decide
		c.Rules[i].Clauses = slices.DeleteFunc(c.Rules[i].Clauses, func(cl ClauseCoverage) bool { return stock.IsPlaceholder(cl.File) })
	}
	return c
}

// cover notes what decides for an event.
func (r *Result) cover(ev condition.Event, of func(*ownRule) *RuleCoverage) {
	lang := r.Set.Language()
	for _, own := range r.rules {
		if !own.about(lang, ev.Text("evt.type")) {
			continue
		}
		value := own.tree.Eval(ev)
		if rule := of(own); rule != nil {
			rule.Fired = rule.Fired || value == clauses.True
			own.tree.Decisive(func(i int, _ clauses.Truth) {
				rule.Clauses[i].DecidedFired = rule.Clauses[i].DecidedFired || value == clauses.True
				rule.Clauses[i].DecidedSilent = rule.Clauses[i].DecidedSilent || value == clauses.False
			})
		}
		if value == clauses.True && r.Suite.Matching == ruleset.First {
			return // those after it do not see the event
		}
	}
}

// Mutation is what the cases notice when clauses of the rules are left out or turned around.
type Mutation struct {
	Rules []RuleMutation `json:"rules"`
	// NotMeasured are rules that use stock rules whose text is not here.
	NotMeasured []string `json:"notMeasured,omitempty"`
}

// RuleMutation is what the cases notice of one rule.
type RuleMutation struct {
	Rule string `json:"rule"`
	// Mutants is how many changes were made, one at a time.
	Mutants int `json:"mutants"`
	// Survivors are the changes that no case notices.
	Survivors []Survivor `json:"survivors"`
}

// Survivor is a change to a rule that no case notices.
type Survivor struct {
	Place
	// Change is what was done, such as: without proc.name = cat.
	Change string `json:"change"`
}

// Mutants is how many changes were made, and how many of them a case notices.
func (m Mutation) Mutants() (all, noticed int) {
	for _, r := range m.Rules {
		all += r.Mutants
		noticed += r.Mutants - len(r.Survivors)
	}
	return all, noticed
}

// Percent is how many of a hundred changes a case notices; 100 when there are none.
func (m Mutation) Percent() float64 { return percent(m.Mutants()) }

// Mutate leaves out every clause of every rule, turns it around and shortens its list, one change at a time, and returns which of
// these no case notices.
func Mutate(results []*Result) (Mutation, error) {
	var m Mutation
	var order []string
	names, noticed, mutants := map[string]string{}, map[string][]bool{}, map[string][]clauses.Mutant{}
	for _, r := range results {
		events := r.events()
		taken, measured := r.takenBy(events), r.measured()
		for k, own := range r.rules {
			if !slices.Contains(measured, own) {
				continue
			}
			if !own.tree.Certain() {
				if !slices.Contains(m.NotMeasured, own.Name) {
					m.NotMeasured = append(m.NotMeasured, own.Name)
				}
				continue
			}
			by, all, err := clauses.Noticed(r.Set.Language(), own.Expr, events, func(i int) bool { return taken[i] >= k })
			if err != nil {
				return Mutation{}, fmt.Errorf("mutate the rule %s: %w", quote(own.Name), err)
			}
			key := own.key()
			if _, ok := noticed[key]; !ok {
				order = append(order, key)
				names[key], noticed[key], mutants[key] = own.Name, make([]bool, len(all)), all
			}
			for i := range by {
				noticed[key][i] = noticed[key][i] || by[i] >= 0
			}
		}
	}
	for _, key := range order {
		rule := RuleMutation{Rule: names[key], Mutants: len(mutants[key]), Survivors: []Survivor{}}
		for i, mutant := range mutants[key] {
			if !noticed[key][i] {
				rule.Survivors = append(rule.Survivors, Survivor{Place(mutant.At), mutant.What})
			}
		}
		slices.SortStableFunc(rule.Survivors, func(a, b Survivor) int {
			if c := strings.Compare(a.File, b.File); c != 0 {
				return c
			}
			return (a.Line-b.Line)<<16 + a.Column - b.Column
		})
		m.Rules = append(m.Rules, rule)
	}
	return m, nil
}

// takenBy is for each event the index of the rule that takes it: those after it do not see it. It is past the last rule when
// none does, and under matching all.
func (r *Result) takenBy(events []condition.Event) []int {
	taken := make([]int, len(events))
	for i := range taken {
		taken[i] = len(r.rules)
	}
	if r.Suite.Matching != ruleset.First {
		return taken
	}
	index := map[string]int{}
	for k, own := range r.rules {
		index[own.Name] = k
	}
	engine := r.judged().NewEngine(ruleset.First)
	for i, ev := range events {
		if fired := engine.Match(ev); len(fired) > 0 {
			taken[i] = index[fired[0]]
		}
	}
	return taken
}
