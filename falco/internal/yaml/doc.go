// Package yaml reads YAML as yaml-cpp 0.8, the library inside Falco, does.
//
// Falco's library takes a good deal that other libraries refuse, and stops
// reading where others go on: what follows a block at a lesser indentation is
// a further document, an empty document ends the file, an unclosed quote may
// end with the file, tags and directives need not be known. Whether a rule
// file loads, and with which error, depends on it. The package also keeps the
// offset that every byte of a scalar was read from.
//
// The rules of scanning follow yaml-cpp (MIT licence, Copyright (c) 2008-2015
// Jesse Beder).
package yaml

import "fmt"

// Kind is the kind of a node.
type Kind uint8

// The kinds of nodes. Only a plain scalar without a tag can be null.
const (
	Null Kind = iota
	Scalar
	Sequence
	Map
)

// Node is a node of a document. Aliases are the very node that they name, so
// that a document may contain itself.
type Node struct {
	// Value is the text of a scalar.
	Value string
	// runs tell where the bytes of Value were read from, nil when the file has
	// them as they are from Offset on. A pointer, since few nodes have any.
	runs *[]Run
	// Content holds the items of a sequence, or the keys and values of a map in turn.
	Content []*Node
	// Offset is where the node starts in the file, in bytes.
	Offset int32
	Kind   Kind
}

// Runs tell where in the file the bytes of Value were read from, in order.
func (n *Node) Runs() []Run {
	switch {
	case n.runs != nil:
		return *n.runs
	case n.Value != "":
		return []Run{{Offset: n.Offset}}
	}
	return nil
}

// Run is a part of a scalar, up to the next one: the bytes of the value from
// Start on were read from Offset on, one after the other, or all of them from
// Offset when the run is fixed, such as what an escape sequence stands for.
type Run struct {
	Start, Offset int32
	Fixed         bool
}

// At returns the offset in the file of a byte of the run, i being its place in
// the value.
func (r Run) At(i int) int {
	if r.Fixed {
		return int(r.Offset)
	}
	return int(r.Offset) + i - int(r.Start)
}

// Error is a failure to read a file. Message is that of yaml-cpp.
type Error struct {
	Message string
	// Offset is in bytes; Line and Column count from 1.
	Offset, Line, Column int
}

// Error returns the message in yaml-cpp's form.
func (e *Error) Error() string {
	return fmt.Sprintf("yaml-cpp: error at line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Parse reads the documents of a file, up to the first one that is empty or
// null. The content is what Decode returns. The error is of type *Error.
func Parse(content string) (docs []*Node, err error) {
	p := &parser{scanner: newScanner(content)}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			docs, err = nil, e
		}
	}()
	for {
		doc := p.document()
		if doc == nil || doc.Kind == Null {
			return docs, nil
		}
		docs = append(docs, doc)
	}
}

// Comment is a comment of a file, from its number sign to the end of the line.
type Comment struct {
	Text string
	// Offset is in bytes.
	Offset int
}

// Comments returns the comments of a file that Parse can read: what stands behind a number sign in a text is none.
func Comments(content string) []Comment {
	var all []Comment
	p := &parser{scanner: newScanner(content)}
	p.onComment = func(offset int, text string) {
		if n := len(all); n == 0 || all[n-1].Offset < offset { // the scanner may come by twice
			all = append(all, Comment{text, offset})
		}
	}
	defer func() {
		if e := recover(); e != nil {
			if _, ok := e.(*Error); !ok {
				panic(e)
			}
		}
	}()
	for {
		if doc := p.document(); doc == nil || doc.Kind == Null {
			return all
		}
	}
}

// ParseOne reads a file that must be a single document, nil when it is empty: what Parse
// would take for further documents, or never reach, is an error. The error is of type *Error.
func ParseOne(content string) (doc *Node, err error) {
	p := &parser{scanner: newScanner(content)}
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			doc, err = nil, e
		}
	}()
	doc = p.document()
	if t := p.peek(); t != nil {
		fail(t.mark, "the document ends before this: check the indentation, and write one document")
	}
	return doc, nil
}
