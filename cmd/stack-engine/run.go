package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"spire-falco/config"
	"spire-falco/engine"
	"spire-falco/engine/helm"
	"spire-falco/program"
	"spire-falco/report"
	"spire-falco/rules"
)

// loaded is the settings of a stack and the keys that are set. A teardown and a query need no more: they must work when
// a rule file is broken or gone.
type loaded struct {
	settings *config.Settings
	keys     []string
}

// plan is what is known of a stack before the engine is asked.
type plan struct {
	*loaded
	rules *rules.Rendered
}

// load reads and checks the settings. It changes nothing.
func (t *target) load() (*loaded, error) {
	settings, src, err := config.LoadStackFile(t.Dir, t.Name)
	if err != nil {
		return nil, err
	}
	l := &loaded{settings: settings}
	for k := range src.Values {
		l.keys = append(l.keys, k)
	}
	for k := range src.Secrets {
		l.keys = append(l.keys, k)
	}
	slices.Sort(l.keys)
	return l, nil
}

// plan loads the settings, renders the rules and checks both. It changes nothing.
func (t *target) plan() (*plan, error) {
	l, err := t.load()
	if err != nil {
		return nil, err
	}
	rendered, err := rules.RenderSettings(l.settings, t.Dir)
	if err != nil {
		return nil, err
	}
	if err := program.CheckHosts(l.settings, rendered); err != nil {
		return nil, err
	}
	return &plan{loaded: l, rules: rendered}, nil
}

// session is an opened engine and what has to be closed after it.
type session struct {
	*engine.Engine
	backend *engine.Backend
	// standIn says why plugins are stood in for; empty when the real ones are used.
	standIn string
	close   func()
}

// engineOutput is where the engine writes: what it prints quotes Kubernetes, charts and settings.
func engineOutput(out io.Writer) io.Writer {
	switch {
	case out == nil:
		return nil
	case color(out) == "always":
		return report.ColorWriter(out)
	}
	return report.Writer(out)
}

// open finds or builds the CLI and the plugins and opens the stack. With mayStandIn, plugins that cannot be had are
// stood in for; otherwise that is an error.
func (t *target) open(ctx context.Context, l *loaded, mayStandIn bool, out, errOut io.Writer) (*session, error) {
	if err := engine.EnsureHome(t.Dir); err != nil {
		return nil, err
	}
	errOut = report.Writer(errOut)
	cli, err := engine.CLI(ctx, t.Dir, errOut)
	if err != nil {
		return nil, err
	}
	backend, err := engine.OpenBackend(t.Dir, t.Name)
	if err != nil {
		return nil, err
	}
	s := &session{backend: backend, close: func() {}}
	real, why, err := engine.Plugins(ctx, cli, t.Dir, errOut)
	if err != nil {
		return nil, err
	}
	opts := engine.Options{
		Dir: t.Dir, Stack: t.Name, CLI: cli, Backend: backend, Out: engineOutput(out), Err: errOut, Color: color(out),
		Program: program.New(program.Options{Dir: t.Dir, Keys: l.keys}),
		Cluster: &helm.Cluster{
			Kubeconfig: l.settings.Cluster.KubeconfigPath(t.Dir), Context: l.settings.Cluster.Context,
			CLI: func(ctx context.Context) (string, error) { return helm.Build(ctx, t.Dir, errOut) },
		},
	}
	if !real {
		if !mayStandIn {
			return nil, fmt.Errorf("%s, and without them nothing can be changed", why)
		}
		opts.Providers, err = engine.StandIn(t.Dir)
		if err != nil {
			return nil, err
		}
		s.close = opts.Providers.Close
		s.standIn = why
	}
	s.Engine, err = engine.Open(ctx, opts)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}
