package ruleset

import (
	"slices"

	"spire-falco/falco/condition"
)

// Rules returns the rules of the set in the order in which Falco tries them.
func (rs *Ruleset) Rules() []Rule {
	rules := make([]Rule, len(rs.compiled.rules))
	for i, r := range rs.compiled.rules {
		rules[i] = rs.describe(r)
	}
	return rules
}

// Only returns the set with those of its rules that keep takes.
func (rs *Ruleset) Only(keep func(Rule) bool) *Ruleset {
	some, kept := *rs, *rs.compiled
	kept.rules = nil
	for _, r := range rs.compiled.rules {
		if keep(rs.describe(r)) {
			kept.rules = append(kept.rules, r)
		}
	}
	some.compiled = &kept
	return &some
}

// Rule returns the rule of that name.
func (rs *Ruleset) Rule(name string) (Rule, bool) {
	for _, r := range rs.compiled.rules {
		if r.info.name == name {
			return rs.describe(r), true
		}
	}
	return Rule{}, false
}

func (rs *Ruleset) describe(r *compiledRule) Rule {
	loc := r.info.at.location()
	rule := Rule{
		Name: r.info.name, Desc: r.info.desc, Priority: r.info.priority,
		Tags: slices.Clone(r.info.tags), Source: r.info.source, Enabled: r.info.enabled,
		Output: r.info.output.s, ConditionExpanded: r.condition.String(),
		Macros: rs.closeMacros(r.macros), Fields: FieldsOf(r.condition),
		File: loc.File, Line: loc.Line, Column: loc.Column, Expr: r.condition,
	}
	rule.Lists = rs.closeLists(r.lists, rule.Macros)
	if !rs.lang.MatchesAll(r.types) {
		rule.EventTypes = rs.lang.EventNames(r.types)
		if rule.EventTypes == nil {
			rule.EventTypes = []string{}
		}
	}
	for _, ex := range r.info.exceptions {
		rule.Exceptions = append(rule.Exceptions, ex.name)
	}
	return rule
}

// FieldsOf names the fields that a condition reads, sorted, each once.
func FieldsOf(e condition.Expr) []string {
	var fields []string
	condition.Walk(e, func(e condition.Expr) bool {
		if f, ok := e.(*condition.Field); ok {
			fields = append(fields, f.FullName())
		}
		return true
	})
	slices.Sort(fields)
	return slices.Compact(fields)
}

// closeMacros adds the macros that macros are made of.
func (rs *Ruleset) closeMacros(direct []string) []string {
	seen := map[string]bool{}
	var visit func(names []string)
	visit = func(names []string) {
		for _, name := range names {
			if m := rs.compiled.byName[name]; m != nil && !seen[name] {
				seen[name] = true
				visit(m.macros)
			}
		}
	}
	visit(direct)
	var all []string
	for _, m := range rs.compiled.macros {
		if seen[m.name] {
			all = append(all, m.name)
		}
	}
	return all
}

func (rs *Ruleset) closeLists(direct, macros []string) []string {
	seen := map[string]bool{}
	for _, name := range direct {
		seen[name] = true
	}
	for _, name := range macros {
		for _, l := range rs.compiled.byName[name].lists {
			seen[l] = true
		}
	}
	for changed := true; changed; {
		changed = false
		for _, l := range rs.compiled.lists {
			for _, ref := range l.refs {
				if seen[l.name] && !seen[ref] {
					seen[ref] = true
					changed = true
				}
			}
		}
	}
	var all []string
	for _, l := range rs.compiled.lists {
		if seen[l.name] {
			all = append(all, l.name)
		}
	}
	return all
}
