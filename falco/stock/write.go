package stock

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// values are what the placeholders have for an item of a kind. They are valid
// wherever the real item is, and nowhere else: standin is no service, no
// event and no user.
var values = map[string]string{
	"word": "standin", "path": "/standin", "network": `"10.0.0.0/8"`, "address": `"10.0.0.1"`, "number": "1",
	"event": "open", "quoted": `"stand in"`, "service": "http",
}

// impossible is a check that no event passes, and that asks for none.
const impossible = "evt.type = open and evt.type = openat"

// write writes the placeholders.
//
// A condition has two parts. The first asks for the same events and macros as
// the real one. The second is never true: it holds the other macros and the
// lists, so that they are used, and checked, as in the real one.
func write(facts []Fact) string {
	var b strings.Builder
	for i, f := range facts {
		switch f.Kind {
		case KindEngine:
			fmt.Fprintf(&b, "- required_engine_version: %s\n", f.Name)
		case KindPlugin:
			fmt.Fprintf(&b, "- required_plugin_versions:\n    - name: %s\n      version: %s\n", f.Name, strings.Join(f.Items, ""))
		case KindList:
			fmt.Fprintf(&b, "- list: %s\n  items: [%s]\n", f.Name, strings.Join(items(f.Items), ", "))
		case KindMacro:
			fmt.Fprintf(&b, "- macro: %s\n  condition: %s\n", f.Name, strconv.Quote(f.condition(i)))
		case KindRule:
			f.writeRule(&b, i)
		case KindValues:
			writeWords(&b, "values", f.Items, value)
		case KindFields:
			writeWords(&b, "fields", f.Items, func(word string) string { return word + " exists" })
		case KindOperators:
			writeWords(&b, "operators", f.Items, check)
		}
	}
	return b.String()
}

func items(kinds []string) []string {
	var out []string
	for _, kind := range kinds {
		if list, ok := strings.CutPrefix(kind, "@"); ok {
			out = append(out, list)
			continue
		}
		singular, many := strings.CutSuffix(kind, "s")
		if kind == "address" || kind == "addresses" {
			singular, many = "address", kind == "addresses"
		}
		value := "'" + values[singular] + "'"
		out = append(out, value)
		if many {
			out = append(out, value)
		}
	}
	return out
}

// condition writes the condition of item i, whose first part must be like no
// other: two rules that compared alike would seem to take each other's events.
func (f Fact) condition(i int) string {
	first := slices.Clone(f.Required)
	guard := "evt.num >= " + strconv.Itoa(i)
	events := in(f.Events)
	switch {
	case events == "":
		if !f.Negated.Everything() {
			guard = "(" + guard + " or not " + in(f.Negated) + ")"
		}
		first = append(first, guard)
	case f.Kind == KindMacro && f.Negated.Not != f.Events.Not && slices.Equal(f.Negated.Names, f.Events.Names):
		first = append(first, events)
	case f.Negated.Everything() || f.Kind == KindRule:
		first = append(first, events, guard)
	default:
		first = append(first, events, "("+guard+" or not "+in(f.Negated)+")")
	}
	second := slices.Clone(f.Other)
	for _, u := range f.Lists {
		if u.Operator == "in" || u.Operator == "intersects" || u.Operator == "pmatch" {
			second = append(second, u.Left+" "+u.Operator+" ("+u.List+")")
		} else {
			second = append(second, u.Left+" "+u.Operator+" "+u.List)
		}
	}
	c := "(" + strings.Join(first, " and ") + ")"
	if len(second) > 0 {
		c = "(" + c + " or (" + impossible + " and (" + strings.Join(second, " or ") + ")))"
	}
	return c
}

// in is a check that asks for the events; "" when it would ask for all.
func in(e Events) string {
	switch {
	case e.Everything():
		return ""
	case len(e.Names) == 0:
		return "(" + impossible + ")"
	}
	check := "evt.type in (" + strings.Join(e.Names, ",") + ")"
	if e.Not {
		return "(not " + check + ")"
	}
	return check
}

func (f Fact) writeRule(b *strings.Builder, i int) {
	fmt.Fprintf(b, "- rule: %s\n  desc: placeholder\n  condition: %s\n  output: placeholder\n  priority: %s\n  source: %s\n  enabled: %t\n  tags: [%s]\n",
		strconv.Quote(f.Name), strconv.Quote(f.condition(i)), f.Priority, f.Source, f.Enabled, strings.Join(f.Tags, ", "))
	if len(f.Exceptions) == 0 {
		return
	}
	b.WriteString("  exceptions:\n")
	for _, ex := range f.Exceptions {
		fmt.Fprintf(b, "    - name: %s\n      fields: [%s]\n", ex.Name, strings.Join(ex.Fields, ", "))
		if len(ex.Comps) > 0 {
			fmt.Fprintf(b, "      comps: ['%s']\n", strings.Join(ex.Comps, "', '"))
		}
	}
}

// writeWords writes a rule that uses each word where the stock rules do.
func writeWords(b *strings.Builder, what string, words []string, use func(string) string) {
	var checks []string
	for _, w := range words {
		if c := use(w); c != "" {
			checks = append(checks, c)
		}
	}
	fmt.Fprintf(b, "- rule: \"placeholder for the %s of the stock conditions\"\n  desc: placeholder\n  condition: %s\n  output: placeholder\n"+
		"  priority: DEBUG\n  warn_evttypes: false\n", what, strconv.Quote("("+impossible+" and ("+strings.Join(checks, " or ")+"))"))
}

// value compares with a word, of the type that it has.
func value(word string) string {
	switch {
	case word == "true" || word == "false":
		return "proc.is_exe_upper_layer = " + word
	case strings.Trim(word, "-0123456789") == "":
		return "fd.num = " + word
	}
	return "proc.name = " + word
}

// check uses an operator; and, or, not and = are in every placeholder.
func check(operator string) string {
	switch operator {
	case "exists":
		return "proc.name exists"
	case "not":
		return "not proc.name exists"
	case "in", "intersects", "pmatch":
		return "proc.name " + operator + " (standin)"
	case "<", "<=", ">", ">=":
		return "fd.num " + operator + " 0"
	case "bcontains", "bstartswith":
		return "evt.buffer " + operator + " 00"
	}
	return "proc.name " + operator + " standin"
}
