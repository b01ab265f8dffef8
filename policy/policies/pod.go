package policies

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// pod is a pod or a pod template anywhere in a resource.
type pod struct {
	metadata, spec value
	// patch is set when the resource changes an object that exists: what it does not mention is not missing.
	patch bool
}

// work is a pod and the resource that contains it.
type work struct {
	Resource
	pod
}

// containerLists are the fields that identify a pod spec; the last two are Tekton's.
var containerLists = []string{"initContainers", "containers", "ephemeralContainers", "steps", "sidecars"}

// singleContainers are fields with one container instead of a list, as in Argo's templates.
var singleContainers = []string{"container", "script"}

// podsOf returns the pods of a resource, which prepare has found.
func podsOf(r Resource) []pod { return r.pods }

// findPods finds every pod spec of a resource by its shape, not by the kind: a custom resource may contain one
// anywhere.
func findPods(r Resource) []pod {
	k := r.kind()
	if !r.kubernetes() || r.isRelease() || k.is("", "Secret", "ConfigMap") || k.is("apiextensions.k8s.io", "CustomResourceDefinition") {
		return nil
	}
	known := templateOf(k, r)
	var out []pod
	var find func(v value, metadata value)
	find = func(v value, metadata value) {
		v = v.open()
		fields := v.fields()
		if isPodSpec(fields) || sameMap(known, v) {
			out = append(out, pod{metadata: metadata, spec: v, patch: k.patch && k.builtin()})
		}
		for _, key := range sortedKeys(fields) {
			if r.item == "" && key == "items" && strings.HasSuffix(r.Type, "List") {
				continue // expand has added them as resources
			}
			below := v.at("metadata")
			if key != "spec" && !slices.Contains(singleContainers, key) {
				below = metadata
			}
			find(value{fields[key]}, below)
		}
		for _, item := range v.list() {
			find(item, metadata)
		}
	}
	find(value{r.Inputs}, r.in("metadata"))
	return out
}

// templateOf returns where the kind has its pod spec, which is one even without containers, as in a patch.
func templateOf(k kind, r Resource) value {
	switch {
	case k.is("", "Pod"):
		return r.in("spec")
	case k.is("", "PodTemplate"):
		return r.in("template", "spec")
	case k.is("batch", "CronJob"):
		return r.in("spec", "jobTemplate", "spec", "template", "spec")
	case k.is("apps", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"), k.is("", "ReplicationController"), k.is("batch", "Job"),
		k.is("extensions", "Deployment", "DaemonSet", "ReplicaSet"):
		return r.in("spec", "template", "spec")
	}
	return value{}
}

// sameMap reports whether both are one map, not two alike.
func sameMap(a, b value) bool {
	return a.fields() != nil && b.fields() != nil && reflect.ValueOf(a.fields()).Pointer() == reflect.ValueOf(b.fields()).Pointer()
}

func isPodSpec(fields map[string]any) bool {
	for _, key := range containerLists {
		for _, c := range elements(value{fields[key]}) {
			if isContainer(c, key == "steps" || key == "sidecars") {
				return true
			}
		}
	}
	for _, key := range singleContainers {
		if isContainer(value{fields[key]}, true) {
			return true
		}
	}
	return false
}

// isContainer reports whether v looks like a container; a step is one only with an image.
func isContainer(v value, needsImage bool) bool {
	fields := v.fields()
	if fields == nil {
		return false
	}
	if _, ok := fields["image"]; ok {
		return true
	}
	return !needsImage && (value{fields["name"]}.set() || value{fields["securityContext"]}.set() || value{fields["command"]}.set())
}

// elements returns the elements of a list, or the values of a map that is used like one.
func elements(v value) []value {
	out := v.list()
	fields := v.fields()
	for _, k := range sortedKeys(fields) {
		out = append(out, value{fields[k]}.open())
	}
	return out
}

// containers returns the pod's containers of every kind.
func (p pod) containers() []value {
	var out []value
	for _, key := range containerLists {
		out = append(out, elements(p.spec.at(key))...)
	}
	for _, key := range singleContainers {
		if c := p.spec.at(key); c.fields() != nil {
			out = append(out, c)
		}
	}
	return out
}

// each checks every container and reports which ones fail.
func (p pod) each(ok func(c value) bool, want string) []string {
	var out []string
	for _, c := range p.containers() {
		if !c.unknown() && !ok(c) {
			out = append(out, fmt.Sprintf("container %s: %s", c.at("name").text(), want))
		}
	}
	return out
}

// security returns a field of the container's security context, or else of the pod's.
func (p pod) security(c value, field string) value {
	if v := c.at("securityContext", field); v.v != nil {
		return v
	}
	return p.spec.at("securityContext", field)
}

// whole returns the pods that a resource creates, without those of a patch.
func whole(r Resource) []pod {
	var out []pod
	for _, p := range podsOf(r) {
		if !p.patch {
			out = append(out, p)
		}
	}
	return out
}

// workloads returns every pod of the stack except those of charts.
func workloads(resources []Resource) []work {
	var out []work
	for _, r := range resources {
		for _, p := range whole(r) {
			if r.in("spec").unknown() {
				continue
			}
			out = append(out, work{r, p})
		}
	}
	return out
}
