package mtls

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// maxHandshakeBytes is what one peer may send before it is authenticated. A
// ClientHello with a chain of three SPIRE certificates takes about 5 KiB;
// crypto/tls alone would buffer up to 256 KiB for each unauthenticated
// connection.
const maxHandshakeBytes = 16 << 10

// firstLook is how long a connection has at least from when the server begins
// to read from it. A peer that means it has sent its hello by then; without
// this, a flood on a busy machine would end connections that were never read.
const firstLook = 10 * time.Millisecond

// handshakes is the table of connections that are not authenticated yet. When
// it is full one gives way to the newest: of the source that has the most, the
// oldest of those that have not even said hello, or else the oldest. An honest
// handshake is done in milliseconds, so that who opens connections and leaves
// them loses them first, and everybody else is served.
type handshakes struct {
	max int

	mu      sync.Mutex
	count   int
	sources map[netip.Prefix]*list.List // of *pendingConn, oldest first
}

func newHandshakes(limits Limits) *handshakes {
	return &handshakes{max: limits.PendingHandshakes, sources: make(map[netip.Prefix]*list.List)}
}

// sourceOf is what counts as one source: an IPv4 address, or the network of 64
// bits that one host has all of in IPv6.
func sourceOf(address net.Addr) netip.Prefix {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// add takes a connection into the table. It waits while the table is full of
// connections that had no chance yet.
func (h *handshakes) add(conn net.Conn) *pendingConn {
	p := &pendingConn{Conn: conn, source: sourceOf(conn.RemoteAddr()), left: maxHandshakeBytes}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.count >= h.max && !h.crowdOut(time.Now()) {
		h.mu.Unlock()
		time.Sleep(time.Millisecond)
		h.mu.Lock()
	}
	source := h.sources[p.source]
	if source == nil {
		source = list.New()
		h.sources[p.source] = source
	}
	p.element = source.PushBack(p)
	h.count++
	return p
}

// crowdOut ends the pending handshake that is missed least and reports whether
// there was one that had its chance.
func (h *handshakes) crowdOut(now time.Time) bool {
	var most *list.List
	for _, source := range h.sources {
		if most == nil || source.Len() > most.Len() {
			most = source
		}
	}
	victim := pending(most.Front())
	for e := most.Front(); e != nil; e = e.Next() {
		if p := pending(e); !p.saidHello.Load() {
			victim = p
			break
		}
	}
	// The others without a hello are newer still.
	if begun := victim.begun.Load(); begun == 0 || now.UnixNano()-begun < int64(firstLook) {
		return false
	}
	h.remove(victim)
	victim.crowdedOut.Store(true)
	_ = victim.Close() // its handshake ends with that
	return true
}

// done ends a handshake and lifts its limits. It may be called again.
func (h *handshakes) done(p *pendingConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(p)
}

func (h *handshakes) remove(p *pendingConn) {
	if p.element == nil {
		return
	}
	source := h.sources[p.source]
	source.Remove(p.element)
	p.element = nil
	h.count--
	if source.Len() == 0 {
		delete(h.sources, p.source)
	}
}

// closeAll ends every pending handshake.
func (h *handshakes) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, source := range h.sources {
		for e := source.Front(); e != nil; e = e.Next() {
			_ = pending(e).Close() // its handshake ends with that
		}
	}
}

func pending(e *list.Element) *pendingConn {
	return e.Value.(*pendingConn) // the lists hold nothing else
}

// pendingConn is a connection that limits what it reads until it is
// authenticated.
type pendingConn struct {
	net.Conn
	source netip.Prefix
	// element is its place in the table, whose lock guards it; nil when it is
	// not there.
	element *list.Element
	// left is used by the handshake's goroutine alone until authenticated.
	left int
	// begun is when the server began to read, in nanoseconds since 1970; 0
	// before that.
	begun         atomic.Int64
	saidHello     atomic.Bool
	authenticated atomic.Bool
	crowdedOut    atomic.Bool
}

// begin starts the time that the peer has for its part of the handshake.
func (p *pendingConn) begin(timeout time.Duration) {
	now := time.Now()
	p.begun.Store(now.UnixNano())
	_ = p.SetDeadline(now.Add(timeout)) // fails on a closed connection, and then so does the handshake
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
