package policies

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"spire-falco/charts"
)

// chartOf is the name of the release's chart without the alias of its repository or a path.
func chartOf(r Resource) string {
	if !r.is(releaseType) {
		return ""
	}
	name := strings.TrimSuffix(r.in("chart").text(), "/")
	return name[strings.LastIndex(name, "/")+1:]
}

// exactVersion is one SemVer version; a range is none.
var exactVersion = regexp.MustCompile(`^v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

func chartPinned(r Resource) []string {
	if !r.is(releaseType) {
		return nil
	}
	var out []string
	chart, version := chartOf(r), r.in("version")
	if r.in("chart").unknown() || version.unknown() {
		return nil
	}
	if !exactVersion.MatchString(version.text()) {
		return append(out, fmt.Sprintf("version is %s; it must be one exact version such as 1.2.3", version.show()))
	}
	switch chart {
	case charts.FalcoName, charts.FalcosidekickName, charts.SPIREName, charts.SPIRECRDsName:
		if !charts.Published(chart, version.text()) {
			_, err := charts.Resolve(chart, version.text())
			message := fmt.Sprintf("chart %s %s was never published", chart, version.text())
			if err != nil {
				message = err.Error()
			}
			out = append(out, message)
		}
	}
	if !r.in("repositoryOpts", "repo").set() && !strings.HasPrefix(r.in("chart").text(), "oci://") {
		out = append(out, "repositoryOpts.repo is not set: which repository the chart comes from would depend on the machine")
	}
	return out
}

func noRulesFile(r Resource) []string {
	if chartOf(r) != charts.FalcoName {
		return nil
	}
	var out []string
	if _, ok := r.in("values", "falco").fields()["rules_file"]; ok {
		out = append(out, "values.falco.rules_file is set; use values.falco.rules_files")
	}
	return out
}

func driver(r Resource) []string {
	if chartOf(r) != charts.FalcoName {
		return nil
	}
	var out []string
	if kind := r.in("values", "driver", "kind"); !kind.is("modern_ebpf") {
		out = append(out, fmt.Sprintf("values.driver.kind is %s; it must be \"modern_ebpf\"", kind.show()))
	}
	if r.in("values", "driver", "enabled").v == false {
		out = append(out, "values.driver.enabled is false: Falco would see no system call")
	}
	return out
}

func nothingPulled(r Resource) []string {
	if !r.is(releaseType) {
		return nil
	}
	var out []string
	if chartOf(r) == charts.FalcoName {
		for _, path := range [][]string{
			{"falcoctl", "artifact", "install", "enabled"},
			{"falcoctl", "artifact", "follow", "enabled"},
			{"driver", "loader", "enabled"},
		} {
			if v := r.in(append([]string{"values"}, path...)...); !v.is(false) {
				out = append(out, fmt.Sprintf("values.%s is %s; it must be false, the chart's default is true", strings.Join(path, "."), v.show()))
			}
		}
	}
	walk(r.in("values"), "values", func(path string, v value) {
		if fields := v.fields(); fields != nil {
			if tag, ok := fields["tag"].(string); ok && tag != "" && fields["repository"] != nil && !fixedTag(tag) && !hasDigest(fields) {
				out = append(out, fmt.Sprintf("%s.tag is %q, which can mean another image tomorrow", path, tag))
			}
		}
		if strings.HasSuffix(path, ".image") && v.text() != "" && !pinned(v.text()) {
			out = append(out, fmt.Sprintf("%s is %q, which can mean another image tomorrow", path, v.text()))
		}
	})
	return out
}

func hasDigest(fields map[string]any) bool {
	return strings.HasPrefix(value{fields["digest"]}.text(), "sha256:")
}

// walk visits v and everything below it, in order of the keys, with the marks of secrets taken off.
func walk(v value, path string, visit func(path string, v value)) {
	v = v.open()
	visit(path, v)
	fields := v.fields()
	for _, k := range sortedKeys(fields) {
		walk(value{fields[k]}, path+"."+k, visit)
	}
	for i, item := range v.list() {
		walk(item, fmt.Sprintf("%s[%d]", path, i), visit)
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// floating tags move on with every release.
var floating = regexp.MustCompile(`^(latest|stable|edge|nightly|dev|devel|develop|main|master|current|lts|canary|rolling|v?\d+)(-[a-z]+)*$`)

func fixedTag(tag string) bool { return tag != "" && !floating.MatchString(tag) }

// pinned tells whether an image reference has a digest or a fixed tag.
func pinned(image string) bool {
	if name, digest, ok := strings.Cut(image, "@"); ok {
		return name != "" && regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(digest)
	}
	colon := strings.LastIndex(image, ":")
	return colon > strings.LastIndex(image, "/") && fixedTag(image[colon+1:])
}
