package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leastShare is the fraction of net/http's own speed that the server must
// reach.
const leastShare = 0.9

// callerFromCertificate is the handler of both servers in the comparison.
var callerFromCertificate = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(Answer{SPIFFEID: r.TLS.PeerCertificates[0].URIs[0].String()})
	if err != nil {
		http.Error(w, "cannot answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
})

// contestants starts this package's server and net/http's own with static
// certificates, both with mutual TLS 1.3, HTTP/1.1 and no resumption.
func contestants(tb testing.TB, a *authority) map[string]string {
	tb.Helper()
	ours := start(tb, a, func(c *ServerConfig) {
		c.Handler = callerFromCertificate
		c.Log = slog.New(slog.DiscardHandler)
	})

	svid := a.identity("/server").svid
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	plain := &http.Server{
		Handler: callerFromCertificate, ReadHeaderTimeout: 10 * time.Second, Protocols: protocols, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, SessionTicketsDisabled: true,
			Certificates: []tls.Certificate{{Certificate: [][]byte{svid.Certificates[0].Raw}, PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}},
		},
	}
	inner, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	go plain.ServeTLS(inner, "", "")         //nolint:errcheck // ends with Close
	tb.Cleanup(func() { _ = plain.Close() }) // nothing to lose
	return map[string]string{"mtls": ours.address, "net-http": inner.Addr().String()}
}

// asker returns a function that makes one request.
func asker(tb testing.TB, a *authority, address string, newConnections bool) func() error {
	tb.Helper()
	svid := a.identity("/client").svid
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: newConnections, MaxIdleConnsPerHost: 16,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, InsecureSkipVerify: true,
			Certificates: []tls.Certificate{{Certificate: [][]byte{svid.Certificates[0].Raw}, PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}},
		},
	}}
	tb.Cleanup(client.CloseIdleConnections)
	return func() error {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+address+"/", http.NoBody)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close() // read to its end
		return err
	}
}

// during is the length of a round. Rounds are short and many, because the load
// of the machine changes by the second.
const during = 200 * time.Millisecond

// rate returns the requests per second of 4 goroutines in one round.
func rate(tb testing.TB, ask func() error) float64 {
	tb.Helper()
	var n, failed atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()
	for range 4 {
		wg.Go(func() {
			for time.Since(begun) < during {
				if ask() != nil {
					failed.Add(1)
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	require.Zero(tb, failed.Load())
	return float64(n.Load()) / time.Since(begun).Seconds()
}

// TestSpeedIsThatOfNetHTTP compares both servers in one run, in turns, so that
// other load on the machine affects both. docs/mtls.md has the figures.
func TestSpeedIsThatOfNetHTTP(t *testing.T) {
	if os.Getenv("SPIRE_FALCO_SOAK") != "1" {
		t.Skip("wants the machine for half a minute; SPIRE_FALCO_SOAK=1 runs it")
	}
	a := newAuthority(t, "example.org")
	servers := contestants(t, a)
	for _, kind := range []struct {
		name           string
		newConnections bool
	}{{"handshakes", true}, {"requests", false}} {
		t.Run(kind.name, func(t *testing.T) {
			ours, theirs := asker(t, a, servers["mtls"], kind.newConnections), asker(t, a, servers["net-http"], kind.newConnections)
			const rounds = 41
			rate(t, ours)
			rate(t, theirs)
			var shares, rates, bases []float64
			for i := range rounds {
				var mine, base float64
				if i%2 == 0 {
					mine, base = rate(t, ours), rate(t, theirs)
				} else {
					base, mine = rate(t, theirs), rate(t, ours)
				}
				shares, rates, bases = append(shares, mine/base), append(rates, mine), append(bases, base)
			}
			share := median(shares)
			t.Logf("%s per second: %.0f, net/http %.0f; share %.3f (medians of %d rounds)", kind.name, median(rates), median(bases), share, rounds)
			assert.GreaterOrEqual(t, share, leastShare)
		})
	}
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// BenchmarkHandshakes makes a connection for every request.
func BenchmarkHandshakes(b *testing.B) { benchmark(b, true) }

// BenchmarkRequests keeps its connections.
func BenchmarkRequests(b *testing.B) { benchmark(b, false) }

func benchmark(b *testing.B, newConnections bool) {
	b.Helper()
	a := newAuthority(b, "example.org")
	for name, address := range contestants(b, a) {
		b.Run(name, func(b *testing.B) {
			ask := asker(b, a, address, newConnections)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := ask(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
