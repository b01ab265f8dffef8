package condition

import (
	"slices"
	"strconv"
)

// Extractor reads one field off events for outputs, with transformers applied
// if there are any. It is not safe for concurrent use.
type Extractor struct {
	ref   FieldRef
	get   getter
	chain []string
	// With a layout the value is read from a slot of it; typ and list describe it.
	layout *Layout
	slot   int
	typ    Type
	list   bool
	ctx    *Context
}

// NewExtractor returns the extractor of a field. chain holds the transformers,
// innermost first; see CheckTransformers.
func (l *Language) NewExtractor(ref FieldRef, chain []string) *Extractor {
	return &Extractor{ref: ref, get: l.newGetter(ref), chain: chain}
}

// CheckTransformers says in Falco's words why the transformers, innermost
// first, cannot be applied to the field. It returns "" when they can.
func CheckTransformers(ref FieldRef, chain []string) string {
	t, list := ref.Type, ref.Info.List
	for _, name := range chain {
		if ref.Info.NoTransformer {
			return "field '" + ref.Info.Name + "' does not support transformers"
		}
		next, ok := transformType(name, t, list)
		if !ok {
			return transformRefusal(name, t, list, ref.Info.Name)
		}
		t, list = next, list && name != "len"
	}
	return ""
}

func transformRefusal(name string, t Type, list bool, field string) string {
	of := "field"
	if list {
		of = "list field"
	}
	return "can't add field transformer: type '" + string(t) + "' is not supported by '" + name +
		"' transformer applied on " + of + " '" + field + "'"
}

// Value returns the field's value, and false where Falco has null.
func (x *Extractor) Value(ev Event) (EventValue, bool) {
	if x.layout != nil {
		return x.evaluated(ev)
	}
	if len(x.chain) == 0 {
		if v, ok := ev.fields[x.ref.Name]; ok {
			return v, true
		}
	}
	var c constant
	if !x.get(&ev, &c) {
		return EventValue{}, false
	}
	v := c.eventValue(x.ref.Type)
	for _, name := range x.chain {
		if name == "len" {
			v = IntValue(int64(len(v.str)))
			continue
		}
		s, ok := transformText(name, v.String())
		if !ok {
			return EventValue{}, false
		}
		v = StringValue(s)
	}
	return v, true
}

// evaluated reads the value as a condition would.
func (x *Extractor) evaluated(ev Event) (EventValue, bool) {
	if x.ctx == nil {
		x.ctx = x.layout.NewContext()
	}
	x.ctx.Reset(ev)
	c, ok := x.ctx.value(x.slot)
	switch {
	case !ok:
		return EventValue{}, false
	case x.list:
		return ListValue(slices.Clone(x.ctx.slots[x.slot].list)), true
	default:
		return c.eventValue(x.typ), true
	}
}

// Text returns the field's value as an output shows it.
func (x *Extractor) Text(ev Event) (string, bool) {
	v, ok := x.Value(ev)
	if !ok {
		return "", false
	}
	return v.String(), true
}

func (c *constant) eventValue(t Type) EventValue {
	switch t.kind() {
	case kindSigned:
		return IntValue(int64(c.num))
	case kindUnsigned:
		return UintValue(c.num)
	case kindBool:
		return BoolValue(c.num != 0)
	case kindFloat:
		return StringValue(strconv.FormatFloat(c.flt, 'f', -1, 64))
	case kindIP, kindNet:
		return StringValue(c.addr.String())
	default:
		return StringValue(c.str)
	}
}
