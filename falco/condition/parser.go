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
	p := &parser{lexer: newLexer(src), grammar: l.grammar()}
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
	grammar *grammar
	depth   int
}

func (p *parser) fail(msg string) error { return &Error{Pos: p.pos(), Message: msg} }

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
	return &Transformer{node{pos}, name, child}, nil
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
		right, err = p.stringValue()
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
	if e, err := p.rightField(); e != nil || err != nil {
		return e, err
	}
	if p.identifier() {
		return &Value{node{pos}, p.last}, nil
	}
	return nil, p.fail("expected a list, an identifier, or a field with a valid transformer: " + p.transformerNames())
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
		return &Transformer{node{pos}, "val", child}, nil
	}
	if p.oneOf(p.grammar.transformerTokens) {
		return p.transformerRemainder(strings.TrimSuffix(p.last, "("), pos)
	}
	return nil, nil
}
