// Package lazyregexp has regular expressions for package variables that are compiled when they are first used. Compiling
// those of the settings and the rules' inputs takes longer than a check of rules, which uses none of them.
package lazyregexp

import (
	"regexp"
	"sync"
)

// Regexp is a regular expression that may not be compiled yet. It is safe for use by several goroutines.
type Regexp func() *regexp.Regexp

// New takes an expression, which must be right: its first use panics otherwise.
func New(expression string) Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// MatchString tells whether the text matches.
func (r Regexp) MatchString(text string) bool { return r().MatchString(text) }
