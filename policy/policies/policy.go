package policies

import (
	"sort"

	"spire-falco/report"
)

// Violation is one breach of one policy. Every policy is mandatory: one violation stops the run.
type Violation struct {
	// Policy is its name.
	Policy string
	// URN and Resource (its name) say where.
	URN, Resource string
	// Message says what is wrong and what is allowed; it holds no secret.
	Message string
}

// String is the violation on one line.
func (v Violation) String() string {
	return report.Text(v.Policy + ": " + v.Resource + ": " + v.Message)
}

// Policy is one rule for the resources of the stack.
type Policy struct {
	// Name is lower case with hyphens.
	Name string
	// Description says in one sentence what is required and why.
	Description string

	resource func(Resource) []string // looks at one resource
	stack    func([]Resource) []finding
}

type finding struct {
	resource Resource
	message  string
}

// WholeStack tells whether the policy must see all resources together; the others look at one at a time.
func (p Policy) WholeStack() bool { return p.stack != nil }

// Judge returns what the policy finds wrong with these resources.
func (p Policy) Judge(resources []Resource) []Violation {
	var found []finding
	if p.stack != nil {
		found = p.stack(resources)
	} else {
		for _, r := range resources {
			for _, m := range p.resource(r) {
				found = append(found, finding{r, m})
			}
		}
	}
	out := make([]Violation, len(found))
	for i, f := range found {
		out[i] = Violation{Policy: p.Name, URN: f.resource.URN, Resource: f.resource.Name, Message: f.message}
	}
	return out
}

// Evaluate judges the resources by every policy. The order of the violations is that of the policies, then of the
// resources' URNs.
func Evaluate(resources []Resource) []Violation {
	sorted := append([]Resource(nil), resources...)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].URN < sorted[j].URN })
	var out []Violation
	for _, p := range Policies() {
		out = append(out, p.Judge(sorted)...)
	}
	return out
}

// Policies lists every policy.
func Policies() []Policy {
	return []Policy{
		{
			Name:        "charts-are-pinned-and-published",
			Description: "Every Helm release names a repository and one exact chart version; one of the stack's own charts only a version that was published.",
			resource:    chartPinned,
		},
		{
			Name:        "no-falco-rules-file",
			Description: "Falco is told its rules by falco.rules_files; falco.rules_file is no key of the charts, and Falco refuses to start when both are set.",
			resource:    noRulesFile,
		},
		{
			Name:        "falco-driver-is-modern-ebpf",
			Description: "Falco's driver is modern_ebpf: no kernel module, no compiler and no kernel headers on any node.",
			resource:    driver,
		},
		{
			Name:        "nothing-unpinned-is-pulled-at-run-time",
			Description: "falcoctl and the driver loader are off, and every image in Helm values has a digest or a fixed tag.",
			resource:    nothingPulled,
		},
		{
			Name:        "rules-configmap-is-immutable",
			Description: "The rules ConfigMap is immutable and not empty, and its name carries the hash of its data.",
			stack:       rulesConfigMap,
		},
		{
			Name:        "rules-are-valid",
			Description: "Every rule in a rules ConfigMap loads in the Falco that the stack installs.",
			stack:       rulesValid,
		},
		{
			Name:        "falco-has-rules-and-an-output",
			Description: "A Falco that is deployed mounts a rules ConfigMap of the stack, loads its files, and sends its alerts to an HTTP output.",
			stack:       falcoWired,
		},
		{
			Name:        "no-secret-outside-secrets",
			Description: "No secret is in Helm values, ConfigMaps or environment variables of pods; they go into Secrets, which are read by name.",
			resource:    noSecret,
		},
		{
			Name:        "workloads-run-as-non-root",
			Description: "Every container of a workload runs as a user other than root.",
			resource:    nonRoot,
		},
		{
			Name:        "workloads-have-a-read-only-root",
			Description: "Every container of a workload has a read-only root file system.",
			resource:    readOnlyRoot,
		},
		{
			Name:        "workloads-have-no-capabilities",
			Description: "Every container of a workload drops all capabilities, adds none, cannot gain privileges and runs under seccomp.",
			resource:    noCapabilities,
		},
		{
			Name:        "workloads-have-no-service-account-token",
			Description: "Workloads have a ServiceAccount of their own and no token of it: their identity is their SVID.",
			resource:    noToken,
		},
		{
			Name:        "workloads-have-limits",
			Description: "Every container of a workload has a CPU and a memory limit.",
			resource:    limits,
		},
		{
			Name:        "workload-images-are-pinned",
			Description: "Every image of a workload is named by digest or by a fixed tag.",
			resource:    imagesPinned,
		},
		{
			Name:        "workloads-have-their-own-identity",
			Description: "Every workload is selected by one ClusterSPIFFEID, which selects nothing else.",
			stack:       ownIdentity,
		},
		{
			Name:        "workloads-have-a-network-policy",
			Description: "Every workload is selected by a NetworkPolicy for ingress and egress that allows only named peers on named ports.",
			stack:       networkPolicy,
		},
		{
			Name:        "privileged-pods-only-for-falco-and-spire",
			Description: "Privileged pods, and namespaces that allow them, are only those of Falco and SPIRE.",
			stack:       privileged,
		},
		{
			Name:        "parts-start-in-order",
			Description: "What needs another part to be there depends on it, so that up starts it after and destroy removes it before.",
			stack:       inOrder,
		},
	}
}
