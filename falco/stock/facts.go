package stock

import (
	"fmt"
	"strings"
)

// Kind says what a fact is about.
type Kind string

// The kinds of facts.
const (
	// KindEngine is the engine version that the file requires, in Name.
	KindEngine Kind = "engine"
	// KindPlugin is a plugin that the file requires, with its version in Items.
	KindPlugin Kind = "plugin"
	KindList   Kind = "list"
	KindMacro  Kind = "macro"
	KindRule   Kind = "rule"
	// The words of the conditions, in Items: a list of one's own that takes such
	// a name changes the conditions.
	KindValues    Kind = "values"
	KindFields    Kind = "fields"
	KindOperators Kind = "operators"
)

// Events is a set of event types by name.
type Events struct {
	// Not turns the set around: all events but those named.
	Not   bool
	Names []string
}

// Everything reports whether the set has every event.
func (e Events) Everything() bool { return e.Not && len(e.Names) == 0 }

// String returns the set as the data has it: *, names, or ! and names.
func (e Events) String() string {
	switch {
	case e.Everything():
		return "*"
	case e.Not:
		return "!" + strings.Join(e.Names, ",")
	}
	return strings.Join(e.Names, ",")
}

func parseEvents(s string) Events {
	if s == "*" {
		return Events{Not: true}
	}
	names, not := strings.CutPrefix(s, "!")
	return Events{Not: not, Names: split(names, ",")}
}

// ListUse is a check that a list is used in, such as fd.snet in (LIST).
type ListUse struct{ Left, Operator, List string }

// Exception is the form of an exception of a rule, without its values.
type Exception struct {
	Name          string
	Fields, Comps []string
}

// Fact is what is known of one item of the stock rules.
type Fact struct {
	Kind Kind
	Name string
	// Items are the kinds of a list's items, one after the other: word, path,
	// network, address, number, event or quoted, with an s for two or more, and
	// @NAME for another list.
	Items []string
	// Required are the macros that the condition joins with "and" to the rest,
	// Other all other macros that it uses.
	Required, Other []string
	// Events and Negated are the events that the condition and its negation ask
	// for, apart from those of the required macros.
	Events, Negated Events
	Lists           []ListUse
	// The rest is of rules alone.
	Source, Priority string
	Enabled          bool
	Tags             []string
	Exceptions       []Exception
}

// String returns the fact as a line of the data.
func (f Fact) String() string {
	columns := []string{string(f.Kind), f.Name}
	switch f.Kind {
	case KindMacro, KindRule:
		uses := make([]string, len(f.Lists))
		for i, u := range f.Lists {
			uses[i] = u.Left + " " + u.Operator + " " + u.List
		}
		columns = append(columns, f.Events.String(), f.Negated.String(),
			strings.Join(f.Required, ","), strings.Join(f.Other, ","), strings.Join(uses, "; "))
	default:
		columns = append(columns, strings.Join(f.Items, ","))
	}
	if f.Kind == KindRule {
		exceptions := make([]string, len(f.Exceptions))
		for i, ex := range f.Exceptions {
			exceptions[i] = ex.Name + ":" + strings.Join(ex.Fields, "|") + ":" + strings.Join(ex.Comps, "|")
		}
		enabled := "enabled"
		if !f.Enabled {
			enabled = "disabled"
		}
		columns = append(columns, f.Source, f.Priority, enabled, strings.Join(f.Tags, ","), strings.Join(exceptions, "; "))
	}
	return strings.Join(columns, "\t")
}

// The columns of a line by its kind.
const (
	columnsOfMacro = 7
	columnsOfRule  = 12
)

func parse(table string) ([]Fact, error) {
	var facts []Fact
	for line := range strings.Lines(table) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		c := strings.Split(line, "\t")
		f := Fact{Kind: Kind(c[0])}
		want := 3
		switch f.Kind {
		case KindMacro:
			want = columnsOfMacro
		case KindRule:
			want = columnsOfRule
		case KindEngine, KindPlugin, KindList, KindValues, KindFields, KindOperators:
		default:
			return nil, fmt.Errorf("stock rules: unknown kind in %q", line)
		}
		if len(c) != want {
			return nil, fmt.Errorf("stock rules: %d columns instead of %d in %q", len(c), want, line)
		}
		f.Name = c[1]
		if want == 3 {
			f.Items = split(c[2], ",")
			facts = append(facts, f)
			continue
		}
		f.Events, f.Negated = parseEvents(c[2]), parseEvents(c[3])
		f.Required, f.Other = split(c[4], ","), split(c[5], ",")
		for _, use := range split(c[6], "; ") {
			parts := strings.Fields(use)
			if len(parts) != 3 {
				return nil, fmt.Errorf("stock rules: %q is not FIELD OPERATOR LIST", use)
			}
			f.Lists = append(f.Lists, ListUse{parts[0], parts[1], parts[2]})
		}
		if f.Kind == KindRule {
			f.Source, f.Priority, f.Enabled, f.Tags = c[7], c[8], c[9] == "enabled", split(c[10], ",")
			for _, ex := range split(c[11], "; ") {
				name, rest, _ := strings.Cut(ex, ":")
				fields, comps, _ := strings.Cut(rest, ":")
				f.Exceptions = append(f.Exceptions, Exception{name, split(fields, "|"), split(comps, "|")})
			}
		}
		facts = append(facts, f)
	}
	return facts, nil
}

func split(s, by string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, by)
}
