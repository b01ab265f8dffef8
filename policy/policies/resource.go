// Package policies judges the resources of the stack before they are created. Its judgement is plain: it needs neither the
// engine nor the SDK of Pulumi. The command in the folder above registers the policies with Pulumi, and Evaluate runs them
// in any process that has the resources.
package policies

import (
	"fmt"
	"slices"
	"strings"
)

// Resource is one resource as the program registers it.
type Resource struct {
	// URN of the resource; it must differ between resources.
	URN string
	// Type token, such as kubernetes:core/v1:ConfigMap.
	Type string
	// Name in the program.
	Name string
	// Inputs are plain: nil, bool, float64, int, string, map[string]any and []any, with Unknown and Secret among them.
	Inputs map[string]any
	// DependsOn lists the URNs of what the resource depends on. Nil means that they are not known, and the order of the
	// stack is not judged then.
	DependsOn []string

	item  string // the place in the list that the resource was taken out of, such as .items[0]
	chart string // the chart of the table that the release installs; empty for anything else
	pods  []pod
}

// Unknown stands for a value that is only known once something has been created. It is a violation wherever a policy
// reads it: what cannot be judged must not pass.
type Unknown struct{}

// Secret marks a value that Pulumi keeps secret.
type Secret struct {
	// Value is what is secret; Unknown when it is not known or was taken out.
	Value any
}

// in is a value inside the inputs.
func (r Resource) in(path ...string) value { return value{r.Inputs}.at(path...) }

// key tells the resource apart from all others, also from its neighbours in a list.
func (r Resource) key() string { return r.URN + r.item }

// namespace that the resource is in; the same for a Helm release.
func (r Resource) namespace() value {
	if r.isRelease() {
		return r.in("namespace")
	}
	return r.in("metadata", "namespace")
}

// releaseType is the one resource of Helm that names its chart, version and values.
const releaseType = "kubernetes:helm.sh/v3:Release"

func (r Resource) isRelease() bool { return r.Type == releaseType }

// kubernetes tells whether the resource is one of Kubernetes.
func (r Resource) kubernetes() bool { return strings.HasPrefix(r.Type, "kubernetes:") }

// kind is what a type token such as kubernetes:apps/v1:Deployment says.
type kind struct {
	group, name string // the core group is ""
	// patch is set when the resource changes an object that exists: what it does not mention is not missing.
	patch bool
}

// builtin are the API groups of Kubernetes itself besides those that end in .k8s.io.
var builtin = []string{"", "apps", "batch", "extensions", "autoscaling", "policy"}

func (k kind) builtin() bool {
	return slices.Contains(builtin, k.group) || strings.HasSuffix(k.group, ".k8s.io")
}

// is tells whether the kind is one of names in the group.
func (k kind) is(group string, names ...string) bool {
	return k.group == group && slices.Contains(names, k.name)
}

// kind of the resource; zero when it is not one of Kubernetes.
func (r Resource) kind() kind {
	token, ok := strings.CutPrefix(r.Type, "kubernetes:")
	if !ok {
		return kind{group: "-"}
	}
	module, name, _ := strings.Cut(token, ":")
	group, _, _ := strings.Cut(module, "/")
	if group == "core" || group == "v1" {
		group = ""
	}
	k := kind{group: group, name: name}
	if base, ok := strings.CutSuffix(name, "Patch"); ok && base != "" {
		k.name, k.patch = base, true
	}
	return k
}

func (r Resource) is(group string, names ...string) bool { return r.kind().is(group, names...) }

const spireGroup = "spire.spiffe.io"

// expand adds the items of lists, and the objects that custom resources carry, as resources of their own: somebody creates
// each of them.
func expand(resources []Resource) []Resource {
	out := make([]Resource, 0, len(resources))
	for _, r := range resources {
		out = append(out, r)
		if r.kubernetes() {
			out = append(out, itemsOf(r, 0)...)
			out = append(out, carried(r)...)
		}
	}
	return out
}

// carried are whole objects inside a custom resource, such as the manifest of a Crossplane Object.
func carried(r Resource) []Resource {
	if r.isRelease() || r.kind().builtin() {
		return nil
	}
	var out []Resource
	for _, key := range sortedKeys(r.Inputs) {
		walk(value{r.Inputs[key]}, "."+key, func(path string, v value) {
			name, version := v.at("kind").text(), v.at("apiVersion").text()
			if name == "" || version == "" || v.at("metadata").fields() == nil {
				return
			}
			one := r
			one.item, one.Name, one.Inputs = path, r.Name+path, v.fields()
			one.Type = tokenOf(version, name)
			out = append(out, one)
		})
	}
	return out
}

func tokenOf(apiVersion, kind string) string {
	if apiVersion == "v1" {
		apiVersion = "core/v1"
	}
	return "kubernetes:" + apiVersion + ":" + kind
}

// deepest is how far lists of lists are followed; the API server takes none.
const deepest = 4

func itemsOf(r Resource, depth int) []Resource {
	listKind, ok := strings.CutSuffix(r.Type[strings.LastIndex(r.Type, ":")+1:], "List")
	if !ok || depth == deepest {
		return nil
	}
	var out []Resource
	for i, item := range r.in("items").list() {
		one := r
		one.item = fmt.Sprintf("%s.items[%d]", r.item, i)
		one.Name = fmt.Sprintf("%s.items[%d]", r.Name, i)
		one.Inputs = item.fields()
		if name := item.at("kind").text(); name != "" {
			one.Type = tokenOf(item.at("apiVersion").text(), name)
		} else {
			one.Type = r.Type[:strings.LastIndex(r.Type, ":")+1] + listKind
		}
		out = append(out, one)
		out = append(out, itemsOf(one, depth+1)...)
	}
	return out
}
