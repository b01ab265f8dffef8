package policies

import (
	"fmt"
	"regexp"
	"strings"

	"spire-falco/charts"
)

// identifies reports whether the ClusterSPIFFEID gives the pods of the workload its identity.
func identifies(identity Resource, w work) answer {
	namespace := w.namespace() // stays unknown if it is
	if !namespace.unknown() {
		namespace = value{map[string]any{"kubernetes.io/metadata.name": namespace.text()}}
	}
	return min(selects(identity.in("spec", "podSelector"), w.metadata.at("labels")), selects(identity.in("spec", "namespaceSelector"), namespace))
}

func ownIdentity(resources []Resource) []finding {
	var out []finding
	all := workloads(resources)
	count, unsure := map[string]int{}, map[string]bool{}
	var given []identity
	for _, r := range resources {
		k := r.kind()
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		if chartOf(r) == charts.SPIREName {
			for _, m := range chartIdentities(r) {
				bad("%s", m)
			}
		}
		if k.group != spireGroup && !strings.HasSuffix(k.group, "spiffe.io") {
			continue
		}
		if k.patch {
			if r.in("spec").v != nil {
				bad("spec: a patch changes an identity after it was judged; declare the whole object")
			}
			continue
		}
		for _, field := range []string{"admin", "downstream"} {
			if r.in("spec", field).on() {
				bad("spec.%s is %s: whoever has the identity could give out others", field, r.in("spec", field).show())
			}
		}
		if r.in("spec", "federatesWith").set() && !r.in("spec", "federatesWith").unknown() {
			bad("spec.federatesWith trusts the identities of another trust domain")
		}
		id := identity{Resource: r}
		switch k.name {
		case "ClusterSPIFFEID":
			id.template = r.in("spec", "spiffeIDTemplate").text()
			for _, selector := range []string{"podSelector", "namespaceSelector"} {
				if s := r.in("spec", selector); !s.unknown() && !s.at("matchLabels").set() {
					bad("spec.%s is empty: pods that nobody declared would get this identity", selector)
				}
			}
			var names []string
			possible := false
			for _, w := range all {
				switch identifies(r, w) {
				case yes:
					count[w.key()]++
					names = append(names, w.Name)
					id.workload = &w
				case perhaps:
					unsure[w.key()] = true
					possible = true
				case no:
				}
			}
			if len(names) > 1 {
				bad("it selects the pods of %s; each must have an identity of its own", strings.Join(names, " and "))
			}
			if len(names) == 0 && !possible && !r.in("spec").unknown() {
				bad("it selects no pods of the stack: others that nobody declared could get this identity")
			}
		case "ClusterStaticEntry":
			id.template = r.in("spec", "spiffeID").text()
			if selectors := r.in("spec", "selectors"); !selectors.set() {
				bad("spec.selectors is empty: every process would get this identity")
			}
			for _, s := range texts(r.in("spec", "selectors")) {
				if strings.HasPrefix(s, "k8s:") {
					bad("spec.selectors selects pods by %q; a workload has its own ClusterSPIFFEID", s)
				}
				if s == "unix:uid:0" || s == "unix:gid:0" || s == "unix:user:root" || s == "unix:group:root" {
					bad("spec.selectors has %q: every program of root would get this identity", s)
				}
			}
		default:
			bad("%s gives or trusts identities that no policy reads", k.name)
			continue
		}
		if r.in("spec").partly() {
			continue
		}
		if wrong := id.wrong(); wrong != "" {
			bad("%s", wrong)
		}
		given = append(given, id)
	}
	for _, w := range all {
		if n := count[w.key()]; n > 1 || n == 0 && !unsure[w.key()] {
			out = append(out, finding{w.Resource, fmt.Sprintf("%d ClusterSPIFFEIDs select its pods; it must be one", n)})
		}
	}
	for i, a := range given {
		for j, b := range given {
			if i != j && a.covers(b) {
				out = append(out, finding{a.Resource, fmt.Sprintf("it gives the SPIFFE ID of %s too", b.Name)})
			}
		}
	}
	return out
}

// identity is what one object of SPIRE's controller manager assigns.
type identity struct {
	Resource
	template string
	// workload is the stack's workload that it selects; nil for none.
	workload *work
}

var placeholder = regexp.MustCompile(`\{\{-?\s*([^}]*?)\s*-?\}\}`)

// wrong returns what is wrong with the SPIFFE ID itself.
func (id identity) wrong() string {
	path := strings.TrimPrefix(id.template, "spiffe://")
	switch {
	case path == id.template:
		return fmt.Sprintf("its SPIFFE ID is %s; it must begin with spiffe://", value{id.template}.show())
	case !strings.Contains(path, "/"):
		return "its SPIFFE ID is that of the trust domain itself"
	case strings.HasPrefix(path[strings.Index(path, "/"):], "/spire/"):
		return "its SPIFFE ID is one of SPIRE's own"
	}
	for _, m := range placeholder.FindAllStringSubmatch(path[strings.Index(path, "/"):], -1) {
		switch m[1] {
		case ".PodMeta.Namespace", ".PodSpec.ServiceAccountName", ".ClusterName", ".PodMeta.Name", ".PodMeta.UID":
		default:
			return fmt.Sprintf("its SPIFFE ID holds {{ %s }}, which the pod itself can choose", m[1])
		}
	}
	return ""
}

// covers reports whether this identity can have the SPIFFE ID of the other.
func (id identity) covers(other identity) bool {
	if id.template == "" || other.template == "" {
		return false
	}
	return strings.EqualFold(id.template, other.template) && !strings.Contains(id.template, "{{") ||
		id.pattern().MatchString(other.sample())
}

// fill replaces the placeholders by what is known of the workload, and by rest for everything else.
func (id identity) fill(rest func(field string) string, literal func(string) string) string {
	out, at := "", 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(id.template, -1) {
		out += literal(id.template[at:m[0]])
		field := id.template[m[2]:m[3]]
		switch {
		case field == ".PodMeta.Namespace" && id.workload != nil:
			out += literal(id.workload.namespace().text())
		case field == ".PodSpec.ServiceAccountName" && id.workload != nil:
			out += literal(id.workload.spec.at("serviceAccountName").text())
		default:
			out += rest(field)
		}
		at = m[1]
	}
	return out + literal(id.template[at:])
}

func (id identity) pattern() *regexp.Regexp {
	return regexp.MustCompile("(?i)^" + id.fill(func(string) string { return `[^/]+` }, regexp.QuoteMeta) + "$")
}

// sample is one SPIFFE ID that is assigned.
func (id identity) sample() string {
	return id.fill(func(string) string { return "x" }, func(s string) string { return s })
}

// chartIdentities reports identities in the values of the chart spire.
func chartIdentities(r Resource) []string {
	var out []string
	manager := r.in("values", "spire-server", "controllerManager", "identities")
	if v := manager.at("clusterSPIFFEIDs", "default", "enabled"); !v.is(false) {
		out = append(out, fmt.Sprintf("values.spire-server.controllerManager.identities.clusterSPIFFEIDs.default.enabled is %s; it must be false: the chart would give every pod an identity", v.show()))
	}
	for _, group := range []string{"clusterSPIFFEIDs", "clusterStaticEntries", "clusterFederatedTrustDomains"} {
		fields := manager.at(group).fields()
		for _, name := range sortedKeys(fields) {
			entry := value{fields[name]}
			if group == "clusterSPIFFEIDs" && name == "default" || entry.at("enabled").is(false) || entry.open().v == nil {
				continue
			}
			out = append(out, fmt.Sprintf("values.spire-server.controllerManager.identities.%s.%s gives identities that no policy reads", group, name))
		}
	}
	for _, path := range [][]string{{"spire-server", "tornjak", "enabled"}, {"spire-server", "federation", "enabled"}, {"spire-agent", "insecureBootstrap"}} {
		if r.in(append([]string{"values"}, path...)...).on() {
			out = append(out, fmt.Sprintf("values.%s is on: identities could be had or given out without the stack", strings.Join(path, ".")))
		}
	}
	return out
}
