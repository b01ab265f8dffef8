package detection_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/falco/clauses"
	"spire-falco/falco/condition"
	"spire-falco/rules"
	"spire-falco/rules/scenario"
)

// otherNamespace is a change that only events of a second namespace notice: the exceptions that the settings make name the namespace
// once more than the rule's own condition does. TestMutation_of_namespaces has two.
const otherNamespace = "without k8s.ns.name = mtls"

// severalNamespaces are the rules with such exceptions, and how many there are of the default workloads.
var severalNamespaces = map[string]int{shellRule: 2, childRule: 2, portRule: 1, egressRule: 3}

// unnoticed are the changes that no event can notice, by rule: a cheap question before a costly one that answers it too.
var unnoticed = map[string][]string{
	escapeRule: {
		"without (fd.name contains /root or fd.name contains /cwd)", "without fd.name contains /fd/",
		"without (evt.args contains /root or evt.args contains /cwd or evt.args contains /fd/)",
	},
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
			by, all, err := clauses.Noticed(condition.For(recordedBy()), r.Expr, events, nil)
			require.NoError(t, err)
			require.Greater(t, len(all), 5)
			var survivors []string
			near := 0
			for i, m := range all {
				switch {
				case by[i] < 0:
					survivors = append(survivors, m.What)
				case strings.HasPrefix(m.What, "without ") && !base[by[i]]:
					near++
				}
			}
			assert.Positive(t, near, "no near miss: no event that only one clause keeps from firing")
			before := len(survivors)
			survivors = slices.DeleteFunc(survivors, func(what string) bool { return what == otherNamespace })
			assert.Equal(t, severalNamespaces[r.Name], before-len(survivors), otherNamespace)
			assert.ElementsMatch(t, unnoticed[r.Name], survivors, "no scenario notices these changes to the rule (of %d)", len(all))
		})
	}
}

// With a workload in a second namespace, the events of the first moved there notice every change to the namespace of an exception.
func TestMutation_of_namespaces(t *testing.T) {
	t.Parallel()
	in := rules.DefaultInputs()
	// Names are the labels, so both namespaces have the same; what one may connect to is declared, not derived from peers.
	in.Workloads[0].Peers = nil
	for _, to := range []config.Endpoint{{Port: 8443, Protocol: "tcp"}, {Port: 53, Protocol: "udp"}, {Port: 53, Protocol: "tcp"}} {
		to.CIDR = "0.0.0.0/0"
		in.Workloads[1].Egress = append(in.Workloads[1].Egress, to)
	}
	in.Workloads = append(in.Workloads, config.Workload{Name: "mtls-server", Namespace: "shop", Port: 9443, Executable: "/orders"},
		config.Workload{Name: "mtls-client", Namespace: "shop", Executable: "/stock"})
	rendered, err := rules.Render(in)
	require.NoError(t, err)
	all, err := scenario.Load()
	require.NoError(t, err)
	var moved []condition.Event
	for _, e := range distinct(all) {
		if e.Text("k8s.ns.name") == "mtls" {
			fields := maps.Clone(e.Fields())
			fields["k8s.ns.name"] = condition.StringValue("shop")
			moved = append(moved, condition.NewEvent(fields))
		}
	}
	require.NotEmpty(t, moved)
	for _, r := range load(t, rendered.Files()).rules() {
		if severalNamespaces[r.Name] == 0 {
			continue
		}
		noticed := 0
		base := matches(t, r.Expr, moved)
		for _, m := range clauses.Mutants(r.Expr) {
			if m.What == otherNamespace && !slices.Equal(base, matches(t, m.Expr, moved)) {
				noticed++
			}
		}
		assert.Equal(t, severalNamespaces[r.Name], noticed, r.Name)
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
