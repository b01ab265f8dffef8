package policies

import (
	"slices"
	"sort"

	"spire-falco/report"
)

// Violation is one violation of one policy. Every policy is mandatory: one violation stops the run.
type Violation struct {
	// Policy is the name of the policy.
	Policy string
	// URN and Resource (its name) identify the resource.
	URN, Resource string
	// Message says what is wrong and what is required; it contains no secret.
	Message string
}

// String returns the violation in one line.
func (v Violation) String() string {
	return report.Text(v.Policy + ": " + v.Resource + ": " + v.Message)
}

// Policy is one rule for the resources of the stack.
type Policy struct {
	// Name is in lower case with hyphens.
	Name string
	// Description says in one sentence what is required and why.
	Description string

	resource func(Resource) []string // checks one resource
	stack    func([]Resource) []finding
	mirrors  []string
}

type finding struct {
	resource Resource
	message  string
}

// WholeStack reports whether the policy must see all resources together; the others check one at a time.
func (p Policy) WholeStack() bool { return p.stack != nil }

// Judge returns the policy's violations in these resources.
func (p Policy) Judge(resources []Resource) []Violation {
	return p.judge(prepare(resources, p.mirrors))
}

func (p Policy) judge(resources []Resource) []Violation {
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
		out[i] = Violation{
			Policy: p.Name, URN: f.resource.URN,
			Resource: report.Bounded(f.resource.Name, longest), Message: report.Bounded(f.message, longest),
		}
	}
	return out
}

// longest is how much of a message or a name is shown, in characters.
const longest = 4000

// Evaluate checks the resources by every policy. The violations are in the order of the policies, then of the
// resources' URNs. mirrors are the chart repositories that the settings use as mirrors.
func Evaluate(resources []Resource, mirrors ...string) []Violation {
	sorted := slices.Clone(resources)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].URN < sorted[j].URN })
	sorted = prepare(sorted, mirrors)
	var out []Violation
	for _, p := range Policies(mirrors...) {
		out = append(out, p.judge(sorted)...)
	}
	return out
}

// Policies returns every policy. mirrors are the chart repositories that the settings use as mirrors.
func Policies(mirrors ...string) []Policy {
	all := list(mirrors)
	for i := range all {
		all[i].mirrors = mirrors
	}
	return all
}

func list(mirrors []string) []Policy {
	return []Policy{
		{
			Name:        "everything-is-known",
			Description: "Every value is known in the preview, except those of Secrets: a value that no policy can check must not pass.",
			resource:    known,
		},
		{
			Name:        "objects-are-judged-one-by-one",
			Description: "Every object is a resource of its own type; files, groups, directories and charts of objects that no policy reads are refused.",
			resource:    judgedOneByOne,
		},
		{
			Name:        "charts-are-pinned-and-published",
			Description: "Every Helm release uses a known chart, by name, repository and one exact published version; each chart once.",
			stack:       chartsPinned(mirrors),
		},
		{
			Name:        "releases-have-plain-values",
			Description: "A release has its values in values, where policies read them; neither they nor Helm's switches add or change objects, or weaken pods.",
			resource:    plainReleases,
		},
		{
			Name:        "no-falco-rules-file",
			Description: "Falco gets its rules from falco.rules_files; falco.rules_file is not a key of the charts, and Falco refuses to start if both are set.",
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
			Description: "The rules ConfigMap is immutable and not empty, and its name contains the hash of its data.",
			stack:       rulesConfigMap,
		},
		{
			Name:        "rules-are-valid",
			Description: "Every rule in a rules ConfigMap loads in the Falco that the stack installs.",
			stack:       rulesValid,
		},
		{
			Name:        "falco-has-rules-and-an-output",
			Description: "A deployed Falco mounts a rules ConfigMap of the stack, loads its files, and sends its alerts to an HTTP output.",
			stack:       falcoWired,
		},
		{
			Name:        "rules-stay-on",
			Description: "No value, argument, mount or user file disables a rule of the stack, loads it late or hides events from it.",
			stack:       rulesStayOn,
		},
		{
			Name:        "alerts-stay-closed",
			Description: "Falcosidekick's UI requires a password.",
			resource:    falcosidekickStaysClosed,
		},
		{
			Name:        "no-secret-outside-secrets",
			Description: "Secrets are only in Secrets, which are referenced by name: not in values, ConfigMaps, arguments, variables or annotations.",
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
			Description: "Every container of a workload drops all capabilities, adds none, cannot gain privileges and runs under the runtime's seccomp, AppArmor and SELinux profiles.",
			resource:    noCapabilities,
		},
		{
			Name:        "workloads-have-no-service-account-token",
			Description: "Workloads have their own ServiceAccount without a mounted token: their identity is their SVID.",
			resource:    noToken,
		},
		{
			Name:        "workloads-have-limits",
			Description: "Every container of a workload has a CPU and a memory limit.",
			resource:    limits,
		},
		{
			Name:        "workload-images-are-pinned",
			Description: "Every image of a workload has a digest or a fixed tag.",
			resource:    imagesPinned,
		},
		{
			Name:        "workloads-have-their-own-identity",
			Description: "Every workload is selected by exactly one ClusterSPIFFEID, which selects nothing else; no other object assigns its SPIFFE ID.",
			stack:       ownIdentity,
		},
		{
			Name:        "workloads-have-a-network-policy",
			Description: "Every workload is selected by a NetworkPolicy for ingress and egress that allows only named peers on named ports; no policy allows everything.",
			stack:       networkPolicy,
		},
		{
			Name:        "privileged-pods-only-for-falco-and-spire",
			Description: "Only the charts of Falco and SPIRE have privileged pods and namespaces that allow them; no other pod has access to the node.",
			stack:       privileged,
		},
		{
			Name:        "storage-is-not-the-nodes",
			Description: "No volume, class or claim uses a path of a node, and a claim that a pod mounts is part of the stack.",
			stack:       noNodeStorage,
		},
		{
			Name:        "services-stay-in-the-cluster",
			Description: "Every Service is a ClusterIP, and nothing exposes one outside the cluster.",
			resource:    servicesInside,
		},
		{
			Name:        "rights-are-named-and-narrow",
			Description: "No role or binding grants cluster-admin, wildcards, or a right that leads to further rights.",
			stack:       noBroadRights,
		},
		{
			Name:        "admission-fails-closed",
			Description: "Webhooks fail closed and stay in the cluster, and none changes objects after they were checked.",
			resource:    admissionClosed,
		},
		{
			Name:        "parts-start-in-order",
			Description: "A resource depends on those it needs, so that up creates it after them and destroy removes it before them.",
			stack:       inOrder,
		},
	}
}
