package policies

import (
	"fmt"
	"net/url"
	"strings"

	"spire-falco/charts"
)

// inOrder compares what resources need with what they depend on, directly or indirectly. Resources whose dependencies
// are unknown are skipped.
func inOrder(resources []Resource) []finding {
	g := graph{byURN: map[string]Resource{}, reached: map[string]map[string]bool{}}
	for _, r := range resources {
		g.byURN[r.URN] = r
	}
	var out []finding
	for _, r := range resources {
		if r.DependsOn == nil {
			continue
		}
		for _, n := range needs(r, resources) {
			if n.URN != r.URN && !g.reach(r.URN)[n.URN] {
				out = append(out, finding{r, fmt.Sprintf("it needs %s, but does not depend on it", n.Name)})
			}
		}
	}
	return out
}

type graph struct {
	byURN   map[string]Resource
	reached map[string]map[string]bool
}

// reach returns everything that a resource depends on.
func (g graph) reach(urn string) map[string]bool {
	if done, ok := g.reached[urn]; ok {
		return done
	}
	out := map[string]bool{}
	g.reached[urn] = out // also ends a cycle, which the engine would refuse
	for _, d := range g.byURN[urn].DependsOn {
		out[d] = true
		for further := range g.reach(d) {
			out[further] = true
		}
	}
	return out
}

// needs lists the resources that must exist for as long as r does.
func needs(r Resource, resources []Resource) []Resource {
	var out []Resource
	add := func(when func(other Resource) bool) {
		for _, other := range resources {
			if when(other) {
				out = append(out, other)
			}
		}
	}
	if ns := r.namespace().text(); ns != "" {
		add(func(o Resource) bool {
			return o.is("", "Namespace") && !o.kind().patch && o.in("metadata", "name").text() == ns
		})
	}
	switch chartOf(r) {
	case charts.FalcoName:
		for _, m := range rulesMounts(r) {
			add(func(o Resource) bool {
				return o.is("", "ConfigMap") && m.configMap.text() != "" && o.in("metadata", "name").text() == m.configMap.text()
			})
		}
		if receiver, err := url.Parse(r.in("values", "falco", "http_output", "url").text()); err == nil && receiver.Hostname() != "" {
			name, _, _ := strings.Cut(receiver.Hostname(), ".")
			// Falco does not retry alerts.
			add(func(o Resource) bool { return chartOf(o) == charts.FalcosidekickName && o.in("name").text() == name })
		}
	case charts.FalcosidekickName:
		if secret := r.in("values", "config", "existingSecret").text(); secret != "" {
			add(func(o Resource) bool {
				return o.is("", "Secret") && o.in("metadata", "name").text() == secret
			})
		}
	case charts.SPIREName:
		add(func(o Resource) bool { return chartOf(o) == charts.SPIRECRDsName })
	}
	if r.is(spireGroup, "ClusterSPIFFEID") {
		add(func(o Resource) bool { return chartOf(o) == charts.SPIRECRDsName })
	}
	for _, p := range whole(r) {
		w := work{r, p}
		if mountsWorkloadAPI(p) {
			// Pods that mount the CSI driver stay Terminating if it is removed before them.
			add(func(o Resource) bool { return chartOf(o) == charts.SPIREName })
			add(func(o Resource) bool { return o.is(spireGroup, "ClusterSPIFFEID") && identifies(o, w) == yes })
		}
		// Pods that start before their policy are open until it exists. A policy that names them is enough: one for the whole
		// namespace may come later.
		guard := func(named bool) func(o Resource) bool {
			return func(o Resource) bool {
				return o.is("networking.k8s.io", "NetworkPolicy") && !o.kind().patch && guards(o, w) == yes && narrow(o.in("spec", "podSelector")) == named
			}
		}
		before := len(out)
		if add(guard(true)); len(out) == before {
			add(guard(false))
		}
	}
	return out
}

func mountsWorkloadAPI(p pod) bool {
	for _, v := range p.spec.at("volumes").list() {
		if v.at("csi", "driver").text() == "csi.spiffe.io" {
			return true
		}
	}
	return false
}
