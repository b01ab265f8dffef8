package policies

import (
	"fmt"
	"strings"
)

// value is a place in the inputs of a resource. Every method is total: a missing value is nil, and everything below an
// unknown value is unknown.
type value struct{ v any }

// open removes the mark of a secret.
func (x value) open() value {
	for {
		s, ok := x.v.(Secret)
		if !ok {
			return x
		}
		x = value{s.Value}
	}
}

func (x value) at(path ...string) value {
	x = x.open()
	for _, key := range path {
		switch v := x.v.(type) {
		case Unknown:
			return x
		case map[string]any:
			x = value{v[key]}.open()
		default:
			return value{}
		}
	}
	return x
}

func (x value) unknown() bool {
	_, ok := x.open().v.(Unknown)
	return ok
}

// partly reports whether the value or anything below it is unknown.
func (x value) partly() bool {
	found := false
	walk(x, "", func(_ string, v value) { found = found || v.unknown() })
	return found
}

// is reports whether the value is want; an unknown value may be.
func (x value) is(want any) bool {
	x = x.open()
	return x.unknown() || x.v == want
}

// text returns a string value, "" for anything else or an unknown value.
func (x value) text() string {
	s, _ := x.open().v.(string)
	return s
}

// set reports whether there is or may be a value: not nil, nor an empty string, list or map.
func (x value) set() bool {
	switch v := x.open().v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// list returns the elements; none if it is not a list or unknown.
func (x value) list() []value {
	items, _ := x.open().v.([]any)
	out := make([]value, len(items))
	for i, item := range items {
		out[i] = value{item}.open()
	}
	return out
}

// fields returns the fields of a map; none if it is not a map or unknown.
func (x value) fields() map[string]any {
	m, _ := x.open().v.(map[string]any)
	return m
}

// zero reports whether the value is the number 0, also as a string.
func (x value) zero() bool {
	switch v := x.open().v.(type) {
	case int:
		return v == 0
	case float64:
		return v == 0
	case string:
		return strings.Trim(v, "0") == "" && v != ""
	}
	return false
}

// number returns the value as a number; false if it is not one.
func (x value) number() (float64, bool) {
	switch v := x.open().v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// on reports whether a switch is set to anything but false.
func (x value) on() bool {
	x = x.open()
	return x.v != nil && x.v != false && !x.unknown()
}

// has reports whether a list has the element, or may have it.
func (x value) has(want any) bool {
	if x.unknown() {
		return true
	}
	for _, item := range x.list() {
		if item.is(want) {
			return true
		}
	}
	return false
}

// show returns the value for a message, but never a secret.
func (x value) show() string {
	switch v := x.v.(type) {
	case nil:
		return "nothing"
	case string:
		if looksSecret(v) {
			return "a secret"
		}
		return fmt.Sprintf("%q", v)
	case bool, int, float64:
		return fmt.Sprint(v)
	case Secret:
		return "a secret"
	case Unknown:
		return "something unknown"
	}
	return "something else"
}
