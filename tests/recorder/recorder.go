// Package recorder runs the whole Pulumi program on a mocked engine that remembers what is registered. Nothing is
// started, and nothing is made but a scratch folder.
package recorder

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
	"spire-falco/policy/policies"
	"spire-falco/policy/properties"
	"spire-falco/program"
)

// Resource is one resource as the engine would get it.
type Resource struct {
	// Type token, Name in the program and URN.
	Type, Name, URN string
	// Custom tells that a provider makes it; the others are components.
	Custom bool
	// Parent, Provider and DeletedWith are names of resources; empty for none.
	Parent, Provider, DeletedWith string
	// DependsOn are names of resources, and dependencies their URNs; components among them are taken apart.
	DependsOn    []string
	dependencies []string
	// Inputs are plain values in which policies.Secret and policies.Unknown mark what is secret or unknown.
	Inputs map[string]any
	// CreateTimeout and UpdateTimeout such as 10m; empty for the provider's own.
	CreateTimeout, UpdateTimeout string
}

// Get is a value inside the inputs, with the mark of a secret kept; nil if it is not there.
func (r Resource) Get(path ...string) any {
	var v any = r.Inputs
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// Object is the Kubernetes object that the resource stands for, with secrets in the clear; false for what is none: Helm
// releases, patches of what a chart makes, commands, providers and components.
func (r Resource) Object() (map[string]any, bool) {
	if !strings.HasPrefix(r.Type, "kubernetes:") || r.Get("kind") == nil || strings.HasSuffix(r.Type, "Patch") {
		return nil, false
	}
	object, ok := unmark(r.Inputs).(map[string]any)
	return object, ok
}

// unmark removes the marks of secrets.
func unmark(v any) any {
	switch v := v.(type) {
	case policies.Secret:
		return unmark(v.Value)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = unmark(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = unmark(item)
		}
		return out
	}
	return v
}

// Run is what one run of the program registered.
type Run struct {
	// Resources in the order in which they were registered.
	Resources []Resource
}

// Find returns the resource of that name.
func (r *Run) Find(name string) (Resource, bool) {
	for _, res := range r.Resources {
		if res.Name == name {
			return res, true
		}
	}
	return Resource{}, false
}

// ForPolicy is what was registered as the policies look at it.
func (r *Run) ForPolicy() []policies.Resource {
	out := make([]policies.Resource, len(r.Resources))
	for i, res := range r.Resources {
		out[i] = policies.Resource{
			URN: res.URN, Type: res.Type, Name: res.Name, Inputs: res.Inputs,
			DependsOn: append([]string{}, res.dependencies...),
		}
	}
	return out
}

// Settings are what the program runs with, by key without the project's namespace.
type Settings struct {
	// Values and Secrets of the stack's configuration.
	Values, Secrets map[string]string
	// Preview runs the program as a preview does.
	Preview bool
	// Transform changes what the program registers, for breaking it on purpose; nil for none.
	Transform pulumi.ResourceTransformation
}

// Program runs the whole program with these settings. The project's own image is not built: a stand-in has its place.
func Program(s Settings) (*Run, error) {
	dir, err := os.MkdirTemp("", "recorder-")
	if err != nil {
		return nil, fmt.Errorf("make a scratch folder: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // what is left of a scratch folder does no harm
	cfg := map[string]string{}
	var keys, secret []string
	for k, v := range s.Values {
		cfg[config.Project+":"+k] = v
		keys = append(keys, k)
	}
	for k, v := range s.Secrets {
		cfg[config.Project+":"+k] = v
		keys = append(keys, k)
		secret = append(secret, config.Project+":"+k)
	}
	sort.Strings(keys)
	run := program.New(program.Options{
		Dir: dir, Keys: keys,
		BuildImage: func(context.Context, string) (program.Image, error) { return image{}, nil },
	})
	rec := &monitor{}
	err = pulumi.RunErr(func(ctx *pulumi.Context) error {
		if s.Transform != nil {
			if err := ctx.RegisterStackTransformation(s.Transform); err != nil {
				return fmt.Errorf("register the transformation: %w", err)
			}
		}
		return run(ctx)
	}, pulumi.WithMocks(config.Project, "test", rec), func(info *pulumi.RunInfo) {
		info.Config, info.ConfigSecretKeys, info.DryRun = cfg, secret, s.Preview
	})
	if err != nil {
		return nil, fmt.Errorf("run the program on a mocked engine: %w", err)
	}
	return &Run{Resources: rec.list}, nil
}

// image stands in for the project's own image.
type image struct{}

func (image) Digest() string            { return "sha256:" + strings.Repeat("0123456789abcdef", 4) }
func (image) LocalReference() string    { return "docker.io/library/spire-falco:0123456789ab" }
func (image) WriteArchive(string) error { return nil }

// monitor is the mocked engine.
type monitor struct {
	mu   sync.Mutex
	list []Resource
}

// NewResource records the resource; its outputs are its inputs.
func (m *monitor) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	rpc := args.RegisterRPC
	res := Resource{
		Type: args.TypeToken, Name: args.Name, URN: urn(args.TypeToken, args.Name, rpc.GetParent()), Custom: args.Custom,
		Parent: properties.Name(rpc.GetParent()), DeletedWith: properties.Name(rpc.GetDeletedWith()),
		Inputs:        properties.Plain(args.Inputs),
		CreateTimeout: rpc.GetCustomTimeouts().GetCreate(), UpdateTimeout: rpc.GetCustomTimeouts().GetUpdate(),
		dependencies: append([]string{}, rpc.GetDependencies()...),
	}
	if i := strings.LastIndex(args.Provider, "::"); i >= 0 { // behind it is the provider's ID
		res.Provider = properties.Name(args.Provider[:i])
	}
	for _, d := range rpc.GetDependencies() {
		res.DependsOn = append(res.DependsOn, properties.Name(d))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, res)
	return args.Name + "-id", args.Inputs, nil
}

// urn is what the SDK's mocked engine makes of these.
func urn(typ, name, parent string) string {
	var parentType tokens.Type
	if p := resource.URN(parent); p != "" && p.QualifiedType() != resource.RootStackType {
		parentType = p.QualifiedType()
	}
	return string(resource.NewURN("test", config.Project, parentType, tokens.Type(typ), name))
}

// Call answers every function with nothing.
func (*monitor) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}
