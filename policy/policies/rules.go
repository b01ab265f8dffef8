package policies

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"sort"
	"strings"

	"spire-falco/charts"
	"spire-falco/config"
	"spire-falco/falco"
	"spire-falco/falco/ruleset"
	"spire-falco/rules"
)

const (
	rulesDir    = falco.RulesDir        // where the charts' falco.yaml looks for the user's rules
	rulesPrefix = "falco-rules-"        // of the names of rules ConfigMaps; the hash follows
	ownPrefix   = config.OwnRulesPrefix // of the files that the stack brings; they are loaded first
)

// mount is a ConfigMap that a Falco release mounts over rulesDir.
type mount struct{ volume, configMap value }

// rulesMounts lists the volumes of a Falco release that are mounted at rulesDir.
func rulesMounts(r Resource) []mount {
	var out []mount
	for _, m := range r.in("values", "mounts", "volumeMounts").list() {
		if path.Clean(m.at("mountPath").text()) != rulesDir {
			continue
		}
		found := mount{volume: m.at("name")}
		for _, v := range r.in("values", "mounts", "volumes").list() {
			if v.at("name").text() == found.volume.text() {
				found.configMap = v.at("configMap", "name")
			}
		}
		out = append(out, found)
	}
	return out
}

func falcoReleases(resources []Resource) []Resource {
	var out []Resource
	for _, r := range resources {
		if chartOf(r) == charts.FalcoName {
			out = append(out, r)
		}
	}
	return out
}

// rulesConfigMaps lists the ConfigMaps with rules: by their name, or because a Falco release mounts them as such.
func rulesConfigMaps(resources []Resource) []Resource {
	mounted := map[string]bool{}
	for _, r := range falcoReleases(resources) {
		for _, m := range rulesMounts(r) {
			mounted[m.configMap.text()] = true
		}
	}
	var out []Resource
	for _, r := range resources {
		if name := r.in("metadata", "name").text(); r.is("", "ConfigMap") && (strings.HasPrefix(name, rulesPrefix) || mounted[name] && name != "") {
			out = append(out, r)
		}
	}
	return out
}

// inLoadOrder lists the rule files of the ConfigMap in the order in which the Falco release that mounts it loads them:
// the stack's own first, the user's after the stock rules.
func inLoadOrder(configMap Resource, resources []Resource) []ruleset.File {
	data := configMap.in("data").fields()
	var names []string
	add := func(name string) {
		if _, ok := data[name]; ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, r := range falcoReleases(resources) {
		for _, m := range rulesMounts(r) {
			if m.configMap.text() != configMap.in("metadata", "name").text() {
				continue
			}
			for _, file := range r.in("values", "falco", "rules_files").list() {
				if path.Dir(file.text()) == rulesDir {
					add(path.Base(file.text()))
				}
			}
		}
	}
	rest := make([]string, 0, len(data))
	for name := range data {
		rest = append(rest, name)
	}
	sort.Slice(rest, func(i, j int) bool {
		a, b := strings.HasPrefix(rest[i], ownPrefix), strings.HasPrefix(rest[j], ownPrefix)
		if a != b {
			return a
		}
		return rest[i] < rest[j]
	})
	for _, name := range rest {
		add(name)
	}
	files := make([]ruleset.File, len(names))
	for i, name := range names {
		files[i] = ruleset.File{Name: name, Content: []byte(value{data[name]}.text())}
	}
	return files
}

// partly reports whether something about the data is not known yet.
func partly(r Resource) bool {
	if r.in("data").unknown() || r.in("metadata", "name").unknown() {
		return true
	}
	for _, v := range r.in("data").fields() {
		if (value{v}).unknown() {
			return true
		}
	}
	return false
}

func rulesConfigMap(resources []Resource) []finding {
	var out []finding
	for _, r := range rulesConfigMaps(resources) {
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		if r.kind().patch {
			bad("a patch changes rules after they were judged; declare the whole ConfigMap")
			continue
		}
		if v := r.in("immutable"); !v.is(true) {
			bad("immutable is %s; it must be true: a change must come as another ConfigMap, or Falco keeps the old rules", v.show())
		}
		if partly(r) {
			continue
		}
		files := inLoadOrder(r, resources)
		if len(files) == 0 {
			bad("data is empty: Falco would run without the rules of the stack")
			continue
		}
		for _, f := range files {
			if len(strings.TrimSpace(string(f.Content))) == 0 {
				bad("data[%q] is empty", f.Name)
			}
		}
		name := r.in("metadata", "name").text()
		if want := rulesPrefix + hashOf(files)[:12]; name != want {
			bad("its name is %q, but by the hash of its data it must be %q: pods would not roll when the rules change", name, want)
		}
	}
	return out
}

// hashOf returns the hash of rules.Rendered for these files.
func hashOf(files []ruleset.File) string {
	same := make([]rules.File, len(files))
	for i, f := range files {
		same[i] = rules.File{Name: f.Name, Content: string(f.Content)}
	}
	return rules.Hash(same)
}

func rulesValid(resources []Resource) []finding {
	release := installed(resources)
	var out []finding
	for _, r := range rulesConfigMaps(resources) {
		if partly(r) || r.kind().patch {
			continue
		}
		var own, extra []ruleset.File
		for _, f := range inLoadOrder(r, resources) {
			if strings.HasPrefix(f.Name, ownPrefix) {
				own = append(own, f)
			} else {
				extra = append(extra, f)
			}
		}
		out = append(out, checkRules(r, release, own, extra)...)
	}
	return out
}

// installed returns the Falco that the stack installs; the default if there is none or its version is unknown.
func installed(resources []Resource) falco.Version {
	for _, r := range falcoReleases(resources) {
		if f, err := charts.ResolveFalco(r.in("version").text()); err == nil {
			return f.Falco
		}
	}
	f, err := charts.ResolveFalco(charts.DefaultFalcoVersion)
	if err != nil {
		panic(err) // a programming error that every test would find
	}
	return f.Falco
}

func checkRules(r Resource, installed falco.Version, own, extra []ruleset.File) []finding {
	var out []finding
	_, report := ruleset.Load(own, ruleset.Options{Falco: installed})
	for _, p := range append(report.Errors, report.Warnings...) {
		out = append(out, finding{r, p.Error()})
	}
	if len(extra) == 0 {
		return out
	}
	// The user's files may refer to the stack's and the stock rules, for which rules.Render has placeholders.
	in := rules.DefaultInputs()
	in.FalcoVersion = installed.Number
	for _, f := range extra {
		in.ExtraFiles = append(in.ExtraFiles, rules.File{Name: f.Name, Content: string(f.Content)})
	}
	if _, err := rules.Render(in); err != nil {
		out = append(out, finding{r, err.Error()})
	}
	return out
}

func falcoWired(resources []Resource) []finding {
	var out []finding
	maps, unnamed := map[string]Resource{}, false
	for _, r := range resources {
		unnamed = unnamed || r.is("", "ConfigMap") && r.in("metadata", "name").unknown()
	}
	for _, r := range rulesConfigMaps(resources) {
		maps[r.in("metadata", "name").text()] = r
	}
	for _, r := range falcoReleases(resources) {
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		if http := r.in("values", "falco", "http_output"); !http.at("enabled").is(true) || !http.at("url").set() {
			bad("values.falco.http_output has no url or is not enabled: alerts would stay in the pod's log")
		} else if !http.at("url").unknown() && !receives(http.at("url").text(), r, resources) {
			bad("values.falco.http_output.url is %s, which is no Falcosidekick of the stack: alerts would go to somebody else", http.at("url").show())
		}
		volumes, mounts := r.in("values", "mounts", "volumes"), r.in("values", "mounts", "volumeMounts")
		if volumes.partly() || mounts.partly() {
			continue
		}
		found := rulesMounts(r)
		if len(found) != 1 {
			bad("values.mounts has %d volume mounts at %s; it must have one, with the rules ConfigMap", len(found), rulesDir)
			continue
		}
		name := found[0].configMap
		if name.unknown() {
			continue
		}
		configMap, ok := maps[name.text()]
		switch {
		case name.text() == "":
			bad("the volume %q that is mounted at %s is none of values.mounts.volumes, or no ConfigMap", found[0].volume.text(), rulesDir)
			continue
		case !ok && unnamed:
			continue // it may be one of those with unknown names
		case !ok:
			bad("the ConfigMap %q that is mounted at %s is not part of the stack", name.text(), rulesDir)
			continue
		case !configMap.namespace().unknown() && !r.namespace().is(configMap.namespace().text()):
			bad("the ConfigMap %q is in namespace %s, Falco in %s", name.text(), configMap.namespace().show(), r.namespace().show())
		}
		loaded := r.in("values", "falco", "rules_files")
		if loaded.partly() {
			continue
		}
		for _, m := range loadOrder(loaded, inLoadOrder(configMap, resources)) {
			bad("%s", m)
		}
	}
	return out
}

// receives reports whether the URL is that of a Falcosidekick of the stack.
func receives(raw string, falco Resource, resources []Resource) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	name, domain, _ := strings.Cut(u.Hostname(), ".")
	for _, r := range resources {
		if chartOf(r) != charts.FalcosidekickName || r.in("name").text() != name {
			continue
		}
		namespace := r.namespace().text()
		if domain == "" && namespace == falco.namespace().text() || slices.Contains([]string{namespace, namespace + ".svc", namespace + ".svc.cluster.local"}, domain) {
			return true
		}
	}
	return false
}

// loadOrder checks falco.rules_files: the stack's own files come first, because Falco fires the first rule that matches
// an event, and every file was checked or is part of the image.
func loadOrder(loaded value, files []ruleset.File) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	var own, all []string
	for _, f := range files {
		all = append(all, rulesDir+"/"+f.Name)
		if strings.HasPrefix(f.Name, ownPrefix) {
			own = append(own, rulesDir+"/"+f.Name)
		}
	}
	list := loaded.list()
	wholeDir := len(own) == len(all) && len(list) > 0 && path.Clean(list[0].text()) == rulesDir
	if wholeDir {
		own, list = nil, list[1:]
	}
	for i, item := range list {
		file := item.text()
		switch {
		case i < len(own) && !slices.Contains(own, file):
			bad("values.falco.rules_files has %s before the rules of the stack: it could take their events", item.show())
		case slices.Contains(all, file), path.Dir(file) == "/etc/falco" && file == path.Clean(file):
		default:
			bad("values.falco.rules_files has %s, which is neither in the rules ConfigMap nor in Falco's image", item.show())
		}
	}
	for _, f := range all {
		if !wholeDir && !loaded.has(f) {
			bad("values.falco.rules_files does not list %s: Falco would not load it", f)
		}
	}
	return out
}
