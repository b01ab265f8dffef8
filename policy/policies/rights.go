package policies

import (
	"fmt"
	"slices"
	"strings"
)

const (
	rbacGroup      = "rbac.authorization.k8s.io"
	admissionGroup = "admissionregistration.k8s.io"
)

// harmless are Kubernetes' own roles that only grant what every client may do.
var harmless = []string{
	"view", "system:auth-delegator", "system:discovery", "system:basic-user", "system:public-info-viewer", "extension-apiserver-authentication-reader",
}

// broadGroups are subjects that include whole groups of accounts.
var broadGroups = []string{"system:masters", "system:anonymous", "system:unauthenticated", "system:authenticated", "system:nodes"}

func noBroadRights(resources []Resource) []finding {
	declared := map[string]bool{}
	for _, r := range resources {
		if r.is(rbacGroup, "ClusterRole") && !r.kind().patch {
			declared[r.in("metadata", "name").text()] = true
		}
	}
	var out []finding
	for _, r := range resources {
		for _, m := range rights(r, declared) {
			out = append(out, finding{r, m})
		}
	}
	return out
}

// rights checks one object; declared are the stack's cluster roles, which are checked by themselves.
func rights(r Resource, declared map[string]bool) []string {
	k := r.kind()
	switch {
	case k.is(rbacGroup, "ClusterRoleBinding", "RoleBinding"):
		return binding(r, declared)
	case k.is(rbacGroup, "ClusterRole", "Role"):
		return role(r, k)
	case k.is("certificates.k8s.io", "CertificateSigningRequest"):
		if signer := r.in("spec", "signerName"); !signer.unknown() && strings.HasPrefix(signer.text(), "kubernetes.io/") {
			return []string{fmt.Sprintf("it asks the signer %s for a certificate of the cluster", signer.show())}
		}
	case k.is("apiregistration.k8s.io", "APIService"):
		if r.in("spec", "insecureSkipTLSVerify").on() {
			return []string{"spec.insecureSkipTLSVerify is true: anybody can answer for the API"}
		}
	}
	return nil
}

func binding(r Resource, declared map[string]bool) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	name := r.in("roleRef", "name")
	switch {
	case name.unknown():
	case !name.set():
		bad("roleRef names no role: which rights it gives is not known")
	case r.in("roleRef", "kind").is("Role") && !strings.HasPrefix(name.text(), "system:"):
		// A role of the namespace: the stack's own are checked, and others reach no further than the namespace.
	case slices.Contains([]string{"cluster-admin", "admin", "edit"}, name.text()), strings.HasPrefix(name.text(), "system:") && !slices.Contains(harmless, name.text()):
		bad("it gives the role %s, with rights to take over the cluster or the namespace", name.show())
	case !declared[name.text()] && !slices.Contains(harmless, name.text()):
		bad("it gives the cluster role %s, which is not part of the stack: which rights that has is not known", name.show())
	}
	for i, s := range r.in("subjects").list() {
		if subject := s.at("name").text(); slices.Contains(broadGroups, subject) || strings.HasPrefix(subject, "system:serviceaccounts") {
			bad("subjects[%d] is %s: the rights would go to everybody in it", i, s.at("name").show())
		}
	}
	return out
}

// Rights over these resources lead to further rights: the first list must not be read, the second not changed.
var (
	unreadable = []string{"secrets", "*"}
	unwritable = []string{
		"pods", "deployments", "daemonsets", "statefulsets", "replicasets", "replicationcontrollers", "jobs", "cronjobs", "podtemplates",
		"roles", "clusterroles", "rolebindings", "clusterrolebindings", "nodes", "persistentvolumes", "namespaces", "secrets",
		"validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
		"mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "customresourcedefinitions", "apiservices", "networkpolicies",
		"certificatesigningrequests", "clusterspiffeids", "clusterstaticentries", "clusterfederatedtrustdomains", "serviceaccounts",
		"pods/ephemeralcontainers", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy",
		"serviceaccounts/token", "certificatesigningrequests/approval", "certificatesigningrequests/status", "signers",
	}
	// shells are subresources for which reading is enough.
	shells = []string{"pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"}
	writes = []string{"create", "update", "patch", "delete", "deletecollection", "approve", "sign"}
	reads  = []string{"get", "list", "watch"}
)

func role(r Resource, k kind) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if r.in("aggregationRule").set() && !r.in("aggregationRule").unknown() {
		bad("aggregationRule collects rights of other roles, which no preview knows")
	}
	for _, key := range sortedKeys(r.in("metadata", "labels").fields()) {
		if strings.HasPrefix(key, "rbac.authorization.k8s.io/aggregate-to-") {
			bad("the label %s adds these rights to a role of the cluster", key)
		}
	}
	for i, rule := range elements(r.in("rules")) {
		at := fmt.Sprintf("rules[%d]", i)
		for _, field := range []string{"verbs", "resources", "apiGroups", "nonResourceURLs"} {
			for _, v := range rule.at(field).list() {
				if text := v.text(); text == "*" || field == "resources" && strings.Contains(text, "*") || text == "/*" {
					bad("%s.%s has %q: it gives rights that nobody named", at, field, text)
				}
			}
		}
		verbs := texts(rule.at("verbs"))
		for _, v := range verbs {
			if slices.Contains([]string{"escalate", "bind", "impersonate", "impersonate-on"}, v) {
				bad("%s gives the verb %s, by which any right can be had", at, v)
			}
		}
		for _, resource := range texts(rule.at("resources")) {
			named := rule.at("resourceNames").set() && !slices.Contains(verbs, "create")
			switch {
			case slices.Contains(shells, resource) && len(verbs) > 0:
				bad("%s gives %s: a shell in other pods, or their ports", at, resource)
			case slices.Contains(unwritable, resource) && intersects(verbs, writes) && (!named || resource != "secrets" || intersects(verbs, []string{"delete", "deletecollection"})):
				bad("%s may change %s, through which other rights can be had", at, resource)
			case slices.Contains(unreadable, resource) && intersects(verbs, reads) && (!named || k.name == "ClusterRole"):
				bad("%s may read %s that are not named", at, resource)
			}
		}
	}
	return out
}

func texts(list value) []string {
	var out []string
	for _, v := range list.list() {
		out = append(out, strings.ToLower(v.text()))
	}
	return out
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// admissionClosed checks what can change or admit objects after the policies: webhooks and admission policies.
func admissionClosed(r Resource) []string {
	k := r.kind()
	if k.is("apiextensions.k8s.io", "CustomResourceDefinition") {
		if r.in("spec", "conversion", "webhook", "clientConfig", "url").set() {
			return []string{"spec.conversion calls a URL outside of the cluster, which then writes the objects"}
		}
		return nil
	}
	if k.group != admissionGroup {
		return nil
	}
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if strings.HasPrefix(k.name, "MutatingAdmissionPolicy") {
		bad("it changes objects after they were judged")
	}
	if v := r.in("spec", "failurePolicy"); v.set() && !v.is("Fail") {
		bad("spec.failurePolicy is %s; it must be Fail: an error would let everything through", v.show())
	}
	for i, hook := range elements(r.in("webhooks")) {
		at := fmt.Sprintf("webhooks[%d]", i)
		if v := hook.at("failurePolicy"); v.set() && !v.is("Fail") {
			bad("%s.failurePolicy is %s; it must be Fail: whoever stops the webhook would switch it off", at, v.show())
		}
		if hook.at("clientConfig", "url").set() && !hook.at("clientConfig", "url").unknown() {
			bad("%s.clientConfig.url sends objects outside of the cluster; name a service", at)
		}
		if k.name == "MutatingWebhookConfiguration" && (k.patch || mutatesJudged(hook)) {
			bad("%s changes objects after they were judged", at)
		}
	}
	return out
}

// judgedGroups are the API groups whose objects policies check.
var judgedGroups = []string{"", "apps", "batch", "*", rbacGroup, "networking.k8s.io", "storage.k8s.io", admissionGroup, "extensions", spireGroup}

func mutatesJudged(hook value) bool {
	rules := hook.at("rules").list()
	for _, rule := range rules {
		groups := texts(rule.at("apiGroups"))
		if len(groups) == 0 || intersects(groups, judgedGroups) {
			return true
		}
	}
	return len(rules) == 0
}
