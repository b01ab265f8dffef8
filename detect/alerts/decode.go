package alerts

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

var (
	gzipMagic = []byte{0x1f, 0x8b}
	utf8Mark  = []byte{0xef, 0xbb, 0xbf}
)

// decoder converts UTF-16 with a byte order mark, which PowerShell writes, to UTF-8. Without a mark, and in UTF-32,
// ASCII characters have NULs between them, which cleanLine drops; so a UTF-8 file with UTF-16 appended can be read too.
type decoder struct {
	known bool
	// order is the index of the low byte in a pair: 0 for little and 1 for big endian.
	wide  bool
	order int
	part  []byte // the start of the input, or of a character
	high  rune   // the first half of a surrogate pair
	tail  []byte // the end of the input, to find words that span two parts
}

// tornWide is the reason for UTF-16 with a missing or extra byte, which changes every character after it.
const tornWide = "UTF-16 that is torn: save it as UTF-8"

// decode decodes the next part of the input. binary names a format that is not text.
func (d *decoder) decode(p []byte) (text []byte, binary string) {
	if !d.known {
		d.part = append(d.part, p...)
		if len(d.part) < 4 && bytes.IndexByte(d.part, '\n') < 0 {
			return nil, ""
		}
		p = d.part
		d.part = nil
		binary = d.detect(p)
	}
	if !d.wide {
		return p, binary
	}
	raw := slices.Concat(d.tail, p)
	before := (&decoder{order: d.order}).utf16(d.tail)
	text = d.utf16(p)
	if words(raw) > words(append(before, text...)) {
		binary = tornWide
	}
	if keep := 2*overlap + len(d.part); len(raw) > keep { // at the start of a character
		raw = raw[len(raw)-keep:]
	}
	d.tail = bytes.Clone(raw)
	return text, binary
}

// words counts words of alerts, whatever the size of the characters.
func words(text []byte) int {
	plain := withoutEscapes(text)
	n := 0
	for _, word := range []string{"critical", "emergency", `"rule"`} {
		n += bytes.Count(plain, []byte(word))
	}
	return n
}

func (d *decoder) end() []byte {
	rest := d.part
	d.part, d.known = nil, false
	if d.wide {
		return nil // half a character
	}
	return rest
}

func (d *decoder) detect(p []byte) (binary string) {
	d.known = true
	switch {
	case bytes.HasPrefix(p, []byte{0xff, 0xfe}):
		d.wide = true
	case bytes.HasPrefix(p, []byte{0xfe, 0xff}):
		d.wide, d.order = true, 1
	}
	for _, format := range []struct{ magic, name string }{
		{string(gzipMagic), "compressed by gzip, which cannot be followed"},
		{"\x28\xb5\x2f\xfd", "compressed by zstd: decompress it first"},
		{"\xfd7zX", "compressed by xz: decompress it first"},
		{"BZh", "compressed by bzip2: decompress it first"},
		{"PK\x03\x04", "a zip file: unpack it first"},
		{"LPKS", "a file of the journal: use journalctl -o cat"},
	} {
		if bytes.HasPrefix(p, []byte(format.magic)) {
			return format.name
		}
	}
	return ""
}

func (d *decoder) utf16(p []byte) []byte {
	if len(d.part) > 0 {
		p = append(d.part, p...)
		d.part = nil
	}
	out := make([]byte, 0, len(p))
	for ; len(p) >= 2; p = p[2:] {
		r := rune(p[d.order]) | rune(p[1-d.order])<<8
		switch {
		case d.high != 0:
			if pair := utf16.DecodeRune(d.high, r); pair != utf8.RuneError {
				out = utf8.AppendRune(out, pair)
				d.high = 0
				continue
			}
			out = utf8.AppendRune(out, utf8.RuneError)
			d.high = 0
			if !utf16.IsSurrogate(r) {
				out = utf8.AppendRune(out, r)
			}
		case utf16.IsSurrogate(r):
			d.high = r
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	if len(p) > 0 {
		d.part = bytes.Clone(p)
	}
	return out
}

// cleanLine drops everything but text: byte order marks, NUL bytes, colours, a carriage return at the end, and the
// record separators of JSON text sequences.
func cleanLine(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\r"))
	line = bytes.TrimPrefix(line, []byte("\x1e"))
	if bytes.Contains(line, utf8Mark) {
		line = bytes.ReplaceAll(line, utf8Mark, nil)
	}
	if bytes.IndexByte(line, 0) >= 0 {
		line = bytes.ReplaceAll(line, []byte{0}, nil)
	}
	return withoutColor(line)
}

// withoutColor drops the escape sequences for colours and for erasing a line. Others are kept: an attacker could use
// one to swallow what follows.
func withoutColor(line []byte) []byte {
	if bytes.IndexByte(line, 0x1b) < 0 {
		return line
	}
	out := make([]byte, 0, len(line))
	for i := 0; i < len(line); i++ {
		if line[i] == 0x1b && i+1 < len(line) && line[i+1] == '[' {
			end := i + 2
			for end < len(line) && end < i+32 && (line[end] >= '0' && line[end] <= '9' || line[end] == ';') {
				end++
			}
			if end < len(line) && (line[end] == 'm' || line[end] == 'K') {
				i = end
				continue
			}
		}
		out = append(out, line[i])
	}
	return out
}

// unescape decodes the escapes of a JSON string and keeps malformed ones.
func unescape(text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' || i+1 == len(text) {
			out = append(out, c)
			continue
		}
		i++
		switch c = text[i]; c {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'b', 'f':
			out = append(out, ' ')
		case 'u':
			r, ok := hex(text[i+1:], 4)
			if !ok {
				out = append(out, '\\', 'u')
				continue
			}
			i += 4
			if utf16.IsSurrogate(r) && i+2 < len(text) && text[i+1] == '\\' && text[i+2] == 'u' {
				if low, ok := hex(text[i+3:], 4); ok {
					if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
						r = pair
						i += 6
					}
				}
			}
			out = utf8.AppendRune(out, r)
		default: // quotes, backslashes and slashes
			out = append(out, c)
		}
	}
	return out
}

func hex(text []byte, digits int) (rune, bool) {
	if len(text) < digits {
		return 0, false
	}
	var r rune
	for _, c := range text[:digits] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
