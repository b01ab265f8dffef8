package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// JSON escapes in a JSON text everything that a terminal interprets or does not show. The \u escapes mean the same to a
// parser. encoding/json does not escape DEL, C1 controls and bidi controls. White space between values is kept; invalid
// UTF-8 becomes \ufffd, as a parser would read it.
func JSON(text []byte) []byte {
	if cleanJSON(text) {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	inString, escaped := false, false
	var commands escaper // finds ##[ and ##vso[, which GitHub Actions interprets anywhere in a line
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case r == utf8.RuneError && size == 1:
			out = append(out, `\ufffd`...)
		case !inString && (r == '\n' || r == '\t' || r == '\r'):
			out = append(out, byte(r))
		case r > 0xffff && invisible(r):
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		case invisible(r):
			out = fmt.Appendf(out, `\u%04x`, r)
		case inString && r == '[' && commands.bracketBegins():
			out = append(out, `\u005b`...)
		default:
			out = utf8.AppendRune(out, r)
		}
		commands.follow(r)
		switch {
		case escaped:
			escaped = false
		case inString && r == '\\':
			escaped = true
		case r == '"':
			inString = !inString
		}
	}
	return out
}

func cleanJSON(text []byte) bool {
	if bytes.Contains(text, []byte("##")) {
		return false
	}
	for _, c := range text {
		if c < ' ' && c != '\n' || c >= 0x7f {
			return false
		}
	}
	return true
}

// WriteJSON writes v as indented JSON with a line feed at the end, escaped by JSON.
func WriteJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	_, err := w.Write(JSON(b.Bytes()))
	return err //nolint:wrapcheck // the caller says what it was writing
}
