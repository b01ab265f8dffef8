package stock_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/stock"
)

// rulesDir names a folder with a folder for each Falco version, which has the
// falco_rules.yaml that the image of that Falco carries.
const rulesDir = "STOCK_RULES"

// realRules reads the real rules of a version. The test is skipped without them.
func realRules(t testing.TB, v falco.Version) []byte {
	t.Helper()
	dir := os.Getenv(rulesDir)
	if dir == "" {
		t.Skipf("%s names no folder with VERSION/falco_rules.yaml: the rules come with Falco and are not in this repository", rulesDir)
	}
	b, err := os.ReadFile(filepath.Join(dir, v.Number, "falco_rules.yaml"))
	require.NoError(t, err)
	return b
}

// realItem is an item of the real rules.
type realItem struct {
	Engine  string `yaml:"required_engine_version"`
	Plugins []struct{ Name, Version string }
	List    string
	Items   []string
	Macro   string
	Rule    string

	Condition, Source, Priority string
	Enabled                     *bool
	Tags                        []string
	Exceptions                  []struct {
		Name   string
		Fields []string
		Comps  []string
		Values []any
	}
	Override, Append, Skip any
}

// extractor makes facts of real rules.
type extractor struct {
	t      testing.TB
	lang   *condition.Language
	lists  map[string][]string
	macros map[string]condition.Expr
	// types are the names that conditions compare evt.type with.
	values, fields, operators map[string]bool
}

func extract(t testing.TB, v falco.Version, content []byte) []stock.Fact {
	t.Helper()
	var raw []map[string]any
	require.NoError(t, yaml.Unmarshal(content, &raw))
	var items []realItem
	require.NoError(t, yaml.Unmarshal(content, &items))
	x := &extractor{
		t: t, lang: condition.For(v), lists: map[string][]string{}, macros: map[string]condition.Expr{},
		values: map[string]bool{}, fields: map[string]bool{}, operators: map[string]bool{},
	}
	for _, it := range items { // a rule sees what comes after it
		if it.List != "" {
			x.lists[it.List] = it.Items
		}
		if it.Macro != "" {
			x.macros[it.Macro] = x.condition(&stock.Fact{Name: it.Macro}, it.Condition)
		}
	}
	var facts []stock.Fact
	for i, it := range items {
		for key := range raw[i] {
			require.NotContains(t, []string{"override", "append", "skip-if-unknown-filter", "warn_evttypes"}, key, "the data has no place for this key")
		}
		switch {
		case it.Engine != "":
			facts = append(facts, stock.Fact{Kind: stock.KindEngine, Name: it.Engine})
		case raw[i]["required_plugin_versions"] != nil:
			for _, p := range raw[i]["required_plugin_versions"].([]any) {
				m := p.(map[string]any)
				facts = append(facts, stock.Fact{Kind: stock.KindPlugin, Name: fmt.Sprint(m["name"]), Items: []string{fmt.Sprint(m["version"])}})
			}
		case it.List != "":
			facts = append(facts, stock.Fact{Kind: stock.KindList, Name: it.List, Items: x.kinds(it.Items)})
		case it.Macro != "":
			f := stock.Fact{Kind: stock.KindMacro, Name: it.Macro}
			x.condition(&f, it.Condition)
			facts = append(facts, f)
		case it.Rule != "":
			f := stock.Fact{
				Kind: stock.KindRule, Name: it.Rule, Source: "syscall", Priority: it.Priority,
				Enabled: it.Enabled == nil || *it.Enabled, Tags: it.Tags,
			}
			if it.Source != "" {
				f.Source = it.Source
			}
			for _, ex := range it.Exceptions {
				f.Exceptions = append(f.Exceptions, stock.Exception{Name: ex.Name, Fields: ex.Fields, Comps: ex.Comps})
			}
			x.condition(&f, it.Condition)
			facts = append(facts, f)
		}
	}
	for _, words := range []struct {
		kind stock.Kind
		set  map[string]bool
	}{{stock.KindValues, x.values}, {stock.KindFields, x.fields}, {stock.KindOperators, x.operators}} {
		f := stock.Fact{Kind: words.kind}
		for w := range words.set {
			f.Items = append(f.Items, w)
		}
		slices.Sort(f.Items)
		facts = append(facts, f)
	}
	return facts
}

// kinds says what the items of a list are.
func (x *extractor) kinds(items []string) []string {
	var kinds []string
	count := 0
	flush := func() {
		if count > 1 {
			kinds[len(kinds)-1] = strings.ReplaceAll(kinds[len(kinds)-1]+"s", "addresss", "addresses")
		}
		count = 0
	}
	for _, it := range items {
		kind := x.kind(it)
		if count > 0 && kinds[len(kinds)-1] == kind {
			count++
			continue
		}
		flush()
		kinds = append(kinds, kind)
		count = 1
		if strings.HasPrefix(kind, "@") {
			count = 0
		}
	}
	flush()
	return kinds
}

func (x *extractor) kind(it string) string {
	bare := strings.Trim(it, `"'`)
	accepts := func(check string) bool {
		e, err := x.lang.Parse(check)
		require.NoError(x.t, err)
		_, err = x.lang.Check(e)
		return err == nil
	}
	switch _, err := netip.ParsePrefix(bare); {
	case x.lists[it] != nil:
		return "@" + it
	case err == nil:
		return "network"
	case strings.Trim(bare, "0123456789") == "":
		return "number"
	case strings.HasPrefix(bare, "/"):
		return "path"
	case bare != it || strings.Contains(it, " "):
		return "quoted"
	case x.lang.KnownEventType(it):
		return "event"
	case accepts("fd.sport = " + it):
		return "service"
	}
	if _, err := netip.ParseAddr(bare); err == nil {
		return "address"
	}
	return "word"
}

// condition fills in what a condition refers to. It returns the condition with
// lists and macros expanded.
func (x *extractor) condition(f *stock.Fact, text string) condition.Expr {
	e, err := x.lang.Parse(strings.TrimSpace(text))
	require.NoError(x.t, err, f.Name)
	operands := []condition.Expr{e}
	if and, ok := e.(*condition.And); ok {
		operands = and.Children
	}
	for _, o := range operands {
		if id, ok := o.(*condition.Identifier); ok {
			f.Required = append(f.Required, id.Name)
		}
	}
	condition.Walk(e, func(e condition.Expr) bool {
		switch n := e.(type) {
		case *condition.Identifier:
			if !slices.Contains(f.Required, n.Name) && !slices.Contains(f.Other, n.Name) {
				f.Other = append(f.Other, n.Name)
			}
		case *condition.Not:
			x.operators["not"] = true
		case *condition.Field:
			x.fields[n.FullName()] = true
		case *condition.Unary:
			x.operators[n.Op] = true
		case *condition.Binary:
			x.operators[n.Op] = true
			var values []string
			switch r := n.Right.(type) {
			case *condition.Value:
				values = []string{r.Value}
				at := r.Position()
				bare := strings.HasPrefix(at.Source.Text[at.Offset:], r.Value) // a word in quotes is not the name of a list
				if _, isList := x.lists[r.Value]; !isList && bare && isWord(r.Value) {
					x.values[r.Value] = true
				}
			case *condition.List:
				values = r.Values
			}
			for _, v := range values {
				use := stock.ListUse{Left: strings.ReplaceAll(n.Left.String(), " ", ""), Operator: n.Op, List: v}
				if _, isList := x.lists[v]; isList && !slices.Contains(f.Lists, use) {
					f.Lists = append(f.Lists, use)
				}
			}
		}
		return true
	})
	own := x.expand(e, f.Required)
	f.Events = x.events(own, own)
	f.Negated = x.events(&condition.Not{Child: own}, own)
	return x.expand(e, nil)
}

// isWord reports whether a value of a condition is a word that could be the
// name of a list.
func isWord(s string) bool {
	return s != "" && condition.IsValue(s) && !strings.ContainsAny(s, `"'/[]*:`)
}

// expand puts macros and lists in place of their names, and a check that is
// nothing to events in place of the macros of without.
func (x *extractor) expand(e condition.Expr, without []string) condition.Expr {
	all := func(list []condition.Expr) []condition.Expr {
		out := make([]condition.Expr, len(list))
		for i, c := range list {
			out[i] = x.expand(c, without)
		}
		return out
	}
	switch n := e.(type) {
	case *condition.And:
		return &condition.And{Children: all(n.Children)}
	case *condition.Or:
		return &condition.Or{Children: all(n.Children)}
	case *condition.Not:
		return &condition.Not{Child: x.expand(n.Child, without)}
	case *condition.Identifier:
		if slices.Contains(without, n.Name) {
			neutral, err := x.lang.Parse("evt.num >= 0")
			require.NoError(x.t, err)
			return neutral
		}
		m, ok := x.macros[n.Name]
		require.True(x.t, ok, "macro %s", n.Name)
		return m
	case *condition.Binary:
		if l, ok := n.Right.(*condition.List); ok {
			return &condition.Binary{Left: n.Left, Op: n.Op, Right: &condition.List{Values: x.flat(l.Values)}}
		}
	}
	return e
}

func (x *extractor) flat(values []string) []string {
	var out []string
	for _, v := range values {
		if items, ok := x.lists[v]; ok {
			out = append(out, x.flat(items)...)
		} else {
			out = append(out, v)
		}
	}
	return out
}

// events names the events that a condition asks for, by the names that whole
// compares evt.type with.
func (x *extractor) events(e, whole condition.Expr) stock.Events {
	set := func(e condition.Expr) condition.EventTypes {
		s, err := x.lang.NeededEventTypes(e)
		require.NoError(x.t, err)
		return s
	}
	named := func(names []string, not bool) condition.EventTypes {
		text := "evt.type in (" + strings.Join(names, ",") + ")"
		if not {
			text = "not " + text
		}
		e, err := x.lang.Parse(text)
		require.NoError(x.t, err)
		return set(e)
	}
	want := set(e)
	var in, out []string
	condition.Walk(whole, func(e condition.Expr) bool {
		b, ok := e.(*condition.Binary)
		if !ok {
			return true
		}
		if f, ok := b.Left.(*condition.Field); !ok || f.Name != "evt.type" {
			return false
		}
		var names []string
		switch r := b.Right.(type) {
		case *condition.Value:
			names = []string{r.Value}
		case *condition.List:
			names = r.Values
		}
		for _, n := range names {
			s := named([]string{n}, false)
			if want.Contains(s) && !slices.Contains(in, n) {
				in = append(in, n)
			} else if !want.Intersects(s) && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
		return false
	})
	for _, events := range []stock.Events{{Not: true, Names: out}, {Names: in}} {
		if named(events.Names, events.Not) == want {
			return events
		}
	}
	x.t.Fatalf("the events of %s cannot be named: %v, all but %v", whole, in, out)
	return stock.Events{}
}

const header = `# What is known of the rules %s that Falco's image carries (falcosecurity/rules, file falco_rules.yaml): names and kinds, no text.
# Made by: STOCK_RULES=FOLDER UPDATE=1 go test ./falco/stock -run TestTheDataIsThatOfTheRealRules
# Columns: kind, name, then of a list the kinds of its items; of macros and rules the events of the condition and of its negation
# (* all, ! all but), the macros that it requires, other macros, the checks that lists are used in; of rules also source,
# priority, enabled, tags and exceptions (name:fields:comparisons).
`

func TestTheDataIsThatOfTheRealRules(t *testing.T) {
	for _, v := range falco.Versions() {
		t.Run(v.Number, func(t *testing.T) {
			var b strings.Builder
			fmt.Fprintf(&b, header, v.Rules)
			for _, f := range extract(t, v, realRules(t, v)) {
				b.WriteString(f.String() + "\n")
			}
			path := filepath.Join("data", v.Rules+".tsv")
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
			}
			have, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, b.String(), string(have))
		})
	}
}
