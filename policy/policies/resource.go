// Package policies checks the resources of the stack before they are created. It needs neither Pulumi's engine nor its
// SDK: Evaluate runs the policies in any process that has the resources, and the command in the parent directory
// registers them with Pulumi.
package policies

import (
	"fmt"
	"slices"
	"strings"
)

// Resource is one resource as the program registers it.
type Resource struct {
	// URN is the URN of the resource, which must be unique.
	URN string
	// Type is the type token, such as kubernetes:core/v1:ConfigMap.
	Type string
	// Name is the name in the program.
	Name string
	// Inputs are plain: nil, bool, float64, int, string, map[string]any and []any, with Unknown and Secret among them.
	Inputs map[string]any
	// DependsOn lists the URNs of the resources that this one depends on. Nil means that they are unknown; then the order
	// of the stack is not checked.
	DependsOn []string

	item  string // the place in the list that contains the resource, such as .items[0]
	chart string // the known chart that the release installs; empty for anything else
	pods  []pod
}

// Unknown is a value that is only known once something has been created. It is a violation wherever a policy reads it:
// a value that cannot be checked must not pass.
type Unknown struct{}

// Secret marks a value that Pulumi keeps secret.
type Secret struct {
	// Value is the secret value; Unknown when it is unknown or masked.
	Value any
}

// in returns a value inside the inputs.
func (r Resource) in(path ...string) value { return value{r.Inputs}.at(path...) }

// key identifies the resource, also among the items of a list.
func (r Resource) key() string { return r.URN + r.item }

// namespace returns the namespace of a resource or a Helm release.
func (r Resource) namespace() value {
	if r.isRelease() {
		return r.in("namespace")
	}
	return r.in("metadata", "namespace")
}

// releaseType is the only Helm resource that states its chart, version and values.
const releaseType = "kubernetes:helm.sh/v3:Release"

func (r Resource) isRelease() bool { return r.Type == releaseType }

// kubernetes reports whether the resource is one of Kubernetes.
func (r Resource) kubernetes() bool { return strings.HasPrefix(r.Type, "kubernetes:") }

// kind is the kind in a type token such as kubernetes:apps/v1:Deployment.
type kind struct {
	group, name string // the core group is ""
	// patch is set when the resource changes an object that exists: what it does not mention is not missing.
	patch bool
}

// builtin are Kubernetes' own API groups besides those that end in .k8s.io.
var builtin = []string{"", "apps", "batch", "extensions", "autoscaling", "policy"}

func (k kind) builtin() bool {
	return slices.Contains(builtin, k.group) || strings.HasSuffix(k.group, ".k8s.io")
}

// is reports whether the kind is one of names in the group.
func (k kind) is(group string, names ...string) bool {
	return k.group == group && slices.Contains(names, k.name)
}

// kind returns the kind of the resource; zero when it is not a Kubernetes resource.
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

// expand adds the items of lists, and the objects inside custom resources, as resources: each of them will be created.
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

// deepest is how far lists of lists are followed; the API server accepts none.
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
