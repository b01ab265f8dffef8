// Package reporttest checks that untrusted text never reaches a terminal, log or workflow unescaped.
package reporttest

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Hostile is a text with everything that must be escaped, and Shown is how its start must be printed.
const (
	Hostile = "h\x1b[2J\x1b]0;t\x07\u009b1m\u202e\u2066\u200b\x7f\b\r::error::r\n::error::n\n##[error]v\u2028\x00e"
	Shown   = `h\x1b[2J`
)

// Harmless fails the test if a terminal or a workflow would interpret a part of text.
func Harmless(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("not UTF-8: %q", text)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
			t.Errorf("a workflow command: %q", line)
		}
		for _, r := range line {
			if r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%U is not escaped: %q", r, line)
				break
			}
		}
	}
}
