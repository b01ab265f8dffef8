package components

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
	"spire-falco/values"
)

// FalcosidekickSecrets are the secret values of the outputs; unused ones are nil.
type FalcosidekickSecrets struct {
	// Outputs are the secrets of the outputs by setting.
	Outputs    map[string]pulumi.StringInput
	UIPassword pulumi.StringInput
}

// FalcosidekickArgs describes where alerts go.
type FalcosidekickArgs struct {
	Settings  config.Falcosidekick
	Secrets   FalcosidekickSecrets
	Cluster   *Cluster
	Namespace *corev1.Namespace
}

// Falcosidekick receives Falco's alerts over HTTP and forwards them.
type Falcosidekick struct {
	pulumi.ResourceState

	// URL is where Falco posts its alerts.
	URL string

	release *Release
}

// secretName is the Secret that the chart reads by name.
const secretName = "falcosidekick-outputs"

// NewFalcosidekick registers Falcosidekick. It returns an error when the secret of an enabled output is missing.
func NewFalcosidekick(
	ctx *pulumi.Context, name string, args *FalcosidekickArgs, opts ...pulumi.ResourceOption,
) (*Falcosidekick, error) {
	if args == nil || args.Cluster == nil || args.Namespace == nil {
		return nil, errors.New("a Falcosidekick needs a cluster and a namespace")
	}
	data, err := args.secretData()
	if err != nil {
		return nil, err
	}
	k := &Falcosidekick{URL: AlertURL}
	return register(ctx, "Falcosidekick", name, k, opts, func() (pulumi.Map, error) {
		child := args.Cluster.inCluster(k)
		namespace := args.Namespace.Metadata.Name().Elem()
		inputs := values.FalcosidekickInputs{}
		depends := []pulumi.Resource{args.Namespace}
		if len(data) > 0 {
			secret, err := corev1.NewSecret(ctx, name+"-outputs", &corev1.SecretArgs{
				Metadata:   &metav1.ObjectMetaArgs{Name: pulumi.String(secretName), Namespace: namespace},
				Type:       pulumi.String("Opaque"),
				StringData: data,
			}, child...)
			if err != nil {
				return nil, fmt.Errorf("register the Secret of Falcosidekick's outputs: %w", err)
			}
			depends = append(depends, secret)
			inputs.Secret = secretName
			inputs.SecretHash = secretHash(ctx, data)
		}
		var err error
		k.release, err = newRelease(ctx, name+"-release", releaseArgs{
			chart:     args.Settings.Chart,
			name:      config.FalcosidekickRelease,
			namespace: namespace,
			values:    values.Falcosidekick(args.Settings, inputs),
		}, with(child, pulumi.DependsOn(depends))...)
		return pulumi.Map{"outputs": pulumi.ToStringArray(outputNames(args.Settings))}, err
	})
}

// AlertURL is the URL to which Falco, in the same namespace, posts its alerts.
const AlertURL = "http://" + config.FalcosidekickRelease + ":2801"

// secretData returns the environment variables that Falcosidekick and its UI read from the Secret.
func (a *FalcosidekickArgs) secretData() (pulumi.StringMap, error) {
	data := pulumi.StringMap{}
	add := func(on bool, key, setting string, value pulumi.StringInput, format func(string) string) error {
		if !on {
			return nil
		}
		if value == nil {
			return fmt.Errorf("%s is required, but its value was not passed", setting)
		}
		out := pulumi.ToSecret(value).(pulumi.StringOutput)
		if format != nil {
			out = out.ApplyT(format).(pulumi.StringOutput)
		}
		data[key] = out
		return nil
	}
	s := a.Settings
	var errs []error
	for _, o := range s.Outputs {
		errs = append(errs, add(o.Value == nil, o.Variable(), o.Setting, a.Secrets.Outputs[o.Setting], nil))
	}
	errs = append(errs, add(s.UI.Enabled, "FALCOSIDEKICK_UI_USER", config.UIPasswordKey, a.Secrets.UIPassword,
		func(password string) string { return s.UI.User + ":" + password }))
	return data, errors.Join(errs...)
}

// secretHash returns a hash that changes with the secrets but does not reveal them: it is slow to compute (OWASP's
// iteration count for PBKDF2-HMAC-SHA256) and too short to confirm a guess.
func secretHash(ctx *pulumi.Context, data pulumi.StringMap) pulumi.StringOutput {
	keys := slices.Sorted(maps.Keys(data))
	parts := make([]any, len(keys))
	for i, k := range keys {
		parts[i] = data[k]
	}
	salt := ctx.Project() + "/" + ctx.Stack()
	hash := pulumi.All(parts...).ApplyT(func(all []any) (string, error) {
		var text strings.Builder
		for i, k := range keys {
			fmt.Fprintf(&text, "%s=%q\n", k, all[i])
		}
		sum, err := pbkdf2.Key(sha256.New, text.String(), []byte(salt), 600_000, 3)
		if err != nil {
			return "", fmt.Errorf("hash the secrets of Falcosidekick: %w", err)
		}
		return hex.EncodeToString(sum), nil
	}).(pulumi.StringOutput)
	return pulumi.Unsecret(hash).(pulumi.StringOutput)
}

// outputNames returns the names of the enabled outputs.
func outputNames(s config.Falcosidekick) []string {
	var names []string
	for _, o := range s.Outputs {
		if !slices.Contains(names, o.Output()) {
			names = append(names, o.Output())
		}
	}
	if s.UI.Enabled {
		names = append(names, "ui")
	}
	return names
}
