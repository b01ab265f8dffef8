package detection_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco/ruletest"
	"spire-falco/rules"
)

// The scenarios as a test file: every case passes, and falcorules' mutation gives what the mutation test here gives.
func TestScenariosAsATestFile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("judges thousands of events per clause")
	}
	dir := t.TempDir()
	var text strings.Builder
	fmt.Fprintf(&text, "falco: %s\nrules:\n", recordedBy().Number)
	for _, f := range rules.Static() {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f.Name), []byte(f.Content), 0o600))
		fmt.Fprintf(&text, "  - %s\n", f.Name)
	}
	text.WriteString("cases:\n")
	for i, s := range scenarios(t) {
		var recording strings.Builder
		for _, e := range s.Events {
			fields := map[string]any{}
			for name, v := range e.Fields() {
				fields[name] = v.Any()
			}
			line, err := json.Marshal(fields)
			require.NoError(t, err)
			recording.Write(append(line, '\n'))
		}
		name := fmt.Sprintf("%d.jsonl", i)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(recording.String()), 0o600))
		fires := map[string]int{}
		for _, a := range s.Want {
			fires[a.Rule]++
		}
		var alerts []string
		for rule, n := range fires {
			alerts = append(alerts, fmt.Sprintf("{rule: %q, count: %d}", rule, n))
		}
		fmt.Fprintf(&text, "  - {name: %q, recording: %s, fires: [%s]}\n", fmt.Sprintf("%d %s", i, s.Name), name, strings.Join(alerts, ", "))
	}
	path := filepath.Join(dir, "scenarios_test.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))

	r := ruletest.Run(ruletest.Read(path, ruletest.Overrides{}), nil)
	require.Empty(t, r.Problems)
	for i := range r.Cases {
		c := &r.Cases[i]
		assert.Equal(t, ruletest.Passed, c.Outcome, "%s: %v %s", c.Name, c.Problems, c.Diff())
	}
	cover := ruletest.Cover([]*ruletest.Result{r})
	assert.Equal(t, len(cover.Rules), cover.Fired())
	m, err := ruletest.Mutate([]*ruletest.Result{r})
	require.NoError(t, err)
	assert.Empty(t, m.NotMeasured)
	for _, rule := range m.Rules {
		var survivors []string
		namespaces := 0
		for _, s := range rule.Survivors {
			if s.Change == otherNamespace {
				namespaces++
				continue
			}
			survivors = append(survivors, s.Change)
		}
		assert.ElementsMatch(t, unnoticed[rule.Rule], survivors, rule.Rule)
		assert.Equal(t, severalNamespaces[rule.Rule], namespaces, rule.Rule)
	}
	t.Logf("%d cases, %.1f %% of clauses decided, %.1f %% of changes noticed", len(r.Cases), cover.Percent(), m.Percent())
}
