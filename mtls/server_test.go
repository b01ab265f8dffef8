package mtls

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// running is a server under test.
type running struct {
	address string
	log     *logBuffer
	stop    func() error // stops the server and waits for its end
}

// start runs a server with a usual configuration, modified by change.
func start(tb testing.TB, a *authority, change func(*ServerConfig)) *running {
	tb.Helper()
	log := &logBuffer{}
	config := ServerConfig{
		Identity:    a.identity("/server"),
		Peers:       Peers{IDs: []spiffeid.ID{spiffeid.RequireFromPath(a.domain, "/client")}},
		Limits:      DefaultLimits(),
		GracePeriod: 5 * time.Second,
		Log:         slog.New(slog.NewJSONHandler(log, nil)),
	}
	if change != nil {
		change(&config)
	}
	inner, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(config).Serve(ctx, inner) }()
	var once sync.Once
	var result error
	stop := func() error {
		once.Do(func() {
			cancel()
			result = <-done
		})
		return result
	}
	tb.Cleanup(func() { require.NoError(tb, stop()) })
	return &running{address: inner.Addr().String(), log: log, stop: stop}
}

// client returns a client that trusts a.
func (r *running) client(tb testing.TB, a *authority, identity Identity, change func(*ClientConfig)) *Client {
	tb.Helper()
	config := ClientConfig{
		Identity: identity, Peers: Peers{TrustDomains: []spiffeid.TrustDomain{a.domain}},
		Address: r.address, Timeout: 5 * time.Second,
	}
	if change != nil {
		change(&config)
	}
	client := NewClient(config)
	tb.Cleanup(client.Close)
	return client
}

// anyServer is the TLS configuration of a peer that presents svid, if any, and
// accepts any server.
func anyServer(svid *x509svid.SVID) *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if svid != nil {
		config.GetClientCertificate = tlsconfig.GetClientCertificate(svid)
	}
	return config
}

// talk opens a TLS connection, sends a request and returns the answer.
func talk(address string, config *tls.Config) (string, error) {
	raw, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return "", err
	}
	defer raw.Close() //nolint:errcheck // a test's connection
	_ = raw.SetDeadline(time.Now().Add(3 * time.Second))
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

func TestServerAnswersAnAuthorisedPeerWithItsID(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")
	s := start(t, a, nil)
	client := s.client(t, a, a.identity("/client"), nil)
	for range 3 {
		id, err := client.Get(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "spiffe://example.org/client", id)
	}
	entries := s.log.with("msg", "peer accepted")
	require.Len(t, entries, 1, "three requests on one connection")
	assert.Equal(t, "spiffe://example.org/client", entries[0]["peer"])
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t, "example.org"), newAuthority(t, "elsewhere.test")
	impostor := newAuthority(t, "example.org")
	now := time.Now()
	hour := func(a *authority, path string) *x509svid.SVID {
		return a.issue(path, now.Add(-time.Hour), now.Add(time.Hour))
	}
	only12 := anyServer(hour(a, "/client"))
	only12.MaxVersion = tls.VersionTLS12
	h2 := anyServer(hour(a, "/client"))
	h2.NextProtos = []string{"h2"}

	for _, test := range []struct {
		name   string
		config *tls.Config
		reason Reason
		peer   string
		alert  string
	}{
		{"an ID that is not authorised", anyServer(hour(a, "/stranger")), ReasonNotAuthorized, "spiffe://example.org/stranger", "bad certificate"},
		{"an ID below an authorised one", anyServer(hour(a, "/client/more")), ReasonNotAuthorized, "spiffe://example.org/client/more", "bad certificate"},
		{"another trust domain", anyServer(hour(other, "/client")), ReasonUnknownTrustDomain, "spiffe://elsewhere.test/client", "bad certificate"},
		{"the trust domain's name from another authority", anyServer(hour(impostor, "/client")), ReasonUntrusted, "spiffe://example.org/client", "bad certificate"},
		{"no certificate", anyServer(nil), ReasonNoCertificate, "", "certificate required"},
		{"an expired SVID", anyServer(a.issue("/client", now.Add(-time.Hour), now.Add(-time.Second))), ReasonExpired, "spiffe://example.org/client", "bad certificate"},
		{"an SVID that is not valid yet", anyServer(a.issue("/client", now.Add(time.Hour), now.Add(2*time.Hour))), ReasonNotYetValid, "spiffe://example.org/client", "bad certificate"},
		{"a certificate without SPIFFE ID", anyServer(hour(a, "")), ReasonNoSPIFFEID, "", "bad certificate"},
		{"a peer that speaks at most TLS 1.2", only12, ReasonTLSVersion, "", "protocol version"},
		{"a peer that speaks only HTTP/2", h2, ReasonProtocol, "", "no application protocol"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, a, nil)
			begun := time.Now()
			answer, err := talk(s.address, test.config)
			require.ErrorContains(t, err, "remote error: tls: "+test.alert)
			assert.Empty(t, answer)
			assert.Less(t, time.Since(begun), 2*time.Second)
			s.log.requireRefusal(t, test.reason, test.peer)
			assert.Empty(t, s.log.with("msg", "peer accepted"))
		})
	}

	t.Run("plain HTTP, with an answer that says why", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		response, err := http.Get("http://" + s.address + "/")
		require.NoError(t, err)
		defer response.Body.Close() //nolint:errcheck // read to its end
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		assert.Contains(t, string(body), "mutual TLS")
		s.log.requireRefusal(t, ReasonPlainHTTP, "")
	})

	t.Run("a protocol that is neither TLS nor HTTP", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		conn := dial(t, s.address)
		_, err := io.WriteString(conn, "SSH-2.0-OpenSSH_9.6\r\n")
		require.NoError(t, err)
		_, err = io.ReadAll(conn)
		require.NoError(t, err)
		s.log.requireRefusal(t, ReasonNotTLS, "")
	})

	t.Run("a peer that says nothing, after the handshake timeout", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) { c.Limits.HandshakeTimeout = 50 * time.Millisecond })
		conn := dial(t, s.address)
		_, err := io.ReadAll(conn)
		require.NoError(t, err)
		s.log.requireRefusal(t, ReasonTimeout, "")
	})

	t.Run("a peer whose handshake is too large", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		huge := hour(a, "/client")
		for range 100 {
			huge.Certificates = append(huge.Certificates, a.cert)
		}
		answer, _ := talk(s.address, anyServer(huge))
		assert.Empty(t, answer)
		s.log.requireRefusal(t, ReasonTooLarge, "")
	})

	t.Run("a peer that keeps writing, which still receives the alert", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		_, conn := keepAlive(t, s.address, hour(a, "/stranger"))
		for range 3 { // a closed connection would fail the second
			time.Sleep(20 * time.Millisecond)
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\n")
			require.NoError(t, err)
		}
		_, err := conn.Read(make([]byte, 1))
		require.ErrorContains(t, err, "remote error: tls: bad certificate")
	})

	t.Run("everybody while its own identity has expired", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) {
			c.Identity = &staticIdentity{err: fmt.Errorf("%w: at noon", ErrIdentityExpired), bundle: x509bundle.NewSet(a.bundle)}
		})
		_, err := talk(s.address, anyServer(hour(a, "/client")))
		require.Error(t, err)
		s.log.requireRefusal(t, ReasonOwnIdentity, "")
	})

	t.Run("and logs a peer that refuses the server", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		client := s.client(t, a, a.identity("/client"), func(c *ClientConfig) {
			c.Peers = Peers{IDs: []spiffeid.ID{spiffeid.RequireFromPath(a.domain, "/another-server")}}
		})
		_, err := client.Get(t.Context())
		assert.Equal(t, OutcomeRefused, OutcomeOf(err))
		require.ErrorContains(t, err, "spiffe://example.org/server refused (not_authorized)")
		s.log.requireRefusal(t, ReasonRefusedByPeer, "")
	})
}

func TestServerNeverResumesSessions(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")
	s := start(t, a, nil)
	config := anyServer(a.identity("/client").svid)
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for range 2 {
		conn := tls.Client(dial(t, s.address), config)
		require.NoError(t, conn.Handshake())
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		_, err = io.ReadAll(conn)
		require.NoError(t, err)
		assert.False(t, conn.ConnectionState().DidResume)
	}
}

func TestNoConnectionOutlivesTheSVIDThatAuthenticatedIt(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")
	s := start(t, a, nil)

	t.Run("it is closed after an answer in the last quarter of its life", func(t *testing.T) {
		t.Parallel()
		expires := time.Now().Truncate(time.Second).Add(4 * time.Second) // certificates have whole seconds
		reader, conn := keepAlive(t, s.address, a.issue("/client", time.Now().Add(-time.Hour), expires))
		assert.False(t, ask(t, reader, conn).Close)
		time.Sleep(time.Until(expires.Add(-500 * time.Millisecond)))
		response := ask(t, reader, conn)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.True(t, response.Close)
	})

	t.Run("it is closed when idle, before its idle timeout", func(t *testing.T) {
		t.Parallel()
		reader, conn := keepAlive(t, s.address, a.issue("/client", time.Now().Add(-time.Hour), time.Now().Add(2*time.Second)))
		ask(t, reader, conn)
		begun := time.Now()
		_, err := reader.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		assert.Less(t, time.Since(begun), 3*time.Second)
	})

	t.Run("a request after expiry is refused", func(t *testing.T) {
		t.Parallel()
		c := &connection{peer: spiffeid.RequireFromPath(a.domain, "/client"), begun: time.Now().Add(-time.Hour), expires: time.Now().Add(-time.Second)}
		server := NewServer(ServerConfig{Log: slog.New(slog.DiscardHandler)})
		request, err := http.NewRequestWithContext(context.WithValue(t.Context(), contextKey{}, c), http.MethodGet, "/", http.NoBody)
		require.NoError(t, err)
		answer := &answerRecorder{header: http.Header{}}
		server.bounded(Handler()).ServeHTTP(answer, request)
		assert.Equal(t, http.StatusForbidden, answer.code)
		assert.Equal(t, "close", answer.header.Get("Connection"))
	})
}

func TestHandlerAnswersOnlyItsPath(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")
	s := start(t, a, nil)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: anyServer(a.identity("/client").svid)}}
	t.Cleanup(client.CloseIdleConnections)
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/", http.StatusOK},
		{http.MethodHead, "/", http.StatusOK},
		{http.MethodPost, "/", http.StatusMethodNotAllowed},
		{http.MethodGet, "/other", http.StatusNotFound},
		{http.MethodGet, "/?" + strings.Repeat("x", 64<<10), http.StatusRequestHeaderFieldsTooLarge},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, "https://"+s.address+test.path, http.NoBody)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, test.status, response.StatusCode, "%s %.20s", test.method, test.path)
	}
}

func TestServerStopsGracefully(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")
	slow := func(begun chan<- struct{}, takes time.Duration) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(begun)
			select {
			case <-time.After(takes):
			case <-r.Context().Done():
			}
			Handler().ServeHTTP(w, r)
		})
	}

	t.Run("a request under way is answered", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		s := start(t, a, func(c *ServerConfig) { c.Handler = slow(begun, 300*time.Millisecond) })
		client := s.client(t, a, a.identity("/client"), nil)
		result := make(chan error, 1)
		go func() {
			_, err := client.Get(context.Background())
			result <- err
		}()
		<-begun
		require.NoError(t, s.stop())
		require.NoError(t, <-result)
		_, err := client.Get(t.Context())
		assert.Equal(t, OutcomeUnreachable, OutcomeOf(err))
	})

	t.Run("a request that takes longer than the grace period is cut off", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		s := start(t, a, func(c *ServerConfig) {
			c.Handler, c.GracePeriod = slow(begun, time.Minute), 200*time.Millisecond
		})
		client := s.client(t, a, a.identity("/client"), nil)
		result := make(chan error, 1)
		go func() {
			_, err := client.Get(context.Background())
			result <- err
		}()
		<-begun
		t0 := time.Now()
		require.NoError(t, s.stop())
		assert.Equal(t, OutcomeUnreachable, OutcomeOf(<-result))
		assert.Less(t, time.Since(t0), 3*time.Second, "cut off, not timed out")
		assert.Len(t, s.log.with("msg", "grace period over; closing the remaining connections"), 1)
	})

	t.Run("half-open connections do not delay it", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		for range 10 {
			dial(t, s.address)
		}
		t0 := time.Now()
		require.NoError(t, s.stop())
		assert.Less(t, time.Since(t0), time.Second)
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")

	t.Run("the oldest pending handshake is evicted", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) { c.Limits.PendingHandshakes = 4 })
		oldest := dial(t, s.address)
		for range 4 {
			time.Sleep(10 * time.Millisecond) // accepted in this order
			dial(t, s.address)
		}
		_, err := oldest.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		s.log.requireRefusal(t, ReasonEvicted, "")
		_, err = s.client(t, a, a.identity("/client"), nil).Get(t.Context())
		require.NoError(t, err, "an honest peer is served")
	})

	t.Run("a handshake in progress is kept and silent ones are evicted", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) { c.Limits.PendingHandshakes = 4 })
		reached, goOn := make(chan struct{}), make(chan struct{})
		config := anyServer(a.identity("/client").svid)
		config.VerifyConnection = func(tls.ConnectionState) error { // the server has answered the hello by now
			close(reached)
			<-goOn
			return nil
		}
		result := make(chan string, 1)
		go func() {
			answer, err := talk(s.address, config)
			result <- fmt.Sprint(answer, err)
		}()
		<-reached
		for range 8 {
			dial(t, s.address)
		}
		require.Eventually(t, func() bool {
			return len(s.log.with("reason", string(ReasonEvicted))) == 5
		}, 3*time.Second, 5*time.Millisecond)
		close(goOn)
		assert.Contains(t, <-result, "200 OK")
	})

	t.Run("a flood from one source evicts only its own connections", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) { c.Limits.PendingHandshakes = 4 })
		bystander := dial(t, s.address)
		time.Sleep(10 * time.Millisecond) // so that it is the oldest of all
		flood := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		for range 8 {
			conn, err := flood.DialContext(t.Context(), "tcp", s.address)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() }) // perhaps closed by the server already
		}
		require.Eventually(t, func() bool {
			return len(s.log.with("reason", string(ReasonEvicted))) == 5
		}, 3*time.Second, 5*time.Millisecond)
		for _, entry := range s.log.with("reason", string(ReasonEvicted)) {
			assert.Contains(t, entry["remote"], "127.0.0.2:")
		}
		conn := tls.Client(bystander, anyServer(a.identity("/client").svid))
		require.NoError(t, conn.Handshake())
		assert.Equal(t, http.StatusOK, ask(t, bufio.NewReader(conn), conn).StatusCode)
	})

	t.Run("a peer at its limit loses its longest idle connection", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) { c.Limits.ConnectionsPerPeer = 2 })
		svid := a.identity("/client").svid
		first, firstConn := keepAlive(t, s.address, svid)
		ask(t, first, firstConn)
		time.Sleep(200 * time.Millisecond) // the answer arrives before the server notes that the connection is idle
		second, secondConn := keepAlive(t, s.address, svid)
		ask(t, second, secondConn)
		third, thirdConn := keepAlive(t, s.address, svid)
		ask(t, third, thirdConn)
		_, err := first.ReadByte()
		require.Error(t, err, "closed")
		ask(t, second, secondConn)
	})

	for _, test := range []struct {
		name   string
		change func(*Limits)
	}{
		{"a peer at its limit with busy connections is refused", func(l *Limits) { l.ConnectionsPerPeer = 2 }},
		{"a server at its limit with busy connections refuses", func(l *Limits) { l.Connections = 2 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, a, func(c *ServerConfig) {
				test.change(&c.Limits)
				c.Limits.ReadTimeout = time.Second
			})
			svid := a.identity("/client").svid
			for range 2 { // connected, and silent: busy until the read timeout
				keepAlive(t, s.address, svid)
			}
			require.Eventually(t, func() bool { return len(s.log.with("msg", "peer accepted")) == 2 }, time.Second, time.Millisecond)
			answer, err := talk(s.address, anyServer(svid))
			require.NoError(t, err)
			assert.Contains(t, answer, "503 Service Unavailable")
			s.log.requireRefusal(t, ReasonTooManyConnections, "spiffe://example.org/client")
			require.Eventually(t, func() bool {
				answer, err := talk(s.address, anyServer(svid))
				return err == nil && strings.Contains(answer, "200 OK")
			}, 5*time.Second, 50*time.Millisecond, "room again after the read timeout")
		})
	}

	t.Run("a slow peer is cut off and others are served meanwhile", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) { c.Limits.ReadTimeout = 300 * time.Millisecond })
		_, conn := keepAlive(t, s.address, a.identity("/client").svid)
		begun := time.Now()
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: ")
		require.NoError(t, err)
		_, err = s.client(t, a, a.identity("/client"), nil).Get(t.Context())
		require.NoError(t, err)
		_, _ = io.ReadAll(conn)
		assert.Less(t, time.Since(begun), 2*time.Second)
	})

	t.Run("a flood of refusals does not fill the log", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		for range 3 * refusalsPerSecond {
			conn := dial(t, s.address)
			require.NoError(t, conn.Close())
		}
		require.Eventually(t, func() bool {
			one, more := s.log.with("msg", "peer refused"), s.log.with("msg", "more peers refused")
			total := len(one)
			for _, entry := range more {
				total += int(entry["count"].(float64))
			}
			return total == 3*refusalsPerSecond && len(one) <= 2*refusalsPerSecond && len(more) > 0
		}, 5*time.Second, 20*time.Millisecond)
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")

	t.Run("passes while the server serves, and logs no peer", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		require.NoError(t, CheckHealth(t.Context(), s.address))
		_, port, err := net.SplitHostPort(s.address)
		require.NoError(t, err)
		require.NoError(t, CheckHealth(t.Context(), ":"+port), "an address without host means this host")
		assert.Empty(t, s.log.with("msg", "peer accepted"))
		assert.Empty(t, s.log.with("msg", "peer refused"))
	})

	t.Run("never reaches HTTP without a certificate", func(t *testing.T) {
		t.Parallel()
		reached := make(chan struct{}, 1)
		s := start(t, a, func(c *ServerConfig) {
			c.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} })
		})
		config := anyServer(nil)
		config.NextProtos = []string{healthProtocol}
		answer, _ := talk(s.address, config)
		assert.Empty(t, answer)
		assert.Empty(t, reached)
	})

	t.Run("does not replace the certificate when offered together with HTTP", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		config := anyServer(nil)
		config.NextProtos = []string{healthProtocol, "http/1.1"}
		_, err := talk(s.address, config)
		require.ErrorContains(t, err, "certificate required")
	})

	t.Run("fails when the server's SVID has expired", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, func(c *ServerConfig) {
			c.Identity = &staticIdentity{svid: a.issue("/server", time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)), bundle: x509bundle.NewSet(a.bundle)}
		})
		require.ErrorContains(t, CheckHealth(t.Context(), s.address), "not now")
	})

	t.Run("fails when nothing listens", func(t *testing.T) {
		t.Parallel()
		s := start(t, a, nil)
		require.NoError(t, s.stop())
		require.ErrorContains(t, CheckHealth(t.Context(), s.address), "connection refused")
	})

	t.Run("fails when another program listens", func(t *testing.T) {
		t.Parallel()
		inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, GetCertificate: tlsconfig.GetCertificate(a.identity("/server").svid),
		}}
		go server.ServeTLS(inner, "", "")        //nolint:errcheck // ends with Close
		t.Cleanup(func() { _ = server.Close() }) // nothing to lose
		require.Error(t, CheckHealth(t.Context(), inner.Addr().String()))
	})
}

// logBuffer collects JSON log lines.
type logBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data.Write(p)
}

// with returns the entries with this key and value.
func (l *logBuffer) with(key, value string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range bytes.Lines(l.data.Bytes()) {
		var entry map[string]any
		if json.Unmarshal(line, &entry) == nil && entry[key] == value {
			found = append(found, entry)
		}
	}
	return found
}

// requireRefusal expects exactly one refusal in the log, with this reason.
func (l *logBuffer) requireRefusal(t *testing.T, reason Reason, peer string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(l.with("msg", "peer refused")) > 0 }, 3*time.Second, 5*time.Millisecond)
	entries := l.with("msg", "peer refused")
	require.Len(t, entries, 1)
	assert.Equal(t, string(reason), entries[0]["reason"], "%v", entries[0])
	if peer == "" {
		assert.NotContains(t, entries[0], "peer")
	} else {
		assert.Equal(t, peer, entries[0]["peer"])
	}
	assert.NotEmpty(t, entries[0]["remote"])
	assert.NotEmpty(t, entries[0]["error"])
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, time.Second)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = conn.Close() }) // closed already, perhaps
	return conn
}

// keepAlive opens a TLS connection for several requests.
func keepAlive(t *testing.T, address string, svid *x509svid.SVID) (*bufio.Reader, net.Conn) {
	t.Helper()
	conn := tls.Client(dial(t, address), anyServer(svid))
	require.NoError(t, conn.Handshake())
	return bufio.NewReader(conn), conn
}

// ask makes one request on a connection that is kept.
func ask(t *testing.T, reader *bufio.Reader, conn net.Conn) *http.Response {
	t.Helper()
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response
}

// answerRecorder is a http.ResponseWriter.
type answerRecorder struct {
	header http.Header
	code   int
}

func (a *answerRecorder) Header() http.Header         { return a.header }
func (a *answerRecorder) Write(p []byte) (int, error) { return len(p), nil }
func (a *answerRecorder) WriteHeader(code int)        { a.code = code }

func TestSourceOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"10.1.2.3:99":            "10.1.2.3/32",
		"[::ffff:10.1.2.3]:99":   "10.1.2.3/32",
		"[2001:db8:1:2:3::4]:99": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:99":      "fe80::/64",
	} {
		assert.Equal(t, want, sourceOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))).String())
	}
	assert.False(t, sourceOf(&net.UnixAddr{}).IsValid())
}

// addressed is a connection that only has addresses.
type addressed struct {
	net.Conn
	local, remote string
}

func (a addressed) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.local))
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.remote))
}

func TestHealthCheckIsOnlyForThisHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		local, remote string
		want          bool
	}{
		{"127.0.0.1:8443", "127.0.0.1:5000", true},
		{"[::1]:8443", "[::1]:5000", true},
		{"10.0.0.1:8443", "10.0.0.1:5000", true},
		{"10.0.0.1:8443", "10.0.0.2:5000", false},
		{"[2001:db8::1]:8443", "[2001:db8::2]:5000", false},
	} {
		assert.Equal(t, test.want, fromThisHost(addressed{local: test.local, remote: test.remote}), "%v", test)
	}
}

func TestNoConnectionIsEvictedBeforeItWasRead(t *testing.T) {
	t.Parallel()
	limits := DefaultLimits()
	limits.PendingHandshakes = 2
	h := newHandshakes(limits)
	conn := func() net.Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { _, _ = here.Close(), there.Close() }) // closed already, perhaps
		return addressed{Conn: here, local: "10.0.0.1:8443", remote: "10.0.0.2:5000"}
	}
	first, second := h.add(conn()), h.add(conn())
	assert.False(t, h.evict(time.Now().Add(time.Hour)), "not read from yet")
	first.begin(time.Minute)
	second.begin(time.Minute)
	assert.False(t, h.evict(time.Now().Add(-time.Millisecond)), "read from just now")
	assert.True(t, h.evict(time.Now().Add(firstLook)))
	assert.True(t, first.evicted.Load())
	assert.False(t, second.evicted.Load())
	h.done(first) // again, as its goroutine will
	h.done(second)
	assert.Zero(t, h.count)
	assert.Empty(t, h.sources)
}
