package alerts

import (
	"bufio"
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

// Logs gives access to the logs of Falco on each node.
type Logs interface {
	// Pods lists Falco's pods.
	Pods(ctx context.Context) ([]kube.Pod, error)
	// Open opens the log of a pod; each line begins with its time.
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

// Open opens the log of a pod.
func (l ClusterLogs) Open(ctx context.Context, pod string, o kube.LogOptions) (io.ReadCloser, error) {
	return l.Client.Logs(ctx, l.Namespace, pod, o)
}

// Follower reads the logs of all Falco pods at the same time.
type Follower struct {
	Logs Logs
	// Since excludes older lines.
	Since time.Time
	// Poll is how often the pods are listed, and the first delay before a log is reopened; 1 s when zero. A pod that is
	// found late loses no lines: its log is read from Since on.
	Poll time.Duration
	// Log receives problems with reading.
	Log *slog.Logger
}

// ErrNoFalco means that there is no Falco pod.
var ErrNoFalco = errors.New("there is no Falco pod")

// Query reads the current logs, and for each pod also the log before its last restart. The lines of a pod are in order,
// and handle is called for one line at a time.
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
		wait.Go(func() {
			limits <- struct{}{}
			defer func() { <-limits }()
			t := f.tail(pod.Metadata.Name, func(l Line) {
				one.Lock()
				defer one.Unlock()
				handle(l)
			})
			defer t.end()
			if restarts(pod) > 0 {
				// Kubernetes may have deleted that log.
				if err := t.read(ctx, false, true); err != nil && kube.IsRetriable(err) {
					errs[i] = err
				}
			}
			errs[i] = errors.Join(errs[i], t.read(ctx, false, false))
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Follow passes on lines as they come until ctx ends. It follows new pods, and continues after log rotation, restarts
// of Falco and outages of the API server, without a gap or a duplicate. handle is called for one line at a time. Only
// the first listing of the pods can return an error.
func (f *Follower) Follow(ctx context.Context, handle func(Line)) error {
	pods, err := f.Logs.Pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		f.log().Warn("there is no Falco pod yet; waiting for one")
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
			wait.Go(func() {
				t := f.tail(pod.Metadata.Name, func(l Line) {
					one.Lock()
					defer one.Unlock()
					handle(l)
				})
				f.follow(ctx, t, uid, current)
			})
		}
		next, ok := f.list(ctx)
		if !ok {
			return nil
		}
		pods = next
	}
}

// list waits and lists the pods; it returns false when ctx has ended.
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
		f.log().Warn("cannot list Falco's pods; retrying", "error", err)
	}
}

// follow reads one pod's log for as long as the pod exists.
func (f *Follower) follow(ctx context.Context, t *tail, uid string, current *podTable) {
	defer t.end()
	wait := f.poll()
	for ctx.Err() == nil {
		before := t.lines
		stream, err := t.open(ctx, true, false)
		if err == nil {
			// If this is the log of a new container, the rest of the old one's is read first. It is opened after the new one,
			// because nothing says when the container was replaced: the pod's restart count is updated late.
			_ = t.read(ctx, false, true)
			err = t.consume(ctx, stream)
		}
		if !current.has(uid) || err != nil && kube.IsNotFound(err) {
			return
		}
		if err != nil && ctx.Err() == nil {
			f.log().Debug("lost the log of Falco's pod; reopening it", "pod", t.pod, "error", err)
		}
		if t.lines > before {
			wait = f.poll()
		}
		sleep(ctx, wait)
		wait = min(2*wait, 5*time.Second)
	}
}

func (f *Follower) tail(pod string, handle func(Line)) *tail {
	reader := NewReader("pod "+pod, handle)
	reader.pod = pod
	return &tail{logs: f.Logs, pod: pod, reader: reader, at: f.Since.UTC()}
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

// tail is the position in one pod's log.
type tail struct {
	logs   Logs
	pod    string
	reader *Reader
	// at is the time of the last line, and count how many lines with exactly that time were passed on. The API only takes
	// whole seconds, so a reopened log begins with lines that must be skipped.
	at    time.Time
	count int
	lines int
	// part is a line in which the stream ended. A reopened log contains it from its start.
	part []byte
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

// end passes on the rest of the log: a line without an end may be a truncated alert.
func (t *tail) end() {
	_, _ = t.reader.Write(t.part)
	t.part = nil
	t.reader.End()
}

// consume passes on what the stream has after the last line that was passed on.
func (t *tail) consume(ctx context.Context, stream io.ReadCloser) error {
	defer stream.Close() //nolint:errcheck // only read
	stop := context.AfterFunc(ctx, func() { _ = stream.Close() })
	defer stop()
	t.part = nil
	var (
		lines          = bufio.NewReaderSize(stream, 64<<10)
		skip, skipAt   = t.count, t.at
		catchingUp     = true // to the last line; after it every line is new, whatever the node's clock does
		inLine, wanted bool   // inside a line longer than the buffer, and whether it is passed on
	)
	for {
		text, err := lines.ReadSlice('\n')
		whole := err == nil
		if !inLine && !whole && !errors.Is(err, bufio.ErrBufferFull) {
			t.part = withoutStamp(bytes.Clone(text))
		} else {
			if !inLine {
				stamp, rest, ok := bytes.Cut(text, []byte(" "))
				at, err := time.Parse(time.RFC3339Nano, string(stamp))
				switch wanted = true; {
				case !ok || err != nil: // the API server's own message about a broken stream
				case catchingUp && (at.Before(skipAt) || at.Equal(skipAt) && skip > 0):
					if at.Equal(skipAt) {
						skip--
					}
					wanted = false
				default:
					catchingUp = false
					t.lines++
					text = rest
					if at.Equal(t.at) {
						t.count++
					} else if at.After(t.at) {
						t.at, t.count = at, 1
					}
				}
			}
			if wanted {
				_, _ = t.reader.Write(text)
			}
			inLine = !whole
		}
		switch {
		case whole, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		default:
			return err
		}
	}
}

// withoutStamp strips the time that the API server adds to a line.
func withoutStamp(line []byte) []byte {
	if stamp, rest, ok := bytes.Cut(line, []byte(" ")); ok {
		if _, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
			return rest
		}
	}
	return line
}

// podTable has the UIDs of the pods in the newest list.
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
