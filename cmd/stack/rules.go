package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/cmd/internal/rulecmd"
	"spire-falco/config"
	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/falco/stock"
	"spire-falco/report"
	"spire-falco/rules"
	"spire-falco/rules/scenario"
)

func newRulesCommand(t *cli.Target) *cobra.Command {
	source := rulecmd.Source{
		Choose:       func(number string) (rulecmd.Judge, error) { return chooseFalco(t, number) },
		DefaultFalco: "in the project's folder the one that the stack installs, elsewhere the newest known",
		DefaultRules: " (default: this stack's rules)",
		Evaluable:    func(v rulecmd.Judge) (*ruleset.Ruleset, []string, error) { return evaluable(t, v) },
		Explained:    func(v rulecmd.Judge) (*ruleset.Ruleset, error) { return explained(t, v) },
		Settings: func(r ruleset.Rule) []string {
			var keys []string
			for _, field := range rules.SettingsOf(r) {
				keys = append(keys, rules.Key(field))
			}
			return keys
		},
	}
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Check, try, test and explain Falco rules; no Falco, kernel or root is needed",
	}
	cmd.AddCommand(source.Check(), source.Eval(), newRulesTestCommand(t, source), source.Explain(), source.Lint(), newRulesRenderCommand(t))
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

// chooseFalco is the Falco that --falco names; without the flag, in the project's folder, the one that the stack
// installs, and elsewhere the newest.
func chooseFalco(t *cli.Target, number string) (rulecmd.Judge, error) {
	if number != "" {
		return rulecmd.Lookup(number) //nolint:wrapcheck // it names the flag
	}
	if t.Find() != nil {
		return rulecmd.Newest(), nil //nolint:nilerr // outside of a project
	}
	settings, _, err := config.LoadStackFile(t.Dir, t.Name)
	if err != nil {
		return rulecmd.Judge{}, fmt.Errorf("which Falco the stack installs is not known; correct its settings or give --falco: %w", err)
	}
	chart := settings.Falco.Chart
	return rulecmd.Judge{Version: chart.Falco, Why: "of chart " + chart.Version + ", which the stack " + t.Name + " installs; --falco chooses another"}, nil
}

// evaluable is what was checked of the stack's rules, without what cannot be evaluated.
func evaluable(t *cli.Target, v rulecmd.Judge) (set *ruleset.Ruleset, leftOut []string, err error) {
	rendered, err := ownRules(t, v.Version)
	if err != nil {
		return nil, nil, err
	}
	set, leftOut = rendered.Evaluable()
	return set, leftOut, nil
}

// recordedRules loads the named files, or the stack's own rules for the names that the recordings were made with: other
// namespaces than those of a recording cannot be tested on it.
func recordedRules(paths []string, v rulecmd.Judge) (*ruleset.Ruleset, error) {
	if len(paths) > 0 {
		return rulecmd.LoadValid(paths, v)
	}
	in := rules.DefaultInputs()
	in.FalcoVersion = v.Number
	rendered, err := rules.Render(in)
	if err != nil {
		return nil, fmt.Errorf("render the rules for the recordings: %w", err)
	}
	return rendered.Set, nil
}

func newRulesTestCommand(t *cli.Target, source rulecmd.Source) *cobra.Command {
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
	source.FalcoFlag(cmd, &number)
	return cmd
}

// explained is the stack's own rules, without placeholders of the stock ones.
func explained(t *cli.Target, v rulecmd.Judge) (*ruleset.Ruleset, error) {
	rendered, err := ownRules(t, v.Version)
	if err != nil {
		return nil, err
	}
	return rendered.Set.Only(func(r ruleset.Rule) bool { return !stock.IsPlaceholder(r.File) }), nil
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

// writeFile creates the file and has write fill it.
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
