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
	before := map[string]*listDef{}
	for _, l := range c.last.lists {
		before[l.name] = l
	}
	for _, l := range out.lists {
		old := before[l.name]
		if old == nil || !slices.EqualFunc(old.items, l.items, func(a, b text) bool { return a.s == b.s }) {
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
// after the expansion of lists: as a word, or as an identifier, which is what
// a macro that can be used goes by.
func mentionsAny(scan [2]string, n *names) bool {
	found := false
	for _, text := range scan {
		words(text, func(word string) { found = found || n.known[word] })
		start := 0
		for i := 0; i <= len(text) && !found; i++ {
			if i < len(text) && isIdentifierByte(text[i]) {
				continue
			}
			found = n.known[text[start:i]]
			start = i + 1
		}
	}
	return found || slices.ContainsFunc(n.odd, func(name string) bool {
		return strings.Contains(scan[0], name) || strings.Contains(scan[1], name)
	})
}

func isIdentifierByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

func (out *compiled) reuseMacro(last *compiled, info *macroInfo, changed *names) *macroDef {
	if last == nil || changed.known[info.name] {
		return nil
	}
	m := *last.byName[info.name]
	m.used, m.reused = false, true
	out.markUsed(m.lists, m.macros)
	return &m
}

func (out *compiled) reuseRule(last *compiled, info *ruleInfo, changed *names) *compiledRule {
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
