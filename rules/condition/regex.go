package condition

import (
	"regexp"
	"regexp/syntax"
)

// compileRegex compiles the expression of the regex operator: POSIX syntax,
// in which \d and \b are not known, matched against the whole value. It
// returns nil for an expression that Falco's library refuses.
func compileRegex(pattern string) *regexp.Regexp {
	tree, err := syntax.Parse(pattern, syntax.ClassNL)
	if err != nil {
		return nil
	}
	re, err := regexp.Compile(`\A(?:` + tree.String() + `)\z`)
	if err != nil {
		return nil
	}
	return re
}

// ValidRegex tells whether the regex operator can match with an expression.
// Falco loads a rule with a broken one, and the check is then never true.
func ValidRegex(pattern string) bool { return compileRegex(pattern) != nil }
