package clauses

import (
	"fmt"
	"slices"

	"spire-falco/falco/condition"
)

// Truth is the value of a clause for an event.
type Truth uint8

// The truth values. Unknown is that of a clause whose text is not here.
const (
	False Truth = iota
	True
	Unknown
)

// Tree is the condition of a rule, evaluated clause by clause. It keeps the event at hand: it is not safe for concurrent use.
type Tree struct {
	root    *node
	layout  *condition.Layout
	context *condition.Context
	// leaves are the checks in the order of the text.
	leaves []*node
}

// node is a part of the condition: a check, or one that joins others.
type node struct {
	expr condition.Expr
	kids []*node
	// program evaluates a check; nil for what joins others, and for a check that is unknown.
	program *condition.Program
	leaf    int
	value   Truth
}

// New compiles a condition without macros. unknown says of a check that its text is not known; nil when all are.
func New(lang *condition.Language, e condition.Expr, unknown func(condition.Expr) bool) (*Tree, error) {
	t := &Tree{layout: &condition.Layout{}}
	var err error
	if t.root, err = t.node(lang, e, unknown); err != nil {
		return nil, err
	}
	t.context = t.layout.NewContext()
	return t, nil
}

func (t *Tree) node(lang *condition.Language, e condition.Expr, unknown func(condition.Expr) bool) (*node, error) {
	n := &node{expr: e, leaf: -1}
	var kids []condition.Expr
	switch x := e.(type) {
	case *condition.And:
		kids = x.Children
	case *condition.Or:
		kids = x.Children
	case *condition.Not:
		kids = []condition.Expr{x.Child}
	default:
		n.leaf = len(t.leaves)
		t.leaves = append(t.leaves, n)
		if unknown != nil && unknown(e) {
			return n, nil
		}
		var err error
		if n.program, _, err = lang.CompileInto(t.layout, e); err != nil {
			return nil, fmt.Errorf("compile %s: %w", e, err)
		}
		return n, nil
	}
	for _, k := range kids {
		kid, err := t.node(lang, k, unknown)
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, kid)
	}
	return n, nil
}

// Certain reports whether every check is known.
func (t *Tree) Certain() bool {
	return !slices.ContainsFunc(t.leaves, func(n *node) bool { return n.program == nil })
}

// Checks are the checks that the condition is made of, in the order of its text.
func (t *Tree) Checks() []condition.Expr {
	out := make([]condition.Expr, len(t.leaves))
	for i, n := range t.leaves {
		out[i] = n.expr
	}
	return out
}

// Eval evaluates every check for an event, and returns the value of the whole. The other methods then speak of that event.
func (t *Tree) Eval(ev condition.Event) Truth {
	t.context.Reset(ev)
	for _, n := range t.leaves {
		switch {
		case n.program == nil:
			n.value = Unknown
		case n.program.Match(t.context):
			n.value = True
		default:
			n.value = False
		}
	}
	return t.root.eval()
}

func (n *node) eval() Truth {
	switch n.expr.(type) {
	case *condition.And:
		n.value = True
		for _, k := range n.kids {
			if v := k.eval(); v == False || v == Unknown && n.value == True {
				n.value = v
			}
		}
	case *condition.Or:
		n.value = False
		for _, k := range n.kids {
			if v := k.eval(); v == True || v == Unknown && n.value == False {
				n.value = v
			}
		}
	case *condition.Not:
		n.value = opposite(n.kids[0].eval())
	}
	return n.value
}

func opposite(v Truth) Truth {
	switch v {
	case True:
		return False
	case False:
		return True
	}
	return Unknown
}

// Decisive calls visit for each check that decides alone: with the opposite value of it the whole condition would have the
// opposite value. i is its index in Checks.
func (t *Tree) Decisive(visit func(i int, value Truth)) { t.root.decisive(visit) }

func (n *node) decisive(visit func(int, Truth)) {
	neutral := True // what all others must be for one part to decide
	switch n.expr.(type) {
	case *condition.And:
	case *condition.Or:
		neutral = False
	case *condition.Not:
		n.kids[0].decisive(visit)
		return
	default:
		if n.value != Unknown {
			visit(n.leaf, n.value)
		}
		return
	}
	other := -1
	for i, k := range n.kids {
		if k.value == neutral {
			continue
		}
		if other >= 0 {
			return // two parts keep it from being otherwise
		}
		other = i
	}
	if other >= 0 {
		n.kids[other].decisive(visit)
		return
	}
	for _, k := range n.kids {
		k.decisive(visit)
	}
}

// Check is one check with its value for an event.
type Check struct {
	condition.Expr
	Value Truth
}

// Blame returns the checks that keep the condition from having the opposite value: of the ways to it, those of the shortest.
func (t *Tree) Blame() []Check { return t.root.blame() }

func (n *node) blame() []Check {
	var all bool // every part that stands in the way must change
	switch n.expr.(type) {
	case *condition.And:
		all = n.value != True
	case *condition.Or:
		all = n.value == True
	case *condition.Not:
		return n.kids[0].blame()
	default:
		return []Check{{n.expr, n.value}}
	}
	var out []Check
	for i, k := range n.kids {
		switch {
		case all && k.value == n.value:
			out = append(out, k.blame()...)
		case !all:
			if one := k.blame(); i == 0 || len(one) < len(out) {
				out = one
			}
		}
	}
	return out
}
