// Package report prints untrusted text: rule names, alerts, command lines, Kubernetes events, settings and the output
// of other programs. An attacker may choose any of it. What this package returns or writes cannot move a terminal's
// cursor, hide or reorder text, start a new line, or act as a workflow command of GitHub Actions.
package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s as one printable line. Everything that a terminal interprets or does not show becomes a visible escape
// such as \n, \x1b or \u202e; a byte that is not valid UTF-8 becomes \xNN. Backslashes are not escaped, because paths
// and patterns are full of them: the result is for people, not for parsers. Text is idempotent.
func Text(s string) string { return clean(s, false) }

// Lines is Text for multi-line text: it keeps line feeds and tabs, and each line is safe by itself. CRLF becomes LF.
func Lines(s string) string { return clean(s, true) }

// Bounded is Text for at most n characters of s, followed by the number of omitted bytes.
func Bounded(s string, n int) string {
	if n < 0 {
		n = 0
	}
	end := 0
	for i := 0; i < n && end < len(s); i++ {
		_, size := utf8.DecodeRuneInString(s[end:])
		end += size
	}
	if end == len(s) {
		return Text(s)
	}
	return Text(s[:end]) + fmt.Sprintf("... (%d more bytes)", len(s)-end)
}

// clean escapes s; multi keeps line feeds and tabs.
func clean(s string, multi bool) string {
	if isClean(s, multi) {
		return s
	}
	var e escaper
	e.multi = multi
	out := make([]byte, 0, len(s)+16)
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		out = e.append(out, r, size, s[0])
		s = s[size:]
	}
	return string(e.finish(out))
}

// isClean is the fast path: most text is printable ASCII without anything that could begin a command.
func isClean(s string, multi bool) bool {
	if strings.Contains(s, "##") {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n' && multi, c == '\t' && multi:
		case c < ' ' || c >= 0x7f:
			return false
		case c == ':' && i > 0 && s[i-1] == ':':
			return false
		}
	}
	return true
}

// escaper converts runes to safe text. It only looks back, never ahead, so that it does not delay a log.
type escaper struct {
	// multi keeps line feeds and tabs.
	multi bool
	// begun is set when the line contains more than white space and colons: a workflow command begins a line.
	begun  bool
	colons int
	// hashes and vso track the older form of a workflow command, ##[name], and ##vso[name] of Azure Pipelines, which are
	// interpreted anywhere in a line.
	hashes int
	vso    int
	held   bool // a carriage return, which a line feed may follow
}

// append adds one rune of the input, which is size bytes long and whose first byte is first.
func (e *escaper) append(out []byte, r rune, size int, first byte) []byte {
	if e.held {
		e.held = false
		if r != '\n' || !e.multi {
			out = e.escape(out, `\r`)
		}
	}
	switch {
	case r == utf8.RuneError && size == 1:
		return e.escape(out, fmt.Sprintf(`\x%02x`, first))
	case r == '\n' && e.multi:
		e.begun, e.colons, e.hashes, e.vso = false, 0, 0, 0
		return append(out, '\n')
	case r == '\t' && e.multi:
		e.hashes, e.vso = 0, 0
		return append(out, '\t')
	case r == '\r':
		e.held = true
		return out
	case r == '\n':
		return e.escape(out, `\n`)
	case r == '\t':
		return e.escape(out, `\t`)
	case r < ' ' || r == 0x7f:
		return e.escape(out, fmt.Sprintf(`\x%02x`, r))
	case invisible(r):
		if r > 0xffff {
			return e.escape(out, fmt.Sprintf(`\U%08x`, r))
		}
		return e.escape(out, fmt.Sprintf(`\u%04x`, r))
	case r == ':' && !e.begun:
		if e.colons++; e.colons == 2 {
			return e.escape(out, `\x3a`)
		}
	case r == '[' && e.bracketBegins():
		return e.escape(out, `\x5b`)
	case r != ' ':
		e.begun = true
	case e.colons > 0: // ": :" begins no command
		e.begun = true
	}
	e.follow(r)
	return utf8.AppendRune(out, r)
}

// bracketBegins reports whether a bracket at this point begins a command of the older form.
func (e *escaper) bracketBegins() bool { return e.hashes >= 2 || e.vso == len("vso") }

// follow records r for bracketBegins.
func (e *escaper) follow(r rune) {
	switch {
	case r == '#':
		e.hashes, e.vso = e.hashes+1, 0
	case (e.hashes >= 2 || e.vso > 0) && e.vso < len("vso") && unicode.ToLower(r) == rune("vso"[e.vso]):
		e.hashes, e.vso = 0, e.vso+1
	default:
		e.hashes, e.vso = 0, 0
	}
}

func (e *escaper) escape(out []byte, visible string) []byte {
	e.begun, e.hashes, e.vso = true, 0, 0
	return append(out, visible...)
}

// finish adds a carriage return that was held back.
func (e *escaper) finish(out []byte) []byte {
	if e.held {
		e.held = false
		out = append(out, `\r`...)
	}
	return out
}

// invisible reports whether a terminal interprets the rune, it changes the order of others, or nobody sees it:
// controls, format characters, separators other than the space, unassigned and private characters, and blank letters.
func invisible(r rune) bool {
	switch r {
	case 0x115f, 0x1160, 0x3164, 0xffa0, 0x2800: // Hangul fillers, and the blank Braille pattern
		return true
	}
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
