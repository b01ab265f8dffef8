package ruleset

import (
	"slices"
	"strings"
)

// Falco compiles everything again with each further file. What the further
// file does not touch comes out the same, and is taken over here: a macro or a
// rule counts as touched when a list or macro that changed may be used in its
// text, before or after the expansion of lists.

// changedSince names the lists and macros that are not what they were when the
// last file had been loaded, macros that are touched by others included.
func (c *collector) changedSince(out *compiled) *names {
	if c.last == nil {
		return nil
	}
	changed := &names{known: map[string]bool{}}
	for _, l := range out.lists {
		i, ok := c.last.listIndex[l.name]
		if !ok || !slices.EqualFunc(c.last.lists[i].items, l.items, func(a, b text) bool { return a.s == b.s }) {
			changed.add(l.name)
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
			changed.add(info.name)
			grew = true
			return true
		})
	}
	return changed
}

// names is a set of names of lists and macros. Those in odd have delimiters in them.
type names struct {
	known map[string]bool
	odd   []string
}

func (n *names) add(name string) {
	n.known[name] = true
	if hasDelimiter(name) {
		n.odd = append(n.odd, name)
	}
}

// mentionsAny tells whether one of the names may be used in a text, before or
// after the expansion of lists. Names stand there as words; only a backspace,
// which Falco takes for a blank, can be between a macro's name and the rest of
// a word.
func mentionsAny(scan [2]string, n *names) bool {
	for _, text := range scan {
		if strings.IndexByte(text, '\b') >= 0 {
			return true
		}
		for word := range words(text) {
			if n.known[word] {
				return true
			}
		}
	}
	return slices.ContainsFunc(n.odd, func(name string) bool {
		return strings.Contains(scan[0], name) || strings.Contains(scan[1], name)
	})
}

// reusedMacro returns what the macro came to before, nil when it has to be compiled.
func (last *compiled) reusedMacro(info *macroInfo, changed *names) *macroDef {
	if last == nil || changed.known[info.name] {
		return nil
	}
	m := *last.byName[info.name]
	m.used, m.reused = false, true
	return &m
}

// reusedRule returns what the rule came to before, nil when it has to be compiled.
func (last *compiled) reusedRule(info *ruleInfo, changed *names) *compiledRule {
	if last == nil {
		return nil
	}
	i := slices.IndexFunc(last.rules, func(r *compiledRule) bool { return r.info.name == info.name })
	if i < 0 || last.rules[i].order != info.order || mentionsAny(last.rules[i].scan, changed) {
		return nil
	}
	return last.rules[i]
}
