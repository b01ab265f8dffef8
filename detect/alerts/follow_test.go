package alerts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"spire-falco/detect/alerts"
	"spire-falco/detect/kube"
	"spire-falco/falco"
)

// cluster stands in for the logs of Falco's pods, with what a kubelet does: whole seconds in sinceTime, a stream that
// ends with its container, the log of before the last restart.
type cluster struct {
	mu    sync.Mutex
	pods  map[string]*falcoPod
	fails int // listings that are to fail
	opens int
	tear  int // after how many bytes the next stream breaks off
}

type falcoPod struct {
	kube     kube.Pod
	log      []stamped
	previous []stamped
	changed  chan struct{}
	broken   bool // open streams are to end
}

type stamped struct {
	at   time.Time
	text string
}

func newCluster(names ...string) *cluster {
	c := &cluster{pods: map[string]*falcoPod{}}
	for _, name := range names {
		c.add(name)
	}
	return c
}

func (c *cluster) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &falcoPod{changed: make(chan struct{})}
	p.kube.Metadata.Name, p.kube.Metadata.UID = name, "uid-"+name
	p.kube.Status.ContainerStatuses = []kube.ContainerStatus{{Name: "falco"}}
	c.pods[name] = p
}

func (c *cluster) change(name string, change func(*falcoPod)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[name]
	change(p)
	close(p.changed)
	p.changed = make(chan struct{})
}

var clock = time.Date(2026, 11, 22, 21, 0, 0, 0, time.UTC)

func (c *cluster) say(name string, at time.Duration, rule string) {
	c.change(name, func(p *falcoPod) { p.log = append(p.log, stamped{clock.Add(at), line(rule, at)}) })
}

func line(rule string, at time.Duration) string {
	return fmt.Sprintf(`{"rule":%q,"priority":"Warning","output":"x","time":%q}`, rule, clock.Add(at).Format(time.RFC3339Nano))
}

func (c *cluster) restart(name string) {
	c.change(name, func(p *falcoPod) {
		p.previous, p.log, p.broken = p.log, nil, true
		p.kube.Status.ContainerStatuses = []kube.ContainerStatus{{Name: "falco", RestartCount: p.kube.Status.ContainerStatuses[0].RestartCount + 1}}
	})
}

// cut ends every open stream, as the API does after its time.
func (c *cluster) cut(name string) { c.change(name, func(p *falcoPod) { p.broken = true }) }

func (c *cluster) remove(name string) {
	c.cut(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pods, name)
}

func (c *cluster) Pods(context.Context) ([]kube.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fails > 0 {
		c.fails--
		return nil, errors.New("connection refused")
	}
	var list []kube.Pod
	for _, p := range c.pods {
		list = append(list, p.kube)
	}
	return list, nil
}

func (c *cluster) Open(ctx context.Context, pod string, o kube.LogOptions) (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opens++
	p := c.pods[pod]
	if p == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, pod)
	}
	if o.Previous && p.previous == nil {
		return nil, apierrors.NewBadRequest("previous terminated container not found")
	}
	p.broken = false
	reader, writer := io.Pipe()
	go func() {
		_ = writer.CloseWithError(c.stream(ctx, p, o, writer))
	}()
	if c.tear > 0 {
		torn := struct {
			io.Reader
			io.Closer
		}{io.LimitReader(reader, int64(c.tear)), reader}
		c.tear = 0
		return torn, nil
	}
	return reader, nil
}

func (c *cluster) stream(ctx context.Context, p *falcoPod, o kube.LogOptions, w io.Writer) error {
	since := o.Since.Truncate(time.Second)
	for next := 0; ; {
		c.mu.Lock()
		log, changed, broken := p.log, p.changed, p.broken
		if o.Previous {
			log = p.previous
		}
		c.mu.Unlock()
		for ; next < len(log); next++ {
			if !log[next].at.Before(since) {
				if _, err := fmt.Fprintf(w, "%s %s\n", log[next].at.Format(time.RFC3339Nano), log[next].text); err != nil {
					return err
				}
			}
		}
		if !o.Follow || o.Previous || broken {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// heard collects rules, in order.
type heard struct {
	mu    sync.Mutex
	rules []string
}

func (h *heard) take(l alerts.Line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.Alert != nil {
		h.rules = append(h.rules, l.Pod+":"+l.Alert.Rule)
	}
}

func (h *heard) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.rules...)
}

func follow(t *testing.T, c *cluster) *heard {
	t.Helper()
	h := &heard{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	f := &alerts.Follower{Logs: c, Since: clock, Poll: 5 * time.Millisecond}
	go func() { done <- f.Follow(ctx, h.take) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	return h
}

func (h *heard) expect(t *testing.T, want ...string) {
	t.Helper()
	assert.EventuallyWithT(t, func(c *assert.CollectT) { assert.ElementsMatch(c, want, h.list()) }, 10*time.Second, 5*time.Millisecond)
	time.Sleep(30 * time.Millisecond) // a line told twice comes a little later
	assert.ElementsMatch(t, want, h.list())
}

func TestFollow(t *testing.T) {
	t.Parallel()
	t.Run("all nodes are read at the same time", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a", "b")
		h := follow(t, c)
		c.say("a", time.Second, "1")
		c.say("b", time.Second, "2")
		h.expect(t, "a:1", "b:2")
	})
	t.Run("what was before the beginning is left out", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		c.say("a", -time.Minute, "old")
		c.say("a", time.Minute, "new")
		follow(t, c).expect(t, "a:new")
	})
	t.Run("a pod that comes later is read from the beginning", func(t *testing.T) {
		t.Parallel()
		c := newCluster()
		h := follow(t, c)
		c.add("late")
		c.say("late", time.Second, "1")
		h.expect(t, "late:1")
	})
	t.Run("after a broken stream nothing is told twice and nothing is missing", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		h := follow(t, c)
		c.say("a", 1100*time.Millisecond, "1")
		c.say("a", 1200*time.Millisecond, "2")
		c.say("a", 1200*time.Millisecond, "3") // of the very same time
		h.expect(t, "a:1", "a:2", "a:3")
		c.cut("a")
		c.say("a", 1200*time.Millisecond, "4")
		c.say("a", 1300*time.Millisecond, "5")
		h.expect(t, "a:1", "a:2", "a:3", "a:4", "a:5")
	})
	t.Run("a line that the stream breaks off in is read when the log is opened again", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		c.mu.Lock()
		c.tear = 40
		c.mu.Unlock()
		c.say("a", time.Second, "1")
		c.say("a", 2*time.Second, "2")
		follow(t, c).expect(t, "a:1", "a:2")
	})
	t.Run("alerts are read when the clock of the node is set back", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		h := follow(t, c)
		c.say("a", 2*time.Minute, "1")
		c.say("a", time.Minute, "2")
		c.say("a", time.Minute, "3")
		h.expect(t, "a:1", "a:2", "a:3")
	})
	t.Run("what wraps an alert is unwrapped, and what the API says is no alert", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		h := follow(t, c)
		for i, text := range []string{"a message" + line("glued", 0), "{", `"rule": "formatted",`, `"priority": "Warning"`, "}", line("x", 0) + line("y", 0)} {
			c.change("a", func(p *falcoPod) {
				p.log = append(p.log, stamped{clock.Add(time.Duration(i) * time.Second), text})
			})
		}
		h.expect(t, "a:glued", "a:formatted", "a:x", "a:y")
	})
	t.Run("a restart of Falco loses nothing of before and after", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		h := follow(t, c)
		c.say("a", time.Second, "1")
		h.expect(t, "a:1")
		c.mu.Lock()
		p := c.pods["a"]
		p.log = append(p.log, stamped{clock.Add(2 * time.Second), line("last words", 0)})
		c.mu.Unlock()
		c.restart("a")
		c.say("a", 3*time.Second, "2")
		h.expect(t, "a:1", "a:last words", "a:2")
	})
	t.Run("a pod that is replaced is followed in the new one", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		h := follow(t, c)
		c.say("a", time.Second, "1")
		h.expect(t, "a:1")
		c.remove("a")
		c.add("b")
		c.say("b", 2*time.Second, "2")
		h.expect(t, "a:1", "b:2")
	})
	t.Run("an API that is away for a while ends nothing", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		h := follow(t, c)
		c.say("a", time.Second, "1")
		h.expect(t, "a:1")
		c.mu.Lock()
		c.fails = 3
		c.mu.Unlock()
		c.add("b")
		c.say("b", time.Second, "2")
		h.expect(t, "a:1", "b:2")
	})
	t.Run("the first listing must succeed", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a")
		c.fails = 1
		require.ErrorContains(t, (&alerts.Follower{Logs: c}).Follow(t.Context(), func(alerts.Line) {}), "connection refused")
	})
}

func TestQuery(t *testing.T) {
	t.Parallel()
	t.Run("several nodes come in the order of time, with the log of before a restart", func(t *testing.T) {
		t.Parallel()
		c := newCluster("a", "b")
		c.say("a", 3*time.Second, "third")
		c.say("b", time.Second, "first")
		c.restart("b")
		c.say("b", 2*time.Second, "second")
		var out bytes.Buffer
		require.NoError(t, alerts.Run(t.Context(), alerts.Options{Logs: c, Format: alerts.JSON, Filter: alerts.Filter{Since: clock}}, &out, io.Discard))
		first, second, third := strings.Index(out.String(), "first"), strings.Index(out.String(), "second"), strings.Index(out.String(), "third")
		assert.Positive(t, first)
		assert.Greater(t, second, first)
		assert.Greater(t, third, second)
	})
	t.Run("no Falco is an error, not silence", func(t *testing.T) {
		t.Parallel()
		err := alerts.Run(t.Context(), alerts.Options{Logs: newCluster(), Format: alerts.JSON}, io.Discard, io.Discard)
		require.ErrorIs(t, err, alerts.ErrNoFalco)
	})
	t.Run("many nodes are all read", func(t *testing.T) {
		t.Parallel()
		c := newCluster()
		for n := range 100 {
			c.add(strconv.Itoa(n))
			c.say(strconv.Itoa(n), time.Second, "1")
		}
		var out bytes.Buffer
		require.NoError(t, alerts.Run(t.Context(), alerts.Options{Logs: c, Format: alerts.JSON}, &out, io.Discard))
		assert.Equal(t, 100, strings.Count(out.String(), "\n"))
	})
}

func TestAnAlertOfAPodThatCannotBeReadStopsTheGate(t *testing.T) {
	t.Parallel()
	c := newCluster("a")
	c.change("a", func(p *falcoPod) {
		p.log = append(p.log, stamped{clock.Add(time.Second), `{"rule":"R","priority":"Crit`})
	})
	stop := falco.PriorityCritical
	for _, following := range []bool{false, true} {
		o := alerts.Options{Logs: c, Format: alerts.Table, FailOn: &stop, Follow: following, Poll: 5 * time.Millisecond}
		if following {
			o.For = 300 * time.Millisecond
		}
		err := alerts.Run(t.Context(), o, io.Discard, io.Discard)
		require.ErrorContains(t, err, "pod a:1: an alert is cut off")
	}
}

func TestFollowingEndsAfterItsTime(t *testing.T) {
	t.Parallel()
	c := newCluster("a")
	c.say("a", time.Second, "1")
	critical, err := falco.ParsePriority("warning")
	require.NoError(t, err)
	var out bytes.Buffer
	err = alerts.Run(t.Context(), alerts.Options{
		Logs: c, Format: alerts.Table, Follow: true, For: 300 * time.Millisecond, FailOn: &critical, Poll: 5 * time.Millisecond,
	}, &out, io.Discard)
	var gate *alerts.GateError
	require.ErrorAs(t, err, &gate, "the gate is judged at the end")
	assert.Len(t, gate.Alerts, 1)
}
