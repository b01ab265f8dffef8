package charts

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/repo"

	"spire-falco/charts"
	"spire-falco/charts/contract"
	"spire-falco/config"
	"spire-falco/engine/helm"
)

// repository serves charts of CHARTS_DIR as a Helm repository.
func repository(t *testing.T, versions ...string) string {
	t.Helper()
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	for _, v := range versions {
		from := filepath.Join(directory, charts.FalcoName+"-"+v, charts.FalcoName)
		if _, err := os.Stat(from); err != nil {
			t.Skipf("CHARTS_DIR has no falco %s: not checked that a preview can hold it to the contract", v)
		}
		chart, err := loader.Load(from)
		require.NoError(t, err)
		// The subcharts come with the chart that its repository serves; here they are off and not at hand.
		chart.Metadata.Dependencies, chart.Lock = nil, nil
		_, err = chartutil.Save(chart, dir)
		require.NoError(t, err)
	}
	index, err := repo.IndexDirectory(dir, server.URL)
	require.NoError(t, err)
	require.NoError(t, index.WriteFile(filepath.Join(dir, "index.yaml"), 0o600))
	return server.URL
}

// TestTheHelmCLIRendersAChartOfARepository is what a preview does with a chart that this project never ran.
func TestTheHelmCLIRendersAChartOfARepository(t *testing.T) {
	t.Parallel()
	if strings.Contains(","+os.Getenv("SPIRE_FALCO_SKIP")+",", ",helm,") {
		t.Skip("SPIRE_FALCO_SKIP=helm: not checked that the Helm CLI renders as the library does")
	}
	url := repository(t, "9.0.0", "5.0.0")
	cli, err := helm.Build(t.Context(), filepath.Join("..", ".."), os.Stderr)
	require.NoError(t, err)
	for version, broken := range map[string]string{"9.0.0": "", "5.0.0": "which is no volume of the pod"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			chart := resolve(t, version)
			chart.Repository = url
			_, release, run := render(t, "falco-release", falco(map[string]string{"falco.chartVersion": version}))
			given, ok := release.Get("values").(map[string]any)
			require.True(t, ok)
			objects, err := contract.Render(t.Context(), cli, contract.Release{
				Chart: chart.Chart, Name: config.FalcoRelease, Namespace: "falco", Values: given,
			})
			require.NoError(t, err)
			err = contract.Check(objects, wanted(t, release, run, chart))
			if broken == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, broken)
		})
	}
	t.Run("a_version_that_the_repository_does_not_have", func(t *testing.T) {
		t.Parallel()
		chart := resolve(t, "7.0.0")
		chart.Repository = url
		_, err := contract.Render(t.Context(), cli, contract.Release{Chart: chart.Chart, Name: config.FalcoRelease})
		require.ErrorIs(t, err, contract.ErrNoChart)
		assert.ErrorContains(t, err, "7.0.0")
	})
}
