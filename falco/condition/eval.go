package condition

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Context holds one event while conditions of one layout are evaluated over
// it. It is not safe for concurrent use; make one per goroutine.
type Context struct {
	layout *Layout
	ev     Event
	round  uint64
	slots  []slotState
	// socket is read off the event at most once.
	socket      socket
	socketRound uint64
	socketOK    bool
}

type slotState struct {
	round uint64
	ok    bool
	val   constant
	list  []string
}

// NewContext returns a context for the conditions that have been compiled into
// the layout so far.
func (l *Layout) NewContext() *Context {
	return &Context{layout: l, slots: make([]slotState, len(l.slots))}
}

// Reset makes ev the event to evaluate. It forgets what was read off the one before.
func (c *Context) Reset(ev Event) {
	c.ev = ev
	c.round++
	if len(c.slots) < len(c.layout.slots) {
		c.slots = make([]slotState, len(c.layout.slots))
	}
}

// Match tells whether the condition is true for the context's event.
func (p *Program) Match(c *Context) bool { return p.eval.eval(c) }

// Layout returns the layout that the condition was compiled into.
func (p *Program) Layout() *Layout { return p.layout }

type evaluator interface{ eval(c *Context) bool }

type (
	allOf    []evaluator
	anyOf    []evaluator
	negation struct{ child evaluator }
	check    func(c *Context) bool
)

func (a allOf) eval(c *Context) bool {
	for _, e := range a {
		if !e.eval(c) {
			return false
		}
	}
	return true
}

func (a anyOf) eval(c *Context) bool {
	for _, e := range a {
		if e.eval(c) {
			return true
		}
	}
	return false
}

func (n negation) eval(c *Context) bool { return !n.child.eval(c) }
func (f check) eval(c *Context) bool    { return f(c) }

// add returns the index of a slot, which it makes when there is none.
func (l *Layout) add(key string, s slot) int {
	if i, ok := l.index[key]; ok {
		return i
	}
	if l.index == nil {
		l.index = map[string]int{}
	}
	l.slots = append(l.slots, s)
	l.index[key] = len(l.slots) - 1
	return len(l.slots) - 1
}

// slotOf makes the slots of an operand: one for the field, one for each transformer.
func (c *compiler) slotOf(op *operand) int {
	l := c.layout
	key := op.ref.Name
	base := slot{from: -1, list: op.ref.Info.List, typ: op.ref.Type}
	if op.made != nil {
		key = op.made.key()
		base.made, base.list = op.made, op.made.isList || op.made.name == "getopt" && op.made.selector == nil
		for i := range op.made.args {
			base.parts = append(base.parts, c.slotOf(&op.made.args[i]))
		}
	} else {
		base.get = c.lang.newGetter(op.ref)
	}
	at := l.add(key, base)
	typ, list := base.typ, base.list
	for _, name := range op.chain {
		key = name + "(" + key + ")"
		typ, _ = transformType(name, typ, list)
		at = l.add(key, slot{from: at, name: name, list: list && name != "len", typ: typ})
		list = list && name != "len"
	}
	return at
}

// key tells made values apart. It holds characters that no field's name has.
func (m *made) key() string {
	var b strings.Builder
	b.WriteString(m.name)
	if !m.isList && m.name == "" {
		return strconv.Quote(m.text)
	}
	b.WriteByte('(')
	for i := range m.args {
		op := &m.args[i]
		if i > 0 {
			b.WriteByte(',')
		}
		for _, name := range slices.Backward(op.chain) {
			b.WriteString(name + "(")
		}
		if op.made != nil {
			b.WriteString(op.made.key())
		} else {
			b.WriteString(op.ref.Name)
		}
		b.WriteString(strings.Repeat(")", len(op.chain)))
	}
	b.WriteByte(')')
	if m.selector != nil {
		b.WriteString("[" + *m.selector + "]")
	}
	return b.String()
}

// value reads a slot, once per event.
func (c *Context) value(i int) (*constant, bool) {
	st := &c.slots[i]
	if st.round != c.round {
		st.round = c.round
		c.read(i, st)
	}
	return &st.val, st.ok
}

func (c *Context) read(i int, st *slotState) {
	s := &c.layout.slots[i]
	switch {
	case s.made != nil:
		st.ok = c.make(s, st)
	case s.keys != nil:
		st.list = st.list[:0]
		for _, key := range s.keys {
			if v, ok := c.ev.fields[key]; ok {
				st.list = append(st.list, v.String())
			}
		}
		if s.typ == TypeCharbuf && s.name == "proc.aname" {
			st.list = c.addLoginShell(st.list)
		}
		st.ok = len(st.list) > 0
	case s.from >= 0:
		c.transform(s, st)
	case s.list:
		st.ok = c.readList(s, st)
	default:
		st.ok = s.get(&c.ev, &st.val)
	}
}

// make builds a value from its parts.
func (c *Context) make(s *slot, st *slotState) bool {
	if !s.made.isList && s.made.name == "" {
		st.val.str = s.made.text
		return true
	}
	parts := make([][]string, len(s.parts))
	for k, i := range s.parts {
		v, ok := c.value(i)
		if !ok {
			return false
		}
		if part := &c.layout.slots[i]; part.list {
			parts[k] = c.slots[i].list
		} else {
			parts[k] = []string{rawText(s.made.args[k].ref.Type, part.typ, v)}
		}
	}
	switch s.made.name {
	case "join":
		st.val.str = strings.Join(parts[1], parts[0][0])
	case "concat":
		st.val.str = strings.Join(slices.Concat(parts...), "")
	case "getopt":
		found := getopt(parts[0], parts[1][0], s.made.selector)
		if s.made.selector == nil {
			st.list = append(st.list[:0], found...)
			return true
		}
		if len(found) == 0 {
			return false
		}
		st.val.str = found[0]
	default:
		st.list = append(st.list[:0], slices.Concat(parts...)...)
	}
	return true
}

// rawText is a value as an element of a list. Falco prints the numbers of
// fields of three types, and takes the bytes of the others for a text.
func rawText(field, t Type, v *constant) string {
	switch {
	case field == TypePID || field == TypeInt64:
		return strconv.FormatInt(int64(v.num), 10)
	case field == TypeUint64:
		return strconv.FormatUint(v.num, 10)
	case t.kind() == kindString || t.kind() == kindBytes:
		return v.str
	}
	var b strings.Builder
	for n := v.num; n&0xff != 0; n >>= 8 {
		b.WriteByte(byte(n))
	}
	return b.String()
}

// getopt reads options off arguments as getopt(3) does, short ones only. With a
// selector it returns the value of that option, or its name when it takes none;
// else all options and their values.
func getopt(args []string, spec string, selector *string) []string {
	valid, takesValue := map[byte]bool{}, map[byte]bool{}
	for i := 0; i < len(spec); i++ {
		if spec[i] == ':' {
			continue
		}
		valid[spec[i]] = true
		if i+1 < len(spec) && spec[i+1] == ':' {
			takesValue[spec[i]] = true
		}
	}
	found := []string{}
	emit := func(name string, value *string) {
		switch {
		case selector == nil && value == nil:
			found = append(found, name)
		case selector == nil:
			found = append(found, name, *value)
		case value == nil:
			found = []string{name}
		default:
			found = []string{*value}
		}
	}
	for k := 0; k < len(args); k++ {
		arg := args[k]
		switch {
		case arg == "--":
			return found
		case len(arg) > 2 && arg[0] == '-' && arg[1] == '-':
			continue
		case len(arg) < 2 || arg[0] != '-':
			return found
		}
		for i := 1; i < len(arg); i++ {
			name := arg[i : i+1]
			if !valid[arg[i]] {
				if selector == nil {
					found = append(found, "?")
				}
				continue
			}
			wanted := selector == nil || name == *selector
			if !takesValue[arg[i]] {
				if wanted {
					emit(name, nil)
				}
				continue
			}
			var value *string
			if rest := arg[i+1:]; rest != "" {
				value = &rest
			} else if k+1 < len(args) {
				k++
				value = &args[k]
			}
			if wanted && value == nil {
				emit("", nil)
			} else if wanted {
				emit(name, value)
			}
			break
		}
	}
	return found
}

// addLoginShell completes the names of ancestors, of which an event holds the
// nearest few. proc.loginshellid is the outermost process whose name ends in
// "sh"; when none of the known ones does, there is a shell further up, and the
// name is taken to be bash.
func (c *Context) addLoginShell(names []string) []string {
	shell, ok := c.ev.fields["proc.loginshellid"]
	if !ok {
		return names
	}
	if pid, ok := c.ev.fields["proc.pid"]; ok && pid.num == shell.num {
		return names
	}
	for _, name := range names {
		if strings.HasSuffix(name, "sh") {
			return names
		}
	}
	return append(names, "bash")
}

// readList reads fd.types: the one type of the event's descriptor, or those of
// the descriptor that the argument names.
func (c *Context) readList(s *slot, st *slotState) bool {
	st.list = st.list[:0]
	if s.get(&c.ev, &st.val) {
		text := strings.TrimSuffix(strings.TrimPrefix(st.val.str, "("), ")")
		for item := range strings.SplitSeq(text, ",") {
			st.list = append(st.list, strings.TrimSpace(item))
		}
		return true
	}
	if t, ok := c.ev.fields["fd.type"]; ok {
		st.list = append(st.list, t.str)
		return true
	}
	return false
}

func (c *Context) transform(s *slot, st *slotState) {
	in, ok := c.value(s.from)
	st.ok = ok
	if !ok {
		return
	}
	from := &c.layout.slots[s.from]
	switch {
	case s.name == "len" && from.made != nil && from.made.name == "getopt" && from.list:
		// Falco takes the options for one text, and ends where there are several.
		options := c.slots[s.from].list
		if st.ok = len(options) == 1; st.ok {
			st.val.num = uint64(len(options[0]))
		}
	case s.name == "len" && from.list:
		st.val.num = uint64(len(c.slots[s.from].list))
	case s.name == "len":
		st.val.num = uint64(len(in.str))
	case from.list:
		st.list = st.list[:0]
		for _, item := range c.slots[s.from].list {
			out, good := transformText(s.name, item)
			if !good {
				st.ok = false
				return
			}
			st.list = append(st.list, out)
		}
	default:
		st.val.str, st.ok = transformText(s.name, in.str)
	}
}

// sock reads the ends of the event's socket, once per event.
func (c *Context) sock() (*socket, bool) {
	if c.socketRound != c.round {
		c.socketRound = c.round
		c.socketOK = readSocket(&c.ev, &c.socket)
	}
	return &c.socket, c.socketOK
}

// isAncestors tells whether the field, without argument, means every ancestor.
func (o *operand) isAncestors() bool {
	// Falco has no such comparison for proc.aargs: it compares the text of all.
	return isAncestorField(o.ref.Info.Name) && o.ref.Info.Name != "proc.aargs" && o.ref.Arg == ""
}

func (c *compiler) ancestorsSlot(left *operand) int {
	base := left.ref.Info.Name
	return c.layout.add(base, slot{from: -1, name: base, typ: left.ref.Type, keys: ancestorsOf(base)})
}

func isSocketField(name string) bool {
	return name == "fd.ip" || name == "fd.net" || name == "fd.port" || name == "fd.proto"
}

func isDomainField(name string) bool {
	return strings.HasPrefix(name, "fd.") && strings.HasSuffix(name, "ip.name")
}

func (c *compiler) exists(left *operand) evaluator {
	name := left.ref.Info.Name
	if isSocketField(name) || isDomainField(name) {
		// Falco asks only whether it knows the descriptor.
		return check(func(c *Context) bool { return fdKnown(&c.ev) })
	}
	if name == "evt.around" {
		return check(func(*Context) bool { return true })
	}
	i := 0
	if left.isAncestors() {
		i = c.ancestorsSlot(left)
	} else {
		i = c.slotOf(left)
	}
	return check(func(c *Context) bool {
		_, ok := c.value(i)
		return ok
	})
}

func (c *compiler) compareConstants(op, modifier string, left *operand, values []constant) evaluator {
	name := left.ref.Info.Name
	switch {
	case name == "fd.ip":
		return socketIP(op, values)
	case name == "fd.net":
		return socketNet(op, values)
	case name == "fd.port" || name == "fd.proto":
		return socketPort(op, values)
	case name == "evt.around":
		return around(left.ref.Arg, values)
	case left.isAncestors():
		return c.compareAncestors(op, left, values)
	}
	i := c.slotOf(left)
	if left.list {
		if len(left.chain) > 0 {
			// A transformed text keeps its final zero byte in a list, and so never
			// equals a constant.
			values = nil
		}
		return listCheck(op, i, values)
	}
	if isDomainField(name) {
		return domainCheck(op, i, values)
	}
	test := valueTest(op, left.typ, values)
	if modifier != "" {
		test = modifiedTest(op, modifier, left.typ, values)
	}
	return check(func(c *Context) bool {
		v, ok := c.value(i)
		return ok && test(v)
	})
}

// modifiedTest compares a value with each constant. The checks that do not come
// here, of sockets and of all ancestors, ignore the modifier and look at the
// first constant, as Falco does.
func modifiedTest(op, modifier string, t Type, values []constant) func(*constant) bool {
	tests := make([]func(*constant) bool, len(values))
	for i := range values {
		tests[i] = valueTest(op, t, values[i:i+1])
	}
	return func(v *constant) bool {
		n := 0
		for _, test := range tests {
			if test(v) {
				n++
			}
		}
		switch modifier {
		case "oneof":
			return n == 1
		case "anyof":
			return n > 0
		default:
			return n > 0 && n == len(tests)
		}
	}
}

// compareAncestors is true when one ancestor passes. Falco compares a pid of
// an ancestor with a list by a length that it forgets to give, so proc.apid in
// (...) is never true.
func (c *compiler) compareAncestors(op string, left *operand, values []constant) evaluator {
	i := c.ancestorsSlot(left)
	pid := left.ref.Type.kind() != kindString
	if pid && (op == "in" || op == "intersects") {
		return check(func(*Context) bool { return false })
	}
	test := valueTest(op, left.typ, values)
	return check(func(c *Context) bool {
		if _, ok := c.value(i); !ok {
			return false
		}
		for _, item := range c.slots[i].list {
			v := constant{str: item}
			if pid && !convert(left.ref.Type, StringValue(item), &v) {
				continue
			}
			if test(&v) {
				return true
			}
		}
		return false
	})
}

func listCheck(op string, i int, values []constant) check {
	set := make(map[string]bool, len(values))
	for _, v := range values {
		set[v.str] = true
	}
	return func(c *Context) bool {
		if _, ok := c.value(i); !ok {
			return false
		}
		for _, item := range c.slots[i].list {
			if set[item] != (op == "in") {
				return op != "in"
			}
		}
		return op == "in"
	}
}

// domainCheck compares the name of an address. Where the event holds no name,
// none was resolved: only != is then true, on a connection.
func domainCheck(op string, i int, values []constant) check {
	test := valueTest(op, TypeCharbuf, values)
	return func(c *Context) bool {
		if v, ok := c.value(i); ok {
			return test(v)
		}
		_, connected := c.ev.fields["fd.cip"]
		return op == "!=" && connected
	}
}

func around(arg string, values []constant) check {
	at, _ := scanUnsigned(arg, 64)
	delta := values[len(values)-1].num * 1_000_000
	return func(c *Context) bool {
		v, ok := c.ev.fields["evt.rawtime"]
		if !ok {
			return false
		}
		ts, _ := v.number()
		return at >= ts-delta && at <= ts+delta
	}
}

// socketIP compares both ends: one must be equal for =, none for !=. A list
// never matches, since Falco gives the set a length of zero.
func socketIP(op string, values []constant) check {
	if op != "=" && op != "!=" || len(values) == 0 {
		return func(*Context) bool { return false }
	}
	want := values[0].addr
	return func(c *Context) bool {
		s, ok := c.sock()
		if !ok {
			return false
		}
		for _, a := range s.addrs[:s.ends] {
			if a == want {
				return op == "="
			}
		}
		return op == "!="
	}
}

// socketNet compares both ends with the first network alone, as Falco does.
func socketNet(op string, values []constant) check {
	if len(values) == 0 {
		return func(*Context) bool { return false }
	}
	want := values[0].net
	return func(c *Context) bool {
		s, ok := c.sock()
		if !ok || op == "intersects" && s.ends == 2 {
			return false
		}
		for _, a := range s.addrs[:s.ends] {
			if want.contains(a) {
				return op != "!="
			}
		}
		return op == "!="
	}
}

func socketPort(op string, values []constant) check {
	if op == "intersects" || len(values) == 0 {
		return func(*Context) bool { return false }
	}
	return func(c *Context) bool {
		s, ok := c.sock()
		if !ok {
			return false
		}
		for _, p := range s.ports[:s.ends] {
			switch op {
			case "!=":
				if uint64(p) == values[0].num {
					return false
				}
			case "in":
				for i := range values {
					if values[i].num == uint64(p) {
						return true
					}
				}
			default:
				if ordered(op, uint64(p), values[0].num) {
					return true
				}
			}
		}
		return op == "!="
	}
}

// compareFields compares two fields of the same type.
func (c *compiler) compareFields(op string, left, right *operand) evaluator {
	i, k := c.slotOf(left), c.slotOf(right)
	if left.list {
		return check(func(c *Context) bool {
			_, ok := c.value(i)
			_, ok2 := c.value(k)
			if !ok || !ok2 {
				return false
			}
			for _, item := range c.slots[i].list {
				found := false
				for _, other := range c.slots[k].list {
					found = found || item == other
				}
				if found != (op == "in") {
					return op != "in"
				}
			}
			return op == "in"
		})
	}
	membership := op == "in" || op == "intersects"
	if n := len(right.chain); membership && n > 0 && right.typ.kind() == kindString {
		// A transformed text keeps its final zero byte, and so never equals
		// one that was not.
		return check(func(*Context) bool { return false })
	}
	if membership {
		op = "="
	}
	typ := left.typ
	return check(func(c *Context) bool {
		l, ok := c.value(i)
		if !ok {
			return false
		}
		r, ok := c.value(k)
		return ok && compareTwo(op, typ, l, r)
	})
}

func compareTwo(op string, t Type, l, r *constant) bool {
	switch t.kind() {
	case kindSigned:
		return ordered(op, int64(l.num), int64(r.num))
	case kindUnsigned, kindBool:
		return ordered(op, l.num, r.num)
	case kindFloat:
		return ordered(op, l.flt, r.flt)
	case kindIP:
		return (l.addr == r.addr) == (op == "=")
	default:
		return compareText(op, l.str, r.str)
	}
}

// ordered compares two numbers of one type; an operator that is none of the first five is >=.
func ordered[T int64 | uint64 | float64](op string, a, b T) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	default:
		return a >= b
	}
}

func compareText(op, a, b string) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	case "contains", "bcontains":
		return strings.Contains(a, b)
	case "icontains":
		return containsFold(a, b)
	case "startswith", "bstartswith":
		return strings.HasPrefix(a, b)
	case "endswith":
		return strings.HasSuffix(a, b)
	case "glob":
		return globMatch(b, a, false)
	case "iglob":
		return globMatch(b, a, true)
	default:
		return false
	}
}

// containsFold is strcasestr in the C locale.
func containsFold(s, part string) bool {
	n := len(part)
	if n == 0 {
		return true
	}
	first := lower(part[0], true)
	for i := 0; i+n <= len(s); i++ {
		if lower(s[i], true) != first {
			continue
		}
		k := 1
		for k < n && lower(s[i+k], true) == lower(part[k], true) {
			k++
		}
		if k == n {
			return true
		}
	}
	return false
}

// valueTest returns the comparison of one value with the constants of a check.
func valueTest(op string, t Type, values []constant) func(*constant) bool {
	if len(values) == 0 {
		// in () and its likes: nothing is in an empty list.
		return func(*constant) bool { return false }
	}
	k := t.kind()
	if op == "in" || op == "intersects" {
		return membershipTest(k, values)
	}
	first := values[0]
	switch k {
	case kindString, kindBytes:
		return textTest(op, first.str, values)
	case kindSigned:
		return func(v *constant) bool { return ordered(op, int64(v.num), int64(first.num)) }
	case kindFloat:
		return func(v *constant) bool { return ordered(op, v.flt, first.flt) }
	case kindIP:
		return func(v *constant) bool { return (v.addr == first.addr) == (op == "=") }
	case kindNet:
		return func(v *constant) bool { return first.net.contains(v.addr) == (op == "=") }
	default:
		return func(v *constant) bool { return ordered(op, v.num, first.num) }
	}
}

func textTest(op, want string, values []constant) func(*constant) bool {
	switch op {
	case "=":
		return func(v *constant) bool { return v.str == want }
	case "!=":
		return func(v *constant) bool { return v.str != want }
	case "contains":
		return func(v *constant) bool { return strings.Contains(v.str, want) }
	case "startswith":
		return func(v *constant) bool { return strings.HasPrefix(v.str, want) }
	case "endswith":
		return func(v *constant) bool { return strings.HasSuffix(v.str, want) }
	case "pmatch":
		paths := make([]string, len(values))
		for i := range values {
			paths[i] = values[i].str
		}
		set := newPathSet(paths)
		return func(v *constant) bool { return set.match(v.str) }
	case "regex":
		re := compileRegex(want)
		if re == nil {
			// Falco takes a broken expression, which then never matches.
			return func(*constant) bool { return false }
		}
		return func(v *constant) bool { return re.MatchString(v.str) }
	default:
		return func(v *constant) bool { return compareText(op, v.str, want) }
	}
}

func membershipTest(k kind, values []constant) func(*constant) bool {
	switch k {
	case kindString, kindBytes:
		if len(values) <= 8 {
			return func(v *constant) bool {
				for i := range values {
					if values[i].str == v.str {
						return true
					}
				}
				return false
			}
		}
		set := make(map[string]struct{}, len(values))
		for i := range values {
			set[values[i].str] = struct{}{}
		}
		return func(v *constant) bool {
			_, ok := set[v.str]
			return ok
		}
	case kindIP:
		set := make(map[netip.Addr]struct{}, len(values))
		for i := range values {
			set[values[i].addr] = struct{}{}
		}
		return func(v *constant) bool {
			_, ok := set[v.addr]
			return ok
		}
	case kindNet:
		return func(v *constant) bool {
			for i := range values {
				if values[i].net.contains(v.addr) {
					return true
				}
			}
			return false
		}
	case kindFloat:
		return func(v *constant) bool {
			for i := range values {
				if values[i].flt == v.flt {
					return true
				}
			}
			return false
		}
	default:
		return func(v *constant) bool {
			for i := range values {
				if values[i].num == v.num {
					return true
				}
			}
			return false
		}
	}
}
