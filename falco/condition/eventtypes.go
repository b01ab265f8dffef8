package condition

import (
	"math/bits"
	"slices"
)

// KnownEventType tells whether Falco knows an event or a system call by that name.
func (l *Language) KnownEventType(name string) bool {
	c := l.events()
	if c.syscalls[name] || len(c.codes[name]) > 0 {
		return true
	}
	return name == c.events[0].name || slices.Contains(l.grammar().pluginEvents, name)
}

// Captured tells whether Falco captures a call live without -A. It leaves out
// those that read and write, but not the ones by which it learns a socket's
// ends: sendto, sendmsg, recvfrom and the like.
func (l *Language) Captured(name string) bool {
	c := l.events()
	calls := l.callsOf(name)
	for _, s := range calls {
		if !c.uncaptured[s] {
			return true
		}
	}
	return len(calls) == 0
}

// callsOf returns the system calls that raise the event.
func (l *Language) callsOf(name string) []string {
	c := l.events()
	var calls []string
	for _, code := range c.codes[name] {
		calls = append(calls, c.events[code].syscalls...)
		if len(c.events[code].syscalls) == 0 && c.syscalls[name] {
			calls = append(calls, name)
		}
	}
	if len(calls) == 0 && c.syscalls[name] {
		calls = append(calls, name)
	}
	return calls
}

// UsesFD tells whether the event has a file descriptor that fd.* fields describe.
func (l *Language) UsesFD(name string) bool {
	c := l.events()
	for _, code := range c.codes[name] {
		if c.events[code].hasFD && !c.events[code].old {
			return true
		}
	}
	return false
}

// codeWords is enough for the largest of the event tables, with 454 codes.
const codeWords = 8

// EventTypes is a set of codes of the event table of one Falco version, one for
// each enter or exit event of each version of the event.
type EventTypes [codeWords]uint64

// AllEventTypes returns every code of the event table.
func (l *Language) AllEventTypes() EventTypes {
	var s EventTypes
	n := len(l.events().events)
	for i := range s {
		switch bits := n - i*64; {
		case bits >= 64:
			s[i] = ^uint64(0)
		case bits > 0:
			s[i] = 1<<bits - 1
		}
	}
	return s
}

func (s *EventTypes) add(code int) { s[code/64] |= 1 << (code % 64) }

func (s EventTypes) has(code int) bool { return s[code/64]>>(code%64)&1 != 0 }

// Len returns the number of codes.
func (s EventTypes) Len() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// MatchesAll reports whether the set restricts nothing.
func (l *Language) MatchesAll(s EventTypes) bool { return s.Len() == len(l.events().events) }

// Intersects tells whether the sets have an event in common.
func (s EventTypes) Intersects(o EventTypes) bool {
	for i := range s {
		if s[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

// Contains tells whether every event of o is in s.
func (s EventTypes) Contains(o EventTypes) bool {
	for i := range s {
		if o[i]&^s[i] != 0 {
			return false
		}
	}
	return true
}

// EventNames returns the names of the events in alphabetical order. Calls without
// an event of their own share the name "syscall".
func (l *Language) EventNames(s EventTypes) []string {
	var names []string
	for i, e := range l.events().events {
		if s.has(i) && e.name != "NA" {
			names = append(names, e.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// EventTypesOf returns the events that go by a name.
func (l *Language) EventTypesOf(name string) EventTypes { return l.eventTypesNamed([]string{name}) }

// asyncEvent is the event in which the events of plugins come.
const asyncEvent = "asyncevent"

// eventTypesNamed returns the codes of the names. One name without an event of
// its own, but known as a system call, brings in the generic events.
func (l *Language) eventTypesNamed(names []string) EventTypes {
	c := l.events()
	var s EventTypes
	for _, name := range names {
		codes := c.codes[name]
		for _, code := range codes {
			s.add(code)
		}
		if l.lenientAncestors && slices.Contains(l.grammar().pluginEvents, name) {
			for _, code := range c.codes[asyncEvent] {
				s.add(code)
			}
		}
		if len(codes) == 0 && c.syscalls[name] {
			s.add(0)
			s.add(1)
		}
	}
	return s
}

// NeededEventTypes returns the events for which a condition without macros can
// be true as far as its checks of evt.type tell. It fails, as Falco then does,
// where evt.type is transformed or compared with a field.
func (l *Language) NeededEventTypes(e Expr) (EventTypes, error) {
	v := &codeVisitor{lang: l, all: l.AllEventTypes()}
	v.visit(e)
	if v.err != nil {
		return EventTypes{}, v.err
	}
	return v.codes, nil
}

// codeVisitor pushes negation down to the checks (De Morgan) and joins the
// sets of events on its way up.
type codeVisitor struct {
	lang       *Language
	all, codes EventTypes
	negated    bool
	err        error
}

func (v *codeVisitor) visit(e Expr) {
	switch n := e.(type) {
	case *And:
		v.join(n.Children, !v.negated)
	case *Or:
		v.join(n.Children, v.negated)
	case *Not:
		v.negated = !v.negated
		v.visit(n.Child)
		v.negated = !v.negated
	case *Unary:
		isType := v.left(n.Left)
		v.codes = v.all
		if isType && n.Op == "exists" && v.negated {
			v.codes = EventTypes{}
		}
	case *Binary:
		v.binary(n)
	default:
		v.codes = v.all
	}
}

func (v *codeVisitor) join(children []Expr, intersect bool) {
	var sum EventTypes
	if intersect {
		sum = v.all
	}
	for _, c := range children {
		v.visit(c)
		for i := range sum {
			if intersect {
				sum[i] &= v.codes[i]
			} else {
				sum[i] |= v.codes[i]
			}
		}
	}
	v.codes = sum
}

func (v *codeVisitor) binary(n *Binary) {
	v.codes = v.all
	if n.Op != "=" && n.Op != "==" && n.Op != "!=" && n.Op != "in" {
		return
	}
	if !v.left(n.Left) {
		if v.negated && endsInConstant(n.Left, false) {
			// Falco takes the constant for the name of an event, and the negated
			// check for one that is true for no event.
			v.codes = EventTypes{}
		}
		return
	}
	var names []string
	switch r := n.Right.(type) {
	case *Value:
		names = []string{r.Value}
	case *List:
		names = r.Values
	default:
		v.left(n.Right)
		v.fail(n.Right, "right-hand field comparisons on "+v.lang.eventTypeFields()+" checks are not supported by event code search")
		return
	}
	v.codes = v.lang.eventTypesNamed(names)
	if v.negated != (n.Op == "!=") {
		for i := range v.codes {
			v.codes[i] = v.all[i] &^ v.codes[i]
		}
	}
}

// left tells whether the left-hand side of a check is evt.type itself, or since
// Falco 0.41 syscall.type. It fails where a transformer is applied to that.
func (v *codeVisitor) left(e Expr) bool {
	switch n := e.(type) {
	case *Field:
		return (n.Name == "evt.type" || n.Name == "syscall.type" && v.lang.pluginFields) && n.Arg == "" && !n.EmptyArg
	case *Transformer:
		last := false
		for _, arg := range append([]Expr{n.Value}, n.More...) {
			if last = v.left(arg); last {
				fields := v.lang.eventTypeFields()
				if v.lang.nestedTransformers {
					fields = "`evt.type`"
				}
				v.fail(e, "event code search does not support "+fields+" checks with transformers")
			}
		}
		return last
	case *TransformerList:
		last := false
		for _, item := range n.Items {
			last = v.left(item)
		}
		return last
	}
	return false
}

// endsInConstant reports whether the last argument of a transformer is a
// constant; last is the answer where there is none.
func endsInConstant(e Expr, last bool) bool {
	switch n := e.(type) {
	case *Value:
		return true
	case *Transformer:
		last = endsInConstant(n.Value, last)
		for _, arg := range n.More {
			last = endsInConstant(arg, last)
		}
		return last
	case *TransformerList:
		for _, item := range n.Items {
			last = endsInConstant(item, last)
		}
		return last
	}
	return false
}

// eventTypeFields names the fields that select events, in Falco's words.
func (l *Language) eventTypeFields() string {
	if l.pluginFields {
		return "`evt.type`/`syscall.type`"
	}
	return "`evt.type`"
}

// fail keeps the first error.
func (v *codeVisitor) fail(e Expr, msg string) {
	if v.err == nil {
		v.err = &Error{Pos: e.Position(), Message: msg}
	}
}
