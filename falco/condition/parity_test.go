package condition_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/condition"
)

// falco040 is the language of Falco 0.40.0, which gave the verdicts of the parity data.
var falco040 = languageOf("0.40.0")

func languageOf(number string) *condition.Language {
	v, err := falco.Lookup(number)
	if err != nil {
		panic(err)
	}
	return condition.For(v)
}

func openGzip(t testing.TB, name string) io.Reader {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	return z
}

// recordedEvents returns the events of the parity data with the conditions
// that matched each of them in Falco.
func recordedEvents(t testing.TB) (events []condition.Event, matches [][]int) {
	return eventsOf(t, "parity")
}

func eventsOf(t testing.TB, dir string) (events []condition.Event, matches [][]int) {
	t.Helper()
	scanner := bufio.NewScanner(openGzip(t, dir+"/events.jsonl.gz"))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line struct {
			Event   json.RawMessage `json:"event"`
			Matches []int           `json:"matches"`
		}
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line))
		ev, err := condition.ParseEvent(line.Event)
		require.NoError(t, err)
		events = append(events, ev)
		matches = append(matches, line.Matches)
	}
	require.NoError(t, scanner.Err())
	return events, matches
}

type recordedCondition struct {
	ID        int    `json:"id"`
	Condition string `json:"condition"`
}

func recordedConditions(t testing.TB) []recordedCondition { return conditionsOf(t, "parity") }

func conditionsOf(t testing.TB, dir string) []recordedCondition {
	t.Helper()
	var conditions []recordedCondition
	require.NoError(t, json.NewDecoder(openGzip(t, dir+"/conditions.json.gz")).Decode(&conditions))
	return conditions
}

// The verdicts of 0.40.0 were given by Falco on live events. Those of 0.44.1 were given by its library, libs 0.25.4, on
// events of the captures that its sources carry (test/libsinsp_e2e/resources/captures), read and brought to the newest
// event versions by that library; fields are as it prints them as JSON.
func TestConditionsMatchTheEventsThatTheyMatchInFalco(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		falco, dir string
		verdicts   int
	}{
		{"0.40.0", "parity", 122_800},
		{"0.44.1", "parity-0.44.1", 399_300},
	} {
		t.Run(tt.falco, func(t *testing.T) {
			t.Parallel()
			events, matches := eventsOf(t, tt.dir)
			conditions := conditionsOf(t, tt.dir)
			lang, layout := languageOf(tt.falco), &condition.Layout{}
			programs := make([]*condition.Program, len(conditions))
			for i, c := range conditions {
				e, err := lang.Parse(c.Condition)
				require.NoError(t, err, c.Condition)
				programs[i], _, err = lang.CompileInto(layout, e)
				require.NoError(t, err, c.Condition)
			}
			ctx := layout.NewContext()
			verdicts, disagreements := 0, 0
			for k, ev := range events {
				want := map[int]bool{}
				for _, id := range matches[k] {
					want[id] = true
				}
				ctx.Reset(ev)
				for i, c := range conditions {
					verdicts++
					if got := programs[i].Match(ctx); got != want[c.ID] {
						disagreements++
						if disagreements <= 20 {
							t.Errorf("event %d, condition %d: %s: Falco says %v, we say %v", k, c.ID, c.Condition, want[c.ID], got)
						}
					}
				}
			}
			t.Logf("%d verdicts, %d disagreements", verdicts, disagreements)
			require.GreaterOrEqual(t, verdicts, tt.verdicts)
			require.Zero(t, disagreements)
		})
	}
}
