package yaml

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Encoding is how the characters of a file are written in bytes.
type Encoding string

// The encodings that yaml-cpp reads. It takes whatever is none of the others
// for UTF-8, and does not look whether it is.
const (
	UTF8    Encoding = "UTF-8"
	UTF16LE Encoding = "UTF-16 (little-endian)"
	UTF16BE Encoding = "UTF-16 (big-endian)"
	UTF32LE Encoding = "UTF-32 (little-endian)"
	UTF32BE Encoding = "UTF-32 (big-endian)"
)

// DetectEncoding tells the encoding from the first bytes, as yaml-cpp does: by
// a byte order mark, or by where the zero bytes of a first ASCII character are.
// mark is the length of the byte order mark.
func DetectEncoding(content string) (e Encoding, mark int) {
	for _, m := range []struct {
		bytes    string
		encoding Encoding
	}{
		{"\xEF\xBB\xBF", UTF8},
		{"\x00\x00\xFE\xFF", UTF32BE},
		{"\xFF\xFE\x00\x00", UTF32LE},
		{"\xFE\xFF", UTF16BE},
		{"\xFF\xFE", UTF16LE},
	} {
		if strings.HasPrefix(content, m.bytes) {
			return m.encoding, len(m.bytes)
		}
	}
	ascii := func(i int) bool { return i < len(content) && content[i] != 0 && content[i] < utf8.RuneSelf }
	zero := func(from, to int) bool {
		return to <= len(content) && strings.Trim(content[from:to], "\x00") == ""
	}
	switch {
	case zero(0, 3) && ascii(3):
		return UTF32BE, 0
	case zero(0, 1) && ascii(1):
		return UTF16BE, 0
	case ascii(0) && zero(1, 4):
		return UTF32LE, 0
	case ascii(0) && zero(1, 2):
		return UTF16LE, 0
	}
	return UTF8, 0
}

// Decode returns the content in UTF-8 without a byte order mark, as yaml-cpp
// reads it. What is taken for UTF-8 stays as it is.
func Decode(content string) (string, Encoding) {
	e, mark := DetectEncoding(content)
	content = content[mark:]
	switch e {
	case UTF16LE:
		return decode16(content, binary.LittleEndian), e
	case UTF16BE:
		return decode16(content, binary.BigEndian), e
	case UTF32LE:
		return decode32(content, binary.LittleEndian), e
	case UTF32BE:
		return decode32(content, binary.BigEndian), e
	}
	return content, e
}

// endOfStream is the character that yaml-cpp keeps for itself, and replaces.
const endOfStream = 4

func decode16(content string, order binary.ByteOrder) string {
	units := make([]uint16, len(content)/2)
	for i := range units {
		units[i] = order.Uint16([]byte(content[2*i : 2*i+2]))
	}
	var b strings.Builder
	for _, r := range utf16.Decode(units) {
		writeRune(&b, r)
	}
	return b.String()
}

func decode32(content string, order binary.ByteOrder) string {
	var b strings.Builder
	for i := 0; i+4 <= len(content); i += 4 {
		r := order.Uint32([]byte(content[i : i+4]))
		writeRune(&b, rune(min(r, utf8.MaxRune+1)))
	}
	return b.String()
}

func writeRune(b *strings.Builder, r rune) {
	if r == endOfStream || !utf8.ValidRune(r) {
		r = utf8.RuneError
	}
	b.WriteRune(r)
}
