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

// firstLook is the time that every connection gets, counted from the server's
// first read. A genuine client has sent its ClientHello by then; without this
// minimum, a flood on a busy machine would evict connections that were never
// read.
const firstLook = 10 * time.Millisecond

// handshakes is the table of connections that are not authenticated yet. When
// it is full, a new one evicts another: of the source with the most, the
// oldest without a ClientHello, or else the oldest. An honest handshake takes
// milliseconds, so idle connections are dropped first and everybody else is
// served.
type handshakes struct {
	max int

	mu      sync.Mutex
	count   int
	sources map[netip.Prefix]*list.List // of *pendingConn, oldest first
}

func newHandshakes(limits Limits) *handshakes {
	return &handshakes{max: limits.PendingHandshakes, sources: make(map[netip.Prefix]*list.List)}
}

// sourceOf returns what counts as one source: an IPv4 address, or in IPv6 the
// /64 network, all of which one host can use.
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

// add puts a connection into the table. It waits while the table is full of
// connections that have not had their firstLook.
func (h *handshakes) add(conn net.Conn) *pendingConn {
	p := &pendingConn{Conn: conn, source: sourceOf(conn.RemoteAddr()), left: maxHandshakeBytes}
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.count >= h.max && !h.evict(time.Now()) {
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

// evict ends the least valuable pending handshake, and reports false when even
// that one has not had its firstLook.
func (h *handshakes) evict(now time.Time) bool {
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
	// The others without a ClientHello are newer still.
	if begun := victim.begun.Load(); begun == 0 || now.UnixNano()-begun < int64(firstLook) {
		return false
	}
	h.remove(victim)
	victim.evicted.Store(true)
	_ = victim.Close() // this ends its handshake
	return true
}

// done removes a handshake that has ended. It may be called twice.
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
			_ = pending(e).Close() // this ends its handshake
		}
	}
}

func pending(e *list.Element) *pendingConn {
	return e.Value.(*pendingConn) // the lists hold nothing else
}

// pendingConn is a connection that limits how much it reads until the peer is
// authenticated.
type pendingConn struct {
	net.Conn
	source netip.Prefix
	// element is its place in the table, guarded by the table's lock; nil when
	// it is not in the table.
	element *list.Element
	// left is how many bytes may still be read. Only the handshake's goroutine
	// uses it.
	left int
	// begun is when the server began to read, in nanoseconds since 1970; 0
	// before that.
	begun         atomic.Int64
	saidHello     atomic.Bool
	authenticated atomic.Bool
	evicted       atomic.Bool
}

// begin starts the handshake's timeout.
func (p *pendingConn) begin(timeout time.Duration) {
	now := time.Now()
	p.begun.Store(now.UnixNano())
	_ = p.SetDeadline(now.Add(timeout)) // fails only on a closed connection, where the handshake fails too
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

// CloseWrite closes the sending side only, so that what was sent still arrives.
func (p *pendingConn) CloseWrite() error {
	if tcp, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return nil
}
