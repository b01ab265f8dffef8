package mtls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Limits bound the server's resources that peers, honest or not, can take.
type Limits struct {
	// Connections is the maximum number of established connections.
	Connections int
	// ConnectionsPerPeer is the maximum number of one SPIFFE ID.
	ConnectionsPerPeer int
	// PendingHandshakes is the maximum number of connections that are not
	// authenticated yet; one more evicts another.
	PendingHandshakes int
	// HeaderBytes is the maximum size of the request line and headers.
	HeaderBytes int
	// HandshakeTimeout bounds the TLS handshake.
	HandshakeTimeout time.Duration
	// ReadTimeout bounds the reading of one request.
	ReadTimeout time.Duration
	// WriteTimeout bounds a request from its headers to the end of the answer.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection is kept between requests.
	IdleTimeout time.Duration
}

// DefaultLimits returns limits for 64 MiB, half of the pod's memory limit: a
// connection whose peer sends the largest allowed header takes about 50 KiB.
// docs/mtls.md has the figures.
func DefaultLimits() Limits {
	return Limits{
		Connections:        512,
		ConnectionsPerPeer: 128,
		PendingHandshakes:  256,
		HeaderBytes:        8 << 10,
		HandshakeTimeout:   5 * time.Second,
		ReadTimeout:        10 * time.Second,
		WriteTimeout:       10 * time.Second,
		IdleTimeout:        time.Minute,
	}
}

// ServerConfig configures a [Server]. Every field except Handler must be set.
type ServerConfig struct {
	// Identity is the server's own.
	Identity Identity
	// Peers are the SPIFFE IDs that are served.
	Peers Peers
	// Limits bound the resources that they can take.
	Limits Limits
	// GracePeriod is how long requests in flight may take once the server is
	// told to stop.
	GracePeriod time.Duration
	// Log receives accepted and refused peers.
	Log *slog.Logger
	// Handler answers the requests; nil means [Handler]. It gets the caller's ID
	// from [PeerID].
	Handler http.Handler
}

// Server answers HTTP/1.1 over mutual TLS 1.3. HTTP/2 is left out: for a small
// answer it has no benefit, and every peer speaks HTTP/1.1.
type Server struct {
	config ServerConfig
}

// NewServer returns a server.
func NewServer(config ServerConfig) *Server {
	if config.Handler == nil {
		config.Handler = Handler()
	}
	return &Server{config: config}
}

type contextKey struct{}

// PeerID returns the SPIFFE ID of the peer that made the request of ctx.
func PeerID(ctx context.Context) (spiffeid.ID, bool) {
	c, ok := ctx.Value(contextKey{}).(*connection)
	if !ok || c == nil {
		return spiffeid.ID{}, false
	}
	return c.peer, true
}

// Serve answers the peers that connect to inner until ctx ends, then lets the
// requests in flight finish within the grace period and returns nil. It closes
// inner. It returns an error when it cannot continue.
func (s *Server) Serve(ctx context.Context, inner net.Listener) error {
	log, limits := s.config.Log, s.config.Limits
	l := newListener(inner, s.config.Identity, s.config.Peers, limits, log)
	defer l.Close() //nolint:errcheck // already closed, unless serving failed, which is the error then

	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler:           s.bounded(s.config.Handler),
		ReadHeaderTimeout: limits.ReadTimeout,
		ReadTimeout:       limits.ReadTimeout,
		WriteTimeout:      limits.WriteTimeout,
		IdleTimeout:       limits.IdleTimeout,
		MaxHeaderBytes:    limits.HeaderBytes,
		Protocols:         protocols,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, contextKey{}, l.open.lookup(conn))
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateActive:
				l.open.active(conn)
			case http.StateIdle:
				l.open.idle(conn)
			case http.StateClosed, http.StateHijacked:
				l.open.remove(conn)
			}
		},
		DisableGeneralOptionsHandler: true,
	}
	log.Info("serving", "address", inner.Addr().String(), "authorized", s.config.Peers.String())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", inner.Addr(), err)
	case <-ctx.Done():
	}

	log.Info("stopping", "grace_period", s.config.GracePeriod.String(), "connections", l.open.count())
	begun := time.Now()
	grace, cancel := context.WithTimeout(context.Background(), s.config.GracePeriod)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("grace period over; closing the remaining connections", "connections", l.open.count())
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop serving on %s: %w", inner.Addr(), err)
	}
	log.Info("stopped", "took_ms", time.Since(begun).Milliseconds())
	return nil
}

// bounded serves requests only while the SVIDs that authenticated the
// connection are valid, and ends the connection before they expire.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(contextKey{}).(*connection)
		if !ok || c == nil { // closed in the meantime
			w.Header().Set("Connection", "close")
			http.Error(w, "not authenticated", http.StatusForbidden)
			return
		}
		now := time.Now()
		if now.After(c.expires) {
			s.config.Log.Warn("peer refused",
				"reason", string(ReasonExpired), "peer", c.peer.String(), "remote", r.RemoteAddr,
				"error", "an SVID that authenticated this connection expired at "+c.expires.UTC().Format(time.RFC3339))
			w.Header().Set("Connection", "close")
			http.Error(w, "identity expired; reconnect", http.StatusForbidden)
			return
		}
		if c.ending(now) {
			w.Header().Set("Connection", "close")
		}
		if s.config.Log.Enabled(r.Context(), slog.LevelDebug) { // the arguments cost more than the answer
			s.config.Log.Debug("request", "peer", c.peer.String(), "method", r.Method, "path", r.URL.Path)
		}
		next.ServeHTTP(w, r)
	})
}

// Answer is the JSON body of [Handler]'s answer.
type Answer struct {
	// SPIFFEID is the caller's.
	SPIFFEID string `json:"spiffe_id"`
}

// Handler answers GET / and HEAD / with the caller's SPIFFE ID.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		id, ok := PeerID(r.Context())
		if !ok {
			http.Error(w, "not authenticated", http.StatusForbidden)
			return
		}
		body, err := json.Marshal(Answer{SPIFFEID: id.String()})
		if err != nil {
			http.Error(w, "cannot answer", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n'))
	})
	return mux
}
