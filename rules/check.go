package rules

import (
	"errors"
	"fmt"
	"slices"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"
	"spire-falco/falco/stock"
)

// check loads the files as the chosen Falco would: ours, which must raise nothing, then the user's, which may build on ours and on the
// stock rules of that Falco. The stock rules are not shipped; placeholders stand in for them.
func check(own, extra []File, v falco.Version) (*ruleset.Ruleset, error) {
	options := ruleset.Options{Falco: v}
	set, report := ruleset.Load(loadable(own), options)
	if problems := append(report.Errors, report.Warnings...); len(problems) > 0 {
		return nil, fmt.Errorf("rules of this stack: %w", join(problems))
	}
	if len(extra) == 0 {
		return set, nil
	}
	placeholders, err := stock.Rules(v)
	if err != nil {
		return nil, fmt.Errorf("rule files of the settings: %w", err)
	}
	set, report = ruleset.Load(append(append(loadable(own), placeholders), loadable(extra)...), options)
	if len(report.Errors) > 0 {
		stock.Hide(report.Errors)
		return nil, fmt.Errorf("rule files of the settings: %w", join(report.Errors))
	}
	return set, nil
}

// Evaluable returns the checked rules that events can be held against, and the names of the user's rules that are left out:
// those that use a list or a macro of the stock rules, whose text is not here.
func (r *Rendered) Evaluable() (set *ruleset.Ruleset, leftOut []string) {
	stocked := map[string]bool{}
	if len(r.AfterStock) > 0 {
		facts, err := stock.Facts(r.Falco)
		if err != nil {
			panic(fmt.Sprintf("rules: %v", err)) // check has read them
		}
		for _, f := range facts {
			stocked[f.Name] = f.Kind == stock.KindList || f.Kind == stock.KindMacro
		}
	}
	set = r.Set.Only(func(rule ruleset.Rule) bool {
		if stock.IsPlaceholder(rule.File) {
			return false
		}
		uses := func(name string) bool { return stocked[name] }
		if slices.ContainsFunc(rule.Macros, uses) || slices.ContainsFunc(rule.Lists, uses) {
			leftOut = append(leftOut, rule.Name)
			return false
		}
		return true
	})
	return set, leftOut
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
