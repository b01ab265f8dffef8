// Package lifecycle runs the whole program on the real Pulumi engine with stand-ins for the provider plugins: what an
// up makes, what each setting changes, in which order a destroy takes things down, and that every run that was broken
// off is taken up by the next one.
package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"spire-falco/config"
	"spire-falco/engine"
	"spire-falco/engine/fakeprovider"
	"spire-falco/engine/helm"
	"spire-falco/program"
)

var (
	root    string                   // the project's folder
	cli     string                   // the Pulumi CLI
	engines = make(chan struct{}, 2) // how many engines run at a time
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if root, err = filepath.Abs("../.."); err != nil {
			panic(err)
		}
		// A login, a backend, a passphrase or ENABLE_FALCO of the person who runs the tests must not reach them.
		for _, v := range []string{"PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_DEBUG_PROVIDERS", config.EnableFalcoVariable} {
			if err := os.Unsetenv(v); err != nil {
				panic(err)
			}
		}
		home, err := os.MkdirTemp("", "lifecycle")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(home) }() // what is left of a scratch folder does no harm
		if err := os.Setenv("PULUMI_HOME", home); err != nil {
			panic(err)
		}
		if cli, err = engine.CLI(context.Background(), root, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// image stands in for the project's own image: building it takes a Go compiler and minutes.
type image string

func (i image) Digest() string            { return "sha256:" + strings.Repeat(string(i), 64) }
func (i image) LocalReference() string    { return "docker.io/library/spire-falco:" + string(i) }
func (image) WriteArchive(p string) error { return os.WriteFile(p, nil, 0o600) }

// stack is one stack in a project folder, with a state and a cluster of its own.
type stack struct {
	t         *testing.T
	dir, name string
	settings  map[string]any
	secure    map[string]string // secret settings, as ciphertext
	providers *fakeprovider.Providers
	image     image
	transform pulumi.ResourceTransform
	releases  *helm.Cluster // nil: nobody looks

	out bytes.Buffer // everything that the engine said
}

// newStack makes a stack with these settings; nothing runs yet.
func newStack(t *testing.T, settings map[string]any) *stack {
	t.Helper()
	s := &stack{
		t: t, dir: t.TempDir(), settings: maps.Clone(settings), image: "a",
		name: fmt.Sprintf("t%d", serial()),
	}
	if s.settings == nil {
		s.settings = map[string]any{}
	}
	for _, file := range []string{"Pulumi.yaml", "go.mod"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, file), text, 0o600))
	}
	var err error
	s.providers, err = engine.StandIn(s.dir)
	require.NoError(t, err)
	t.Cleanup(s.providers.Close)
	return s
}

var serial = func() func() int {
	var mu sync.Mutex
	n := 0
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		n++
		return n
	}
}()

// open writes the settings and opens the engine.
func (s *stack) open(ctx context.Context) *engine.Engine {
	s.t.Helper()
	file := filepath.Join(s.dir, "Pulumi."+s.name+".yaml")
	doc := map[string]any{}
	if text, err := os.ReadFile(file); err == nil {
		require.NoError(s.t, yaml.Unmarshal(text, &doc)) // keeps the salt
	}
	cfg, keys := map[string]any{}, []string{}
	for k, v := range s.settings {
		cfg[config.Project+":"+k] = v
		keys = append(keys, k)
	}
	for k, v := range s.secure {
		cfg[config.Project+":"+k] = map[string]any{"secure": v}
		keys = append(keys, k)
	}
	doc["config"] = cfg
	text, err := yaml.Marshal(doc)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(file, text, 0o600))
	backend, err := engine.OpenBackend(s.dir, s.name)
	require.NoError(s.t, err)
	run := program.New(program.Options{
		Dir: s.dir, Keys: keys,
		BuildImage: func(context.Context, string) (program.Image, error) { return s.image, nil },
	})
	if s.transform != nil {
		inner := run
		run = func(ctx *pulumi.Context) error {
			if err := ctx.RegisterResourceTransform(s.transform); err != nil {
				return err
			}
			return inner(ctx)
		}
	}
	e, err := engine.Open(ctx, engine.Options{
		Dir: s.dir, Stack: s.name, Program: run, CLI: cli, Backend: backend, Providers: s.providers, Cluster: s.releases,
		Out: &s.out, Err: &s.out,
	})
	require.NoError(s.t, err)
	return e
}

// limited keeps the number of engines that run at a time at that of two processors.
func (s *stack) limited(run func() error) error {
	engines <- struct{}{}
	defer func() { <-engines }()
	s.providers.Reset()
	return run()
}

func (s *stack) up() error {
	s.t.Helper()
	return s.upWith(context.Background())
}

func (s *stack) upWith(ctx context.Context) error {
	s.t.Helper()
	return s.limited(func() error {
		_, err := s.open(context.Background()).Up(ctx, nil)
		return err
	})
}

func (s *stack) down() error {
	s.t.Helper()
	return s.downWith(context.Background())
}

func (s *stack) downWith(ctx context.Context) error {
	s.t.Helper()
	return s.limited(func() error { return s.open(context.Background()).Down(ctx, nil) })
}

// preview returns what would be done, such as "create falco-release".
func (s *stack) preview() []string {
	s.t.Helper()
	var planned []string
	require.NoError(s.t, s.limited(func() error {
		return s.open(context.Background()).Preview(context.Background(), func(event events.EngineEvent) {
			if m := event.ResourcePreEvent; m != nil && isChange(m.Metadata.Op) && (ours(m.Metadata.URN) || isProvider(m.Metadata.URN)) {
				planned = append(planned, string(m.Metadata.Op)+" "+urnName(m.Metadata.URN))
			}
		})
	}), s.out.String())
	slices.Sort(planned)
	return planned
}

// isChange leaves out what is no change, and the parts of a replacement: it is told as a whole.
func isChange(op apitype.OpType) bool {
	switch op {
	case apitype.OpCreate, apitype.OpUpdate, apitype.OpReplace, apitype.OpDelete:
		return true
	}
	return false
}

// isProvider leaves creating and deleting a provider out: that is not a thing in the cluster.
func isProvider(urn string) bool {
	return strings.HasSuffix(urn, "::cluster-provider")
}

// ours tells resources that a provider manages from components, providers and the stack itself.
func ours(urn string) bool {
	kind := urn[:strings.LastIndex(urn, "::")]
	kind = kind[strings.LastIndexAny(kind, "$")+1:]
	kind = kind[strings.LastIndex(kind, "::")+1:]
	return strings.HasPrefix(kind, "kubernetes:") || strings.HasPrefix(kind, "command:")
}

func urnName(urn string) string { return urn[strings.LastIndex(urn, "::")+2:] }

// did lists what the providers did in the last run, in order.
func (s *stack) did() []string {
	var out []string
	for _, op := range s.providers.Operations() {
		out = append(out, string(op.Kind)+" "+urnName(op.URN))
	}
	return out
}

// changes is did, sorted.
func (s *stack) changes() []string {
	out := s.did()
	slices.Sort(out)
	return out
}

// checkpoint is the state as the engine wrote it last.
type checkpoint struct {
	Checkpoint struct {
		Latest struct {
			Resources []struct {
				URN    string `json:"urn"`
				ID     string `json:"id"`
				Type   string `json:"type"`
				Custom bool   `json:"custom"`
				Delete bool   `json:"delete"`
			} `json:"resources"`
			Pending []json.RawMessage `json:"pending_operations"`
		} `json:"latest"`
	} `json:"checkpoint"`
}

func (s *stack) state() checkpoint {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, ".state", ".pulumi", "stacks", config.Project, s.name+".json"))
	require.NoError(s.t, err)
	var c checkpoint
	require.NoError(s.t, json.Unmarshal(text, &c))
	return c
}

// requireWhole proves that the state and the cluster hold the same things, each once, and that nothing is left open.
func (s *stack) requireWhole(want []string) {
	s.t.Helper()
	state := s.state()
	require.Empty(s.t, state.Checkpoint.Latest.Pending, "pending operations")
	var inState, inCluster []string
	for _, r := range state.Checkpoint.Latest.Resources {
		require.False(s.t, r.Delete, "%s waits for its deletion", r.URN)
		if r.Custom && ours(r.URN) {
			inState = append(inState, urnName(r.URN))
		}
	}
	for _, op := range s.providers.Objects() {
		inCluster = append(inCluster, urnName(op.URN))
	}
	slices.Sort(inState)
	slices.Sort(inCluster)
	require.Equal(s.t, inState, inCluster, "in the state, and in the cluster")
	require.ElementsMatch(s.t, want, inState)
	require.Empty(s.t, s.locks())
}

// locks lists the files that lock the stack.
func (s *stack) locks() []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, ".state", ".pulumi", "locks", "organization", config.Project, s.name, "*"))
	require.NoError(s.t, err)
	return files
}

// kill ends the engine of this stack with SIGKILL, as the kernel does when memory runs out.
func (s *stack) kill() error {
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		text, err := os.ReadFile(entry)
		if err != nil {
			continue // it has just ended
		}
		var pid, parent int
		var name, state string
		if _, err := fmt.Sscan(string(text), &pid, &name, &state, &parent); err != nil || parent != os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(entry), "cmdline"))
		if err != nil || !bytes.Contains(line, []byte("\x00--stack\x00"+s.name+"\x00")) {
			continue
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return fmt.Errorf("no engine of stack %s runs", s.name)
}

// pulumi runs the CLI on the project.
func (s *stack) pulumi(args ...string) {
	s.t.Helper()
	backend, err := engine.OpenBackend(s.dir, s.name)
	require.NoError(s.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cli, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true")
	for k, v := range backend.Environment {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	text, err := cmd.CombinedOutput()
	require.NoError(s.t, err, string(text))
}
