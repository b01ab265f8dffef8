package falco

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is one Falco release, and what it brings with it.
type Version struct {
	// Number of the release, such as 0.44.1.
	Number string
	// Engine is the version of the rule engine, from falco_engine_version.h of that release.
	Engine string
	// ContainerPlugin is the version of the container plugin that the image carries and loads; empty up to 0.40, which
	// has the container fields built in. From CMakeLists.txt of that release (0.42: of its libs).
	ContainerPlugin string
	// Rules is the version of falco-rules that the image carries, from cmake/modules/rules.cmake.
	Rules string
	// MinKernel is the first Linux release (major.minor) on which the modern eBPF probe loads.
	MinKernel string
	// BelowKernel is the first Linux release (major.minor) on which the probe does not load any more; empty if none is
	// known.
	BelowKernel string
	// BelowContainerd is the first containerd release (major.minor) with which the container plugin crashes; empty if
	// none is known. Plugins before 0.7.1 dereference the runtime spec, which containerd 2.3 leaves out (plugins,
	// fbfa3004).
	BelowContainerd string
}

// minKernel is where the modern eBPF probe starts: it needs BPF ring buffers (Linux 5.8).
const minKernel = "5.8"

// versions is the table. BelowKernel: the probe of 0.40 does not load on Linux 6.15 ("failed to resolve CO-RE relocation ...
// kernfs_node.parent"; seen). Linux 6.19 needs libs 0.24 (read in the release notes of libs), which 0.44 is the first to
// have.
var versions = []Version{
	{Number: "0.40.0", Engine: "0.46.0", Rules: "3.2.0", MinKernel: minKernel, BelowKernel: "6.15"},
	{Number: "0.41.3", Engine: "0.50.0", ContainerPlugin: "0.3.1", Rules: "4.0.0", MinKernel: minKernel, BelowKernel: "6.19", BelowContainerd: "2.3"},
	{Number: "0.42.1", Engine: "0.57.0", ContainerPlugin: "0.4.1", Rules: "5.0.0", MinKernel: minKernel, BelowKernel: "6.19", BelowContainerd: "2.3"},
	{Number: "0.43.1", Engine: "0.58.0", ContainerPlugin: "0.6.4", Rules: "5.0.0", MinKernel: minKernel, BelowKernel: "6.19", BelowContainerd: "2.3"},
	{Number: "0.44.1", Engine: "0.62.0", ContainerPlugin: "0.7.1", Rules: "5.1.0", MinKernel: minKernel},
}

// Versions lists every Falco that this project knows, the newest patch release of each minor, oldest first.
func Versions() []Version { return slices.Clone(versions) }

// Newest is the newest Falco that this project knows.
func Newest() Version { return versions[len(versions)-1] }

// otherPlugins is the container plugin of releases that are not in the table, from where ContainerPlugin has it.
var otherPlugins = map[string]string{
	"0.41.0": "0.2.4", "0.41.1": "0.2.5", "0.41.2": "0.3.0", "0.42.0": "0.4.0", "0.43.0": "0.6.1", "0.44.0": "0.7.1",
}

// Lookup finds a release by its number. One of a known minor that is not in the table gets the row of its minor, whose
// language it shares, with its own number and container plugin. The error lists what is known.
func Lookup(number string) (Version, error) {
	minor, ok := minorOf(number)
	for _, v := range versions {
		own, _ := minorOf(v.Number)
		if !ok || own != minor {
			continue
		}
		if v.Number != number {
			v.Number = number
			if plugin, ok := otherPlugins[number]; ok {
				v.ContainerPlugin = plugin
			}
		}
		return v, nil
	}
	return Version{}, fmt.Errorf("unknown Falco version %q; known: %s", number, strings.Join(numbers(), ", "))
}

// Row is the number of the release whose row v has: v.Number itself, or the one of the same minor in the table.
func (v Version) Row() string {
	minor, _ := minorOf(v.Number)
	for _, row := range versions {
		if own, _ := minorOf(row.Number); own == minor {
			return row.Number
		}
	}
	return ""
}

// Minor is the minor release of the version, such as 0.44.
func (v Version) Minor() string {
	if i := strings.LastIndexByte(v.Number, '.'); i > 0 {
		return v.Number[:i]
	}
	return v.Number
}

// AtLeast reports whether v is that release or a later one; number has the form 0.42 or 0.42.1.
func (v Version) AtLeast(number string) bool { return CompareReleases(v.Number, number) >= 0 }

func numbers() []string {
	all := make([]string, len(versions))
	for i, v := range versions {
		all[i] = v.Number
	}
	return all
}

// minorOf returns the minor version of a release 0.MINOR.PATCH.
func minorOf(number string) (int, bool) {
	parts := strings.Split(number, ".")
	if len(parts) != 3 || parts[0] != "0" {
		return 0, false
	}
	minor, err := strconv.Atoi(parts[1])
	patch, perr := strconv.Atoi(parts[2])
	return minor, err == nil && perr == nil && minor >= 0 && patch >= 0
}

// CompareReleases orders dotted numbers such as 0.44.1 or 6.18: negative when a is before b. A part that is missing or
// no number counts as 0.
func CompareReleases(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		var x, y int
		if i < len(as) {
			x, _ = strconv.Atoi(as[i])
		}
		if i < len(bs) {
			y, _ = strconv.Atoi(bs[i])
		}
		if x != y {
			return x - y
		}
	}
	return 0
}

// ProbeLoads reports whether the modern eBPF probe loads on the Linux release (as uname -r prints it). The error says
// that the release cannot be read.
func (v Version) ProbeLoads(release string) (bool, error) {
	kernel, ok := kernelOf(release)
	if !ok {
		return false, fmt.Errorf("kernel release %q does not begin with MAJOR.MINOR", release)
	}
	return CompareReleases(kernel, v.MinKernel) >= 0 && (v.BelowKernel == "" || CompareReleases(kernel, v.BelowKernel) < 0), nil
}

// KernelRange is the range of Linux releases on which the probe loads, for people to read.
func (v Version) KernelRange() string {
	if v.BelowKernel == "" {
		return v.MinKernel + " or newer"
	}
	return v.MinKernel + " up to, not including, " + v.BelowKernel
}

// kernelOf cuts MAJOR.MINOR from a Linux release such as 6.8.0-45-generic.
func kernelOf(release string) (string, bool) {
	major, rest, ok := strings.Cut(release, ".")
	if !ok || !digits(major) {
		return "", false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	return major + "." + rest[:end], end > 0
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
