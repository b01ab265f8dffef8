package mtls

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// healthProtocol is the ALPN protocol that the server's own health check offers
// instead of HTTP. The server answers it only to its own host and closes after
// the handshake, so it never reaches HTTP and reveals no more than any peer
// sees before it is authenticated.
const healthProtocol = "mtls-server-health"

// listener accepts TCP, runs the TLS handshakes concurrently, and returns only
// the connections of authorised peers.
type listener struct {
	inner      net.Listener
	config     *tls.Config
	identity   Identity
	limits     Limits
	log        *slog.Logger
	refusals   *refusalLog
	handshakes *handshakes
	open       *connections

	ready  chan net.Conn
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

func newListener(inner net.Listener, identity Identity, peers Peers, limits Limits, log *slog.Logger) *listener {
	l := &listener{
		inner: inner, identity: identity, limits: limits, log: log,
		refusals: newRefusalLog(log), handshakes: newHandshakes(limits), open: newConnections(limits),
		ready: make(chan net.Conn), closed: make(chan struct{}),
	}
	l.config = &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.RequireAnyClientCert, // verifyPeer verifies it as SPIFFE requires
		GetCertificate: tlsconfig.GetCertificate(identity),
		// A resumed session would not check when the SVID expires.
		SessionTicketsDisabled: true,
		NextProtos:             []string{"http/1.1"},
		VerifyConnection:       verifyPeer(identity, peers),
	}
	health := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         l.config.GetCertificate,
		SessionTicketsDisabled: true,
		NextProtos:             []string{healthProtocol},
	}
	l.config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if p, ok := hello.Conn.(*pendingConn); ok {
			p.saidHello.Store(true)
		}
		if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == healthProtocol && fromThisHost(hello.Conn) {
			return health, nil
		}
		return nil, nil //nolint:nilnil // crypto/tls takes nil for: no change
	}
	l.wg.Add(1)
	go l.acceptAll()
	return l
}

// fromThisHost reports whether both ends of a connection have the same IP
// address, or the other end has a loopback address.
func fromThisHost(conn net.Conn) bool {
	remote, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	local, ok := conn.LocalAddr().(*net.TCPAddr)
	return ok && (remote.IP.IsLoopback() || remote.IP.Equal(local.IP))
}

// Accept implements net.Listener: it returns the next connection of an
// authorised peer.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It aborts pending handshakes.
func (l *listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.closed)
		err = l.inner.Close()
		l.handshakes.closeAll()
		l.wg.Wait()
		l.refusals.close()
	})
	return err
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.inner.Addr() }

func (l *listener) acceptAll() {
	defer l.wg.Done()
	delay := time.Duration(0)
	for {
		conn, err := l.inner.Accept()
		if err == nil {
			delay = 0
			p := l.handshakes.add(conn)
			l.wg.Add(1)
			go l.handshake(p)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Most likely out of file descriptors, which is temporary.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		l.log.Error("cannot accept connections; retrying", "error", err, "retry_ms", delay.Milliseconds())
		select {
		case <-time.After(delay):
		case <-l.closed:
			return
		}
	}
}

// handshake authenticates one connection and passes it to Accept, or refuses
// it.
func (l *listener) handshake(p *pendingConn) {
	defer l.wg.Done()
	defer l.handshakes.done(p)
	p.begin(l.limits.HandshakeTimeout)
	select {
	case <-l.closed: // closeAll did not see this one
		_ = p.Close()
		return
	default:
	}
	remote := p.RemoteAddr().String()

	// Read before the handshake, it expires no later than the SVID presented.
	own, err := l.identity.GetX509SVID()
	if err != nil {
		l.refuse(p, remote, refusal(err))
		return
	}
	conn := tls.Server(p, l.config)
	if err := conn.Handshake(); err != nil { //nolint:noctx // its deadline is set
		if p.evicted.Load() {
			err = errEvicted // err only says that the connection is closed
		}
		l.refuse(p, remote, refusal(err))
		return
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == healthProtocol {
		l.log.Debug("health check answered", "remote", remote)
		_ = conn.Close() // the handshake was the answer
		return
	}
	// VerifyConnection has checked both; this fails closed if it did not.
	if len(state.PeerCertificates) == 0 {
		l.refuse(p, remote, &RefusedError{Reason: ReasonNoCertificate, Err: errors.New("no certificate")})
		return
	}
	leaf := state.PeerCertificates[0]
	peer, err := x509svid.IDFromCert(leaf)
	if err != nil {
		l.refuse(p, remote, &RefusedError{Reason: ReasonNoSPIFFEID, Err: err})
		return
	}

	c := &connection{peer: peer, begun: time.Now(), expires: leaf.NotAfter}
	if ours := own.Certificates[0].NotAfter; ours.Before(c.expires) {
		c.expires = ours
	}
	l.handshakes.done(p)
	if err := l.open.admit(conn, c); err != nil {
		// The peer is authorised, so it gets an answer and can retry.
		_, _ = io.WriteString(conn,
			"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		_ = conn.CloseWrite()
		l.refuse(p, remote, &RefusedError{Reason: ReasonTooManyConnections, Peer: peer, Err: err})
		return
	}
	p.authenticated.Store(true)
	_ = conn.SetDeadline(time.Time{}) // net/http sets deadlines from here on
	l.log.Info("peer accepted", "peer", peer.String(), "remote", remote, "svid_not_after", leaf.NotAfter.UTC())
	select {
	case l.ready <- conn:
	case <-l.closed:
		l.open.remove(conn)
		_ = conn.Close() // the peer will reconnect to another replica
	}
}

const (
	lingerTime  = 250 * time.Millisecond
	lingerBytes = 16 << 10
)

// refuse logs why and closes the connection in a way that lets the TLS alert
// arrive: closing with unread bytes would reset the connection, and the peer
// could not tell a refusal from a broken network.
func (l *listener) refuse(p *pendingConn, remote string, why *RefusedError) {
	select {
	case <-l.closed: // aborted by Close, not refused
		_ = p.Close()
		return
	default:
	}
	l.refusals.add(remote, why)
	defer p.Close() //nolint:errcheck // the connection is of no further use
	if p.evicted.Load() || why.Reason == ReasonTimeout {
		return
	}
	_ = p.SetDeadline(time.Now().Add(lingerTime))
	if why.Reason == ReasonPlainHTTP {
		const answer = "This server speaks HTTP over mutual TLS only.\n"
		_, _ = io.WriteString(p, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+answer)
	}
	if p.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(p.Conn, lingerBytes))
	}
}

// refusalsPerSecond is how many refusals of each reason are logged one by one
// per second; the rest are logged as a count. Peers that are not authenticated
// must not be able to fill the log.
const refusalsPerSecond = 20

// refusalLog logs refusals at a limited rate.
type refusalLog struct {
	log *slog.Logger

	mu      sync.Mutex
	counts  map[Reason]int
	flusher *time.Timer
}

func newRefusalLog(log *slog.Logger) *refusalLog {
	return &refusalLog{log: log, counts: make(map[Reason]int)}
}

func (r *refusalLog) add(remote string, why *RefusedError) {
	r.mu.Lock()
	r.counts[why.Reason]++
	n := r.counts[why.Reason]
	if r.flusher == nil {
		r.flusher = time.AfterFunc(time.Second, r.flush)
	}
	r.mu.Unlock()
	if n > refusalsPerSecond {
		return
	}
	attrs := []any{"reason", string(why.Reason), "remote", remote, "error", clean(why.Err)}
	if why.Peer != (spiffeid.ID{}) {
		attrs = append(attrs, "peer", why.Peer.String())
	}
	if why.Reason == ReasonOwnIdentity {
		r.log.Error("peer refused", attrs...)
		return
	}
	r.log.Warn("peer refused", attrs...)
}

// flush logs the counts of the last second and resets them.
func (r *refusalLog) flush() {
	r.mu.Lock()
	counts := r.counts
	r.counts, r.flusher = make(map[Reason]int), nil
	r.mu.Unlock()
	for reason, n := range counts {
		if n > refusalsPerSecond {
			r.log.Warn("more peers refused", "reason", string(reason), "count", n-refusalsPerSecond)
		}
	}
}

func (r *refusalLog) close() {
	r.mu.Lock()
	if r.flusher != nil {
		r.flusher.Stop()
	}
	r.mu.Unlock()
	r.flush()
}

// clean bounds the text of an error, parts of which can come from the peer.
func clean(err error) string {
	text := err.Error()
	if len(text) > 300 {
		text = text[:300] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}
