package rulecmd

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"spire-falco/falco/ruletest"
	"spire-falco/report"
)

// counts are how many cases had which outcome. A file that cannot be judged is one broken case.
type counts struct {
	Passed int `json:"passed"`
	Failed int `json:"failed"`
	Broken int `json:"broken"`
}

func countOf(results []*ruletest.Result) (c counts) {
	for _, r := range results {
		if len(r.Problems) > 0 {
			c.Broken++
		}
		for _, res := range r.Cases {
			switch res.Outcome {
			case ruletest.Passed:
				c.Passed++
			case ruletest.Failed:
				c.Failed++
			default:
				c.Broken++
			}
		}
	}
	return c
}

func (o *testOptions) writeResults(out io.Writer, results []*ruletest.Result, cover *ruletest.Coverage, mutation *ruletest.Mutation) error {
	w := bufio.NewWriter(out)
	for _, r := range results {
		if len(r.Problems) > 0 {
			report.Fprintf(w, "BROKEN  %s\n", r.Suite.Path)
			for _, p := range r.Problems {
				report.Fprintf(w, "          %s\n", p)
			}
			continue
		}
		bad := 0
		for i := range r.Cases {
			c := &r.Cases[i]
			if c.Outcome != ruletest.Passed {
				bad++
			} else if !o.verbose {
				continue
			}
			word := map[ruletest.Outcome]string{ruletest.Passed: "ok", ruletest.Failed: "FAIL", ruletest.Broken: "BROKEN"}[c.Outcome]
			report.Fprintf(w, "%-6s  %s:%d: %s\n", word, c.File, c.Line, c.Name)
			for _, line := range o.details(c) {
				report.Fprintf(w, "          %s\n", line)
			}
		}
		if bad == 0 {
			report.Fprintf(w, "ok      %s: %d cases, as Falco %s\n", r.Suite.Path, len(r.Cases), r.Suite.Falco.Number)
		}
	}
	c := countOf(results)
	fmt.Fprintf(w, "%d passed, %d failed, %d broken\n", c.Passed, c.Failed, c.Broken)
	if cover != nil {
		o.writeCoverage(w, *cover)
	}
	if mutation != nil {
		o.writeMutation(w, *mutation)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

func (o *testOptions) writeCoverage(w io.Writer, c ruletest.Coverage) {
	all, decided := c.Clauses()
	fmt.Fprintf(w, "\ncoverage: %d of %d rules fired; %d of %d clauses decided a case (%.1f %%)%s\n",
		c.Fired(), len(c.Rules), decided, all, c.Percent(), below(c.Percent(), o.minCover))
	for _, r := range c.Rules {
		if !r.Fired {
			report.Fprintf(w, "  %s:%d:%d: rule %q never fired\n", r.File, r.Line, r.Column, r.Rule)
		}
		for _, cl := range r.Clauses {
			if !cl.Decided() {
				report.Fprintf(w, "  %s: rule %q: never decided: %s\n", cl.Place, r.Rule, cl.Clause)
			}
		}
	}
}

func (o *testOptions) writeMutation(w io.Writer, m ruletest.Mutation) {
	all, noticed := m.Mutants()
	fmt.Fprintf(w, "\nmutation: the cases notice %d of %d changes (%.1f %%)%s\n", noticed, all, m.Percent(), below(m.Percent(), o.minMutate))
	for _, r := range m.Rules {
		for _, s := range r.Survivors {
			report.Fprintf(w, "  %s: rule %q: unnoticed: %s\n", s.Place, r.Rule, s.Change)
		}
	}
	for _, name := range m.NotMeasured {
		report.Fprintf(w, "  rule %q was not changed: it uses stock rules whose text is not here\n", name)
	}
}

// below says that a threshold is not reached.
func below(got, least float64) string {
	if got < least {
		return fmt.Sprintf(", less than %g %%", least)
	}
	return ""
}

// details says in lines what is wrong with a case.
func (o *testOptions) details(c *ruletest.CaseResult) []string {
	if o.showDiff && c.Outcome == ruletest.Failed {
		return strings.Split(strings.TrimSuffix(c.Diff(), "\n"), "\n")
	}
	return caseProblems(c)
}

// caseProblems says in lines what is wrong with a case; lines that explain another are indented.
func caseProblems(c *ruletest.CaseResult) []string {
	var out []string
	for _, p := range c.Problems {
		out = append(out, p.String())
	}
	shown := map[*ruletest.Fired]bool{}
	for _, m := range c.Missing {
		if m.Other != nil {
			shown[m.Other] = true
			out = append(out, fmt.Sprintf("different: rule %q fired for event %d, and not as line %d expects it", m.Rule, m.Other.Event, m.Line))
			for _, d := range m.Difference {
				out = append(out, "  "+d)
			}
			continue
		}
		text := fmt.Sprintf("missing: rule %q did not fire", m.Rule)
		if m.Expected.Count > 1 {
			text = fmt.Sprintf("missing: rule %q fired %d times, not %d", m.Rule, m.Expected.Count-m.Count, m.Expected.Count)
		}
		out = append(out, text)
		for _, why := range m.Why {
			out = append(out, "  "+why)
		}
	}
	for i := range c.Unexpected {
		if f := &c.Unexpected[i]; !shown[f] {
			out = append(out, fmt.Sprintf("unexpected: rule %q fired for event %d (%s): %s", f.Rule, f.Event, f.Priority, strings.TrimSuffix(f.Message, f.Appended)))
		}
	}
	return out
}

// testAnnotations are the failures for GitHub Actions.
func testAnnotations(results []*ruletest.Result) []report.Annotation {
	var out []report.Annotation
	for _, r := range results {
		for _, p := range r.Problems {
			out = append(out, report.Annotation{Title: "broken test file", File: p.File, Line: p.Line, Message: p.String()})
		}
		for i := range r.Cases {
			if c := &r.Cases[i]; c.Outcome != ruletest.Passed {
				out = append(out, report.Annotation{
					Title: string(c.Outcome) + ": " + c.Name, File: c.File, Line: c.Line, Message: strings.Join(caseProblems(c), "\n"),
				})
			}
		}
	}
	return out
}

// testJUnit is the results as JUnit, one suite a file.
func testJUnit(results []*ruletest.Result) report.JUnit {
	var out report.JUnit
	for _, r := range results {
		suite := report.JUnitSuite{Name: r.Suite.Path, Took: report.JUnitTime(r.Took)}
		if len(r.Problems) > 0 {
			var lines []string
			for _, p := range r.Problems {
				lines = append(lines, p.String())
			}
			suite.Cases = append(suite.Cases, report.JUnitCase{
				Class: r.Suite.Path, Name: "the file can be judged", File: r.Suite.Path,
				Error: &report.JUnitMessage{Message: lines[0], Text: strings.Join(lines, "\n")},
			})
		}
		for i := range r.Cases {
			c := &r.Cases[i]
			j := report.JUnitCase{Class: r.Suite.Path, Name: c.Name, File: c.File, Line: c.Line, Took: report.JUnitTime(c.Took)}
			lines := caseProblems(c)
			switch message := (&report.JUnitMessage{Text: strings.Join(lines, "\n")}); c.Outcome {
			case ruletest.Failed:
				message.Message = fmt.Sprintf("%d alerts missing or different, %d unexpected", len(c.Missing), len(c.Unexpected))
				j.Failure = message
			case ruletest.Broken:
				message.Message = lines[0]
				j.Error = message
			}
			suite.Cases = append(suite.Cases, j)
		}
		out.Suites = append(out.Suites, suite)
	}
	return out
}

// TestResult is the results of tests in JSON.
type TestResult struct {
	// Version is that of this form: 1.
	Version int `json:"version"`
	counts
	Files []TestFileResult `json:"files"`
	// Coverage and Mutation are there when they were asked for.
	Coverage *ruletest.Coverage `json:"coverage,omitempty"`
	Mutation *ruletest.Mutation `json:"mutation,omitempty"`
}

// TestFileResult is what came of one test file.
type TestFileResult struct {
	File string `json:"file"`
	// Falco is the version that the file was judged as.
	Falco    string             `json:"falco"`
	Problems []ruletest.Problem `json:"problems,omitempty"`
	Cases    []TestCaseResult   `json:"cases"`
}

// TestCaseResult is what came of one case.
type TestCaseResult struct {
	Name    string           `json:"name"`
	Line    int              `json:"line"`
	Outcome ruletest.Outcome `json:"outcome"`
	// Problems says in a line each what is wrong.
	Problems []string `json:"problems,omitempty"`
	Seconds  float64  `json:"seconds"`
}

func testJSON(results []*ruletest.Result) TestResult {
	out := TestResult{Version: 1, counts: countOf(results), Files: []TestFileResult{}}
	for _, r := range results {
		file := TestFileResult{File: r.Suite.Path, Falco: r.Suite.Falco.Number, Problems: r.Problems, Cases: []TestCaseResult{}}
		for i := range r.Cases {
			c := &r.Cases[i]
			file.Cases = append(file.Cases, TestCaseResult{c.Name, c.Line, c.Outcome, caseProblems(c), c.Took.Seconds()})
		}
		out.Files = append(out.Files, file)
	}
	return out
}
