package scenario

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// liveAct is an act done on a real cluster under a real Falco, and what fired.
type liveAct struct {
	Act  string `yaml:"act"`
	What string `yaml:"what"`
	// Rule that the act is to fire.
	Rule string `yaml:"rule"`
	// Fired is how often each of our rules fired while the act was done.
	Fired map[string]int `yaml:"fired"`
	// Unseen says why Rule did not fire.
	Unseen string `yaml:"unseen"`
}

func liveActs(t *testing.T) []liveAct {
	t.Helper()
	b, err := os.ReadFile("testdata/live.yaml")
	require.NoError(t, err)
	var run struct {
		Acts []liveAct `yaml:"acts"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(&run))
	return run.Acts
}

func TestAnActThatFiredNothingLiveHasAReason(t *testing.T) {
	t.Parallel()
	acts := liveActs(t)
	assert.GreaterOrEqual(t, len(acts), 54)
	known := map[string]bool{}
	all, err := Load()
	require.NoError(t, err)
	for _, s := range all {
		for _, a := range s.Want {
			known[a.Rule] = true
		}
	}
	ids, live := map[string]bool{}, map[string]bool{}
	for _, a := range acts {
		assert.False(t, ids[a.Act], "two acts %q", a.Act)
		ids[a.Act] = true
		assert.True(t, known[a.Rule], "%s: no scenario fires a rule %q", a.Act, a.Rule)
		assert.Equal(t, a.Fired[a.Rule] == 0, a.Unseen != "", "%s: a reason is given for what did not fire, and for nothing else", a.Act)
		live[a.Rule] = live[a.Rule] || a.Fired[a.Rule] > 0
	}
	for rule := range known {
		assert.True(t, live[rule], "%q never fired live", rule)
	}
}

// Written anew by make generate.
func TestTheTableOfLiveActsInTheDocsIsThatOfTheData(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "live.md")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	const begin, end = "<!-- acts: begin -->\n", "<!-- acts: end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	want := before + begin + liveTable(liveActs(t)) + end + after
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	assert.Equal(t, want, string(text), "run: make generate")
}

func liveTable(acts []liveAct) string {
	fired := 0
	for _, a := range acts {
		if a.Fired[a.Rule] > 0 {
			fired++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d acts; the wanted rule fired at %d.\n\n| act | what was done | rule | fired |\n|---|---|---|---|\n", len(acts), fired)
	for _, a := range acts {
		result := "yes"
		if a.Unseen != "" {
			result = "no: " + a.Unseen
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", a.Act, a.What, a.Rule, result)
	}
	return b.String()
}
