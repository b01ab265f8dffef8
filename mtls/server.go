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

// Limits bound what peers, honest or not, can take of a server.
type Limits struct {
	// Connections may be established at the same time.
	Connections int
	// ConnectionsPerPeer may be established by one SPIFFE ID.
	ConnectionsPerPeer int
	// PendingHandshakes may be under way; one more ends the oldest.
	PendingHandshakes int
	// HeaderBytes is the largest request line with headers.
	HeaderBytes int
	// HandshakeTimeout bounds the TLS handshake from the accepted connection.
	HandshakeTimeout time.Duration
	// ReadTimeout bounds the reading of one request.
	ReadTimeout time.Duration
	// WriteTimeout bounds a request from its headers to the end of the answer.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection is kept between requests.
	IdleTimeout time.Duration
}

// DefaultLimits are made for 64 MiB, half of what the pod may use: a connection
// whose peer sends as large a header as it may takes about 50 KiB. docs/mtls.md
// has the figures.
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

// ServerConfig says how a [Server] works. Every field must be set except
// Handler.
type ServerConfig struct {
	// Identity is the server's own.
	Identity Identity
	// Peers are who is served.
	Peers Peers
	// Limits bound what they can take.
	Limits Limits
	// GracePeriod is how long requests under way may take once the server is
	// told to stop.
	GracePeriod time.Duration
	// Log receives accepted and refused peers.
	Log *slog.Logger
	// Handler answers; nil means [Handler]. [PeerID] tells it who asks.
	Handler http.Handler
}

// Server answers HTTP/1.1 over mutual TLS 1.3. HTTP/2 is left out: a small
// answer gains nothing by it, and every peer speaks HTTP/1.1.
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

// PeerID returns the SPIFFE ID of the peer whose request ctx belongs to.
func PeerID(ctx context.Context) (spiffeid.ID, bool) {
	c, ok := ctx.Value(contextKey{}).(*connection)
	if !ok || c == nil {
		return spiffeid.ID{}, false
	}
	return c.peer, true
}

// Serve answers the peers that connect to inner until ctx ends, then lets the
// requests under way end within the grace period and returns nil. It closes
// inner. It returns an error when it cannot go on.
func (s *Server) Serve(ctx context.Context, inner net.Listener) error {
	log, limits := s.config.Log, s.config.Limits
	l := newListener(inner, s.config.Identity, s.config.Peers, limits, log)
	defer l.Close() //nolint:errcheck // closed before, unless serving failed, which is then the error

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
		log.Warn("grace period over; closing what is left", "connections", l.open.count())
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop serving on %s: %w", inner.Addr(), err)
	}
	log.Info("stopped", "took_ms", time.Since(begun).Milliseconds())
	return nil
}

// bounded answers only while the SVIDs that authenticated the connection are
// valid, and ends the connection before they expire.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(contextKey{}).(*connection)
		if !ok || c == nil { // closed meanwhile
			w.Header().Set("Connection", "close")
			http.Error(w, "not authenticated", http.StatusForbidden)
			return
		}
		now := time.Now()
		if now.After(c.expires) {
			s.config.Log.Warn("peer refused", "reason", string(ReasonExpired), "peer", c.peer.String(), "remote", r.RemoteAddr,
				"error", "an SVID that authenticated this connection expired at "+c.expires.UTC().Format(time.RFC3339))
			w.Header().Set("Connection", "close")
			http.Error(w, "identity expired; connect again", http.StatusForbidden)
			return
		}
		if c.ending(now) {
			w.Header().Set("Connection", "close")
		}
		if s.config.Log.Enabled(r.Context(), slog.LevelDebug) { // or its arguments cost more than the answer
			s.config.Log.Debug("request", "peer", c.peer.String(), "method", r.Method, "path", r.URL.Path)
		}
		next.ServeHTTP(w, r)
	})
}

// Answer is what [Handler] says, as JSON.
type Answer struct {
	// SPIFFEID is the caller's.
	SPIFFEID string `json:"spiffe_id"`
}

// Handler answers GET and HEAD of / with the SPIFFE ID of the caller.
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
