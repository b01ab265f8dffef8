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
	t.Helper()
	scanner := bufio.NewScanner(openGzip(t, "parity/events.jsonl.gz"))
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

func recordedConditions(t testing.TB) []recordedCondition {
	t.Helper()
	var conditions []recordedCondition
	require.NoError(t, json.NewDecoder(openGzip(t, "parity/conditions.json.gz")).Decode(&conditions))
	return conditions
}

func TestParityWithFalco(t *testing.T) {
	t.Parallel()
	events, matches := recordedEvents(t)
	conditions := recordedConditions(t)
	layout := &condition.Layout{}
	programs := make([]*condition.Program, len(conditions))
	for i, c := range conditions {
		e, err := falco040.Parse(c.Condition)
		require.NoError(t, err, c.Condition)
		programs[i], _, err = falco040.CompileInto(layout, e)
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
	require.Equal(t, 122800, verdicts)
	require.Zero(t, disagreements)
}
