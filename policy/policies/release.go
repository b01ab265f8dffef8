package policies

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/charts"
)

// chartOf returns the known chart that the release installs, "" for anything else. A name alone proves nothing:
// repository and version must match too.
func chartOf(r Resource) string { return r.chart }

// prepare expands lists and computes once what several policies need: the pods of each resource, and the known chart of
// a release.
func prepare(resources []Resource, mirrors []string) []Resource {
	out := expand(resources)
	for i, r := range out {
		if name, wrong := tableChart(r, mirrors); r.isRelease() && wrong == "" {
			out[i].chart = name
		}
		out[i].pods = findPods(r)
	}
	return out
}

// tableChart returns the known chart that the release installs, or why it is not one.
func tableChart(r Resource, mirrors []string) (name, wrong string) {
	chart, version, repository := r.in("chart"), r.in("version"), r.in("repositoryOpts", "repo")
	name = chart.text()
	from := strings.TrimRight(repository.text(), "/")
	if oci := strings.TrimRight(name, "/"); strings.HasPrefix(oci, "oci://") {
		at := strings.LastIndex(oci, "/")
		name = oci[at+1:]
		if from == "" {
			from = oci[:at]
		}
	}
	if !exactVersion.MatchString(version.text()) {
		return "", fmt.Sprintf("version is %s; it must be one exact version such as 1.2.3", version.show())
	}
	if from == "" {
		return "", "repositoryOpts.repo is not set: which repository the chart comes from would depend on the machine"
	}
	c, err := charts.Resolve(name, version.text())
	if name == charts.FalcoName { // preview and up check the rendered chart by its contract; the pack only sees its values
		var f charts.Falco
		f, err = charts.ResolveFalco(version.text())
		c = f.Chart
	}
	switch {
	case name != charts.FalcoName && name != charts.FalcosidekickName && name != charts.SPIREName && name != charts.SPIRECRDsName:
		return "", fmt.Sprintf("the chart %s is not one of the table: no policy sees what it creates", chart.show())
	case err != nil:
		return "", err.Error()
	case c.Version != version.text():
		return "", c.Warning
	}
	for _, trusted := range append([]string{c.Repository}, mirrors...) {
		if from == strings.TrimRight(trusted, "/") && trusted != "" {
			return name, ""
		}
	}
	return "", fmt.Sprintf("the repository of chart %s is %s, not the one of the table (%s): its name proves nothing", name, value{from}.show(), c.Repository)
}

// exactVersion is one SemVer version, not a range.
var exactVersion = regexp.MustCompile(`^v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// chartsPinned compares every release with the known charts; mirrors are further repositories of these.
func chartsPinned(mirrors []string) func([]Resource) []finding {
	return func(resources []Resource) []finding {
		var out []finding
		seen := map[string]bool{}
		for _, r := range resources {
			if !r.isRelease() {
				continue
			}
			name, wrong := tableChart(r, mirrors)
			if wrong != "" {
				out = append(out, finding{r, wrong})
				continue
			}
			if seen[name] {
				out = append(out, finding{r, fmt.Sprintf("the chart %s is installed a second time: it would be trusted in another namespace too", name)})
			}
			seen[name] = true
		}
		return out
	}
}

// loose are switches of a release with which Helm installs something else than what was checked.
var loose = map[string]string{
	"devel":                    "takes versions that were not released",
	"dependencyUpdate":         "pulls charts that are not pinned",
	"reuseValues":              "adds values of the last release, which no policy sees",
	"createNamespace":          "creates a namespace without a Pod Security level",
	"disableWebhooks":          "skips the hooks of the chart",
	"disableCRDHooks":          "skips the hooks of the chart",
	"disableOpenapiValidation": "skips the check of what the chart creates",
	"skipCrds":                 "leaves out what the other objects need",
}

func plainReleases(r Resource) []string {
	if !r.isRelease() {
		return nil
	}
	var out []string
	for _, key := range sortedKeys(loose) {
		if r.in(key).on() {
			out = append(out, fmt.Sprintf("%s %s", key, loose[key]))
		}
	}
	if r.in("postrender").set() {
		out = append(out, "postrender changes what the chart creates after it was judged")
	}
	if v := r.in("values"); v.set() && v.fields() == nil && !v.unknown() {
		out = append(out, "values is not an object")
	}
	for _, key := range []string{"username", "password"} {
		if r.in("repositoryOpts", key).set() {
			out = append(out, fmt.Sprintf("repositoryOpts.%s is a credential in the state; use a mirror that needs none", key))
		}
	}
	files := r.in("valueYamlFiles")
	if files.v == nil || files.unknown() {
		return append(out, embedded(r)...)
	}
	if len(files.list()) == 0 && files.set() {
		out = append(out, "valueYamlFiles is not a list")
	}
	for i, f := range files.list() {
		if wrong := annotationsOnly(r, f); wrong != "" {
			out = append(out, fmt.Sprintf("valueYamlFiles[%d] %s; give values in values, where policies read them", i, wrong))
		}
	}
	return append(out, embedded(r)...)
}

// annotationsOnly returns why a values file is refused; "" for the stack's only use: a null among the annotations of
// CRDs, which values cannot contain.
func annotationsOnly(r Resource, file value) string {
	if chartOf(r) != charts.SPIRECRDsName {
		return "is set"
	}
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(file.text()), &doc); err != nil || doc == nil {
		return "is not text that can be read as values"
	}
	for key := range doc {
		if key != "annotations" {
			return "sets more than annotations"
		}
	}
	return ""
}

// manifests are chart values for whole objects of the user.
var manifests = regexp.MustCompile(`(?i)^(extra|additional|raw)(objects|manifests|deploy|resources|templates)$`)

// embedded reports objects inside values, and a Service or Ingress that opens the chart's pods.
func embedded(r Resource) []string {
	var out []string
	walk(r.in("values"), "values", func(path string, v value) {
		fields := v.fields()
		for _, key := range sortedKeys(fields) {
			x := value{fields[key]}.open()
			switch {
			case manifests.MatchString(key) && x.set() && !x.unknown():
				out = append(out, fmt.Sprintf("%s.%s holds objects that no policy reads; register them", path, key))
			case strings.EqualFold(key, "ingress") && x.at("enabled").on():
				out = append(out, fmt.Sprintf("%s.%s.enabled opens the chart's pods to outside of the cluster", path, key))
			case key == "type" && strings.HasSuffix(strings.ToLower(path), "service") && slices.Contains(exposed, x.text()):
				out = append(out, fmt.Sprintf("%s.type is %s, which opens the chart's pods to outside of the cluster", path, x.show()))
			case key == "namespaceOverride" && x.set() && !x.unknown():
				out = append(out, fmt.Sprintf("%s.%s puts objects into another namespace than the release's", path, key))
			case key == "externalIPs" && x.set():
				out = append(out, fmt.Sprintf("%s.externalIPs opens the chart's pods to outside of the cluster", path))
			}
		}
	})
	system := dangers(r.in("values"), "values")
	for _, m := range system {
		if chartOf(r) == charts.FalcoName && strings.HasPrefix(m, "values.mounts.volumes[") {
			continue // checked with Falco's other mounts
		}
		out = append(out, m)
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
	if v := r.in("values", "driver", "enabled"); v.v != nil && v.v != true && !v.unknown() {
		out = append(out, fmt.Sprintf("values.driver.enabled is %s: Falco would see no system call", v.show()))
	}
	if kind := r.in("values", "falco", "engine", "kind"); kind.set() && !kind.is("modern_ebpf") {
		out = append(out, fmt.Sprintf("values.falco.engine.kind is %s; it must be \"modern_ebpf\"", kind.show()))
	}
	return out
}

func nothingPulled(r Resource) []string {
	if !r.isRelease() {
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
			tag, isTag := fields["tag"]
			floats := isTag && value{tag}.set() && !value{tag}.unknown() && !fixedTag(value{tag}.text())
			if floats && !hasDigest(fields) && (fields["repository"] != nil || fields["registry"] != nil || isImageKey(path)) {
				out = append(out, fmt.Sprintf("%s.tag is %s, which can mean another image tomorrow", path, value{tag}.show()))
			}
		}
		if isImageKey(path) && v.text() != "" && !pinned(v.text()) {
			out = append(out, fmt.Sprintf("%s is %s, which can mean another image tomorrow", path, v.show()))
		}
	})
	return append(out, ownImage(r)...)
}

// ownImage reports a Falco or Falcosidekick whose image is not the project's: a mirror keeps the end of the path.
func ownImage(r Resource) []string {
	name := chartOf(r)
	if name != charts.FalcoName && name != charts.FalcosidekickName {
		return nil
	}
	v := r.in("values", "image", "repository")
	if path := v.text(); v.unknown() || !v.set() || path == "falcosecurity/"+name || strings.HasSuffix(path, "/falcosecurity/"+name) {
		return nil
	}
	return []string{fmt.Sprintf("values.image.repository is %s; it must end in falcosecurity/%s", v.show(), name)}
}

// isImageKey reports whether the last part of a path names an image.
func isImageKey(path string) bool {
	last := path[strings.LastIndex(path, ".")+1:]
	return strings.HasSuffix(strings.ToLower(last), "image")
}

func hasDigest(fields map[string]any) bool {
	return digest.MatchString(value{fields["digest"]}.text())
}

// walk visits v and everything below it, in the order of the keys, without the marks of secrets.
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

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

var (
	// fixed are tags that are not moved: a version with all three parts, a hash, a date.
	fixed = regexp.MustCompile(`^(v?\d+\.\d+\.\d+([._+-][0-9A-Za-z._+-]+)?|(sha256-|sha-|git-|g)?[0-9a-f]{12,64}|([a-z]+-)?(\d{8}|\d{4}-\d\d-\d\d|RELEASE\.\d{4}-\d\d-\d\dT[0-9A-Z-]+)([.-][0-9A-Za-z.-]+)?)$`)
	// moving are words in a tag that mark it as moving nevertheless.
	moving = regexp.MustCompile(`(?i)(^|[._+-])(latest|stable|edge|nightly|dev|devel|develop|main|master|current|lts|canary|rolling|snapshot|prod|production|staging|test|next|head|unstable|x)($|[._+-])`)
	digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	// imageName is the name before a tag or digest.
	imageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[a-z0-9._-]+)*$`)
)

func fixedTag(tag string) bool { return fixed.MatchString(tag) && !moving.MatchString(tag) }

// pinned reports whether an image reference has a digest or a fixed tag.
func pinned(image string) bool {
	if name, sum, ok := strings.Cut(image, "@"); ok {
		if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
			name = name[:colon]
		}
		return imageName.MatchString(name) && digest.MatchString(sum)
	}
	colon := strings.LastIndex(image, ":")
	return colon > strings.LastIndex(image, "/") && imageName.MatchString(image[:colon]) && fixedTag(image[colon+1:])
}
