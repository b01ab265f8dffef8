// Package lazyregexp has regular expressions for package variables that are compiled on first use. Compiling those of
// the settings at start would take longer than a check of rules, which does not use them.
package lazyregexp

import (
	"regexp"
	"sync"
)

// Regexp is a regular expression that is compiled on first use. It is safe for concurrent use.
type Regexp func() *regexp.Regexp

// New returns a regular expression. If it is malformed, its first use panics.
func New(expression string) Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// MatchString reports whether the text matches.
func (r Regexp) MatchString(text string) bool { return r().MatchString(text) }
