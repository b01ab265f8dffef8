package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
	"spire-falco/charts/contract"
	"spire-falco/config"
	"spire-falco/gotool"
	"spire-falco/rules"
)

// planOf is the plan of a stack with that chart of Falco.
func planOf(t *testing.T, chart string) *plan {
	t.Helper()
	s, err := config.Load(config.Source{Stack: "test", Values: map[string]string{"enableFalco": "true", "falco.chartVersion": chart}})
	require.NoError(t, err)
	rendered, err := rules.RenderSettings(s, t.TempDir())
	require.NoError(t, err)
	return &plan{loaded: &loaded{settings: s}, rules: rendered}
}

func TestOnlyAChartThatWasNeverRunIsCheckedByContract(t *testing.T) {
	t.Parallel()
	never := func(context.Context, contract.Release) ([]map[string]any, error) {
		return nil, errors.New("this chart needs no check")
	}
	line, err := checkContract(t.Context(), planOf(t, "9.1.0"), never)
	require.NoError(t, err)
	assert.Empty(t, line)
	p := planOf(t, "9.0.0")
	p.settings.EnableFalco = false
	line, err = checkContract(t.Context(), p, never)
	require.NoError(t, err)
	assert.Empty(t, line)
}

func TestAChartThatBreaksTheContractIsRefused(t *testing.T) {
	t.Parallel()
	var asked contract.Release
	empty := func(_ context.Context, r contract.Release) ([]map[string]any, error) {
		asked = r
		return nil, nil
	}
	p := planOf(t, "9.0.0")
	_, err := checkContract(t.Context(), p, empty)
	require.ErrorContains(t, err, "chart falco 9.0.0 breaks what this stack promises")
	require.ErrorContains(t, err, "makes no DaemonSet falco")
	_, err = previewContract(t.Context(), p, empty)
	require.ErrorContains(t, err, "makes no DaemonSet falco")
	assert.Equal(t, "9.0.0", asked.Chart.Version)
	assert.Equal(t, charts.FalcoRepository, asked.Chart.Repository)
	assert.Equal(t, "falco", asked.Namespace)
	assert.Contains(t, fmt.Sprint(asked.Values["mounts"]), p.rules.Hash[:12], "rendered with the rules of the stack")
}

func TestAPreviewSaysThatAChartCouldNotBeHadAndUpRefusesIt(t *testing.T) {
	t.Parallel()
	gone := func(context.Context, contract.Release) ([]map[string]any, error) {
		return nil, fmt.Errorf("%w: no such host", contract.ErrNoChart)
	}
	p := planOf(t, "9.0.0")
	line, err := previewContract(t.Context(), p, gone)
	require.NoError(t, err)
	assert.Contains(t, line, "chart falco 9.0.0 was never run and NOT checked by contract")
	assert.Contains(t, line, "no such host")
	_, err = checkContract(t.Context(), p, gone)
	require.ErrorIs(t, err, contract.ErrNoChart)
	broken := func(context.Context, contract.Release) ([]map[string]any, error) {
		return nil, errors.New("does not render")
	}
	_, err = previewContract(t.Context(), p, broken)
	require.ErrorContains(t, err, "does not render")
}

func TestTheLineOfTheContractStandsInForTheWarningOfTheSettings(t *testing.T) {
	t.Parallel()
	assert.Empty(t, planOf(t, "9.0.0").warnings())
	assert.Len(t, planOf(t, "4.19.4").warnings(), 1, "other warnings stay")
}

// installed is a stack with these charts.
type installed map[string]string

func (i installed) Releases(context.Context) (map[string]string, error) {
	if i == nil {
		return nil, errors.New("no state")
	}
	return i, nil
}

func TestAnInstalledSPIREIsUpgradedMinorByMinor(t *testing.T) {
	t.Parallel()
	load := func(set map[string]string) *config.Settings {
		s, err := config.Load(config.Source{Stack: "test", Values: set})
		require.NoError(t, err)
		return s
	}
	newest, next := load(nil), load(map[string]string{"spire.chartVersion": "0.28.4"})
	require.NoError(t, checkUpgrade(t.Context(), newest, installed{}), "nothing is installed")
	require.NoError(t, checkUpgrade(t.Context(), newest, installed{"spire": "0.29.0"}))
	require.NoError(t, checkUpgrade(t.Context(), next, installed{"spire": "0.27.0"}))
	err := checkUpgrade(t.Context(), newest, installed{"spire": "0.27.0"})
	require.ErrorContains(t, err, "chart spire 0.27.0 is installed")
	require.ErrorContains(t, err, "set spire.chartVersion to 0.28.4 first")
	require.ErrorContains(t, checkUpgrade(t.Context(), newest, installed(nil)), "no state")
	newest.SPIRE.Install = false
	require.NoError(t, checkUpgrade(t.Context(), newest, installed(nil)), "the cluster's own SPIRE is left alone")
}

func TestWithoutHelmNothingIsKnownOfAChart(t *testing.T) {
	t.Setenv(gotool.CacheVariable, t.TempDir())
	p := planOf(t, "9.0.0")
	none := &target{} // its folder has no tools/helm
	none.Dir = t.TempDir()
	line, err := previewContract(t.Context(), p, none.render(io.Discard))
	require.NoError(t, err)
	assert.Contains(t, line, "NOT checked by contract")
	_, err = checkContract(t.Context(), p, none.render(io.Discard))
	require.ErrorContains(t, err, "find the pinned version of helm")
}
