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

// selects tells whether a label selector of matchLabels alone selects the labels. An empty selector selects everything.
func selects(selector, labels value) bool {
	if selector.unknown() || labels.unknown() {
		return true
	}
	if selector.at("matchExpressions").set() {
		return false
	}
	have := labels.fields()
	for k, v := range selector.at("matchLabels").fields() {
		if got, ok := have[k]; !ok || !(value{got}).is((value{v}).open().v) && !(value{v}).unknown() {
			return false
		}
	}
	return true
}

// system are the namespaces of the releases of Falco and SPIRE.
func system(resources []Resource) map[string]bool {
	out := map[string]bool{}
	for _, r := range resources {
		switch chartOf(r) {
		case charts.FalcoName, charts.FalcosidekickName, charts.SPIREName, charts.SPIRECRDsName:
			if name := r.namespace().text(); name != "" {
				out[name] = true
			}
		}
	}
	return out
}

func workloads(resources []Resource) []Resource {
	trusted := system(resources)
	var out []Resource
	for _, r := range resources {
		if _, ok := workload(r); ok && !trusted[r.namespace().text()] {
			out = append(out, r)
		}
	}
	return out
}

func identifies(identity, w Resource) bool {
	p, _ := workload(w)
	if !selects(identity.in("spec", "podSelector"), p.metadata.at("labels")) {
		return false
	}
	ns := identity.in("spec", "namespaceSelector")
	return ns.unknown() || w.namespace().unknown() ||
		selects(ns, value{map[string]any{"kubernetes.io/metadata.name": w.namespace().open().v}})
}

func ownIdentity(resources []Resource) []finding {
	var out []finding
	all := workloads(resources)
	count := map[string]int{}
	for _, id := range resources {
		if !id.is(identityType) || id.in("spec").unknown() {
			continue
		}
		for _, selector := range []string{"podSelector", "namespaceSelector"} {
			if !id.in("spec", selector).set() {
				out = append(out, finding{id, "spec." + selector + " is empty: pods that nobody declared would get this identity"})
			}
		}
		var names []string
		for _, w := range all {
			if identifies(id, w) {
				count[w.URN]++
				names = append(names, w.Name)
			}
		}
		if len(names) > 1 {
			out = append(out, finding{id, "it selects the pods of " + strings.Join(names, " and ") + "; each must have an identity of its own"})
		}
	}
	for _, w := range all {
		if count[w.URN] != 1 {
			out = append(out, finding{w, fmt.Sprintf("%d ClusterSPIFFEIDs select its pods; it must be one", count[w.URN])})
		}
	}
	return out
}

func networkPolicy(resources []Resource) []finding {
	var out []finding
	var policies []Resource
	for _, r := range resources {
		if !r.is(networkPolicyType) {
			continue
		}
		policies = append(policies, r)
		for direction, peers := range map[string]string{"ingress": "from", "egress": "to"} {
			for i, rule := range r.in("spec", direction).list() {
				if !rule.at(peers).set() || !rule.at("ports").set() {
					out = append(out, finding{r, fmt.Sprintf("spec.%s[%d] names no peers or no ports: it allows everything", direction, i)})
				}
			}
		}
	}
	for _, w := range workloads(resources) {
		p, _ := workload(w)
		held := false
		for _, r := range policies {
			types := r.in("spec", "policyTypes")
			same := w.namespace().unknown() || r.namespace().unknown() || w.namespace().text() == r.namespace().text()
			if same && selects(r.in("spec", "podSelector"), p.metadata.at("labels")) && types.has("Ingress") && types.has("Egress") {
				held = true
			}
		}
		if !held {
			out = append(out, finding{w, "no NetworkPolicy for both Ingress and Egress selects its pods"})
		}
	}
	return out
}

func privileged(resources []Resource) []finding {
	trusted := system(resources)
	var out []finding
	for _, r := range resources {
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		if r.is(namespaceType) {
			name, level := r.in("metadata", "name"), r.in("metadata", "labels", "pod-security.kubernetes.io/enforce")
			if !name.unknown() && !trusted[name.text()] && !level.is("restricted") {
				bad("the namespace %s enforces the Pod Security level %s; it must be \"restricted\"", name.show(), level.show())
			}
			continue
		}
		p, ok := podOf(r)
		if !ok || r.namespace().unknown() || trusted[r.namespace().text()] {
			continue
		}
		for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
			if p.spec.at(field).v == true {
				bad("spec.%s is true in namespace %s", field, r.namespace().show())
			}
		}
		for _, v := range p.spec.at("volumes").list() {
			if v.at("hostPath").v != nil {
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
				if port.at("hostPort").set() && !port.at("hostPort").zero() {
					bad("container %s takes a port of the node", c.at("name").text())
				}
			}
		}
	}
	return out
}
