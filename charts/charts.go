// Package charts is the one table of Helm charts that the stack installs: where each comes from, which versions were
// published, which of them this stack knows how to configure, and what each Falco chart brings with it.
package charts

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
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
	// AppVersion is the version of the software that the chart installs by default.
	AppVersion string
	// Warning says in one sentence why Version is not Requested; empty when they are equal.
	Warning string
}

// Falco is what a Falco chart brings with it.
type Falco struct {
	Chart
	// Engine is the version of the rule engine, from falco_engine_version.h of that Falco.
	Engine string
	// Rules is the version of falco-rules that the image carries, from rules.cmake of that Falco.
	Rules string
	// MinKernel is the first Linux release (major.minor) on which the modern eBPF probe loads.
	MinKernel string
	// BelowKernel is the first Linux release (major.minor) on which the probe does not load any more; empty if none is
	// known. Falco 0.40 stops at 6.15: "failed to resolve CO-RE relocation ... kernfs_node.parent".
	BelowKernel string
	// ContainerPlugin tells that container metadata comes from the container plugin (since Falco 0.41), so that the
	// chart has collectors.containerEngine in place of one collector for each runtime.
	ContainerPlugin bool
}

// minKernel is where the modern eBPF probe starts: it needs BPF ring buffers (Linux 5.8).
const minKernel = "5.8"

var supportedFalco = map[string]Falco{
	"4.19.0": {Engine: "0.46.0", Rules: "3.2.0", MinKernel: minKernel, BelowKernel: "6.15"},
	"5.0.1":  {Engine: "0.50.0", Rules: "4.0.0", MinKernel: minKernel, ContainerPlugin: true},
	"9.1.0":  {Engine: "0.62.0", Rules: "5.1.0", MinKernel: minKernel, ContainerPlugin: true},
}

var supported = map[string]struct {
	repository string
	versions   []string // oldest first; the first is the default
}{
	FalcoName:         {FalcoRepository, []string{"4.19.0", "5.0.1", "9.1.0"}},
	FalcosidekickName: {FalcoRepository, []string{"0.9.11", "0.10.2"}},
	SPIREName:         {SPIRERepository, []string{"0.27.0"}},
	SPIRECRDsName:     {SPIRERepository, []string{"0.5.0"}},
}

// superseded are versions that users name and that cannot be installed, what stands in for them, and why.
var superseded = map[string]map[string]struct{ version, why string }{
	FalcoName: {
		DefaultFalcoVersion: {"4.19.0", "was never published; its release line has 4.19.0 alone, which is taken instead"},
		// Its pod template has the volumes inside the condition of falcoctl.artifact.install.enabled.
		"4.22.0": {"5.0.1", "mounts volumes that it does not define when falcoctl is off; 5.0.1, with the same Falco, is taken instead"},
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
	return supported[name].versions[0]
}

// Supported lists the versions of the named chart that this stack has values for, oldest first.
func Supported(name string) []string {
	return append([]string(nil), supported[name].versions...)
}

// Published tells whether the repository's index has that version of the named chart.
func Published(name, version string) bool {
	_, ok := appVersion(name, version)
	return ok
}

// Resolve finds the chart that the settings ask for. It errs on a version that was never published, listing its
// published neighbours, and on one that this stack has no values for.
func Resolve(name, version string) (Chart, error) {
	s, ok := supported[name]
	if !ok {
		return Chart{}, fmt.Errorf("chart %q is not one of this stack's", name)
	}
	c := Chart{Name: name, Repository: s.repository, Requested: version, Version: version}
	if other, ok := superseded[name][version]; ok {
		c.Version = other.version
		c.Warning = fmt.Sprintf("chart %s %s %s", name, version, other.why)
	}
	app, ok := appVersion(name, c.Version)
	if !ok {
		return Chart{}, fmt.Errorf("chart %s %q was never published; published next to it: %s; this stack supports %s",
			name, version, strings.Join(neighbours(name, version), ", "), strings.Join(s.versions, ", "))
	}
	c.AppVersion = app
	for _, v := range s.versions {
		if v == c.Version {
			return c, nil
		}
	}
	return Chart{}, fmt.Errorf("chart %s %q is published, but this stack's values were not checked against it; supported: %s",
		name, version, strings.Join(s.versions, ", "))
}

// ResolveFalco is Resolve for the Falco chart, with what that chart brings.
func ResolveFalco(version string) (Falco, error) {
	c, err := Resolve(FalcoName, version)
	if err != nil {
		return Falco{}, err
	}
	f := supportedFalco[c.Version]
	f.Chart = c
	return f, nil
}

// CheckKernel errs when the modern eBPF probe of f does not load on the Linux release (as uname -r prints it), and
// names the oldest supported chart version that does.
func (f Falco) CheckKernel(release string) error {
	if f.loads(release) {
		return nil
	}
	if _, ok := parseKernel(release); !ok {
		return fmt.Errorf("kernel release %q does not begin with MAJOR.MINOR", release)
	}
	for _, v := range supported[FalcoName].versions {
		if other, err := ResolveFalco(v); err == nil && other.loads(release) {
			return fmt.Errorf("the modern eBPF probe of Falco %s (chart %s) does not load on Linux %s (it needs %s); chart %s (Falco %s) does",
				f.AppVersion, f.Version, release, f.KernelRange(), other.Version, other.AppVersion)
		}
	}
	return fmt.Errorf("the modern eBPF probe needs Linux %s or newer; this is %s", f.MinKernel, release)
}

// KernelRange is the range of Linux releases on which the probe loads, for people to read.
func (f Falco) KernelRange() string {
	if f.BelowKernel == "" {
		return f.MinKernel + " or newer"
	}
	return f.MinKernel + " up to, not including, " + f.BelowKernel
}

func (f Falco) loads(release string) bool {
	k, ok := parseKernel(release)
	lowest, _ := parseKernel(f.MinKernel)
	if !ok || k < lowest {
		return false
	}
	if f.BelowKernel == "" {
		return true
	}
	limit, _ := parseKernel(f.BelowKernel)
	return k < limit
}

// parseKernel makes a comparable number of the first two parts of a Linux release such as 6.8.0-45-generic.
func parseKernel(release string) (int, bool) {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return 0, false
	}
	end := 0
	for end < len(parts[1]) && parts[1][end] >= '0' && parts[1][end] <= '9' {
		end++
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1][:end])
	if err1 != nil || err2 != nil {
		return 0, false
	}
	return major*1000 + minor, true
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
	sort.Slice(all, func(i, j int) bool { return less(all[i], all[j]) })
	at := sort.Search(len(all), func(i int) bool { return !less(all[i], version) })
	return all[max(0, at-2):min(len(all), at+2)]
}

// less orders versions by their numbers; a part that is not a number counts as 0.
func less(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; i < len(as) && i < len(bs); i++ {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x < y
		}
	}
	return len(as) < len(bs)
}
