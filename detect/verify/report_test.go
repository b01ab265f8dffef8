package verify

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/report/reporttest"
)

func TestNothingOfAReportReachesATerminalRaw(t *testing.T) {
	t.Parallel()
	quoted, err := json.Marshal(reporttest.Hostile)
	require.NoError(t, err)
	alert := json.RawMessage(`{"rule":` + string(quoted) + `,"priority":"Critical","output":` + string(quoted) + `}`)
	r := &Report{
		Run: reporttest.Hostile, Context: reporttest.Hostile, Interrupted: true,
		Checks: []Check{{Name: reporttest.Hostile, Detail: reporttest.Hostile}},
		Quiet:  &Quiet{FalsePositives: []json.RawMessage{alert, json.RawMessage(quoted)}, Problems: []string{reporttest.Hostile}, Done: []string{reporttest.Hostile}, Skipped: []string{reporttest.Hostile}},
	}
	for _, outcome := range []Outcome{Passed, Failed, Errored, Skipped} {
		r.Scenarios = append(r.Scenarios, Result{
			ID: reporttest.Hostile, Title: reporttest.Hostile, Rule: reporttest.Hostile, Priority: reporttest.Hostile, Pod: reporttest.Hostile,
			Outcome: outcome, Detail: reporttest.Hostile, Alert: alert,
		})
	}
	var shown, asJSON, asXML bytes.Buffer
	lines := table{out: &shown}
	for _, s := range r.Scenarios {
		lines.row(s)
	}
	lines.rest(r)
	require.NoError(t, r.WriteJSON(&asJSON))
	require.NoError(t, r.WriteJUnit(&asXML))
	for _, out := range []string{shown.String(), asJSON.String(), asXML.String()} {
		reporttest.Harmless(t, out)
		assert.NotEmpty(t, out)
	}
	assert.Contains(t, shown.String(), reporttest.Shown)
	var back any
	require.NoError(t, json.Unmarshal(asJSON.Bytes(), &back))
	require.NoError(t, xml.Unmarshal(asXML.Bytes(), &struct{}{}))
}
