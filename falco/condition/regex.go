package condition

import (
	"errors"
	"regexp"
	"regexp/syntax"
)

// compileRegex compiles the expression of the regex operator: POSIX syntax,
// in which \d and \b are not known, matched against the whole value. It
// returns nil for an expression that Falco's library refuses.
func compileRegex(pattern string) *regexp.Regexp {
	whole, ok := wholeRegex(pattern)
	if !ok {
		return nil
	}
	re, err := regexp.Compile(whole)
	if err != nil {
		return nil
	}
	return re
}

// wholeRegex returns the expression in Go's syntax, for the whole of a value.
func wholeRegex(pattern string) (string, bool) {
	tree, err := syntax.Parse(pattern, syntax.ClassNL)
	if err != nil {
		return "", false
	}
	return `\A(?:` + tree.String() + `)\z`, true
}

// ValidRegex tells whether the regex operator can match with an expression.
// Falco before 0.44 loads a rule with a broken one, and the check is then never true.
func ValidRegex(pattern string) bool {
	whole, ok := wholeRegex(pattern)
	if !ok {
		return false
	}
	_, err := syntax.Parse(whole, syntax.Perl) // all of compiling that can fail
	return err == nil
}

// regexRefusal says in the words of Falco's library why it refuses an
// expression, "" when it does not.
func regexRefusal(pattern string) string {
	_, err := syntax.Parse(pattern, syntax.ClassNL)
	var se *syntax.Error
	if !errors.As(err, &se) {
		return ""
	}
	words := regexRefusals[se.Code]
	if words == "" {
		words = se.Code.String()
	}
	if se.Code == syntax.ErrTrailingBackslash {
		return words
	}
	return words + ": " + se.Expr
}

// regexRefusals has Falco's words where they are not Go's.
var regexRefusals = map[syntax.ErrorCode]string{
	syntax.ErrInvalidCharClass:      "invalid character class",
	syntax.ErrInvalidCharRange:      "invalid character class range",
	syntax.ErrMissingBracket:        "missing ]",
	syntax.ErrMissingParen:          "missing )",
	syntax.ErrUnexpectedParen:       "unexpected )",
	syntax.ErrTrailingBackslash:     `trailing \`,
	syntax.ErrMissingRepeatArgument: "no argument for repetition operator",
	syntax.ErrInvalidRepeatSize:     "invalid repetition size",
	syntax.ErrInvalidRepeatOp:       "bad repetition operator",
	syntax.ErrInvalidPerlOp:         "invalid perl operator",
}
