package alerts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"spire-falco/detect/kube"
)

// FalcoSelector selects Falco's own pods, as the chart labels them.
const FalcoSelector = "app.kubernetes.io/name=falco"

// FalcoContainer is the name of the container in them that writes the alerts.
const FalcoContainer = "falco"

// Logs is where the log of each node's Falco is read.
type Logs interface {
	// Pods lists Falco's pods.
	Pods(ctx context.Context) ([]kube.Pod, error)
	// Open opens the log of one, each line with its time before it.
	Open(ctx context.Context, pod string, o kube.LogOptions) (io.ReadCloser, error)
}

// ClusterLogs are the logs of Falco's pods in a namespace.
type ClusterLogs struct {
	Client    *kube.Client
	Namespace string
}

// Pods lists Falco's pods.
func (l ClusterLogs) Pods(ctx context.Context) ([]kube.Pod, error) {
	pods, err := l.Client.Pods(ctx, l.Namespace, FalcoSelector)
	if err != nil {
		return nil, fmt.Errorf("list Falco's pods: %w", err)
	}
	return pods, nil
}

// Open opens the log of one of them.
func (l ClusterLogs) Open(ctx context.Context, pod string, o kube.LogOptions) (io.ReadCloser, error) {
	return l.Client.Logs(ctx, l.Namespace, pod, o)
}

// Follower reads the logs of all Falco pods at the same time.
type Follower struct {
	Logs Logs
	// Since is the time of the first line wanted.
	Since time.Time
	// Poll is how often the pods are listed, and the first wait before a log is opened again; 1 s when zero. Nothing of a
	// pod that is found late is missed: its log is read from Since on.
	Poll time.Duration
	// Log takes what hinders the reading.
	Log *slog.Logger
}

// ErrNoFalco says that there is no pod of Falco.
var ErrNoFalco = errors.New("there is no pod of Falco")

// Query reads what the logs hold, of each pod also the log of before its last restart. It gives the lines of a pod in
// their order, one line at a time.
func (f *Follower) Query(ctx context.Context, handle func(Line)) error {
	pods, err := f.Logs.Pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return ErrNoFalco
	}
	var (
		wait   sync.WaitGroup
		one    sync.Mutex
		errs   = make([]error, len(pods))
		limits = make(chan struct{}, 32) // logs open at a time; a cluster may have thousands of nodes
	)
	for i, pod := range pods {
		wait.Add(1)
		go func() {
			defer wait.Done()
			limits <- struct{}{}
			defer func() { <-limits }()
			t := f.tail(pod.Metadata.Name, func(l Line) {
				one.Lock()
				defer one.Unlock()
				handle(l)
			})
			if restarts(pod) > 0 {
				// Kubernetes may have thrown it away already.
				if err := t.read(ctx, false, true); err != nil && kube.IsRetriable(err) {
					errs[i] = err
				}
			}
			errs[i] = errors.Join(errs[i], t.read(ctx, false, false))
		}()
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Follow gives lines as they come until ctx ends. It takes up pods that come later, and goes on after log rotation, after
// restarts of Falco and when the API could not be reached for a while, without a gap and without telling a line twice.
// handle is called one line at a time. An error is returned only for the first listing of the pods.
func (f *Follower) Follow(ctx context.Context, handle func(Line)) error {
	pods, err := f.Logs.Pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		f.log().Warn("there is no pod of Falco yet; waiting for one")
	}
	var (
		wait    sync.WaitGroup
		one     sync.Mutex
		current = newPodTable()
		started = map[string]bool{}
	)
	defer wait.Wait()
	for {
		current.set(pods)
		for _, pod := range pods {
			uid := pod.Metadata.UID
			if started[uid] {
				continue
			}
			started[uid] = true
			wait.Add(1)
			go func() {
				defer wait.Done()
				t := f.tail(pod.Metadata.Name, func(l Line) {
					one.Lock()
					defer one.Unlock()
					handle(l)
				})
				f.follow(ctx, t, uid, current)
			}()
		}
		next, ok := f.list(ctx)
		if !ok {
			return nil
		}
		pods = next
	}
}

// list waits and lists the pods; false when ctx has ended.
func (f *Follower) list(ctx context.Context) ([]kube.Pod, bool) {
	for wait := f.poll(); ; wait = min(2*wait, 10*time.Second) {
		if !sleep(ctx, wait) {
			return nil, false
		}
		pods, err := f.Logs.Pods(ctx)
		if err == nil {
			return pods, true
		}
		if ctx.Err() != nil {
			return nil, false
		}
		f.log().Warn("cannot list Falco's pods; trying again", "error", err)
	}
}

// follow reads one pod's log for as long as the pod is there.
func (f *Follower) follow(ctx context.Context, t *tail, uid string, current *podTable) {
	wait := f.poll()
	for ctx.Err() == nil {
		before := t.lines
		stream, err := t.open(ctx, true, false)
		if err == nil {
			// When this is the log of a new container, the end of the old one's is read first. It is asked for after the new one is open,
			// because nobody tells when the one takes the other's place: the pod's count of restarts comes late.
			_ = t.read(ctx, false, true)
			err = t.consume(ctx, stream)
		}
		if !current.has(uid) || err != nil && kube.IsNotFound(err) {
			return
		}
		if err != nil && ctx.Err() == nil {
			f.log().Debug("the log of Falco's pod broke off; opening it again", "pod", t.pod, "error", err)
		}
		if t.lines > before {
			wait = f.poll()
		}
		sleep(ctx, wait)
		wait = min(2*wait, 5*time.Second)
	}
}

func (f *Follower) tail(pod string, handle func(Line)) *tail {
	return &tail{logs: f.Logs, pod: pod, handle: handle, at: f.Since.UTC()}
}

func (f *Follower) poll() time.Duration {
	if f.Poll > 0 {
		return f.Poll
	}
	return time.Second
}

func (f *Follower) log() *slog.Logger {
	if f.Log != nil {
		return f.Log
	}
	return slog.New(slog.DiscardHandler)
}

// tail is how far one pod's log has been read.
type tail struct {
	logs   Logs
	pod    string
	handle func(Line)
	// at is the time of the last line, and count how many lines of that very time were given. The API can be asked for
	// whole seconds only, so that after a break what was given must be told from what was not.
	at    time.Time
	count int
	lines int
}

func (t *tail) read(ctx context.Context, follow, previous bool) error {
	stream, err := t.open(ctx, follow, previous)
	if err != nil {
		return err
	}
	return t.consume(ctx, stream)
}

func (t *tail) open(ctx context.Context, follow, previous bool) (io.ReadCloser, error) {
	return t.logs.Open(ctx, t.pod, kube.LogOptions{
		Container: FalcoContainer, Since: t.at, Follow: follow, Previous: previous,
	})
}

// consume hands on what the stream has beyond the last line given.
func (t *tail) consume(ctx context.Context, stream io.ReadCloser) error {
	defer stream.Close() //nolint:errcheck // only read
	stop := context.AfterFunc(ctx, func() { _ = stream.Close() })
	defer stop()
	skip, skipAt := t.count, t.at
	err := eachLine(stream, func(text []byte) {
		stamp, rest, ok := bytes.Cut(text, []byte(" "))
		at, err := time.Parse(time.RFC3339Nano, string(stamp))
		if !ok || err != nil {
			return // an empty line, or the API's own word on a broken stream
		}
		switch {
		case at.Before(t.at):
			return
		case at.Equal(skipAt) && skip > 0:
			skip--
			return
		case at.Equal(t.at):
			t.count++
		default:
			t.at, t.count = at, 1
		}
		t.lines++
		t.handle(newLine(rest, t.pod))
	})
	if err != nil && ctx.Err() != nil {
		return nil
	}
	return err
}

// podTable is which pods the newest list has, by UID.
type podTable struct {
	mu   sync.Mutex
	pods map[string]bool
}

func newPodTable() *podTable { return &podTable{} }

func (t *podTable) set(pods []kube.Pod) {
	m := make(map[string]bool, len(pods))
	for _, p := range pods {
		m[p.Metadata.UID] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pods = m
}

func (t *podTable) has(uid string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pods[uid]
}

func restarts(p kube.Pod) int {
	s, _ := p.Container(FalcoContainer)
	return s.RestartCount
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
