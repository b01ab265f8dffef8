// Package commandprovider answers the Pulumi engine as the command provider 1.2.1 does, for tests where its plugin
// cannot be had: command:local:Command and command:remote:Command really run their scripts, in a shell or over SSH,
// with the provider's rules for create, update, delete, triggers, standard input, environment, former output, logging,
// host keys and retries. It attaches to the engine through PULUMI_DEBUG_PROVIDERS.
package commandprovider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Types that the provider has.
const (
	LocalCommand  = "command:local:Command"
	RemoteCommand = "command:remote:Command"
)

// Operation is one run of a command: what the engine asked for, of which resource, and how it ended.
type Operation struct {
	// Kind is create, update or delete.
	Kind string
	// URN of the resource.
	URN string
	// Command is the command line that ran; empty when the resource has none for this kind.
	Command string
	// Err is what the engine was answered; nil when it went well.
	Err error
}

// Server is a running provider.
type Server struct {
	// Local makes the command for a line of a local command; nil is this machine's shell. Set it before the first use.
	Local func(ctx context.Context, line string) *exec.Cmd

	grpc *grpc.Server
	port int

	mu         sync.Mutex
	engine     pulumirpc.EngineClient
	operations []Operation
}

// Start serves on a loopback port of its own until Close.
func Start() (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the engine: %w", err)
	}
	s := &Server{grpc: grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20)), port: listener.Addr().(*net.TCPAddr).Port}
	pulumirpc.RegisterResourceProviderServer(s.grpc, &provider{Server: s})
	go func() { _ = s.grpc.Serve(listener) }() // ends with Stop
	return s, nil
}

// Close stops serving. What runs at that moment gets its context cancelled, as when the plugin is killed.
func (s *Server) Close() { s.grpc.Stop() }

// Attach is the provider's part of PULUMI_DEBUG_PROVIDERS; join several with commas.
func (s *Server) Attach() string { return fmt.Sprintf("command:%d", s.port) }

// Operations lists what was run, in order.
func (s *Server) Operations() []Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.operations)
}

// Reset forgets the operations.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.operations = nil
}

// provider is the Server's side towards the engine.
type provider struct {
	pulumirpc.UnimplementedResourceProviderServer
	*Server
}

var marshal = plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, KeepResources: true}

func properties(from *structpb.Struct) (resource.PropertyMap, error) {
	m, err := plugin.UnmarshalProperties(from, marshal)
	if err != nil {
		return nil, fmt.Errorf("read properties from the engine: %w", err)
	}
	return m, nil
}

func message(m resource.PropertyMap) (*structpb.Struct, error) {
	to, err := plugin.MarshalProperties(m, marshal)
	if err != nil {
		return nil, fmt.Errorf("write properties for the engine: %w", err)
	}
	return to, nil
}

// Handshake is called when the engine starts a plugin of a newer protocol.
func (s *provider) Handshake(context.Context, *pulumirpc.ProviderHandshakeRequest) (*pulumirpc.ProviderHandshakeResponse, error) {
	return &pulumirpc.ProviderHandshakeResponse{AcceptSecrets: true, AcceptResources: true}, nil
}

// Attach keeps the engine's address, to log there.
func (s *provider) Attach(_ context.Context, r *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	conn, err := grpc.NewClient(r.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to the engine at %s: %w", r.Address, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine = pulumirpc.NewEngineClient(conn)
	return &emptypb.Empty{}, nil
}

// GetPluginInfo tells the version whose behaviour this is.
func (s *provider) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: "1.2.1"}, nil
}

// GetSchema returns an empty one: programs are compiled against the SDK.
func (s *provider) GetSchema(context.Context, *pulumirpc.GetSchemaRequest) (*pulumirpc.GetSchemaResponse, error) {
	return &pulumirpc.GetSchemaResponse{Schema: `{"name":"command","version":"1.2.1"}`}, nil
}

// CheckConfig accepts any: the provider has no configuration.
func (s *provider) CheckConfig(_ context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: r.News}, nil
}

// DiffConfig finds no difference.
func (s *provider) DiffConfig(context.Context, *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
}

// Configure accepts secrets and previews.
func (s *provider) Configure(context.Context, *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true, AcceptResources: true}, nil
}

// Check refuses other types and a remote command without a connection, and fills in the connection's defaults.
func (s *provider) Check(_ context.Context, r *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	inputs, err := properties(r.News)
	if err != nil {
		return nil, err
	}
	switch typ := resource.URN(r.Urn).Type().String(); typ {
	case LocalCommand:
	case RemoteCommand:
		connection := plain(inputs["connection"])
		if !connection.IsObject() {
			if connection.IsComputed() {
				break
			}
			return &pulumirpc.CheckResponse{Inputs: r.News, Failures: []*pulumirpc.CheckFailure{{Property: "connection", Reason: "missing"}}}, nil
		}
		o := connection.ObjectValue().Copy()
		for key, value := range map[resource.PropertyKey]resource.PropertyValue{
			"user": resource.NewProperty("root"), "port": resource.NewProperty(22.0),
			"dialErrorLimit": resource.NewProperty(10.0), "perDialTimeout": resource.NewProperty(15.0),
		} {
			if !o.HasValue(key) {
				o[key] = value
			}
		}
		inputs = inputs.Copy()
		inputs["connection"] = resource.MakeSecret(resource.NewProperty(o))
	default:
		return nil, fmt.Errorf("unknown type %s", typ)
	}
	checked, err := message(inputs)
	return &pulumirpc.CheckResponse{Inputs: checked}, err
}

// Diff compares inputs. A change of triggers replaces; any other updates.
func (s *provider) Diff(_ context.Context, r *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	olds, err := properties(r.OldInputs)
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
	d := &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_SOME}
	for _, k := range delta.ChangedKeys() {
		d.Diffs = append(d.Diffs, string(k))
		if k == "triggers" {
			d.Replaces = append(d.Replaces, string(k))
		}
	}
	return d, nil
}

// Create runs the create command, if there is one and this is no preview.
func (s *provider) Create(ctx context.Context, r *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	inputs, err := properties(r.Properties)
	if err != nil {
		return nil, err
	}
	id, err := resource.NewUniqueHex(resource.URN(r.Urn).Name(), 8, 0)
	if err != nil {
		return nil, err
	}
	if r.Preview {
		return &pulumirpc.CreateResponse{Id: id, Properties: r.Properties}, nil
	}
	state, err := s.perform(ctx, "create", r.Urn, text(inputs["create"]), inputs, nil)
	if err != nil {
		return nil, err
	}
	out, err := message(state)
	return &pulumirpc.CreateResponse{Id: id, Properties: out}, err
}

// Update runs the update command, or else the create command.
func (s *provider) Update(ctx context.Context, r *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	inputs, err := properties(r.News)
	if err != nil {
		return nil, err
	}
	olds, err := properties(r.Olds)
	if err != nil {
		return nil, err
	}
	if r.Preview {
		return &pulumirpc.UpdateResponse{Properties: r.News}, nil
	}
	command := text(inputs["update"])
	if command == nil {
		command = text(inputs["create"])
	}
	state, err := s.perform(ctx, "update", r.Urn, command, inputs, olds)
	if err != nil {
		return nil, err
	}
	out, err := message(state)
	return &pulumirpc.UpdateResponse{Properties: out}, err
}

// Delete runs the delete command with the inputs of the last create or update.
func (s *provider) Delete(ctx context.Context, r *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	state, err := properties(r.Properties)
	if err != nil {
		return nil, err
	}
	_, err = s.perform(ctx, "delete", r.Urn, text(state["delete"]), state, state)
	return &emptypb.Empty{}, err
}

// Read finds a command as it was: there is nothing to ask.
func (s *provider) Read(_ context.Context, r *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	return &pulumirpc.ReadResponse{Id: r.Id, Properties: r.Properties, Inputs: r.Inputs}, nil
}

// Invoke has no functions.
func (s *provider) Invoke(_ context.Context, r *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	return nil, fmt.Errorf("function %s: only the resources %s and %s are there", r.Tok, LocalCommand, RemoteCommand)
}

// Cancel has nothing to do: the contexts of calls end by themselves.
func (s *provider) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// perform runs a command and returns the new state: the inputs with standard output and error. These are plain, also
// when standard input or the environment is secret: so the state of the real provider 1.2.1 was seen.
func (s *Server) perform(ctx context.Context, kind, urn string, command *string, inputs, former resource.PropertyMap) (resource.PropertyMap, error) {
	state := inputs.Copy()
	stdout, stderr := text(former["stdout"]), text(former["stderr"])
	var err error
	op := Operation{Kind: kind, URN: urn}
	if command != nil {
		op.Command = *command
		var out result
		out, err = s.run(ctx, urn, *command, inputs, stdout, stderr)
		stdout, stderr = &out.stdout, &out.stderr
	}
	op.Err = err
	s.mu.Lock()
	s.operations = append(s.operations, op)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for key, value := range map[resource.PropertyKey]*string{"stdout": stdout, "stderr": stderr} {
		v := resource.NewProperty("")
		if value != nil {
			v = resource.NewProperty(*value)
		}
		state[key] = v
	}
	return state, nil
}

// log shows lines of a command's output in the engine's progress.
func (s *Server) log(ctx context.Context, urn, line string) {
	s.mu.Lock()
	engine := s.engine
	s.mu.Unlock()
	if engine != nil {
		_, _ = engine.Log(ctx, &pulumirpc.LogRequest{Severity: pulumirpc.LogSeverity_INFO, Message: line, Urn: urn, Ephemeral: true})
	}
}

// plain takes secrets off a value.
func plain(v resource.PropertyValue) resource.PropertyValue {
	for v.IsSecret() || v.IsOutput() {
		if v.IsSecret() {
			v = v.SecretValue().Element
		} else {
			v = v.OutputValue().Element
		}
	}
	return v
}

// text is a string property, nil when it is not set.
func text(v resource.PropertyValue) *string {
	if v = plain(v); v.IsString() {
		t := v.StringValue()
		return &t
	}
	return nil
}

func texts(v resource.PropertyValue) []string {
	var out []string
	if v = plain(v); v.IsArray() {
		for _, e := range v.ArrayValue() {
			if t := text(e); t != nil {
				out = append(out, *t)
			}
		}
	}
	return out
}

func number(v resource.PropertyValue) int {
	if v = plain(v); v.IsNumber() {
		return int(v.NumberValue())
	}
	return 0
}

// logged tells which of stdout and stderr are shown: both, unless logging says otherwise.
func logged(v resource.PropertyValue, stream string) bool {
	t := text(v)
	return t == nil || *t == stream || strings.EqualFold(*t, "stdoutAndStderr")
}

var errNoConnection = errors.New("the connection has no host")
