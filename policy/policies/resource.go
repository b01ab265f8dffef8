// Package policies judges the resources of the stack before they are made. Its judgement is plain: it needs neither the
// engine nor the SDK of Pulumi. The command in the folder above makes a Pulumi policy pack of it, and Evaluate runs it in any process that has
// the resources.
package policies

// Resource is one resource as the program registers it.
type Resource struct {
	// URN of the resource; it must differ between resources.
	URN string
	// Type token, such as kubernetes:core/v1:ConfigMap.
	Type string
	// Name in the program.
	Name string
	// Inputs are plain: nil, bool, float64, int, string, map[string]any and []any, with Unknown and Secret among them.
	Inputs map[string]any
	// DependsOn lists the URNs of what the resource depends on. Nil means that they are not known, and nothing is said
	// about the order of the stack then.
	DependsOn []string
}

// Unknown stands for a value that is only known once something has been made. No policy objects to it: the same
// resource is judged again when the value is known, before it is made.
type Unknown struct{}

// Secret marks a value that Pulumi keeps secret.
type Secret struct {
	// Value is what is secret; Unknown when it is not known or was taken out.
	Value any
}

func (r Resource) is(types ...string) bool {
	for _, t := range types {
		if r.Type == t {
			return true
		}
	}
	return false
}

// in is a value inside the inputs.
func (r Resource) in(path ...string) value { return value{r.Inputs}.at(path...) }

// namespace that the resource is in; the same for a Helm release.
func (r Resource) namespace() value {
	if r.is(releaseType) {
		return r.in("namespace")
	}
	return r.in("metadata", "namespace")
}

// Types that policies look at.
const (
	releaseType       = "kubernetes:helm.sh/v3:Release"
	configMapType     = "kubernetes:core/v1:ConfigMap"
	namespaceType     = "kubernetes:core/v1:Namespace"
	identityType      = "kubernetes:spire.spiffe.io/v1alpha1:ClusterSPIFFEID"
	networkPolicyType = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
)
