package policies

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/charts"
	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

// allowedArgs are the arguments of Falco that the stack uses; any other, such as -D, -t or -o, can disable rules.
var allowedArgs = []string{"-o", "container_engines.cri.disable_async=true"}

// hidingVariables are environment variables with which Falco runs or reads something else.
var hidingVariables = []string{"LD_", "FALCO_", "HOST_ROOT", "PATH", "SSL_"}

// rulesStayOn reports values with which the stack's rules would not be loaded, or would never fire.
func rulesStayOn(resources []Resource) []finding {
	var out []finding
	for _, r := range falcoReleases(resources) {
		for _, m := range append(falcoValues(r), falcoMounts(r)...) {
			out = append(out, finding{r, m})
		}
	}
	for _, r := range rulesConfigMaps(resources) {
		if partly(r) || r.kind().patch {
			continue
		}
		files := inLoadOrder(r, resources)
		for _, m := range weakened(files) {
			out = append(out, finding{r, m})
		}
		for _, falco := range falcoReleases(resources) {
			if m := tooSevere(falco.in("values", "falco", "priority"), files); m != "" {
				out = append(out, finding{falco, m})
			}
		}
	}
	return out
}

func falcoValues(r Resource) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	v := func(p string) value { return r.in(append([]string{"values"}, strings.Split(p, ".")...)...) }
	for p, why := range map[string]string{
		"customRules":                    "the stack's ConfigMap would not be mounted; use the setting falco.extraRules",
		"falco.config_files":             "further files of configuration can turn rules off",
		"falco.base_syscalls.custom_set": "Falco would not see the events of all rules",
		"falco.outputs":                  "alerts beyond a rate would be lost",
		"affinity":                       "Falco would not run on every node",
	} {
		if x := v(p); x.set() && !x.unknown() {
			bad("values.%s is set: %s", p, why)
		}
	}
	for p, why := range map[string]string{
		"falco.json_output":  "receivers could not read the alerts",
		"collectors.enabled": "events would have no container and no pod",
	} {
		if x := v(p); x.v == false {
			bad("values.%s is false: %s", p, why)
		}
	}
	for p, why := range map[string]string{
		"falco.syscall_event_drops.simulate_drops":  "Falco would drop events",
		"falco.engine.modern_ebpf.drop_failed_exit": "refused attempts would raise no alert",
		"driver.modernEbpf.dropFailedExit":          "refused attempts would raise no alert",
	} {
		if v(p).on() {
			bad("values.%s is on: %s", p, why)
		}
	}
	if x := v("responseActions.enabled"); x.on() {
		bad("values.responseActions.enabled installs a further program with rights over the cluster")
	}
	if x := v("controller.kind"); x.set() && !x.is("daemonset") {
		bad("values.controller.kind is %s: Falco would not run on every node", x.show())
	}
	for _, key := range sortedKeys(v("nodeSelector").fields()) {
		if key != "kubernetes.io/os" && key != "kubernetes.io/arch" {
			bad("values.nodeSelector has %q: Falco would not run on every node", key)
		}
	}
	for i, arg := range v("extra.args").list() {
		if !arg.unknown() && !slices.Contains(allowedArgs, arg.text()) {
			bad("values.extra.args[%d] is %s; arguments can disable rules, so it must be one of %s",
				i, arg.show(), strings.Join(allowedArgs, " "))
		}
	}
	if x := v("extra.args"); x.set() && !x.unknown() && len(x.list()) == 0 {
		bad("values.extra.args is not a list")
	}
	for _, e := range v("extra.env").list() {
		for _, prefix := range hidingVariables {
			if strings.HasPrefix(e.at("name").text(), prefix) {
				bad("values.extra.env sets %s, by which Falco runs or reads something else", e.at("name").show())
			}
		}
	}
	if x := v("falco.rules"); x.set() && !x.unknown() {
		for _, item := range elements(x) {
			if _, only := item.fields()["enable"]; !only || len(item.fields()) != 1 {
				bad("values.falco.rules turns rules off")
				break
			}
		}
		if len(elements(x)) == 0 {
			bad("values.falco.rules is not a list")
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// falcoMounts reports mounts that hide Falco's rules, configuration or program, and paths of the node that it does not
// need.
func falcoMounts(r Resource) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	mounts := r.in("values", "mounts")
	for i, m := range mounts.at("volumeMounts").list() {
		where := path.Clean(m.at("mountPath").text())
		switch {
		case m.at("mountPath").unknown():
		case where == rulesDir && (m.at("subPath").set() || m.at("subPathExpr").set()):
			bad("values.mounts.volumeMounts[%d] mounts only a part of the rules", i)
		case where != rulesDir && (where == "/etc" || where == "/" || within(where, "/etc/falco") ||
			within(where, "/usr") || within(where, "/bin") || within(where, "/lib")):
			bad("values.mounts.volumeMounts[%d] mounts %q over Falco's own files", i, where)
		}
	}
	for i, v := range mounts.at("volumes").list() {
		p := v.at("hostPath", "path")
		if v.at("hostPath").v == nil || p.unknown() {
			continue
		}
		if clean := path.Clean(p.text()); clean != "/dev/log" && !within(clean, "/var/log") || clean != p.text() {
			bad("values.mounts.volumes[%d] is the path %s of the node; it must be /dev/log or below /var/log", i, p.show())
		}
	}
	for i, c := range r.in("values", "extra", "initContainers").list() {
		if len(c.at("volumeMounts").list()) > 0 {
			bad("values.extra.initContainers[%d] mounts volumes of Falco's pod", i)
		}
	}
	return out
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// tooSevere reports a threshold above every rule of the stack.
func tooSevere(threshold value, files []ruleset.File) string {
	limit, err := falco.ParsePriority(threshold.text())
	if err != nil {
		return ""
	}
	some := false
	for _, f := range files {
		for _, item := range documents(f) {
			p, err := falco.ParsePriority(value{item["priority"]}.text())
			if err != nil {
				continue
			}
			if some = true; p <= limit {
				return ""
			}
		}
	}
	if !some {
		return ""
	}
	return fmt.Sprintf("values.falco.priority is %s: Falco would load no rule of the stack", threshold.show())
}

// documents returns the items of a rule file; none if it cannot be parsed, which another policy reports.
func documents(f ruleset.File) []map[string]any {
	var out []map[string]any
	if err := yaml.Unmarshal(f.Content, &out); err != nil {
		return nil
	}
	return out
}

// weakened reports items in the user's files that disable a rule of the stack or make it fire less. Values may be added
// to exceptions, which is how the user allows something.
func weakened(files []ruleset.File) []string {
	own := map[string]bool{}
	for _, f := range files {
		if strings.HasPrefix(f.Name, ownPrefix) {
			for _, item := range documents(f) {
				for _, kind := range []string{"rule", "macro", "list"} {
					if name, ok := item[kind].(string); ok {
						own[kind+" "+name] = true
					}
				}
			}
		}
	}
	var out []string
	for _, f := range files {
		if strings.HasPrefix(f.Name, ownPrefix) {
			out = append(out, switchedOff(f)...)
			continue
		}
		for _, item := range documents(f) {
			for _, kind := range []string{"rule", "macro", "list"} {
				name, _ := item[kind].(string)
				if own[kind+" "+name] && name != "" && !onlyAdds(kind, item) {
					out = append(out, fmt.Sprintf("data[%q] changes the %s %q of the stack; add values to one of its exceptions instead",
						f.Name, kind, name))
				}
			}
		}
	}
	return out
}

func switchedOff(f ruleset.File) []string {
	var out []string
	for _, item := range documents(f) {
		if name, ok := item["rule"].(string); ok && item["enabled"] == false {
			out = append(out, fmt.Sprintf("data[%q] turns the rule %q of the stack off", f.Name, name))
		}
	}
	return out
}

// onlyAdds reports whether an item adds values to exceptions of a rule, or items to a list, and nothing else.
func onlyAdds(kind string, item map[string]any) bool {
	override := value{item["override"]}
	appends := value{item["append"]}.v == true
	if kind == "list" {
		return appends || override.at("items").is("append")
	}
	if kind != "rule" || !appends && !override.at("exceptions").is("append") {
		return false
	}
	for key := range item {
		if !slices.Contains([]string{"rule", "exceptions", "override", "append"}, key) {
			return false
		}
	}
	for key := range override.fields() {
		if key != "exceptions" {
			return false
		}
	}
	exceptions, _ := item["exceptions"].([]any)
	for _, e := range exceptions {
		for key := range (value{e}).fields() {
			if key != "name" && key != "values" {
				return false
			}
		}
	}
	return len(exceptions) > 0
}

// falcosidekickStaysClosed reports values that let anybody read the alerts.
func falcosidekickStaysClosed(r Resource) []string {
	if chartOf(r) != charts.FalcosidekickName {
		return nil
	}
	if v := r.in("values", "webui", "disableauth"); v.on() {
		return []string{"values.webui.disableauth is " + v.show() + ": anybody who reaches the UI reads the alerts"}
	}
	return nil
}
