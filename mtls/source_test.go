package mtls

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// agent is a Workload API that streams the SVIDs it is given.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer

	authority *authority
	svids     chan *x509svid.SVID
}

// FetchX509SVID implements the Workload API.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	for {
		select {
		case svid := <-a.svids:
			key, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey)
			if err != nil {
				return err
			}
			err = stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
				SpiffeId: svid.ID.String(), X509Svid: svid.Certificates[0].Raw, X509SvidKey: key, Bundle: a.authority.cert.Raw,
			}}})
			if err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// startAgent serves the Workload API and returns its address.
func startAgent(t *testing.T) (*agent, string) {
	t.Helper()
	a := &agent{authority: newAuthority(t, "example.org"), svids: make(chan *x509svid.SVID, 8)}
	path := filepath.Join(t.TempDir(), "s")
	inner, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	go func() { _ = server.Serve(inner) }()
	t.Cleanup(server.Stop)
	return a, "unix://" + path
}

func TestSourceDoesNotOpenWithAnSVIDThatIsNotValidNow(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		from, to        time.Duration // of the validity, from now
		want            string
		notYet, expired bool
	}{
		{"expired", -time.Hour, -time.Minute, "has expired: spiffe://example.org/server, at ", false, true},
		{"not valid yet", time.Hour, 2 * time.Hour, "is not valid yet: spiffe://example.org/server, before ", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, socket := startAgent(t)
			log := &logBuffer{}
			a.svids <- a.authority.issue("/server", time.Now().Add(tt.from), time.Now().Add(tt.to))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := OpenSource(ctx, socket, slog.New(slog.NewJSONHandler(log, nil)))
			require.ErrorIs(t, err, ErrNoIdentity)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, OutcomeNoIdentity, OutcomeOf(err))
			if tt.notYet {
				require.ErrorIs(t, err, ErrIdentityNotYetValid)
			}
			if tt.expired {
				require.ErrorIs(t, err, ErrIdentityExpired)
			}
			assert.Empty(t, log.with("msg", "identity received"))
			assert.Equal(t, "the SVID is not valid now", log.with("msg", "still waiting for an identity")[0]["cause"])
		})
	}
}

func TestSourceOpensAsSoonAsItsSVIDIsValid(t *testing.T) {
	t.Parallel()
	begins := time.Now().Truncate(time.Second).Add(2 * time.Second) // certificates have whole seconds
	for name, svids := range map[string]func(a *authority) []*x509svid.SVID{
		"when the SVID becomes valid": func(a *authority) []*x509svid.SVID {
			return []*x509svid.SVID{a.issue("/server", begins, begins.Add(time.Hour))}
		},
		"when a valid one follows": func(a *authority) []*x509svid.SVID {
			return []*x509svid.SVID{
				a.issue("/server", time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)),
				a.issue("/server", time.Now().Add(-time.Minute), time.Now().Add(time.Hour)),
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, socket := startAgent(t)
			log := &logBuffer{}
			list := svids(a.authority)
			for _, svid := range list {
				a.svids <- svid
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			source, err := OpenSource(ctx, socket, slog.New(slog.NewJSONHandler(log, nil)))
			require.NoError(t, err)
			defer source.Close()
			got, err := source.GetX509SVID()
			require.NoError(t, err)
			last := list[len(list)-1]
			assert.Equal(t, last.Certificates[0].SerialNumber, got.Certificates[0].SerialNumber)
			assert.False(t, time.Now().Before(last.Certificates[0].NotBefore))
			assert.Len(t, log.with("msg", "identity received"), 1)
		})
	}
}

func TestRotationToAnSVIDThatIsNotValidYetKeepsTheOldOneUntilThen(t *testing.T) {
	t.Parallel()
	a, socket := startAgent(t)
	first := a.authority.issue("/server", time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	a.svids <- first
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	source, err := OpenSource(ctx, socket, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer source.Close()
	updated := make(chan struct{}, 1)
	source.OnUpdate(func() { updated <- struct{}{} })
	begins := time.Now().Truncate(time.Second).Add(3 * time.Second)
	next := a.authority.issue("/server", begins, begins.Add(time.Hour))
	a.svids <- next
	<-updated
	got, err := source.GetX509SVID()
	require.NoError(t, err)
	assert.Equal(t, first.Certificates[0].SerialNumber, got.Certificates[0].SerialNumber)
	require.Eventually(t, func() bool {
		got, err = source.GetX509SVID()
		return err == nil && got.Certificates[0].SerialNumber.Cmp(next.Certificates[0].SerialNumber) == 0
	}, 10*time.Second, 10*time.Millisecond)
	assert.False(t, time.Now().Before(begins))
}
