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
	// Message says what is wrong and what must be; it holds no secret.
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
	mirrors  []string
}

type finding struct {
	resource Resource
	message  string
}

// WholeStack tells whether the policy must see all resources together; the others look at one at a time.
func (p Policy) WholeStack() bool { return p.stack != nil }

// Judge returns what the policy finds wrong with these resources.
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
		out[i] = Violation{Policy: p.Name, URN: f.resource.URN, Resource: report.Bounded(f.resource.Name, longest), Message: report.Bounded(f.message, longest)}
	}
	return out
}

// longest is how much of a message or a name is shown, in characters.
const longest = 4000

// Evaluate judges the resources by every policy. The order of the violations is that of the policies, then of the
// resources' URNs. mirrors are repositories that the settings name in place of those of the table of charts.
func Evaluate(resources []Resource, mirrors ...string) []Violation {
	sorted := append([]Resource(nil), resources...)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].URN < sorted[j].URN })
	sorted = prepare(sorted, mirrors)
	var out []Violation
	for _, p := range Policies(mirrors...) {
		out = append(out, p.judge(sorted)...)
	}
	return out
}

// Policies lists every policy. mirrors are repositories that the settings name in place of those of the table of charts.
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
			Description: "Every value is known in the preview, but for those of Secrets: what no policy can judge must not pass.",
			resource:    known,
		},
		{
			Name:        "objects-are-judged-one-by-one",
			Description: "Every object is registered as what it is; files, groups, folders and charts of objects that no policy reads are not.",
			resource:    judgedOneByOne,
		},
		{
			Name:        "charts-are-pinned-and-published",
			Description: "Every Helm release is of a chart of the table: its name, its repository and one exact version that was published; each chart once.",
			stack:       chartsPinned(mirrors),
		},
		{
			Name:        "releases-have-plain-values",
			Description: "A release has its values in values, where they are read; nothing in them or in Helm's switches adds or changes objects, or opens pods.",
			resource:    plainReleases,
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
			Name:        "rules-stay-on",
			Description: "No value, argument, mount or file of the user turns a rule of the stack off, loads it late or takes its events away.",
			stack:       rulesStayOn,
		},
		{
			Name:        "alerts-stay-closed",
			Description: "The UI of Falcosidekick asks for a password.",
			resource:    falcosidekickStaysClosed,
		},
		{
			Name:        "no-secret-outside-secrets",
			Description: "No secret is in any object but a Secret: not in values, ConfigMaps, arguments, variables or annotations; Secrets are read by name.",
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
			Description: "Every container of a workload drops all capabilities, adds none, cannot gain privileges and runs under seccomp, AppArmor and SELinux as the runtime sets them.",
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
			Description: "Every workload is selected by one ClusterSPIFFEID, which selects nothing else; no other object gives its SPIFFE ID.",
			stack:       ownIdentity,
		},
		{
			Name:        "workloads-have-a-network-policy",
			Description: "Every workload is selected by a NetworkPolicy for ingress and egress that allows only named peers on named ports; no policy is open to all.",
			stack:       networkPolicy,
		},
		{
			Name:        "privileged-pods-only-for-falco-and-spire",
			Description: "Privileged pods, and namespaces that allow them, are only those of the charts of Falco and SPIRE; no other pod has a part of the node.",
			stack:       privileged,
		},
		{
			Name:        "storage-is-not-the-nodes",
			Description: "No volume, class or claim is a path of a node, and a claim that a pod mounts is part of the stack.",
			stack:       noNodeStorage,
		},
		{
			Name:        "services-stay-in-the-cluster",
			Description: "Every Service is a ClusterIP, and nothing opens one to outside of the cluster.",
			resource:    servicesInside,
		},
		{
			Name:        "rights-are-named-and-narrow",
			Description: "No role or binding gives cluster-admin, wildcards, or a right through which others can be had.",
			stack:       noBroadRights,
		},
		{
			Name:        "admission-fails-closed",
			Description: "Webhooks fail closed and stay in the cluster, and none changes objects that were judged.",
			resource:    admissionClosed,
		},
		{
			Name:        "parts-start-in-order",
			Description: "What needs another part to be there depends on it, so that up starts it after and destroy removes it before.",
			stack:       inOrder,
		},
	}
}
