package ruleset

import (
	"fmt"
	"iter"
	"strings"
	"sync/atomic"

	"spire-falco/falco/condition"
)

// Bounds on what lists and macros may expand to. Lists and macros that refer
// to each other can grow without end from a small file.
const (
	maxConditionLength = 4 << 20
	maxConditionNodes  = 400_000
	// Of all conditions together.
	maxTotalLength = 64 << 20
	maxTotalNodes  = 2_000_000
	// maxListItems bounds the items of all lists, those of lists in lists counted again.
	maxListItems = 500_000
	// maxListUses bounds how often one list is put into one condition.
	maxListUses = 50_000
)

// size counts what all conditions of a load come to.
type size struct{ length, nodes atomic.Int64 }

type listDef struct {
	name  string
	items []text
	// joined is what the name of the list is replaced by.
	joined string
	used   bool
	at     place
	// refs names the lists whose items it took over.
	refs []string
	// changed is where the list was defined or appended to last, and visibility when.
	changed    place
	visibility int
}

// placeOf returns where a byte of joined was written: nowhere when it is
// between two items.
func (l *listDef) placeOf(i int) place {
	for _, it := range l.items {
		n := len(it.s)
		if quoted := quoteItem(it); len(quoted.s) > n {
			it, n = quoted, len(quoted.s)
		}
		if i < n {
			return it.placeOf(i)
		}
		if n > 0 {
			i -= n + len(", ")
		}
		if i < 0 {
			break
		}
	}
	return place{}
}

type macroDef struct {
	name string
	expr condition.Expr
	used bool
	info *macroInfo
	// nodes is the size of expr once the macros in it are resolved, 0 before.
	nodes int
	// macros and lists name what its condition uses directly.
	macros, lists []string
	// order, scan and reused serve the next file, see reuse.go.
	order  order
	scan   [2]string
	reused bool
}

const (
	blanks     = " \t\n\r"
	delimiters = blanks + "(),="
)

var isDelimiter = func() (table [256]bool) {
	for _, c := range []byte(delimiters) {
		table[c] = true
	}
	return table
}()

func hasDelimiter(s string) bool { return strings.ContainsAny(s, delimiters) }

// words are the longest parts of s without a delimiter: the only places where
// the name of a list can stand.
func words(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(s); i++ {
			if i < len(s) && !isDelimiter[s[i]] {
				continue
			}
			if i > start && !yield(s[start:i]) {
				return
			}
			start = i + 1
		}
	}
}

func joinItems(items []text) string {
	var b strings.Builder
	for _, it := range items {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quoteItem(it).s)
	}
	return b.String()
}

// expandList replaces the name of a list in a condition's text by its items,
// blank for blank as Falco does. It tells whether the list was used.
func expandList(t text, l *listDef) (text, bool) {
	if l.name == "" {
		return t, false
	}
	var out builder
	uses := 0
	rest := 0 // what is behind it has been copied
	from := 0 // where to look for the next name
	for from < len(t.s) {
		i := strings.Index(t.s[from:], l.name)
		if i < 0 {
			break
		}
		start := from + i
		end := start + len(l.name)
		before := byte(' ')
		if start > rest {
			before = t.s[start-1]
		} else if n := len(out.b); n > 0 {
			before = out.last()
		}
		if start > 0 && !isDelimiter[before] || end < len(t.s) && !isDelimiter[t.s[end]] {
			from = start + 1
			continue
		}
		if out.b == nil {
			out = builder{b: make([]byte, 0, len(t.s)+len(l.joined)+2), at: make([]segment, 0, len(t.at)+4)}
		}
		out.addPart(t, rest, start)
		for len(out.b) > 0 && strings.IndexByte(blanks, out.last()) >= 0 {
			out.truncate(len(out.b) - 1)
		}
		for end < len(t.s) && strings.IndexByte(blanks, t.s[end]) >= 0 {
			end++
		}
		at := t.placeOf(start)
		if l.joined == "" {
			// An empty list takes a comma beside it away.
			if len(out.b) > 0 && out.last() == ',' {
				out.truncate(len(out.b) - 1)
			} else if end < len(t.s) && t.s[end] == ',' {
				end++
			}
		}
		atStart := len(out.b) == 0
		if !atStart {
			out.add(" ", at)
		}
		out.addList(l, at)
		out.add(" ", at)
		rest, from = end, end
		if atStart {
			// Falco looks on one byte too far when the list stood first.
			from++
		}
		uses++
		if len(out.b) > maxConditionLength || uses > maxListUses {
			return text{s: strings.Repeat(" ", maxConditionLength+1)}, true // too large for the caller to go on
		}
	}
	if uses == 0 {
		return t, false
	}
	out.addPart(t, rest, len(t.s))
	return out.text(), true
}

// resolver replaces the names of macros in a tree by copies of their conditions.
type resolver struct {
	// visible returns the macro of a name, nil when there is none or it comes later.
	visible func(name string) *macroDef
	path    []string
	// errors and unknown hold what went wrong, in the order met.
	errors   []resolveError
	unknown  []resolveError
	resolved map[string]bool
	nodes    int
	// total counts the nodes of all conditions.
	total *atomic.Int64
}

type resolveError struct {
	msg string
	pos condition.Pos
}

func (r *resolver) resolve(e condition.Expr) condition.Expr {
	if !r.count(1, e) {
		return e
	}
	switch n := e.(type) {
	case *condition.And:
		c := *n
		c.Children = r.resolveAll(n.Children)
		return &c
	case *condition.Or:
		c := *n
		c.Children = r.resolveAll(n.Children)
		return &c
	case *condition.Not:
		c := *n
		c.Child = r.resolve(n.Child)
		return &c
	case *condition.Identifier:
		return r.identifier(n)
	default:
		return e
	}
}

// count adds to the size of the condition and reports whether it is within bounds.
func (r *resolver) count(nodes int, at condition.Expr) bool {
	r.nodes += nodes
	msg := ""
	switch total := r.total.Add(int64(nodes)); {
	case r.nodes > maxConditionNodes:
		msg = fmt.Sprintf("macros expand to more than %d checks", maxConditionNodes)
	case total > maxTotalNodes:
		msg = fmt.Sprintf("the macros of all rules together expand to more than %d checks", maxTotalNodes)
	default:
		return true
	}
	if len(r.errors) == 0 {
		r.errors = append(r.errors, resolveError{msg, at.Position()})
	}
	return false
}

func (r *resolver) resolveAll(list []condition.Expr) []condition.Expr {
	out := make([]condition.Expr, len(list))
	for i, e := range list {
		out[i] = r.resolve(e)
	}
	return out
}

func (r *resolver) identifier(n *condition.Identifier) condition.Expr {
	m := r.visible(n.Name)
	if m == nil {
		r.unknown = append(r.unknown, resolveError{n.Name, n.Position()})
		return n
	}
	for _, name := range r.path {
		if name == n.Name {
			r.errors = append(r.errors, resolveError{"reference loop in macro '" + n.Name + "'", n.Position()})
			r.unknown = append(r.unknown, resolveError{n.Name, n.Position()})
			return n
		}
	}
	out := m.expr
	if m.nodes > 0 { // nothing in it is left to resolve: the tree is shared
		r.count(m.nodes, n)
	} else {
		r.path = append(r.path, n.Name)
		out = r.resolve(m.expr)
		r.path = r.path[:len(r.path)-1]
	}
	if r.resolved == nil {
		r.resolved = map[string]bool{}
	}
	r.resolved[n.Name] = true
	return out
}
