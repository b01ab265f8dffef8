package policies

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// Limits of the addresses that policies of one namespace may open in one direction. They allow the private ranges of
// IPv4 (18 million addresses), but not the internet in pieces.
const (
	widestV4    = 8       // the shortest prefix
	mostV4      = 1 << 25 // addresses together
	widestV6    = 32      // the shortest prefix outside of the private ranges
	mostV6      = 29      // all together at most a prefix of this length
	widestPorts = 100     // the longest range of ports
)

func networkPolicy(resources []Resource) []finding {
	var out []finding
	var all []Resource
	open := addresses{}
	for _, r := range resources {
		k := r.kind()
		if !r.kubernetes() || !strings.HasSuffix(k.name, "NetworkPolicy") && k.name != "NetworkPolicySet" {
			continue
		}
		bad := func(format string, args ...any) { out = append(out, finding{r, fmt.Sprintf(format, args...)}) }
		if k.group != "networking.k8s.io" && k.group != "extensions" || k.name != "NetworkPolicy" {
			bad("%s is not a NetworkPolicy of Kubernetes: it can open what that closes, and no policy reads it", r.Type)
			continue
		}
		if !k.patch {
			all = append(all, r)
		}
		for _, m := range open.judge(r, k.patch) {
			bad("%s", m)
		}
	}
	selectors := selectorKeys(resources)
	for _, r := range resources {
		for _, p := range podsOf(r) {
			for key := range p.metadata.at("labels").fields() {
				if p.patch && slices.Contains(selectors, key) && !sameMap(p.metadata, r.in("metadata")) {
					out = append(out, finding{r, fmt.Sprintf("the patch changes the label %s, by which network policies and identities select pods", key)})
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
			out = append(out, finding{w.Resource, "no NetworkPolicy for both Ingress and Egress selects its pods"})
		}
	}
	return out
}

// selectorKeys are the labels by which the stack's policies and identities select pods.
func selectorKeys(resources []Resource) []string {
	var out []string
	for _, r := range resources {
		if r.is("networking.k8s.io", "NetworkPolicy") || r.is(spireGroup, "ClusterSPIFFEID") {
			out = append(out, sortedKeys(r.in("spec", "podSelector", "matchLabels").fields())...)
		}
	}
	return out
}

// guards reports whether the NetworkPolicy selects the pods of the workload.
func guards(networkPolicy Resource, w work) answer {
	return min(inNamespace(networkPolicy, w.namespace()), selects(networkPolicy.in("spec", "podSelector"), w.metadata.at("labels")))
}

// addresses are the IP blocks that policies open, by namespace, direction and family.
type addresses map[string][]netip.Prefix

func (a addresses) judge(r Resource, patch bool) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	onlyNames := true // every rule is for the cluster's DNS
	rules := 0
	for _, d := range []struct{ direction, peers string }{{"ingress", "from"}, {"egress", "to"}} {
		list := r.in("spec", d.direction)
		if list.set() && !list.unknown() && len(list.list()) == 0 {
			bad("spec.%s is not a list", d.direction)
		}
		for i, rule := range list.list() {
			rules++
			at := fmt.Sprintf("spec.%s[%d]", d.direction, i)
			if !rule.at(d.peers).set() || !rule.at("ports").set() {
				bad("%s names no peers or no ports: it allows everything", at)
				onlyNames = false
				continue
			}
			for j, p := range rule.at(d.peers).list() {
				if wrong := a.peer(p, r.namespace().text()+" "+d.direction); wrong != "" {
					bad("%s.%s[%d] %s", at, d.peers, j, wrong)
				}
			}
			for j, p := range rule.at("ports").list() {
				if wrong := wrongPort(p); wrong != "" {
					bad("%s.ports[%d] %s", at, j, wrong)
				}
				port, ok := p.at("port").number()
				onlyNames = onlyNames && d.direction == "egress" && ok && port == 53
			}
		}
	}
	if selector := r.in("spec", "podSelector"); !patch && rules > 0 && !onlyNames && !narrow(selector) && !selector.unknown() {
		bad("spec.podSelector selects every pod of the namespace: what the rules allow is allowed to all of them")
	}
	return out
}

// narrow reports whether a selector names what it selects: by labels, or by expressions that list values.
func narrow(selector value) bool {
	if selector.unknown() || selector.at("matchLabels").set() {
		return true
	}
	for _, e := range selector.at("matchExpressions").list() {
		if e.at("operator").is("In") && len(e.at("values").list()) > 0 {
			return true
		}
	}
	return false
}

func (a addresses) peer(p value, where string) string {
	if p.unknown() {
		return ""
	}
	pods, namespaces, block := p.at("podSelector"), p.at("namespaceSelector"), p.at("ipBlock")
	switch {
	case block.v != nil:
		if block.at("cidr").unknown() || block.unknown() {
			return ""
		}
		return a.block(block.at("cidr").text(), where)
	case namespaces.v != nil && !narrow(namespaces):
		return "selects every namespace"
	case namespaces.v == nil && !narrow(pods):
		return "names no pods: it allows everything in the namespace"
	case pods.v != nil && !narrow(pods) && len(pods.fields()) > 0:
		return "selects pods by an expression that lists no values"
	}
	return ""
}

var (
	privateV6 = []netip.Prefix{netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10")}
	metadata  = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00:ec2::254/128")}
)

// block checks one IP block, and all of the same direction together: two halves of the internet are the internet.
func (a addresses) block(cidr, where string) string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return fmt.Sprintf("ipBlock.cidr is %s, which is not a CIDR", value{cidr}.show())
	}
	p = p.Masked()
	for _, m := range metadata {
		if p.Overlaps(m) && (p.Addr().Is4() || p.Bits() >= widestV6) { // a wider range of IPv6 is chosen for other addresses
			return fmt.Sprintf("ipBlock.cidr %s holds the metadata service of the cloud, which gives out the node's credentials", p)
		}
	}
	family := " v4"
	switch {
	case p.Addr().Is4In6() || p.Addr().Is6() && p.Overlaps(netip.MustParsePrefix("::ffff:0:0/96")):
		return fmt.Sprintf("ipBlock.cidr %s is IPv4 in another form", p)
	case p.Addr().Is4():
		if p.Bits() < widestV4 {
			return fmt.Sprintf("ipBlock.cidr %s is open to all; a prefix must have %d bits or more", p, widestV4)
		}
	default:
		family = " v6"
		for _, private := range privateV6 {
			if private.Contains(p.Addr()) && p.Bits() >= private.Bits() {
				return ""
			}
		}
		if p.Bits() < widestV6 {
			return fmt.Sprintf("ipBlock.cidr %s is open to all; a prefix must have %d bits or more", p, widestV6)
		}
	}
	for _, known := range a[where+family] {
		if known.Bits() <= p.Bits() && known.Contains(p.Addr()) {
			return "" // counted already
		}
	}
	a[where+family] = append(a[where+family], p)
	sum, most := 0.0, float64(mostV4)
	for _, known := range a[where+family] {
		sum += math.Pow(2, float64(known.Addr().BitLen()-known.Bits()))
	}
	if family == " v6" {
		most = math.Pow(2, 128-mostV6)
	}
	if sum > most {
		return fmt.Sprintf("ipBlock.cidr %s: together with the others the blocks are open to all", p)
	}
	return ""
}

func wrongPort(p value) string {
	if p.unknown() || p.at("port").unknown() {
		return ""
	}
	port, isNumber := p.at("port").number()
	end, ranged := p.at("endPort").number()
	switch {
	case !p.at("port").set() || isNumber && port == 0:
		return "names no port: it allows all of them"
	case ranged && isNumber && end-port >= widestPorts:
		return fmt.Sprintf("allows %.0f ports; a range must be shorter than %d", end-port+1, widestPorts)
	}
	return ""
}

// exposed are the types of Service that are reachable from outside the cluster.
var exposed = []string{"NodePort", "LoadBalancer", "ExternalName"}

// gateways are kinds, of any group, that expose a Service outside the cluster.
var gateways = []string{
	"Ingress", "IngressRoute", "IngressRouteTCP", "IngressRouteUDP", "Gateway", "HTTPRoute", "TCPRoute", "TLSRoute", "GRPCRoute", "UDPRoute", "Route", "HTTPProxy", "VirtualService",
}

func servicesInside(r Resource) []string {
	if !r.kubernetes() {
		return nil
	}
	k := r.kind()
	if slices.Contains(gateways, k.name) {
		return []string{fmt.Sprintf("%s opens a Service to outside of the cluster", k.name)}
	}
	if !k.is("", "Service") {
		return nil
	}
	var out []string
	spec := r.in("spec")
	if t := spec.at("type"); t.set() && !t.unknown() && t.text() != "ClusterIP" {
		out = append(out, fmt.Sprintf("spec.type is %s; it must be ClusterIP", t.show()))
	}
	for _, field := range []string{"externalIPs", "externalName", "loadBalancerIP", "loadBalancerSourceRanges", "loadBalancerClass"} {
		if v := spec.at(field); v.set() && !v.unknown() {
			out = append(out, fmt.Sprintf("spec.%s is set: the Service reaches outside of the cluster", field))
		}
	}
	for i, port := range spec.at("ports").list() {
		if v := port.at("nodePort"); v.set() && !v.zero() && !v.unknown() {
			out = append(out, fmt.Sprintf("spec.ports[%d].nodePort is a port of every node", i))
		}
	}
	return out
}
