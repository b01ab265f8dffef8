package condition

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseEvent reads one event: a JSON object of field names and values, as a
// line of a recording holds it. Nulls are left out. An object inside, as in
// Falco's own alerts under output_fields, is an error.
func ParseEvent(line []byte) (Event, error) {
	p := jsonParser{data: string(line)}
	fields, err := p.object()
	if err != nil {
		return Event{}, fmt.Errorf("read event: %w", err)
	}
	return Event{fields: fields}, nil
}

// jsonParser reads flat objects. It exists because decoding into map[string]any
// takes most of the time of an evaluation. Texts are cut out of the one copy of
// the line.
type jsonParser struct {
	data string
	i    int
	// depth is how many lists are open.
	depth int
}

// maxEventDepth bounds lists within lists. Falco's own events have no list in a list.
const maxEventDepth = 16

func (p *jsonParser) space() {
	for p.i < len(p.data) {
		switch p.data[p.i] {
		case ' ', '\t', '\r', '\n':
			p.i++
			continue
		}
		return
	}
}

func (p *jsonParser) fail(want string) error {
	if p.i >= len(p.data) {
		return fmt.Errorf("at byte %d: the text ends where %s was expected", p.i+1, want)
	}
	return fmt.Errorf("at byte %d: found %q where %s was expected", p.i+1, p.data[p.i], want)
}

func (p *jsonParser) eat(c byte) bool {
	p.space()
	if p.i < len(p.data) && p.data[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *jsonParser) object() (map[string]EventValue, error) {
	if !p.eat('{') {
		return nil, p.fail("an object")
	}
	fields := make(map[string]EventValue, 128)
	if !p.eat('}') {
		for {
			p.space()
			name, err := p.text()
			if err != nil {
				return nil, err
			}
			if !p.eat(':') {
				return nil, p.fail("a colon")
			}
			v, present, err := p.value()
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", name, err)
			}
			if present {
				fields[name] = v
			}
			if p.eat(',') {
				continue
			}
			if p.eat('}') {
				break
			}
			return nil, p.fail("a comma or a closing brace")
		}
	}
	p.space()
	if p.i < len(p.data) {
		return nil, p.fail("the end of the line")
	}
	return fields, nil
}

func (p *jsonParser) word(w string) bool {
	if strings.HasPrefix(p.data[p.i:], w) {
		p.i += len(w)
		return true
	}
	return false
}

func (p *jsonParser) value() (v EventValue, present bool, err error) {
	p.space()
	if p.i >= len(p.data) {
		return v, false, p.fail("a value")
	}
	switch c := p.data[p.i]; {
	case c == '"':
		s, err := p.text()
		return StringValue(s), true, err
	case p.word("null"):
		return v, false, nil
	case p.word("true"):
		return BoolValue(true), true, nil
	case p.word("false"):
		return BoolValue(false), true, nil
	case c == '[':
		items, err := p.array()
		return ListValue(items), true, err
	case c == '-' || isDigit(c):
		v, err := p.number()
		return v, true, err
	case c == '{':
		return v, false, errors.New("an object is not a field's value: an event is flat")
	default:
		return v, false, p.fail("a value")
	}
}

func (p *jsonParser) array() ([]string, error) {
	if p.depth++; p.depth > maxEventDepth {
		return nil, fmt.Errorf("at byte %d: lists are nested more than %d deep", p.i+1, maxEventDepth)
	}
	defer func() { p.depth-- }()
	p.i++
	items := []string{}
	if p.eat(']') {
		return items, nil
	}
	for {
		v, present, err := p.value()
		if err != nil {
			return nil, err
		}
		if present {
			items = append(items, v.String())
		}
		if p.eat(',') {
			continue
		}
		if p.eat(']') {
			return items, nil
		}
		return nil, p.fail("a comma or a closing bracket")
	}
}

func (p *jsonParser) number() (EventValue, error) {
	start := p.i
	whole := true
	for p.i < len(p.data) {
		c := p.data[p.i]
		if c == '.' || c == 'e' || c == 'E' || c == '+' {
			whole = false
		} else if c != '-' && !isDigit(c) {
			break
		}
		p.i++
	}
	s := p.data[start:p.i]
	if whole {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return IntValue(n), nil
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return UintValue(n), nil
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return EventValue{}, fmt.Errorf("at byte %d: %q is not a number", start+1, s)
	}
	return FloatValue(f), nil
}

// text reads a string. One without escapes is taken as it is, the others are
// left to encoding/json.
func (p *jsonParser) text() (string, error) {
	if p.i >= len(p.data) || p.data[p.i] != '"' {
		return "", p.fail("a string")
	}
	start := p.i
	plain := true
	for k := start + 1; k < len(p.data); k++ {
		switch c := p.data[k]; {
		case c == '"':
			p.i = k + 1
			if plain {
				return p.data[start+1 : k], nil
			}
			var s string
			if err := json.Unmarshal([]byte(p.data[start:p.i]), &s); err != nil {
				return "", fmt.Errorf("at byte %d: %w", start+1, err)
			}
			return s, nil
		case c == '\\':
			plain = false
			k++
		case c < 0x20 || c >= utf8.RuneSelf:
			// Left to encoding/json, which refuses or mends it.
			plain = false
		}
	}
	p.i = len(p.data)
	return "", p.fail("a closing quote")
}
