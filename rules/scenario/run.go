package scenario

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"spire-falco/falco/condition"
	"spire-falco/report"
)

// Result is what one scenario gave.
type Result struct {
	Scenario *Scenario
	// Fired is every alert, in the order of events.
	Fired []Alert
	// Missing are wanted alerts that did not come.
	Missing []Alert
	// Unexpected are alerts that no one wanted.
	Unexpected []Alert
	// Took is the time that the rules took for the events.
	Took time.Duration
}

// Passed reports whether the alerts were those wanted.
func (r Result) Passed() bool { return len(r.Missing) == 0 && len(r.Unexpected) == 0 }

// Run judges the events of every scenario with fire, which returns the name of the rule that fires on an event, or "" when none does.
func Run(scenarios []Scenario, fire func(condition.Event) (string, error)) ([]Result, error) {
	results := make([]Result, 0, len(scenarios))
	for i := range scenarios {
		s := &scenarios[i]
		r := Result{Scenario: s}
		start := time.Now()
		for _, e := range s.Events {
			rule, err := fire(e)
			if err != nil {
				return nil, fmt.Errorf("%s %q: event %d: %w", s.Group, s.Name, Num(e), err)
			}
			if rule != "" {
				r.Fired = append(r.Fired, Alert{Rule: rule, Event: Num(e)})
			}
		}
		r.Took = time.Since(start)
		for _, a := range s.Want {
			if !slices.Contains(r.Fired, a) {
				r.Missing = append(r.Missing, a)
			}
		}
		for _, a := range r.Fired {
			if !slices.Contains(s.Want, a) {
				r.Unexpected = append(r.Unexpected, a)
			}
		}
		results = append(results, r)
	}
	return results, nil
}

// Failed returns how many results did not pass.
func Failed(results []Result) int {
	n := 0
	for _, r := range results {
		if !r.Passed() {
			n++
		}
	}
	return n
}

// Problems says in one line per alert what is missing or was not wanted.
func (r Result) Problems() []string {
	var out []string
	for _, a := range r.Missing {
		out = append(out, fmt.Sprintf("missing: %q on event %d", a.Rule, a.Event))
	}
	for _, a := range r.Unexpected {
		out = append(out, fmt.Sprintf("not wanted: %q on event %d", a.Rule, a.Event))
	}
	return out
}

// WriteTable writes one line per scenario, the problems below it, and the sum.
func WriteTable(w io.Writer, results []Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var b strings.Builder
	b.WriteString("RESULT\tGROUP\tEVENTS\tALERTS\tSCENARIO\n")
	for _, r := range results {
		verdict := "ok"
		if !r.Passed() {
			verdict = "FAIL"
		}
		name := r.Scenario.Name
		if g := r.Scenario.Group; g == Recording || g == Act {
			name = r.Scenario.Recording + ": " + name
		}
		fmt.Fprintf(&b, "%s\t%s\t%d\t%d\t%s\n", verdict, r.Scenario.Group, len(r.Scenario.Events), len(r.Fired), name)
		for _, p := range r.Problems() {
			fmt.Fprintf(&b, "\t\t\t\t  %s\n", p)
		}
	}
	fmt.Fprintf(&b, "%d scenarios, %d failed\n", len(results), Failed(results))
	if _, err := io.WriteString(tw, b.String()); err != nil {
		return fmt.Errorf("write the table of scenarios: %w", err)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write the table of scenarios: %w", err)
	}
	return nil
}

// WriteJUnit writes the results as JUnit XML, one suite per group.
func WriteJUnit(w io.Writer, results []Result) error {
	var out report.JUnit
	for _, g := range []Group{Recording, Guide, Derived} {
		suite := report.JUnitSuite{Name: "rules." + string(g)}
		for _, r := range results {
			if r.Scenario.Group != g {
				continue
			}
			c := report.JUnitCase{Class: suite.Name, Name: r.Scenario.Name, Took: report.JUnitTime(r.Took)}
			if g == Recording {
				c.Name = r.Scenario.Recording + ": " + c.Name
			}
			if problems := r.Problems(); len(problems) > 0 {
				c.Failure = &report.JUnitMessage{
					Message: fmt.Sprintf("%d alerts missing, %d not wanted", len(r.Missing), len(r.Unexpected)), Text: strings.Join(problems, "\n"),
				}
			}
			suite.Cases = append(suite.Cases, c)
		}
		out.Suites = append(out.Suites, suite)
	}
	return out.Write(w) //nolint:wrapcheck // it says what it was writing
}
