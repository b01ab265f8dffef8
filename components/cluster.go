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
	// Kubeconfig is the absolute path of the kubeconfig. It need not exist before the cluster does: because the provider
	// gets a path that is known, a preview really checks charts.
	Kubeconfig string
}

// Cluster is the Kubernetes cluster that the stack runs on: a Minikube of its own, or one that exists already.
type Cluster struct {
	pulumi.ResourceState

	// Provider is the Kubernetes provider of everything else in the stack.
	Provider *kubernetes.Provider
	// Kubeconfig is the path of the kubeconfig file.
	Kubeconfig pulumi.StringOutput
	// Context in that file.
	Context pulumi.StringOutput

	minikube *local.Command
}

// NewCluster registers the cluster. It errs on arguments that the settings' validation would have refused.
func NewCluster(ctx *pulumi.Context, name string, args *ClusterArgs, opts ...pulumi.ResourceOption) (*Cluster, error) {
	if args == nil || args.Kubeconfig == "" || args.Settings.Context == "" {
		return nil, errors.New("a Cluster needs the path of a kubeconfig and a context")
	}
	c := &Cluster{}
	if err := ctx.RegisterComponentResource(typeToken("Cluster"), name, c, opts...); err != nil {
		return nil, fmt.Errorf("register the component Cluster: %w", err)
	}
	s := args.Settings
	providerOpts := []pulumi.ResourceOption{pulumi.Parent(c)}
	if s.Mode == config.ModeMinikube {
		if err := c.newMinikube(ctx, name, args); err != nil {
			return nil, err
		}
		providerOpts = append(providerOpts, pulumi.DependsOn([]pulumi.Resource{c.minikube}))
	}
	provider, err := kubernetes.NewProvider(ctx, name+"-provider", &kubernetes.ProviderArgs{
		Kubeconfig: pulumi.String(args.Kubeconfig),
		Context:    pulumi.String(s.Context),
		// What is replaced with the cluster, and what not, follows from this alone, not from guesses about the kubeconfig.
		ClusterIdentifier:        pulumi.String(s.Context),
		SuppressHelmHookWarnings: pulumi.Bool(true),
	}, providerOpts...)
	if err != nil {
		return nil, fmt.Errorf("register the Kubernetes provider: %w", err)
	}
	c.Provider = provider
	c.Kubeconfig = pulumi.String(args.Kubeconfig).ToStringOutput()
	c.Context = pulumi.String(s.Context).ToStringOutput()
	outputs := pulumi.Map{"kubeconfig": c.Kubeconfig, "context": c.Context, "mode": pulumi.String(s.Mode)}
	if err := ctx.RegisterResourceOutputs(c, outputs); err != nil {
		return nil, fmt.Errorf("register the outputs of Cluster: %w", err)
	}
	return c, nil
}

// OnDelete is what everything in the cluster adds to its options: what dies with Minikube is not deleted one by one. In
// an existing cluster it is nil.
func (c *Cluster) OnDelete() []pulumi.ResourceOption {
	if c.minikube == nil {
		return nil
	}
	return []pulumi.ResourceOption{pulumi.DeletedWith(c.minikube)}
}
