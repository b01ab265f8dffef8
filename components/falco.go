package components

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/charts"
	"spire-falco/components/dashboard"
	"spire-falco/config"
	"spire-falco/rules"
	"spire-falco/values"
)

// FalcoArgs describes the runtime detection.
type FalcoArgs struct {
	Settings config.Falco
	// Rules are the rendered and checked rules.
	Rules     *rules.Rendered
	Cluster   *Cluster
	Namespace *corev1.Namespace
	// AlertURL is the URL to which alerts are posted. The receiver must be up first, because Falco does not retry.
	AlertURL string
	// After lists the resources that must be up before Falco starts: the receiver of its alerts.
	After []pulumi.Resource
}

// Falco watches every node with the rules of the stack.
type Falco struct {
	pulumi.ResourceState

	// RulesConfigMap is the name of the ConfigMap that Falco loads the rules from.
	RulesConfigMap pulumi.StringOutput
	// RulesHash is the hash of the rules.
	RulesHash pulumi.StringOutput
}

// rulesConfigMapName returns the name of the ConfigMap with the rules of that hash. Because changed rules have another
// name, a change rolls the DaemonSet, and the old ConfigMap is deleted afterwards.
func rulesConfigMapName(hash string) string {
	return "falco-rules-" + hash[:12]
}

// FalcoInputs returns the inputs of the values of chart falco that do not come from the settings.
func FalcoInputs(r *rules.Rendered, alertURL string) values.FalcoInputs {
	return values.FalcoInputs{
		RulesConfigMap: rulesConfigMapName(r.Hash),
		RulesFiles:     r.RulesFiles(),
		RulesHash:      r.Hash,
		AlertURL:       alertURL,
		Preflight:      script("check-node.sh"),
	}
}

// NewFalco registers Falco: the check of the nodes, the rules and the Helm release that mounts them.
func NewFalco(ctx *pulumi.Context, name string, args *FalcoArgs, opts ...pulumi.ResourceOption) (*Falco, error) {
	if args == nil || args.Cluster == nil || args.Namespace == nil || args.AlertURL == "" {
		return nil, errors.New("a Falco needs a cluster, a namespace and a URL for its alerts")
	}
	if args.Rules == nil || len(args.Rules.BeforeStock) == 0 || len(args.Rules.Hash) < 12 {
		return nil, errors.New("a Falco needs rendered rules")
	}
	f := &Falco{}
	return register(ctx, "Falco", name, f, opts, func() (pulumi.Map, error) {
		kernels, err := f.checkNodes(ctx, name+"-check-nodes", args)
		if err != nil {
			return nil, err
		}
		configMap, err := f.rulesConfigMap(ctx, name+"-rules", args)
		if err != nil {
			return nil, err
		}
		depends := pulumi.DependsOn(slices.Concat([]pulumi.Resource{kernels, configMap}, args.After))
		release, err := newRelease(ctx, name+"-release", releaseArgs{
			chart:     args.Settings.Chart.Chart,
			name:      config.FalcoRelease,
			namespace: args.Namespace.Metadata.Name().Elem(),
			values:    values.Falco(args.Settings, FalcoInputs(args.Rules, args.AlertURL)),
		}, args.Cluster.inCluster(f, depends)...)
		if err != nil {
			return nil, err
		}
		if args.Settings.Dashboard {
			if err := f.dashboard(ctx, name+"-dashboard", args); err != nil {
				return nil, err
			}
		}
		f.RulesConfigMap = configMap.Metadata.Name().Elem()
		f.RulesHash = pulumi.String(args.Rules.Hash).ToStringOutput()
		return pulumi.Map{"rulesConfigMap": f.RulesConfigMap, "rulesHash": f.RulesHash, "release": release.Status}, nil
	})
}

// checkNodes registers the check that Falco can run on the kernel of every node.
func (f *Falco) checkNodes(ctx *pulumi.Context, name string, args *FalcoArgs) (pulumi.Resource, error) {
	c := args.Cluster
	needs := args.Settings.Chart.Falco
	check, err := local.NewCommand(ctx, name, &local.CommandArgs{
		Create: pulumi.String(runScript),
		Environment: environment(map[string]string{
			scriptVariable:       script("check-nodes.sh"),
			"KUBECONFIG":         c.args.Kubeconfig,
			"CONTEXT":            c.args.Settings.Context,
			"MIN_KERNEL":         needs.MinKernel,
			"BELOW_KERNEL":       needs.BelowKernel,
			"BELOW_CONTAINERD":   needs.BelowContainerd,
			"NEXT_CHART_VERSION": charts.NewestFalco().Version,
		}),
	}, with(c.deletedWith(), pulumi.Parent(f), pulumi.DependsOn([]pulumi.Resource{c.Provider}))...)
	if err != nil {
		return nil, fmt.Errorf("register the check of the nodes: %w", err)
	}
	return check, nil
}

func (f *Falco) rulesConfigMap(ctx *pulumi.Context, name string, args *FalcoArgs) (*corev1.ConfigMap, error) {
	configMap, err := corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Name:        pulumi.String(rulesConfigMapName(args.Rules.Hash)),
			Namespace:   args.Namespace.Metadata.Name(),
			Annotations: pulumi.StringMap{values.RulesHashAnnotation: pulumi.String(args.Rules.Hash)},
		},
		Immutable: pulumi.Bool(true),
		Data:      pulumi.ToStringMap(args.Rules.Data()),
	}, args.Cluster.inCluster(f)...)
	if err != nil {
		return nil, fmt.Errorf("register the rules ConfigMap: %w", err)
	}
	return configMap, nil
}

func (f *Falco) dashboard(ctx *pulumi.Context, name string, args *FalcoArgs) error {
	_, err := corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Name:      pulumi.String("falco-dashboard"),
			Namespace: args.Namespace.Metadata.Name(),
			Labels:    pulumi.ToStringMap(dashboard.Labels()),
		},
		Data: pulumi.ToStringMap(dashboard.Data()),
	}, args.Cluster.inCluster(f)...)
	if err != nil {
		return fmt.Errorf("register the dashboard: %w", err)
	}
	return nil
}
