package policies

import (
	"fmt"
	"slices"
	"strings"
)

// eachPod checks every pod of a resource except those in patches, which are only checked for access to the node.
func eachPod(r Resource, judge func(p pod) []string) []string {
	var out []string
	for _, p := range whole(r) {
		out = append(out, judge(p)...)
	}
	return out
}

func nonRoot(r Resource) []string {
	out := eachPod(r, func(p pod) []string {
		return p.each(func(c value) bool {
			return p.security(c, "runAsNonRoot").is(true) && !p.security(c, "runAsUser").zero()
		}, "securityContext.runAsNonRoot must be true and runAsUser not 0")
	})
	for _, p := range podsOf(r) {
		if s := p.spec.at("securityContext"); p.patch && (s.at("runAsNonRoot").v == false || s.at("runAsUser").zero()) {
			out = append(out, "the patch lets pods run as root")
		}
		for _, c := range p.containers() {
			if s := c.at("securityContext"); p.patch && (s.at("runAsNonRoot").v == false || s.at("runAsUser").zero()) {
				out = append(out, fmt.Sprintf("the patch lets container %s run as root", c.at("name").text()))
			}
		}
	}
	return out
}

func readOnlyRoot(r Resource) []string {
	var out []string
	for _, p := range podsOf(r) {
		out = append(out, p.each(func(c value) bool {
			v := c.at("securityContext", "readOnlyRootFilesystem")
			return v.is(true) || p.patch && v.v == nil
		}, "securityContext.readOnlyRootFilesystem must be true")...)
	}
	return out
}

func noCapabilities(r Resource) []string {
	var out []string
	for _, p := range podsOf(r) {
		if !p.patch {
			out = append(out, p.each(func(c value) bool {
				caps := c.at("securityContext", "capabilities")
				profile := p.security(c, "seccompProfile").at("type")
				return caps.at("drop").has("ALL") && (caps.at("add").unknown() || len(caps.at("add").list()) == 0) &&
					c.at("securityContext", "allowPrivilegeEscalation").is(false) &&
					(profile.is("RuntimeDefault") || profile.is("Localhost"))
			}, "capabilities must drop ALL and add none, allowPrivilegeEscalation be false, and seccompProfile RuntimeDefault or Localhost")...)
		}
		out = append(out, securityContext(p.spec.at("securityContext"), "the pod")...)
		for _, c := range p.containers() {
			out = append(out, securityContext(c.at("securityContext"), "container "+c.at("name").text())...)
			if p.patch && c.at("securityContext", "allowPrivilegeEscalation").on() {
				out = append(out, fmt.Sprintf("the patch lets container %s gain privileges", c.at("name").text()))
			}
		}
		for _, key := range sortedKeys(p.metadata.at("annotations").fields()) {
			if profile := p.metadata.at("annotations", key).text(); unconfinedAnnotation.MatchString(key) && strings.Contains(profile, "unconfined") {
				out = append(out, fmt.Sprintf("the annotation %s turns a profile off", key))
			}
		}
	}
	return out
}

func noToken(r Resource) []string {
	k := r.kind()
	switch {
	case k.is("", "ServiceAccount"):
		v := r.in("automountServiceAccountToken")
		if v.is(false) || k.patch && v.v == nil {
			return nil
		}
		return []string{"automountServiceAccountToken is " + v.show() + "; it must be false"}
	case k.is("", "Secret") && r.in("type").is("kubernetes.io/service-account-token") && !r.in("type").unknown():
		return []string{"it makes a service account token that never expires"}
	case k.is("authentication.k8s.io", "TokenRequest"):
		return []string{"it requests a service account token"}
	}
	var out []string
	for _, p := range podsOf(r) {
		if v := p.spec.at("automountServiceAccountToken"); !v.is(false) && (!p.patch || v.v != nil) {
			out = append(out, "automountServiceAccountToken is "+v.show()+"; it must be false")
		}
		name, alias := p.spec.at("serviceAccountName"), p.spec.at("serviceAccount")
		if !p.patch && !name.set() || name.text() == "default" {
			out = append(out, "serviceAccountName is "+name.show()+"; it must be an account of the workload's own")
		}
		if alias.set() && !alias.unknown() && alias.text() != name.text() {
			out = append(out, "serviceAccount is "+alias.show()+", which is another account than serviceAccountName")
		}
		for _, volume := range elements(p.spec.at("volumes")) {
			for _, source := range volume.at("projected", "sources").list() {
				if source.at("serviceAccountToken").v != nil && !source.at("serviceAccountToken").unknown() {
					out = append(out, fmt.Sprintf("volume %s projects a service account token", volume.at("name").text()))
				}
			}
		}
	}
	return out
}

func limits(r Resource) []string {
	return eachPod(r, func(p pod) []string {
		return p.each(func(c value) bool {
			l := c.at("resources", "limits")
			return l.at("cpu").set() && l.at("memory").set() && !l.at("cpu").zero() && !l.at("memory").zero()
		}, "resources.limits must have cpu and memory")
	})
}

func imagesPinned(r Resource) []string {
	var out []string
	for _, p := range podsOf(r) {
		for _, c := range p.containers() {
			image := c.at("image")
			if image.unknown() || p.patch && image.v == nil || pinned(image.text()) {
				continue
			}
			out = append(out, fmt.Sprintf("container %s: image is %s; it must have a digest or a fixed tag", c.at("name").text(), image.show()))
		}
		for _, v := range elements(p.spec.at("volumes")) {
			if image := v.at("image", "reference"); v.at("image").set() && !image.unknown() && !pinned(image.text()) {
				out = append(out, fmt.Sprintf("volume %s: image is %s; it must have a digest or a fixed tag", v.at("name").text(), image.show()))
			}
		}
	}
	// A custom resource may name its images in other fields.
	if k := r.kind(); r.kubernetes() && !r.isRelease() && !k.builtin() && len(out) == 0 {
		walk(r.in("spec"), "spec", func(path string, v value) {
			if isImageKey(path) && v.text() != "" && !pinned(v.text()) {
				out = append(out, fmt.Sprintf("%s is %s; it must have a digest or a fixed tag", path, v.show()))
			}
		})
	}
	return out
}

// answer is yes, no, or perhaps when it depends on an unknown value.
type answer int

const (
	no answer = iota
	perhaps
	yes
)

// selects reports whether a label selector selects the labels. An empty selector selects everything; one with
// expressions, which this stack does not use, counts as selecting nothing.
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

// inNamespace reports whether the resource is in that namespace.
func inNamespace(r Resource, namespace value) answer {
	switch {
	case r.namespace().unknown() || namespace.unknown():
		return perhaps
	case r.namespace().text() != "" && r.namespace().text() == namespace.text():
		return yes
	}
	return no
}

// systemNamespaces returns the namespaces of the releases of Falco and SPIRE.
func systemNamespaces(resources []Resource) []string {
	var out []string
	for _, r := range resources {
		if name := r.namespace().text(); chartOf(r) != "" && name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}
