package rulecmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

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
