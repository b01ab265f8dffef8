package components

import (
	"errors"
	"fmt"
	"slices"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/components/host"
	"spire-falco/config"
	"spire-falco/rules"
)

// StackArgs describes the whole stack.
type StackArgs struct {
	Settings *config.Settings
	// Kubeconfig is the absolute path of the cluster's kubeconfig.
	Kubeconfig string
	// Rules are the rendered and checked rules; nil when Falco is off.
	Rules *rules.Rendered
	// Image is the reference of the project's own image; empty when no workload runs it.
	Image string
	// ImageLoad describes how that image gets into the cluster; nil when it is already there.
	ImageLoad *ImageArgs
	// Secrets are the secrets of Falcosidekick's outputs.
	Secrets FalcosidekickSecrets
	// HostKeys are the private keys of the hosts' users, by host.
	HostKeys map[string]pulumi.StringInput
}

// Stack combines the cluster, SPIRE, the workloads and, if enabled, Falco with Falcosidekick.
type Stack struct {
	pulumi.ResourceState

	Cluster *Cluster
	SPIRE   *SPIRE
	// Falco and Falcosidekick are nil when Falco is off.
	Falco         *Falco
	Falcosidekick *Falcosidekick
	// Hosts is nil when there are none or Falco is off.
	Hosts *host.Fleet
	// Workloads are in the order of the settings.
	Workloads []*Workload
}

// NewStack registers everything, each part after those it needs, so that destroy removes them in reverse: workloads
// before their identities, these before SPIRE, SPIRE before its CRDs.
func NewStack(ctx *pulumi.Context, name string, args *StackArgs, opts ...pulumi.ResourceOption) (*Stack, error) {
	if args == nil || args.Settings == nil {
		return nil, errors.New("a Stack needs settings")
	}
	set := args.Settings
	if set.EnableFalco && args.Rules == nil {
		return nil, errors.New("a Stack with Falco needs rendered rules")
	}
	s := &Stack{}
	return register(ctx, "Stack", name, s, opts, func() (pulumi.Map, error) {
		if err := s.build(ctx, args); err != nil {
			return nil, err
		}
		outputs := s.outputs(set)
		for k, v := range outputs {
			ctx.Export(k, v)
		}
		return outputs, nil
	})
}

func (s *Stack) build(ctx *pulumi.Context, args *StackArgs) (err error) {
	set := args.Settings
	clusterArgs := &ClusterArgs{Settings: set.Cluster, Kubeconfig: args.Kubeconfig}
	if s.Cluster, err = NewCluster(ctx, "cluster", clusterArgs, pulumi.Parent(s)); err != nil {
		return err
	}
	s.SPIRE, err = NewSPIRE(ctx, "spire", &SPIREArgs{Settings: set.SPIRE, Cluster: s.Cluster}, pulumi.Parent(s))
	if err != nil {
		return err
	}
	if set.EnableFalco {
		if err := s.detection(ctx, args); err != nil {
			return err
		}
	}
	if hosts := HostArgs(set, args.Rules, args.HostKeys); hosts != nil {
		if s.Hosts, err = host.New(ctx, "hosts", hosts, pulumi.Parent(s)); err != nil {
			return fmt.Errorf("set up the hosts: %w", err)
		}
	}
	return s.workloads(ctx, args)
}

func (s *Stack) detection(ctx *pulumi.Context, args *StackArgs) error {
	set := args.Settings
	// Falco's pods read the kernel's events and mount paths of the node.
	ns, err := newNamespace(ctx, "falco-namespace", set.Falco.Namespace, "privileged", s.Cluster.inCluster(s))
	if err != nil {
		return err
	}
	s.Falcosidekick, err = NewFalcosidekick(ctx, "falcosidekick", &FalcosidekickArgs{
		Settings: set.Sidekick, Secrets: args.Secrets, Cluster: s.Cluster, Namespace: ns,
	}, pulumi.Parent(s))
	if err != nil {
		return err
	}
	s.Falco, err = NewFalco(ctx, "falco", &FalcoArgs{
		Settings: set.Falco, Rules: args.Rules, Cluster: s.Cluster, Namespace: ns, AlertURL: s.Falcosidekick.URL,
		After: []pulumi.Resource{s.Falcosidekick.release},
	}, pulumi.Parent(s))
	return err
}

func (s *Stack) workloads(ctx *pulumi.Context, args *StackArgs) error {
	set := args.Settings
	after := s.SPIRE.ready
	if args.ImageLoad != nil {
		load, err := loadImage(ctx, "image", s.Cluster, args.ImageLoad, pulumi.Parent(s))
		if err != nil {
			return err
		}
		after = slices.Concat(after, []pulumi.Resource{load})
	}
	namespaces := map[string]*corev1.Namespace{}
	for _, w := range set.Workloads {
		if namespaces[w.Namespace] == nil {
			ns, err := newNamespace(ctx, "namespace-"+w.Namespace, w.Namespace, "restricted", s.Cluster.inCluster(s))
			if err != nil {
				return err
			}
			namespaces[w.Namespace] = ns
		}
		image := w.Image
		if image == "" {
			image = args.Image
		}
		workload, err := NewWorkload(ctx, w.Name, &WorkloadArgs{
			Workload: w, All: set.Workloads, Image: image,
			TrustDomain: set.SPIRE.TrustDomain, ClassName: set.SPIRE.ClassName,
			Cluster: s.Cluster, Namespace: namespaces[w.Namespace],
			IdentityAfter: s.SPIRE.release, After: after,
		}, pulumi.Parent(s))
		if err != nil {
			return err
		}
		s.Workloads = append(s.Workloads, workload)
	}
	return nil
}

// outputs returns the outputs of the component, which are also the stack's.
func (s *Stack) outputs(set *config.Settings) pulumi.Map {
	ids := pulumi.StringMap{}
	for i, w := range set.Workloads {
		ids[w.Name] = s.Workloads[i].SPIFFEID
	}
	outputs := pulumi.Map{
		"kubeconfig":  s.Cluster.Kubeconfig,
		"context":     s.Cluster.Context,
		"trustDomain": s.SPIRE.TrustDomain,
		"spiffeIds":   ids,
		"falco":       pulumi.Bool(set.EnableFalco),
	}
	if s.Falco != nil {
		outputs["falcoChart"] = pulumi.String(set.Falco.Chart.Version)
		outputs["rulesConfigMap"] = s.Falco.RulesConfigMap
		outputs["rulesHash"] = s.Falco.RulesHash
	}
	if s.Hosts != nil {
		outputs["hosts"] = s.Hosts.Status
	}
	return outputs
}
