package clauses

import (
	"fmt"
	"slices"

	"spire-falco/falco/condition"
)

// Mutant is a condition that differs from another in one clause.
type Mutant struct {
	// What says what was done, such as: without proc.name = cat.
	What string
	// At is where the clause is written; it has no file when it was read from none.
	At condition.Location
	// Removed is set when the clause, or an item of its list, was left out, and not turned around.
	Removed bool
	Expr    condition.Expr
}

// Mutants returns every condition that differs from e in one clause: left out, turned around, or without one item of a list.
func Mutants(e condition.Expr) []Mutant {
	var out []Mutant
	children := func(nodes []condition.Expr, join func([]condition.Expr) condition.Expr) {
		for i, n := range nodes {
			if len(nodes) > 1 {
				rest := slices.Concat(nodes[:i], nodes[i+1:])
				without := rest[0]
				if len(rest) > 1 {
					without = join(rest)
				}
				out = append(out, Mutant{"without " + n.String(), PlaceOf(n), true, without})
			}
			for _, m := range Mutants(n) {
				changed := slices.Clone(nodes)
				changed[i] = m.Expr
				m.Expr = join(changed)
				out = append(out, m)
			}
		}
	}
	turned := func(to condition.Expr) {
		out = append(out, Mutant{"turned " + e.String(), PlaceOf(e), false, to})
	}
	switch n := e.(type) {
	case *condition.And:
		children(n.Children, func(c []condition.Expr) condition.Expr { return &condition.And{Children: c} })
	case *condition.Or:
		children(n.Children, func(c []condition.Expr) condition.Expr { return &condition.Or{Children: c} })
	case *condition.Not:
		turned(n.Child)
		for _, m := range Mutants(n.Child) {
			m.Expr = &condition.Not{Child: m.Expr}
			out = append(out, m)
		}
	case *condition.Binary:
		turned(&condition.Not{Child: n})
		if list, ok := n.Right.(*condition.List); ok && len(list.Values) > 1 {
			for i, v := range list.Values {
				short := *list // which is compiled with the places of its values
				short.Values = slices.Concat(list.Values[:i], list.Values[i+1:])
				changed := *n
				changed.Right = &short
				out = append(out, Mutant{fmt.Sprintf("%s without %s", n.String(), v), placeOf(list.PositionOf(i)), true, &changed})
			}
		}
	default: // a unary check
		turned(&condition.Not{Child: e})
	}
	return out
}

// PlaceOf is where a clause is written. A clause of an exception is where its value is: all rows share the fields.
func PlaceOf(e condition.Expr) condition.Location {
	switch n := e.(type) {
	case *condition.And:
		return PlaceOf(n.Children[0])
	case *condition.Or:
		return PlaceOf(n.Children[0])
	case *condition.Not:
		if at := placeOf(n.Position()); at.Line == PlaceOf(n.Child).Line {
			return at
		}
		return PlaceOf(n.Child)
	case *condition.Binary:
		left, right := placeOf(n.Left.Position()), placeOf(n.Right.Position())
		if right.File == left.File && right.Line != left.Line {
			return right
		}
		return left
	}
	return placeOf(e.Position())
}

func placeOf(p condition.Pos) condition.Location {
	at, _ := p.Location()
	return at
}

// Survivors returns the mutants of a rule's condition that no event notices. An event notices a mutant that has another
// value for it than the condition; seen, when it is not nil, tells of an event whether the rule's value for it can be seen
// from outside, which it cannot where an earlier rule takes the event.
func Survivors(lang *condition.Language, e condition.Expr, events []condition.Event, seen func(i int) bool) (survivors, all []Mutant, err error) {
	noticed, all, err := Noticed(lang, e, events, seen)
	if err != nil {
		return nil, nil, err
	}
	for i, by := range noticed {
		if by < 0 {
			survivors = append(survivors, all[i])
		}
	}
	return survivors, all, nil
}

// Noticed returns the mutants of a condition, and for each the index of the first event that notices it, -1 when none does.
// Events that the condition is true for are asked first.
func Noticed(lang *condition.Language, e condition.Expr, events []condition.Event, seen func(i int) bool) (by []int, all []Mutant, err error) {
	base, err := values(lang, e, events)
	if err != nil {
		return nil, nil, err
	}
	needed, err := lang.NeededEventTypes(e)
	if err != nil {
		return nil, nil, fmt.Errorf("the events of %s: %w", e, err)
	}
	// Events that the rule is about come first: most mutants show there.
	about := make([]int, len(events))
	var order []int
	types := map[string]bool{}
	for i, ev := range events {
		if seen != nil && !seen(i) {
			continue
		}
		order = append(order, i)
		name := ev.Text("evt.type")
		if _, ok := types[name]; !ok {
			types[name] = needed.Intersects(lang.EventTypesOf(name))
		}
		switch {
		case base[i]:
		case types[name]:
			about[i] = 1
		default:
			about[i] = 2
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return about[a] - about[b] })
	all = Mutants(e)
	by = make([]int, len(all))
	for k, m := range all {
		p, _, err := lang.Compile(m.Expr)
		if err != nil {
			return nil, nil, fmt.Errorf("compile %s: %w", m.What, err)
		}
		c := p.Layout().NewContext()
		by[k] = -1
		if i := slices.IndexFunc(order, func(i int) bool {
			c.Reset(events[i])
			return p.Match(c) != base[i]
		}); i >= 0 {
			by[k] = order[i]
		}
	}
	return by, all, nil
}

// values is the value of a condition for each event.
func values(lang *condition.Language, e condition.Expr, events []condition.Event) ([]bool, error) {
	p, _, err := lang.Compile(e)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", e, err)
	}
	c := p.Layout().NewContext()
	out := make([]bool, len(events))
	for i, ev := range events {
		c.Reset(ev)
		out[i] = p.Match(c)
	}
	return out, nil
}
