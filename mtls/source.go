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

// Identity provides the X.509 SVID of this process and the bundles that verify
// the SVIDs of others. A [Source] is one; tests use static ones.
type Identity interface {
	x509svid.Source
	x509bundle.Source
}

const (
	// The library's defaults retry after 1 s and then up to 30 s apart, and
	// reconnect to an agent that has come back within 2 minutes. That is longer
	// than a short-lived SVID lives.
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Second
	// reportEvery is how often a persistent failure is logged again.
	reportEvery = 10 * time.Second
)

// ErrNoIdentity is wrapped in the error when the Workload API provided no SVID
// in time.
var ErrNoIdentity = errors.New("no identity")

// ErrIdentityExpired is wrapped in the error when the SVID of this process has
// expired and the Workload API provided no newer one.
var ErrIdentityExpired = errors.New("the identity of this process has expired")

// ErrIdentityNotYetValid is wrapped in the error when the validity of the only
// SVID of this process has not begun: the clocks here and at the SPIRE server
// differ.
var ErrIdentityNotYetValid = errors.New("the identity of this process is not valid yet")

// Source keeps the X.509 SVID of this process and the trust bundles up to date
// from the Workload API. While the agent is unavailable it keeps the last
// ones. Callers must close it after use.
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

	// Only the watching goroutine uses the fields below.
	failing    bool
	lastCause  string
	lastReport time.Time
}

type sourceState struct {
	svid *x509svid.SVID
	// next replaces svid once it is valid; may be nil.
	next    *x509svid.SVID
	bundles *x509bundle.Set
}

// current returns the SVID to use at now.
func (s *sourceState) current(now time.Time) *x509svid.SVID {
	if s.next != nil && !now.Before(s.next.Certificates[0].NotBefore) {
		return s.next
	}
	return s.svid
}

// checkTime returns an error when the SVID is not valid at now.
func checkTime(svid *x509svid.SVID, now time.Time) error {
	leaf := svid.Certificates[0]
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w: %s, at %s", ErrIdentityExpired, svid.ID, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%w: %s, before %s",
			ErrIdentityNotYetValid, svid.ID, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// OpenSource connects to the Workload API at socket and blocks until that
// provides an SVID that is valid now. It retries quickly and logs what it waits
// for. When ctx ends first, the error wraps [ErrNoIdentity] and the last cause.
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

// Close drops the connection to the Workload API. The last received SVID stays
// in use until it expires.
func (s *Source) Close() {
	s.cancel()
	<-s.done
	_ = s.client.Close() // nothing was sent that could be lost
}

// GetX509SVID returns the current SVID. The error wraps [ErrIdentityExpired] or
// [ErrIdentityNotYetValid] when it is not valid now.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	now := time.Now()
	svid := s.state.Load().current(now)
	if err := checkTime(svid, now); err != nil {
		return nil, err
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

// opened reports whether there has been a valid SVID.
func (s *Source) opened() bool {
	select {
	case <-s.first:
		return true
	default:
		return false
	}
}

// open lets OpenSource return, unless the current SVID is not valid.
func (s *Source) open() {
	now := time.Now()
	svid := s.state.Load().current(now)
	if checkTime(svid, now) != nil {
		return
	}
	s.once.Do(func() {
		s.log.Info("identity received", append(describe(svid), "waited_ms", now.Sub(s.started).Milliseconds())...)
		close(s.first)
	})
}

// openLater lets OpenSource return once the current SVID becomes valid. It
// polls, because the clock may be corrected meanwhile.
func (s *Source) openLater(ctx context.Context) {
	ticks := time.NewTicker(firstRetry)
	defer ticks.Stop()
	for !s.opened() {
		select {
		case <-ticks.C:
			s.open()
		case <-ctx.Done():
			return
		}
	}
}

// describe names an SVID for the log.
func describe(svid *x509svid.SVID) []any {
	leaf := svid.Certificates[0]
	return []any{"spiffe_id", svid.ID.String(), "not_after", leaf.NotAfter.UTC(), "serial", leaf.SerialNumber.Text(16)}
}

// OnUpdate registers f to be called after each later change of the SVID or the
// bundles.
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
		// The library gives up on two status codes that an agent can also send
		// while it shuts down.
		s.log.Warn("the Workload API ended the watch; retrying", "socket", s.socket, "error", err)
		select {
		case <-time.After(lastRetry):
		case <-ctx.Done():
		}
	}
}

// watcher receives what the Workload API streams.
type watcher struct {
	source *Source
	ctx    context.Context //nolint:containedctx // the library's callbacks take none
	cause  chan error
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (w *watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	s := w.source
	now := time.Now()
	svid := update.DefaultSVID()
	state := &sourceState{svid: svid, bundles: update.Bundles}
	old := s.state.Load()
	bad := checkTime(svid, now)
	if old != nil && errors.Is(bad, ErrIdentityNotYetValid) {
		if current := old.current(now); checkTime(current, now) == nil {
			state.svid, state.next = current, svid // differing clocks must not cause a gap
		}
	}
	s.state.Store(state)
	s.failing, s.lastCause = false, ""
	if !s.opened() {
		if bad == nil {
			s.open()
			return
		}
		// An open port means a server that can prove who it is, so wait: for the
		// agent to send a newer SVID, or for this one to become valid.
		w.setCause(bad)
		s.log.Warn("still waiting for an identity",
			append(describe(svid), "cause", "the SVID is not valid now", "error", bad)...)
		if errors.Is(bad, ErrIdentityNotYetValid) {
			go s.openLater(w.ctx)
		}
		return
	}
	switch {
	case bad != nil:
		s.log.Warn("the new identity is not valid now", append(describe(svid), "error", bad)...)
	case old.svid.Certificates[0].Equal(svid.Certificates[0]):
		s.log.Debug("same identity received again, or bundles changed", describe(svid)...)
	default:
		s.log.Info("identity rotated", describe(svid)...)
	}
	if f := s.onNew.Load(); f != nil {
		(*f)()
	}
}

// setCause keeps the last reason why there is no SVID.
func (w *watcher) setCause(err error) {
	select {
	case <-w.cause: //nolint:errcheck // the older cause makes room
	default:
	}
	w.cause <- err
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (w *watcher) OnX509ContextWatchError(err error) {
	if err == nil || w.ctx.Err() != nil {
		return
	}
	s := w.source
	why := describeWatchError(err)
	if !s.opened() {
		w.setCause(fmt.Errorf("%s: %w", why, err))
	}
	now := time.Now()
	if s.failing && why == s.lastCause && now.Sub(s.lastReport) < reportEvery {
		return
	}
	s.failing, s.lastCause, s.lastReport = true, why, now
	if !s.opened() {
		s.log.Warn("still waiting for an identity", "cause", why, "socket", s.socket, "error", err,
			"waited_ms", now.Sub(s.started).Milliseconds())
		return
	}
	svid := s.state.Load().current(now)
	s.log.Warn("the Workload API is unavailable; keeping the current identity", "cause", why, "socket", s.socket,
		"error", err, "spiffe_id", svid.ID.String(), "not_after", svid.Certificates[0].NotAfter.UTC())
}

// describeWatchError explains an error of the Workload API to an operator.
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

// quickBackoff backs off from 100 ms to 1 s.
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
