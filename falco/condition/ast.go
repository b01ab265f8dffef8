package condition

import (
	"slices"
	"strings"
)

// Source is a text that nodes were parsed from. Locate, when set, maps a byte
// offset of Text to the place that a person wrote it at.
type Source struct {
	Text   string
	Locate func(offset int) Location
}

// Location is a place in a file. Line and Column count from 1; columns count bytes.
type Location struct {
	File   string
	Line   int
	Column int
}

// Pos is a place in a condition's text. Offset counts bytes from 0.
type Pos struct {
	Source *Source
	Offset int
}

// LineColumn returns the line and the column within the condition's text, both from 1.
func (p Pos) LineColumn() (line, column int) {
	line, column = 1, 1
	if p.Source == nil {
		return line, column
	}
	for i := range min(p.Offset, len(p.Source.Text)) {
		if c := p.Source.Text[i]; c == '\n' || c == '\r' {
			line, column = line+1, 1
		} else {
			column++
		}
	}
	return line, column
}

// Location returns the place in the file that the text came from, and false
// when the text came from no file.
func (p Pos) Location() (Location, bool) {
	if p.Source == nil || p.Source.Locate == nil {
		return Location{}, false
	}
	return p.Source.Locate(p.Offset), true
}

// Expr is a node of a condition's syntax tree. String renders the node as
// Falco itself prints it.
type Expr interface {
	Position() Pos
	String() string
	write(b *strings.Builder)
}

type node struct{ pos Pos }

// Position returns where the node starts.
func (n node) Position() Pos { return n.pos }

type (
	// And is true when all its children are.
	And struct {
		node
		Children []Expr
	}
	// Or is true when one of its children is.
	Or struct {
		node
		Children []Expr
	}
	// Not negates its child.
	Not struct {
		node
		Child Expr
	}
	// Identifier names a macro that has not been expanded.
	Identifier struct {
		node
		Name string
	}
	// Value is one constant on the right-hand side of a check.
	Value struct {
		node
		Value string
	}
	// List holds the constants on the right-hand side of a list check.
	List struct {
		node
		Values []string
		// offsets holds where each value starts.
		offsets []int32
	}
	// Unary is a check without a right-hand side (exists).
	Unary struct {
		node
		Left Expr
		Op   string
	}
	// Binary compares a field with constants or with another field.
	Binary struct {
		node
		Left  Expr
		Op    string
		Right Expr
	}
	// Field names a field of an event, with its argument in brackets if any.
	Field struct {
		node
		Name string
		Arg  string
		// EmptyArg is set where the argument is there and empty, which Falco 0.44
		// and newer tell from one that is not there.
		EmptyArg bool
	}
	// Transformer applies a function such as tolower to a field.
	Transformer struct {
		node
		Name string
		// Value is the first argument, More are the others: for transformers of
		// several arguments, which came with Falco 0.44.
		Value Expr
		More  []Expr
		// Selector is the argument in brackets behind the transformer, nil without one.
		Selector *string
	}
	// TransformerList is a list of arguments within a transformer.
	TransformerList struct {
		node
		Items []Expr
	}
)

// FullName returns the field's name with its argument in brackets.
func (e *Field) FullName() string {
	if e.Arg == "" && !e.EmptyArg {
		return e.Name
	}
	return e.Name + "[" + e.Arg + "]"
}

func render(e Expr) string {
	var b strings.Builder
	e.write(&b)
	return b.String()
}

func (e *And) String() string         { return render(e) }
func (e *Or) String() string          { return render(e) }
func (e *Not) String() string         { return render(e) }
func (e *Identifier) String() string  { return render(e) }
func (e *Value) String() string       { return render(e) }
func (e *List) String() string        { return render(e) }
func (e *Unary) String() string       { return render(e) }
func (e *Binary) String() string      { return render(e) }
func (e *Field) String() string       { return render(e) }
func (e *Transformer) String() string { return render(e) }

// String renders the list as Falco itself prints it.
func (e *TransformerList) String() string { return render(e) }

func writeJoined(b *strings.Builder, op string, children []Expr) {
	b.WriteByte('(')
	for i, c := range children {
		if i > 0 {
			b.WriteByte(' ')
			b.WriteString(op)
			b.WriteByte(' ')
		}
		c.write(b)
	}
	b.WriteByte(')')
}

func (e *And) write(b *strings.Builder) { writeJoined(b, "and", e.Children) }
func (e *Or) write(b *strings.Builder)  { writeJoined(b, "or", e.Children) }

func (e *Not) write(b *strings.Builder) {
	b.WriteString("not ")
	e.Child.write(b)
}

func (e *Identifier) write(b *strings.Builder) { b.WriteString(e.Name) }
func (e *Value) write(b *strings.Builder)      { b.WriteString(escape(e.Value)) }

func (e *List) write(b *strings.Builder) {
	b.WriteByte('(')
	for i, v := range e.Values {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(escape(v))
	}
	b.WriteByte(')')
}

func (e *Unary) write(b *strings.Builder) {
	e.Left.write(b)
	b.WriteByte(' ')
	b.WriteString(e.Op)
}

func (e *Binary) write(b *strings.Builder) {
	e.Left.write(b)
	b.WriteByte(' ')
	b.WriteString(e.Op)
	b.WriteByte(' ')
	e.Right.write(b)
}

func (e *Field) write(b *strings.Builder) {
	b.WriteString(e.Name)
	if e.Arg != "" || e.EmptyArg {
		writeArgument(b, e.Arg)
	}
}

func writeArgument(b *strings.Builder, arg string) {
	b.WriteByte('[')
	if arg == "" {
		b.WriteString(`""`)
	}
	b.WriteString(escape(arg))
	b.WriteByte(']')
}

func (e *Transformer) write(b *strings.Builder) {
	b.WriteString(e.Name)
	b.WriteByte('(')
	writeArguments(b, append([]Expr{e.Value}, e.More...))
	b.WriteByte(')')
	if e.Selector != nil {
		writeArgument(b, *e.Selector)
	}
}

func (e *TransformerList) write(b *strings.Builder) {
	b.WriteByte('(')
	writeArguments(b, e.Items)
	b.WriteByte(')')
}

func writeArguments(b *strings.Builder, list []Expr) {
	for i, a := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if v, ok := a.(*Value); ok {
			b.WriteString(quoteText(v.Value)) // Falco prints a bare word, which does not parse
			continue
		}
		a.write(b)
	}
}

// Walk calls visit for e and every node below it, parents first. It does not
// go below a node for which visit returns false.
func Walk(e Expr, visit func(Expr) bool) {
	if e == nil || !visit(e) {
		return
	}
	switch n := e.(type) {
	case *And:
		for _, c := range n.Children {
			Walk(c, visit)
		}
	case *Or:
		for _, c := range n.Children {
			Walk(c, visit)
		}
	case *Not:
		Walk(n.Child, visit)
	case *Unary:
		Walk(n.Left, visit)
	case *Binary:
		Walk(n.Left, visit)
		Walk(n.Right, visit)
	case *Transformer:
		Walk(n.Value, visit)
		for _, a := range n.More {
			Walk(a, visit)
		}
	case *TransformerList:
		for _, a := range n.Items {
			Walk(a, visit)
		}
	}
}

// Same tells whether two trees are the same but for their positions.
func Same(a, b Expr) bool {
	switch a := a.(type) {
	case *And:
		b, ok := b.(*And)
		return ok && slices.EqualFunc(a.Children, b.Children, Same)
	case *Or:
		b, ok := b.(*Or)
		return ok && slices.EqualFunc(a.Children, b.Children, Same)
	case *Not:
		b, ok := b.(*Not)
		return ok && Same(a.Child, b.Child)
	case *Identifier:
		b, ok := b.(*Identifier)
		return ok && a.Name == b.Name
	case *Value:
		b, ok := b.(*Value)
		return ok && a.Value == b.Value
	case *List:
		b, ok := b.(*List)
		return ok && slices.Equal(a.Values, b.Values)
	case *Unary:
		b, ok := b.(*Unary)
		return ok && a.Op == b.Op && Same(a.Left, b.Left)
	case *Binary:
		b, ok := b.(*Binary)
		return ok && a.Op == b.Op && Same(a.Left, b.Left) && Same(a.Right, b.Right)
	case *Field:
		b, ok := b.(*Field)
		return ok && a.Name == b.Name && a.Arg == b.Arg && a.EmptyArg == b.EmptyArg
	case *Transformer:
		b, ok := b.(*Transformer)
		return ok && a.Name == b.Name && Same(a.Value, b.Value) && slices.EqualFunc(a.More, b.More, Same) &&
			(a.Selector == nil) == (b.Selector == nil) && (a.Selector == nil || *a.Selector == *b.Selector)
	case *TransformerList:
		b, ok := b.(*TransformerList)
		return ok && slices.EqualFunc(a.Items, b.Items, Same)
	}
	return false
}
