package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/engine/fakeprovider"
)

// full runs every fault at every resource (nightly) and flips every setting (in CI); without it a spread of resources
// is hit by two of the faults, and a sample of the settings is flipped.
var full = os.Getenv("LIFECYCLE") == "full"

// spread are the resources of each kind at which each fault is injected by default. After a SIGKILL the engine runs
// anew for every single one, which takes seconds; errors are many to a run.
var spread = map[fault][]string{
	fails:       {"spire-namespace", "spire-release", "image", "mtls-server-identity", "mtls-server-deployment", "falco-rules", "falco-release"},
	killedAfter: {"image", "mtls-server-identity", "falco-rules", "falco-release"},
}

// fault is one way in which an operation goes wrong.
type fault string

const (
	fails       fault = "error"          // the provider returns an error
	hangs       fault = "timeout"        // it does not answer, until the person cancels the run
	killed      fault = "SIGKILL"        // the engine is killed before the operation is done
	killedAfter fault = "SIGKILL_behind" // the engine is killed after it is done, before the engine knows
)

// injector lets every operation of one kind go wrong once, at each of the resources.
type injector struct {
	s     *stack
	fault fault
	kind  fakeprovider.Kind
	names []string // at which; nil for every resource

	mu       sync.Mutex
	hit      map[string]bool
	stopping bool // this run is being broken off
	cancel   context.CancelFunc
	err      error
}

// newRun tells the injector that a run begins, which cancel breaks off.
func (i *injector) newRun(cancel context.CancelFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopping, i.cancel = false, cancel
}

// strike tells whether op is to go wrong now, and whether it is the first of its run.
func (i *injector) strike(op fakeprovider.Operation) (struck, first bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.due(op) {
		return false, false
	}
	first = !i.stopping
	i.hit[urnName(op.URN)], i.stopping = true, true
	return true, first
}

// due tells whether op is one that has yet to go wrong. The caller holds the lock.
//
// A command whose create was under way when another resource broke the run off comes back as an update: nobody can look
// whether it was done.
func (i *injector) due(op fakeprovider.Operation) bool {
	name := urnName(op.URN)
	kind := op.Kind
	if i.kind == fakeprovider.Create && kind == fakeprovider.Update && fakeprovider.IsCommand(op.Type) {
		kind = fakeprovider.Create
	}
	return kind == i.kind && !i.hit[name] && (i.names == nil || slices.Contains(i.names, name))
}

func (i *injector) before(ctx context.Context, op fakeprovider.Operation) error {
	if i.fault == killedAfter {
		i.mu.Lock()
		due := i.due(op)
		i.mu.Unlock()
		if due {
			return nil // it goes wrong when it is done
		}
		return i.hold(ctx)
	}
	struck, first := i.strike(op)
	if !struck {
		return i.hold(ctx)
	}
	return i.breakOff(ctx, first)
}

func (i *injector) after(ctx context.Context, op fakeprovider.Operation) error {
	if i.fault != killedAfter {
		return nil
	}
	struck, first := i.strike(op)
	if !struck {
		return nil
	}
	return i.breakOff(ctx, first)
}

// hold keeps an operation that runs beside one that goes wrong from being done: it would never be hit itself.
func (i *injector) hold(ctx context.Context) error {
	i.mu.Lock()
	wait := i.stopping && i.fault != fails
	i.mu.Unlock()
	if !wait {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// breakOff makes the operation go wrong; the first of a run breaks the run off, and others that run beside it go with
// it.
func (i *injector) breakOff(ctx context.Context, first bool) error {
	switch {
	case i.fault == fails:
		return errors.New("injected fault")
	case !first:
	case i.fault == hangs:
		i.cancel()
	default:
		if err := i.s.kill(); err != nil {
			i.mu.Lock()
			i.err = err
			i.mu.Unlock()
			return err
		}
	}
	<-ctx.Done()
	return fmt.Errorf("the operation was broken off: %w", context.Cause(ctx))
}

// revise changes every resource in a way that updates it.
func revise(revision *int) pulumi.ResourceTransform {
	return func(_ context.Context, args *pulumi.ResourceTransformArgs) *pulumi.ResourceTransformResult {
		if *revision == 0 || !args.Custom {
			return nil
		}
		text := pulumi.String(strconv.Itoa(*revision))
		switch {
		case args.Type == "kubernetes:helm.sh/v3:Release":
			args.Props["description"] = text
		case fakeprovider.IsCommand(args.Type):
			args.Props["stdin"] = text
		case strings.HasPrefix(args.Type, "kubernetes:"):
			metadata, ok := args.Props["metadata"].(pulumi.Map)
			if !ok {
				return nil // a test then misses the update
			}
			labels, ok := metadata["labels"].(pulumi.Map)
			if !ok {
				labels = pulumi.Map{}
			}
			labels["revision"] = text
			metadata["labels"] = labels
		default:
			return nil
		}
		return &pulumi.ResourceTransformResult{Props: args.Props, Opts: args.Opts}
	}
}

// converge runs until a run succeeds. Each run meets the next fault, and so has to get over what the one before left.
func (i *injector) converge(t *testing.T, run func(context.Context) error) (runs int) {
	t.Helper()
	for {
		runs++
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		i.newRun(cancel)
		before := len(i.hit)
		err := run(ctx)
		cancel()
		require.NoError(t, i.err)
		if err == nil {
			require.Len(t, i.hit, before, "a run during which a fault was injected reports success")
			return runs
		}
		require.Greater(t, len(i.hit), before, "a run without a fault fails: %v\n%s", err, i.s.out.String())
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	everything := sorted(baseResources, falcoResources, []string{"falcosidekick-outputs"})
	var mu sync.Mutex
	points, converged, runs := map[string]int{}, 0, 0
	t.Run("group", func(t *testing.T) {
		faults := []fault{fails, killedAfter}
		if full {
			faults = []fault{fails, hangs, killed, killedAfter}
		}
		for _, f := range faults {
			t.Run(string(f), func(t *testing.T) {
				t.Parallel()
				revision := 0
				s := newStack(t, with(existing, falcoOn))
				s.transform = revise(&revision)
				s.encrypt(map[string]string{"falcosidekick.slack.webhookUrl": slackWebhook})
				names := spread[f]
				if full {
					names = nil
				}
				for _, phase := range []struct {
					kind fakeprovider.Kind
					run  func(context.Context) error
					want []string
				}{
					{fakeprovider.Create, s.upWith, everything},
					{fakeprovider.Update, s.upWith, everything},
					{fakeprovider.Delete, s.downWith, nil},
				} {
					i := &injector{s: s, fault: f, kind: phase.kind, names: names, hit: map[string]bool{}}
					s.providers.Before, s.providers.After = i.before, i.after
					if phase.kind == fakeprovider.Update {
						revision++
					}
					n := i.converge(t, phase.run)
					s.requireWhole(phase.want)
					if names == nil {
						assert.Len(t, i.hit, len(everything), "%s: every resource was hit", phase.kind)
					} else {
						assert.Len(t, i.hit, len(names), "%s: every resource of the spread was hit", phase.kind)
					}
					mu.Lock()
					points[string(f)+" "+string(phase.kind)] += len(i.hit)
					converged += len(i.hit)
					runs += n
					mu.Unlock()
					t.Logf("%s at %s: %d resources hit in %d runs, all converged", f, phase.kind, len(i.hit), n)
				}
			})
		}
	})
	total := 0
	for _, n := range points {
		total += n
	}
	t.Logf("fault points injected: %d, converged: %d, runs of the engine: %d; %v", total, converged, runs, points)
}

// A Minikube of which nobody knows whether it was made is neither left behind nor taken for made.
func TestInterruptedMinikube(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		next func(*stack) error
		want []string
	}{
		{"the_next_up_starts_it_again", (*stack).up, sorted(baseResources, []string{"cluster-minikube"})},
		{"a_down_deletes_it", (*stack).down, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, nil)
			i := &injector{s: s, fault: killedAfter, kind: fakeprovider.Create, names: []string{"cluster-minikube"}, hit: map[string]bool{}}
			s.providers.Before, s.providers.After = i.before, i.after
			require.Error(t, s.up())
			require.NoError(t, i.err)
			require.NotEmpty(t, s.state().Checkpoint.Latest.Pending)
			i.newRun(nil)
			require.NoError(t, c.next(s), s.out.String())
			if c.want == nil {
				assert.Contains(t, s.did(), "delete cluster-minikube")
				assert.Empty(t, s.providers.Objects())
			} else {
				assert.Contains(t, s.did(), "update cluster-minikube")
				s.requireWhole(c.want)
			}
		})
	}
}

// A rules ConfigMap is made before the old one goes: between the two there are both.
func TestInterruptedReplacement(t *testing.T) {
	t.Parallel()
	for _, kind := range []fakeprovider.Kind{fakeprovider.Create, fakeprovider.Delete} {
		for _, f := range []fault{killed, killedAfter} {
			if !full && (kind == fakeprovider.Create) != (f == killedAfter) {
				continue
			}
			t.Run(string(f)+"_at_"+string(kind), func(t *testing.T) {
				t.Parallel()
				s := newStack(t, with(existing, falcoOn))
				require.NoError(t, s.up(), s.out.String())
				s.settings["falco.allowedProcesses"] = []string{"/usr/bin/other"}
				i := &injector{s: s, fault: f, kind: kind, names: []string{"falco-rules"}, hit: map[string]bool{}}
				s.providers.Before, s.providers.After = i.before, i.after
				assert.Equal(t, 2, i.converge(t, s.upWith))
				s.requireWhole(sorted(baseResources, falcoResources))
				require.NoError(t, s.up(), s.out.String())
				assert.Empty(t, s.did())
			})
		}
	}
}

func TestStaleLock(t *testing.T) {
	t.Parallel()
	s := newStack(t, nil)
	i := &injector{s: s, fault: killed, kind: fakeprovider.Create, names: []string{"cluster-minikube"}, hit: map[string]bool{}}
	s.providers.Before = i.before
	require.Error(t, s.up())
	require.Len(t, s.locks(), 1, "a killed engine leaves its lock")
	stale, err := os.ReadFile(s.locks()[0])
	require.NoError(t, err)

	// Somebody on another machine may well be running.
	foreign := strings.Replace(string(stale), `"hostname":"`, `"hostname":"other-`, 1)
	require.NotEqual(t, string(stale), foreign)
	require.NoError(t, os.WriteFile(s.locks()[0], []byte(foreign), 0o600))
	i.newRun(nil)
	err = s.up()
	require.ErrorContains(t, err, `on "other-`)
	require.ErrorContains(t, err, "pulumi cancel")
	assert.Empty(t, s.did())
	require.Len(t, s.locks(), 1)

	require.NoError(t, os.WriteFile(s.locks()[0], stale, 0o600))
	require.NoError(t, s.up(), s.out.String())
	assert.Contains(t, s.out.String(), "removed the lock of a run that was killed")
	assert.Empty(t, s.locks())
}
