// Package charts is the one table of Helm charts that the stack installs: where each comes from, which versions were
// published, which of them this stack knows how to configure, and which Falco a chart installs.
package charts

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"spire-falco/falco"
)

// Chart repositories.
const (
	FalcoRepository = "https://falcosecurity.github.io/charts"
	SPIRERepository = "https://spiffe.github.io/helm-charts-hardened/"
)

// Names of the charts in their repositories.
const (
	FalcoName         = "falco"
	FalcosidekickName = "falcosidekick"
	SPIREName         = "spire"
	SPIRECRDsName     = "spire-crds"
)

// DefaultFalcoVersion is the Falco chart version that users ask for and see. It was never published: Resolve takes
// 4.19.0 in its place, and says so.
const DefaultFalcoVersion = "4.19.4"

// Chart is one published version of one Helm chart.
type Chart struct {
	// Name of the chart in its repository.
	Name string
	// Repository is the URL that serves the repository's index.yaml.
	Repository string
	// Requested is the version that the settings ask for.
	Requested string
	// Version is the published version that is installed. It differs from Requested only where Warning says why.
	Version string
	// AppVersion is the version of the software that is installed.
	AppVersion string
	// Warning says in one sentence why Version is not Requested; empty when they are equal.
	Warning string
}

// Falco is a chart of Falco with the Falco that it installs.
type Falco struct {
	Chart
	// Falco is the release that the chart installs, with its number and everything that is true of it.
	Falco falco.Version
	// ByContract is set for a published version that this project never ran: its rendered objects are held to the
	// contract of package contract when the chart is at hand.
	ByContract bool
}

// oldestByContract is the oldest chart of Falco that may be taken by contract.
const oldestByContract = "4.19.0"

// row is one version of a chart that this stack has values for.
type row struct {
	version string
	// runs is the release of the software that runs from the chart; empty where it is the appVersion of the index.
	runs string
	// pinned is set where the stack makes the chart run another patch release than its own: runs.
	pinned bool
	// crds is the version of the chart spire-crds that was published with a chart of SPIRE.
	crds string
}

// supported has the versions of each chart, oldest first. The last is the default, except for Falco.
//
// The appVersion that the index gives for the charts of SPIRE from 0.29.0 on and of Falcosidekick from 0.13.1 on is
// stale: runs is what their images say. Patch releases of SPIRE are pinned where they fix vulnerabilities that the
// chart's own release has, as far as the CHANGELOG of the Go module v1.15.3 lists them:
//   - 1.13.4: requests that an attestor sends to hosts of the attacker's choice, and its use of CPU time.
//   - 1.14.7: join tokens that two agents can use, and two attestors that accept forged documents. The resumption of
//     TLS sessions that skips the validation of the peer's chain was fixed in 1.14.3, never in 1.13.
//   - 1.15.3: dependencies with known vulnerabilities (1.15.2) and a newer Go.
var supported = map[string]struct {
	repository string
	rows       []row
}{
	// The newest chart of every Falco minor, and of 0.40 also the one that DefaultFalcoVersion resolves to.
	FalcoName: {FalcoRepository, []row{
		{version: "4.19.0"},
		{version: "4.21.3"},
		{version: "6.4.1"},
		{version: "7.2.1"},
		{version: "8.0.5"},
		{version: "9.1.0"},
	}},
	FalcosidekickName: {FalcoRepository, []row{
		{version: "0.9.11"},
		{version: "0.10.2"},
		{version: "0.13.1", runs: "2.32.0"},
		{version: "0.14.0", runs: "2.32.0"},
	}},
	// The newest chart of every minor, and 0.27.0, from which running stacks come.
	SPIREName: {SPIRERepository, []row{
		{version: "0.27.0", crds: "0.5.0"},
		{version: "0.27.1", crds: "0.5.0", runs: "1.13.4", pinned: true},
		{version: "0.28.4", crds: "0.5.0", runs: "1.14.7", pinned: true},
		{version: "0.29.0", crds: "0.5.0", runs: "1.15.3", pinned: true},
		{version: "0.30.0", crds: "0.6.0", runs: "1.15.3", pinned: true},
	}},
	SPIRECRDsName: {SPIRERepository, []row{{version: "0.5.0"}, {version: "0.6.0"}}},
}

// superseded are versions that users name and that cannot be installed, what is taken instead, and why.
var superseded = map[string]map[string]struct{ version, why string }{
	FalcoName: {
		DefaultFalcoVersion: {"4.19.0", "was never published; its release line has 4.19.0 alone, which is taken instead"},
		// Its pod template has the volumes inside the condition of falcoctl.artifact.install.enabled.
		"4.22.0": {"6.4.1", "mounts volumes that it does not define when falcoctl is off; 6.4.1, with the newest Falco 0.41, is taken instead"},
		// Falco 0.41.0 with plugin 0.2.4: fixed in that minor only as far as 0.41.3.
		"5.0.1": {"6.4.1", "brings Falco 0.41.0, whose container plugin 0.2.4 crashes; 6.4.1, with the newest Falco 0.41, is taken instead"},
	},
}

//go:embed published.json
var publishedJSON []byte

type publishedChart struct {
	Version    string `json:"version"`
	AppVersion string `json:"appVersion"`
}

// published is read when it is first asked for: most programs that import this package never do.
var published = sync.OnceValue(func() map[string][]publishedChart {
	var doc struct {
		Charts map[string][]publishedChart `json:"charts"`
	}
	if err := json.Unmarshal(publishedJSON, &doc); err != nil {
		panic(fmt.Sprintf("charts: published.json: %v", err)) // embedded at build time: a programming error
	}
	return doc.Charts
})

// Default is the version of the named chart that is used when the settings name none.
func Default(name string) string {
	if name == FalcoName {
		return DefaultFalcoVersion
	}
	rows := supported[name].rows
	return rows[len(rows)-1].version
}

// Supported lists the versions of the named chart that this stack has values for, oldest first.
func Supported(name string) []string {
	var versions []string
	for _, r := range supported[name].rows {
		versions = append(versions, r.version)
	}
	return versions
}

// find is the row of a version of the named chart; ok is false when this stack has no values for it.
func find(name, version string) (r row, ok bool) {
	i := slices.IndexFunc(supported[name].rows, func(r row) bool { return r.version == version })
	if i < 0 {
		return row{}, false
	}
	return supported[name].rows[i], true
}

// Published tells whether the repository's index has that version of the named chart.
func Published(name, version string) bool {
	_, ok := appVersion(name, version)
	return ok
}

// Resolve finds the chart that the settings ask for. The error names a version that was never published with its
// published neighbours, and one that this stack has no values for with those it has.
func Resolve(name, version string) (Chart, error) {
	c, tested, err := resolve(name, version)
	if err == nil && !tested {
		err = untested(name, version)
	}
	return c, err
}

// resolve is Resolve, but takes any published version and reports whether it is in the table.
func resolve(name, version string) (c Chart, tested bool, err error) {
	s, ok := supported[name]
	if !ok {
		return Chart{}, false, fmt.Errorf("chart %q is not one of this stack's", name)
	}
	c = Chart{Name: name, Repository: s.repository, Requested: version, Version: version}
	if other, ok := superseded[name][version]; ok {
		c.Version = other.version
		c.Warning = fmt.Sprintf("chart %s %s %s", name, version, other.why)
	}
	app, ok := appVersion(name, c.Version)
	if !ok {
		return Chart{}, false, fmt.Errorf("chart %s %q was never published; published next to it: %s; this stack supports %s",
			name, version, strings.Join(neighbours(name, version), ", "), strings.Join(Supported(name), ", "))
	}
	c.AppVersion = app
	r, tested := find(name, c.Version)
	if r.runs != "" {
		c.AppVersion = r.runs
	}
	return c, tested, nil
}

func untested(name, version string) error {
	return fmt.Errorf("chart %s %q is published, but this stack's values were not checked against it; supported: %s",
		name, version, strings.Join(Supported(name), ", "))
}

// ResolveFalco is Resolve for the chart of Falco, with the Falco that it installs. It also takes any other published
// version from 4.19.0 on whose Falco is known, marked ByContract and with a warning.
func ResolveFalco(version string) (Falco, error) {
	c, tested, err := resolve(FalcoName, version)
	if err != nil {
		return Falco{}, err
	}
	release, err := falco.Lookup(c.AppVersion)
	if err != nil || falco.CompareReleases(c.Version, oldestByContract) < 0 {
		return Falco{}, untested(FalcoName, version)
	}
	if !tested {
		c.Warning = fmt.Sprintf("chart falco %s (Falco %s) was never run by this project: its rendered objects are only checked by contract",
			c.Version, c.AppVersion)
	}
	return Falco{Chart: c, Falco: release, ByContract: !tested}, nil
}

// SupportedFalco is the charts of Falco in the table, oldest first.
func SupportedFalco() []Falco {
	var all []Falco
	for _, v := range Supported(FalcoName) {
		f, err := ResolveFalco(v)
		if err != nil {
			panic(fmt.Sprintf("charts: %v", err)) // a fault in the table, which every test run meets
		}
		all = append(all, f)
	}
	return all
}

// NewestFalco is the newest chart of Falco in the table.
func NewestFalco() Falco {
	all := SupportedFalco()
	return all[len(all)-1]
}

// CheckNode reports why f does not run on a node with that Linux release (as uname -r prints it) and container runtime
// (as the node's status has it, such as containerd://2.1.4; empty when not known), and names the oldest supported chart
// that does.
func (f Falco) CheckNode(kernel, runtime string) error {
	why, err := f.trouble(kernel, runtime)
	if err != nil || why == "" {
		return err
	}
	for _, other := range SupportedFalco() {
		if otherwise, err := other.trouble(kernel, runtime); err == nil && otherwise == "" {
			return fmt.Errorf("%s; chart %s (Falco %s) works there", why, other.Version, other.AppVersion)
		}
	}
	return errors.New(why)
}

func (f Falco) trouble(kernel, runtime string) (string, error) {
	loads, err := f.Falco.ProbeLoads(kernel)
	if err != nil {
		return "", fmt.Errorf("check the kernel: %w", err)
	}
	if !loads {
		return fmt.Sprintf("the modern eBPF probe of Falco %s (chart %s) does not load on Linux %s (it needs %s)",
			f.AppVersion, f.Version, kernel, f.Falco.KernelRange()), nil
	}
	release, ok := strings.CutPrefix(runtime, "containerd://")
	if below := f.Falco.BelowContainerd; ok && below != "" && falco.CompareReleases(release, below) >= 0 {
		return fmt.Sprintf("the container plugin %s of Falco %s (chart %s) crashes with containerd %s (it needs one below %s)",
			f.Falco.ContainerPlugin, f.AppVersion, f.Version, release, below), nil
	}
	return "", nil
}

func appVersion(name, version string) (string, bool) {
	for _, p := range published()[name] {
		if p.Version == version {
			return p.AppVersion, true
		}
	}
	return "", false
}

// neighbours lists up to two published versions below the one asked for and two above it, lowest first.
func neighbours(name, version string) []string {
	var all []string
	for _, p := range published()[name] {
		all = append(all, p.Version)
	}
	slices.SortFunc(all, falco.CompareReleases)
	at := sort.Search(len(all), func(i int) bool { return falco.CompareReleases(all[i], version) >= 0 })
	return all[max(0, at-2):min(len(all), at+2)]
}
