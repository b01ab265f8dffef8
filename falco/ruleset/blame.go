package ruleset

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"spire-falco/falco/condition"
)

// Falco puts lists and exceptions into a condition as text, and reports what
// no longer parses where the reading stopped: often far from the fault, and in
// a file that has none. What follows finds the item that is at fault.

// maxTrials bounds the work of finding what is at fault, in bytes read again.
const maxTrials = 8 << 20

// parseProblem is the error of a condition that does not parse. It names the
// item of a list that breaks it, or the list whose name is a word of it.
func (out *compiled) parseProblem(err error, t, expanded text, lists []string, what string, owner order) error {
	problem := conditionProblem(err, expanded, what)
	var p *loadError
	if !errors.As(problem, &p) || len(expanded.s)*len(lists) > maxTrials {
		return problem
	}
	parses := func(instead map[string]*listDef) bool {
		text, _, ok := out.expandLists(t, instead)
		if !ok {
			return false
		}
		_, err := out.lang.ParseSource(text.source())
		return err == nil
	}
	sound := map[string]*listDef{}
	var broken *listDef
	for _, name := range lists {
		l := out.lists[out.listIndex[name]]
		if s := l.sound(); s != nil {
			sound[name] = s
			if broken == nil {
				broken = l
			}
		}
	}
	if broken != nil {
		i := slices.IndexFunc(broken.items, malformed)
		if parses(sound) {
			p.blameItem(broken, broken.items[i])
			return p
		}
	}
	for _, name := range lists {
		if parses(map[string]*listDef{name: nil}) {
			out.blameName(&p.Problem, out.lists[out.listIndex[name]], owner, expanded)
			return p
		}
	}
	if broken != nil {
		out.hintItem(&p.Problem)
	}
	return p
}

// malformed reports whether an item is not one value of a condition.
func malformed(it text) bool { return !it.empty() && !condition.IsValue(quoteItem(it).s) }

// sound returns the list without its malformed items, nil when it has none.
func (l *listDef) sound() *listDef {
	if !slices.ContainsFunc(l.items, malformed) {
		return nil
	}
	s := *l
	s.items = slices.DeleteFunc(slices.Clone(l.items), malformed)
	s.joined = joinItems(s.items)
	return &s
}

// blameItem puts a problem at the item of a list that causes it.
func (e *loadError) blameItem(l *listDef, it text) {
	if it.covers(e.File, e.Line, e.Column) && e.Hint != "" {
		e.addHint("an item of list " + l.name)
		return
	}
	loc := it.first().location()
	e.File, e.Line, e.Column = loc.File, loc.Line, loc.Column
	e.Hint = itemHint(l.name, it.s)
}

func itemHint(list, it string) string {
	return "the item " + shorten(it) + " of list " + list + " is not one value to the condition that uses the list: write it as " + asYAML(it)
}

// hintItem says which list the item is in that a problem points at.
func (out *compiled) hintItem(p *Problem) {
	l, it := out.itemAt(p.File, p.Line, p.Column)
	switch {
	case l == nil:
	case malformed(it):
		p.Hint = itemHint(l.name, it.s)
	default:
		p.addHint("an item of list " + l.name)
	}
}

func (p *Problem) addHint(hint string) {
	if p.Hint != "" {
		hint = p.Hint + "; " + hint
	}
	p.Hint = hint
}

// itemAt finds the list and the item that a place of a file is in.
func (out *compiled) itemAt(file string, line, column int) (*listDef, text) {
	for _, l := range out.lists {
		for _, it := range l.items {
			if it.covers(file, line, column) {
				return l, it
			}
		}
	}
	return nil, text{}
}

// covers reports whether a text was written at that place of a file.
func (t text) covers(file string, line, column int) bool {
	if at := t.first(); at.src == nil || at.src.name != file {
		return false
	}
	loc := t.first().location()
	return loc.Line == line && column >= loc.Column && column <= loc.Column+len(t.s)
}

// blameName says that the name of a list is a word that the condition means
// otherwise. The place is that of the list where it came or changed after the
// condition was written, or where there is a macro of that name.
func (out *compiled) blameName(p *Problem, l *listDef, owner order, expanded text) {
	macro := out.hasMacro(l.name)
	if macro || l.visibility > owner.visibility {
		loc := l.changed.location()
		p.Hint = "Falco puts the items of list " + l.name + " (" + loc.File + ":" + strconv.Itoa(loc.Line) + ") in place of every word " + l.name +
			", also in " + p.Item + ", where it is "
		if macro {
			p.Hint += "the name of a macro: rename the list"
		} else {
			p.Hint += "not one of the values in parentheses: rename the list, or give it one item that fits"
		}
		p.File, p.Line, p.Column = loc.File, loc.Line, loc.Column
		return
	}
	for _, seg := range expanded.at {
		if seg.list != nil && seg.list.name == l.name {
			loc := seg.location()
			p.File, p.Line, p.Column = loc.File, loc.Line, loc.Column
			break
		}
	}
	p.Hint = l.name + " is a list: it can only be used in parentheses, as in (" + l.name + ")"
}

// hasMacro reports whether a macro of that name is defined, compiled or not.
func (out *compiled) hasMacro(name string) bool { return out.macroNames[name] }

// listTaken returns the list that brought a name into a text by its only item.
func (out *compiled) listTaken(from text, lists []string, name string) *listDef {
	for _, list := range lists {
		l := out.lists[out.listIndex[list]]
		if l.joined != name {
			continue
		}
		plain, _, ok := out.expandLists(from, map[string]*listDef{list: nil})
		if !ok {
			continue
		}
		e, err := out.lang.ParseSource(plain.source())
		if err != nil {
			continue
		}
		found := false
		condition.Walk(e, func(e condition.Expr) bool {
			if id, ok := e.(*condition.Identifier); ok && id.Name == list {
				found = true
			}
			return !found
		})
		if found {
			return l
		}
	}
	return nil
}

// valueProblem places an error of a condition that parses, and says which list
// or exception the value at fault is in.
func (out *compiled) valueProblem(err error, cond text, what string, r *ruleInfo) error {
	problem := conditionProblem(err, cond, what)
	var p *loadError
	if errors.As(problem, &p) {
		out.hintItem(&p.Problem)
	}
	return out.exceptionProblem(problem, r, what)
}

// exceptionProblem names the exception that the place of an error is in, and
// finds the value of one that breaks the condition elsewhere.
func (out *compiled) exceptionProblem(err error, r *ruleInfo, what string) error {
	var p *loadError
	if len(r.exceptions) == 0 || !errors.As(err, &p) {
		return err
	}
	for _, ex := range r.exceptions {
		for _, row := range ex.values {
			if v, comp, ok := ex.find(row, func(v entry) bool {
				return v.item.covers(p.File, p.Line, p.Column) || v.isList && v.at.src != nil && v.at.location() == p.location()
			}); ok {
				p.Item = exceptionItem(what, ex.name)
				p.hintValue(out.lang, v, comp)
				return p
			}
		}
	}
	if p.Code != ErrCompileCondition {
		return err
	}
	// A quote that is not closed swallows what comes behind it.
	for _, ex := range r.exceptions {
		for _, row := range ex.values {
			if v, comp, ok := ex.find(row, func(v entry) bool { return !v.isList && malformed(v.item) }); ok && out.parsesWithout(r, ex) {
				loc := v.at.location()
				p.File, p.Line, p.Column, p.Item = loc.File, loc.Line, loc.Column, exceptionItem(what, ex.name)
				p.hintValue(out.lang, v, comp)
				return p
			}
		}
	}
	return p
}

func (p *Problem) location() condition.Location {
	return condition.Location{File: p.File, Line: p.Line, Column: p.Column}
}

// find returns the first part of a row of values that the test holds for, and
// the comparison that it is for.
func (ex *exception) find(row entry, test func(entry) bool) (v entry, comp string, ok bool) {
	if !ex.fields.isList {
		return row, ex.comps.item.s, test(row)
	}
	for k, part := range row.items {
		if k < len(ex.comps.items) {
			comp = ex.comps.items[k].item.s
		}
		for _, it := range append([]entry{part}, part.items...) {
			if test(it) {
				return it, comp, true
			}
		}
	}
	return entry{}, "", false
}

// parsesWithout reports whether the condition parses when one exception has no values.
func (out *compiled) parsesWithout(r *ruleInfo, without *exception) bool {
	other := *r
	other.exceptions = slices.DeleteFunc(slices.Clone(r.exceptions), func(ex *exception) bool { return ex == without })
	cond, err := withExceptions(out.lang, &other)
	if err != nil {
		return false
	}
	cond, _, ok := out.expandLists(cond, nil)
	if !ok {
		return false
	}
	_, err = out.lang.ParseSource(cond.source())
	return err == nil
}

// hintValue says how to write a value of an exception that breaks the condition.
func (p *Problem) hintValue(lang *condition.Language, v entry, comp string) {
	switch {
	case p.Hint != "":
	case v.isList && !lang.TakesList(comp):
		p.Hint = comp + " takes one value, not a list: write one row of values for each"
	case !v.isList && malformed(v.item) && !strings.HasPrefix(v.item.s, "("):
		p.Hint = "the value " + shorten(v.item.s) + " is not one value to the condition: write it as " + asYAML(v.item.s)
	}
}

// asYAML writes a value as YAML with the quotes that the condition needs around
// it inside.
func asYAML(value string) string {
	quote := `"`
	if strings.Contains(value, quote) {
		if quote = "'"; strings.Contains(value, quote) {
			quote = `"`
			value = strings.ReplaceAll(value, `"`, `\"`)
		}
	}
	return "'" + strings.ReplaceAll(quote+shorten(value)+quote, "'", "''") + "'"
}

// shorten cuts a value that would fill the screen.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return s[:runeStart(s, most)] + "..."
	}
	return s
}
