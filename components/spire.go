package components

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
	"spire-falco/values"
)

// SPIREArgs describes SPIRE in the cluster.
type SPIREArgs struct {
	Settings config.SPIRE
	Cluster  *Cluster
}

// SPIRE is the identity provider: CRDs, server with controller manager, agents and CSI driver. If the cluster has its
// own SPIRE, the component has no children.
type SPIRE struct {
	pulumi.ResourceState

	// TrustDomain is the trust domain of every identity.
	TrustDomain pulumi.StringOutput
	// AgentSocketPath is the Workload API socket on each node.
	AgentSocketPath pulumi.StringOutput

	release []pulumi.Resource
	ready   []pulumi.Resource
}

// NewSPIRE registers SPIRE, or only the component when the settings say that the cluster has its own.
func NewSPIRE(ctx *pulumi.Context, name string, args *SPIREArgs, opts ...pulumi.ResourceOption) (*SPIRE, error) {
	if args == nil || args.Cluster == nil || args.Settings.TrustDomain == "" || args.Settings.AgentSocketPath == "" {
		return nil, errors.New("a SPIRE needs a cluster, a trust domain and the path of the agent socket")
	}
	s := &SPIRE{}
	return register(ctx, "SPIRE", name, s, opts, func() (pulumi.Map, error) {
		if args.Settings.Install {
			if err := s.install(ctx, name, args); err != nil {
				return nil, err
			}
		}
		s.TrustDomain = pulumi.String(args.Settings.TrustDomain).ToStringOutput()
		s.AgentSocketPath = pulumi.String(args.Settings.AgentSocketPath).ToStringOutput()
		return pulumi.Map{"trustDomain": s.TrustDomain, "agentSocketPath": s.AgentSocketPath}, nil
	})
}

func (s *SPIRE) install(ctx *pulumi.Context, name string, args *SPIREArgs) error {
	set := args.Settings
	child := args.Cluster.inCluster(s)

	// The agent and the CSI driver mount paths of the node, so this namespace must allow privileged pods.
	ns, err := newNamespace(ctx, name+"-namespace", set.Namespace, "privileged", child)
	if err != nil {
		return err
	}
	crds, err := newRelease(ctx, name+"-crds", releaseArgs{
		chart:     set.CRDs,
		name:      config.SPIRECRDsRelease,
		namespace: ns.Metadata.Name().Elem(),
		rawValues: values.SPIRECRDs(),
		values:    set.CRDValues,
	}, child...)
	if err != nil {
		return err
	}
	v := values.SPIRE(set)
	release, err := newRelease(ctx, name+"-release", releaseArgs{
		chart:     set.Chart.Chart,
		name:      config.SPIRERelease,
		namespace: ns.Metadata.Name().Elem(),
		values:    v,
	}, with(child, pulumi.DependsOn([]pulumi.Resource{crds}))...)
	if err != nil {
		return err
	}
	// Identities come after the release: its webhook validates them, and on destroy the controller manager must still be
	// there to remove the entries.
	s.release = []pulumi.Resource{release}
	s.ready = []pulumi.Resource{release}
	for _, daemonSet := range []string{config.SPIRERelease + "-agent", config.SPIRERelease + "-spiffe-csi-driver"} {
		wait, err := awaitDaemonSet(ctx, name+"-"+daemonSet+"-ready", daemonSet, ns, contentHash(v, set.Chart.Version),
			with(child, pulumi.DependsOn([]pulumi.Resource{release})))
		if err != nil {
			return err
		}
		s.ready = append(s.ready, wait)
	}
	return nil
}

// newNamespace registers a namespace that enforces a level of the Pod Security Standards.
func newNamespace(
	ctx *pulumi.Context, name, namespace, podSecurity string, opts []pulumi.ResourceOption,
) (*corev1.Namespace, error) {
	ns, err := corev1.NewNamespace(ctx, name, &corev1.NamespaceArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Name: pulumi.String(namespace),
			Labels: pulumi.StringMap{
				"app.kubernetes.io/part-of":          pulumi.String(config.Project),
				"pod-security.kubernetes.io/enforce": pulumi.String(podSecurity),
			},
		},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("register the namespace %s: %w", namespace, err)
	}
	return ns, nil
}

// awaitDaemonSet waits until every pod of a chart's DaemonSet is ready, and again whenever revision changes. Helm's own
// wait tolerates maxUnavailable missing pods, which on a single node are all of them.
func awaitDaemonSet(
	ctx *pulumi.Context, name, daemonSet string, ns *corev1.Namespace, revision string, opts []pulumi.ResourceOption,
) (pulumi.Resource, error) {
	wait, err := appsv1.NewDaemonSetPatch(ctx, name, &appsv1.DaemonSetPatchArgs{
		Metadata: &metav1.ObjectMetaPatchArgs{
			Name:        pulumi.String(daemonSet),
			Namespace:   ns.Metadata.Name(),
			Annotations: pulumi.StringMap{"spire-falco/awaited-revision": pulumi.String(revision)},
		},
	}, with(opts, pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "10m", Update: "10m"}))...)
	if err != nil {
		return nil, fmt.Errorf("register the wait for the DaemonSet %s: %w", daemonSet, err)
	}
	return wait, nil
}

// contentHash returns a short hash of plain values.
func contentHash(parts ...any) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(fmt.Sprintf("components: %v", err)) // plain values always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
