package condition

import "strings"

// Warning is something that Falco warns of while it compiles a condition.
type Warning struct {
	Pos     Pos
	Message string
}

// Layout holds the fields that a set of compiled conditions reads, each once.
// Conditions compiled into the same layout share the values that they read
// off an event. The zero Layout is empty and ready; it is not safe for
// concurrent use while conditions are compiled into it.
type Layout struct {
	slots []slot
	index map[string]int
}

// slot is one field, with the transformers applied to it.
type slot struct {
	get getter
	// from is the slot that a transformer takes its value from, -1 for a field itself.
	from int
	name string
	list bool
	// keys holds the keys of the ancestors' values, for proc.aname without index.
	keys []string
	typ  Type
	// made is set for what is no field; parts are the slots of its arguments.
	made  *made
	parts []int
}

// Program is a compiled condition.
type Program struct {
	eval   evaluator
	layout *Layout
}

// Compile checks a condition without macros against the field catalogue and
// compiles it. It stops at the first error, which is of type *Error, as Falco
// does.
func (l *Language) Compile(e Expr) (*Program, []Warning, error) {
	return l.CompileInto(&Layout{}, e)
}

// CompileInto is Compile for one of several conditions that are evaluated
// over the same events.
func (l *Language) CompileInto(layout *Layout, e Expr) (*Program, []Warning, error) {
	c := &compiler{lang: l, layout: layout}
	eval, err := c.compile(e)
	if err != nil {
		return nil, nil, err
	}
	return &Program{eval: eval, layout: layout}, c.warnings, nil
}

// Check tells whether Falco accepts a condition without macros. It reports the
// same warnings and error as Compile.
func (l *Language) Check(e Expr) ([]Warning, error) {
	c := &compiler{lang: l}
	_, err := c.compile(e)
	if err != nil {
		return nil, err
	}
	return c.warnings, nil
}

// Match parses, compiles and evaluates a condition over one event: for tests
// and one-off questions.
func (l *Language) Match(text string, ev Event) (bool, error) {
	e, err := l.Parse(text)
	if err != nil {
		return false, err
	}
	p, _, err := l.Compile(e)
	if err != nil {
		return false, err
	}
	ctx := p.layout.NewContext()
	ctx.Reset(ev)
	return p.Match(ctx), nil
}

// compiler checks conditions, and compiles them when it has a layout.
type compiler struct {
	lang     *Language
	layout   *Layout
	warnings []Warning
}

func (c *compiler) checkOnly() bool { return c.layout == nil }

// checked stands for the evaluator of a check that is not to be evaluated.
type checked struct{}

func (checked) eval(*Context) bool { return false }

func (c *compiler) compile(e Expr) (evaluator, error) {
	switch n := e.(type) {
	case *And:
		kids, err := c.compileAll(n.Children)
		if err != nil {
			return nil, err
		}
		return allOf(kids), nil
	case *Or:
		kids, err := c.compileAll(n.Children)
		if err != nil {
			return nil, err
		}
		return anyOf(kids), nil
	case *Not:
		kid, err := c.compile(n.Child)
		return negation{kid}, err
	case *Identifier:
		return nil, &Error{Pos: n.pos, Message: "filter error: unexpected identifier '" + n.Name + "'"}
	case *Unary:
		return c.unary(n)
	case *Binary:
		return c.binary(n)
	default:
		return nil, &Error{Pos: e.Position(), Message: "filter error: not a condition: " + e.String()}
	}
}

func (c *compiler) compileAll(list []Expr) ([]evaluator, error) {
	kids := make([]evaluator, len(list))
	for i, e := range list {
		kid, err := c.compile(e)
		if err != nil {
			return nil, err
		}
		kids[i] = kid
	}
	return kids, nil
}

// operand is a field with the transformers applied to it, innermost first.
type operand struct {
	ref FieldRef
	// made is set for what is no field: a text, a list or a transformer of several arguments.
	made  *made
	chain []string
	// typ and list describe the value after the last transformer.
	typ  Type
	list bool
}

// made is a value that is not read off an event but made of constants and fields.
type made struct {
	// name is the transformer, "" for a text or a list.
	name string
	text string
	// isList tells a list of args from a text.
	isList   bool
	args     []operand
	selector *string
}

// noField stands for the catalogue's entry where there is no field, under the name that Falco has for it.
var noField, noFieldList = &FieldInfo{Name: "NA", Type: TypeCharbuf}, &FieldInfo{Name: "NA", Type: TypeCharbuf, List: true}

// shownName is the operand's name in Falco's messages.
func (o *operand) shownName() string {
	if o.made != nil && o.made.name == "getopt" && o.made.selector == nil {
		return "INTERNAL"
	}
	return o.ref.Info.Name
}

// operand reads the field of a check. ok is false for what is no field.
func (c *compiler) operand(e Expr) (op operand, ok bool, err error) {
	switch n := e.(type) {
	case *Field:
		name := n.FullName()
		ref, found, err := c.lang.LookupField(name)
		if err != nil {
			return operand{}, false, &Error{Pos: n.pos, Message: err.Error(), Hint: c.lang.argumentHint(n)}
		}
		if !found {
			return operand{}, false, &Error{
				Pos:     n.pos,
				Message: "filter_check called with nonexistent field " + name,
				Hint:    c.lang.unknownFieldHint(name),
			}
		}
		return operand{ref: ref, typ: ref.Type, list: ref.Info.List}, true, nil
	case *Transformer:
		return c.transformed(n)
	default:
		return operand{}, false, nil
	}
}

func (c *compiler) transformed(n *Transformer) (operand, bool, error) {
	if c.lang.nestedTransformers {
		args := make([]operand, 0, 1+len(n.More))
		for _, e := range append([]Expr{n.Value}, n.More...) {
			arg, err := c.argument(e)
			if err != nil {
				return operand{}, false, err
			}
			args = append(args, arg)
		}
		if n.Selector != nil && (len(args) == 1 || n.Name == "val") {
			msg := "filter error: transformer '" + n.Name + "' does not support field arguments"
			return operand{}, false, &Error{Pos: n.pos, Message: msg}
		}
		if len(args) > 1 {
			op, msg := combine(n.Name, args, n.Selector)
			if msg != "" {
				return operand{}, false, &Error{Pos: n.pos, Message: msg}
			}
			return op, true, nil
		}
		return apply(args[0], n)
	}
	op, ok, err := c.operand(n.Value)
	if err != nil || !ok {
		return op, ok, err
	}
	return apply(op, n)
}

// apply applies a transformer of one argument.
func apply(op operand, n *Transformer) (operand, bool, error) {
	if n.Name == "val" {
		return op, true, nil
	}
	if severalArguments(n.Name) {
		return operand{}, false, &Error{Pos: n.Value.Position(), Message: "unknown field transfomer '" + n.Name + "'"}
	}
	if op.ref.Info.NoTransformer {
		return operand{}, false, &Error{Pos: n.Value.Position(), Message: "field '" + op.ref.Info.Name + "' does not support transformers"}
	}
	typ, fits := transformType(n.Name, op.typ, op.list)
	if !fits {
		return operand{}, false, &Error{Pos: n.Value.Position(), Message: transformRefusal(n.Name, op.typ, op.list, op.ref.Info.Name)}
	}
	if n.Name == "len" {
		op.list = false
	}
	op.typ = typ
	op.chain = append(op.chain, n.Name)
	return op, true, nil
}

// argument reads one argument of a transformer: a field, a transformer, a text or a list of those.
func (c *compiler) argument(e Expr) (operand, error) {
	switch n := e.(type) {
	case *Value:
		return operand{ref: FieldRef{Info: noField, Type: TypeCharbuf}, made: &made{text: n.Value}, typ: TypeCharbuf}, nil
	case *TransformerList:
		list := &made{isList: true}
		for _, item := range n.Items {
			op, err := c.argument(item)
			if err != nil {
				return operand{}, err
			}
			list.args = append(list.args, op)
		}
		return operand{ref: FieldRef{Info: noFieldList, Type: TypeCharbuf}, made: list, typ: TypeCharbuf, list: true}, nil
	default:
		op, ok, err := c.operand(e)
		if err == nil && !ok {
			err = &Error{Pos: e.Position(), Message: "filter error: not a field: " + e.String()}
		}
		return op, err
	}
}

func (c *compiler) comparable(pos Pos, op, modifier string, left *operand) error {
	if msg := incomparable(op, modifier, left.typ, left.list); msg != "" {
		hint := ""
		if left.made == nil {
			hint = left.ref.Name + " takes " + c.lang.operatorsFor(left.typ, left.list)
		}
		return &Error{Pos: pos, Message: "filter error: " + msg, Hint: hint}
	}
	return nil
}

// cutModifier cuts an operator such as "startswith anyof" in two, and makes = of ==.
func cutModifier(op string) (base, modifier string) {
	base, modifier, _ = strings.Cut(op, " ")
	if base == "==" {
		base = "="
	}
	return base, modifier
}

func (c *compiler) unary(n *Unary) (evaluator, error) {
	left, ok, err := c.operand(n.Left)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &Error{Pos: n.pos, Message: "filter error: missing field in left-hand of unary check"}
	}
	if err := c.comparable(n.Left.Position(), n.Op, "", &left); err != nil {
		return nil, err
	}
	if c.checkOnly() {
		return checked{}, nil
	}
	return c.exists(&left), nil
}

func (c *compiler) binary(n *Binary) (evaluator, error) {
	left, ok, err := c.operand(n.Left)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &Error{Pos: n.pos, Message: "filter error: missing field in left-hand of binary check"}
	}
	op, modifier := cutModifier(n.Op)
	if err := c.comparable(n.Left.Position(), op, modifier, &left); err != nil {
		return nil, err
	}
	right, isField, err := c.operand(n.Right)
	if err != nil {
		return nil, err
	}
	if isField {
		if msg := refuseRight(op, &left, &right); msg != "" {
			return nil, &Error{Pos: rightFieldPos(n.Right), Message: msg}
		}
		if c.checkOnly() {
			return checked{}, nil
		}
		return c.compareFields(op, &left, &right), nil
	}
	var constants []constant
	add := func(v string, at Pos) error {
		c.warn(op, at, v)
		k, err := c.constant(op, &left, v)
		if err != nil {
			return &Error{Pos: at, Message: err.Error(), Hint: c.lang.valueHint(&left, v)}
		}
		if !c.checkOnly() {
			constants = append(constants, k)
		}
		return nil
	}
	switch r := n.Right.(type) {
	case *Value:
		err = add(r.Value, r.pos)
	case *List:
		for i, v := range r.Values {
			at := r.pos
			if i < len(r.offsets) { // a list that was not parsed has none
				at.Offset = int(r.offsets[i])
			}
			if err = add(v, at); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if c.checkOnly() {
		return checked{}, nil
	}
	field := left // the evaluator's own: a check alone needs none that outlives it
	return c.compareConstants(op, modifier, &field, constants), nil
}

func rightFieldPos(e Expr) Pos {
	for {
		t, ok := e.(*Transformer)
		if !ok {
			return e.Position()
		}
		e = t.Value
	}
}

func (c *compiler) constant(op string, left *operand, v string) (constant, error) {
	if op == "bcontains" || op == "bstartswith" {
		bytes, err := unhex(v)
		if err != nil {
			return constant{}, err
		}
		v = bytes
	}
	if left.ref.Info.Name == "evt.rawarg" && left.ref.Type == TypeBytebuf {
		// Falco reads the constants of raw arguments in a way of its own,
		// which knows no bytes.
		return constant{}, fieldError("wrong parameter type 10")
	}
	k, err := c.lang.parseConstant(left.typ, v)
	if err != nil {
		return constant{}, err
	}
	if op == "regex" && c.lang.nestedTransformers {
		if msg := regexRefusal(k.str); msg != "" {
			return constant{}, fieldError("invalid regex pattern: " + msg)
		}
	}
	switch left.ref.Info.Name {
	case "evt.type":
		if left.typ.kind() != kindString || !c.lang.KnownEventType(k.str) {
			return constant{}, fieldError("unknown event type " + v)
		}
	case "evt.around":
		if op != "=" {
			return constant{}, fieldError("evt.around supports only '=' comparison operator")
		}
	}
	return k, nil
}

// refuseRight says in Falco's words why left cannot be compared with the field
// right. It returns "" when it can.
func refuseRight(op string, left, right *operand) string {
	if op == "pmatch" || op == "regex" {
		return "operator '" + strings.ToUpper(op) + "' doesn't support right-hand side fields"
	}
	if left.typ.kind() == kindNet {
		return "field type 'IPNET' doesn't support right-hand side fields"
	}
	if left.ref.Info.NoRight {
		return "field '" + left.shownName() + "' doesn't support right-hand side fields"
	}
	if right.ref.Info.NoRight {
		return "field '" + right.shownName() + "' can't be used as a right-hand side field"
	}
	if left.typ != right.typ || left.list != right.list {
		list := func(is bool) string {
			if is {
				return " (list)"
			}
			return ""
		}
		return "field '" + left.shownName() + "' has type '" + string(left.typ) + "'" + list(left.list) +
			" while the right-hand side field '" + right.shownName() + "' has incompatible type '" +
			string(right.typ) + "'" + list(right.list)
	}
	return ""
}

// warn collects what Falco suspects of a constant.
func (c *compiler) warn(op string, pos Pos, v string) {
	if op == "regex" && simpleRegex(v) {
		c.add(pos, "regex check with '"+v+"' may be optimized with simpler operators such as '=', 'contains', 'startswith', 'endswith'")
	}
	stripped := v
	if strings.ContainsFunc(v, isSpaceRune) {
		stripped = strings.Map(func(r rune) rune {
			if isSpaceRune(r) {
				return -1
			}
			return r
		}, v)
	}
	_, isField, err := c.lang.LookupField(stripped)
	if err != nil {
		return
	}
	if isField {
		c.add(pos, "'"+v+"' may be a valid field misused as a const string value")
	}
	if !strings.HasSuffix(stripped, ")") {
		return
	}
	for _, t := range append([]string{"val("}, c.lang.grammar().transformerTokens...) {
		if len(stripped) > len(t) && strings.HasPrefix(stripped, t) {
			c.add(pos, "'"+v+"' may be a valid field transformer misused as a const string value")
		}
	}
}

func (c *compiler) add(pos Pos, msg string) { c.warnings = append(c.warnings, Warning{pos, msg}) }

func isSpaceRune(r rune) bool { return r < 0x80 && isSpace(byte(r)) }

// simpleRegex tells whether a regular expression has nothing but text,
// anchors, and "any characters" at its ends.
func simpleRegex(v string) bool {
	n := len(v)
	for i := 0; i < n; i++ {
		if i == 0 && v[i] == '^' || i == n-1 && v[i] == '$' {
			continue
		}
		if (i == 0 && n > 1 || i == n-2) && v[i] == '.' && strings.IndexByte("+*?", v[i+1]) >= 0 {
			i++
			continue
		}
		if strings.IndexByte(`.+*?^$()[]{}|\`, v[i]) >= 0 {
			return false
		}
	}
	return true
}
