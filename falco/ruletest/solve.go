package ruletest

import (
	"net/netip"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"spire-falco/falco/condition"
)

// solver looks for an event that a condition is true for. It walks the condition, choosing a branch of each "or", and gives
// fields values that the checks on the way ask for; what it finds has been evaluated.
type solver struct {
	lang *condition.Language
	// fixed are fields that keep the value that they have, or have none.
	fixed  map[string]bool
	fields map[string]condition.EventValue
	// asked are the checks on the way, and the value that each must have.
	asked []askedCheck
	steps int
	// compiled holds the program of each check.
	compiled map[condition.Expr]*condition.Program
}

type askedCheck struct {
	expr condition.Expr
	want bool
}

// maxSteps bounds the search: rules of people are found in a few hundred.
const maxSteps = 20000

// solve returns an event with the given fields that the condition is true for. ok is false when it finds none.
func solve(lang *condition.Language, e condition.Expr, given map[string]condition.EventValue, fixed map[string]bool) (ev condition.Event, asked []condition.Expr, ok bool) {
	s := &solver{lang: lang, fixed: fixed, fields: map[string]condition.EventValue{}, compiled: map[condition.Expr]*condition.Program{}}
	for name, v := range given {
		s.fields[name] = v
	}
	if _, there := s.fields["evt.dir"]; !there {
		s.fields["evt.dir"] = condition.StringValue("<")
	}
	if !s.need(e, true, func() bool { return true }) {
		return condition.Event{}, nil, false
	}
	for _, a := range s.asked {
		if a.want {
			asked = append(asked, a.expr)
		}
	}
	return condition.NewEvent(s.fields), asked, true
}

// need makes the value of a condition, and then what comes after it.
func (s *solver) need(e condition.Expr, want bool, next func() bool) bool {
	if s.steps++; s.steps > maxSteps {
		return false
	}
	switch n := e.(type) {
	case *condition.Not:
		return s.need(n.Child, !want, next)
	case *condition.And:
		return s.join(n.Children, want, want, next)
	case *condition.Or:
		return s.join(n.Children, want, !want, next)
	}
	s.asked = append(s.asked, askedCheck{e, want})
	size := len(s.asked)
	back := func() { s.asked = s.asked[:size-1] }
	if s.holds(e) == want {
		if next() { // a check that comes later may change the field again
			return true
		}
		back()
		return false
	}
	for _, change := range s.changes(e, want) {
		before := map[string]condition.EventValue{}
		possible := true
		for name, v := range change {
			if s.fixed[name] {
				possible = false
			}
			if old, ok := s.fields[name]; ok {
				before[name] = old
			}
			if v == nil {
				delete(s.fields, name)
			} else {
				s.fields[name] = *v
			}
		}
		if possible && s.allHold() && next() {
			return true
		}
		for name := range change {
			if old, ok := before[name]; ok {
				s.fields[name] = old
			} else {
				delete(s.fields, name)
			}
		}
	}
	back()
	return false
}

// join makes the value of every part, or of one.
func (s *solver) join(parts []condition.Expr, want, every bool, next func() bool) bool {
	if !every {
		return slices.ContainsFunc(parts, func(e condition.Expr) bool { return s.need(e, want, next) })
	}
	if len(parts) == 0 {
		return next()
	}
	return s.need(parts[0], want, func() bool { return s.join(parts[1:], want, true, next) })
}

func (s *solver) holds(e condition.Expr) bool {
	p := s.compiled[e]
	if p == nil {
		var err error
		if p, _, err = s.lang.Compile(e); err != nil {
			return false // the rule has been loaded with it
		}
		s.compiled[e] = p
	}
	c := p.Layout().NewContext()
	c.Reset(condition.NewEvent(s.fields))
	return p.Match(c)
}

func (s *solver) allHold() bool {
	for _, a := range s.asked {
		if s.holds(a.expr) != a.want {
			return false
		}
	}
	return true
}

// change is fields with their new values; nil for none.
type change map[string]*condition.EventValue

// changes are what may give a check its value.
func (s *solver) changes(e condition.Expr, want bool) []change {
	name := leftField(e)
	ref, ok, err := s.lang.LookupField(name)
	if !ok || err != nil {
		return nil
	}
	var out []change
	add := func(text string) {
		stored, values := storedAs(ref, text)
		for i, field := range stored {
			ref, ok, err := s.lang.LookupField(field)
			if err != nil || !ok {
				return
			}
			v, err := s.lang.EventValue(ref, values[i])
			if err != nil {
				return
			}
			if i == 0 {
				out = append(out, change{})
			}
			out[len(out)-1][field] = &v
		}
	}
	for _, text := range s.texts(name, want) {
		add(text)
	}
	if b, ok := e.(*condition.Binary); ok {
		if right := leftField(&condition.Unary{Left: b.Right}); right != "" { // a comparison with a field
			if v, ok := s.fields[right]; ok {
				add(v.String())
			} else if v, ok := s.fields[name]; ok {
				out = append(out, change{right: &v})
			} else {
				v := condition.StringValue("x")
				out = append(out, change{name: &v, right: &v})
			}
		}
	}
	if !want {
		out = append(out, change{name: nil})
		for _, text := range []string{"other", "/other", "1", "0", "true", "false", "203.0.113.9"} {
			add(text)
		}
	}
	return out
}

// leftField is the field that a check asks about, within transformers; "" when there is none.
func leftField(e condition.Expr) string {
	for {
		switch n := e.(type) {
		case *condition.Binary:
			e = n.Left
		case *condition.Unary:
			e = n.Left
		case *condition.Transformer:
			e = n.Value
		case *condition.Field:
			return n.FullName()
		default:
			return ""
		}
	}
}

// storedAs are the fields of an event, with their values, that a field of a condition is read off.
func storedAs(ref condition.FieldRef, text string) (names, values []string) {
	if strings.Contains(text, "/") && strings.HasSuffix(ref.Info.Name, "net") {
		if p, err := netip.ParsePrefix(text); err == nil {
			text = p.Addr().Next().String()
			if !p.Contains(p.Addr().Next()) {
				text = p.Addr().String()
			}
		}
	}
	switch name := ref.Name; name {
	case "fd.cnet", "fd.snet", "fd.lnet", "fd.rnet":
		return []string{strings.TrimSuffix(name, "net") + "ip"}, []string{text}
	case "fd.cproto", "fd.sproto", "fd.lproto", "fd.rproto":
		return []string{strings.TrimSuffix(name, "proto") + "port"}, []string{text}
	case "fd.ip", "fd.net":
		kind := "ipv4"
		if strings.Contains(text, ":") {
			kind = "ipv6"
		}
		return []string{"fd.type", "fd.cip", "fd.sip"}, []string{kind, text, text}
	case "fd.port", "fd.proto":
		return []string{"fd.type", "fd.cip", "fd.cport", "fd.sip", "fd.sport"}, []string{"ipv4", "10.0.0.1", text, "10.0.0.2", text}
	default:
		return []string{name}, []string{text}
	}
}

// texts are values that the checks asked of a field may accept.
func (s *solver) texts(name string, want bool) []string {
	var out, prefixes, middles, suffixes []string
	for _, a := range s.asked {
		if leftField(a.expr) != name {
			continue
		}
		b, ok := a.expr.(*condition.Binary)
		if !ok { // exists
			out = append(out, "x", "1", "true", "10.0.0.1")
			continue
		}
		op, _, _ := strings.Cut(b.Op, " ")
		for _, v := range constants(b.Right) {
			if op == "bcontains" || op == "bstartswith" {
				continue
			}
			if !a.want || op == "!=" {
				out = append(out, numbersBeside(v)...)
				continue
			}
			switch op {
			case "startswith":
				prefixes = append(prefixes, v)
			case "contains", "icontains":
				middles = append(middles, v)
			case "endswith":
				suffixes = append(suffixes, v)
			case "glob":
				out = append(out, strings.NewReplacer("*", "", "?", "x").Replace(v))
			case "pmatch":
				out = append(out, strings.NewReplacer("*", "x", "?", "x").Replace(v))
			case "regex":
				out = append(out, matching(v))
			default:
				out = append(out, v)
				out = append(out, numbersBeside(v)...)
			}
		}
	}
	if want {
		for _, p := range append(slices.Clone(prefixes), "") {
			for _, m := range append(slices.Clone(middles), "") {
				for _, e := range append(slices.Clone(suffixes), "") {
					if text := p + m + e; text != "" {
						if e == "" {
							text += "x"
						}
						out = append(out, text, p+m+e)
					}
				}
			}
		}
		if all := strings.Join(middles, ""); len(middles) > 1 {
			out = append(out, strings.Join(prefixes[:min(1, len(prefixes))], "")+all+strings.Join(suffixes[:min(1, len(suffixes))], ""))
		}
	}
	switch name { // values that such a field may really have
	case "container.id":
		out = append(out, "3ad7b26ded6d")
	case "evt.res":
		out = append(out, "SUCCESS", "EACCES")
	case "fd.ip", "fd.net", "fd.cip", "fd.sip", "fd.lip", "fd.rip", "fd.cnet", "fd.snet", "fd.lnet", "fd.rnet":
		out = append(out, "203.0.113.9")
	}
	return append(out, "other", "/other")
}

// constants are the values that a check compares with.
func constants(e condition.Expr) []string {
	switch n := e.(type) {
	case *condition.Value:
		return []string{n.Value}
	case *condition.List:
		return n.Values
	}
	return nil
}

// numbersBeside are the whole numbers above and below one.
func numbersBeside(text string) []string {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil
	}
	return []string{strconv.FormatInt(n+1, 10), strconv.FormatInt(n-1, 10)}
}

// matching is a text that a regular expression matches, when it is as Go's are; "" when it is not.
func matching(expression string) string {
	re, err := syntax.Parse(expression, syntax.POSIX)
	if err != nil {
		return ""
	}
	var b strings.Builder
	var write func(re *syntax.Regexp)
	write = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpLiteral:
			b.WriteString(string(re.Rune))
		case syntax.OpCharClass:
			b.WriteRune(printable(re.Rune))
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			b.WriteByte('x')
		case syntax.OpCapture, syntax.OpPlus:
			write(re.Sub[0])
		case syntax.OpRepeat:
			for range min(re.Min, 64) {
				write(re.Sub[0])
			}
		case syntax.OpConcat:
			for _, sub := range re.Sub {
				write(sub)
			}
		case syntax.OpAlternate:
			write(re.Sub[0])
		}
	}
	write(re)
	return b.String()
}

// printable is a character of a class, as ranges of it are, that can be read when there is one.
func printable(ranges []rune) rune {
	for i := 0; i+1 < len(ranges); i += 2 {
		for _, c := range "x0A_" {
			if ranges[i] <= c && c <= ranges[i+1] {
				return c
			}
		}
	}
	for i := 0; i+1 < len(ranges); i += 2 {
		if lo := max(ranges[i], '!'); lo <= ranges[i+1] {
			return lo
		}
	}
	if len(ranges) > 0 {
		return ranges[0]
	}
	return 'x'
}
