package yaml

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

type fold int

const (
	dontFold fold = iota
	foldBlock
	foldFlow
)

type chomp int

const (
	clip chomp = iota
	strip
	keep
)

type docAction int

const (
	docIgnore docAction = iota
	docBreak
	docThrow
)

type scalarParams struct {
	// end returns the length of what ends the scalar here, -1 for nothing.
	end                  func() int
	eatEnd               bool
	indent               int
	detectIndent         bool
	eatLeadingWhitespace bool
	escape               byte
	fold                 fold
	trimTrailingSpaces   bool
	chomp                chomp
	onDoc                docAction
	tabThrows            bool
	leadingSpaces        bool
}

// scalarText is a scalar while it is read.
type scalarText struct {
	b    []byte
	runs []Run
}

// add adds a text that stands for what is at one offset of the file.
func (t *scalarText) add(s string, from int) { t.append(s, from, len(s) > 1) }

// copy adds a part of the file as it is.
func (t *scalarText) copy(s string, from int) { t.append(s, from, false) }

func (t *scalarText) append(s string, from int, fixed bool) {
	if s == "" {
		return
	}
	n := len(t.runs)
	if fixed || n == 0 || t.runs[n-1].Fixed || t.runs[n-1].At(len(t.b)) != from {
		t.runs = append(t.runs, Run{int32(len(t.b)), int32(from), fixed})
	}
	t.b = append(t.b, s...)
}

func (t *scalarText) cut(n int) {
	if n >= len(t.b) {
		return
	}
	t.b = t.b[:n]
	for len(t.runs) > 0 && int(t.runs[len(t.runs)-1].Start) >= n {
		t.runs = t.runs[:len(t.runs)-1]
	}
}

// lastNot returns the index of the last byte that is not in cut, -1 for none.
func (t *scalarText) lastNot(cut string) int { return len(bytes.TrimRight(t.b, cut)) - 1 }

func (s *scanner) finish(typ tokenType, at mark, t *scalarText) {
	tok := s.push(typ, at)
	verbatim := false
	if len(t.runs) == 1 {
		// Most scalars stand in the file as they are.
		from := int(t.runs[0].Offset)
		end := from + len(t.b)
		if verbatim = end <= len(s.in) && s.in[from:end] == string(t.b); verbatim {
			tok.value = s.in[from:end]
			if from == at.pos {
				return
			}
		}
	}
	if !verbatim {
		tok.value = string(t.b)
	}
	start := len(s.runs)
	s.runs = append(s.runs, t.runs...)
	tok.runs = s.runs[start:len(s.runs):len(s.runs)]
}

func (s *scanner) plainScalar() {
	p := &scalarParams{
		end: s.endOfPlain, indent: s.topIndent() + 1, fold: foldFlow, eatLeadingWhitespace: true,
		trimTrailingSpaces: true, chomp: strip, onDoc: docBreak, tabThrows: true,
	}
	if !s.inBlock() {
		p.end, p.indent = s.endOfPlainInFlow, 0
	}
	s.insertSimpleKey()
	at := s.mark
	t := s.scalar(p)
	s.simpleKeyAllowed = p.leadingSpaces
	s.canBeJSONFlow = false
	s.finish(tPlain, at, t)
}

// comment tells whether a blank or a break with a comment behind it is next.
func (s *scanner) comment() bool {
	n := s.breakAt(0)
	if n == 0 && s.blankAt(0) {
		n = 1
	}
	c, ok := s.at(n)
	return n > 0 && ok && c == '#'
}

func (s *scanner) endOfPlain() int {
	if s.is(':') && s.endsAt(1) || s.comment() {
		return 1
	}
	return -1
}

func (s *scanner) endOfPlainInFlow() int {
	c, ok := s.at(0)
	if !ok {
		return -1
	}
	if d, ok := s.at(1); c == ':' && (s.endsAt(1) || ok && strings.IndexByte(",]}", d) >= 0) {
		return 1
	}
	if strings.IndexByte(",?[]{}", c) >= 0 || s.comment() {
		return 1
	}
	return -1
}

func (s *scanner) quotedScalar() {
	quote := s.in[s.pos]
	p := &scalarParams{
		eatEnd: true, escape: '\\', fold: foldFlow, eatLeadingWhitespace: true, onDoc: docThrow,
	}
	p.end = func() int {
		if !s.is(quote) {
			return -1
		}
		if c, ok := s.at(1); quote == '\'' && ok && c == quote {
			return -1
		}
		return 1
	}
	if quote == '\'' {
		p.escape = quote
	}
	s.insertSimpleKey()
	at := s.mark
	s.get()
	t := s.scalar(p)
	s.simpleKeyAllowed = false
	s.scalarValueAllowed = !s.inBlock()
	s.canBeJSONFlow = true
	s.finish(tNonPlain, at, t)
}

func (s *scanner) blockScalar() {
	p := &scalarParams{indent: 1, detectIndent: true, tabThrows: true, end: func() int {
		if s.more() {
			return -1
		}
		return 0
	}}
	at := s.mark
	if s.get() == '>' {
		p.fold = foldBlock
	}
	s.blockHeader(p)
	for s.blankAt(0) {
		s.get()
	}
	if s.is('#') {
		s.skip(s.restOfLine())
	}
	if s.more() && s.breakAt(0) == 0 {
		fail(s.mark, "unexpected character in block scalar")
	}
	if top := s.topIndent(); top >= 0 {
		p.indent += top
	}
	t := s.scalar(p)
	s.simpleKeyAllowed = true
	s.canBeJSONFlow = false
	s.finish(tNonPlain, at, t)
}

// blockHeader reads the indicators behind | and >: one of each kind, in any order.
func (s *scanner) blockHeader(p *scalarParams) {
	isChomp := func(c byte, ok bool) bool { return ok && (c == '+' || c == '-') }
	isNumber := func(c byte, ok bool) bool { return ok && c >= '0' && c <= '9' }
	a, okA := s.at(0)
	b, okB := s.at(1)
	n := 0
	switch {
	case isChomp(a, okA) && isNumber(b, okB), isNumber(a, okA) && isChomp(b, okB):
		n = 2
	case isChomp(a, okA) || isNumber(a, okA):
		n = 1
	}
	for range n {
		switch c := s.get(); c {
		case '+':
			p.chomp = keep
		case '-':
			p.chomp = strip
		case '0':
			fail(s.mark, "cannot set zero indentation for a block scalar")
		default:
			p.indent = int(c - '0')
			p.detectIndent = false
		}
	}
}

// scalar reads a scalar line by line: its text, the line break, the
// indentation of the next line.
func (s *scanner) scalar(p *scalarParams) *scalarText {
	t := &s.scalarText
	t.b, t.runs = t.b[:0], t.runs[:0]
	foundNonEmpty, pastOpening := false, p.fold == foldFlow
	emptyLine, moreIndented := false, false
	folded, foldedMoreIndented := 0, false
	lastEscaped := -1
	for s.more() {
		lastNonBlank := len(t.b)
		escapedNewline := false
		for p.end() < 0 && s.breakAt(0) == 0 && s.more() {
			if s.column == 0 && (s.docStart() || s.docEnd()) {
				if p.onDoc == docBreak {
					break
				}
				if p.onDoc == docThrow {
					fail(s.mark, "illegal document indicator in scalar")
				}
			}
			foundNonEmpty, pastOpening = true, true
			if p.escape == '\\' && s.is('\\') && s.breakAt(1) > 0 {
				s.get()
				lastNonBlank, lastEscaped = len(t.b), len(t.b)
				escapedNewline = true
				break
			}
			from := s.pos
			if n := s.ordinary(p.fold); n > 0 {
				t.copy(s.in[from:from+n], from)
				s.skip(n)
				lastNonBlank = len(t.b)
				continue
			}
			if s.is(p.escape) { // a NUL byte is one where there is no other: yaml-cpp says "none" so
				t.add(s.escaped(), from)
				lastNonBlank, lastEscaped = len(t.b), len(t.b)
				continue
			}
			c := s.get()
			t.copy(s.in[from:s.pos], from)
			if c != ' ' && c != '\t' {
				lastNonBlank = len(t.b)
			}
		}
		if !s.more() {
			if p.eatEnd {
				fail(s.mark, "illegal EOF in scalar")
			}
			break
		}
		if p.onDoc == docBreak && s.column == 0 && (s.docStart() || s.docEnd()) {
			break
		}
		if n := p.end(); n >= 0 {
			if p.eatEnd {
				s.eat(n)
			}
			break
		}
		if p.fold == foldFlow {
			t.cut(lastNonBlank)
		}
		from := s.pos
		s.eat(s.breakAt(0))
		s.indentation(p, foundNonEmpty)

		nextEmpty, nextMore := s.breakAt(0) > 0, s.blankAt(0)
		if p.fold == foldBlock && folded == 0 && nextEmpty {
			foldedMoreIndented = moreIndented
		}
		if pastOpening {
			switch p.fold {
			case dontFold:
				t.add("\n", from)
			case foldBlock:
				switch {
				case !emptyLine && !nextEmpty && !moreIndented && !nextMore && s.column >= p.indent:
					t.add(" ", from)
				case nextEmpty:
					folded++
				default:
					t.add("\n", from)
				}
				if !nextEmpty && folded > 0 {
					t.add(strings.Repeat("\n", folded-1), from)
					if foldedMoreIndented || nextMore || !foundNonEmpty {
						t.add("\n", from)
					}
					folded = 0
				}
			case foldFlow:
				if nextEmpty {
					t.add("\n", from)
				} else if !emptyLine && !escapedNewline {
					t.add(" ", from)
				}
			}
		}
		emptyLine, moreIndented, pastOpening = nextEmpty, nextMore, true
		if !emptyLine && s.column < p.indent {
			p.leadingSpaces = true
			break
		}
	}
	t.trim(p, lastEscaped)
	return t
}

// ordinary returns how many of the next bytes are content in such a scalar. It
// spares them the tests of the loop, which take most of the time of reading.
func (s *scanner) ordinary(f fold) int {
	if s.column == 0 {
		return 0 // a document may start or end here
	}
	if f != foldFlow {
		n := s.restOfLine() // of a block scalar all is content but a NUL byte
		if i := strings.IndexByte(s.in[s.pos:s.pos+n], 0); i >= 0 {
			n = i
		}
		return n
	}
	i := s.pos
	for i < len(s.in) && isOrdinary[s.in[i]] {
		i++
	}
	return i - s.pos
}

var isOrdinary = func() (table [256]bool) {
	for c := 0x21; c < 256; c++ {
		table[c] = strings.IndexByte(":,?[]{}#'\"\\", byte(c)) < 0
	}
	return table
}()

// indentation eats the blanks that a line starts with as far as they are not content.
func (s *scanner) indentation(p *scalarParams, foundNonEmpty bool) {
	for s.is(' ') && (s.column < p.indent || p.detectIndent && !foundNonEmpty) && p.end() < 0 {
		s.get()
	}
	if p.detectIndent && !foundNonEmpty {
		p.indent = max(p.indent, s.column)
	}
	for s.blankAt(0) {
		if s.is('\t') && s.column < p.indent && p.tabThrows {
			fail(s.mark, "illegal tab when looking for indentation")
		}
		if !p.eatLeadingWhitespace || p.end() >= 0 {
			break
		}
		s.get()
	}
}

func (t *scalarText) trim(p *scalarParams, lastEscaped int) {
	last := func(cut string) int {
		pos := t.lastNot(cut)
		if lastEscaped >= 0 && pos < lastEscaped {
			pos = lastEscaped
		}
		return pos
	}
	if p.trimTrailingSpaces {
		if pos := last(" \t"); pos >= 0 {
			t.cut(pos + 1)
		}
	}
	switch p.chomp {
	case clip:
		if pos := last("\n"); pos < 0 {
			t.cut(0)
		} else {
			t.cut(pos + 2)
		}
	case strip:
		t.cut(last("\n") + 1)
	}
}

var simpleEscapes = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f", 'r': "\r", 'e': "\x1b",
	' ': " ", '"': `"`, '\'': "'", '\\': `\`, '/': "/", 'N': "\x85", '_': "\xA0", 'L': "\u2028", 'P': "\u2029",
}

// escaped reads an escape sequence.
func (s *scanner) escaped() string {
	escape := s.get()
	c := s.get()
	if escape == '\'' && c == '\'' {
		return "'"
	}
	if text, ok := simpleEscapes[c]; ok {
		return text
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if digits == 0 {
		fail(s.mark, "unknown escape character: "+string([]byte{c}))
	}
	var value uint32
	var code []byte
	for range digits {
		code = append(code, s.get())
	}
	for _, d := range code {
		if !isHex(d) {
			fail(s.mark, "bad character found while scanning hex number")
		}
		n := uint32(d - '0')
		if d|0x20 >= 'a' {
			n = uint32(d|0x20-'a') + 10
		}
		value = value<<4 + n
	}
	if value >= 0xD800 && value <= 0xDFFF || value > 0x10FFFF {
		fail(s.mark, fmt.Sprintf("invalid unicode: %d", value))
	}
	return string(utf8.AppendRune(nil, rune(value)))
}
