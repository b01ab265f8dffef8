package condition

import (
	"strings"
	"unicode/utf8"
)

// lexer reads tokens off a condition. Falco's lexer has no token stream: the
// parser asks for the token it wants next, and what an identifier is depends
// on what was asked for.
type lexer struct {
	src  *Source
	text string
	off  int
	// last is the token read last, for messages.
	last string
	// bad is the place of the escape sequence that could not be read.
	bad int
}

func newLexer(src *Source) *lexer {
	return &lexer{src: src, text: src.Text}
}

func (l *lexer) pos() Pos { return Pos{l.src, l.off} }

func (l *lexer) peek() byte {
	if l.off < len(l.text) {
		return l.text[l.off]
	}
	return 0
}

func (l *lexer) blank() bool {
	start := l.off
	for l.off < len(l.text) {
		switch l.text[l.off] {
		case ' ', '\t', '\b', '\r', '\n':
			l.off++
			continue
		}
		break
	}
	return l.off > start
}

func (l *lexer) take(n int) bool {
	if n == 0 {
		return false
	}
	l.last = l.text[l.off : l.off+n]
	l.off += n
	return true
}

func (l *lexer) literal(s string) bool {
	if !strings.HasPrefix(l.text[l.off:], s) {
		return false
	}
	return l.take(len(s))
}

func (l *lexer) oneOf(list []string) bool {
	for _, s := range list {
		if l.literal(s) {
			return true
		}
	}
	return false
}

// operator reads one of the operators. An operator that is written here with
// a blank at its end must be followed by one. Falco consumes the operator even
// when the blank is missing, and so do we: what follows decides.
func (l *lexer) operator(list []string) bool {
	for _, op := range list {
		word, wantsBlank := strings.CutSuffix(op, " ")
		if !l.literal(word) {
			continue
		}
		return !wantsBlank || l.blank()
	}
	return false
}

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
func isWord(c byte) bool  { return isAlpha(c) || isDigit(c) || c == '_' }

// identifierLen returns the length of [a-zA-Z]+[a-zA-Z0-9_]* at the start of s.
func identifierLen(s string) int {
	if s == "" || !isAlpha(s[0]) {
		return 0
	}
	n := 1
	for n < len(s) && isWord(s[n]) {
		n++
	}
	return n
}

func (l *lexer) identifier() bool { return l.take(identifierLen(l.text[l.off:])) }

// fieldName reads identifiers joined by dots, two at least.
func (l *lexer) fieldName() bool { return l.take(fieldNameLen(l.text[l.off:])) }

// fieldNameLen returns the length of the field name that a text starts with, 0 when there is none.
func fieldNameLen(rest string) int {
	n := identifierLen(rest)
	if n == 0 {
		return 0
	}
	end := 0
	for n < len(rest) && rest[n] == '.' {
		m := identifierLen(rest[n+1:])
		if m == 0 {
			break
		}
		n += 1 + m
		end = n
	}
	return end
}

func (l *lexer) notBlank() bool {
	rest := l.text[l.off:]
	if !strings.HasPrefix(rest, "not") {
		return false
	}
	n := 3
	for n < len(rest) && isSpace(rest[n]) {
		n++
	}
	if n == 3 {
		return false
	}
	return l.take(n)
}

// run returns the length of the longest start of s without a byte of stop,
// without white space, and of valid UTF-8.
func run(s, stop string) int {
	n := 0
	for n < len(s) {
		c := s[n]
		if c < utf8.RuneSelf {
			if isSpace(c) || strings.IndexByte(stop, c) >= 0 {
				break
			}
			n++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

func (l *lexer) bareArgument() bool { return l.take(run(l.text[l.off:], `]["'`)) }
func (l *lexer) bareString() bool   { return l.take(run(l.text[l.off:], `()"'=,`)) }

func (l *lexer) number() bool {
	rest := l.text[l.off:]
	digits := func(i int) int {
		for i < len(rest) && isDigit(rest[i]) {
			i++
		}
		return i
	}
	if len(rest) > 2 && rest[0] == '0' && rest[1]|0x20 == 'x' {
		n := 2
		for n < len(rest) && (isDigit(rest[n]) || rest[n]|0x20 >= 'a' && rest[n]|0x20 <= 'f') {
			n++
		}
		if n > 2 {
			return l.take(n)
		}
	}
	start := 0
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		start = 1
	}
	n := digits(start)
	if n == start {
		return false
	}
	if n < len(rest) && rest[n] == '.' {
		n = digits(n + 1)
	}
	if n+1 < len(rest) && rest[n]|0x20 == 'e' && (rest[n+1] == '+' || rest[n+1] == '-') {
		if m := digits(n + 2); m > n+2 {
			n = m
		}
	}
	return l.take(n)
}

// quoted reads a string in single or double quotes. A quote after a backslash
// does not end the string, not even when the backslash is itself escaped.
func (l *lexer) quoted() (bool, string) {
	delimiter := l.peek()
	if delimiter != '\'' && delimiter != '"' {
		return false, ""
	}
	prev := byte('\\')
	for i := l.off; i < len(l.text) && l.text[i] != 0; i++ {
		c := l.text[i]
		if c == delimiter && prev != '\\' {
			token := l.text[l.off : i+1]
			l.off = i + 1
			value, failure, at := unescape(token)
			if failure != "" {
				l.last, l.bad = token, l.off-len(token)+at
				return false, failure
			}
			l.last = value
			return true, ""
		}
		prev = c
	}
	l.last = l.text[l.off:]
	return false, ""
}
