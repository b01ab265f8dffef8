package ruletest

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"spire-falco/falco/condition"
	"spire-falco/falco/internal/yaml"
)

// Problem is what keeps a file or a case from being judged. Line and Column count from 1 and are 0 without a place.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String returns the problem on one line: file:line:column, message, hint.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": " + p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// document is a file that is decoded.
type document struct {
	path string
	text string
	// lines holds where the lines start.
	lines []int
	// problems is where those that are found go.
	problems *[]Problem
}

func newDocument(path string, content []byte, problems *[]Problem) *document {
	d := &document{path: path, lines: []int{0}, problems: problems}
	d.text, _ = yaml.Decode(string(content))
	for i := range len(d.text) {
		if d.text[i] == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	return d
}

func (d *document) location(offset int) condition.Location {
	line := sort.SearchInts(d.lines, offset+1)
	return condition.Location{File: d.path, Line: line, Column: offset - d.lines[line-1] + 1}
}

func (d *document) report(offset int, hint, format string, args ...any) {
	at := d.location(min(offset, len(d.text)))
	*d.problems = append(*d.problems, Problem{at.File, at.Line, at.Column, fmt.Sprintf(format, args...), hint})
}

// fail reports a problem at a node.
func (d *document) fail(n *yaml.Node, format string, args ...any) {
	d.report(int(n.Offset), "", format, args...)
}

// quote is a text as messages show it.
func quote(s string) string { return fmt.Sprintf("%q", s) }

// didYouMean is the hint for a word that is none of those known.
func didYouMean(word string, known []string) string {
	if near := condition.Nearest(strings.ToLower(word), known); near != "" {
		return "did you mean " + near + "?"
	}
	return "there are: " + strings.Join(known, ", ")
}

// kindOf names the kind of a node in messages.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.Scalar:
		return "a value"
	case yaml.Sequence:
		return "a list"
	case yaml.Map:
		return "a map"
	}
	return "nothing"
}

// fields is a map with the values of its keys.
type fields map[string]*yaml.Node

// fieldsOf reads a map whose keys must be known and be there once; it reports those that are not. ok is false when n is no
// map.
func (d *document) fieldsOf(n *yaml.Node, what string, known []string) (m fields, ok bool) {
	if n.Kind != yaml.Map {
		d.fail(n, "%s is %s: it must be a map with keys such as %s", what, kindOf(n), known[0])
		return nil, false
	}
	m = fields{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		switch known := known; {
		case key.Kind != yaml.Scalar:
			d.fail(key, "a key of %s is %s", what, kindOf(key))
		case m[name] != nil:
			d.fail(key, "the key %s is there twice", quote(name))
		case !slices.Contains(known, name):
			d.report(int(key.Offset), didYouMean(name, known), "unknown key %s of %s", quote(name), what)
		default:
			m[name] = value
		}
	}
	return m, true
}

// str reads a text that must not be empty; "" when it is reported.
func (d *document) str(n *yaml.Node, what string) string {
	if n.Kind != yaml.Scalar || n.Value == "" {
		d.fail(n, "%s is %s: it must be a text", what, emptyOr(n))
		return ""
	}
	return n.Value
}

func emptyOr(n *yaml.Node) string {
	if n.Kind == yaml.Scalar && n.Value == "" {
		return "empty"
	}
	return kindOf(n)
}

// list reads the items of a list.
func (d *document) list(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.Sequence {
		d.fail(n, "%s is %s: it must be a list", what, kindOf(n))
		return nil
	}
	return n.Content
}

// strs reads a list of texts.
func (d *document) strs(n *yaml.Node, what string) []string {
	var out []string
	for _, item := range d.list(n, what) {
		if s := d.str(item, "an item of "+what); s != "" {
			out = append(out, s)
		}
	}
	return out
}
