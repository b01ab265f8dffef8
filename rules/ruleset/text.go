package ruleset

import (
	"sort"
	"strings"
	"unicode/utf8"

	"spire-falco/rules/condition"
)

// File is one rule file. Name stands in messages; nothing is read from disk.
type File struct {
	Name    string
	Content []byte
}

// source is a file with what it takes to tell lines and columns.
type source struct {
	name    string
	content string
	lines   []int // offsets at which lines start
}

func newSource(f File) *source {
	s := &source{name: f.Name, content: string(f.Content), lines: []int{0}}
	for i := range len(s.content) {
		if s.content[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// location returns the line and column of an offset, both from 1.
func (s *source) location(offset int) condition.Location {
	offset = max(0, min(offset, len(s.content)))
	line := sort.SearchInts(s.lines, offset+1) - 1
	return condition.Location{File: s.name, Line: line + 1, Column: offset - s.lines[line] + 1}
}

// place is a byte of a file. The zero place is nowhere.
type place struct {
	src *source
	off int
}

func (p place) location() condition.Location {
	if p.src == nil {
		return condition.Location{}
	}
	return p.src.location(p.off)
}

// text is a text of which every byte knows where it was written, through
// folding, appending and the expansion of lists.
type text struct {
	s  string
	at []place
}

// placed returns a text all of whose bytes were written at one place.
func placed(s string, at place) text {
	t := text{s: s, at: make([]place, len(s))}
	for i := range t.at {
		t.at[i] = at
	}
	return t
}

func (t text) empty() bool { return t.s == "" }

// first is the place of the text as a whole.
func (t text) first() place {
	for i, p := range t.at {
		if p.src != nil && t.s[i] != ' ' && t.s[i] != '\n' {
			return p
		}
	}
	if len(t.at) > 0 {
		return t.at[0]
	}
	return place{}
}

// Source returns the text for the parser of conditions.
func (t text) source() *condition.Source {
	return &condition.Source{
		Text: t.s,
		Locate: func(offset int) condition.Location {
			if len(t.at) == 0 {
				return condition.Location{}
			}
			if offset >= len(t.at) {
				// The end of the text: just behind its last byte that is not blank.
				last := len(strings.TrimRight(t.s, " \t\r\n")) - 1
				p := t.at[max(last, 0)]
				if p.src != nil {
					p.off++
				}
				return p.location()
			}
			return t.at[offset].location()
		},
	}
}

// builder joins texts.
type builder struct {
	b  []byte
	at []place
}

func (b *builder) add(s string, at place) {
	b.b = append(b.b, s...)
	for range len(s) {
		b.at = append(b.at, at)
	}
}

func (b *builder) addText(t text) {
	b.b = append(b.b, t.s...)
	b.at = append(b.at, t.at...)
}

func (b *builder) text() text { return text{string(b.b), b.at} }

func (b *builder) last() byte { return b.b[len(b.b)-1] }

func (b *builder) truncate(n int) { b.b, b.at = b.b[:n], b.at[:n] }

func join(parts ...text) text {
	var b builder
	for _, p := range parts {
		b.addText(p)
	}
	return b.text()
}

// Excerpt returns the line of content that a problem points at and, below it,
// a caret under the column. Lines that are very long are cut around it. It
// returns "" when there is no such line.
func Excerpt(content []byte, line, column int) string {
	lines := strings.Split(string(content), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	const side = 60
	row := strings.TrimRight(lines[line-1], "\r")
	col := max(0, min(column-1, len(row)))
	prefix, suffix := "", ""
	start, end := 0, len(row)
	if col > side {
		start, prefix = runeStart(row, col-side), "..."
	}
	if len(row)-col > side {
		end, suffix = runeStart(row, col+side), "..."
	}
	var caret strings.Builder
	for _, r := range prefix + row[start:col] {
		if r == '\t' {
			caret.WriteByte('\t')
		} else {
			caret.WriteByte(' ')
		}
	}
	return prefix + row[start:end] + suffix + "\n" + caret.String() + "^"
}

func runeStart(s string, i int) int {
	for i > 0 && i < len(s) && !utf8.RuneStart(s[i]) {
		i--
	}
	return i
}
