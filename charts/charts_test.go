package charts

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
)

func TestTheVersionThatUsersNameResolvesToTheOnlyReleaseOfItsLineWithAReason(t *testing.T) {
	f, err := ResolveFalco(DefaultFalcoVersion)
	require.NoError(t, err)
	assert.Equal(t, "4.19.4", f.Requested)
	assert.Equal(t, "4.19.0", f.Version)
	assert.Equal(t, "0.40.0", f.AppVersion)
	assert.Contains(t, f.Warning, "4.19.4 was never published")
}

func TestAVersionThatCannotBeInstalledResolvesToTheNewestOfItsFalco(t *testing.T) {
	for version, why := range map[string]string{
		"4.22.0": "mounts volumes that it does not define",
		"5.0.1":  "container plugin 0.2.4 crashes",
	} {
		t.Run(version, func(t *testing.T) {
			f, err := ResolveFalco(version)
			require.NoError(t, err)
			assert.Equal(t, "6.4.1", f.Version)
			assert.Equal(t, "0.41.3", f.AppVersion)
			assert.False(t, f.ByContract)
			assert.Contains(t, f.Warning, why)
		})
	}
}

func TestEveryFalcoMinorHasItsNewestChart(t *testing.T) {
	newest := map[string]string{}
	for _, p := range published()[FalcoName] {
		if v, err := falco.Lookup(p.AppVersion); err == nil && !strings.Contains(p.AppVersion, "-") &&
			falco.CompareReleases(p.Version, newest[v.Row()]) > 0 {
			newest[v.Row()] = p.Version
		}
	}
	for _, v := range falco.Versions() {
		assert.Contains(t, Supported(FalcoName), newest[v.Number], "Falco %s", v.Number)
	}
}

func TestAnyOtherPublishedChartFrom419IsTakenByContract(t *testing.T) {
	for version, app := range map[string]string{"4.20.1": "0.40.0", "6.2.0": "0.41.3", "7.0.0": "0.42.0", "9.0.0": "0.44.0"} {
		t.Run(version, func(t *testing.T) {
			f, err := ResolveFalco(version)
			require.NoError(t, err)
			assert.True(t, f.ByContract)
			assert.Equal(t, app, f.Falco.Number)
			assert.Equal(t, "chart falco "+version+" (Falco "+app+") was never run by this project: its rendered objects are only checked by contract", f.Warning)
		})
	}
}

func TestEverySupportedVersionIsPublished(t *testing.T) {
	for name := range supported {
		for _, v := range Supported(name) {
			c, err := Resolve(name, v)
			require.NoError(t, err, "%s %s", name, v)
			assert.Empty(t, c.Warning)
			assert.NotEmpty(t, c.AppVersion)
		}
		_, err := Resolve(name, Default(name))
		require.NoError(t, err)
	}
	for _, f := range SupportedFalco() {
		assert.Equal(t, f.AppVersion, f.Falco.Number)
		assert.Equal(t, f.AppVersion, f.Falco.Row(), "the table has the releases of the supported charts")
		assert.False(t, f.ByContract)
	}
}

func TestAnUnknownVersionIsAnErrorThatHelps(t *testing.T) {
	for _, tt := range []struct{ name, chart, version, want string }{
		{"unpublished between two lines", FalcoName, "4.19.5", "4.18.0, 4.19.0, 4.20.0, 4.20.1"},
		{"newer than all", FalcoName, "99.0.0", "9.0.0, 9.1.0"},
		{"older than all", FalcosidekickName, "0.0.0", "published next to it"},
		{"published, not supported", FalcoName, "4.18.0", "supported: 4.19.0, 4.21.3, 6.4.1, 7.2.1, 8.0.5, 9.1.0"},
		{"no version", SPIREName, "", "was never published"},
		{"not a version", SPIREName, "latest", `chart spire "latest" was never published`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Resolve(tt.chart, tt.version)
			require.ErrorContains(t, err, tt.want)
			if tt.chart == FalcoName {
				_, err := ResolveFalco(tt.version)
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

func TestANodeOnWhichFalcoDoesNotRunIsRefusedWithTheChartThatWorks(t *testing.T) {
	for _, tt := range []struct{ chart, kernel, runtime, want string }{
		{chart: "4.19.0", kernel: "6.8.0-45-generic", runtime: "containerd://2.3.1"},
		{chart: "4.19.0", kernel: "6.14.11", runtime: "docker://28.0.1"},
		{chart: "4.19.0", kernel: "6.15.0", runtime: "containerd://1.7.29", want: "does not load on Linux 6.15.0 (it needs 5.8 up to, not including, 6.15); chart 6.4.1 (Falco 0.41.3) works there"},
		{chart: "4.19.0", kernel: "6.18.44", runtime: "containerd://2.3.0", want: "; chart 9.1.0 (Falco 0.44.1) works there"},
		{chart: "6.4.1", kernel: "6.18.44", runtime: "containerd://2.2.9"},
		{chart: "6.4.1", kernel: "6.18.44", runtime: "cri-o://1.34.0"},
		{chart: "6.4.1", kernel: "6.8.0", runtime: "containerd://2.3.0", want: "the container plugin 0.3.1 of Falco 0.41.3 (chart 6.4.1) crashes with containerd 2.3.0 (it needs one below 2.3); chart 4.19.0 (Falco 0.40.0) works there"},
		{chart: "8.0.5", kernel: "6.18.44", runtime: "containerd://2.10.0", want: "chart 9.1.0 (Falco 0.44.1) works there"},
		{chart: "8.0.5", kernel: "6.19.0", want: "chart 9.1.0 (Falco 0.44.1) works there"},
		{chart: "9.1.0", kernel: "7.0.0-rc1", runtime: "containerd://2.3.1"},
		{chart: "9.1.0", kernel: "5.4.0", want: "does not load on Linux 5.4.0 (it needs 5.8 or newer)"},
		{chart: "9.1.0", kernel: "linux", want: "does not begin with MAJOR.MINOR"},
	} {
		t.Run(tt.chart+" on "+tt.kernel+" "+tt.runtime, func(t *testing.T) {
			f, err := ResolveFalco(tt.chart)
			require.NoError(t, err)
			err = f.CheckNode(tt.kernel, tt.runtime)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestAChartOfSPIREHasItsCRDsAndTheReleaseThatItRuns(t *testing.T) {
	for _, tt := range []struct{ version, crds, runs, tag string }{
		{"0.27.0", "0.5.0", "1.13.0", ""},
		{"0.27.1", "0.5.0", "1.13.4", "1.13.4"},
		{"0.28.4", "0.5.0", "1.14.7", "1.14.7"},
		{"0.29.0", "0.5.0", "1.15.3", "1.15.3"},
		{"0.30.0", "0.6.0", "1.15.3", "1.15.3"},
	} {
		t.Run(tt.version, func(t *testing.T) {
			s, err := ResolveSPIRE(tt.version)
			require.NoError(t, err)
			assert.Equal(t, tt.crds, s.CRDs)
			assert.Equal(t, tt.runs, s.AppVersion)
			assert.Equal(t, tt.tag, s.ImageTag)
			assert.Contains(t, Supported(SPIRECRDsName), s.CRDs)
		})
	}
	assert.Equal(t, "0.30.0", Default(SPIREName))
	newest, err := ResolveSPIRE(Default(SPIREName))
	require.NoError(t, err)
	assert.Equal(t, Default(SPIRECRDsName), newest.CRDs)
	_, err = ResolveSPIRE("0.28.0")
	require.ErrorContains(t, err, "supported: 0.27.0, 0.27.1, 0.28.4, 0.29.0, 0.30.0")
}

func TestAnUpgradeOfSPIREThatSkipsAMinorIsRefusedWithTheNextStep(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"0.27.0", "0.27.1", ""},
		{"0.27.0", "0.28.4", ""},
		{"0.28.4", "0.27.0", ""},
		{"0.29.0", "0.30.0", ""},
		{"0.27.0", "0.30.0", "set spire.chartVersion to 0.28.4 first"},
		{"0.27.1", "0.29.0", "set spire.chartVersion to 0.28.4 first"},
		{"0.28.0", "0.30.0", "set spire.chartVersion to 0.29.0 first"},
		{"0.30.0", "0.27.1", "set spire.chartVersion to 0.29.0 first"},
		{"0.24.5", "0.30.0", "this stack has no chart of the minor between"},
		{"1.0.0", "0.30.0", ""},
		{"latest", "0.30.0", ""},
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			err := CheckSPIREUpgrade(tt.from, tt.to)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestFalcosidekickIsTheReleaseOfItsImageAndNotOfTheIndex(t *testing.T) {
	c, err := Resolve(FalcosidekickName, Default(FalcosidekickName))
	require.NoError(t, err)
	assert.Equal(t, "0.14.0", c.Version)
	assert.Equal(t, "2.32.0", c.AppVersion)
}
