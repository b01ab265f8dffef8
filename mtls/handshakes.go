package mtls

import (
	"container/list"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxHandshakeBytes is what one peer may send before it is authenticated. A
// chain of three SPIRE certificates takes 2 to 4 KiB; crypto/tls alone would
// buffer up to 256 KiB for each unauthenticated connection.
const maxHandshakeBytes = 32 << 10

// handshakes is the table of connections that are not authenticated yet. When
// it is full the oldest gives way to the newest: an honest handshake is done
// in milliseconds, so that who opens connections and leaves them loses them
// first, and everybody else is served.
type handshakes struct {
	max int

	mu      sync.Mutex
	pending *list.List // of *pendingConn, oldest first
}

func newHandshakes(limits Limits) *handshakes {
	return &handshakes{max: limits.PendingHandshakes, pending: list.New()}
}

// add begins a handshake on conn, which must be complete before deadline.
func (h *handshakes) add(conn net.Conn, deadline time.Time) *pendingConn {
	p := &pendingConn{Conn: conn, left: maxHandshakeBytes}
	_ = conn.SetDeadline(deadline) // fails on a closed connection, and then so does the handshake
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending.Len() >= h.max {
		oldest := h.pending.Front()
		h.pending.Remove(oldest)
		oldest.Value.(*pendingConn).crowdOut() //nolint:errcheck,forcetypeassert // the list holds nothing else
	}
	p.element = h.pending.PushBack(p)
	return p
}

// done ends a handshake and lifts its limits.
func (h *handshakes) done(p *pendingConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending.Remove(p.element)
}

// closeAll ends every pending handshake.
func (h *handshakes) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for e := h.pending.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*pendingConn).Close() //nolint:forcetypeassert // the list holds nothing else
	}
}

// pendingConn is a connection that limits what it reads until it is
// authenticated.
type pendingConn struct {
	net.Conn
	element *list.Element
	// left is used by the handshake's goroutine alone until authenticated.
	left          int
	authenticated atomic.Bool
	crowdedOut    atomic.Bool
}

func (p *pendingConn) crowdOut() {
	p.crowdedOut.Store(true)
	_ = p.Close()
}

// Read implements net.Conn.
func (p *pendingConn) Read(b []byte) (int, error) {
	if p.authenticated.Load() {
		return p.Conn.Read(b)
	}
	if p.left <= 0 {
		return 0, errTooLarge
	}
	n, err := p.Conn.Read(b[:min(len(b), p.left)])
	p.left -= n
	return n, err
}

// CloseWrite closes the sending side, so that what was sent arrives.
func (p *pendingConn) CloseWrite() error {
	if tcp, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return nil
}
