package components

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
)

// ClusterArgs describes the Kubernetes cluster of the stack.
type ClusterArgs struct {
	Settings config.Cluster
	// Kubeconfig is the absolute path of the kubeconfig, which may not exist before the cluster does. Because the path is
	// known, a preview really checks charts.
	Kubeconfig string
}

// Cluster is the Kubernetes cluster that the stack runs on: its own Minikube, or an existing one.
type Cluster struct {
	pulumi.ResourceState

	// Provider is the Kubernetes provider of everything else in the stack.
	Provider *kubernetes.Provider
	// Kubeconfig is the path of the kubeconfig file.
	Kubeconfig pulumi.StringOutput
	// Context is the name of the context in that file.
	Context pulumi.StringOutput

	args     *ClusterArgs
	minikube *local.Command
}

// NewCluster registers the cluster. It returns an error for arguments that the validation of settings refuses.
func NewCluster(ctx *pulumi.Context, name string, args *ClusterArgs, opts ...pulumi.ResourceOption) (*Cluster, error) {
	if args == nil || args.Kubeconfig == "" || args.Settings.Context == "" {
		return nil, errors.New("a Cluster needs the path of a kubeconfig and a context")
	}
	c := &Cluster{args: args}
	return register(ctx, "Cluster", name, c, opts, func() (pulumi.Map, error) {
		s := args.Settings
		providerOpts := []pulumi.ResourceOption{pulumi.Parent(c)}
		if s.Mode == config.ModeMinikube {
			var err error
			if c.minikube, err = newMinikube(ctx, name+"-minikube", args, pulumi.Parent(c)); err != nil {
				return nil, err
			}
			providerOpts = append(providerOpts, pulumi.DependsOn([]pulumi.Resource{c.minikube}))
		}
		provider, err := kubernetes.NewProvider(ctx, name+"-provider", &kubernetes.ProviderArgs{
			Kubeconfig: pulumi.String(args.Kubeconfig),
			Context:    pulumi.String(s.Context),
			// Only this decides whether objects are replaced with the cluster; else the provider would guess from the
			// kubeconfig.
			ClusterIdentifier:        pulumi.String(s.Context),
			SuppressHelmHookWarnings: pulumi.Bool(true),
		}, providerOpts...)
		if err != nil {
			return nil, fmt.Errorf("register the Kubernetes provider: %w", err)
		}
		c.Provider = provider
		c.Kubeconfig = pulumi.String(args.Kubeconfig).ToStringOutput()
		c.Context = pulumi.String(s.Context).ToStringOutput()
		return pulumi.Map{"kubeconfig": c.Kubeconfig, "context": c.Context, "mode": pulumi.String(s.Mode)}, nil
	})
}

// inCluster returns the options of a Kubernetes resource of this cluster, followed by more.
func (c *Cluster) inCluster(parent pulumi.Resource, more ...pulumi.ResourceOption) []pulumi.ResourceOption {
	return with(c.deletedWith(), with([]pulumi.ResourceOption{pulumi.Parent(parent), pulumi.Provider(c.Provider)}, more...)...)
}

// deletedWith returns the option of everything that is gone once Minikube is deleted, and so need not be deleted one by
// one; nil in an existing cluster.
func (c *Cluster) deletedWith() []pulumi.ResourceOption {
	if c.minikube == nil {
		return nil
	}
	return []pulumi.ResourceOption{pulumi.DeletedWith(c.minikube)}
}
