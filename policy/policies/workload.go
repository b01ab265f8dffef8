package policies

import (
	"fmt"
	"regexp"
	"strings"

	"spire-falco/charts"
)

// pod is the pod, or the template of pods, of a resource.
type pod struct {
	metadata, spec value
	// patch tells that the resource changes something that exists: what it does not say is not missing.
	patch bool
}

var workloadType = regexp.MustCompile(`^kubernetes:(core/v1|(apps|batch|extensions)/v\w+):(Pod|Deployment|DaemonSet|StatefulSet|ReplicaSet|ReplicationController|Job|CronJob)(Patch)?$`)

func podOf(r Resource) (pod, bool) {
	m := workloadType.FindStringSubmatch(r.Type)
	if m == nil {
		return pod{}, false
	}
	p := pod{patch: m[4] != ""}
	switch m[3] {
	case "Pod":
		p.metadata, p.spec = r.in("metadata"), r.in("spec")
	case "CronJob":
		p.metadata, p.spec = r.in("spec", "jobTemplate", "spec", "template", "metadata"), r.in("spec", "jobTemplate", "spec", "template", "spec")
	default:
		p.metadata, p.spec = r.in("spec", "template", "metadata"), r.in("spec", "template", "spec")
	}
	return p, true
}

// workload is podOf for what must be a whole workload.
func workload(r Resource) (pod, bool) {
	p, ok := podOf(r)
	return p, ok && !p.patch && !p.spec.unknown()
}

// containers lists the pod's containers, initial ones too.
func (p pod) containers() []value {
	return append(p.spec.at("initContainers").list(), p.spec.at("containers").list()...)
}

// each asks every container and says which ones fail.
func (p pod) each(ok func(c value) bool, want string) []string {
	var out []string
	for _, c := range p.containers() {
		if !c.unknown() && !ok(c) {
			out = append(out, fmt.Sprintf("container %s: %s", c.at("name").text(), want))
		}
	}
	return out
}

// security is a field of the container's security context, or else of the pod's.
func (p pod) security(c value, field string) value {
	if v := c.at("securityContext", field); v.v != nil {
		return v
	}
	return p.spec.at("securityContext", field)
}

func nonRoot(r Resource) []string {
	p, ok := workload(r)
	if !ok {
		return nil
	}
	return p.each(func(c value) bool {
		user := p.security(c, "runAsUser")
		return p.security(c, "runAsNonRoot").is(true) && !user.zero()
	}, "securityContext.runAsNonRoot must be true and runAsUser not 0")
}

func readOnlyRoot(r Resource) []string {
	p, ok := workload(r)
	if !ok {
		return nil
	}
	return p.each(func(c value) bool {
		return c.at("securityContext", "readOnlyRootFilesystem").is(true)
	}, "securityContext.readOnlyRootFilesystem must be true")
}

func noCapabilities(r Resource) []string {
	p, ok := workload(r)
	if !ok {
		return nil
	}
	return p.each(func(c value) bool {
		caps := c.at("securityContext", "capabilities")
		profile := p.security(c, "seccompProfile").at("type")
		return caps.at("drop").has("ALL") && (caps.at("add").unknown() || len(caps.at("add").list()) == 0) &&
			c.at("securityContext", "allowPrivilegeEscalation").is(false) &&
			(profile.is("RuntimeDefault") || profile.is("Localhost"))
	}, "capabilities must drop ALL and add none, allowPrivilegeEscalation be false, and seccompProfile RuntimeDefault or Localhost")
}

func noToken(r Resource) []string {
	if r.is("kubernetes:core/v1:ServiceAccount") {
		if v := r.in("automountServiceAccountToken"); !v.is(false) {
			return []string{"automountServiceAccountToken is " + v.show() + "; it must be false"}
		}
		return nil
	}
	p, ok := workload(r)
	if !ok {
		return nil
	}
	var out []string
	if v := p.spec.at("automountServiceAccountToken"); !v.is(false) {
		out = append(out, "automountServiceAccountToken is "+v.show()+"; it must be false")
	}
	if v := p.spec.at("serviceAccountName"); !v.set() || v.text() == "default" {
		out = append(out, "serviceAccountName is "+v.show()+"; it must be an account of the workload's own")
	}
	for _, volume := range p.spec.at("volumes").list() {
		for _, source := range volume.at("projected", "sources").list() {
			if source.at("serviceAccountToken").set() {
				out = append(out, fmt.Sprintf("volume %s projects a service account token", volume.at("name").text()))
			}
		}
	}
	return out
}

func limits(r Resource) []string {
	p, ok := workload(r)
	if !ok {
		return nil
	}
	return p.each(func(c value) bool {
		l := c.at("resources", "limits")
		return l.at("cpu").set() && l.at("memory").set()
	}, "resources.limits must have cpu and memory")
}

func imagesPinned(r Resource) []string {
	p, ok := podOf(r)
	if !ok {
		return nil
	}
	var out []string
	for _, c := range p.containers() {
		image := c.at("image")
		if image.unknown() || p.patch && image.v == nil || pinned(image.text()) {
			continue
		}
		out = append(out, fmt.Sprintf("container %s: image is %s; it must have a digest or a fixed tag", c.at("name").text(), image.show()))
	}
	return out
}

// answer is yes, no, or perhaps when it hangs on an unknown value.
type answer int

const (
	no answer = iota
	perhaps
	yes
)

// selects tells whether a label selector selects the labels. An empty selector selects everything; one with expressions,
// which this stack does not use, is taken to select nothing.
func selects(selector, labels value) answer {
	if selector.partly() || labels.partly() {
		return perhaps
	}
	if selector.at("matchExpressions").set() {
		return no
	}
	have := labels.fields()
	for k, v := range selector.at("matchLabels").fields() {
		got, ok := have[k]
		if want := (value{v}).text(); !ok || want == "" || (value{got}).text() != want {
			return no
		}
	}
	return yes
}

// inNamespace tells whether the resource is in that namespace.
func inNamespace(r Resource, namespace value) answer {
	switch {
	case r.namespace().unknown() || namespace.unknown():
		return perhaps
	case r.namespace().text() != "" && r.namespace().text() == namespace.text():
		return yes
	}
	return no
}

// trust is which namespaces are those of Falco and SPIRE.
type trust struct {
	namespaces map[string]bool
	// unsure tells that there is a release of which it is not known what it is or where it goes.
	unsure bool
}

func trusted(resources []Resource) trust {
	out := trust{namespaces: map[string]bool{}}
	for _, r := range resources {
		if !r.is(releaseType) {
			continue
		}
		if r.in("chart").unknown() || r.namespace().unknown() {
			out.unsure = true
		}
		switch chartOf(r) {
		case charts.FalcoName, charts.FalcosidekickName, charts.SPIREName, charts.SPIRECRDsName:
			if name := r.namespace().text(); name != "" {
				out.namespaces[name] = true
			}
		}
	}
	return out
}

// holds tells whether pods of that namespace may be privileged, or whether that is not known.
func (t trust) holds(namespace value) bool {
	return t.unsure || namespace.unknown() || t.namespaces[namespace.text()]
}

// workloads lists what makes pods outside of the namespaces of Falco and SPIRE.
func workloads(resources []Resource) []Resource {
	system := trusted(resources)
	var out []Resource
	for _, r := range resources {
		if _, ok := workload(r); ok && !system.holds(r.namespace()) {
			out = append(out, r)
		}
	}
	return out
}

// identifies tells whether the ClusterSPIFFEID gives the pods of the workload its identity.
func identifies(identity, w Resource) answer {
	p, _ := workload(w)
	namespace := w.namespace() // stays unknown if it is
	if !namespace.unknown() {
		namespace = value{map[string]any{"kubernetes.io/metadata.name": namespace.text()}}
	}
	return min(selects(identity.in("spec", "podSelector"), p.metadata.at("labels")), selects(identity.in("spec", "namespaceSelector"), namespace))
}

func ownIdentity(resources []Resource) []finding {
	var out []finding
	all := workloads(resources)
	count, unsure := map[string]int{}, map[string]bool{}
	for _, id := range resources {
		if !id.is(identityType) {
			continue
		}
		for _, selector := range []string{"podSelector", "namespaceSelector"} {
			if s := id.in("spec", selector); !s.unknown() && !s.at("matchLabels").set() {
				out = append(out, finding{id, "spec." + selector + " is empty: pods that nobody declared would get this identity"})
			}
		}
		var names []string
		for _, w := range all {
			switch identifies(id, w) {
			case yes:
				count[w.URN]++
				names = append(names, w.Name)
			case perhaps:
				unsure[w.URN] = true
			case no:
			}
		}
		if len(names) > 1 {
			out = append(out, finding{id, "it selects the pods of " + strings.Join(names, " and ") + "; each must have an identity of its own"})
		}
	}
	for _, w := range all {
		if n := count[w.URN]; n > 1 || n == 0 && !unsure[w.URN] {
			out = append(out, finding{w, fmt.Sprintf("%d ClusterSPIFFEIDs select its pods; it must be one", n)})
		}
	}
	return out
}

func networkPolicy(resources []Resource) []finding {
	var out []finding
	var all []Resource
	for _, r := range resources {
		if !r.is(networkPolicyType) {
			continue
		}
		all = append(all, r)
		for _, d := range []struct{ direction, peers string }{{"ingress", "from"}, {"egress", "to"}} {
			for i, rule := range r.in("spec", d.direction).list() {
				if !rule.at(d.peers).set() || !rule.at("ports").set() {
					out = append(out, finding{r, fmt.Sprintf("spec.%s[%d] names no peers or no ports: it allows everything", d.direction, i)})
				}
			}
		}
	}
	for _, w := range workloads(resources) {
		held := no
		for _, r := range all {
			if types := r.in("spec", "policyTypes"); types.has("Ingress") && types.has("Egress") {
				held = max(held, guards(r, w))
			}
		}
		if held == no {
			out = append(out, finding{w, "no NetworkPolicy for both Ingress and Egress selects its pods"})
		}
	}
	return out
}

// guards tells whether the NetworkPolicy selects the pods of the workload.
func guards(networkPolicy, w Resource) answer {
	p, _ := workload(w)
	return min(inNamespace(networkPolicy, w.namespace()), selects(networkPolicy.in("spec", "podSelector"), p.metadata.at("labels")))
}

func privileged(resources []Resource) []finding {
	system := trusted(resources)
	var out []finding
	for _, r := range resources {
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		if r.is(namespaceType) {
			name, level := r.in("metadata", "name"), r.in("metadata", "labels", "pod-security.kubernetes.io/enforce")
			if !system.holds(name) && !level.is("restricted") {
				bad("the namespace %s enforces the Pod Security level %s; it must be \"restricted\"", name.show(), level.show())
			}
			continue
		}
		p, ok := podOf(r)
		if !ok || system.holds(r.namespace()) {
			continue
		}
		for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
			if p.spec.at(field).v == true {
				bad("spec.%s is true in namespace %s", field, r.namespace().show())
			}
		}
		for _, v := range p.spec.at("volumes").list() {
			if path := v.at("hostPath"); path.v != nil && !path.unknown() {
				bad("volume %s is a path of the node", v.at("name").text())
			}
		}
		for _, c := range p.containers() {
			if c.at("securityContext", "privileged").v == true {
				bad("container %s is privileged in namespace %s", c.at("name").text(), r.namespace().show())
			}
			if add := c.at("securityContext", "capabilities", "add"); len(add.list()) > 0 {
				bad("container %s adds capabilities in namespace %s", c.at("name").text(), r.namespace().show())
			}
			for _, port := range c.at("ports").list() {
				if host := port.at("hostPort"); host.set() && !host.zero() && !host.unknown() {
					bad("container %s takes a port of the node", c.at("name").text())
				}
			}
		}
	}
	return out
}
