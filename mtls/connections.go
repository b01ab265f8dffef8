package mtls

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// errTooManyConnections is wrapped with the limit that was reached.
var errTooManyConnections = errors.New("every allowed connection is busy")

// connection is the server's state for one established connection.
type connection struct {
	peer spiffeid.ID
	// expires is when the first of both SVIDs expires; no connection outlives
	// that.
	begun, expires time.Time

	// The table's lock guards the fields below.
	idleSince time.Time // zero during a request and before the first one
	expiry    *time.Timer
}

// ending reports whether the connection should be closed after the current
// request because an SVID that authenticated it will soon expire: in its last
// quarter. SPIRE rotates at half of an SVID's life, so a peer that reconnects
// then has a newer one.
func (c *connection) ending(now time.Time) bool {
	return now.After(c.expires.Add(-c.expires.Sub(c.begun) / 4))
}

// connections is the table of established connections. It enforces the limit
// per peer and the total: a connection beyond a limit evicts the longest idle
// one within that limit, and is refused when all are busy.
type connections struct {
	max, maxPerPeer int
	idleTimeout     time.Duration

	mu      sync.Mutex
	all     map[net.Conn]*connection
	perPeer map[spiffeid.ID]int
}

func newConnections(limits Limits) *connections {
	return &connections{
		max: limits.Connections, maxPerPeer: limits.ConnectionsPerPeer, idleTimeout: limits.IdleTimeout,
		all: make(map[net.Conn]*connection), perPeer: make(map[spiffeid.ID]int),
	}
}

// admit adds a connection, or returns an error that says why there is no room.
func (t *connections) admit(conn net.Conn, c *connection) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.perPeer[c.peer] >= t.maxPerPeer && !t.evict(func(other *connection) bool { return other.peer == c.peer }) {
		return fmt.Errorf("%w: %d of this peer", errTooManyConnections, t.maxPerPeer)
	}
	if len(t.all) >= t.max && !t.evict(func(*connection) bool { return true }) {
		return fmt.Errorf("%w: %d in total", errTooManyConnections, t.max)
	}
	t.all[conn] = c
	t.perPeer[c.peer]++
	return nil
}

// evict closes the longest idle connection that match accepts, and reports
// whether there was one.
func (t *connections) evict(match func(*connection) bool) bool {
	var oldest net.Conn
	var since time.Time
	for conn, c := range t.all {
		if !c.idleSince.IsZero() && match(c) && (oldest == nil || c.idleSince.Before(since)) {
			oldest, since = conn, c.idleSince
		}
	}
	if oldest == nil {
		return false
	}
	t.drop(oldest)
	// In a goroutine: closing TLS writes an alert, which must not hold the lock.
	go oldest.Close() //nolint:errcheck // nothing can be done about a failure
	return true
}

// lookup returns a connection's state; nil when it is not in the table.
func (t *connections) lookup(conn net.Conn) *connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[conn]
}

// count returns the number of established connections.
func (t *connections) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

// active records that a request has begun.
func (t *connections) active(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.all[conn]; c != nil {
		c.idleSince = time.Time{}
		c.stopExpiry()
	}
}

// idle records that a request has ended. It schedules the close for when an
// SVID expires, unless the idle timeout comes first.
func (t *connections) idle(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.all[conn]
	if c == nil {
		return
	}
	c.idleSince = time.Now()
	if left := time.Until(c.expires); left < t.idleTimeout {
		c.stopExpiry()
		c.expiry = time.AfterFunc(left, func() { _ = conn.Close() }) // may be closed already
	}
}

// remove removes a connection that was closed.
func (t *connections) remove(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(conn)
}

func (t *connections) drop(conn net.Conn) {
	c := t.all[conn]
	if c == nil {
		return
	}
	c.stopExpiry()
	delete(t.all, conn)
	if t.perPeer[c.peer]--; t.perPeer[c.peer] == 0 {
		delete(t.perPeer, c.peer)
	}
}

func (c *connection) stopExpiry() {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
}
