package yaml

import "strings"

type tokenType uint8

const (
	tDirective tokenType = iota
	tDocStart
	tDocEnd
	tBlockSeqStart
	tBlockMapStart
	tBlockSeqEnd
	tBlockMapEnd
	tBlockEntry
	tFlowSeqStart
	tFlowMapStart
	tFlowSeqEnd
	tFlowMapEnd
	tFlowEntry
	tKey
	tValue
	tAnchor
	tAlias
	tTag
	tPlain
	tNonPlain
)

type status uint8

const (
	valid status = iota
	invalid
	unverified
)

type mark struct{ pos, line, column int }

type token struct {
	typ    tokenType
	status status
	mark   mark
	value  string
	runs   []Run
}

type indentType int

const (
	indentNone indentType = iota
	indentSeq
	indentMap
)

type indent struct {
	column int
	typ    indentType
	status status
	start  *token
}

// simpleKey is a place where a key without a question mark may have started.
type simpleKey struct {
	mark      mark
	flowLevel int
	indent    *indent
	mapStart  *token
	key       *token
}

func (k simpleKey) set(s status) {
	if k.indent != nil {
		k.indent.status = s
	}
	if k.mapStart != nil {
		k.mapStart.status = s
	}
	if k.key != nil {
		k.key.status = s
	}
}

type scanner struct {
	in string
	mark
	lineEnd byte

	// tokens holds those that have been read; the parser is at head. Those that
	// it is done with are used again, the one that it popped last excepted.
	tokens []*token
	head   int
	popped *token
	free   []*token
	// params holds the parameters of the directive read last.
	params []string
	// onComment is called for each comment with its offset, where it is not nil.
	onComment func(offset int, text string)

	started, ended     bool
	simpleKeyAllowed   bool
	scalarValueAllowed bool
	canBeJSONFlow      bool

	// scalarText is the scalar that is being read; runs holds those of all scalars.
	scalarText scalarText
	runs       []Run

	simpleKeys []simpleKey
	indents    []*indent
	flows      []byte
}

func newScanner(content string) *scanner {
	return &scanner{in: content}
}

func fail(at mark, msg string) {
	panic(&Error{Message: msg, Offset: at.pos, Line: at.line + 1, Column: at.column + 1})
}

func (s *scanner) more() bool { return s.pos < len(s.in) }

// at returns the byte i bytes ahead, and false behind the end.
func (s *scanner) at(i int) (byte, bool) {
	if s.pos+i < len(s.in) {
		return s.in[s.pos+i], true
	}
	return 0, false
}

func (s *scanner) is(c byte) bool { return s.pos < len(s.in) && s.in[s.pos] == c }

func (s *scanner) get() byte {
	if s.pos >= len(s.in) {
		s.column++
		return 4 // what the stream holds at its end
	}
	c := s.in[s.pos]
	s.pos++
	s.column++
	if s.lineEnd == 0 {
		switch {
		case c == '\n':
			s.lineEnd = '\n'
		case c == '\r' && s.is('\n'):
			s.lineEnd = '\n'
		case c == '\r':
			s.lineEnd = '\r'
		}
	}
	if c == s.lineEnd {
		s.column = 0
		s.line++
	}
	return c
}

func (s *scanner) eat(n int) {
	for range n {
		s.get()
	}
}

// restOfLine returns how many bytes are left in the line.
func (s *scanner) restOfLine() int {
	// Byte by byte: to look for the one kind of break over a file that has only
	// the other would take the square of its size.
	i := s.pos
	for i < len(s.in) && s.in[i] != '\n' && s.in[i] != '\r' {
		i++
	}
	return i - s.pos
}

// skip passes over bytes that hold no line break.
func (s *scanner) skip(n int) {
	s.pos += n
	s.column += n
}

// breakAt returns the length of the line break i bytes ahead, 0 for none.
func (s *scanner) breakAt(i int) int {
	c, ok := s.at(i)
	switch {
	case !ok:
		return 0
	case c == '\n':
		return 1
	case c == '\r':
		if d, _ := s.at(i + 1); d == '\n' {
			return 2
		}
		return 1
	}
	return 0
}

func (s *scanner) blankAt(i int) bool {
	c, ok := s.at(i)
	return ok && (c == ' ' || c == '\t')
}

func (s *scanner) blankOrBreakAt(i int) bool { return s.blankAt(i) || s.breakAt(i) > 0 }

// endsAt tells whether a blank, a break or the end of the file is i bytes ahead.
func (s *scanner) endsAt(i int) bool { return s.pos+i >= len(s.in) || s.blankOrBreakAt(i) }

func (s *scanner) docStart() bool { return strings.HasPrefix(s.in[s.pos:], "---") && s.endsAt(3) }
func (s *scanner) docEnd() bool   { return strings.HasPrefix(s.in[s.pos:], "...") && s.endsAt(3) }

func (s *scanner) blockEntry() bool { return s.is('-') && s.endsAt(1) }

func (s *scanner) inBlock() bool { return len(s.flows) == 0 }

// value tells whether a colon that ends a key is next.
func (s *scanner) value() bool {
	if !s.is(':') {
		return false
	}
	if s.inBlock() {
		return s.endsAt(1)
	}
	if s.canBeJSONFlow {
		return true
	}
	c, ok := s.at(1)
	return s.blankOrBreakAt(1) || ok && strings.IndexByte(",]}", c) >= 0
}

func (s *scanner) plainStart() bool {
	c, ok := s.at(0)
	if !ok || s.blankOrBreakAt(0) {
		return false
	}
	if s.inBlock() {
		return strings.IndexByte(",[]{}#&*!|>'\"%@`", c) < 0 &&
			(strings.IndexByte("-?:", c) < 0 || !s.endsAt(1))
	}
	return strings.IndexByte("?,[]{}#&*!|>'\"%@`", c) < 0 &&
		(c != '-' && c != ':' || !s.blankAt(1) && s.pos+1 < len(s.in))
}

// peek returns the next token, nil at the end.
func (s *scanner) peek() *token {
	for {
		if s.head < len(s.tokens) {
			switch t := s.tokens[s.head]; t.status {
			case valid:
				return t
			case invalid:
				s.free = append(s.free, t)
				s.head++
				continue
			}
		}
		if s.ended {
			// A key that the end of the file left open counts as one.
			if s.head < len(s.tokens) {
				return s.tokens[s.head]
			}
			return nil
		}
		s.scan()
	}
}

func (s *scanner) pop() {
	t := s.peek()
	if t == nil {
		return
	}
	s.head++
	if s.popped != nil {
		s.free = append(s.free, s.popped)
	}
	s.popped = t
	if s.head == len(s.tokens) || s.head > 1024 && 2*s.head > len(s.tokens) {
		n := copy(s.tokens, s.tokens[s.head:])
		s.tokens, s.head = s.tokens[:n], 0
	}
}

func (s *scanner) push(typ tokenType, at mark) *token {
	var t *token
	if n := len(s.free); n > 0 {
		t, s.free = s.free[n-1], s.free[:n-1]
	} else {
		t = new(token)
	}
	*t = token{typ: typ, mark: at}
	s.tokens = append(s.tokens, t)
	return t
}

func (s *scanner) scan() {
	if !s.started {
		s.started = true
		s.simpleKeyAllowed = true
		s.scalarValueAllowed = true
		s.indents = append(s.indents, &indent{column: -1})
		return
	}
	s.toNextToken()
	s.popIndentToHere()
	if !s.more() {
		s.endStream()
		return
	}
	c := s.in[s.pos]
	switch {
	case s.column == 0 && c == '%':
		s.directive()
	case s.column == 0 && s.docStart():
		s.docIndicator(tDocStart)
	case s.column == 0 && s.docEnd():
		s.docIndicator(tDocEnd)
	case c == '[' || c == '{':
		s.flowStart(c)
	case c == ']' || c == '}':
		s.flowEnd(c)
	case c == ',':
		if s.column == 0 {
			fail(s.mark, "plain value cannot start with flow indicator character")
		}
		if !s.scalarValueAllowed {
			fail(s.mark, "unexpected scalar")
		}
		s.flowEntry()
	case s.blockEntry():
		s.scanBlockEntry()
	case c == '?' && s.blankOrBreakAt(1):
		s.key()
	case s.value():
		s.scanValue()
	case c == '*' || c == '&':
		s.anchorOrAlias()
	case c == '!':
		s.tag()
	case s.inBlock() && (c == '|' || c == '>'):
		s.blockScalar()
	case !s.scalarValueAllowed:
		fail(s.mark, "unexpected scalar")
	case c == '\'' || c == '"':
		s.quotedScalar()
	case s.plainStart():
		s.plainScalar()
	default:
		fail(s.mark, "unknown token")
	}
}

func (s *scanner) toNextToken() {
	for {
		for s.blankAt(0) {
			if s.inBlock() && s.is('\t') {
				s.simpleKeyAllowed = false
			}
			s.get()
		}
		if s.is('#') {
			if s.onComment != nil {
				s.onComment(s.pos, s.in[s.pos:s.pos+s.restOfLine()])
			}
			s.skip(s.restOfLine())
		}
		n := s.breakAt(0)
		if n == 0 {
			return
		}
		s.eat(n)
		s.invalidateSimpleKey()
		s.scalarValueAllowed = true
		if s.inBlock() {
			s.simpleKeyAllowed = true
		}
	}
}

func (s *scanner) endStream() {
	s.column = 0
	s.popAllIndents()
	s.simpleKeys = nil
	s.simpleKeyAllowed = false
	s.scalarValueAllowed = false
	s.ended = true
}

func (s *scanner) pushIndent(column int, typ indentType) *indent {
	if !s.inBlock() {
		return nil
	}
	last := s.indents[len(s.indents)-1]
	if column < last.column || column == last.column && (typ != indentSeq || last.typ != indentMap) {
		return nil
	}
	start := tBlockMapStart
	if typ == indentSeq {
		start = tBlockSeqStart
	}
	in := &indent{column: column, typ: typ, start: s.push(start, s.mark)}
	s.indents = append(s.indents, in)
	return in
}

func (s *scanner) popIndentToHere() {
	if !s.inBlock() {
		return
	}
	for len(s.indents) > 0 {
		top := s.indents[len(s.indents)-1]
		if top.column < s.column || top.column == s.column && (top.typ != indentSeq || s.blockEntry()) {
			break
		}
		s.popIndent()
	}
	for len(s.indents) > 0 && s.indents[len(s.indents)-1].status == invalid {
		s.popIndent()
	}
}

func (s *scanner) popAllIndents() {
	if !s.inBlock() {
		return
	}
	for len(s.indents) > 0 && s.indents[len(s.indents)-1].typ != indentNone {
		s.popIndent()
	}
}

func (s *scanner) popIndent() {
	top := s.indents[len(s.indents)-1]
	s.indents = s.indents[:len(s.indents)-1]
	switch {
	case top.status != valid:
		s.invalidateSimpleKey()
	case top.typ == indentSeq:
		s.push(tBlockSeqEnd, s.mark)
	case top.typ == indentMap:
		s.push(tBlockMapEnd, s.mark)
	}
}

func (s *scanner) topIndent() int {
	if len(s.indents) == 0 {
		return 0
	}
	return s.indents[len(s.indents)-1].column
}

func (s *scanner) insertSimpleKey() {
	if !s.simpleKeyAllowed {
		return
	}
	if n := len(s.simpleKeys); n > 0 && s.simpleKeys[n-1].flowLevel == len(s.flows) {
		return
	}
	key := simpleKey{mark: s.mark, flowLevel: len(s.flows)}
	if s.inBlock() {
		if key.indent = s.pushIndent(s.column, indentMap); key.indent != nil {
			key.indent.status = unverified
			key.mapStart = key.indent.start
			key.mapStart.status = unverified
		}
	}
	key.key = s.push(tKey, s.mark)
	key.key.status = unverified
	s.simpleKeys = append(s.simpleKeys, key)
}

func (s *scanner) topSimpleKey() (key simpleKey, ok bool) {
	n := len(s.simpleKeys)
	if n == 0 || s.simpleKeys[n-1].flowLevel != len(s.flows) {
		return simpleKey{}, false
	}
	key = s.simpleKeys[n-1]
	s.simpleKeys = s.simpleKeys[:n-1]
	return key, true
}

func (s *scanner) invalidateSimpleKey() {
	if key, ok := s.topSimpleKey(); ok {
		key.set(invalid)
	}
}

func (s *scanner) verifySimpleKey() bool {
	key, ok := s.topSimpleKey()
	if !ok {
		return false
	}
	if s.line != key.mark.line || s.pos-key.mark.pos > 1024 {
		key.set(invalid)
		return false
	}
	key.set(valid)
	return true
}

func (s *scanner) directive() {
	s.popAllIndents()
	s.simpleKeys = nil
	s.simpleKeyAllowed, s.canBeJSONFlow = false, false
	t := s.push(tDirective, s.mark)
	s.params = nil
	s.get()
	word := func() string {
		start := s.pos
		for s.more() && !s.blankOrBreakAt(0) {
			s.get()
		}
		return s.in[start:s.pos]
	}
	t.value = word()
	for {
		for s.blankAt(0) {
			s.get()
		}
		if !s.more() || s.breakAt(0) > 0 || s.is('#') {
			break
		}
		s.params = append(s.params, word())
	}
}

func (s *scanner) docIndicator(typ tokenType) {
	s.popAllIndents()
	s.simpleKeys = nil
	s.simpleKeyAllowed, s.canBeJSONFlow = false, false
	at := s.mark
	s.eat(3)
	s.push(typ, at)
}

func (s *scanner) flowStart(c byte) {
	s.insertSimpleKey()
	s.simpleKeyAllowed, s.canBeJSONFlow = true, false
	at := s.mark
	s.get()
	s.flows = append(s.flows, c)
	if c == '[' {
		s.push(tFlowSeqStart, at)
	} else {
		s.push(tFlowMapStart, at)
	}
}

// soloEntry ends an entry of a flow that has a key alone.
func (s *scanner) soloEntry() {
	if s.inBlock() {
		return
	}
	if s.flows[len(s.flows)-1] == '{' {
		if s.verifySimpleKey() {
			s.push(tValue, s.mark)
		}
	} else {
		s.invalidateSimpleKey()
	}
}

func (s *scanner) flowEnd(c byte) {
	if s.inBlock() {
		fail(s.mark, "illegal flow end")
	}
	s.soloEntry()
	s.simpleKeyAllowed, s.canBeJSONFlow = false, true
	at := s.mark
	s.get()
	open := s.flows[len(s.flows)-1]
	if (open == '[') != (c == ']') {
		fail(at, "illegal flow end")
	}
	s.flows = s.flows[:len(s.flows)-1]
	if open == '[' {
		s.push(tFlowSeqEnd, at)
	} else {
		s.push(tFlowMapEnd, at)
	}
}

func (s *scanner) flowEntry() {
	s.soloEntry()
	s.simpleKeyAllowed, s.canBeJSONFlow = true, false
	at := s.mark
	s.get()
	s.push(tFlowEntry, at)
}

func (s *scanner) scanBlockEntry() {
	if !s.inBlock() || !s.simpleKeyAllowed {
		fail(s.mark, "illegal block entry")
	}
	s.pushIndent(s.column, indentSeq)
	s.simpleKeyAllowed, s.canBeJSONFlow = true, false
	at := s.mark
	s.get()
	s.push(tBlockEntry, at)
}

func (s *scanner) key() {
	if s.inBlock() {
		if !s.simpleKeyAllowed {
			fail(s.mark, "illegal map key")
		}
		s.pushIndent(s.column, indentMap)
	}
	s.simpleKeyAllowed = s.inBlock()
	at := s.mark
	s.get()
	s.push(tKey, at)
}

func (s *scanner) scanValue() {
	simple := s.verifySimpleKey()
	s.canBeJSONFlow = false
	if simple {
		s.simpleKeyAllowed = false
	} else {
		if s.inBlock() {
			if !s.simpleKeyAllowed {
				fail(s.mark, "illegal map value")
			}
			s.pushIndent(s.column, indentMap)
		}
		s.simpleKeyAllowed = s.inBlock()
	}
	s.scalarValueAllowed = true
	at := s.mark
	s.get()
	s.push(tValue, at)
}

func (s *scanner) anchorOrAlias() {
	s.insertSimpleKey()
	s.simpleKeyAllowed, s.canBeJSONFlow = false, false
	at := s.mark
	typ, what := tAnchor, "anchor"
	if s.get() == '*' {
		typ, what = tAlias, "alias"
	}
	start := s.pos
	for s.more() && !s.blankOrBreakAt(0) && strings.IndexByte("[]{},", s.in[s.pos]) < 0 {
		s.get()
	}
	if s.pos == start {
		if typ == tAlias {
			fail(s.mark, "alias not found after *")
		}
		fail(s.mark, "anchor not found after &")
	}
	if s.more() && !s.blankOrBreakAt(0) && strings.IndexByte("?:,]}%@`", s.in[s.pos]) < 0 {
		fail(s.mark, "illegal character found while scanning "+what)
	}
	s.push(typ, at).value = s.in[start:s.pos]
}

func isWord(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-'
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

// tagChar returns the length of the next character of a tag, 0 for none.
func (s *scanner) tagChar(others string) int {
	c, ok := s.at(0)
	if !ok {
		return 0
	}
	if isWord(c) || strings.IndexByte(others, c) >= 0 {
		return 1
	}
	a, ok1 := s.at(1)
	b, ok2 := s.at(2)
	if c == '%' && ok1 && ok2 && isHex(a) && isHex(b) {
		return 3
	}
	return 0
}

const (
	uriChars = "#;/?:@&=+$,_.!~*'()[]"
	tagChars = "#;/?:@&=+$_.~*'()"
)

func (s *scanner) tag() {
	s.insertSimpleKey()
	s.simpleKeyAllowed, s.canBeJSONFlow = false, false
	at := s.mark
	s.get()
	if s.is('<') {
		s.get()
		for !s.is('>') {
			n := s.tagChar(uriChars)
			if n == 0 {
				fail(s.mark, "end of verbatim tag not found")
			}
			s.eat(n)
		}
		s.get()
		s.push(tTag, at)
		return
	}
	handle := true
	var stop mark
	for s.more() {
		if s.is('!') {
			if !handle {
				fail(stop, "illegal character found while scanning tag handle")
			}
			break
		}
		n := 0
		if handle {
			if isWord(s.in[s.pos]) {
				n = 1
			} else {
				handle, stop = false, s.mark
			}
		}
		if !handle {
			n = s.tagChar(tagChars)
		}
		if n == 0 {
			break
		}
		s.eat(n)
	}
	if handle && s.is('!') {
		s.get()
		start := s.pos
		for n := s.tagChar(tagChars); n > 0; n = s.tagChar(tagChars) {
			s.eat(n)
		}
		if s.pos == start {
			fail(s.mark, "tag handle with no suffix")
		}
	}
	s.push(tTag, at)
}
