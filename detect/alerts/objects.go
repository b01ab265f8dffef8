package alerts

import (
	"bytes"
	"strconv"
	"strings"

	"spire-falco/falco"
)

const (
	// maxDepth is how deeply an object may be nested.
	maxDepth = 128
	// maxWrapped is how many strings an alert may be wrapped in.
	maxWrapped = 5
	// worthALook is the length of the shortest string that may contain an alert or name a priority.
	worthALook = 8
)

// scanner finds JSON objects in a text that it receives in pieces. It knows at each character whether the text can
// still be an object and stops where it cannot, so that a brace in a message hides nothing after it.
type scanner struct {
	reader *Reader
	// depth is the number of strings that the text is wrapped in.
	depth int

	// buf is the outermost open object, as far as it was read.
	buf      []byte
	frames   []frame
	strings  []span
	inString bool
	escaped  bool
	inWord   bool // in a number, true, false or null
	start    int  // of the string in buf
	key      span // the last key

	text text
	// docker has the streams of a log that Docker keeps as JSON, whose long lines are split.
	docker map[string]*scanner
}

// frame is an open object or array.
type frame struct {
	array   bool
	expects expectation
	start   int // in buf
	line    int
	strings int  // number of strings before it
	key     span // of the array
	has     keys
}

type expectation uint8

const (
	expectsKey expectation = iota
	expectsColon
	expectsValue
	expectsComma
)

// keys is the set of Falco's keys that an object has.
type keys uint8

const (
	hasRule keys = 1 << iota
	hasPriority
	hasOutput
	hasFields
	hasHostname
)

// alert reports whether an object with these keys is an alert, perhaps an incomplete one.
func (k keys) alert() bool {
	return k&hasRule != 0 && k&(hasPriority|hasOutput) != 0 || k&hasFields != 0 || k&hasOutput != 0 && k&hasHostname != 0
}

// span is a string in buf including its quotes, and the key whose value it is.
type span struct {
	keyStart, keyEnd int
	start, end       int
	depth            int
	line             int
	isKey            bool
}

func (s *scanner) value(p span) []byte   { return s.buf[p.start+1 : p.end-1] }
func (s *scanner) keyText(p span) []byte { return unescape(trimQuotes(s.buf[p.keyStart:p.keyEnd])) }

func trimQuotes(b []byte) []byte {
	if len(b) < 2 {
		return nil
	}
	return b[1 : len(b)-1]
}

// feed reads a piece of a line, without the line feed.
func (s *scanner) feed(data []byte, number int) {
	for len(data) > 0 {
		if len(s.frames) == 0 {
			next := bytes.IndexAny(data, "{\r")
			if next < 0 {
				s.addText(data, number)
				return
			}
			s.addText(data[:next], number)
			if data[next] == '\r' { // an old line ending, or a progress bar
				s.newline()
			} else {
				s.buf, s.strings = s.buf[:0], s.strings[:0]
				s.push(frame{line: number}, '{')
			}
			data = data[next+1:]
			continue
		}
		n, ok := s.step(data, number)
		data = data[n:]
		if !ok {
			s.giveUp("is not complete")
		} else if len(s.buf) > maxAlert {
			s.giveUp("is longer than 1 MiB")
		}
	}
}

// feedText reads a text of several lines, all of which count as the line number.
func (s *scanner) feedText(data []byte, number int) {
	for {
		line, rest, more := bytes.Cut(data, []byte("\n"))
		s.feed(cleanLine(line), number)
		if !more {
			return
		}
		s.newline()
		data = rest
	}
}

func (s *scanner) push(f frame, c byte) {
	f.start, f.strings = len(s.buf), len(s.strings)
	s.frames = append(s.frames, f)
	s.buf = append(s.buf, c)
}

// step consumes characters of the open object, and returns how many and whether the next one can belong to it.
func (s *scanner) step(data []byte, number int) (n int, ok bool) {
	if s.inString {
		return s.stepString(data, number), true
	}
	top := &s.frames[len(s.frames)-1]
	c := data[0]
	if s.inWord && wordByte(c) {
		s.buf = append(s.buf, c)
		return 1, true
	}
	s.inWord = false
	switch {
	case c == ' ' || c == '\t' || c == '\r':
	case c == '"' && (top.expects == expectsKey || top.expects == expectsValue):
		s.inString, s.start = true, len(s.buf)
	case (c == '{' || c == '[') && top.expects == expectsValue:
		if len(s.frames) == maxDepth {
			return 0, false
		}
		f := frame{array: c == '[', line: number}
		if f.array {
			f.expects, f.key = expectsValue, s.key
		}
		s.push(f, c)
		return 1, true
	case c == '}' && !top.array && (top.expects == expectsKey || top.expects == expectsComma),
		c == ']' && top.array && (top.expects == expectsValue || top.expects == expectsComma):
		s.buf = append(s.buf, c)
		s.pop()
		return 1, true
	case c == ':' && top.expects == expectsColon:
		top.expects = expectsValue
	case c == ',' && top.expects == expectsComma:
		top.expects = expectsKey
		if top.array {
			top.expects = expectsValue
		}
	case top.expects == expectsValue && (c >= '0' && c <= '9' || strings.IndexByte("-tfnNTF", c) >= 0):
		s.inWord = true
		if c == 'n' && len(s.frames) == 1 && bytes.Equal(s.keyText(s.key), []byte("MESSAGE")) {
			s.reader.giveUnread(s.buf, number, "journalctl omits a long MESSAGE: call it with --all", falco.PriorityEmergency)
		}
		top.expects = expectsComma
	default:
		return 0, false
	}
	s.buf = append(s.buf, c)
	return 1, true
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '+' || c == '-' || c == '.'
}

// stepString consumes characters up to the end of the string.
func (s *scanner) stepString(data []byte, number int) int {
	i := 0
	if s.escaped {
		s.escaped = false
		i = 1
	}
	for i < len(data) {
		switch data[i] {
		case '\\':
			if i+1 == len(data) {
				s.escaped = true
			}
			i += 2
			continue
		case '"':
			i++
			s.buf = append(s.buf, data[:i]...)
			s.inString = false
			s.endString(number)
			return i
		}
		i++
	}
	s.buf = append(s.buf, data...)
	return len(data)
}

func (s *scanner) endString(number int) {
	top := &s.frames[len(s.frames)-1]
	p := span{start: s.start, end: len(s.buf), depth: len(s.frames), line: number}
	if top.expects == expectsKey {
		top.expects = expectsColon
		p.isKey = true
		s.key = span{keyStart: p.start, keyEnd: p.end}
		top.has |= falcoKey(trimQuotes(s.buf[p.start:p.end]))
	} else {
		top.expects = expectsComma
		if !top.array {
			p.keyStart, p.keyEnd = s.key.keyStart, s.key.keyEnd
		}
	}
	if p.end-p.start-2 >= worthALook || p.depth == 1 && !p.isKey {
		s.strings = append(s.strings, p)
	}
}

func falcoKey(key []byte) keys {
	if bytes.IndexByte(key, '\\') >= 0 {
		key = unescape(key)
	}
	switch len(key) {
	case len("rule"):
		if bytes.EqualFold(key, []byte("rule")) {
			return hasRule
		}
	case len("output"):
		if bytes.EqualFold(key, []byte("output")) {
			return hasOutput
		}
	case len("priority"):
		if bytes.EqualFold(key, []byte("priority")) {
			return hasPriority
		}
		if bytes.EqualFold(key, []byte("hostname")) {
			return hasHostname
		}
	case len("output_fields"):
		if bytes.EqualFold(key, []byte("output_fields")) {
			return hasFields
		}
	}
	return 0
}

// pop ends the innermost object or array.
func (s *scanner) pop() {
	f := s.frames[len(s.frames)-1]
	s.frames = s.frames[:len(s.frames)-1]
	if len(s.frames) > 0 {
		s.frames[len(s.frames)-1].expects = expectsComma
	}
	switch {
	case f.array:
		s.messageBytes(f)
	case f.has.alert():
		s.readAlert(f)
	}
	if len(s.frames) == 0 {
		s.endObject(f)
	}
}

// messageBytes reads a message that journalctl -o json writes as an array of bytes, because it is not printable UTF-8.
func (s *scanner) messageBytes(f frame) {
	if len(s.frames) != 1 || f.key.keyEnd == 0 || string(s.keyText(f.key)) != "MESSAGE" {
		return
	}
	var message []byte
	for number := range bytes.SplitSeq(trimQuotes(s.buf[f.start:]), []byte(",")) {
		n, err := strconv.ParseUint(string(bytes.TrimSpace(number)), 10, 8)
		if err != nil {
			return
		}
		message = append(message, byte(n))
	}
	s.inside(message, f.line)
}

// readAlert passes on an object that is an alert and removes it from the buffer, because a whole file may be one array
// or object that contains all alerts.
func (s *scanner) readAlert(f frame) {
	object := s.buf[f.start:]
	a, err := parseObject(object)
	if err != nil {
		s.reader.giveUnread(object, f.line, err.Error(), falco.PriorityEmergency)
	} else {
		s.reader.giveAlert(a, f.line)
	}
	// A shipper may add its own keys to the alert, or the object may not be Falco's and have such keys by chance.
	for _, p := range s.strings[f.strings:] {
		if p.depth != len(s.frames)+1 {
			continue
		}
		before := s.reader.parent
		s.reader.parent = a
		if key := s.value(p); p.isKey && !alertKey(unescape(key)) {
			s.inside(unescape(key), p.line)
		} else if !p.isKey && p.keyEnd > 0 && !freeText(s.keyText(p)) {
			s.inside(unescape(s.value(p)), p.line)
		}
		s.reader.parent = before
	}
	s.strings = s.strings[:f.strings]
	s.buf = append(s.buf[:f.start], "null"...)
}

// freeText reports whether an attacker or the author of a rule chooses the value of an alert's key.
func freeText(key []byte) bool {
	switch string(bytes.ToLower(key)) {
	case "time", "source", "uuid":
		return false
	}
	return alertKey(key)
}

// alertKey reports whether key is one of Falco's or Falcosidekick's.
func alertKey(key []byte) bool {
	switch string(bytes.ToLower(key)) {
	case "hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time", "uuid":
		return true
	}
	return false
}

// endObject reads the strings of the outermost object.
func (s *scanner) endObject(f frame) {
	before := s.reader.alerts + s.reader.unread
	s.insideStrings(s.dockerLine())
	if s.reader.alerts+s.reader.unread == before && string(s.buf) != "null" {
		s.addText(s.buf, f.line) // as a part of a message
		s.text.hide(len(s.buf), []span{{end: len(s.buf)}})
	} else {
		s.text.placeholder(f.line)
	}
	s.reset()
}

// dockerLine passes on the line in an object of Docker's or a shipper's log, and returns its index in strings; -1 for
// any other object. Lines of more than 16 KiB are split, and only the last part ends with a line feed.
func (s *scanner) dockerLine() int {
	found, stream := -1, ""
	for i, p := range s.strings {
		if p.depth != 1 || p.isKey {
			continue
		}
		switch string(s.keyText(p)) {
		case "log":
			found = i
		case "stream":
			stream = string(s.value(p))
		}
	}
	if found < 0 || stream != "stdout" && stream != "stderr" {
		return -1
	}
	if s.docker == nil {
		s.docker = map[string]*scanner{}
	}
	child := s.docker[stream]
	if child == nil {
		child = &scanner{reader: s.reader, depth: s.depth + 1}
		s.docker[stream] = child
	}
	p := s.strings[found]
	child.feedText(unescape(s.value(p)), p.line)
	return found
}

// insideStrings reads all strings but one, and returns those in which it found something, and that one.
func (s *scanner) insideStrings(but int) (found []span) {
	for i, p := range s.strings {
		if i == but {
			found = append(found, p)
			continue
		}
		if before := s.reader.alerts + s.reader.unread; p.end-p.start-2 >= worthALook {
			s.inside(unescape(s.value(p)), p.line)
			if s.reader.alerts+s.reader.unread > before {
				found = append(found, p)
			}
		}
	}
	return found
}

// inside reads a text that was wrapped in a string.
func (s *scanner) inside(wrapped []byte, number int) {
	if reason, p, ok := suspicion(wrapped); s.depth >= maxWrapped {
		if ok {
			s.reader.giveUnread(wrapped, number, reason+", in too many wrappers", p)
		}
		return
	} else if !ok && bytes.IndexByte(wrapped, '{') < 0 {
		return
	}
	child := scanner{reader: s.reader, depth: s.depth + 1}
	child.feedText(wrapped, number)
	child.end()
}

// newline ends a line. An object may continue in the next line, as jq prints it, but a string may not.
func (s *scanner) newline() {
	s.inWord = false
	if s.inString {
		s.giveUp("is cut off")
	}
	if len(s.frames) > 0 {
		s.buf = append(s.buf, '\n')
	}
	s.endText()
}

// end ends the text.
func (s *scanner) end() {
	if len(s.frames) > 0 {
		s.giveUp("is cut off")
	}
	s.endText()
	for _, stream := range []string{"stdout", "stderr"} {
		if child := s.docker[stream]; child != nil {
			child.end()
		}
	}
	s.docker = nil
}

// giveUp treats the open object as text, or as an alert that cannot be read.
func (s *scanner) giveUp(why string) {
	outer := s.frames[0]
	var has keys
	for _, f := range s.frames {
		has |= f.has
	}
	partialKey := s.inString && s.frames[len(s.frames)-1].expects == expectsKey
	found := s.insideStrings(-1)
	if has.alert() || has&(hasRule|hasPriority) != 0 || beginsAsAlert(s.buf, partialKey) {
		s.reader.giveUnread(s.buf, outer.line, "an alert "+why, falco.PriorityEmergency)
		s.text.placeholder(outer.line)
	} else {
		s.addText(s.buf, outer.line)
		s.text.hide(len(s.buf), found)
	}
	s.reset()
}

// beginsAsAlert reports whether the first key of an object is one that Falco's alerts begin with.
func beginsAsAlert(object []byte, partial bool) bool {
	key, ok := bytes.CutPrefix(bytes.TrimLeft(object[1:], " \t\r\n"), []byte(`"`))
	if !ok {
		return false
	}
	before, _, ok := bytes.Cut(key, []byte{'"'})
	if ok {
		return alertKey(before) && string(before) != "time"
	}
	for _, first := range []string{"hostname", "output", "priority", "rule", "uuid"} {
		if partial && len(key) > 0 && bytes.HasPrefix([]byte(first), key) {
			return true
		}
	}
	return false
}

func (s *scanner) reset() {
	s.frames, s.strings = s.frames[:0], s.strings[:0]
	s.inString, s.escaped, s.inWord = false, false, false
	if cap(s.buf) > maxAlert/4 { // one long object must not occupy memory forever
		s.buf, s.strings = nil, nil
	}
}
