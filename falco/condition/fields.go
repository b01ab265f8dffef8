package condition

import (
	"strconv"
	"strings"
)

// FieldRef is a field as a condition or an output names it.
type FieldRef struct {
	// Info is the catalogue's entry; its Type is the field's own, see Type.
	Info *FieldInfo
	// Name is what was written, with its argument, for example proc.aname[2].
	Name string
	// Arg is the argument without brackets or leading dot, "" when there is none.
	Arg string
	// Type is the type of the value, which for evt.rawarg depends on the argument.
	Type Type
}

// fieldError is a failure with Falco's own words.
type fieldError string

func (e fieldError) Error() string { return string(e) }

// LookupField resolves the whole of name as a field of a condition. ok is
// false, and err nil, when there is no such field; err tells what is wrong
// with the argument.
func (l *Language) LookupField(name string) (ref FieldRef, ok bool, err error) {
	n, ref, err := l.parseField(name, true)
	if err != nil {
		return FieldRef{}, false, err
	}
	if n != len(name) {
		return FieldRef{}, false, nil
	}
	return ref, true, nil
}

// LookupOutputField resolves the field that text starts with, as an output
// does after a percent sign, and returns how many bytes of text name it.
func (l *Language) LookupOutputField(text string) (ref FieldRef, length int, err error) {
	n, ref, err := l.parseField(text, true)
	if err == nil && n < 0 {
		err = fieldError("invalid formatting token " + text)
	}
	if err == nil && ref.Info.FilterOnly {
		n, ref, err = l.parseField(text, false)
	}
	if err != nil {
		return FieldRef{}, 0, err
	}
	return ref, n, nil
}

// parseField asks the classes in their order which of their fields val starts
// with. It returns the length of that field's name, or -1 for none.
func (l *Language) parseField(val string, filtering bool) (int, FieldRef, error) {
	if strings.HasPrefix(val, "arg") {
		return 0, FieldRef{}, fieldError("filter error: proc.arg filter not implemented yet")
	}
	// Only classes with fields that share the first word can answer.
	word, _, _ := strings.Cut(val, ".")
	for _, class := range l.fields().classesByWord[word] {
		n, ref, err := l.parseInClass(class, val, filtering)
		if err != nil || n != -1 {
			return n, ref, err
		}
	}
	return -1, FieldRef{}, nil
}

func (l *Language) parseInClass(c fieldClass, val string, filtering bool) (int, FieldRef, error) {
	starts := func(s string) bool { return strings.HasPrefix(val, s) }
	switch c.name {
	case "evt":
		switch {
		case starts("evt.arg") && !starts("evt.args"):
			return l.eventArgument("evt.arg", val)
		case starts("evt.rawarg"):
			return l.eventArgument("evt.rawarg", val)
		case starts("evt.around"):
			return l.eventArgument("evt.around", val)
		case starts("evt.abspath"):
			n := len("evt.abspath")
			if starts("evt.abspath.src") || starts("evt.abspath.dst") {
				n += 4
			}
			return n, l.makeRef("evt.abspath", val[:n], strings.TrimPrefix(val[len("evt.abspath"):n], ".")), nil
		case starts("evt.type.is"):
			return l.eventTypeIs(val)
		}
	case "process":
		for _, base := range ancestorFields {
			if info := l.fields().byName[base]; starts(base) && info != nil && info.ArgAllowed {
				return l.ancestor(base, val)
			}
		}
		switch {
		case starts("proc.env"):
			return l.environment("proc.env", val)
		case starts("proc.aenv"):
			return l.environment("proc.aenv", val)
		case starts("thread.cgroup") && !starts("thread.cgroups"):
			return l.dotted("thread.cgroup", val, func(c byte) bool { return isAlpha(c) || c == '_' })
		}
	case "container":
		if l.pluginFields {
			return l.pluginField(c, val, filtering)
		}
		if n, ref, done, err := l.containerMount(val); done {
			return n, ref, err
		}
	case "fd":
		if starts("fd.types") {
			return l.fdTypes(val)
		}
	case "k8s":
		for _, base := range []string{
			"k8s.pod.label", "k8s.rc.label", "k8s.rs.label", "k8s.svc.label", "k8s.ns.label", "k8s.deployment.label",
		} {
			if starts(base) && !starts(base+"s") {
				return l.label(base, val, true)
			}
		}
	case "mesos":
		for _, base := range []string{"mesos.task.label", "marathon.app.label"} {
			if starts(base) && !starts(base+"s") {
				return l.label(base, val, false)
			}
		}
	case "span", "evtin":
		if n, ref, done, err := l.tracer(c, val); done {
			return n, ref, err
		}
	}
	return l.longest(c, val, filtering)
}

// ancestorFields take the number of an ancestor, or of an argument, in
// brackets; of two that start alike the longer is first. Not every version has all.
var ancestorFields = []string{"proc.apid", "proc.aname", "proc.aexepath", "proc.aexe", "proc.acmdline", "proc.aargs", "proc.args"}

// pluginField parses a field of the container plugin as Falco does for plugins.
func (l *Language) pluginField(c fieldClass, val string, filtering bool) (int, FieldRef, error) {
	n, ref, err := l.longest(c, val, filtering)
	if err != nil || n == -1 {
		return n, ref, err
	}
	val, _, _ = strings.Cut(val, " ")
	start := strings.IndexByte(val, '[')
	if start < 0 {
		if ref.Info.ArgRequired {
			return 0, FieldRef{}, fieldError("filter '" + val + "': " + ref.Info.Name + " requires an argument but none provided")
		}
		return n, ref, nil
	}
	if n != start {
		return -1, FieldRef{}, nil
	}
	if start+1 >= len(val) {
		return 0, FieldRef{}, fieldError("filter '" + val + "': " + ref.Info.Name + " terminates with incomplete argument brackets")
	}
	end := strings.IndexByte(val[start+1:], ']')
	if end < 0 {
		return 0, FieldRef{}, fieldError("filter '" + val + "': " + ref.Info.Name + " has unbalanced argument brackets")
	}
	end += start + 1
	arg := val[start+1 : end]
	if !ref.Info.ArgAllowed && !ref.Info.ArgRequired {
		return 0, FieldRef{}, fieldError("filter '" + val + "': " + ref.Info.Name +
			" does not allow nor require an argument but one is provided: " + arg)
	}
	ref.Name, ref.Arg = val[:end+1], arg
	return end + 1, ref, nil
}

// longest finds the longest name of the class that val starts with.
func (l *Language) longest(c fieldClass, val string, filtering bool) (int, FieldRef, error) {
	best := -1
	var info *FieldInfo
	end := 0
	for end < len(val) && (isWord(val[end]) || val[end] == '.') {
		end++
	}
	if exact := l.fields().byName[val[:end]]; exact != nil && exact.Class == c.name {
		best, info = end, exact
	} else {
		for _, f := range c.fields {
			if len(f.Name) > best && strings.HasPrefix(val, f.Name) {
				best, info = len(f.Name), f
			}
		}
	}
	if info == nil {
		return -1, FieldRef{}, nil
	}
	if !filtering && info.FilterOnly {
		return 0, FieldRef{}, fieldError(val + " is filter only and cannot be used as a display field")
	}
	return best, FieldRef{Info: info, Name: info.Name, Type: info.Type}, nil
}

func (l *Language) makeRef(base, name, arg string) FieldRef {
	info := l.fields().byName[base]
	return FieldRef{Info: info, Name: name, Arg: arg, Type: info.Type}
}

// bracketed cuts the argument in brackets that follows base. end is the length
// of the name with the closing bracket, 0 when there is no bracket.
func bracketed(base, val string) (arg string, end int, closed bool) {
	if len(val) <= len(base) || val[len(base)] != '[' {
		return "", 0, false
	}
	i := strings.IndexByte(val, ']')
	if i < 0 {
		return val[len(base)+1:], 0, false
	}
	return val[len(base)+1 : i], i + 1, true
}

func syntaxError(val string) error { return fieldError("filter syntax error: " + val) }

func notNumber(s string) error { return fieldError(s + " is not a valid number") }

func (l *Language) eventArgument(base, val string) (int, FieldRef, error) {
	rest := val[len(base):]
	switch {
	case strings.HasPrefix(rest, "["):
		if base == "evt.rawarg" {
			return 0, FieldRef{}, fieldError("evt.arg fields must be expressed explicitly")
		}
		arg, end, closed := bracketed(base, val)
		if base == "evt.around" {
			if _, ok := scanUnsigned(arg, 64); !ok {
				return 0, FieldRef{}, notNumber(arg)
			}
		} else if _, ok := scanSigned(arg, 32); !ok {
			return 0, FieldRef{}, notNumber(arg)
		}
		if !closed {
			return 0, l.makeRef(base, base, arg), nil
		}
		return end, l.makeRef(base, val[:end], arg), nil
	case strings.HasPrefix(rest, "."):
		if base == "evt.around" {
			return 0, FieldRef{}, fieldError("wrong syntax for evt.around")
		}
		p := l.longestParam(rest[1:])
		if p == nil {
			return 0, FieldRef{}, fieldError("unknown event argument " + rest[1:])
		}
		n := len(base) + 1 + len(p.name)
		ref := l.makeRef(base, val[:n], p.name)
		if base == "evt.rawarg" {
			ref.Type = p.typ
		}
		return n, ref, nil
	default:
		return 0, FieldRef{}, syntaxError(val)
	}
}

// longestParam finds the longest name of an event parameter that s starts
// with; of parameters of the same name the first of the table counts.
func (l *Language) longestParam(s string) *param {
	best := 0
	var found *param
	params := l.params()
	for i := range params {
		if p := &params[i]; len(p.name) > best && strings.HasPrefix(s, p.name) {
			best, found = len(p.name), p
		}
	}
	return found
}

func (l *Language) eventTypeIs(val string) (int, FieldRef, error) {
	const base = "evt.type.is"
	if len(val) <= len(base) || val[len(base)] != '.' {
		return 0, FieldRef{}, syntaxError(val)
	}
	arg := val[len(base)+1:]
	if _, ok := scanUnsigned(arg, 32); ok {
		return len(val), l.makeRef(base, val, arg), nil
	}
	for i := range l.events().events {
		if l.events().events[i].name == arg {
			return len(val), l.makeRef(base, val, arg), nil
		}
	}
	return 0, l.makeRef(base, base, ""), nil
}

// ancestor parses proc.aname[N] and its likes. Falco takes a wrong argument
// for a name of no length rather than for an error.
func (l *Language) ancestor(base, val string) (int, FieldRef, error) {
	if arg, end, closed := bracketed(base, val); closed {
		if n, ok := scanSigned(arg, 32); ok {
			return end, l.makeRef(base, val[:end], strconv.FormatInt(n, 10)), nil
		}
	}
	if val == base || l.lenientAncestors {
		return len(base), l.makeRef(base, base, ""), nil
	}
	return 0, l.makeRef(base, base, ""), nil
}

func (l *Language) environment(base, val string) (int, FieldRef, error) {
	if arg, end, closed := bracketed(base, val); closed {
		return end, l.makeRef(base, val[:end], arg), nil
	}
	if val == base || l.lenientAncestors {
		return len(base), l.makeRef(base, base, ""), nil
	}
	return 0, l.makeRef(base, base, ""), nil
}

func (l *Language) dotted(base, val string, allowed func(byte) bool) (int, FieldRef, error) {
	if len(val) <= len(base) || val[len(base)] != '.' {
		return 0, FieldRef{}, syntaxError(val)
	}
	end := len(base) + 1
	for end < len(val) && allowed(val[end]) {
		end++
	}
	return end, l.makeRef(base, val[:end], val[len(base)+1:end]), nil
}

func (l *Language) label(base, val string, brackets bool) (int, FieldRef, error) {
	if brackets && len(val) > len(base) && val[len(base)] == '[' {
		arg, end, closed := bracketed(base, val)
		if !closed {
			return 0, FieldRef{}, fieldError("the field '" + base + "' requires an argument but ']' is not found")
		}
		return end, l.makeRef(base, val[:end], arg), nil
	}
	return l.dotted(base, val, func(c byte) bool {
		return isAlpha(c) || isDigit(c) || c == '/' || c == '_' || c == '-' || c == '.'
	})
}

func (l *Language) containerMount(val string) (n int, ref FieldRef, done bool, err error) {
	const base = "container.mount"
	name, from := "", 0
	switch {
	case strings.HasPrefix(val, base+"."):
		from = len(base) + 1
		for _, part := range []string{"source", "dest", "mode", "rdwr", "propagation"} {
			if strings.HasPrefix(val[from:], part) {
				name = base + "." + part
				break
			}
		}
		if name == "" {
			return 0, FieldRef{}, true, syntaxError(val)
		}
	case strings.HasPrefix(val, base) && len(val) > len(base) && val[len(base)] != 's':
		name, from = base, len(base)
	default:
		return 0, FieldRef{}, false, nil
	}
	start := strings.IndexByte(val[from:], '[')
	if start < 0 {
		return 0, FieldRef{}, true, syntaxError(val)
	}
	start += from
	end := strings.IndexByte(val[start:], ']')
	if end < 0 {
		return 0, FieldRef{}, true, syntaxError(val)
	}
	end += start + 1
	return end, l.makeRef(name, val[:end], val[start+1:end-1]), true, nil
}

func (l *Language) fdTypes(val string) (int, FieldRef, error) {
	const base = "fd.types"
	if len(val) > len(base) && val[len(base)] == '[' {
		arg, end, closed := bracketed(base, val)
		if _, ok := scanSigned(arg, 64); !ok {
			return 0, FieldRef{}, notNumber(arg)
		}
		if closed {
			return end, l.makeRef(base, val[:end], arg), nil
		}
	}
	return len(base), l.makeRef(base, base, ""), nil
}

// tracer parses the arguments of the span and evtin fields, which Falco keeps
// for old rules and never fills.
func (l *Language) tracer(c fieldClass, val string) (n int, ref FieldRef, done bool, err error) {
	for _, f := range c.fields {
		if !f.ArgRequired || !strings.HasPrefix(val, f.Name) || strings.HasPrefix(val, f.Name+"s") {
			continue
		}
		rest := val[len(f.Name):]
		if strings.HasPrefix(rest, "[") {
			arg, end, closed := bracketed(f.Name, val)
			if _, ok := scanSigned(arg, 32); !ok {
				return 0, FieldRef{}, true, notNumber(arg)
			}
			if !closed {
				return 0, l.makeRef(f.Name, f.Name, arg), true, nil
			}
			return end, l.makeRef(f.Name, val[:end], arg), true, nil
		}
		arg, ok := strings.CutPrefix(rest, ".")
		switch {
		case !ok:
			return 0, FieldRef{}, true, syntaxError(val)
		case c.name == "evtin":
			p := l.longestParam(arg)
			if p == nil {
				return 0, FieldRef{}, true, fieldError("unknown event argument " + arg)
			}
			arg = p.name
		case f.Name == "span.tag":
			return 0, FieldRef{}, true, fieldError("invalid syntax for span.tag")
		}
		n = len(f.Name) + 1 + len(arg)
		return n, l.makeRef(f.Name, val[:n], arg), true, nil
	}
	return 0, FieldRef{}, false, nil
}
