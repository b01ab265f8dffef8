package condition_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"spire-falco/falco"
	"spire-falco/falco/condition"
)

// FuzzParseCondition looks for conditions that panic or hang, and for ones
// whose printed form means something else.
func FuzzParseCondition(f *testing.F) {
	for _, c := range recordedConditions(f)[:150] {
		f.Add(c.Condition)
	}
	for _, s := range []string{
		"", "not(not not a.b=c)", "a.b in (x, \"y z\", 'w')", "tolower(len(a.b)) = val(c.d)", "m1 and (m2 or m3)",
		"evt.arg[0] regex \"a|(b\"", "fd.net in (10.0.0.0/8, ::/1)", "evt.around[1]=2", "proc.aname[2] pmatch (/a/*, /b)",
		"fd.types intersects (file)", "evt.buffer bcontains 6162", "evt.rawarg.res < -1", "a.b globin (c)", "evt.type='\\ '",
	} {
		f.Add(s)
	}
	events, _ := recordedEvents(f)
	events = events[:10]
	for _, s := range []string{
		`proc.name startswith anyof (a, "b c")`, "proc.name = oneof names", `join(",", (proc.name, tolower("X"), 5)) = a`,
		`concat(proc.name, 'x')[a] in (b)`, `getopt((proc.args[0]), "ab:")[a] = x`, `proc.aname[""] = a`, "len(()) = 0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range []*condition.Language{falco040, condition.For(falco.Newest())} {
			fuzzCondition(t, l, text, events)
			_, _, _ = l.OutputField(text)
		}
	})
}

func fuzzCondition(t *testing.T, l *condition.Language, text string, events []condition.Event) {
	e, err := l.Parse(text)
	if err != nil {
		return
	}
	printed := e.String()
	p, _, err := l.Compile(e)
	if err != nil {
		return
	}
	_, _ = l.NeededEventTypes(e)
	if printsBare(e) {
		return
	}
	again, err := l.Parse(printed)
	if err != nil {
		t.Fatalf("%q is printed as %q: %v", text, printed, err)
	}
	if again.String() != printed {
		t.Fatalf("%q is printed as %q, and that as %q", text, printed, again.String())
	}
	ctx := p.Layout().NewContext()
	for _, ev := range events {
		ctx.Reset(ev)
		p.Match(ctx)
	}
}

// printsBare tells whether a value is printed without the quotes that it would
// need, as Falco prints it.
func printsBare(e condition.Expr) bool {
	bare := false
	condition.Walk(e, func(e condition.Expr) bool {
		var values []string
		switch n := e.(type) {
		case *condition.Value:
			values = []string{n.Value}
		case *condition.List:
			values = n.Values
		case *condition.Field:
			bare = bare || strings.ContainsAny(n.Arg, "[]'\"\\\v ")
		}
		for _, v := range values {
			bare = bare || v == "" || strings.ContainsAny(v, "(),='\"\\\v\f\x00") || strings.Contains(v, "\u0085") || !utf8.ValidString(v)
		}
		return true
	})
	return bare
}

// FuzzParseEvent looks for lines that panic.
func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(`{"evt.type":"open","fd.num":-1,"a":[1,"x",null],"b":1.5e3,"c":"\u00e9","d":null,"e":true}`))
	f.Add([]byte(`{"a":{}}`))
	f.Fuzz(func(_ *testing.T, line []byte) {
		ev, err := condition.ParseEvent(line)
		if err == nil {
			for name := range ev.Fields() {
				_ = ev.Text(name)
			}
		}
	})
}
