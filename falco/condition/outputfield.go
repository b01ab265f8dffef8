package condition

import "strings"

// OutputField is a field of an output, with the transformers around it.
type OutputField struct {
	// Length is how many bytes of the output name it.
	Length int
	lang   *Language
	// expr is nil for a field without argument and transformer, which op names.
	expr Expr
	op   operand
}

// NamedField is a field by the name that alerts have for it.
type NamedField struct {
	Name  string
	Field *Extractor
}

// OutputField reads the field that text starts with, as an output of Falco 0.44
// or newer does after a percent sign: with the parser of conditions, on ever
// shorter texts until one can be read. Older versions look fields up in a way of
// their own, see LookupOutputField; ok is false for them.
func (l *Language) OutputField(text string) (f OutputField, ok bool, err error) {
	if !l.nestedTransformers {
		return OutputField{}, false, nil
	}
	// Nearly all are plain fields, for which the parser need not be set up.
	if n := fieldNameLen(text); n > 0 && (n == len(text) || text[n] != '[') {
		if ref, ok, err := l.LookupField(text[:n]); ok && err == nil {
			return OutputField{Length: n, lang: l, op: operand{ref: ref, typ: ref.Type, list: ref.Info.List}}, true, nil
		}
	}
	e, op, length, err := l.readOutputField(text)
	return OutputField{Length: length, lang: l, expr: e, op: op}, true, err
}

// Expr is the field with its transformers, nil for a field without argument and transformer.
func (f *OutputField) Expr() Expr { return f.expr }

// Shown is what the output shows.
func (f *OutputField) Shown() *Extractor {
	c := &compiler{lang: f.lang, layout: &Layout{}}
	return c.extractor(&f.op)
}

// Fields are the fields that it reads, without transformers, by the names under
// which alerts list them.
func (f *OutputField) Fields() []NamedField {
	var fields []NamedField
	c := &compiler{lang: f.lang}
	if f.expr == nil {
		return []NamedField{{f.op.ref.Name, c.extractor(&f.op)}}
	}
	Walk(f.expr, func(e Expr) bool {
		if n, isField := e.(*Field); isField {
			if op, _, err := c.operand(n); err == nil { // read before
				fields = append(fields, NamedField{n.FullName(), c.extractor(&op)})
			}
		}
		return true
	})
	return fields
}

// unknownOutputField is what Falco says in the end whatever was wrong: its last
// try is a text of one letter.
const unknownOutputField = fieldError("unknown filter: unexpected token after '")

func (l *Language) readOutputField(text string) (e Expr, op operand, length int, err error) {
	c := &compiler{lang: l}
	try := func(n int) (p *parser, fatal error) {
		p = &parser{lexer: newLexer(&Source{Text: text[:n]}), lang: l, grammar: l.grammar()}
		if e, err = p.fieldOrTransformer(); err == nil {
			op, _, err = c.operand(e)
		}
		length = p.off
		if ce, ok := err.(*Error); ok && ce.Message == unknownTransformer { //nolint:errorlint // never wrapped
			return p, fieldError(unknownTransformer)
		}
		return p, nil
	}
	p, fatal := try(len(text))
	if fatal != nil || err == nil {
		return e, op, length, fatal
	}
	name := &lexer{text: text}
	if !name.fieldName() {
		// A transformer ends at its parenthesis: only what follows can be cut off.
		if n := p.closed; n > 0 && n < len(text) {
			if _, fatal = try(n); fatal != nil || err == nil {
				return e, op, length, fatal
			}
		}
		return nil, operand{}, 0, unknownOutputField
	}
	for n := min(name.off, maxFieldName); strings.IndexByte(text[:n], '.') > 0; n-- {
		if _, _ = try(n); err == nil && length == n {
			return e, op, length, nil
		}
	}
	return nil, operand{}, 0, unknownOutputField
}

// maxFieldName is longer than any field's name.
const maxFieldName = 256

// fieldOrTransformer parses what may stand in an output.
func (p *parser) fieldOrTransformer() (Expr, error) {
	pos := p.pos()
	if p.fieldName() {
		return p.fieldRemainder(pos)
	}
	if p.oneOf(p.grammar.transformerTokens) {
		p.blank()
		return p.transformerRemainder(strings.TrimSuffix(p.last, "("), pos)
	}
	return nil, p.fail("unexpected token after '" + p.last)
}

// extractor returns what reads the operand off events.
func (c *compiler) extractor(op *operand) *Extractor {
	if op.made == nil && len(op.chain) == 0 {
		return c.lang.NewExtractor(op.ref, nil)
	}
	return &Extractor{ref: op.ref, typ: op.typ, list: op.list, slot: c.slotOf(op), layout: c.layout}
}
