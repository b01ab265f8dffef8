// Package verify runs every documented attack on a running stack and reports which alert arrived, how fast, and whether
// Falcosidekick got it; then it lets the stack work normally and checks that no rule fires. Everything it creates in
// the cluster has one label and is removed at the end, on an interrupt, and by the next run after one that was killed.
package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"spire-falco/config"
	"spire-falco/detect/alerts"
	"spire-falco/detect/kube"
	"spire-falco/falco"
	"spire-falco/report"
	"spire-falco/rules"
)

// DefaultToolboxImage has the tools of the attacks: the busybox release that the SPIRE chart also runs. It is pinned by
// the digest of its index, as docker-library/repo-info recorded on 2026-07-31, because it runs in a privileged pod and
// a tag can be moved.
const DefaultToolboxImage = "docker.io/library/busybox:1.37.0-uclibc@" +
	"sha256:162f541afa4542abb43b3bc51efd26c659dd8fa8b0db3a0b8e348908d75efed1"

// Options of Run. Durations that are zero get the defaults in their comments.
type Options struct {
	Settings *config.Settings
	// Rules are the rendered rules of the settings: those that Falco must run, and whose alerts count.
	Rules  *rules.Rendered
	Client *kube.Client

	// Force attacks a stack that is not marked as a test stack.
	Force bool
	// Workload is the one to attack; empty for the first that listens.
	Workload string
	// Only are the IDs of the scenarios to perform; empty for all.
	Only []string
	// ToolboxImage has busybox's tools; DefaultToolboxImage when empty.
	ToolboxImage string
	// Quiet is how long normal operation is watched. Zero skips it.
	Quiet time.Duration

	// AlertTimeout is how long to wait for an alert, and then for its delivery (15 s).
	AlertTimeout time.Duration
	// StartTimeout is how long a pod or a rollout may take (2 min).
	StartTimeout time.Duration
	// CleanupTimeout is how long cleaning up may take (1 min).
	CleanupTimeout time.Duration
	// Settle is how long to wait for the last alerts (3 s).
	Settle time.Duration
	// Poll is the interval between requests to the API server (300 ms).
	Poll time.Duration
	// Heartbeat is the interval at which a run shows that it is alive (4 s).
	Heartbeat time.Duration

	// Out receives the table and Notes the progress; Color and Live (a terminal) are about Out.
	Out   io.Writer
	Notes io.Writer
	Color bool
	Live  bool
}

// ErrRefused means that the stack is not marked as a test stack.
var ErrRefused = errors.New("verify attacks the stack, and this one is not marked as a test stack: " +
	"set cluster.testing to true in its settings, or use --force")

// ErrNotVerified means that the run is complete and found a problem; the report says which.
var ErrNotVerified = errors.New("not verified")

func (o Options) withDefaults() Options {
	duration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	duration(&o.AlertTimeout, 15*time.Second)
	duration(&o.StartTimeout, 2*time.Minute)
	duration(&o.CleanupTimeout, time.Minute)
	duration(&o.Settle, 3*time.Second)
	duration(&o.Poll, 300*time.Millisecond)
	duration(&o.Heartbeat, 4*time.Second)
	if o.ToolboxImage == "" {
		o.ToolboxImage = DefaultToolboxImage
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Notes == nil {
		o.Notes = io.Discard
	}
	return o
}

type run struct {
	options  Options
	kube     *kube.Client
	id       string
	target   config.Workload
	nodeName string
	port     int
	ours     map[string]bool
	arrivals *arrivals
	table    table
	// delivered is what Falcosidekick had counted at the start, for alerts that name no pod of this run.
	delivered delivered
	created   atomic.Bool
}

// Run verifies the stack. The report is nil when nothing was attacked. The error is ErrRefused, ErrNotVerified, the
// cause of an interruption, or another failure; after an interruption the report contains the results so far.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	r, scenarios, err := prepare(o)
	if err != nil {
		return nil, err
	}
	report := &Report{
		Run: r.id, Context: o.Settings.Cluster.Context, Workload: r.target.Namespace + "/" + r.target.Name,
		RulesHash: o.Rules.Hash, Started: time.Now(), Scenarios: []Result{},
	}
	before, err := r.fleet(ctx)
	if err != nil {
		return nil, err
	}
	if len(before.pods) == 0 {
		return nil, fmt.Errorf("namespace %s: %w", o.Settings.Falco.Namespace, alerts.ErrNoFalco)
	}
	report.Nodes, r.nodeName = before.desired, before.pods[0].Spec.NodeName
	if err := r.lock(ctx); err != nil {
		return nil, errors.Join(err, r.cleanUp(ctx))
	}
	err = r.attackAndWatch(ctx, scenarios, before, report)
	interrupted := ctx.Err() != nil
	err = errors.Join(err, r.cleanUp(ctx))
	report.Seconds = time.Since(report.Started).Round(time.Millisecond).Seconds()
	report.Interrupted = interrupted
	if err != nil && !interrupted {
		return report, err
	}
	report.Passed = len(report.failures()) == 0
	r.table.rest(report)
	switch {
	case interrupted:
		return report, errors.Join(context.Cause(ctx), err)
	case !report.Passed:
		return report, ErrNotVerified
	}
	return report, nil
}

func prepare(o Options) (*run, []Scenario, error) {
	s := o.Settings
	if !s.EnableFalco {
		return nil, nil, errors.New("enableFalco = false: the stack has no Falco to verify")
	}
	if !s.Cluster.Testing && !o.Force {
		return nil, nil, ErrRefused
	}
	scenarios, err := selectScenarios(Scenarios(), o.Only)
	if err != nil {
		return nil, nil, err
	}
	if o.Quiet < 0 {
		return nil, nil, fmt.Errorf("--quiet = %s: must not be negative", o.Quiet)
	}
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		return nil, nil, fmt.Errorf("generate the run's ID: %w", err)
	}
	r := &run{
		options: o, kube: o.Client, id: hex.EncodeToString(random[:3]), ours: map[string]bool{}, arrivals: newArrivals(),
		table: table{out: o.Out, color: o.Color, live: o.Live},
	}
	for _, rule := range o.Rules.Rules {
		r.ours[rule.Name] = true
	}
	if r.target, err = pickWorkload(s.Workloads, o.Workload); err != nil {
		return nil, nil, err
	}
	r.port = 20000 + 2*(int(random[2])<<4^int(random[3])) // below every system's ephemeral ports
	if r.port == r.target.Port || r.port+1 == r.target.Port {
		r.port += 2
	}
	return r, scenarios, nil
}

// The project's own programs in its image.
const (
	ownServer = "/mtls-server"
	ownClient = "/mtls-client"
)

// runsOwn reports whether the workload runs one of the project's own programs, whether the stack built its image or
// somebody pushed it by hand.
func runsOwn(w config.Workload, program string) bool { return w.Executable == program }

func pickWorkload(all []config.Workload, name string) (config.Workload, error) {
	var names []string
	for _, w := range all {
		if w.Port == 0 {
			continue
		}
		if name == "" || w.Name == name {
			return w, nil
		}
		names = append(names, w.Name)
	}
	if name == "" {
		return config.Workload{}, errors.New("no workload of the settings listens on a port, so there is nothing to attack")
	}
	return config.Workload{}, fmt.Errorf("--workload = %q: must be a workload that listens on a port: %s",
		name, strings.Join(names, ", "))
}

func (r *run) note(format string, args ...any) {
	report.Fprintf(r.options.Notes, format+"\n", args...)
}

// cleanUp removes what the run created, also after ctx has ended.
func (r *run) cleanUp(ctx context.Context) error {
	if !r.created.Load() {
		return nil
	}
	r.note("removing what verify created")
	detached, cancel := r.detached(ctx)
	defer cancel()
	return r.remove(detached, r.id)
}

func (r *run) attackAndWatch(ctx context.Context, scenarios []Scenario, before fleet, found *Report) error {
	inner, stop := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go r.beat(inner)
	follower := &alerts.Follower{
		Logs: alerts.ClusterLogs{Client: r.kube, Namespace: r.options.Settings.Falco.Namespace},
		// The API counts whole seconds by another clock, so this reads too much; markers tell the runs apart.
		Since: time.Now().Add(-30 * time.Second), Poll: r.options.Poll,
		Log: slog.New(slog.NewTextHandler(report.Writer(r.options.Notes), nil)),
	}
	go func() { followed <- follower.Follow(inner, r.arrivals.take) }()
	defer func() {
		stop()
		if err := <-followed; err != nil {
			r.note("Falco's logs could not be followed: %v", err)
		}
	}()

	rulesCheck, err := r.checkRules(ctx, before)
	if err != nil {
		return err
	}
	if r.delivered, err = r.deliveries(ctx); err != nil {
		return err
	}
	started := r.startActors(ctx, scenarios)
	r.table.header()
	for _, s := range scenarios {
		r.table.begin(s)
		result := r.perform(ctx, s, started)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		found.Scenarios = append(found.Scenarios, result)
		r.table.row(result)
	}
	r.note("removing the attackers")
	if err := r.removePods(ctx); err != nil {
		return err
	}
	if !pause(ctx, r.options.Settle) {
		return context.Cause(ctx)
	}
	if r.options.Quiet > 0 {
		r.note("watching normal operation for %s", r.options.Quiet)
		if found.Quiet, err = r.quiet(ctx); err != nil {
			return err
		}
	}
	after, err := r.fleet(ctx)
	if err != nil {
		return err
	}
	if rulesCheck.OK {
		if rulesCheck, err = r.checkRules(ctx, after); err != nil {
			return err
		}
	}
	found.Checks = append(found.Checks,
		after.checkReady(), rulesCheck, checkRestarts(before, after), checkDrops(r.arrivals.sinceTime(found.Started)))
	return nil
}

// starts says when each actor was created, and why it did not start.
type starts map[actor]start

type start struct {
	at  time.Time
	err error
}

// startActors creates the pods that the scenarios need and waits until they run.
func (r *run) startActors(ctx context.Context, scenarios []Scenario) starts {
	needed := map[actor]bool{}
	for _, s := range scenarios {
		needed[s.actor] = true
	}
	started := starts{}
	add := func(a actor, build func() (kube.Object, error)) {
		pod, err := build()
		st := start{at: time.Now()}
		if err == nil {
			err = r.create(ctx, pod)
		}
		st.err = err
		started[a] = st
	}
	if needed[toolbox] {
		add(toolbox, func() (kube.Object, error) { return r.toolboxPod(), nil })
	}
	if needed[node] {
		add(node, func() (kube.Object, error) { return r.nodePod(), nil })
	}
	if needed[server] || needed[debugger] {
		add(server, func() (kube.Object, error) { return r.serverPod(ctx) })
	}
	r.note("waiting for the pods of the attackers")
	for a, st := range started {
		if st.err == nil {
			st.err = r.running(ctx, a)
			started[a] = st
		}
	}
	return started
}

// perform performs the attack of a scenario, unless it does not apply, and waits for its alert and the delivery.
func (r *run) perform(ctx context.Context, s Scenario, started starts) Result {
	e := env{
		marker: "verify-" + r.id + "-" + s.ID, port: r.port,
		socket: r.options.Settings.SPIRE.AgentSocketPath, workloadSocket: r.target.SocketPath, executable: r.target.Executable,
	}
	res := Result{
		ID: s.ID, Title: s.Title, Guide: s.Guide, Rule: s.Rule,
		Marker: e.marker, Outcome: Errored, Priority: r.priority(s.Rule),
	}
	if s.marker != nil {
		res.Marker = s.marker(e)
	}
	if !s.onNode {
		res.Pod = r.podNamespace(s.actor) + "/" + r.podName(s.actor)
	}
	if s.actor == server && !runsOwn(r.target, ownServer) {
		res.Outcome, res.Detail = Skipped, "workload "+r.target.Name+
			" does not run the project's own server, and its program may not support SERVER_ADDRESS"
		return res
	}
	begun := r.attack(ctx, s, e, started, &res)
	res.seconds = time.Since(begun).Seconds()
	return res
}

// attack performs the attack, waits for its alert and the delivery, and puts the outcome into res. It returns when the
// attack began.
func (r *run) attack(ctx context.Context, s Scenario, e env, started starts, res *Result) (begun time.Time) {
	w := wanted{rule: s.Rule, marker: res.Marker}
	if !s.onNode {
		w.pod = r.podName(s.actor)
	}
	begun, said, err := r.act(ctx, s, e, started)
	if err != nil {
		res.Detail = "the attack could not be performed: " + err.Error()
		return begun
	}
	waiting, cancel := context.WithTimeout(ctx, r.options.AlertTimeout)
	defer cancel()
	a, ok := r.arrivals.await(waiting, w)
	if !ok {
		res.Outcome = Failed
		res.Detail = fmt.Sprintf("rule %q did not fire within %s", s.Rule, r.options.AlertTimeout)
		if other := r.arrivals.instead(w); len(other) > 0 {
			res.Detail += "; instead: " + strings.Join(other, ", ")
		}
		if said != "" {
			res.Detail += "; the attack printed: " + said
		}
		return begun
	}
	res.Fired, res.Priority, res.Alert = true, a.Priority.String(), a.Raw
	res.LatencyMillis = max(a.at.Sub(begun).Milliseconds(), 0)
	if res.Delivered, err = r.isDelivered(ctx, a); !res.Delivered {
		res.Outcome = Failed
		res.Detail = fmt.Sprintf("rule %q fired, but Falcosidekick did not count the alert within %s",
			s.Rule, r.options.AlertTimeout)
		if err != nil {
			res.Detail += ": " + err.Error()
		}
		return begun
	}
	res.Outcome = Passed
	return begun
}

func (r *run) priority(rule string) string {
	for _, known := range r.options.Rules.Rules {
		if known.Name == rule {
			if p, err := falco.ParsePriority(known.Priority); err == nil {
				return p.String()
			}
			return known.Priority
		}
	}
	return ""
}

// maxSaid is how much of a command's output is shown, in characters.
const maxSaid = 1000

// act performs the attack, and returns when it began and what it printed on standard error.
func (r *run) act(ctx context.Context, s Scenario, e env, started starts) (time.Time, string, error) {
	base := s.actor
	if base == debugger {
		base = server
	}
	if err := started[base].err; err != nil {
		return time.Now(), "", err
	}
	if s.actor == server && s.command == nil {
		return started[server].at, "", nil
	}
	begun := time.Now()
	if s.actor == debugger {
		if _, attached := started[debugger]; !attached {
			err := r.attach(ctx, "verify-"+r.id+"-shell-debug")
			if err == nil {
				err = r.running(ctx, debugger)
			}
			started[debugger] = start{at: begun, err: err}
		}
		if err := started[debugger].err; err != nil || s.command == nil {
			return started[debugger].at, "", err
		}
		begun = time.Now()
	}
	var stdout, stderr bytes.Buffer
	// Most attacks are denied, as they should be, so the exit status does not matter unless it means that the tool is
	// missing.
	limited, cancel := context.WithTimeout(ctx, r.options.AlertTimeout)
	defer cancel()
	status, err := r.kube.Exec(limited,
		r.podNamespace(s.actor), r.podName(s.actor), r.container(s.actor), s.command(e), &stdout, &stderr)
	said := report.Bounded(strings.TrimSpace(stderr.String()), maxSaid)
	if err == nil && (status == 126 || status == 127) {
		err = fmt.Errorf("%s cannot be run in image %s: %s", s.command(e)[0], r.options.ToolboxImage, said)
	}
	return begun, said, err
}

// isDelivered waits until Falcosidekick has counted the alert. For a pod of this run its count must reach the number of
// alerts that Falco wrote up to this one; without a pod it must be one more than before.
func (r *run) isDelivered(ctx context.Context, a arrival) (bool, error) {
	_, pod := a.Pod()
	key := [2]string{a.Rule, pod}
	need := r.delivered[key] + 1
	if pod != "" {
		need = float64(r.arrivals.upTo(a))
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.AlertTimeout)
	defer cancel()
	for {
		now, err := r.deliveries(ctx)
		if err == nil && now[key] >= need {
			r.delivered[key] = now[key]
			return true, nil
		}
		if !pause(ctx, r.options.Poll) {
			return false, err
		}
	}
}
