package policies

import (
	"fmt"
	"slices"
	"strings"
)

// opaque are modules of the provider whose resources create objects from files, directories or charts that no policy
// reads: ConfigFile, ConfigGroup, Directory, Chart.
var opaque = []string{"yaml", "kustomize", "helm.sh"}

// makers are kinds whose controllers create objects from charts, repositories or templates.
var makers = []string{
	"HelmRelease", "HelmChart", "HelmChartConfig", "HelmRepository", "Kustomization", "GitRepository", "OCIRepository", "Application", "ApplicationSet", "AppProject",
	"ClusterResourceSet", "Subscription", "CatalogSource", "Addon", "Bundle", "GitRepo", "App", "PackageInstall", "Configuration", "Provider",
}

// judgedOneByOne refuses resources that create objects outside the plan, and objects of another kind than their type
// token says, because policies use the token.
func judgedOneByOne(r Resource) []string {
	if strings.HasPrefix(r.Type, "kubernetes-") {
		return []string{r.Type + " is a component that creates Kubernetes objects that no policy reads"}
	}
	token, ok := strings.CutPrefix(r.Type, "kubernetes:")
	if !ok {
		return nil
	}
	module, name, _ := strings.Cut(token, ":")
	if k := r.kind(); !k.builtin() && slices.Contains(makers, k.name) {
		return []string{"a controller of " + k.name + " creates objects that no policy reads; register each object"}
	}
	if r.isRelease() {
		return nil
	}
	if group, _, _ := strings.Cut(module, "/"); slices.Contains(opaque, group) {
		return []string{token + " creates objects that no policy reads; register each object, or a release of a known chart"}
	}
	var out []string
	k := r.kind()
	if got := r.in("kind"); got.set() && !got.unknown() && got.text() != name && got.text() != k.name {
		out = append(out, fmt.Sprintf("kind is %s, but its type token says %q", got.show(), name))
	}
	if got := r.in("apiVersion"); got.set() && !got.unknown() && groupOf(got.text()) != k.group {
		out = append(out, fmt.Sprintf("apiVersion is %s, but its type token says %q", got.show(), module))
	}
	if strings.HasSuffix(name, "List") {
		for i, item := range r.in("items").list() {
			if item.fields() == nil && !item.unknown() {
				out = append(out, fmt.Sprintf("items[%d] is not an object", i))
			}
		}
	}
	return out
}

// groupOf returns the API group of an apiVersion; the core group is empty.
func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok || group == "core" {
		return ""
	}
	return group
}

// unread are fields that the API server sets, so that no policy reads them.
var unread = map[string]bool{
	"status": true, "metadata.uid": true, "metadata.resourceVersion": true, "metadata.creationTimestamp": true,
	"metadata.generation": true, "metadata.selfLink": true, "metadata.managedFields": true,
	"resourceNames": true, "checksum": true, "manifest": true, // of a release
}

// known reports values that are unknown in a preview, except those of Secrets, which policies do not read.
func known(r Resource) []string {
	if !r.kubernetes() || r.item != "" { // the list itself reports its items
		return nil
	}
	var out []string
	secret := r.is("", "Secret")
	for _, key := range sortedKeys(r.Inputs) {
		if unread[key] || secret && (key == "data" || key == "stringData") {
			continue
		}
		walk(value{r.Inputs[key]}, key, func(path string, v value) {
			if v.unknown() && !unread[path] {
				out = append(out, path+" is not known before up, so no policy can check it; use a known value")
			}
		})
	}
	return out
}
