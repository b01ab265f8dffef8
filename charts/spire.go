package charts

import (
	"fmt"
	"strconv"
	"strings"
)

// SPIRE is a chart of SPIRE with what belongs to it.
type SPIRE struct {
	Chart
	// CRDs is the version of the chart spire-crds that goes with it.
	CRDs string
	// ImageTag is the tag of the images of server and agent where the stack pins a newer patch release than the chart's
	// own; empty elsewhere.
	ImageTag string
}

// ResolveSPIRE is Resolve for the chart of SPIRE.
func ResolveSPIRE(version string) (SPIRE, error) {
	c, err := Resolve(SPIREName, version)
	if err != nil {
		return SPIRE{}, err
	}
	r, _ := find(SPIREName, c.Version)
	s := SPIRE{Chart: c, CRDs: r.crds}
	if r.pinned {
		s.ImageTag = r.runs
	}
	return s, nil
}

// CheckSPIREUpgrade reports why a release of the chart spire may not go from one version to the other in one step, and
// names the next step. SPIRE's server starts on the data of the same, the previous and the next minor release only, and
// the chart supports no upgrade over more than one minor of its own. Versions that are no releases are not judged.
func CheckSPIREUpgrade(from, to string) error {
	a, ok := chartMinor(from)
	b, known := chartMinor(to)
	if !ok || !known || b-a >= -1 && b-a <= 1 {
		return nil
	}
	step := a + 1
	if b < a {
		step = a - 1
	}
	next := ""
	for _, v := range Supported(SPIREName) {
		if m, _ := chartMinor(v); m == step {
			next = v // the newest of its minor comes last
		}
	}
	if next == "" {
		return fmt.Errorf("chart spire %s is installed, and %s is more than one minor version away, which SPIRE does not support; "+
			"this stack has no chart of the minor between", from, to)
	}
	return fmt.Errorf("chart spire %s is installed, and SPIRE never skips a minor version on the way to %s: "+
		"set spire.chartVersion to %s first, bring the stack up, and then go on", from, to, next)
}

// chartMinor is the minor number of a version 0.MINOR.PATCH; the chart of SPIRE has no other versions.
func chartMinor(version string) (int, bool) {
	parts := strings.Split(version, ".")
	if len(parts) != 3 || parts[0] != "0" {
		return 0, false
	}
	minor, err := strconv.Atoi(parts[1])
	return minor, err == nil && minor >= 0
}
