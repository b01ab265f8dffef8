package charts

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheVersionThatUsersNameResolvesToTheOnlyReleaseOfItsLineWithAReason(t *testing.T) {
	f, err := ResolveFalco(DefaultFalcoVersion)
	require.NoError(t, err)
	assert.Equal(t, "4.19.4", f.Requested)
	assert.Equal(t, "4.19.0", f.Version)
	assert.Equal(t, "0.40.0", f.AppVersion)
	assert.Contains(t, f.Warning, "4.19.4 was never published")
}

func TestAVersionThatCannotBeInstalledResolvesToOneWithTheSameFalco(t *testing.T) {
	f, err := ResolveFalco("4.22.0")
	require.NoError(t, err)
	assert.Equal(t, "5.0.1", f.Version)
	assert.Equal(t, "0.41.0", f.AppVersion)
	assert.Contains(t, f.Warning, "mounts volumes that it does not define")
}

func TestEverySupportedVersionIsPublished(t *testing.T) {
	for name, s := range supported {
		for _, v := range s.versions {
			c, err := Resolve(name, v)
			require.NoError(t, err, "%s %s", name, v)
			assert.Empty(t, c.Warning)
			assert.NotEmpty(t, c.AppVersion)
		}
		_, err := Resolve(name, Default(name))
		require.NoError(t, err)
	}
	for _, v := range supported[FalcoName].versions {
		f, err := ResolveFalco(v)
		require.NoError(t, err)
		assert.NotEmpty(t, f.Engine)
		assert.NotEmpty(t, f.Rules)
	}
}

func TestAnUnknownVersionIsAnErrorThatHelps(t *testing.T) {
	for _, tt := range []struct{ name, chart, version, want string }{
		{"unpublished between two lines", FalcoName, "4.19.5", "4.18.0, 4.19.0, 4.20.0, 4.20.1"},
		{"newer than all", FalcoName, "99.0.0", "9.0.0, 9.1.0"},
		{"older than all", FalcosidekickName, "0.0.0", "published next to it"},
		{"published, not supported", FalcoName, "5.0.0", "supported: 4.19.0, 5.0.1, 9.1.0"},
		{"no version", SPIREName, "", "was never published"},
		{"not a version", SPIREName, "latest", `chart spire "latest" was never published`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Resolve(tt.chart, tt.version)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestAKernelOnWhichTheProbeDoesNotLoadIsRefusedWithTheChartThatWorks(t *testing.T) {
	for _, tt := range []struct{ chart, kernel, want string }{
		{"4.19.0", "6.8.0-45-generic", ""},
		{"4.19.0", "6.14.11", ""},
		{"4.19.0", "6.15.0", "chart 5.0.1 (Falco 0.41.0) does"},
		{"4.19.0", "6.18.44", "chart 5.0.1 (Falco 0.41.0) does"},
		{"4.22.0", "6.18.44", ""},
		{"9.1.0", "7.0.0-rc1", ""},
		{"9.1.0", "5.4.0", "5.8 or newer"},
		{"9.1.0", "linux", "does not begin with MAJOR.MINOR"},
		{"9.1.0", "6.x", "does not begin with MAJOR.MINOR"},
	} {
		t.Run(tt.chart+" on "+tt.kernel, func(t *testing.T) {
			f, err := ResolveFalco(tt.chart)
			require.NoError(t, err)
			err = f.CheckKernel(tt.kernel)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}
