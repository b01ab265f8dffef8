package ruleset

import (
	"slices"
	"strings"
)

// Falco compiles everything again with each further file. What the further
// file does not touch comes out the same, and is taken over here: a macro or a
// rule counts as touched when the name of a list or macro that changed is
// anywhere in its text, before or after the expansion of lists.

// changedSince names the lists and macros that are not what they were when the
// last file had been loaded, macros that are touched by others included.
func (c *collector) changedSince(out *compiled) []string {
	if c.last == nil {
		return nil
	}
	var changed []string
	before := map[string]*listDef{}
	for _, l := range c.last.lists {
		before[l.name] = l
	}
	for _, l := range out.lists {
		old := before[l.name]
		if old == nil || !slices.EqualFunc(old.items, l.items, func(a, b text) bool { return a.s == b.s }) {
			changed = append(changed, l.name)
		}
	}
	waiting := slices.Clone(c.macros.list)
	for grew := true; grew; {
		grew = false
		waiting = slices.DeleteFunc(waiting, func(info *macroInfo) bool {
			old := c.last.byName[info.name]
			if old != nil && old.order == info.order && !mentionsAny(old.scan, changed) {
				return false
			}
			changed = append(changed, info.name)
			grew = true
			return true
		})
	}
	return changed
}

func mentionsAny(scan [2]string, names []string) bool {
	for _, name := range names {
		if strings.Contains(scan[0], name) || strings.Contains(scan[1], name) {
			return true
		}
	}
	return false
}

func (out *compiled) reuseMacro(last *compiled, info *macroInfo, changed []string) *macroDef {
	if last == nil || slices.Contains(changed, info.name) {
		return nil
	}
	m := *last.byName[info.name]
	m.used, m.reused = false, true
	out.markUsed(m.lists, m.macros)
	return &m
}

func (out *compiled) reuseRule(last *compiled, info *ruleInfo, changed []string) *compiledRule {
	if last == nil {
		return nil
	}
	i := slices.IndexFunc(last.rules, func(r *compiledRule) bool { return r.info.name == info.name })
	if i < 0 || last.rules[i].order != info.order || mentionsAny(last.rules[i].scan, changed) {
		return nil
	}
	out.markUsed(last.rules[i].lists, last.rules[i].macros)
	return last.rules[i]
}

// markUsed marks lists now and macros as soon as all of them are there.
func (out *compiled) markUsed(lists, macros []string) {
	for _, l := range out.lists {
		if slices.Contains(lists, l.name) {
			l.used = true
		}
	}
	out.usedMacros = append(out.usedMacros, macros...)
}
