package condition

import (
	"fmt"
	"strings"
)

// MaxDepth bounds how deep parentheses and transformers nest. Falco announces
// a limit of 1000 that it does not enforce and dies of stack overflow far
// beyond; rules written by people stay below 20.
const MaxDepth = 5000

// Error is what is wrong with a condition. Message is Falco's own; Hint, when
// set, says how to mend it.
type Error struct {
	Pos     Pos
	Message string
	Hint    string
}

// Error returns the position within the condition and the message.
func (e *Error) Error() string {
	line, column := e.Pos.LineColumn()
	msg := fmt.Sprintf("%d:%d: %s", line, column, e.Message)
	if e.Hint != "" {
		msg += " (" + e.Hint + ")"
	}
	return msg
}

// Parse parses a condition. Identifiers that name macros stay in the tree.
// The error is of type *Error.
func (l *Language) Parse(text string) (Expr, error) { return l.ParseSource(&Source{Text: text}) }

// ParseSource is Parse for a text whose offsets lead back to a file.
func (l *Language) ParseSource(src *Source) (Expr, error) {
	p := &parser{lexer: newLexer(src), lang: l, grammar: l.grammar()}
	if src.Text == "" {
		return nil, p.fail("filter input string is empty")
	}
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.off != len(p.text) {
		return nil, p.fail("unexpected token after '" + p.last + "', expecting 'or', 'and'")
	}
	return e, nil
}

type parser struct {
	*lexer
	lang    *Language
	grammar *grammar
	depth   int
	// closed is where the outermost transformer that was read last ends, without
	// what may follow in brackets.
	closed int
}

func (p *parser) fail(msg string) error {
	return &Error{Pos: p.pos(), Message: msg, Hint: p.lang.newerWordHint(p.last, p.text[min(p.off, len(p.text)):])}
}

// failEscape fails at the escape sequence that was read last.
func (p *parser) failEscape(msg string) error {
	return &Error{Pos: Pos{p.src, p.bad}, Message: msg, Hint: escapeHint(p.text[p.bad:])}
}

func quoteAll(list []string) string { return "'" + strings.Join(list, "', '") + "'" }

func (p *parser) transformerNames() string { return "'val', " + quoteAll(p.grammar.transformers) }

func (p *parser) enter() error {
	p.depth++
	if p.depth > MaxDepth {
		return p.fail(fmt.Sprintf("exceeded max depth limit of %d", MaxDepth))
	}
	return nil
}

func (p *parser) or() (Expr, error) {
	pos := p.pos()
	first, all, err := p.joined("or", (*parser).and)
	if err != nil || all == nil {
		return first, err
	}
	return &Or{node{pos}, all}, nil
}

func (p *parser) and() (Expr, error) {
	pos := p.pos()
	first, all, err := p.joined("and", (*parser).not)
	if err != nil || all == nil {
		return first, err
	}
	return &And{node{pos}, all}, nil
}

// joined reads operands with a word between them. all is nil when there is one.
func (p *parser) joined(word string, operand func(*parser) (Expr, error)) (first Expr, all []Expr, err error) {
	p.blank()
	if first, err = operand(p); err != nil {
		return nil, nil, err
	}
	p.blank()
	for p.literal(word) {
		var child Expr
		switch {
		case p.blank():
			child, err = operand(p)
		case p.literal("("):
			child, err = p.embedded()
		default:
			err = p.fail("expected blank or '(' after '" + word + "'")
		}
		if err != nil {
			return nil, nil, err
		}
		if all == nil {
			all = append(make([]Expr, 0, 4), first)
		}
		all = append(all, child)
		p.blank()
	}
	return first, all, nil
}

func (p *parser) not() (Expr, error) {
	pos := p.pos()
	p.blank()
	negated := false
	for p.notBlank() {
		negated = !negated
	}
	var (
		child Expr
		err   error
	)
	if p.literal("not(") {
		negated = !negated
		child, err = p.embedded()
	} else {
		child, err = p.check()
	}
	if err != nil {
		return nil, err
	}
	if negated {
		return &Not{node{pos}, child}, nil
	}
	return child, nil
}

// embedded parses what follows an opening parenthesis.
func (p *parser) embedded() (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	p.blank()
	child, err := p.or()
	if err != nil {
		return nil, err
	}
	p.blank()
	if !p.literal(")") {
		return nil, p.fail("expected a ')' token")
	}
	return child, nil
}

func (p *parser) check() (Expr, error) {
	pos := p.pos()
	p.blank()
	if p.literal("(") {
		return p.embedded()
	}
	if p.fieldName() {
		left, err := p.fieldRemainder(pos)
		if err != nil {
			return nil, err
		}
		return p.condition(left, pos)
	}
	if p.oneOf(p.grammar.transformerTokens) {
		left, err := p.transformerRemainder(strings.TrimSuffix(p.last, "("), pos)
		if err != nil {
			return nil, err
		}
		return p.condition(left, pos)
	}
	if p.identifier() {
		return &Identifier{node{pos}, p.last}, nil
	}
	return nil, p.fail("expected a '(' token, a field check, or an identifier")
}

func (p *parser) fieldRemainder(pos Pos) (Expr, error) {
	f := &Field{node: node{pos}, Name: p.last}
	if p.literal("[") {
		ok, failure := p.quoted()
		if failure != "" {
			return nil, p.failEscape(failure)
		}
		if !ok && !p.bareArgument() {
			return nil, p.fail("expected a valid field argument: a quoted string or a bare string")
		}
		f.Arg = p.last
		f.EmptyArg = p.lang.nestedTransformers && f.Arg == ""
		if !p.literal("]") {
			return nil, p.fail("expected a ']' token")
		}
	}
	return f, nil
}

func (p *parser) transformerRemainder(name string, pos Pos) (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	p.blank()
	if p.lang.nestedTransformers {
		return p.transformerArguments(name, pos)
	}
	argPos := p.pos()
	var (
		child Expr
		err   error
	)
	if p.oneOf(p.grammar.transformerTokens) {
		child, err = p.transformerRemainder(strings.TrimSuffix(p.last, "("), argPos)
		if err != nil {
			return nil, err
		}
	}
	if p.fieldName() {
		child, err = p.fieldRemainder(argPos)
		if err != nil {
			return nil, err
		}
	}
	if child == nil {
		return nil, p.fail("expected a field or a nested valid transformer: " + p.transformerNames())
	}
	p.blank()
	if !p.literal(")") {
		return nil, p.fail("expected a ')' token closing the transformer")
	}
	return &Transformer{node: node{pos}, Name: name, Value: child}, nil
}

// transformerArguments reads what follows the opening parenthesis of a
// transformer in Falco 0.44 and newer, where there may be several arguments and
// where texts and numbers may stand for fields.
func (p *parser) transformerArguments(name string, pos Pos) (Expr, error) {
	t := &Transformer{node: node{pos}, Name: name}
	for {
		arg, err := p.transformerArgument()
		if err != nil {
			return nil, err
		}
		if t.Value == nil {
			t.Value = arg
		} else {
			t.More = append(t.More, arg)
		}
		p.blank()
		if !p.literal(",") {
			break
		}
	}
	if !p.literal(")") {
		return nil, p.fail("expected a ')' token closing the transformer")
	}
	p.closed = p.off
	return t, p.transformerSelector(t)
}

// transformerSelector reads the argument in brackets that may follow a transformer.
func (p *parser) transformerSelector(t *Transformer) error {
	if !p.literal("[") {
		return nil
	}
	ok, failure := p.quoted()
	if failure != "" {
		return p.fail(failure)
	}
	if !ok && !p.bareArgument() {
		return p.fail("expected a valid field argument: a quoted string or a bare string")
	}
	arg := p.last
	if !p.literal("]") {
		return p.fail("expected a ']' token")
	}
	t.Selector = &arg
	return nil
}

func (p *parser) transformerArgument() (Expr, error) {
	pos := p.pos()
	p.blank()
	if p.number() {
		return &Value{node{pos}, p.last}, nil
	}
	if ok, failure := p.quoted(); failure != "" {
		return nil, p.fail(failure)
	} else if ok {
		return &Value{node{pos}, p.last}, nil
	}
	if p.literal("(") {
		return p.transformerList(pos)
	}
	if p.oneOf(p.grammar.transformerTokens) {
		return p.transformerRemainder(strings.TrimSuffix(p.last, "("), pos)
	}
	if p.fieldName() {
		return p.fieldRemainder(pos)
	}
	return nil, p.fail("expected field transformer argument: field, transformer, quoted string, number, or transformer list")
}

// transformerList reads a list of arguments after its opening parenthesis.
func (p *parser) transformerList(pos Pos) (Expr, error) {
	list := &TransformerList{node: node{pos}}
	p.blank()
	if p.literal(")") {
		return list, nil
	}
	for {
		item, err := p.transformerListItem(pos)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, item)
		p.blank()
		if !p.literal(",") {
			break
		}
		p.blank()
	}
	if !p.literal(")") {
		return nil, p.fail("expected ')'")
	}
	return list, nil
}

func (p *parser) transformerListItem(pos Pos) (Expr, error) {
	if p.fieldName() {
		return p.fieldRemainder(pos)
	}
	if p.oneOf(p.grammar.transformerTokens) {
		return p.transformerRemainder(strings.TrimSuffix(p.last, "("), pos)
	}
	if ok, failure := p.quoted(); failure != "" {
		return nil, p.fail(failure)
	} else if ok {
		return &Value{node{pos}, p.last}, nil
	}
	if p.number() {
		return &Value{node{pos}, p.last}, nil
	}
	return nil, p.fail("expected transformer list argument: field, transformer, quoted string, or number")
}

// operator reads one of the operators, see lexer.operator. Falco 0.44 and newer
// go back where a blank is missing, and try the others.
func (p *parser) operator(list []string) bool {
	if !p.lang.nestedTransformers {
		return p.lexer.operator(list)
	}
	for _, op := range list {
		off, last := p.off, p.last
		word, wantsBlank := strings.CutSuffix(op, " ")
		if !p.literal(word) {
			continue
		}
		if !wantsBlank || p.blank() {
			return true
		}
		p.off, p.last = off, last
	}
	return false
}

// modifier reads the list modifier of an operator, and tells whether a list
// follows it. Without one it goes back to where it was.
func (p *parser) modifier(hadBlank bool) (string, bool) {
	off, last := p.off, p.last
	if hadBlank && p.operator(p.grammar.modifiers) && p.listFollows() {
		return p.last, true
	}
	p.off, p.last = off, last
	return "", false
}

func (p *parser) listFollows() bool {
	rest := p.text[p.off:]
	if p.peek() == '(' {
		return true
	}
	if identifierLen(rest) == 0 {
		return false
	}
	for _, word := range []string{"and", "or", "not"} {
		if after, ok := strings.CutPrefix(rest, word); ok && (after == "" || !isAlpha(after[0]) && !isDigit(after[0])) {
			return false
		}
	}
	return true
}

func (p *parser) condition(left Expr, pos Pos) (Expr, error) {
	p.blank()
	if p.operator(p.grammar.unaryOperators) {
		return &Unary{node{pos}, left, p.last}, nil
	}
	var (
		right Expr
		op    string
		err   error
	)
	switch {
	case p.operator(p.grammar.numberOperators):
		op = p.last
		right, err = p.numberValue()
	case p.operator(p.grammar.stringOperators):
		op = p.last
		hadBlank := isAlpha(op[0]) || p.lang.nestedTransformers && p.blank()
		if modifier, ok := p.modifier(hadBlank); ok {
			op += " " + modifier
			right, err = p.modifiedList()
		} else {
			right, err = p.stringValue()
		}
	case p.operator(p.grammar.listOperators):
		op = p.last
		right, err = p.listValue()
	default:
		return nil, p.fail("expected a valid check operator: one of " + quoteAll(p.grammar.operators))
	}
	if err != nil {
		return nil, err
	}
	return &Binary{node{pos}, left, op, right}, nil
}

func (p *parser) numberValue() (Expr, error) {
	p.blank()
	pos := p.pos()
	if e, err := p.rightField(); e != nil || err != nil {
		return e, err
	}
	if p.number() {
		return &Value{node{pos}, p.last}, nil
	}
	return nil, p.fail("expected a number value or a field with a valid transformer: " + p.transformerNames())
}

func (p *parser) stringValue() (Expr, error) {
	p.blank()
	pos := p.pos()
	if e, err := p.rightField(); e != nil || err != nil {
		return e, err
	}
	if ok, failure := p.constant(); failure != "" {
		return nil, p.failEscape(failure)
	} else if ok {
		return &Value{node{pos}, p.last}, nil
	}
	return nil, p.fail("expected a string value or a field with a valid transformer: " + p.transformerNames())
}

// constant reads a quoted or bare string into last.
func (p *parser) constant() (ok bool, failure string) {
	if ok, failure = p.quoted(); ok || failure != "" {
		return ok, failure
	}
	return p.bareString(), ""
}

func (p *parser) listValue() (Expr, error) {
	p.blank()
	pos := p.pos()
	if e, err := p.list(pos); e != nil || err != nil {
		return e, err
	}
	if e, err := p.rightField(); e != nil || err != nil {
		return e, err
	}
	if p.identifier() {
		return &Value{node{pos}, p.last}, nil
	}
	return nil, p.fail("expected a list, an identifier, or a field with a valid transformer: " + p.transformerNames())
}

// modifiedList reads the right-hand side of an operator with a list modifier.
func (p *parser) modifiedList() (Expr, error) {
	p.blank()
	pos := p.pos()
	if e, err := p.list(pos); e != nil || err != nil {
		return e, err
	}
	if p.identifier() {
		return &Value{node{pos}, p.last}, nil
	}
	return nil, p.fail("expected a list or an identifier")
}

// list reads constants in parentheses. It returns nil, nil when there is no parenthesis.
func (p *parser) list(pos Pos) (Expr, error) {
	if p.literal("(") {
		list := &List{node: node{pos}}
		next := func() (ok bool, failure string) {
			p.blank()
			at := p.off
			if ok, failure = p.constant(); ok {
				list.Values = append(list.Values, p.last)
				list.offsets = append(list.offsets, int32(at))
			}
			return ok, failure
		}
		// A first value that cannot be read means an empty list.
		ok, failure := next()
		if ok {
			p.blank()
			for p.literal(",") {
				ok, failure := next()
				if failure != "" {
					return nil, p.failEscape(failure)
				}
				if !ok {
					return nil, p.fail("expected a string value")
				}
				p.blank()
			}
		}
		switch {
		case p.literal(")"):
		case failure != "":
			return nil, p.failEscape("expected a ')' token")
		default:
			return nil, p.fail("expected a ')' token")
		}
		return list, nil
	}
	return nil, nil
}

// rightField parses val(field) or a transformer on the right-hand side. It
// returns nil, nil when there is neither.
func (p *parser) rightField() (Expr, error) {
	p.blank()
	pos := p.pos()
	if p.literal("val(") {
		p.blank()
		fieldPos := p.pos()
		if !p.fieldName() {
			return nil, p.fail("expected a field within 'val' transformer")
		}
		child, err := p.fieldRemainder(fieldPos)
		if err != nil {
			return nil, err
		}
		p.blank()
		if !p.literal(")") {
			return nil, p.fail("expected a ')' token closing the transformer")
		}
		t := &Transformer{node: node{pos}, Name: "val", Value: child}
		if p.lang.nestedTransformers {
			return t, p.transformerSelector(t)
		}
		return t, nil
	}
	if p.oneOf(p.grammar.transformerTokens) {
		return p.transformerRemainder(strings.TrimSuffix(p.last, "("), pos)
	}
	return nil, nil
}
