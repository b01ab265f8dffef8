package condition

import "strings"

// globMatch is fnmatch of the C library without flags, in the C locale, as the
// operators glob, iglob and pmatch use it: a star also matches slashes, a
// backslash takes the next byte as it is. With fold, ASCII case does not count.
// It takes time proportional to the product of the lengths at worst.
func globMatch(pattern, s string, fold bool) bool {
	p, i := 0, 0
	starP, starI := -1, 0
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			if p == len(pattern) {
				return true
			}
			starP, starI = p, i
			continue
		}
		if n, ok := globOne(pattern[p:], s[i], fold); ok {
			p += n
			i++
			continue
		}
		if starP < 0 {
			return false
		}
		starI++
		p, i = starP, starI
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// globOne matches one byte against the element that pattern starts with, and
// returns the element's length.
func globOne(pattern string, c byte, fold bool) (int, bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) == 1 {
			return 0, false
		}
		return 2, lower(pattern[1], fold) == lower(c, fold)
	case '[':
		if n, matched, ok := globSet(pattern, c, fold); ok {
			return n, matched
		}
	}
	return 1, lower(pattern[0], fold) == lower(c, fold)
}

func lower(c byte, fold bool) byte {
	if fold && c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// globSet matches a bracket expression. ok is false when it is not closed: the
// bracket then stands for itself.
func globSet(pattern string, c byte, fold bool) (n int, matched, ok bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	raw := c
	c = lower(c, fold)
	for first := true; ; first = false {
		if i >= len(pattern) {
			return 0, false, false
		}
		if pattern[i] == ']' && !first {
			return i + 1, matched != negated, true
		}
		if strings.HasPrefix(pattern[i:], "[:") {
			if end := strings.Index(pattern[i+2:], ":]"); end >= 0 {
				if test, known := charClasses[pattern[i+2:i+2+end]]; known {
					if test(c) || fold && test(upper(c)) {
						matched = true
					}
					i += end + 4
					continue
				}
				return 1, false, true
			}
		}
		if class, n := singleClass(pattern[i:]); n > 0 {
			matched = matched || raw == class
			i += n
			continue
		}
		low, next, good := setByte(pattern, i)
		if !good {
			return 0, false, false
		}
		if next+1 < len(pattern) && pattern[next] == '-' && pattern[next+1] != ']' {
			var high byte
			if high, next, good = setByte(pattern, next+1); !good {
				return 0, false, false
			}
			if c >= lower(low, fold) && c <= lower(high, fold) {
				matched = true
			}
		} else if c == lower(low, fold) {
			matched = true
		}
		i = next
	}
}

// singleClass reads [=a=] or [.a.], which stand for the one byte inside.
func singleClass(s string) (c byte, n int) {
	if len(s) >= 5 && s[0] == '[' && (s[1] == '=' || s[1] == '.') && s[3] == s[1] && s[4] == ']' {
		return s[2], 5
	}
	return 0, 0
}

// setByte reads one byte of a bracket expression at i.
func setByte(pattern string, i int) (c byte, next int, ok bool) {
	if pattern[i] == '\\' {
		i++
		if i >= len(pattern) {
			return 0, 0, false
		}
	}
	return pattern[i], i + 1, true
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

var charClasses = map[string]func(byte) bool{
	"alpha":  isAlpha,
	"digit":  isDigit,
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"upper":  func(c byte) bool { return c >= 'A' && c <= 'Z' },
	"lower":  func(c byte) bool { return c >= 'a' && c <= 'z' },
	"space":  isSpace,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"punct":  func(c byte) bool { return c > ' ' && c < 0x7f && !isAlpha(c) && !isDigit(c) },
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"graph":  func(c byte) bool { return c > ' ' && c < 0x7f },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"xdigit": func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' },
}
