// Package lints has a page for every code of a finding: what it is, why, and how to do better or ignore it.
package lints

import "embed"

//go:embed *.md
var pages embed.FS

// Page returns the page of a code, in Markdown; ok is false when there is none.
func Page(code string) (text string, ok bool) {
	b, err := pages.ReadFile(code + ".md")
	return string(b), err == nil
}
