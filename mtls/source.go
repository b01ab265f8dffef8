package mtls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Identity gives the X.509 SVID of this process and the bundles that vouch for
// others. A [Source] is one; tests use static ones.
type Identity interface {
	x509svid.Source
	x509bundle.Source
}

const (
	// Without these the library's first retry comes after 1 s and the later
	// ones up to 30 s apart, and its connection to an agent that came back is
	// tried again after up to 2 minutes: longer than a short-lived SVID lives.
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Second
	// reportEvery is how often a lasting failure is logged again.
	reportEvery = 10 * time.Second
)

// ErrNoIdentity is returned, wrapped, when the Workload API gave no SVID in
// time.
var ErrNoIdentity = errors.New("no identity")

// ErrIdentityExpired is returned, wrapped, when the SVID of this process ran
// out because the Workload API gave no newer one.
var ErrIdentityExpired = errors.New("the identity of this process has expired")

// Source keeps the X.509 SVID of this process and the trust bundles, as the
// Workload API streams them. It goes on with the last ones while the agent is
// away. Close it after use.
type Source struct {
	log    *slog.Logger
	socket string
	client *workloadapi.Client
	cancel context.CancelFunc
	done   chan struct{}

	state   atomic.Pointer[sourceState]
	first   chan struct{}
	once    sync.Once
	onNew   atomic.Pointer[func()]
	started time.Time

	// What follows is used by the watching goroutine alone.
	failing    bool
	lastCause  string
	lastReport time.Time
}

type sourceState struct {
	svid    *x509svid.SVID
	bundles *x509bundle.Set
}

// OpenSource connects to the Workload API at socket and blocks until it has
// given an SVID, retrying quickly and logging what it waits for. When ctx ends
// first the error wraps [ErrNoIdentity] and tells the last cause.
func OpenSource(ctx context.Context, socket string, log *slog.Logger) (*Source, error) {
	client, err := workloadapi.New(ctx,
		workloadapi.WithAddr(socket),
		workloadapi.WithBackoffStrategy(quickBackoff{}),
		workloadapi.WithDialOptions(grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstRetry, Multiplier: 1.6, Jitter: 0.2, MaxDelay: lastRetry},
			MinConnectTimeout: 5 * time.Second,
		})))
	if err != nil {
		return nil, fmt.Errorf("connect to the Workload API at %s: %w", socket, err)
	}
	watchCtx, cancel := context.WithCancel(context.Background())
	s := &Source{
		log: log, socket: socket, client: client, cancel: cancel,
		done: make(chan struct{}), first: make(chan struct{}), started: time.Now(),
	}
	log.Info("waiting for an identity from the Workload API", "socket", socket)
	cause := make(chan error, 1)
	go s.watch(watchCtx, cause)

	select {
	case <-s.first:
		return s, nil
	case <-ctx.Done():
	}
	s.Close()
	select {
	case err = <-cause:
	default:
		err = ctx.Err()
	}
	return nil, fmt.Errorf("%w from the Workload API at %s within %s: %w",
		ErrNoIdentity, socket, time.Since(s.started).Round(time.Millisecond), err)
}

// Close drops the connection to the Workload API. The SVID that was last
// received stays in use until it expires.
func (s *Source) Close() {
	s.cancel()
	<-s.done
	_ = s.client.Close() // nothing was sent that could be lost
}

// GetX509SVID returns the current SVID. The error wraps [ErrIdentityExpired]
// when it has run out.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	svid := s.state.Load().svid
	if notAfter := svid.Certificates[0].NotAfter; time.Now().After(notAfter) {
		return nil, fmt.Errorf("%w: %s, at %s", ErrIdentityExpired, svid.ID, notAfter.UTC().Format(time.RFC3339))
	}
	return svid, nil
}

// GetX509BundleForTrustDomain returns the authorities of a trust domain.
func (s *Source) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	bundle, err := s.state.Load().bundles.GetX509BundleForTrustDomain(domain)
	if err != nil {
		return nil, fmt.Errorf("find the bundle of trust domain %s: %w", domain, err)
	}
	return bundle, nil
}

// ID returns the SPIFFE ID of this process.
func (s *Source) ID() spiffeid.ID { return s.state.Load().svid.ID }

// OnUpdate has f called after each later change of the SVID or the bundles.
func (s *Source) OnUpdate(f func()) { s.onNew.Store(&f) }

// watch follows the Workload API until ctx ends. cause holds the last failure
// before the first SVID.
func (s *Source) watch(ctx context.Context, cause chan error) {
	defer close(s.done)
	for ctx.Err() == nil {
		w := &watcher{source: s, ctx: ctx, cause: cause}
		err := s.client.WatchX509Context(ctx, w)
		if ctx.Err() != nil {
			return
		}
		// The library gives up on two status codes, which an agent that is
		// going down can send as well: begin again.
		s.log.Warn("the Workload API ended the watch; beginning again", "socket", s.socket, "error", err)
		select {
		case <-time.After(lastRetry):
		case <-ctx.Done():
		}
	}
}

// watcher receives what the Workload API streams.
type watcher struct {
	source *Source
	ctx    context.Context
	cause  chan error
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (w *watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	s := w.source
	svid := update.DefaultSVID()
	old := s.state.Swap(&sourceState{svid: svid, bundles: update.Bundles})
	leaf := svid.Certificates[0]
	attrs := []any{
		"spiffe_id", svid.ID.String(), "not_after", leaf.NotAfter.UTC(), "serial", leaf.SerialNumber.Text(16),
	}
	s.failing, s.lastCause = false, ""
	switch {
	case old == nil:
		s.log.Info("identity received", append(attrs, "waited_ms", time.Since(s.started).Milliseconds())...)
		s.once.Do(func() { close(s.first) })
		return
	case old.svid.Certificates[0].Equal(leaf):
		s.log.Debug("identity sent again, or bundles changed", attrs...)
	default:
		s.log.Info("identity rotated", attrs...)
	}
	if f := s.onNew.Load(); f != nil {
		(*f)()
	}
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (w *watcher) OnX509ContextWatchError(err error) {
	if err == nil || w.ctx.Err() != nil {
		return
	}
	s := w.source
	why := describeWatchError(err)
	if s.state.Load() == nil {
		select {
		case old := <-w.cause: // makes room
			_ = old
		default:
		}
		w.cause <- fmt.Errorf("%s: %w", why, err)
	}
	now := time.Now()
	if s.failing && why == s.lastCause && now.Sub(s.lastReport) < reportEvery {
		return
	}
	s.failing, s.lastCause, s.lastReport = true, why, now
	state := s.state.Load()
	if state == nil {
		s.log.Warn("still waiting for an identity", "cause", why, "socket", s.socket, "error", err,
			"waited_ms", now.Sub(s.started).Milliseconds())
		return
	}
	s.log.Warn("the Workload API is away; going on with the current identity", "cause", why, "socket", s.socket,
		"error", err, "spiffe_id", state.svid.ID.String(), "not_after", state.svid.Certificates[0].NotAfter.UTC())
}

// describeWatchError tells in words of the user's world what an error of the
// Workload API means.
func describeWatchError(err error) string {
	switch status.Code(err) {
	case codes.PermissionDenied:
		return "no registration entry matches this process"
	case codes.Unavailable:
		return "the SPIRE agent does not answer"
	default:
		return "the Workload API failed"
	}
}

// quickBackoff retries after 100 ms and then ever later, up to 1 s.
type quickBackoff struct{}

// NewBackoff implements workloadapi.BackoffStrategy.
func (quickBackoff) NewBackoff() workloadapi.Backoff { return &quickDelay{next: firstRetry} }

type quickDelay struct{ next time.Duration }

// Next implements workloadapi.Backoff.
func (d *quickDelay) Next() time.Duration {
	now := d.next
	d.next = min(d.next*8/5, lastRetry)
	return now
}

// Reset implements workloadapi.Backoff.
func (d *quickDelay) Reset() { d.next = firstRetry }
