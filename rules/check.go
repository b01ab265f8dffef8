package rules

import (
	_ "embed" // the names of the stock rules travel in the binary
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

// stockNames are the names of every rule, macro and list in the stable, incubating and sandbox rules of falcosecurity/rules, of all releases
// from Falco 0.37 on, one a line.
//
//go:embed stock-names.txt
var stockNames string

// check loads the files as the chosen Falco would: ours, which must raise nothing, then the user's, which may build on ours and on the
// stock rules. The stock rules come with Falco and not with us; stand-ins of the same names take their place.
func check(own, extra []File, release falco.Version) error {
	options := ruleset.Options{Falco: release}
	_, report := ruleset.Load(loadable(own), options)
	if problems := append(report.Errors, report.Warnings...); len(problems) > 0 {
		return fmt.Errorf("rules of this stack: %w", join(problems))
	}
	if len(extra) == 0 {
		return nil
	}
	stock, err := stockStandIns()
	if err != nil {
		return err
	}
	_, report = ruleset.Load(append(append(loadable(own), stock), loadable(extra)...), options)
	if len(report.Errors) > 0 {
		return fmt.Errorf("rule files of the settings: %w", join(report.Errors))
	}
	return nil
}

// inUTF8 returns the files as a ConfigMap can hold them. Falco reads UTF-16 and UTF-32 too, a ConfigMap is UTF-8.
func inUTF8(files []File) ([]File, error) {
	out := make([]File, len(files))
	for i, f := range files {
		content, err := ruleset.Decode(ruleset.File{Name: f.Name, Content: []byte(f.Content)})
		if err != nil {
			return nil, fmt.Errorf("rule files of the settings: %w; a ConfigMap cannot hold it", err)
		}
		out[i] = File{Name: f.Name, Content: string(content)}
	}
	return out, nil
}

func join(problems []ruleset.Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

func loadable(files []File) []ruleset.File {
	out := make([]ruleset.File, len(files))
	for i, f := range files {
		out[i] = ruleset.File{Name: f.Name, Content: []byte(f.Content)}
	}
	return out
}

// stockStandIns returns a file with a rule, macro or list of every stock name, so that the user's files may refer to them.
func stockStandIns() (ruleset.File, error) {
	type item struct {
		Rule      string   `yaml:"rule,omitempty"`
		Macro     string   `yaml:"macro,omitempty"`
		List      string   `yaml:"list,omitempty"`
		Desc      string   `yaml:"desc,omitempty"`
		Condition string   `yaml:"condition,omitempty"`
		Output    string   `yaml:"output,omitempty"`
		Priority  string   `yaml:"priority,omitempty"`
		Tags      []string `yaml:"tags,omitempty"`
		Items     []string `yaml:"items,omitempty"`
	}
	const some = "evt.type = open"
	var items []item
	for line := range strings.Lines(stockNames) {
		switch kind, name, _ := strings.Cut(strings.TrimSpace(line), ": "); kind {
		case "rule":
			items = append(items, item{Rule: name, Desc: "stand-in", Condition: some, Output: "stand-in", Priority: "DEBUG", Tags: []string{"stand_in"}})
		case "macro":
			items = append(items, item{Macro: name, Condition: some})
		case "list":
			items = append(items, item{List: name, Items: []string{"stand-in"}})
		}
	}
	b, err := yaml.Marshal(items)
	if err != nil {
		return ruleset.File{}, fmt.Errorf("write stand-ins for the stock rules: %w", err)
	}
	return ruleset.File{Name: "falco_rules.yaml", Content: b}, nil
}
