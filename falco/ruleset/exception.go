package ruleset

import (
	"strings"

	"spire-falco/falco/condition"
)

// entry is one part of an exception: a text, or a list of parts.
type entry struct {
	isList bool
	item   text
	items  []entry
	at     place
}

// last is the place of the last text of the entry, or of the entry when it has none.
func (e entry) last() place {
	switch {
	case len(e.items) > 0:
		return e.items[len(e.items)-1].last()
	case !e.item.empty():
		return e.item.first()
	}
	return e.at
}

func (e entry) valid() bool { return e.isList && len(e.items) > 0 || !e.isList && !e.item.empty() }

type exception struct {
	name   string
	fields entry
	comps  entry
	values []entry
	at     place
}

func (ex *exception) fail(rule, msg string) error { return ex.failAt(ex.at, rule, msg) }

// failAt fails at a part of the exception, or at the exception when the part has no place.
func (ex *exception) failAt(at place, rule, msg string) error {
	if at.src == nil {
		at = ex.at
	}
	return fail(ErrValidate, at, exceptionItem(item("rule", rule), ex.name), msg)
}

func exceptionItem(rule, name string) string { return rule + ", " + item("exception", name) }

// validate checks fields and comparisons against each other, and the fields
// against the catalogue when the rule's source is known. It fills in the
// comparisons that were left out.
func (ex *exception) validate(lang *condition.Language, rule string, knownSource bool) error {
	if !ex.fields.isList {
		if !ex.comps.valid() {
			ex.comps = entry{item: placed("in", ex.at)}
		}
		if ex.comps.isList {
			return ex.failAt(ex.comps.at, rule, "Fields and comps must both be strings")
		}
		if len(lang.Modifiers()) > 0 {
			ex.comps.item = ex.comps.item.trimComp()
		}
		if c := ex.comps.item.s; c != "in" && c != "pmatch" && c != "intersects" && !lang.OperatorWithModifier(c) {
			msg := "When fields is a single value, comps must be one of (in, pmatch, intersects)"
			if len(lang.Modifiers()) > 0 {
				msg += " or a modifier operator (e.g. startswith oneof)"
			}
			return withHint(ex.failAt(ex.comps.at, rule, msg), lang.ModifierHint(c))
		}
		return ex.checkField(lang, rule, ex.fields, knownSource)
	}
	if !ex.comps.valid() {
		ex.comps = entry{isList: true}
		for range ex.fields.items {
			ex.comps.items = append(ex.comps.items, entry{item: placed("=", ex.at)})
		}
	}
	if len(ex.fields.items) != len(ex.comps.items) {
		return ex.failAt(ex.comps.at, rule, "Fields and comps lists must have equal length")
	}
	for i := range ex.comps.items {
		c := &ex.comps.items[i]
		if len(lang.Modifiers()) > 0 {
			c.item = c.item.trimComp()
		}
		if !lang.IsOperator(c.item.s) && !lang.OperatorWithModifier(c.item.s) {
			return withHint(ex.failAt(c.at, rule, "'"+c.item.s+"' is not a supported comparison operator"), lang.ModifierHint(c.item.s))
		}
	}
	for _, f := range ex.fields.items {
		if err := ex.checkField(lang, rule, f, knownSource); err != nil {
			return err
		}
	}
	return nil
}

func (ex *exception) checkField(lang *condition.Language, rule string, field entry, knownSource bool) error {
	if !knownSource {
		return nil
	}
	name := field.item.s
	ok, err := validField(lang, name)
	if ok && err == nil {
		return nil
	}
	msg := "'" + name + "' is not a supported filter field"
	if err != nil {
		msg = err.Error()
	}
	err = ex.failAt(field.at, rule, msg)
	if hint := lang.OtherVersionHint(name); hint != "" {
		return withHint(err, hint)
	}
	if names := lang.Suggest(name); len(names) > 0 {
		var le *loadError
		le, _ = err.(*loadError) //nolint:errorlint // made above
		le.Hint = "did you mean " + strings.Join(names, " or ") + "?"
	}
	return err
}

func quoteItem(t text) text {
	if t.empty() || !strings.Contains(t.s, " ") || t.s[0] == '"' || t.s[0] == '\'' {
		return t
	}
	q := placed(`"`, t.first())
	return join(q, t, q)
}

func parenItem(t text) text {
	if !t.empty() && t.s[0] == '(' {
		return t
	}
	return join(placed("(", t.first()), t, placed(")", t.first()))
}

// withExceptions writes a rule's exceptions into its condition, as Falco does:
// in text, before lists are expanded.
func withExceptions(lang *condition.Language, r *ruleInfo) (text, error) {
	start := r.cond.first()
	b := builder{b: make([]byte, 0, 2*len(r.cond.s)+256), at: make([]segment, 0, 2*len(r.cond.at)+64)}
	b.add("(", start)
	b.addText(r.cond)
	b.add(")", start)
	for _, ex := range r.exceptions {
		cond, err := ex.condition(lang, r.name)
		if err != nil {
			return text{}, err
		}
		if !cond.empty() {
			b.add(" and not ", ex.at)
			b.addText(cond)
		}
	}
	return b.text(), nil
}

func (ex *exception) condition(lang *condition.Language, rule string) (text, error) {
	if len(ex.values) == 0 {
		return text{}, nil
	}
	var b builder
	last := ex.at // what is behind a value lies with it: a value that ends early is at fault there
	if !ex.fields.isList {
		for i, v := range ex.values {
			if v.isList {
				return text{}, ex.failAt(v.at, rule, "Expected values array to contain a list of strings")
			}
			if i == 0 {
				b.add("(", ex.at)
				b.addText(ex.fields.item)
				b.add(" ", ex.at)
				b.addText(ex.comps.item)
				b.add(" (", ex.at)
			} else {
				b.add(", ", last)
			}
			b.addText(quoteItem(v.item))
			last = v.last()
		}
		b.add("))", last)
		return b.text(), nil
	}
	b.add("(", ex.at)
	for i, v := range ex.values {
		if len(v.items) != len(ex.fields.items) {
			return text{}, ex.failAt(v.at, rule, "Fields and values lists must have equal length")
		}
		if i > 0 {
			b.add(" or ", last)
		}
		b.add("(", v.at)
		for k, f := range ex.fields.items {
			if k >= len(ex.comps.items) {
				return text{}, withHint(ex.failAt(v.at, rule, "Fields and comps lists must have equal length"),
					"exceptions that replace others need their comps: Falco fills them in for new exceptions only")
			}
			if k > 0 {
				b.add(" and ", last)
			}
			b.add(" ", ex.at)
			b.addText(f.item)
			b.add(" ", ex.at)
			b.addText(ex.comps.items[k].item)
			b.add(" ", ex.at)
			b.addText(valueText(lang, v.items[k], ex.comps.items[k].item.s))
			last = v.items[k].last()
		}
		b.add(")", last)
	}
	b.add(")", last)
	return b.text(), nil
}

func valueText(lang *condition.Language, v entry, comp string) text {
	if v.isList {
		var b builder
		b.add("(", v.at)
		for i, item := range v.items {
			if i > 0 {
				b.add(", ", item.item.first())
			}
			b.addText(quoteItem(item.item))
		}
		b.add(")", v.last())
		return b.text()
	}
	if lang.TakesList(comp) || lang.OperatorWithModifier(comp) {
		return parenItem(v.item)
	}
	return quoteItem(v.item)
}
