package condition

import "strings"

// escape quotes a value when it holds characters that a bare string cannot.
// It decides as Falco does, which leaves parentheses, commas and the empty
// string bare. (Falco 0.40 leaves an equals sign bare too, and so prints a text
// that does not parse.)
func escape(s string) string {
	if !strings.ContainsAny(s, "\b\f\n\r\t \\\"'=") {
		return s
	}
	return quoteText(s)
}

// quoteText puts a value in double quotes.
func quoteText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\\':
			b.WriteString(`\\`)
		case '"':
			b.WriteString(`\"`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unescape takes a quoted string, quotes included, and returns its value. The
// message of a failure is Falco's; at is the place of the backslash.
func unescape(quoted string) (value, failure string, at int) {
	delimiter := quoted[0]
	inner := quoted[1 : len(quoted)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner, "", 0
	}
	var b strings.Builder
	escaped := false
	for i := range len(inner) {
		c := inner[i]
		if !escaped {
			if c == '\\' {
				escaped = true
			} else {
				b.WriteByte(c)
			}
			continue
		}
		escaped = false
		switch c {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case ' ', '\\':
			// An escaped blank yields a backslash alone: a wrongly escaped
			// rule of old that Falco still honours.
			b.WriteByte('\\')
		case '/':
			b.WriteByte('/')
		case '"':
			if delimiter != c {
				return "", `invalid \" escape in '-quoted string`, i
			}
			b.WriteByte(c)
		case '\'':
			if delimiter != c {
				return "", `invalid \' escape in "-quoted string`, i
			}
			b.WriteByte(c)
		default:
			return "", `unsupported string escape sequence: \` + string(rune(c)), i
		}
	}
	return b.String(), "", 0
}
