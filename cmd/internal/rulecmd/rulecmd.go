// Package rulecmd has the commands on rule files that need nothing of this stack. cmd/falcorules and cmd/stack both have
// them; they differ in which rules and which Falco are meant when no flag says so.
package rulecmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/docs/lints"
	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/falco/stock"
	"spire-falco/internal/safefile"
	"spire-falco/report"
)

// Source says where the commands take what no flag gives.
type Source struct {
	// Choose returns the Falco to judge as for the value of --falco, which is empty without the flag.
	Choose func(number string) (Judge, error)
	// DefaultFalco and DefaultRules describe in the help what is taken without --falco and --rules; DefaultRules has its
	// own parentheses, or is empty when there is no default.
	DefaultFalco, DefaultRules string
	// Evaluable returns the rules for events, and the names of those left out; nil when --rules is required.
	Evaluable func(Judge) (*ruleset.Ruleset, []string, error)
	// Explained returns the rules to explain; nil when --rules is required.
	Explained func(Judge) (*ruleset.Ruleset, error)
	// Settings names the settings that feed a rule; nil when there are none.
	Settings func(ruleset.Rule) []string
}

// FalcoFlag adds --falco to a command, the Falco whose rules apply.
func (s Source) FalcoFlag(cmd *cobra.Command, number *string) {
	cmd.Flags().StringVar(number, "falco", "", "judge as this Falco version does, such as "+falco.Newest().Number+
		" (default: "+s.DefaultFalco+")")
}

// Judge is the Falco that a command judges as, and why it is this one.
type Judge struct {
	falco.Version
	// Why says in a few words where the choice comes from.
	Why string
}

// String names the Falco and why it was chosen.
func (c Judge) String() string { return "Falco " + c.Number + " (" + c.Why + ")" }

// loadRules loads the files in order. The files of before come first.
func loadRules(files []ruleset.File, v Judge, before ...ruleset.File) (*ruleset.Ruleset, *ruleset.Report) {
	return ruleset.Load(append(before, files...), ruleset.Options{Falco: v.Version})
}

// LoadValid is loadRules for commands that need rules that Falco accepts.
func LoadValid(paths []string, v Judge) (*ruleset.Ruleset, error) {
	files, err := readFiles(paths, nil)
	if err != nil {
		return nil, err
	}
	set, report := loadRules(files, v)
	if !report.OK() {
		return nil, fmt.Errorf("%s would refuse these rules: %w", v, report.Err())
	}
	return set, nil
}

// Check is the command check.
func (s Source) Check() *cobra.Command {
	var strict, asJSON, asSARIF bool
	var disable []string
	var number string
	var behindStock, annotate bool
	cmd := &cobra.Command{
		Use:   "check FILE|FOLDER|GLOB|-...",
		Short: "Report whether Falco would load these files, in this order, and what would never fire",
		Long: "Takes files, globs, folders (their .yaml and .yml files by name, without _test.yaml files and subfolders, as\n" +
			"Falco loads a folder) and - for standard input. " +
			"Loads the files in order, as the Falco of --falco does. The exit code is 0 exactly when that Falco would accept\n" +
			"them. Findings of the lint are listed apart; they count only with --strict.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			off, err := lintCodes(disable)
			if err != nil {
				return err
			}
			v, err := s.Choose(number)
			if err != nil {
				return err
			}
			before, err := stockRules(v.Version, behindStock)
			if err != nil {
				return err
			}
			files, err := readFiles(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			set, report := loadRules(files, v, before...)
			result := CheckResult{Falco: v.Number, judge: v.String(), Successful: report.OK(), Errors: report.Errors, Warnings: report.Warnings}
			if set != nil {
				result.Findings = ruleset.Lint(set, ruleset.LintOptions{Disable: off})
			}
			if behindStock {
				result.onlyNamed()
			}
			out := cmd.OutOrStdout()
			switch {
			case asJSON:
				err = writeJSON(out, result)
			case asSARIF:
				err = writeJSON(out, sarifOf(result))
			default:
				err = result.write(out, files, cmd.Parent().CommandPath()+" lint")
			}
			if err == nil && annotate {
				err = writeAnnotations(out, result.annotations(strict))
			}
			if err != nil {
				return err
			}
			if !result.Successful || strict && len(result.Findings) > 0 {
				return cli.ExitCode(1)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "findings of the lint are failures too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().BoolVar(&asSARIF, "sarif", false, "print the result as SARIF 2.1.0, for code review")
	cmd.Flags().StringSliceVar(&disable, "disable", nil, "lint codes to leave out")
	cmd.Flags().BoolVar(&annotate, "annotations", false, "also print each problem as GitHub Actions shows it, beside its line")
	cmd.MarkFlagsMutuallyExclusive("json", "sarif", "annotations")
	cmd.Flags().BoolVar(&behindStock, "stock", false,
		"judge the files as behind the rules that the image of this Falco carries: their lists, macros and rules can be used")
	s.FalcoFlag(cmd, &number)
	return cmd
}

// stockRules is the file that stands in for the rules of the image, when it is wanted.
func stockRules(v falco.Version, wanted bool) ([]ruleset.File, error) {
	if !wanted {
		return nil, nil
	}
	file, err := stock.Rules(v)
	if err != nil {
		return nil, fmt.Errorf("--stock: %w", err)
	}
	return []ruleset.File{file}, nil
}

// onlyNamed leaves out what is said of the placeholders of the stock rules. An error in them stays: a file that was named
// has caused it.
func (r *CheckResult) onlyNamed() {
	stock.Hide(r.Errors)
	r.Warnings = slices.DeleteFunc(r.Warnings, func(p ruleset.Problem) bool { return stock.IsPlaceholder(p.File) })
	r.Findings = slices.DeleteFunc(r.Findings, func(f ruleset.Finding) bool { return stock.IsPlaceholder(f.File) })
}

func lintCodes(names []string) ([]ruleset.FindingCode, error) {
	known := ruleset.LintCodes()
	codes := make([]ruleset.FindingCode, 0, len(names))
	for _, n := range names {
		if !slices.Contains(known, ruleset.FindingCode(n)) {
			return nil, fmt.Errorf("--disable = %q: no such lint; there are: %s", n, strings.Join(asStrings(known), ", "))
		}
		codes = append(codes, ruleset.FindingCode(n))
	}
	return codes, nil
}

// Lint is the command lint.
func (s Source) Lint() *cobra.Command {
	return &cobra.Command{
		Use:   "lint [CODE]",
		Short: "List the findings of check, or explain one: why it matters, a bad and a good example, how to ignore it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				for _, code := range ruleset.LintCodes() {
					fmt.Fprintf(w, "%s\t%s\n", code, code.Describe())
				}
				return w.Flush() //nolint:wrapcheck // of the standard output
			}
			page, ok := lints.Page(args[0])
			if !ok {
				known := asStrings(ruleset.LintCodes())
				if near := condition.Nearest(args[0], known); near != "" {
					return fmt.Errorf("no such lint: %q; did you mean %s?", args[0], near)
				}
				return fmt.Errorf("no such lint: %q; there are: %s", args[0], strings.Join(known, ", "))
			}
			_, err := io.WriteString(cmd.OutOrStdout(), page)
			return err //nolint:wrapcheck // of the standard output
		},
	}
}

func asStrings[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// CheckResult is what a check found.
type CheckResult struct {
	// Falco is the version that the result is true of.
	Falco      string            `json:"falco"`
	judge      string            // Falco, and why it is this one
	Successful bool              `json:"successful"`
	Errors     []ruleset.Problem `json:"errors"`
	Warnings   []ruleset.Problem `json:"warnings"`
	Findings   []ruleset.Finding `json:"findings"`
}

// write writes the result for a person; explain is the command that explains a finding.
func (r CheckResult) write(out io.Writer, files []ruleset.File, explain string) error {
	w := bufio.NewWriter(out)
	excerpts := map[string]*ruleset.Excerpts{}
	excerpt := func(file string, line, column int) {
		for _, f := range files {
			if f.Name == file {
				if excerpts[file] == nil {
					excerpts[file] = ruleset.NewExcerpts(f.Content)
				}
				if text := excerpts[file].At(line, column); text != "" {
					fmt.Fprintln(w, report.Lines(text))
				}
			}
		}
	}
	for _, kind := range []struct {
		word     string
		problems []ruleset.Problem
	}{{"error", r.Errors}, {"warning", r.Warnings}} {
		for _, p := range kind.problems {
			report.Fprintf(w, "%s: %s\n", kind.word, p)
			excerpt(p.File, p.Line, p.Column)
		}
	}
	if len(r.Findings) > 0 {
		fmt.Fprintf(w, "\nlint (Falco loads these all the same; %s CODE explains one):\n", explain)
		for _, f := range r.Findings {
			report.Fprintf(w, "%s\n", f)
			excerpt(f.File, f.Line, f.Column)
		}
	}
	verdict := "would load them"
	if !r.Successful {
		verdict = "would refuse them"
	}
	fmt.Fprintf(w, "%d errors, %d warnings, %d lint findings: %s %s\n", len(r.Errors), len(r.Warnings), len(r.Findings), r.judge, verdict)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// annotations are the problems and findings for GitHub Actions; a finding is a warning, and an error where it is a failure.
func (r CheckResult) annotations(strict bool) []report.Annotation {
	var out []report.Annotation
	for _, kind := range []struct {
		level    string
		problems []ruleset.Problem
	}{{"error", r.Errors}, {"warning", r.Warnings}} {
		for _, p := range kind.problems {
			out = append(out, report.Annotation{Level: kind.level, Title: string(p.Code), File: p.File, Line: p.Line, Message: p.String()})
		}
	}
	level := "warning"
	if strict {
		level = "error"
	}
	for _, f := range r.Findings {
		out = append(out, report.Annotation{Level: level, Title: string(f.Code), File: f.File, Line: f.Line, Message: f.String()})
	}
	return out
}

func writeAnnotations(out io.Writer, all []report.Annotation) error {
	for _, a := range all {
		if _, err := fmt.Fprintln(out, a); err != nil {
			return fmt.Errorf("write the annotations: %w", err)
		}
	}
	return nil
}

func writeJSON(out io.Writer, v any) error {
	if err := report.WriteJSON(out, v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// Eval is the command eval.
func (s Source) Eval() *cobra.Command {
	var paths []string
	var matching, number string
	cmd := &cobra.Command{
		Use:   "eval EVENTS.jsonl",
		Short: "Run recorded events through rules; one alert a line, in Falco's own JSON; - reads standard input",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			mode, err := ruleset.ParseMatching(matching)
			if err != nil {
				return fmt.Errorf("--matching = %q: %w", matching, err)
			}
			v, err := s.Choose(number)
			if err != nil {
				return err
			}
			set, leftOut, err := s.evaluable(paths, v)
			if err != nil {
				return err
			}
			report.Fprintf(cmd.ErrOrStderr(), "evaluating as %s does\n", v)
			for _, name := range leftOut {
				report.Fprintf(cmd.ErrOrStderr(), "not evaluated: rule %q uses lists or macros of the stock rules, which are not here; give all files with --rules\n", name)
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := safefile.Open(args[0])
				if err != nil {
					return fmt.Errorf("read the events (- takes them from a pipe): %w", err)
				}
				defer f.Close() //nolint:errcheck // only read
				in = f
			}
			return Evaluate(set.NewEngine(mode), in, args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringArrayVar(&paths, "rules", nil, "rule file, in load order; again for more"+s.DefaultRules)
	cmd.Flags().StringVar(&matching, "matching", "first", "first: an event fires the first rule that matches; all: every one")
	s.FalcoFlag(cmd, &number)
	return cmd
}

// maxEventLine is the longest line of events that is read, in bytes: Falco's longest argument lists fit many times over.
const maxEventLine = 16 << 20

// Evaluate runs JSON Lines of events through an engine and writes one alert a line. name stands in errors.
func Evaluate(engine *ruleset.Engine, in io.Reader, name string, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxEventLine)
	for n := 1; lines.Scan(); n++ {
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		event, err := ruleset.ParseEvent(lines.Bytes())
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		for _, alert := range engine.Eval(event) {
			text, err := alert.JSON()
			if err != nil {
				return fmt.Errorf("%s:%d: %w", name, n, err)
			}
			// At once: the events may come live, and an interrupt loses nothing.
			if _, err := out.Write(append(report.JSON(text), '\n')); err != nil {
				return fmt.Errorf("write an alert: %w", err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// Explain is the command explain.
func (s Source) Explain() *cobra.Command {
	var paths []string
	var number string
	cmd := &cobra.Command{
		Use:   "explain RULE",
		Short: "Show a rule with macros and lists expanded, the events that it needs and the settings that feed it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := s.Choose(number)
			if err != nil {
				return err
			}
			set, err := s.explained(paths, v)
			if err != nil {
				return err
			}
			rule, ok := set.Rule(args[0])
			if !ok {
				var names []string
				for _, r := range set.Rules() {
					names = append(names, report.Text(r.Name))
				}
				return fmt.Errorf("there is no rule %q; there are:\n  %s", args[0], strings.Join(names, "\n  "))
			}
			return s.writeRule(cmd.OutOrStdout(), rule, v)
		},
	}
	cmd.Flags().StringArrayVar(&paths, "rules", nil, "rule file, in load order; again for more"+s.DefaultRules)
	s.FalcoFlag(cmd, &number)
	return cmd
}

func (s Source) writeRule(out io.Writer, r ruleset.Rule, v Judge) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	events := strings.Join(r.EventTypes, ", ")
	if r.EventTypes == nil {
		events = "every event: this costs Falco much"
	}
	report.Fprintf(w, "falco\t%s\n", v)
	report.Fprintf(w, "rule\t%s\n", r.Name)
	report.Fprintf(w, "priority\t%s\n", r.Priority)
	report.Fprintf(w, "tags\t%s\n", strings.Join(r.Tags, ", "))
	report.Fprintf(w, "where\t%s:%d:%d\n", r.File, r.Line, r.Column)
	report.Fprintf(w, "enabled\t%t\n", r.Enabled)
	report.Fprintf(w, "events\t%s\n", events)
	report.Fprintf(w, "macros\t%s\n", strings.Join(r.Macros, ", "))
	report.Fprintf(w, "lists\t%s\n", strings.Join(r.Lists, ", "))
	report.Fprintf(w, "exceptions\t%s\n", strings.Join(r.Exceptions, ", "))
	if s.Settings != nil {
		report.Fprintf(w, "settings\t%s\n", strings.Join(s.Settings(r), ", "))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the rule: %w", err)
	}
	_, err := fmt.Fprintf(out, "\n%s\n\ncondition, expanded:\n  %s\n\noutput:\n  %s\n", report.Lines(r.Desc), report.Lines(r.ConditionExpanded), report.Lines(r.Output))
	if err != nil {
		return fmt.Errorf("write the rule: %w", err)
	}
	return nil
}

// Newest is the newest Falco that is known, for when nothing else says which is meant.
func Newest() Judge { return Judge{falco.Newest(), "the newest known; --falco chooses another"} }

// Lookup is the Falco that --falco names. The error lists what is known.
func Lookup(number string) (Judge, error) {
	v, err := falco.Lookup(number)
	if err != nil {
		return Judge{}, fmt.Errorf("--falco = %q: %w", number, err)
	}
	return Judge{v, "chosen by --falco"}, nil
}

// evaluable is the rules that events are held against: the named files, or those of the source, without what cannot be
// evaluated.
func (s Source) evaluable(paths []string, v Judge) (set *ruleset.Ruleset, leftOut []string, err error) {
	switch {
	case len(paths) > 0:
		set, err = LoadValid(paths, v)
		return set, nil, err
	case s.Evaluable == nil:
		return nil, nil, errNoRules
	}
	return s.Evaluable(v)
}

var errNoRules = errors.New("no rules are given: name each file with --rules FILE, in load order")

// explained is the rules to explain: the named files, or those of the source.
func (s Source) explained(paths []string, v Judge) (*ruleset.Ruleset, error) {
	switch {
	case len(paths) > 0:
		return LoadValid(paths, v)
	case s.Explained == nil:
		return nil, errNoRules
	}
	return s.Explained(v)
}
