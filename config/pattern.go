package config

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first used: compiling all of them takes longer than a check
// of rules, which uses none.
type pattern func() *regexp.Regexp

func lazily(expression string) pattern {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// MatchString tells whether the text matches.
func (p pattern) MatchString(text string) bool { return p().MatchString(text) }
