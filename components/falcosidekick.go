package components

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
	"spire-falco/values"
)

// FalcosidekickSecrets are the secret values of the outputs; nil for one that is not used.
type FalcosidekickSecrets struct {
	// Outputs by the setting that holds the value.
	Outputs    map[string]pulumi.StringInput
	UIPassword pulumi.StringInput
}

// FalcosidekickArgs describes where alerts go.
type FalcosidekickArgs struct {
	Settings  config.Falcosidekick
	Secrets   FalcosidekickSecrets
	Namespace *corev1.Namespace
	Provider  *kubernetes.Provider
	OnDelete  []pulumi.ResourceOption
}

// Falcosidekick takes Falco's alerts over HTTP and passes them on.
type Falcosidekick struct {
	pulumi.ResourceState

	// URL is where Falco posts its alerts.
	URL string

	release *Release
}

// secretName is the Secret that the chart reads by name.
const secretName = "falcosidekick-outputs"

// NewFalcosidekick registers Falcosidekick. It errs when an output is on whose secret is missing.
func NewFalcosidekick(ctx *pulumi.Context, name string, args *FalcosidekickArgs, opts ...pulumi.ResourceOption) (*Falcosidekick, error) {
	if args == nil || args.Provider == nil || args.Namespace == nil {
		return nil, errors.New("a Falcosidekick needs a provider and a namespace")
	}
	data, err := args.secretData()
	if err != nil {
		return nil, err
	}
	k := &Falcosidekick{}
	if err := ctx.RegisterComponentResource(typeToken("Falcosidekick"), name, k, opts...); err != nil {
		return nil, fmt.Errorf("register the component Falcosidekick: %w", err)
	}
	child := with(args.OnDelete, pulumi.Parent(k), pulumi.Provider(args.Provider))
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
	k.release, err = newRelease(ctx, name+"-release", releaseArgs{
		chart:     args.Settings.Chart,
		name:      config.FalcosidekickRelease,
		namespace: namespace,
		values:    values.Falcosidekick(args.Settings, inputs),
	}, with(child, pulumi.DependsOn(depends))...)
	if err != nil {
		return nil, err
	}
	k.URL = AlertURL
	if err := ctx.RegisterResourceOutputs(k, pulumi.Map{"outputs": pulumi.ToStringArray(outputNames(args.Settings))}); err != nil {
		return nil, fmt.Errorf("register the outputs of Falcosidekick: %w", err)
	}
	return k, nil
}

// AlertURL is where Falco, in the same namespace, posts its alerts.
const AlertURL = "http://" + config.FalcosidekickRelease + ":2801"

// secretData holds the environment variables that Falcosidekick and its UI read from the Secret.
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
	errs = append(errs, add(s.UI.Enabled, "FALCOSIDEKICK_UI_USER", config.UIPasswordKey, a.Secrets.UIPassword, func(p string) string { return s.UI.User + ":" + p }))
	return data, errors.Join(errs...)
}

// secretHash changes when one of the secrets does, and does not give them away: it is slow to compute (OWASP's count of
// rounds for PBKDF2-HMAC-SHA256) and too short to tell a right guess from a wrong one.
func secretHash(ctx *pulumi.Context, data pulumi.StringMap) pulumi.StringOutput {
	keys := make([]string, 0, len(data))
	for k := range data {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	parts := make([]any, len(keys))
	for i, k := range keys {
		parts[i] = data[k]
	}
	salt := ctx.Project() + "/" + ctx.Stack()
	hash := pulumi.All(parts...).ApplyT(func(all []any) (string, error) {
		text := ""
		for i, k := range keys {
			text += fmt.Sprintf("%s=%q\n", k, all[i])
		}
		sum, err := pbkdf2.Key(sha256.New, text, []byte(salt), 600_000, 3)
		if err != nil {
			return "", fmt.Errorf("hash the secrets of Falcosidekick: %w", err)
		}
		return hex.EncodeToString(sum), nil
	}).(pulumi.StringOutput)
	return pulumi.Unsecret(hash).(pulumi.StringOutput)
}

// outputNames lists the outputs that are on, for people.
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
