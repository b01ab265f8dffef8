package condition

import "strings"

// transformType returns the type that a transformer makes of t, and false when
// it does not take t.
func transformType(name string, t Type, list bool) (Type, bool) {
	switch name {
	case "tolower", "toupper", "basename":
		return t, t.kind() == kindString
	case "b64":
		return t, t == TypeCharbuf || t == TypeBytebuf
	case "len":
		return TypeUint64, list || t.kind() == kindString || t == TypeBytebuf
	default:
		return t, false
	}
}

// severalArguments tells the transformers that take more than one argument.
func severalArguments(name string) bool {
	return name == "join" || name == "concat" || name == "getopt"
}

// unknownTransformer is the one error at which Falco does not try on.
const unknownTransformer = "unknown multivalue transformer"

// combine makes an operand of a transformer and its arguments. It says in
// Falco's words what is wrong with them; Falco looks at the arguments as they
// are before their own transformers.
func combine(name string, args []operand, selector *string) (operand, string) {
	isList := func(i int) bool { return args[i].ref.Info.List }
	isText := func(i int) bool { return args[i].ref.Type == TypeCharbuf }
	switch name {
	case "join":
		switch {
		case len(args) != 2:
			return operand{}, "join() requires exactly 2 arguments: separator and list"
		case isList(0):
			return operand{}, "join() first argument (separator) must be a single value, not a list"
		case !isList(1):
			return operand{}, "join() second argument must be a list"
		}
	case "concat":
		for i := range args {
			if !isText(i) || isList(i) {
				return operand{}, "concat() arguments must be strings"
			}
		}
	case "getopt":
		switch {
		case len(args) != 2:
			return operand{}, "getopt() requires exactly 2 arguments: args list and optstring"
		case !isList(0):
			return operand{}, "getopt() first argument must be a list"
		case isList(1):
			return operand{}, "getopt() second argument (optstring) must be a single value"
		case !isText(0) || !isText(1):
			return operand{}, "getopt() arguments must be strings"
		case selector != nil && len(*selector) != 1:
			return operand{}, "getopt() field argument must be a single option character"
		}
	default:
		return operand{}, unknownTransformer
	}
	if selector != nil && name != "getopt" {
		return operand{}, "transformer '" + name + "' does not support field arguments"
	}
	return operand{
		ref: FieldRef{Info: noField, Type: TypeCharbuf}, typ: TypeCharbuf, list: name == "getopt" && selector == nil,
		made: &made{name: name, args: args, selector: selector},
	}, ""
}

// transformText applies a transformer of texts.
func transformText(name, s string) (string, bool) {
	switch name {
	case "tolower":
		return mapASCII(s, 'A', 'Z', 'a'-'A'), true
	case "toupper":
		return mapASCII(s, 'a', 'z', -('a' - 'A')), true
	case "basename":
		return s[strings.LastIndexByte(s, '/')+1:], true
	case "b64":
		return decodeBase64(strings.TrimRight(s, "\x00"))
	default:
		return s, true
	}
}

func mapASCII(s string, low, high byte, by int) string {
	for i := range len(s) {
		if s[i] < low || s[i] > high {
			continue
		}
		b := []byte(s)
		for ; i < len(b); i++ {
			if b[i] >= low && b[i] <= high {
				b[i] = byte(int(b[i]) + by)
			}
		}
		return string(b)
	}
	return s
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// decodeBase64 decodes with or without padding; trailing bits must be zero. A
// "=" inside counts as zero bits, as in Falco's table.
func decodeBase64(s string) (string, bool) {
	if s == "" {
		return "", true
	}
	n := len(s)
	if s[n-1] == '=' {
		n--
		if n > 0 && s[n-1] == '=' {
			n--
		}
	}
	if n%4 == 1 || n == 0 {
		return "", false
	}
	out := make([]byte, 0, n/4*3+2)
	var acc, bits uint
	for i := range n {
		v := strings.IndexByte(base64Alphabet, s[i])
		if s[i] == '=' {
			v = 0
		}
		if v < 0 {
			return "", false
		}
		acc, bits = acc<<6|uint(v), bits+6
		if bits >= 8 {
			bits -= 8
			out = append(out, byte(acc>>bits))
			acc &= 1<<bits - 1
		}
	}
	if acc != 0 {
		return "", false
	}
	// The result is used as a C string.
	if i := strings.IndexByte(string(out), 0); i >= 0 {
		out = out[:i]
	}
	return string(out), true
}
