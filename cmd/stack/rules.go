package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/config"
	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/falco/stock"
	"spire-falco/internal/safefile"
	"spire-falco/report"
	"spire-falco/rules"
	"spire-falco/rules/scenario"
)

func newRulesCommand(t *cli.Target) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Check, try, test and explain Falco rules; no Falco, kernel or root is needed",
	}
	cmd.AddCommand(newRulesCheckCommand(t), newRulesEvalCommand(t), newRulesTestCommand(t), newRulesExplainCommand(t), newRulesRenderCommand(t))
	return cmd
}

// ownRules renders the rules of the stack's settings for a Falco, whether Falco is on or not.
func ownRules(t *cli.Target, v falco.Version) (*rules.Rendered, error) {
	if err := t.Find(); err != nil {
		return nil, err
	}
	settings, _, err := config.LoadStackFile(t.Dir, t.Name)
	if err != nil {
		return nil, err
	}
	settings.EnableFalco = true
	settings.Falco.Chart.AppVersion, settings.Falco.Chart.Falco = v.Number, v
	return rules.RenderSettings(settings, t.Dir)
}

// falcoFlag adds --falco to a command, the Falco whose rules apply.
func falcoFlag(cmd *cobra.Command, number *string) {
	cmd.Flags().StringVar(number, "falco", "", "judge as this Falco version does, such as "+falco.Newest().Number+
		" (default: in the project's folder the one that the stack installs, elsewhere the newest known)")
}

// chosenFalco is the Falco that a command judges as, and why it is this one.
type chosenFalco struct {
	falco.Version
	// why says in a few words where the choice comes from.
	why string
}

// String names the Falco and why it was chosen.
func (c chosenFalco) String() string { return "Falco " + c.Number + " (" + c.why + ")" }

// chooseFalco is the Falco that --falco names; without the flag, in the project's folder, the one that the stack
// installs, and elsewhere the newest.
func chooseFalco(t *cli.Target, number string) (chosenFalco, error) {
	if number != "" {
		v, err := falco.Lookup(number)
		if err != nil {
			return chosenFalco{}, fmt.Errorf("--falco = %q: %w", number, err)
		}
		return chosenFalco{v, "chosen by --falco"}, nil
	}
	if t.Find() != nil {
		return chosenFalco{falco.Newest(), "the newest known; --falco chooses another"}, nil //nolint:nilerr // outside of a project
	}
	settings, _, err := config.LoadStackFile(t.Dir, t.Name)
	if err != nil {
		return chosenFalco{}, fmt.Errorf("which Falco the stack installs is not known; correct its settings or give --falco: %w", err)
	}
	chart := settings.Falco.Chart
	return chosenFalco{chart.Falco, "of chart " + chart.Version + ", which the stack " + t.Name + " installs; --falco chooses another"}, nil
}

// loadRules loads the named files in order. The files of before come first and are not among those returned.
func loadRules(paths []string, v chosenFalco, before ...ruleset.File) (*ruleset.Ruleset, []ruleset.File, *ruleset.Report, error) {
	var files []ruleset.File
	for _, path := range paths {
		content, err := safefile.Read(path, rules.MaxRules)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("read the rules: %w", err)
		}
		files = append(files, ruleset.File{Name: path, Content: content})
	}
	set, report := ruleset.Load(append(before, files...), ruleset.Options{Falco: v.Version})
	return set, files, report, nil
}

// loadValidRules is loadRules for commands that need rules that Falco accepts.
func loadValidRules(paths []string, v chosenFalco) (*ruleset.Ruleset, error) {
	set, _, report, err := loadRules(paths, v)
	if err != nil {
		return nil, err
	}
	if !report.OK() {
		return nil, fmt.Errorf("%s would refuse these rules: %w", v, report.Err())
	}
	return set, nil
}

func newRulesCheckCommand(t *cli.Target) *cobra.Command {
	var strict, asJSON, asSARIF bool
	var disable []string
	var number string
	var behindStock bool
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Report whether Falco would load these files, in this order, and what would never fire",
		Long: "Loads the files in order, as the Falco of --falco does. The exit code is 0 exactly when that Falco would accept\n" +
			"them. Findings of the lint are listed apart; they count only with --strict.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			off, err := lintCodes(disable)
			if err != nil {
				return err
			}
			v, err := chooseFalco(t, number)
			if err != nil {
				return err
			}
			before, err := stockRules(v.Version, behindStock)
			if err != nil {
				return err
			}
			set, files, report, err := loadRules(args, v, before...)
			if err != nil {
				return err
			}
			result := checkResult{Falco: v.Number, judge: v.String(), Successful: report.OK(), Errors: report.Errors, Warnings: report.Warnings}
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
				err = writeJSON(out, sarif(result))
			default:
				err = result.write(out, files)
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
	cmd.MarkFlagsMutuallyExclusive("json", "sarif")
	cmd.Flags().BoolVar(&behindStock, "stock", false,
		"judge the files as behind the rules that the image of this Falco carries: their lists, macros and rules can be used")
	falcoFlag(cmd, &number)
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
func (r *checkResult) onlyNamed() {
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

func asStrings[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// checkResult is what a check found.
type checkResult struct {
	// Falco is the version that the result is true of.
	Falco      string            `json:"falco"`
	judge      string            // Falco, and why it is this one
	Successful bool              `json:"successful"`
	Errors     []ruleset.Problem `json:"errors"`
	Warnings   []ruleset.Problem `json:"warnings"`
	Findings   []ruleset.Finding `json:"findings"`
}

func (r checkResult) write(out io.Writer, files []ruleset.File) error {
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
		fmt.Fprintln(w, "\nlint (Falco loads these all the same):")
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

func writeJSON(out io.Writer, v any) error {
	if err := report.WriteJSON(out, v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func newRulesEvalCommand(t *cli.Target) *cobra.Command {
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
			v, err := chooseFalco(t, number)
			if err != nil {
				return err
			}
			set, leftOut, err := evaluable(t, paths, v)
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
			return evaluate(set.NewEngine(mode), in, args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringArrayVar(&paths, "rules", nil, "rule file, in load order; again for more (default: this stack's rules)")
	cmd.Flags().StringVar(&matching, "matching", "first", "first: an event fires the first rule that matches; all: every one")
	falcoFlag(cmd, &number)
	return cmd
}

// evaluable is the rules that events are held against: the named files, or what was checked of the stack's, without what
// cannot be evaluated.
func evaluable(t *cli.Target, paths []string, v chosenFalco) (set *ruleset.Ruleset, leftOut []string, err error) {
	if len(paths) > 0 {
		set, err = loadValidRules(paths, v)
		return set, nil, err
	}
	rendered, err := ownRules(t, v.Version)
	if err != nil {
		return nil, nil, err
	}
	set, leftOut = rendered.Evaluable()
	return set, leftOut, nil
}

// maxEventLine is the longest line of events that is read, in bytes: Falco's longest argument lists fit many times over.
const maxEventLine = 16 << 20

func evaluate(engine *ruleset.Engine, in io.Reader, name string, out io.Writer) error {
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

// recordedRules loads the named files, or the stack's own rules for the names that the recordings were made with: other
// namespaces than those of a recording cannot be tested on it.
func recordedRules(paths []string, v chosenFalco) (*ruleset.Ruleset, error) {
	if len(paths) > 0 {
		return loadValidRules(paths, v)
	}
	in := rules.DefaultInputs()
	in.FalcoVersion = v.Number
	rendered, err := rules.Render(in)
	if err != nil {
		return nil, fmt.Errorf("render the rules for the recordings: %w", err)
	}
	return rendered.Set, nil
}

func newRulesTestCommand(t *cli.Target) *cobra.Command {
	var paths []string
	var junit, number string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run the recorded attacks and normal operations through rules, and compare with what must fire",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := chooseFalco(t, number)
			if err != nil {
				return err
			}
			set, err := recordedRules(paths, v)
			if err != nil {
				return err
			}
			scenarios, err := scenario.Load()
			if err != nil {
				return err
			}
			engine := set.NewEngine(ruleset.First)
			results, err := scenario.Run(scenarios, func(e condition.Event) (string, error) {
				if names := engine.Match(e); len(names) > 0 {
					return names[0], nil
				}
				return "", nil
			})
			if err != nil {
				return err
			}
			if err := scenario.WriteTable(report.Writer(cmd.OutOrStdout()), results); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "the rules were judged as %s does\n", v); err != nil {
				return fmt.Errorf("write the results: %w", err)
			}
			if junit != "" {
				if err := writeFile(junit, func(w io.Writer) error { return scenario.WriteJUnit(report.Writer(w), results) }); err != nil {
					return err
				}
			}
			if scenario.Failed(results) > 0 {
				return cli.ExitCode(1)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&paths, "rules", nil, "rule file, in load order; again for more (default: this stack's rules)")
	cmd.Flags().StringVar(&junit, "junit", "", "also write a JUnit report to this file")
	falcoFlag(cmd, &number)
	return cmd
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func newRulesExplainCommand(t *cli.Target) *cobra.Command {
	var paths []string
	var number string
	cmd := &cobra.Command{
		Use:   "explain RULE",
		Short: "Show a rule with macros and lists expanded, the events that it needs and the settings that feed it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := chooseFalco(t, number)
			if err != nil {
				return err
			}
			set, err := explained(t, paths, v)
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
			return writeRule(cmd.OutOrStdout(), rule, v)
		},
	}
	cmd.Flags().StringArrayVar(&paths, "rules", nil, "rule file, in load order; again for more (default: this stack's rules)")
	falcoFlag(cmd, &number)
	return cmd
}

// explained is the rules to explain: the named files, or what was checked of the stack's.
func explained(t *cli.Target, paths []string, v chosenFalco) (*ruleset.Ruleset, error) {
	if len(paths) > 0 {
		return loadValidRules(paths, v)
	}
	rendered, err := ownRules(t, v.Version)
	if err != nil {
		return nil, err
	}
	return rendered.Set.Only(func(r ruleset.Rule) bool { return !stock.IsPlaceholder(r.File) }), nil
}

func writeRule(out io.Writer, r ruleset.Rule, v chosenFalco) error {
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
	var settings []string
	for _, field := range rules.SettingsOf(r) {
		settings = append(settings, rules.Key(field))
	}
	report.Fprintf(w, "settings\t%s\n", strings.Join(settings, ", "))
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the rule: %w", err)
	}
	_, err := fmt.Fprintf(out, "\n%s\n\ncondition, expanded:\n  %s\n\noutput:\n  %s\n", report.Lines(r.Desc), report.Lines(r.ConditionExpanded), report.Lines(r.Output))
	if err != nil {
		return fmt.Errorf("write the rule: %w", err)
	}
	return nil
}

func newRulesRenderCommand(t *cli.Target) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print what goes into the rules ConfigMap, or write it to a folder",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := chooseFalco(t, "")
			if err != nil {
				return err
			}
			rendered, err := ownRules(t, v.Version)
			if err != nil {
				return err
			}
			if dir != "" {
				if err := os.MkdirAll(dir, 0o750); err != nil {
					return fmt.Errorf("make the folder of --output: %w", err)
				}
			}
			for _, f := range rendered.Files() {
				if dir == "" {
					// What is printed is to be copied: it is the file itself, or nothing.
					if plain := strings.ReplaceAll(f.Content, "\r\n", "\n"); report.Lines(plain) != plain {
						return fmt.Errorf("%s has characters that a terminal does not show: write it to a folder with --output", f.Name)
					}
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), "# %s\n%s\n", report.Text(f.Name), f.Content); err != nil {
						return fmt.Errorf("write the rules: %w", err)
					}
					continue
				}
				err := writeFile(filepath.Join(dir, f.Name), func(w io.Writer) error {
					_, err := io.WriteString(w, f.Content)
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "output", "", "folder to write the files to; it is made when it is not there")
	return cmd
}
