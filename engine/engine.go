package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
	"spire-falco/engine/fakeprovider"
	"spire-falco/engine/helm"
)

// Options of an Engine.
type Options struct {
	// Dir is the project's folder, absolute.
	Dir string
	// Stack is its name.
	Stack string
	// Program that the engine runs, in this process.
	Program pulumi.RunFunc
	// CLI is the path of the Pulumi CLI.
	CLI string
	// Backend from OpenBackend.
	Backend *Backend
	// Providers stand in for the plugins; nil means the real ones.
	Providers *fakeprovider.Providers
	// Cluster has the stack's Helm releases; nil leaves those that a killed run left unfinished alone.
	Cluster *helm.Cluster
	// Environment is added to the engine's.
	Environment map[string]string
	// Out gets the engine's progress; nil for none.
	Out, Err io.Writer
	// Color is auto, always or never.
	Color string
}

// Engine runs one stack.
type Engine struct {
	stack auto.Stack
	opts  Options
}

// Open selects the stack, and makes it in the backend if it is not there.
func Open(ctx context.Context, opts Options) (*Engine, error) {
	cli, err := commandAt(opts.CLI)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PULUMI_SKIP_UPDATE_CHECK": "true",
		// Plugins are installed beforehand, with progress shown (Plugins), or stood in for.
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
	}
	maps.Copy(env, opts.Backend.Environment)
	maps.Copy(env, opts.Environment)
	if opts.Providers != nil {
		maps.Copy(env, opts.Providers.Environment())
	}
	if err := opts.Backend.mend(); err != nil {
		return nil, err
	}
	upsert := func() (auto.Stack, error) {
		return auto.UpsertStackInlineSource(ctx, opts.Stack, config.Project, opts.Program,
			auto.WorkDir(opts.Backend.WorkDir), auto.Pulumi(cli), auto.EnvVars(env))
	}
	stack, err := upsert()
	if auto.IsCreateStack409Error(err) { // another run created it in between
		stack, err = upsert()
	}
	if err != nil {
		return nil, fmt.Errorf("open the stack %s: %w", opts.Stack, err)
	}
	return &Engine{stack: stack, opts: opts}, nil
}

// Preview plans, and passes every event of the engine to seen.
func (e *Engine) Preview(ctx context.Context, seen func(events.EngineEvent)) error {
	channel, wait := collect(seen)
	opts := []optpreview.Option{optpreview.EventStreams(channel), optpreview.Color(e.color())}
	if e.opts.Out != nil {
		opts = append(opts, optpreview.ProgressStreams(e.opts.Out), optpreview.ErrorProgressStreams(e.opts.Err))
	}
	_, err := e.stack.Preview(ctx, opts...)
	wait(err)
	return e.failed("preview", err)
}

// Up brings the stack up. What an interrupted run left open is settled first.
func (e *Engine) Up(ctx context.Context, seen func(events.EngineEvent)) (auto.OutputMap, error) {
	if err := e.settle(ctx, true); err != nil {
		return nil, err
	}
	channel, wait := collect(seen)
	opts := []optup.Option{optup.EventStreams(channel), optup.Color(e.color())}
	if e.opts.Out != nil {
		opts = append(opts, optup.ProgressStreams(e.opts.Out), optup.ErrorProgressStreams(e.opts.Err))
	}
	result, err := e.stack.Up(ctx, opts...)
	wait(err)
	return result.Outputs, e.failed("up", err)
}

// Down destroys everything that the stack made.
func (e *Engine) Down(ctx context.Context, seen func(events.EngineEvent)) error {
	if err := e.settle(ctx, false); err != nil {
		return err
	}
	minikube, err := e.Minikube(ctx)
	if err != nil {
		return err
	}
	if err := minikube.checkKubeconfig(e.opts.Stack); err != nil {
		return err
	}
	channel, wait := collect(seen)
	opts := []optdestroy.Option{optdestroy.EventStreams(channel), optdestroy.Color(e.color())}
	if e.opts.Out != nil {
		opts = append(opts, optdestroy.ProgressStreams(e.opts.Out), optdestroy.ErrorProgressStreams(e.opts.Err))
	}
	_, err = e.stack.Destroy(ctx, opts...)
	wait(err)
	return e.failed("down", err)
}

// Outputs of the last up.
func (e *Engine) Outputs(ctx context.Context) (auto.OutputMap, error) {
	out, err := e.stack.Outputs(ctx)
	return out, e.failed("outputs", err)
}

func (e *Engine) color() string {
	if e.opts.Color == "" {
		return "never"
	}
	return e.opts.Color
}

// failed wraps an error of the engine; what it has shown on Out is not told twice.
func (e *Engine) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if auto.IsConcurrentUpdateError(err) {
		who := e.opts.Backend.holders()
		if who == "" {
			who = "another run holds its lock"
		}
		return fmt.Errorf("%s: %w: %s; if none is running, remove it with: pulumi cancel", what, errLocked, who)
	}
	// The Automation API repeats everything that the engine has printed behind this word.
	message, printed, _ := strings.Cut(err.Error(), "\ncode: ")
	if e.opts.Out != nil || printed == "" {
		return fmt.Errorf("%s: %s", what, message)
	}
	return fmt.Errorf("%s: %s\n%s", what, message, printed)
}

var errLocked = errors.New("the stack is locked")

// collectGrace is how long the last events of the engine may take after its command has ended.
const collectGrace = 5 * time.Second

// collect passes events on one by one until the engine closes the channel, which it does not when it fails early.
func collect(seen func(events.EngineEvent)) (chan<- events.EngineEvent, func(error)) {
	channel := make(chan events.EngineEvent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range channel {
			if seen != nil {
				seen(event)
			}
		}
	}()
	return channel, func(failed error) {
		if failed != nil {
			return // its error says what was wrong
		}
		select {
		case <-done:
		case <-time.After(collectGrace):
		}
	}
}
