package ruletest_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco/ruletest"
)

// withException has an or, an exception of two rows and a list.
const withException = `
- macro: writes
  condition: evt.type = open and evt.is_open_write = true
- rule: First
  desc: d
  condition: writes and (fd.name startswith /etc/ or fd.name startswith /usr/)
  output: o
  priority: INFO
  exceptions:
    - name: e
      fields: [proc.name, fd.name]
      comps: [in, =]
      values:
        - [[vi, ed], /etc/motd]
        - [[apt], /etc/hosts]
- rule: Second
  desc: d
  condition: writes and fd.name endswith .key
  output: o
  priority: INFO
`

// measured runs cases of withException; each is what fires and the fields of its event.
func measured(t *testing.T, head string, cases ...string) []*ruletest.Result {
	t.Helper()
	text := head + "rules: [e.yaml]\ncases:\n"
	for i, c := range cases {
		text += fmt.Sprintf("  - {name: c%d, %s}\n", i, c)
	}
	r := suite(t, text, map[string]string{"e.yaml": withException})
	require.Empty(t, problems(r))
	return []*ruletest.Result{r}
}

const (
	write   = "event: {evt.type: open, evt.is_open_write: true, fd.name: "
	etc     = write + "/etc/x}, fires: [First]"
	usr     = write + "/usr/x}, fires: [First]"
	other   = write + "/tmp/x}, fires: []"
	excused = write + "/etc/motd, proc.name: vi}, fires: []"
	key     = write + "/tmp/x.key}, fires: [Second]"
	hidden  = write + "/etc/x.key}, fires: [First]"
)

func TestCoverNamesWhatNeverDecided(t *testing.T) {
	t.Parallel()
	asked := []string{"3:14 evt.type = open", "3:34 evt.is_open_write = true"}
	motd := []string{"14:12 proc.name in (vi, ed)", "14:22 fd.name = /etc/motd"}
	hosts := []string{"15:12 proc.name in (apt)", "15:19 fd.name = /etc/hosts"}
	second := append(slices.Clone(asked), "18:25 fd.name endswith .key")
	for name, tt := range map[string]struct {
		cases []string
		fired int
		want  []string
	}{
		"one branch of an or": {
			[]string{etc},
			1,
			slices.Concat([]string{"6:54 fd.name startswith /usr/"}, motd, hosts, second),
		},
		"both branches":                              {[]string{etc, usr, key}, 2, slices.Concat(motd, hosts)},
		"a row of the exception that silences":       {[]string{etc, usr, excused, key}, 2, hosts},
		"a rule behind another that takes the event": {[]string{etc, usr, hidden}, 1, slices.Concat(motd, hosts, second)},
		"a near miss decides too":                    {[]string{other, key}, 1, slices.Concat(asked, motd, hosts)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := ruletest.Cover(measured(t, "", tt.cases...))
			assert.Equal(t, tt.fired, c.Fired())
			var undecided []string
			for _, r := range c.Rules {
				for _, cl := range r.Clauses {
					if !cl.Decided() {
						assert.Equal(t, "e.yaml", filepath.Base(cl.File))
						undecided = append(undecided, fmt.Sprintf("%d:%d %s", cl.Line, cl.Column, cl.Clause))
					}
				}
			}
			assert.Equal(t, tt.want, undecided)
			all, decided := c.Clauses()
			assert.Equal(t, 11, all)
			assert.Equal(t, all-len(tt.want), decided)
			assert.InDelta(t, 100*float64(decided)/float64(all), c.Percent(), 1e-9)
		})
	}
}

func TestMutateNamesWhatNoCaseNotices(t *testing.T) {
	t.Parallel()
	survivors := func(results []*ruletest.Result) (out []string) {
		m, err := ruletest.Mutate(results)
		require.NoError(t, err)
		for _, s := range m.Rules[1].Survivors {
			out = append(out, fmt.Sprintf("%s:%d:%d %s", filepath.Base(s.File), s.Line, s.Column, s.Change))
		}
		return out
	}
	const (
		noType  = "event: {evt.type: unlink, evt.is_open_write: true, fd.name: /tmp/x.key}, fires: []"
		reading = "event: {evt.type: open, evt.is_open_write: false, fd.name: /tmp/x.key}, fires: []"
	)
	assert.Equal(t, []string{
		"e.yaml:3:14 without (evt.type = open and evt.is_open_write = true)", "e.yaml:3:14 without evt.type = open",
		"e.yaml:3:34 without evt.is_open_write = true", "e.yaml:18:25 without fd.name endswith .key",
	}, survivors(measured(t, "", key)))
	assert.Empty(t, survivors(measured(t, "", key, other, noType, reading)))
	assert.Equal(t, []string{"e.yaml:18:25 without fd.name endswith .key"}, survivors(measured(t, "", key, noType, reading, etc)),
		"what the first rule takes, the second does not see")
	assert.Empty(t, survivors(measured(t, "matching: all\n", key, noType, reading, other)))
}

func TestSeveralTestFilesOfOneRuleAreMeasuredTogether(t *testing.T) {
	t.Parallel()
	r := measured(t, "", etc, key)[0]
	again := ruletest.Run(r.Suite, func(name string) bool { return name == "c0" })
	first := ruletest.Run(r.Suite, func(name string) bool { return name == "c1" })
	both := ruletest.Cover([]*ruletest.Result{again, first})
	assert.Equal(t, ruletest.Cover([]*ruletest.Result{r}), both)
	apart, err := ruletest.Mutate([]*ruletest.Result{again, first})
	require.NoError(t, err)
	together, err := ruletest.Mutate([]*ruletest.Result{r})
	require.NoError(t, err)
	assert.Equal(t, together, apart)
}
