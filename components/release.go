package components

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/utilities"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/charts"
	"spire-falco/values"
)

// releaseType is the type token of helm.v3.Release. The resource is registered by its token because importing the SDK's
// helm/v3 package would compile 67 more packages and make the program 100 MB larger.
const releaseType = "kubernetes:helm.sh/v3:Release"

// releaseTimeout is how long Helm waits for a chart's objects, in seconds, including pulling images.
const releaseTimeout = 600

// Release is a Helm release.
type Release struct {
	pulumi.CustomResourceState

	// Status is Helm's status of the release: name, namespace, revision, version and status.
	Status pulumi.MapOutput `pulumi:"status"`
}

// releaseArgs describes a Helm release.
type releaseArgs struct {
	chart     charts.Chart
	name      string
	namespace pulumi.StringInput
	// values are plain values, except for outputs that are not secret.
	values values.Map
	// rawValues are values as YAML, which can contain null.
	rawValues string
}

func newRelease(ctx *pulumi.Context, name string, args releaseArgs, opts ...pulumi.ResourceOption) (*Release, error) {
	props := pulumi.Map{
		"chart":          pulumi.String(args.chart.Name),
		"version":        pulumi.String(args.chart.Version),
		"repositoryOpts": pulumi.Map{"repo": pulumi.String(args.chart.Repository)},
		"name":           pulumi.String(args.name),
		"namespace":      args.namespace,
		"timeout":        pulumi.Int(releaseTimeout),
		"maxHistory":     pulumi.Int(3),
		"compat":         pulumi.String("true"), // as the SDK's own constructor sets it
	}
	if args.values != nil {
		props["values"] = toInput(args.values)
	}
	if args.rawValues != "" {
		props["valueYamlFiles"] = pulumi.AssetOrArchiveArray{pulumi.NewStringAsset(args.rawValues)}
	}
	r := &Release{}
	if err := ctx.RegisterResource(releaseType, name, props, r, utilities.PkgResourceDefaultOpts(opts)...); err != nil {
		return nil, fmt.Errorf("register the Helm release %s: %w", name, err)
	}
	return r, nil
}
