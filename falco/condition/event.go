package condition

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

type valueKind uint8

const (
	valueString valueKind = iota
	valueInt
	valueUint
	valueFloat
	valueBool
	valueList
)

// EventValue is the value of one field of an event, in one of the forms that
// Falco's JSON gives: text, a number, a truth value or a list of texts.
type EventValue struct {
	kind valueKind
	str  string
	num  uint64
	flt  float64
	list []string
}

// StringValue returns a text value.
func StringValue(s string) EventValue { return EventValue{kind: valueString, str: s} }

// IntValue returns a whole number.
func IntValue(n int64) EventValue {
	return EventValue{kind: valueInt, num: uint64(n)}
}

// UintValue returns a whole number that may exceed the range of int64.
func UintValue(n uint64) EventValue { return EventValue{kind: valueUint, num: n} }

// FloatValue returns a number with a fraction.
func FloatValue(f float64) EventValue { return EventValue{kind: valueFloat, flt: f} }

// BoolValue returns a truth value.
func BoolValue(b bool) EventValue {
	v := EventValue{kind: valueBool}
	if b {
		v.num = 1
	}
	return v
}

// ListValue returns a list of texts.
func ListValue(items []string) EventValue { return EventValue{kind: valueList, list: items} }

// EventValue makes the value of a field from a text that a person wrote. The error says what the field takes.
func (l *Language) EventValue(ref FieldRef, text string) (EventValue, error) {
	switch ref.Type.kind() {
	case kindSigned, kindUnsigned:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && (n >= 0 || ref.Type.kind() == kindSigned) {
			return IntValue(n), nil
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil && ref.Type.kind() == kindUnsigned {
			return UintValue(n), nil
		}
		return EventValue{}, fmt.Errorf("%s wants a whole number", ref.Name)
	case kindFloat:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return EventValue{}, fmt.Errorf("%s wants a number", ref.Name)
		}
		return FloatValue(f), nil
	case kindBool:
		if text != "true" && text != "false" {
			return EventValue{}, fmt.Errorf("%s is true or false", ref.Name)
		}
		return BoolValue(text == "true"), nil
	case kindIP, kindNet:
		if _, err := netip.ParseAddr(text); err != nil {
			return EventValue{}, fmt.Errorf("%s wants an address, such as 10.0.0.1", ref.Name)
		}
	}
	if ref.Info.Name == "evt.type" && !l.KnownEventType(text) {
		if hint := l.eventTypeHint(text); hint != "" {
			return EventValue{}, fmt.Errorf("no such event: %s", hint)
		}
		return EventValue{}, errors.New("no such event")
	}
	return StringValue(text), nil
}

// Any returns the value as a plain Go value: string, int64, uint64, float64,
// bool or []string.
func (v EventValue) Any() any {
	switch v.kind {
	case valueInt:
		return int64(v.num)
	case valueUint:
		return v.num
	case valueFloat:
		return v.flt
	case valueBool:
		return v.num != 0
	case valueList:
		return v.list
	default:
		return v.str
	}
}

// String returns the value as Falco prints it in an output.
func (v EventValue) String() string {
	switch v.kind {
	case valueInt:
		return strconv.FormatInt(int64(v.num), 10)
	case valueUint:
		return strconv.FormatUint(v.num, 10)
	case valueFloat:
		return strconv.FormatFloat(v.flt, 'f', -1, 64)
	case valueBool:
		if v.num != 0 {
			return "true"
		}
		return "false"
	case valueList:
		return "(" + strings.Join(v.list, ",") + ")"
	default:
		return v.str
	}
}

// Event is one event as a flat set of fields. A field that Falco gives as null
// is not in it. The zero Event has no fields.
type Event struct {
	fields map[string]EventValue
}

// NewEvent returns an event with the given fields, which it keeps.
func NewEvent(fields map[string]EventValue) Event { return Event{fields: fields} }

// Get returns the value stored under the very name.
func (e Event) Get(name string) (EventValue, bool) {
	v, ok := e.fields[name]
	return v, ok
}

// Text returns the text of a field, "" when it is absent.
func (e Event) Text(name string) string {
	v, ok := e.fields[name]
	if !ok {
		return ""
	}
	return v.String()
}

// Len returns the number of fields.
func (e Event) Len() int { return len(e.fields) }

// Fields returns the fields for reading only.
func (e Event) Fields() map[string]EventValue { return e.fields }
