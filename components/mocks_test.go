package components

import (
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/rules"
)

// registered is one resource as the engine would get it.
type registered struct {
	typ, name, parent, provider, deletedWith string
	dependsOn                                []string
	inputs                                   resource.PropertyMap
}

// recorder is a mocked engine that remembers what is registered.
type recorder struct {
	mu   sync.Mutex
	list []registered
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rpc := args.RegisterRPC
	r.list = append(r.list, registered{
		typ: args.TypeToken, name: args.Name, parent: last(rpc.GetParent()),
		provider: args.Provider, deletedWith: last(rpc.GetDeletedWith()),
		dependsOn: names(rpc.GetDependencies()), inputs: args.Inputs,
	})
	return args.Name + "-id", args.Inputs, nil
}

func (r *recorder) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}

// last is the name at the end of a URN.
func last(urn string) string { return urn[strings.LastIndex(urn, ":")+1:] }

func names(urns []string) []string {
	out := make([]string, len(urns))
	for i, u := range urns {
		out[i] = last(u)
	}
	return out
}

// plain takes Pulumi's property values apart: secrets become {"secret": value}.
func plain(v resource.PropertyValue) any {
	return v.MapRepl(nil, func(v resource.PropertyValue) (any, bool) {
		if v.IsSecret() {
			return map[string]any{"secret": plain(v.SecretValue().Element)}, true
		}
		return nil, false
	})
}

func (r *recorder) one(t *testing.T, name string) registered {
	t.Helper()
	for _, res := range r.list {
		if res.name == name {
			return res
		}
	}
	require.Fail(t, "nothing is registered as "+name)
	return registered{}
}

// get is a plain value inside a resource's inputs; nil if it is not there.
func (r registered) get(path ...string) any {
	v := plain(resource.NewProperty(r.inputs))
	for _, k := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// settings loads configuration on top of the defaults; secrets are values that are set and kept secret.
func settings(t *testing.T, values map[string]string, secrets ...string) *config.Settings {
	t.Helper()
	src := config.Source{Stack: "test", Values: values, Secrets: map[string]bool{}}
	for _, k := range secrets {
		src.Secrets[k] = true
	}
	s, err := config.Load(src)
	require.NoError(t, err)
	return s
}

// stack registers the whole stack on mocks.
func stack(t *testing.T, s *config.Settings, secrets FalcosidekickSecrets) (*recorder, *rules.Rendered) {
	t.Helper()
	args := &StackArgs{
		Settings: s, Kubeconfig: "/state/kubeconfig", Secrets: secrets,
		Image:     "docker.io/library/mtls-server:sha256-1",
		ImageLoad: &ImageArgs{Digest: "sha256:1", Archive: "/cache/image.tar", Repository: s.ImageRepository, Dir: "/project"},
	}
	if s.EnableFalco {
		args.Rules = mustRender(t, s)
	}
	r := &recorder{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := NewStack(ctx, "stack", args)
		return err
	}, pulumi.WithMocks(config.Project, "test", r))
	require.NoError(t, err)
	return r, args.Rules
}
