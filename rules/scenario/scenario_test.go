package scenario

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco/condition"
	"spire-falco/report"
)

// event makes an event of plain values.
func event(t *testing.T, fields map[string]any) condition.Event {
	t.Helper()
	out := map[string]condition.EventValue{}
	for f, x := range fields {
		v, err := value(x)
		require.NoError(t, err)
		out[f] = v
	}
	return condition.NewEvent(out)
}

// plain is the reverse of event.
func plain(e condition.Event) map[string]any {
	out := map[string]any{}
	for f, v := range e.Fields() {
		out[f] = v.Any()
	}
	return out
}

func TestLoad(t *testing.T) {
	t.Parallel()
	all, err := Load()
	require.NoError(t, err)
	byGroup := map[Group]int{}
	names := map[string]bool{}
	for _, s := range all {
		byGroup[s.Group]++
		assert.NotEmpty(t, s.Events, s.Name)
		id := string(s.Group) + s.Recording + s.Name
		assert.False(t, names[id], "two scenarios %q", s.Name)
		names[id] = true
		nums := map[int64]bool{}
		for _, e := range s.Events {
			n := Num(e)
			require.Positive(t, n, s.Name)
			assert.False(t, nums[n], "%s: two events %d", s.Name, n)
			nums[n] = true
		}
	}
	assert.Equal(t, 36, byGroup[Recording])
	assert.Equal(t, 119, byGroup[Act])
	assert.Equal(t, 19, byGroup[Bypass])
	assert.Equal(t, 9, byGroup[Guide])
	assert.Greater(t, byGroup[Derived], 100)
}

func TestLoad_has_every_recording_of_the_manifests(t *testing.T) {
	t.Parallel()
	all, err := Load()
	require.NoError(t, err)
	for file, group := range map[string]Group{"testdata/manifest.json": Recording, "testdata/acts.json": Act} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var manifest struct {
			Scenarios []struct {
				ID     string `json:"id"`
				Kind   string `json:"kind"`
				Events int    `json:"events"`
			} `json:"scenarios"`
		}
		require.NoError(t, json.Unmarshal(b, &manifest))
		got := map[string]Scenario{}
		for _, s := range all {
			if s.Group == group {
				got[s.Recording] = s
			}
		}
		assert.Len(t, got, len(manifest.Scenarios))
		for _, m := range manifest.Scenarios {
			if group == Recording {
				assert.Len(t, got[m.ID].Events, m.Events, m.ID)
			}
			assert.NotEmpty(t, got[m.ID].Events, m.ID)
			assert.Equal(t, m.Kind == "benign", got[m.ID].Benign, m.ID)
		}
	}
}

// Nothing is silent without a reason, and no reason is given for what fires.
func TestLoad_says_why_an_attack_is_not_seen(t *testing.T) {
	t.Parallel()
	all, err := Load()
	require.NoError(t, err)
	unseen := map[Group]int{}
	for _, s := range all {
		if s.Group != Act && s.Group != Bypass || s.Benign {
			continue
		}
		assert.Equal(t, len(s.Want) == 0, s.Unseen, s.Recording)
		if s.Unseen {
			unseen[s.Group]++
			assert.NotEmpty(t, s.Note, s.Recording)
		}
	}
	assert.Equal(t, map[Group]int{Act: 15, Bypass: 1}, unseen)
}

func TestLoad_derived_events(t *testing.T) {
	t.Parallel()
	base := event(t, map[string]any{"evt.num": 7, "evt.type": "open", "fd.name": "/a", "gone": "x"})
	all, err := load([]byte(`
derived:
  - name: two forms
    from: {recording: R, event: 7}
    fires: Some Rule
    set: {evt.failed: true, fd.num: -1}
    unset: [gone]
    each:
      - {fd.name: /b}
      - {evt.type: openat}
  - name: a near miss
    from: {recording: R, event: 7}
    fires: ""
`), map[string][]condition.Event{"R": {base}}, Recording)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Len(t, all[0].Events, 2)
	assert.Equal(t, map[string]any{"evt.num": int64(1), "evt.type": "open", "fd.name": "/b", "evt.failed": true, "fd.num": int64(-1)}, plain(all[0].Events[0]))
	assert.Equal(t, map[string]any{"evt.num": int64(2), "evt.type": "openat", "fd.name": "/a", "evt.failed": true, "fd.num": int64(-1)}, plain(all[0].Events[1]))
	assert.Equal(t, []Alert{{"Some Rule", 1}, {"Some Rule", 2}}, all[0].Want)
	assert.Len(t, all[1].Events, 1)
	assert.Empty(t, all[1].Want)
	assert.Equal(t, map[string]any{"evt.num": int64(7), "evt.type": "open", "fd.name": "/a", "gone": "x"}, plain(base), "the recorded event stays as it was")
}

func TestLoad_refuses(t *testing.T) {
	t.Parallel()
	events := map[string][]condition.Event{"R": {event(t, map[string]any{"evt.num": 7})}}
	for name, tc := range map[string]struct{ table, want string }{
		"an unknown key":                {"recordings:\n  - recoding: R\n", "recoding"},
		"a recording that is not there": {"recordings:\n  - {recording: X, name: n}\n", `no recording "X"`},
		"an alert on no event":          {"recordings:\n  - {recording: R, name: n, alerts: {Rule: [8]}}\n", `no event 8 for rule "Rule"`},
		"a guide test on no event":      {"guide:\n  - {recording: R, name: n, alerts: {Rule: [9]}}\n", "no event 9"},
		"a derived event from nothing":  {"derived:\n  - {name: n, from: {recording: R, event: 1}}\n", "has no event 1"},
		"a value that no field has":     {"derived:\n  - {name: n, from: {recording: R, event: 7}, set: {fd.name: [x]}}\n", "field fd.name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load([]byte(tc.table), events, Recording)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	evs, err := ReadEvents(strings.NewReader("{\"evt.num\":1,\"b\":true,\"c\":\"x\"}\n\n{\"evt.num\":2}\n"))
	require.NoError(t, err)
	require.Len(t, evs, 2)
	assert.Equal(t, map[string]any{"evt.num": int64(1), "b": true, "c": "x"}, plain(evs[0]))
	assert.Equal(t, int64(2), Num(evs[1]))
	assert.Zero(t, Num(condition.Event{}))

	_, err = ReadEvents(strings.NewReader("{}\n{\n"))
	require.ErrorContains(t, err, "line 2")
	_, err = readRecordings([]byte("no archive"))
	require.ErrorContains(t, err, "open the recordings")
}

func results(t *testing.T) []Result {
	t.Helper()
	scenarios := []Scenario{
		{Group: Recording, Recording: "A1", Name: "good", Events: []condition.Event{event(t, map[string]any{"evt.num": 1}), event(t, map[string]any{"evt.num": 2})}, Want: []Alert{{"R", 2}}},
		{Group: Guide, Name: "missed & <odd>", Events: []condition.Event{event(t, map[string]any{"evt.num": 1})}, Want: []Alert{{"R", 1}}},
		{Group: Derived, Name: "too much", Events: []condition.Event{event(t, map[string]any{"evt.num": 2})}},
	}
	got, err := Run(scenarios, func(e condition.Event) (string, error) {
		if Num(e) == 2 {
			return "R", nil
		}
		return "", nil
	})
	require.NoError(t, err)
	return got
}

func TestRun(t *testing.T) {
	t.Parallel()
	got := results(t)
	assert.True(t, got[0].Passed())
	assert.Equal(t, []string{`missing: "R" on event 1`}, got[1].Problems())
	assert.Equal(t, []string{`not wanted: "R" on event 2`}, got[2].Problems())
	assert.Equal(t, 2, Failed(got))

	_, err := Run([]Scenario{{Group: Guide, Name: "n", Events: []condition.Event{event(t, map[string]any{"evt.num": 3})}}}, func(condition.Event) (string, error) { return "", errors.New("boom") })
	assert.EqualError(t, err, `guide "n": event 3: boom`)
}

func TestWriteTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, WriteTable(&b, results(t)))
	assert.Equal(t, `RESULT  GROUP      EVENTS  ALERTS  SCENARIO
ok      recording  2       1       A1: good
FAIL    guide      1       0       missed & <odd>
                                     missing: "R" on event 1
FAIL    derived    1       1       too much
                                     not wanted: "R" on event 2
3 scenarios, 2 failed
`, b.String())
}

func TestWriteJUnit(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	require.NoError(t, WriteJUnit(&b, results(t)))
	var suites report.JUnit
	require.NoError(t, xml.Unmarshal(b.Bytes(), &suites))
	require.Len(t, suites.Suites, 3)
	assert.Equal(t, "rules.guide", suites.Suites[1].Name)
	assert.Equal(t, 1, suites.Suites[1].Tests)
	assert.Equal(t, 1, suites.Suites[1].Failures)
	assert.Equal(t, "missed & <odd>", suites.Suites[1].Cases[0].Name)
	assert.Equal(t, `missing: "R" on event 1`, suites.Suites[1].Cases[0].Failure.Text)
	assert.Nil(t, suites.Suites[0].Cases[0].Failure)
	assert.Contains(t, b.String(), `name="A1: good"`)
}
