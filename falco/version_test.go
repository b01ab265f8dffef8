package falco_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
)

func TestVersionsAreInOrderAndWhole(t *testing.T) {
	all := falco.Versions()
	require.Len(t, all, 5)
	for i, v := range all {
		assert.NotEmpty(t, v.Engine, v.Number)
		assert.NotEmpty(t, v.Rules, v.Number)
		assert.Equal(t, v.AtLeast("0.41"), v.ContainerPlugin != "", "the container plugin came with 0.41: %s", v.Number)
		if i > 0 {
			assert.Positive(t, falco.CompareReleases(v.Number, all[i-1].Number))
			assert.Positive(t, falco.CompareReleases(v.Engine, all[i-1].Engine))
		}
	}
	assert.Equal(t, "0.44.1", falco.Newest().Number)
}

func TestLookup(t *testing.T) {
	for _, tt := range []struct{ number, row, err string }{
		{number: "0.44.1", row: "0.44.1"},
		{number: "0.44.0", row: "0.44.1"},
		{number: "0.41.1", row: "0.41.3"},
		{number: "0.39.2", err: `unknown Falco version "0.39.2"; known: 0.40.0, 0.41.3, 0.42.1, 0.43.1, 0.44.1`},
		{number: "0.45.0", err: "unknown Falco version"},
		{number: "1.44.1", err: "unknown Falco version"},
		{number: "0.44", err: "unknown Falco version"},
		{number: "0.x.1", err: "unknown Falco version"},
		{number: "", err: "unknown Falco version"},
	} {
		t.Run(tt.number, func(t *testing.T) {
			v, err := falco.Lookup(tt.number)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.number, v.Number)
			assert.Equal(t, tt.row, v.Row())
		})
	}
}

func TestProbeLoads(t *testing.T) {
	for _, tt := range []struct {
		version, kernel string
		loads           bool
		err             string
	}{
		{version: "0.40.0", kernel: "6.14.9-generic", loads: true},
		{version: "0.40.0", kernel: "6.15.0"},
		{version: "0.40.0", kernel: "5.7.1"},
		{version: "0.41.3", kernel: "6.18.44", loads: true},
		{version: "0.43.1", kernel: "6.19.0-rc1"},
		{version: "0.44.1", kernel: "7.0.1", loads: true},
		{version: "0.44.1", kernel: "v6", err: `kernel release "v6" does not begin with MAJOR.MINOR`},
		{version: "0.44.1", kernel: "6.x", err: "does not begin with MAJOR.MINOR"},
	} {
		t.Run(tt.version+" on "+tt.kernel, func(t *testing.T) {
			v, err := falco.Lookup(tt.version)
			require.NoError(t, err)
			loads, err := v.ProbeLoads(tt.kernel)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.loads, loads)
		})
	}
}

func TestParsePriority(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want falco.Priority
	}{
		{"EMERGENCY", falco.PriorityEmergency},
		{"Alert", falco.PriorityAlert},
		{"critical", falco.PriorityCritical},
		{"error", falco.PriorityError},
		{"Warning", falco.PriorityWarning},
		{"notice", falco.PriorityNotice},
		{"info", falco.PriorityInformational},
		{"INFORMATIONAL", falco.PriorityInformational},
		{"debug", falco.PriorityDebug},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := falco.ParsePriority(tt.in)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			again, err := falco.ParsePriority(got.Setting())
			require.NoError(t, err)
			assert.Equal(t, got, again)
		})
	}
	_, err := falco.ParsePriority("severe")
	require.EqualError(t, err, `unknown priority "severe"; must be one of emergency, alert, critical, error, warning, notice, informational, debug`)
	assert.Equal(t, "Priority(9)", falco.Priority(9).String())
}
