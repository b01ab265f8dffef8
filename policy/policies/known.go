package policies

import (
	"fmt"
	"slices"
	"strings"
)

// opaque are modules of the provider whose resources create what is in files, folders or charts that no policy reads:
// ConfigFile, ConfigGroup, Directory, Chart.
var opaque = []string{"yaml", "kustomize", "helm.sh"}

// makers are kinds of controllers that create objects out of charts, repositories or templates.
var makers = []string{
	"HelmRelease", "HelmChart", "HelmChartConfig", "HelmRepository", "Kustomization", "GitRepository", "OCIRepository", "Application", "ApplicationSet", "AppProject",
	"ClusterResourceSet", "Subscription", "CatalogSource", "Addon", "Bundle", "GitRepo", "App", "PackageInstall", "Configuration", "Provider",
}

// judgedOneByOne refuses what creates objects that are not in the plan, and an object that is not of the kind that its
// type token says: policies go by the token.
func judgedOneByOne(r Resource) []string {
	if strings.HasPrefix(r.Type, "kubernetes-") {
		return []string{fmt.Sprintf("%s is a component that creates objects of Kubernetes, which no policy reads", r.Type)}
	}
	token, ok := strings.CutPrefix(r.Type, "kubernetes:")
	if !ok {
		return nil
	}
	module, name, _ := strings.Cut(token, ":")
	if k := r.kind(); !k.builtin() && slices.Contains(makers, k.name) {
		return []string{fmt.Sprintf("a %s has a controller create objects that no policy reads; register each object", k.name)}
	}
	if r.isRelease() {
		return nil
	}
	if group, _, _ := strings.Cut(module, "/"); slices.Contains(opaque, group) {
		return []string{fmt.Sprintf("%s creates objects that no policy reads; register each object, or a release of a chart of the table", token)}
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

// groupOf is the API group of an apiVersion; the core group has none.
func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok || group == "core" {
		return ""
	}
	return group
}

// unread are fields that the API server sets and no policy reads.
var unread = map[string]bool{
	"status": true, "metadata.uid": true, "metadata.resourceVersion": true, "metadata.creationTimestamp": true,
	"metadata.generation": true, "metadata.selfLink": true, "metadata.managedFields": true,
	"resourceNames": true, "checksum": true, "manifest": true, // of a release
}

// known reports what a preview cannot know. The values of a Secret are the exception: policies do not read them.
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
				out = append(out, path+" is not known before up, so that no policy can judge it; give a value that is known")
			}
		})
	}
	return out
}
