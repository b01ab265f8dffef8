// Package reporttest checks that text from outside reaches no terminal, log or workflow raw.
package reporttest

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Hostile is a text with everything that must not be printed as it is, and Shown a part of it that must be there.
const (
	Hostile = "h\x1b[2J\x1b]0;t\x07\u009b1m\u202e\u2066\u200b\x7f\b\r::error::r\n::error::n\n##[error]v\u2028\x00e"
	Shown   = `h\x1b[2J`
)

// Harmless fails the test for a text that a terminal or a workflow would act on.
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
				t.Errorf("%U is printed raw: %q", r, line)
				break
			}
		}
	}
}
