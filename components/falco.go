package components

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
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
	// Rules that were rendered and checked before.
	Rules     *rules.Rendered
	Namespace *corev1.Namespace
	// AlertURL is where alerts are posted; the receiver must be up first, Falco does not retry.
	AlertURL string
	// Kubeconfig and Context reach the nodes for the check of their kernels.
	Kubeconfig, Context string
	Provider            *kubernetes.Provider
	OnDelete            []pulumi.ResourceOption
	// After lists what must be up before Falco starts: the receiver of its alerts.
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

// RulesConfigMapName is the name of the ConfigMap with the rules of that hash: other rules, another name, so that a
// change rolls the DaemonSet and the old ConfigMap goes after.
func RulesConfigMapName(hash string) string {
	return "falco-rules-" + hash[:12]
}

// FalcoInputs is what the values of the chart falco get besides the settings.
func FalcoInputs(r *rules.Rendered, alertURL string) values.FalcoInputs {
	return values.FalcoInputs{
		RulesConfigMap: RulesConfigMapName(r.Hash),
		RulesFiles:     r.RulesFiles(),
		RulesHash:      r.Hash,
		AlertURL:       alertURL,
		Preflight:      script("check-node.sh"),
	}
}

// NewFalco registers Falco: the check of the nodes, the rules and the Helm release that mounts them. Another way of
// deploying Falco can stand in its place as long as it takes these Args.
func NewFalco(ctx *pulumi.Context, name string, args *FalcoArgs, opts ...pulumi.ResourceOption) (*Falco, error) {
	if args == nil || args.Provider == nil || args.Namespace == nil || args.AlertURL == "" {
		return nil, errors.New("a Falco needs a provider, a namespace and a URL for its alerts")
	}
	if args.Rules == nil || len(args.Rules.BeforeStock) == 0 || len(args.Rules.Hash) < 12 {
		return nil, errors.New("a Falco needs rendered rules")
	}
	f := &Falco{}
	if err := ctx.RegisterComponentResource(typeToken("Falco"), name, f, opts...); err != nil {
		return nil, fmt.Errorf("register the component Falco: %w", err)
	}
	set := args.Settings
	child := with(args.OnDelete, pulumi.Parent(f), pulumi.Provider(args.Provider))

	kernels, err := local.NewCommand(ctx, name+"-check-nodes", &local.CommandArgs{
		Create: pulumi.String(runScript),
		Environment: environment(map[string]string{
			scriptVariable:       script("check-nodes.sh"),
			"KUBECONFIG":         args.Kubeconfig,
			"CONTEXT":            args.Context,
			"MIN_KERNEL":         set.Chart.Falco.MinKernel,
			"BELOW_KERNEL":       set.Chart.Falco.BelowKernel,
			"BELOW_CONTAINERD":   set.Chart.Falco.BelowContainerd,
			"NEXT_CHART_VERSION": charts.NewestFalco().Version,
		}),
	}, with(args.OnDelete, pulumi.Parent(f), pulumi.DependsOn([]pulumi.Resource{args.Provider}))...)
	if err != nil {
		return nil, fmt.Errorf("register the check of the nodes: %w", err)
	}
	configMap, err := corev1.NewConfigMap(ctx, name+"-rules", &corev1.ConfigMapArgs{
		Metadata: &metav1.ObjectMetaArgs{
			Name:        pulumi.String(RulesConfigMapName(args.Rules.Hash)),
			Namespace:   args.Namespace.Metadata.Name(),
			Annotations: pulumi.StringMap{values.RulesHashAnnotation: pulumi.String(args.Rules.Hash)},
		},
		Immutable: pulumi.Bool(true),
		Data:      pulumi.ToStringMap(args.Rules.Data()),
	}, child...)
	if err != nil {
		return nil, fmt.Errorf("register the rules ConfigMap: %w", err)
	}
	release, err := newRelease(ctx, name+"-release", releaseArgs{
		chart:     set.Chart.Chart,
		name:      config.FalcoRelease,
		namespace: args.Namespace.Metadata.Name().Elem(),
		values:    values.Falco(set, FalcoInputs(args.Rules, args.AlertURL)),
	}, with(child, pulumi.DependsOn(append([]pulumi.Resource{kernels, configMap}, args.After...)))...)
	if err != nil {
		return nil, err
	}
	if set.Dashboard {
		_, err := corev1.NewConfigMap(ctx, name+"-dashboard", &corev1.ConfigMapArgs{
			Metadata: &metav1.ObjectMetaArgs{
				Name:      pulumi.String("falco-dashboard"),
				Namespace: args.Namespace.Metadata.Name(),
				Labels:    pulumi.ToStringMap(dashboard.Labels()),
			},
			Data: pulumi.ToStringMap(dashboard.Data()),
		}, child...)
		if err != nil {
			return nil, fmt.Errorf("register the dashboard: %w", err)
		}
	}
	f.RulesConfigMap = configMap.Metadata.Name().Elem()
	f.RulesHash = pulumi.String(args.Rules.Hash).ToStringOutput()
	outputs := pulumi.Map{"rulesConfigMap": f.RulesConfigMap, "rulesHash": f.RulesHash, "release": release.Status}
	if err := ctx.RegisterResourceOutputs(f, outputs); err != nil {
		return nil, fmt.Errorf("register the outputs of Falco: %w", err)
	}
	return f, nil
}
