package mtls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientDistinguishesOutcomes(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "example.org")
	answer := func(status int, body string) func(*ServerConfig) {
		return func(c *ServerConfig) {
			c.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if status == http.StatusFound {
					w.Header().Set("Location", "https://elsewhere.test/")
				}
				w.WriteHeader(status)
				_, _ = fmt.Fprint(w, body) // to a test
			})
		}
	}
	for _, test := range []struct {
		name   string
		server func(*ServerConfig)
		client func(*ClientConfig)
		want   Outcome
	}{
		{"served", nil, nil, OutcomeOK},
		{"this client is not authorised", func(c *ServerConfig) { c.Peers.IDs[0] = spiffeid.RequireFromPath(a.domain, "/x") }, nil, OutcomeRefused},
		{"the server is not authorised", nil, func(c *ClientConfig) { c.Peers = Peers{} }, OutcomeRefused},
		{"the server answers forbidden", answer(http.StatusForbidden, ""), nil, OutcomeRefused},
		{"the server answers unauthorized", answer(http.StatusUnauthorized, ""), nil, OutcomeRefused},
		{"another status", answer(http.StatusTeapot, ""), nil, OutcomeFailed},
		{"a redirect is not followed", answer(http.StatusFound, ""), nil, OutcomeFailed},
		{"not JSON", answer(http.StatusOK, "hello"), nil, OutcomeFailed},
		{"another's ID", answer(http.StatusOK, `{"spiffe_id":"spiffe://example.org/other"}`), nil, OutcomeFailed},
		{"nothing listens", nil, func(c *ClientConfig) { c.Address = closedPort(t) }, OutcomeUnreachable},
		{"no such host", nil, func(c *ClientConfig) { c.Address = "mtls-server.invalid:8443" }, OutcomeUnreachable},
		{"no answer in time", func(c *ServerConfig) {
			c.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, func(c *ClientConfig) { c.Timeout = 100 * time.Millisecond }, OutcomeUnreachable},
		{"no identity", nil, func(c *ClientConfig) { c.Identity = &staticIdentity{err: ErrIdentityExpired} }, OutcomeNoIdentity},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, a, test.server)
			_, err := s.client(t, a, a.identity("/client"), test.client).Get(t.Context())
			assert.Equal(t, test.want, OutcomeOf(err), "%v", err)
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func TestRunMakesTheLoadThatIsAskedFor(t *testing.T) {
	t.Parallel()
	ok := func(context.Context) (string, error) { return "spiffe://example.org/client", nil }

	t.Run("a count", func(t *testing.T) {
		t.Parallel()
		r := NewRecorder()
		var calls atomic.Int64
		require.NoError(t, r.Run(t.Context(), Load{Count: 100, Concurrency: 7}, ok, func(o Outcome, err error) {
			calls.Add(1)
			assert.Equal(t, OutcomeOK, o)
			assert.NoError(t, err)
		}))
		got := r.Summary()
		assert.Equal(t, 100, got.Requests)
		assert.Equal(t, int64(100), calls.Load())
		assert.Equal(t, map[Outcome]int{OutcomeOK: 100}, got.Outcomes)
		assert.Equal(t, "spiffe://example.org/client", got.SPIFFEID)
		assert.Empty(t, got.FirstFailure)
	})

	t.Run("a rate for a time", func(t *testing.T) {
		t.Parallel()
		r := NewRecorder()
		require.NoError(t, r.Run(t.Context(), Load{Rate: 100, Duration: time.Second, Concurrency: 2}, ok, nil))
		assert.InDelta(t, 100, r.Summary().Requests, 10)
		assert.InDelta(t, 1, r.Summary().Seconds, 0.3)
	})

	t.Run("until ctx ends, without counting the request that this interrupts", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		r := NewRecorder()
		n := 0
		require.NoError(t, r.Run(ctx, Load{Concurrency: 1}, func(ctx context.Context) (string, error) {
			if n++; n == 3 {
				cancel()
				return "", ctx.Err()
			}
			return "id", nil
		}, nil))
		assert.Equal(t, map[Outcome]int{OutcomeOK: 2}, r.Summary().Outcomes)
	})

	t.Run("and keeps the first failure", func(t *testing.T) {
		t.Parallel()
		r := NewRecorder()
		failures := []error{nil, ErrNoIdentity, errors.New("connection reset"), nil}
		n := -1
		require.NoError(t, r.Run(t.Context(), Load{Count: 4, Concurrency: 1}, func(context.Context) (string, error) {
			n++
			return "id", failures[n]
		}, nil))
		got := r.Summary()
		assert.Equal(t, OutcomeNoIdentity, got.FirstFailure)
		assert.Equal(t, "no identity", got.FirstError)
		assert.Equal(t, map[Outcome]int{OutcomeOK: 2, OutcomeNoIdentity: 1, OutcomeUnreachable: 1}, got.Outcomes)
	})

	t.Run("an impossible load is an error", func(t *testing.T) {
		t.Parallel()
		for _, load := range []Load{{Rate: -1, Concurrency: 1}, {Count: -1, Concurrency: 1}, {Duration: -1, Concurrency: 1}, {Count: 1}} {
			require.Error(t, NewRecorder().Run(t.Context(), load, ok, nil))
		}
	})
}

func TestLatencyIsExactToFivePercent(t *testing.T) {
	t.Parallel()
	r := NewRecorder()
	for i := 1; i <= 1000; i++ {
		r.Add("id", time.Duration(i)*time.Millisecond, nil)
	}
	r.Add("", time.Hour, errors.New("failures have no part in it"))
	got := r.Summary().Latency
	assert.InDelta(t, 1, got.Min, 0)
	assert.InDelta(t, 500.5, got.Mean, 0.001)
	assert.InEpsilon(t, 500, got.P50, 0.05)
	assert.InEpsilon(t, 900, got.P90, 0.05)
	assert.InEpsilon(t, 990, got.P99, 0.05)
	assert.InDelta(t, 1000, got.Max, 0)
	assert.Equal(t, Latency{}, NewRecorder().Summary().Latency)
}

func TestRetriesBackOffToOneSecond(t *testing.T) {
	t.Parallel()
	b := quickBackoff{}.NewBackoff()
	var total time.Duration
	for range 5 {
		total += b.Next()
	}
	assert.Less(t, total, 2*time.Second, "five tries within two seconds")
	for range 10 {
		assert.LessOrEqual(t, b.Next(), time.Second)
	}
	b.Reset()
	assert.Equal(t, 100*time.Millisecond, b.Next())
}
