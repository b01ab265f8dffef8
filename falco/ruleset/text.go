package ruleset

import (
	"sort"
	"strings"
	"sync"
	"unicode/utf8"

	"spire-falco/falco/condition"
	"spire-falco/falco/internal/yaml"
)

// File is one rule file. Name stands in messages; nothing is read from disk.
type File struct {
	Name    string
	Content []byte
}

// source is a file. Lines are counted when they are asked for, which is seldom.
type source struct {
	name    string
	content string
	// lines holds where the lines start, once somebody has asked.
	lines func() []int
	// budget is what may still be read of the file.
	budget budget
}

func newSource(f File) *source {
	content, _ := yaml.Decode(string(f.Content))
	s := &source{name: f.Name, content: content, budget: newBudget(len(content))}
	s.lines = sync.OnceValue(func() []int { return lineStarts(s.content) })
	return s
}

// lineStarts returns where the lines of a file start. A file without a line
// feed has carriage returns at the ends of its lines.
func lineStarts(content string) []int {
	end := byte('\n')
	if strings.IndexByte(content, end) < 0 {
		end = '\r'
	}
	starts := make([]int, 1, strings.Count(content, string(end))+1)
	for at := 0; ; {
		i := strings.IndexByte(content[at:], end)
		if i < 0 {
			return starts
		}
		at += i + 1
		starts = append(starts, at)
	}
}

// location returns the line and column of an offset, both from 1.
func (s *source) location(offset int) condition.Location {
	offset = max(0, min(offset, len(s.content)))
	lines := s.lines()
	line := sort.SearchInts(lines, offset+1)
	return condition.Location{File: s.name, Line: line, Column: offset - lines[line-1] + 1}
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
	s string
	// at holds the segments of s in their order; the first starts with s.
	at []segment
}

// segment is a part of a text, up to the next one: its bytes were written one
// after the other from off on, or all of them at off when it is fixed. A part
// that came in by the name of a list is fixed at the place of the name; list
// and skip say which bytes of the list's items it holds.
type segment struct {
	start int32
	skip  int32
	fixed bool
	list  *listDef
	place
}

func (s segment) placeOf(i int) place {
	if s.list != nil {
		if at := s.list.placeOf(int(s.skip) + i - int(s.start)); at.src != nil {
			return at
		}
	}
	if !s.fixed {
		s.off += i - int(s.start)
	}
	return s.place
}

// from returns the segment as it is from byte i of its text on.
func (s segment) from(i int) segment {
	n := int32(i) - s.start
	if !s.fixed {
		s.off += int(n)
	}
	s.start, s.skip = s.start+n, s.skip+n
	return s
}

// placed returns a text all of whose bytes were written at one place.
func placed(s string, at place) text {
	if s == "" {
		return text{}
	}
	return text{s: s, at: []segment{{fixed: true, place: at}}}
}

func (t text) empty() bool { return t.s == "" }

// segmentOf returns the index of the segment that byte i is in.
func (t text) segmentOf(i int) int {
	return sort.Search(len(t.at), func(k int) bool { return int(t.at[k].start) > i }) - 1
}

// placeOf returns where byte i was written.
func (t text) placeOf(i int) place { return t.at[t.segmentOf(i)].placeOf(i) }

// first is the place of the text as a whole.
func (t text) first() place {
	for k, seg := range t.at {
		if seg.src == nil {
			continue
		}
		end := len(t.s)
		if k+1 < len(t.at) {
			end = int(t.at[k+1].start)
		}
		for i := int(seg.start); i < end; i++ {
			if t.s[i] != ' ' && t.s[i] != '\n' {
				return seg.placeOf(i)
			}
		}
	}
	if len(t.at) > 0 {
		return t.at[0].place
	}
	return place{}
}

// Source returns the text for the parser of conditions.
func (t text) source() *condition.Source {
	return &condition.Source{
		Text: t.s,
		Locate: func(offset int) condition.Location {
			if t.s == "" {
				return condition.Location{}
			}
			if offset >= len(t.s) {
				// The end of the text: just behind its last byte that is not blank.
				last := len(strings.TrimRight(t.s, " \t\r\n")) - 1
				p := t.placeOf(max(last, 0))
				if p.src != nil {
					p.off++
				}
				return p.location()
			}
			return t.placeOf(offset).location()
		},
	}
}

// builder joins texts.
type builder struct {
	b  []byte
	at []segment
}

// add adds a text that was written at one place.
func (b *builder) add(s string, at place) {
	if s == "" {
		return
	}
	if n := len(b.at); n == 0 || !b.at[n-1].fixed || b.at[n-1].list != nil || b.at[n-1].place != at {
		b.at = append(b.at, segment{start: int32(len(b.b)), fixed: true, place: at})
	}
	b.b = append(b.b, s...)
}

// addList adds the items of a list in place of its name.
func (b *builder) addList(l *listDef, at place) {
	if l.joined == "" {
		return
	}
	b.at = append(b.at, segment{start: int32(len(b.b)), fixed: true, list: l, place: at})
	b.b = append(b.b, l.joined...)
}

func (b *builder) addText(t text) { b.addPart(t, 0, len(t.s)) }

// addPart adds the bytes of t from start up to end.
func (b *builder) addPart(t text, start, end int) {
	if start >= end {
		return
	}
	shift := len(b.b) - start
	for k := t.segmentOf(start); k < len(t.at) && int(t.at[k].start) < end; k++ {
		seg := t.at[k]
		if int(seg.start) < start {
			seg = seg.from(start)
		}
		seg.start += int32(shift)
		b.at = append(b.at, seg)
	}
	b.b = append(b.b, t.s[start:end]...)
}

func (b *builder) text() text { return text{string(b.b), b.at} }

func (b *builder) last() byte { return b.b[len(b.b)-1] }

func (b *builder) truncate(n int) {
	b.b = b.b[:n]
	for len(b.at) > 0 && int(b.at[len(b.at)-1].start) >= n {
		b.at = b.at[:len(b.at)-1]
	}
}

func join(parts ...text) text {
	var b builder
	for _, p := range parts {
		b.addText(p)
	}
	return b.text()
}

// Excerpts shows the lines of one file that problems point at.
type Excerpts struct {
	content string
	// starts holds where the lines start.
	starts []int
}

// NewExcerpts takes the content of the file.
func NewExcerpts(content []byte) *Excerpts {
	text, _ := yaml.Decode(string(content))
	return &Excerpts{text, lineStarts(text)}
}

// At returns the line that a problem points at and, below it, a caret under the
// column. Lines that are very long are cut around it. It returns "" when there
// is no such line.
func (e *Excerpts) At(line, column int) string {
	if line < 1 || line > len(e.starts) {
		return ""
	}
	const side = 60
	end := len(e.content)
	if line < len(e.starts) {
		end = e.starts[line] - 1
	}
	row := strings.TrimRight(e.content[e.starts[line-1]:end], "\r")
	col := max(0, min(column-1, len(row)))
	prefix, suffix := "", ""
	start, end := 0, len(row)
	if col > side {
		start, prefix = runeStart(row, col-side), "..."
	}
	if len(row)-col > side {
		end, suffix = max(col, runeStart(row, col+side)), "..." // bytes that are no text have no start
	}
	var caret strings.Builder
	for _, r := range prefix + visible(row[start:col]) {
		if r == '\t' {
			caret.WriteByte('\t')
		} else {
			caret.WriteByte(' ')
		}
	}
	return prefix + visible(row[start:col]) + visible(row[col:end]) + suffix + "\n" + caret.String() + "^"
}

func runeStart(s string, i int) int {
	for i > 0 && i < len(s) && !utf8.RuneStart(s[i]) {
		i--
	}
	return i
}
