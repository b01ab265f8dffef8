package rulecmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/falco"
	"spire-falco/falco/ruletest"
	"spire-falco/internal/safefile"
	"spire-falco/report"
)

// exitBroken is the exit code of tests that could not be judged; those that failed have 1.
const exitBroken cli.ExitCode = 2

// testOptions are the flags of the command test.
type testOptions struct {
	source    Source
	number    string
	stock     string
	run       string
	junit     string
	asJSON    bool
	showDiff  bool
	coverage  bool
	mutate    bool
	minCover  float64
	minMutate float64
	verbose   bool
	annotate  bool
	overrides ruletest.Overrides
	selected  func(string) bool
}

// Test is the command test.
func (s Source) Test() *cobra.Command {
	o := testOptions{source: s}
	var watch, first bool
	var fromAlerts, output string
	cmd := &cobra.Command{
		Use:   "test FILE|FOLDER...",
		Short: "Hold rules against events and the alerts that each must give, as " + "NAME" + ruletest.Suffix + " says",
		Long: "Runs test files: NAME" + ruletest.Suffix + " beside the rules, with events and the alerts that each must give. A folder stands for all\n" +
			"test files in it and below it. docs/testing-rules.md has the format.\n\n" +
			"Exit codes: 0 all passed; 1 a case failed; 2 a file or a case could not be judged.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.prepare(); err != nil {
				return err
			}
			if first || fromAlerts != "" {
				return o.draft(cmd.OutOrStdout(), args, fromAlerts, output)
			}
			if watch {
				return o.watch(cmd.Context(), args, cmd.OutOrStdout())
			}
			results, err := o.runAll(args)
			if err != nil {
				return err
			}
			return o.finish(cmd.OutOrStdout(), results)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.run, "run", "", "run only the cases whose name matches this regular expression")
	f.BoolVar(&o.showDiff, "diff", false, "show what is different as a unified diff of the alerts")
	f.StringVar(&o.junit, "junit", "", "also write a JUnit report to this file")
	f.BoolVar(&o.asJSON, "json", false, "print the results as JSON")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "list the cases that passed too")
	f.BoolVar(&o.annotate, "annotations", false, "also print each failure as GitHub Actions shows it, beside its line")
	f.BoolVar(&watch, "watch", false, "run again whenever a file changes, until it is interrupted")
	f.StringVar(&o.stock, "stock", "", "the file of your Falco's own rules, for tests that need the stock rules")
	f.StringVar(&o.number, "falco", "", "judge as this Falco version does, whatever the files say (default: what each file says, or the newest known, "+
		falco.Newest().Number+")")
	f.BoolVar(&o.coverage, "coverage", false, "show which rules fired and which clauses never decided a case")
	f.Float64Var(&o.minCover, "coverage-threshold", 0, "exit with 1 when fewer `PERCENT` of the clauses decided a case; implies --coverage")
	f.BoolVar(&o.mutate, "mutate", false, "leave out or turn around every clause, one at a time, and show the changes that no case notices")
	f.Float64Var(&o.minMutate, "mutate-threshold", 0, "exit with 1 when the cases notice fewer `PERCENT` of the changes; implies --mutate")
	f.BoolVar(&first, "init", false, "write a first test file for the named rule files, in load order: all its cases pass")
	f.StringVar(&fromAlerts, "from-alerts", "", "write a test file for the named rule files with a case for each alert of this log of Falco's JSON")
	f.StringVarP(&output, "output", "o", "", "where --init and --from-alerts write; - is the standard output (default: NAME"+ruletest.Suffix+
		" beside the last rule file, which must not exist)")
	cmd.MarkFlagsMutuallyExclusive("watch", "json", "init", "from-alerts")
	cmd.MarkFlagsMutuallyExclusive("json", "annotations")
	return cmd
}

func (o *testOptions) prepare() error {
	for _, t := range []struct {
		flag  string
		least float64
		is    *bool
	}{{"--coverage-threshold", o.minCover, &o.coverage}, {"--mutate-threshold", o.minMutate, &o.mutate}} {
		if !(t.least >= 0 && t.least <= 100) {
			return fmt.Errorf("%s = %g: it must be a percentage from 0 to 100", t.flag, t.least)
		}
		*t.is = *t.is || t.least > 0
	}
	o.overrides.Stock = o.stock
	if o.number != "" {
		v, err := Lookup(o.number)
		if err != nil {
			return err
		}
		o.overrides.Falco = v.Version
	}
	if o.run != "" {
		pattern, err := regexp.Compile(o.run)
		if err != nil {
			return fmt.Errorf("--run = %q: %w", o.run, err)
		}
		o.selected = pattern.MatchString
	}
	return nil
}

// draft writes a test file for rule files.
func (o *testOptions) draft(out io.Writer, rules []string, fromAlerts, output string) error {
	path := output
	if last := rules[len(rules)-1]; path == "" || path == "-" {
		path = strings.TrimSuffix(strings.TrimSuffix(last, ".yaml"), ".yml") + ruletest.Suffix
	}
	for _, rule := range rules {
		if strings.HasSuffix(rule, ruletest.Suffix) {
			return fmt.Errorf("%s is a test file: name the rule files", rule)
		}
	}
	var d *ruletest.Draft
	var err error
	if fromAlerts == "" {
		d, err = ruletest.First(path, rules, o.overrides)
	} else {
		var log []byte
		if log, err = safefile.Read(fromAlerts, maxAlertLog); err != nil {
			return fmt.Errorf("--from-alerts: %w", err)
		}
		d, err = ruletest.FromAlerts(path, fromAlerts, log, rules, o.overrides)
	}
	if err != nil {
		return err
	}
	if output == "-" {
		// What is printed is to be kept: it is the file itself, or nothing.
		if report.Lines(string(d.Text)) != string(d.Text) {
			return errors.New("the tests have characters that a terminal does not show: write them to a file")
		}
		_, err := out.Write(d.Text)
		return err //nolint:wrapcheck // of the standard output
	}
	if err := safefile.Create(path, d.Text, 0o644); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s is there already: choose another file with --output", path)
		}
		return fmt.Errorf("write the tests: %w", err)
	}
	report.Fprintf(out, "%s: %d cases, all pass\n", path, d.Cases)
	for _, n := range d.Notes {
		report.Fprintf(out, "  %s\n", n)
	}
	return nil
}

// maxAlertLog is the most that is read of a log of alerts, in bytes.
const maxAlertLog = 256 << 20

// runAll runs the test files that arguments name.
func (o *testOptions) runAll(args []string) ([]*ruletest.Result, error) {
	paths, err := testFiles(args)
	if err != nil {
		return nil, err
	}
	results := make([]*ruletest.Result, len(paths))
	ran := 0
	for i, path := range paths {
		results[i] = ruletest.Run(ruletest.Read(path, o.overrides), o.selected)
		ran += len(results[i].Cases) + len(results[i].Problems)
	}
	if ran == 0 {
		return nil, fmt.Errorf("--run = %q: no case has such a name", o.run)
	}
	return results, nil
}

// testFiles returns the test files that arguments stand for, each once.
func testFiles(args []string) ([]string, error) {
	var paths []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			return nil, fmt.Errorf("find the tests: %w", err)
		case !info.IsDir():
			paths = append(paths, arg)
			continue
		}
		before := len(paths)
		err = filepath.WalkDir(arg, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && path != arg && strings.HasPrefix(e.Name(), "."):
				return filepath.SkipDir
			case !e.IsDir() && strings.HasSuffix(e.Name(), ruletest.Suffix):
				paths = append(paths, path)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("find the tests: %w", err)
		}
		if len(paths) == before {
			return nil, fmt.Errorf("the folder %s has no test file: their names end in %s", arg, ruletest.Suffix)
		}
	}
	var once []string
	for _, p := range paths {
		if p = filepath.Clean(p); !slices.Contains(once, p) {
			once = append(once, p)
		}
	}
	return once, nil
}

// finish writes the results, and returns the exit code as an error.
func (o *testOptions) finish(out io.Writer, results []*ruletest.Result) error {
	var cover *ruletest.Coverage
	var mutation *ruletest.Mutation
	if o.coverage {
		c := ruletest.Cover(results)
		cover = &c
	}
	if o.mutate {
		m, err := ruletest.Mutate(results)
		if err != nil {
			return err
		}
		mutation = &m
	}
	var err error
	if o.asJSON {
		all := testJSON(results)
		all.Coverage, all.Mutation = cover, mutation
		err = writeJSON(out, all)
	} else {
		err = o.writeResults(out, results, cover, mutation)
	}
	if err != nil {
		return err
	}
	if o.annotate {
		if err := writeAnnotations(out, testAnnotations(results)); err != nil {
			return err
		}
	}
	if o.junit != "" {
		var b strings.Builder
		if err := testJUnit(results).Write(&b); err != nil {
			return err
		}
		if err := safefile.Write(o.junit, []byte(b.String()), 0o644); err != nil {
			return fmt.Errorf("--junit = %q: %w", o.junit, err)
		}
	}
	switch c := countOf(results); {
	case c.Broken > 0:
		return exitBroken
	case c.Failed > 0 || cover != nil && cover.Percent() < o.minCover || mutation != nil && mutation.Percent() < o.minMutate:
		return cli.ExitCode(1)
	}
	return nil
}

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

// pollInterval is how often watch looks at the files. A person does not notice half of it.
const pollInterval = 300 * time.Millisecond

// watch runs the tests, and again whenever one of their files changes, until it is interrupted.
func (o *testOptions) watch(ctx context.Context, args []string, out io.Writer) error {
	ctx, stop := cli.Interruptible(ctx)
	defer stop()
	for {
		// Before the run, so that what changes while it runs is seen after it.
		files := o.watched(args)
		before := stamps(args, files)
		results, err := o.runAll(args)
		if err == nil {
			err = o.finish(out, results)
		}
		var code cli.ExitCode
		if err != nil && !errors.As(err, &code) {
			cli.WriteError(out, err)
		}
		fmt.Fprintf(out, "%s, watching %d files\n\n", time.Now().Format(time.TimeOnly), len(files))
		if !waitForChange(ctx, func() bool { return stamps(args, files) != before }) {
			return nil
		}
	}
}

// watched are the files that the outcome depends on.
func (o *testOptions) watched(args []string) []string {
	var files []string
	paths, _ := testFiles(args) // the run reports the error
	for _, path := range paths {
		files = append(files, ruletest.Read(path, o.overrides).Files()...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// waitForChange returns when there is a change; false when the context ends.
func waitForChange(ctx context.Context, changed func() bool) bool {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
			if changed() {
				return true
			}
		}
	}
}

// stamps is a text that changes with the sizes and times of the files.
func stamps(args, files []string) string {
	var b strings.Builder
	found, err := testFiles(args)
	fmt.Fprintln(&b, found, err)
	for _, path := range files {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		} else {
			fmt.Fprintln(&b, path, err)
		}
	}
	return b.String()
}
