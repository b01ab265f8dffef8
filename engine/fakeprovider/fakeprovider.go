// Package fakeprovider stands in for the Kubernetes and command provider plugins: it answers the engine over gRPC and does
// nothing but remember. With it the real engine plans and runs the whole program where no plugin can be had, and tests
// can fail any single operation. It checks no chart, asks no cluster and runs no command.
package fakeprovider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"sort"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Packages that the stack's resources come from.
var Packages = []string{"kubernetes", "command"}

// Kind of an operation.
type Kind string

// The operations that reach a provider.
const (
	Create Kind = "create"
	Update Kind = "update"
	Delete Kind = "delete"
)

// Operation is one call that the engine makes to change a resource.
type Operation struct {
	Kind Kind
	// URN of the resource.
	URN string
	// ID that the resource has, or gets.
	ID string
	// Type token, such as kubernetes:core/v1:ConfigMap.
	Type string
	// Inputs are the new inputs, or the last ones on a delete. Secrets are marked as Pulumi property values.
	Inputs resource.PropertyMap
}

// Providers serves every package of Packages on loopback ports of its own.
type Providers struct {
	// Before is called ahead of each operation outside a preview; an error of it fails the operation. It may block: its
	// context ends when the engine cancels the run or is gone.
	Before func(context.Context, Operation) error
	// After is called when an operation is done and the engine does not know it yet; an error of it is what the engine
	// gets to know.
	After func(context.Context, Operation) error

	mu      sync.Mutex
	done    []Operation
	objects map[string]Operation // what exists, by key
	serial  int
	cancel  chan struct{} // closed when the engine cancels

	servers []*grpc.Server
	ports   map[string]int
}

// Start serves until Close. versions are those that the providers say they have, by package; the engine warns when they
// are not those that the program wants.
func Start(versions map[string]string) (*Providers, error) {
	p := &Providers{objects: map[string]Operation{}, ports: map[string]int{}, cancel: make(chan struct{})}
	for _, name := range Packages {
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("listen for the engine: %w", err)
		}
		server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
		pulumirpc.RegisterResourceProviderServer(server, &provider{all: p, name: name, version: versions[name]})
		p.servers = append(p.servers, server)
		p.ports[name] = listener.Addr().(*net.TCPAddr).Port
		go func() { _ = server.Serve(listener) }() // ends with Stop
	}
	return p, nil
}

// Close stops serving.
func (p *Providers) Close() {
	for _, s := range p.servers {
		s.Stop()
	}
}

// Environment tells the engine where the providers are.
func (p *Providers) Environment() map[string]string {
	parts := make([]string, 0, len(p.ports))
	for name, port := range p.ports {
		parts = append(parts, fmt.Sprintf("%s:%d", name, port))
	}
	sort.Strings(parts)
	return map[string]string{"PULUMI_DEBUG_PROVIDERS": strings.Join(parts, ",")}
}

// Operations lists what was done since the start or the last Reset, in order, failed ones left out.
func (p *Providers) Operations() []Operation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Operation(nil), p.done...)
}

// Reset forgets the operations, not the objects.
func (p *Providers) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = nil
}

// Objects lists what exists, by kind and ID, such as ConfigMap/falco/rules. What a command made has no ID: it is listed
// by the URN of the command, and the same command makes the same thing again.
func (p *Providers) Objects() map[string]Operation {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]Operation, len(p.objects))
	for id, op := range p.objects {
		out[id] = op
	}
	return out
}

// Remove takes away what Objects lists by that key, as somebody does who is not the engine. It reports whether it was there.
func (p *Providers) Remove(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, there := p.objects[key]
	delete(p.objects, key)
	return there
}

// key tells objects apart as the cluster does.
func key(op Operation) string {
	if IsCommand(op.Type) {
		return op.URN
	}
	return op.Type[strings.LastIndex(op.Type, ":")+1:] + "/" + op.ID
}

// IsCommand tells whether a resource type is one of the command provider.
func IsCommand(typ string) bool { return strings.HasPrefix(typ, "command:") }

// do carries an operation out and returns the ID of its object.
func (p *Providers) do(ctx context.Context, op Operation) (string, error) {
	ctx, stop := p.untilCancelled(ctx)
	defer stop()
	if p.Before != nil {
		if err := p.Before(ctx, op); err != nil {
			return "", err
		}
	}
	op, err := p.apply(op)
	if err != nil {
		return "", err
	}
	if p.After != nil {
		if err := p.After(ctx, op); err != nil {
			return "", err
		}
	}
	return op.ID, nil
}

func (p *Providers) apply(op Operation) (Operation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if op.Kind == Create {
		if IsCommand(op.Type) {
			p.serial++
			op.ID = fmt.Sprintf("command-%d", p.serial)
		} else if _, taken := p.objects[key(op)]; taken && !strings.HasSuffix(op.Type, "Patch") {
			if op.Type == releaseType {
				return op, errors.New("cannot re-use a name that is still in use")
			}
			return op, fmt.Errorf("%s already exists", key(op))
		}
	}
	if op.Kind == Delete {
		delete(p.objects, key(op))
	} else {
		p.objects[key(op)] = op
	}
	p.done = append(p.done, op)
	return op, nil
}

// untilCancelled ends ctx when the engine asks the providers to cancel what they do.
func (p *Providers) untilCancelled(ctx context.Context) (context.Context, func()) {
	p.mu.Lock()
	cancelled := p.cancel
	p.mu.Unlock()
	ctx, stop := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-cancelled:
			stop(errors.New("cancelled by the engine"))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { stop(nil) }
}

const releaseType = "kubernetes:helm.sh/v3:Release"

// provider answers for one package.
type provider struct {
	pulumirpc.UnimplementedResourceProviderServer
	all     *Providers
	name    string
	version string
}

var marshal = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, KeepResources: true, KeepOutputValues: false}

func properties(s *structpb.Struct) (resource.PropertyMap, error) {
	m, err := plugin.UnmarshalProperties(s, marshal)
	if err != nil {
		return nil, fmt.Errorf("read properties from the engine: %w", err)
	}
	return m, nil
}

func message(m resource.PropertyMap) (*structpb.Struct, error) {
	s, err := plugin.MarshalProperties(m, marshal)
	if err != nil {
		return nil, fmt.Errorf("write properties for the engine: %w", err)
	}
	return s, nil
}

func (p *provider) Handshake(context.Context, *pulumirpc.ProviderHandshakeRequest) (*pulumirpc.ProviderHandshakeResponse, error) {
	return &pulumirpc.ProviderHandshakeResponse{AcceptSecrets: true, AcceptResources: true, AcceptOutputs: false, SupportsAutonamingConfiguration: false}, nil
}

func (p *provider) Attach(context.Context, *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (p *provider) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: p.version}, nil
}

func (p *provider) GetSchema(context.Context, *pulumirpc.GetSchemaRequest) (*pulumirpc.GetSchemaResponse, error) {
	return &pulumirpc.GetSchemaResponse{Schema: fmt.Sprintf(`{"name":%q,"version":%q}`, p.name, p.version)}, nil
}

func (p *provider) CheckConfig(_ context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: r.News}, nil
}

func (p *provider) DiffConfig(_ context.Context, r *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return p.diff(r, func(resource.PropertyMap, resource.PropertyMap) []string {
		return changed(r.Olds, r.News, "clusterIdentifier")
	})
}

func (p *provider) Configure(context.Context, *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true, AcceptResources: true}, nil
}

func (p *provider) Check(_ context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: r.News}, nil
}

func (p *provider) Diff(_ context.Context, r *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	typ := resource.URN(r.Urn).Type().String()
	return p.diff(r, func(olds, news resource.PropertyMap) []string { return replaces(typ, olds, news) })
}

// diff compares the old inputs with the new ones; without old inputs (an older engine) the old outputs.
func (p *provider) diff(r *pulumirpc.DiffRequest, replaced func(olds, news resource.PropertyMap) []string) (*pulumirpc.DiffResponse, error) {
	from := r.OldInputs
	if from == nil {
		from = r.Olds
	}
	olds, err := properties(from)
	if err != nil {
		return nil, err
	}
	news, err := properties(r.News)
	if err != nil {
		return nil, err
	}
	delta := olds.Diff(news)
	if delta == nil {
		return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
	}
	var keys []string
	for _, k := range delta.ChangedKeys() {
		keys = append(keys, string(k))
	}
	replaces := replaced(olds, news)
	return &pulumirpc.DiffResponse{
		Changes:  pulumirpc.DiffResponse_DIFF_SOME,
		Diffs:    keys,
		Replaces: replaces,
		// Two objects cannot have one name at the same time.
		DeleteBeforeReplace: len(replaces) > 0 && identity(resource.URN(r.Urn).Type().String(), olds) == identity(resource.URN(r.Urn).Type().String(), news),
	}, nil
}

func changed(olds, news *structpb.Struct, key string) []string {
	a, b := olds.GetFields()[key], news.GetFields()[key]
	if a.GetStringValue() != b.GetStringValue() {
		return []string{key}
	}
	return nil
}

// replaces lists what makes the real providers replace a resource instead of updating it, for the kinds of this stack.
func replaces(typ string, olds, news resource.PropertyMap) []string {
	var paths []string
	differs := func(path ...string) {
		if !reflect.DeepEqual(at(olds, path...), at(news, path...)) {
			paths = append(paths, strings.Join(path, "."))
		}
	}
	switch {
	case typ == releaseType:
		differs("name")
		differs("namespace")
	case strings.HasPrefix(typ, "kubernetes:"):
		differs("metadata", "name")
		differs("metadata", "namespace")
		if typ == "kubernetes:core/v1:ConfigMap" && at(olds, "immutable").IsBool() {
			differs("data")
		}
		if typ == "kubernetes:apps/v1:Deployment" {
			differs("spec", "selector")
		}
	case strings.HasPrefix(typ, "command:"):
		differs("triggers")
	}
	return paths
}

func at(m resource.PropertyMap, path ...string) resource.PropertyValue {
	v := resource.NewProperty(m)
	for _, k := range path {
		for v.IsSecret() {
			v = v.SecretValue().Element
		}
		if !v.IsObject() {
			return resource.NewNullProperty()
		}
		v = v.ObjectValue()[resource.PropertyKey(k)]
	}
	return v
}

func text(v resource.PropertyValue) string {
	for v.IsSecret() {
		v = v.SecretValue().Element
	}
	if v.IsString() {
		return v.StringValue()
	}
	return ""
}

func (p *provider) Create(ctx context.Context, r *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	inputs, err := properties(r.Properties)
	if err != nil {
		return nil, err
	}
	typ := resource.URN(r.Urn).Type().String()
	op := Operation{Kind: Create, URN: r.Urn, Type: typ, Inputs: inputs, ID: identity(typ, inputs)}
	if !r.Preview {
		if op.ID, err = p.all.do(ctx, op); err != nil {
			return nil, err
		}
	}
	out, err := message(outputs(typ, inputs))
	if err != nil {
		return nil, err
	}
	return &pulumirpc.CreateResponse{Id: op.ID, Properties: out}, nil
}

func (p *provider) Update(ctx context.Context, r *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	inputs, err := properties(r.News)
	if err != nil {
		return nil, err
	}
	typ := resource.URN(r.Urn).Type().String()
	if !r.Preview {
		if _, err := p.all.do(ctx, Operation{Kind: Update, URN: r.Urn, Type: typ, Inputs: inputs, ID: r.Id}); err != nil {
			return nil, err
		}
	}
	out, err := message(outputs(typ, inputs))
	if err != nil {
		return nil, err
	}
	return &pulumirpc.UpdateResponse{Properties: out}, nil
}

func (p *provider) Delete(ctx context.Context, r *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	inputs, err := properties(r.OldInputs)
	if err != nil {
		return nil, err
	}
	typ := resource.URN(r.Urn).Type().String()
	if _, err := p.all.do(ctx, Operation{Kind: Delete, URN: r.Urn, Type: typ, Inputs: inputs, ID: r.Id}); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// Read answers a refresh: what was made is as it was made, anything else is gone. A command cannot be looked at; the real
// provider too believes what the state says.
func (p *provider) Read(_ context.Context, r *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	typ := resource.URN(r.Urn).Type().String()
	if IsCommand(typ) {
		return &pulumirpc.ReadResponse{Id: r.Id, Inputs: r.Inputs, Properties: r.Properties}, nil
	}
	p.all.mu.Lock()
	op, ok := p.all.objects[key(Operation{Type: typ, ID: r.Id})]
	p.all.mu.Unlock()
	if !ok {
		return &pulumirpc.ReadResponse{}, nil
	}
	in, err1 := message(op.Inputs)
	out, err2 := message(outputs(op.Type, op.Inputs))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &pulumirpc.ReadResponse{Id: r.Id, Inputs: in, Properties: out}, nil
}

func (p *provider) Invoke(_ context.Context, r *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	return nil, fmt.Errorf("this stand-in for the %s provider answers no function, not %s either", p.name, r.Tok)
}

func (p *provider) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	close(p.all.cancel)
	p.all.cancel = make(chan struct{})
	return &emptypb.Empty{}, nil
}

// identity is the ID that the real provider gives: namespace/name for objects and releases. Commands get one of no meaning.
func identity(typ string, inputs resource.PropertyMap) string {
	name, namespace := text(at(inputs, "metadata", "name")), text(at(inputs, "metadata", "namespace"))
	if typ == releaseType {
		name, namespace = text(at(inputs, "name")), text(at(inputs, "namespace"))
	}
	if strings.HasPrefix(typ, "command:") {
		return ""
	}
	if namespace != "" {
		name = namespace + "/" + name
	}
	return name
}

// outputs are the inputs and what the real provider adds that this program reads.
func outputs(typ string, inputs resource.PropertyMap) resource.PropertyMap {
	out := inputs.Copy()
	switch {
	case typ == releaseType:
		out["status"] = resource.NewProperty(resource.PropertyMap{
			"name":      at(inputs, "name"),
			"namespace": at(inputs, "namespace"),
			"status":    resource.NewProperty("deployed"),
			"version":   at(inputs, "version"),
		})
	case strings.HasPrefix(typ, "command:"):
		out["stdout"] = resource.NewProperty("")
		out["stderr"] = resource.NewProperty("")
	}
	return out
}
