package detection_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco/condition"
	"spire-falco/rules"
	"spire-falco/rules/scenario"
)

// redundant are the changes that no event can tell, by rule: the settings-made exceptions name the namespace once more than the rule's own
// condition does, which matters as soon as there are workloads in two namespaces. TestSettings has two.
var redundant = map[string][]string{
	shellRule:  {"without k8s.ns.name = mtls"},
	childRule:  {"without k8s.ns.name = mtls"},
	portRule:   {"without k8s.ns.name = mtls"},
	egressRule: {"without k8s.ns.name = mtls", "without k8s.ns.name = mtls", "without k8s.ns.name = mtls"},
}

// mutant is one small change to a condition.
type mutant struct {
	what string
	expr condition.Expr
}

// mutants returns every condition that differs from e in one clause: left out, turned around, or without one item of a list.
func mutants(e condition.Expr) []mutant {
	var out []mutant
	children := func(nodes []condition.Expr, join func([]condition.Expr) condition.Expr) {
		for i, n := range nodes {
			rest := slices.Concat(nodes[:i], nodes[i+1:])
			without := rest[0]
			if len(rest) > 1 {
				without = join(rest)
			}
			out = append(out, mutant{"without " + n.String(), without})
			for _, m := range mutants(n) {
				changed := slices.Clone(nodes)
				changed[i] = m.expr
				out = append(out, mutant{m.what, join(changed)})
			}
		}
	}
	switch n := e.(type) {
	case *condition.And:
		children(n.Children, func(c []condition.Expr) condition.Expr { return &condition.And{Children: c} })
	case *condition.Or:
		children(n.Children, func(c []condition.Expr) condition.Expr { return &condition.Or{Children: c} })
	case *condition.Not:
		out = append(out, mutant{"turned " + n.String(), n.Child})
		for _, m := range mutants(n.Child) {
			out = append(out, mutant{m.what, &condition.Not{Child: m.expr}})
		}
	case *condition.Binary:
		out = append(out, mutant{"turned " + n.String(), &condition.Not{Child: n}})
		if list, ok := n.Right.(*condition.List); ok && len(list.Values) > 1 {
			for i, v := range list.Values {
				short := *list // which is compiled with the places of its values
				short.Values = slices.Concat(list.Values[:i], list.Values[i+1:])
				changed := *n
				changed.Right = &short
				out = append(out, mutant{fmt.Sprintf("%s without %s", n.String(), v), &changed})
			}
		}
	default: // a unary check
		out = append(out, mutant{"turned " + e.String(), &condition.Not{Child: e}})
	}
	return out
}

// Deleting or turning around any single clause of any rule, in its macros, lists and exceptions too, changes what it says about some event of
// the scenarios.
func TestMutation(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("judges thousands of events per clause")
	}
	all, err := scenario.Load()
	require.NoError(t, err)
	events := distinct(all)
	for _, r := range load(t, rules.Static()).rules() {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			base := matches(t, r.Expr, events)
			// Events that the rule is about come first: most mutants show there.
			lang := condition.For(recordedBy())
			needed, err := lang.NeededEventTypes(r.Expr)
			require.NoError(t, err)
			order := make([]int, len(events))
			for i := range order {
				order[i] = i
			}
			about := func(i int) int {
				switch {
				case base[i]:
					return 0
				case needed.Intersects(lang.EventTypesOf(events[i].Text("evt.type"))):
					return 1
				default:
					return 2
				}
			}
			slices.SortStableFunc(order, func(a, b int) int { return about(a) - about(b) })

			all := mutants(r.Expr)
			require.Greater(t, len(all), 5)
			var survivors []string
			near := 0
			for _, m := range all {
				p, _, err := lang.Compile(m.expr)
				require.NoError(t, err, m.what)
				c := p.Layout().NewContext()
				noticed := slices.IndexFunc(order, func(i int) bool {
					c.Reset(events[i])
					return p.Match(c) != base[i]
				})
				switch {
				case noticed < 0:
					survivors = append(survivors, m.what)
				case strings.HasPrefix(m.what, "without ") && !base[order[noticed]]:
					near++
				}
			}
			assert.Positive(t, near, "no near miss: no event that only one clause keeps from firing")
			assert.ElementsMatch(t, redundant[r.Name], survivors, "no scenario notices these changes to the rule (of %d)", len(all))
		})
	}
}

// distinct returns the events of all scenarios, each once but for its number and time.
func distinct(all []scenario.Scenario) []condition.Event {
	seen := map[string]bool{}
	var out []condition.Event
	for _, s := range all {
		for _, e := range s.Events {
			fields := e.Fields()
			names := make([]string, 0, len(fields))
			for f := range fields {
				if f != "evt.num" && f != "evt.rawtime" {
					names = append(names, f)
				}
			}
			slices.Sort(names)
			var key strings.Builder
			for _, f := range names {
				fmt.Fprintf(&key, "%s=%s\x00", f, fields[f])
			}
			if k := key.String(); !seen[k] {
				seen[k] = true
				out = append(out, e)
			}
		}
	}
	return out
}

func matches(t *testing.T, e condition.Expr, events []condition.Event) []bool {
	t.Helper()
	p, warnings, err := condition.For(recordedBy()).Compile(e)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	c := p.Layout().NewContext()
	out := make([]bool, len(events))
	for i, ev := range events {
		c.Reset(ev)
		out[i] = p.Match(c)
	}
	return out
}
