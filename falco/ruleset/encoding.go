package ruleset

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"spire-falco/falco/condition"
	"spire-falco/falco/internal/yaml"
)

// Decode returns a file in UTF-8, as Falco reads it: UTF-16 and UTF-32 are
// decoded, with a byte order mark or without, and the mark of UTF-8 is dropped.
// The error says what Falco would take for UTF-8 and is not, and where: Falco
// loads such bytes as they are, and a ConfigMap cannot hold them.
func Decode(f File) ([]byte, error) {
	if fault, at := encodingFault(f); fault != "" {
		return nil, fmt.Errorf("%s:%d:%d: %s", f.Name, at.Line, at.Column, fault)
	}
	text, _ := yaml.Decode(string(f.Content))
	return []byte(text), nil
}

// encodingFault says what makes a file no text in an encoding that Falco knows,
// and where; "" when nothing does.
func encodingFault(f File) (fault string, at condition.Location) {
	if utf8.Valid(f.Content) && bytes.IndexByte(f.Content, 0) < 0 {
		return "", at
	}
	src := newSource(f)
	text := src.content
	if i := strings.IndexByte(text, 0); i >= 0 {
		return "a NUL byte: this is not a text file", src.location(i)
	}
	i := invalidAt(text)
	if i < 0 {
		return "", at
	}
	return fmt.Sprintf("byte 0x%02X: the file is not UTF-8 (%s): save it as UTF-8", text[i], guessEncoding(text)), src.location(i)
}

// invalidAt returns where the first byte is that is not UTF-8, -1 for nowhere.
func invalidAt(text string) int {
	for i, r := range text {
		if r != utf8.RuneError {
			continue
		}
		if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
			return i
		}
	}
	return -1
}

// guessEncoding names the encoding that a text probably has: Windows-1252 has
// letters and quotation marks where Latin-1 has control characters.
func guessEncoding(text string) string {
	for i := range len(text) {
		if text[i] >= 0x80 && text[i] < 0xA0 {
			return "perhaps Windows-1252"
		}
	}
	return "perhaps Latin-1, ISO 8859-1"
}

// visible makes text from a file fit for a terminal: what would not print, or
// would change how the text around it prints, is written as an escape sequence.
func visible(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7F || s[i] == '\n' || s[i] == '\t'
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case r < ' ' || r >= 0x7F && r < 0xA0:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r >= 0x200B && r <= 0x200F, r >= 0x2028 && r <= 0x202E, r >= 0x2060 && r <= 0x206F, r == 0xFEFF:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}
