package ruleset_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func encoded16(s string, order binary.AppendByteOrder, mark string) string {
	b := []byte(mark)
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func encoded32(s string, order binary.AppendByteOrder, mark string) string {
	b := []byte(mark)
	for _, r := range s {
		b = order.AppendUint32(b, uint32(r))
	}
	return string(b)
}

func TestAFileIsReadInItsEncoding(t *testing.T) {
	t.Parallel()
	plain := rule("Märchen 😀", "evt.type = open and fd.name = /srv/ä")
	wrong := strings.Replace(plain, "fd.name", "fd.nme", 1)
	for _, c := range []struct {
		name   string
		encode func(string) string
	}{
		{"UTF-8", func(s string) string { return s }},
		{"UTF-8 with a byte order mark", func(s string) string { return "\xEF\xBB\xBF" + s }},
		{"UTF-16, little-endian", func(s string) string { return encoded16(s, binary.LittleEndian, "\xFF\xFE") }},
		{"UTF-16, big-endian", func(s string) string { return encoded16(s, binary.BigEndian, "\xFE\xFF") }},
		{"UTF-16 without a mark", func(s string) string { return encoded16(s, binary.LittleEndian, "") }},
		{"UTF-16 without a mark, big-endian", func(s string) string { return encoded16(s, binary.BigEndian, "") }},
		{"UTF-16 that ends within a character", func(s string) string { return encoded16(s, binary.LittleEndian, "\xFF\xFE") + "x" }},
		{"UTF-32, little-endian", func(s string) string { return encoded32(s, binary.LittleEndian, "\xFF\xFE\x00\x00") }},
		{"UTF-32, big-endian", func(s string) string { return encoded32(s, binary.BigEndian, "\x00\x00\xFE\xFF") }},
		{"UTF-32 without a mark", func(s string) string { return encoded32(s, binary.LittleEndian, "") }},
		{"UTF-32 without a mark, big-endian", func(s string) string { return encoded32(s, binary.BigEndian, "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rs := load(t, c.encode(plain))
			require.Len(t, rs.Rules(), 1)
			assert.Equal(t, "Märchen 😀", rs.Rules()[0].Name)
			assert.Empty(t, ruleset.Lint(rs, ruleset.LintOptions{}))

			text, err := ruleset.Decode(ruleset.File{Name: "r.yaml", Content: []byte(c.encode(plain))})
			require.NoError(t, err)
			assert.Equal(t, plain, string(text), "a ConfigMap gets UTF-8")

			content := []byte(c.encode(wrong))
			_, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: content}}, ruleset.Options{})
			require.Len(t, report.Errors, 1)
			assert.Equal(t, 4, report.Errors[0].Line)
			excerpt := ruleset.NewExcerpts(content).At(4, report.Errors[0].Column)
			assert.Equal(t, strings.Split(wrong, "\n")[3], strings.Split(excerpt, "\n")[0])
		})
	}
}

func TestBytesThatAreNoTextAreNamedAndNotPrinted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, content, says string }{
		{"Latin-1", rule("R", "evt.type = open") + "# caf\xe9\n", "byte 0xE9: the file is not UTF-8 (perhaps Latin-1"},
		{"quotation marks of Windows", strings.Replace(rule("R", "evt.type = open"), "desc: d", "desc: \x93d\x94", 1), "perhaps Windows-1252"},
		{"a NUL byte", strings.Replace(rule("R", "evt.type = open"), "desc: d", "desc: d\x00\x1b[2J", 1), "a NUL byte"},
		{"Latin-1 where Falco refuses it", rule("R", "evt.type = open and fd.name = /caf\xe9/x"), "byte 0xE9: the file is not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := ruleset.File{Name: "r.yaml", Content: []byte(c.content)}
			rs, report := ruleset.Load([]ruleset.File{file}, ruleset.Options{})
			printed := ""
			if rs == nil {
				require.Len(t, report.Errors, 1)
				printed = report.Errors[0].String() + ruleset.NewExcerpts(file.Content).At(report.Errors[0].Line, report.Errors[0].Column)
			} else {
				findings := ruleset.Lint(rs, ruleset.LintOptions{})
				require.Len(t, findings, 1)
				assert.Equal(t, ruleset.LintNotUTF8, findings[0].Code)
				printed = findings[0].String() + ruleset.NewExcerpts(file.Content).At(findings[0].Line, findings[0].Column)
			}
			assert.Contains(t, printed, c.says)
			assert.NotContains(t, printed, "\x00")
			assert.NotContains(t, printed, "\x1b")
			_, err := ruleset.Decode(file)
			require.ErrorContains(t, err, c.says)
		})
	}
}
