package mtls

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// environment is the minimal environment of the server, with changes:
// NAME=value sets a variable, NAME removes it.
func environment(changes ...string) Lookup {
	values := map[string]string{
		"SPIFFE_ENDPOINT_SOCKET": "unix:///spiffe-workload-api/api.sock",
		"AUTHORIZED_SPIFFE_IDS":  "spiffe://example.org/client",
	}
	for _, change := range changes {
		name, value, set := strings.Cut(change, "=")
		delete(values, name)
		if set {
			values[name] = value
		}
	}
	return func(name string) (string, bool) {
		value, set := values[name]
		return value, set
	}
}

func TestReadServerSettingsFillsInDefaults(t *testing.T) {
	t.Parallel()
	got, err := ReadServerSettings(environment())
	require.NoError(t, err)
	assert.Equal(t, ServerSettings{
		Settings: Settings{
			Socket:   "unix:///spiffe-workload-api/api.sock",
			Peers:    Peers{IDs: []spiffeid.ID{spiffeid.RequireFromString("spiffe://example.org/client")}},
			LogLevel: slog.LevelInfo,
		},
		Address: ":8443", GracePeriod: 20 * time.Second, Limits: DefaultLimits(),
	}, got)
}

func TestReadServerSettingsReadsEverySetting(t *testing.T) {
	t.Parallel()
	got, err := ReadServerSettings(environment(
		"SPIFFE_ENDPOINT_SOCKET=tcp://127.0.0.1:8081",
		"AUTHORIZED_SPIFFE_IDS=spiffe://example.org/a, spiffe://example.org/b",
		"AUTHORIZED_PATH_PREFIXES=spiffe://example.org/ns/prod",
		"AUTHORIZED_TRUST_DOMAINS=elsewhere.test",
		"SERVER_ADDRESS=127.0.0.1:9000", "SHUTDOWN_GRACE_PERIOD=0s", "LOG_LEVEL=debug",
		"MAX_CONNECTIONS=10", "MAX_CONNECTIONS_PER_PEER=5", "MAX_PENDING_HANDSHAKES=3", "MAX_HEADER_BYTES=2048",
		"HANDSHAKE_TIMEOUT=1s", "READ_TIMEOUT=2s", "WRITE_TIMEOUT=3s", "IDLE_TIMEOUT=4s"))
	require.NoError(t, err)
	assert.Equal(t, ServerSettings{
		Settings: Settings{
			Socket: "tcp://127.0.0.1:8081",
			Peers: Peers{
				IDs:          []spiffeid.ID{spiffeid.RequireFromString("spiffe://example.org/a"), spiffeid.RequireFromString("spiffe://example.org/b")},
				PathPrefixes: []spiffeid.ID{spiffeid.RequireFromString("spiffe://example.org/ns/prod")},
				TrustDomains: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("elsewhere.test")},
			},
			LogLevel: slog.LevelDebug,
		},
		Address: "127.0.0.1:9000",
		Limits: Limits{
			Connections: 10, ConnectionsPerPeer: 5, PendingHandshakes: 3, HeaderBytes: 2048,
			HandshakeTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 3 * time.Second, IdleTimeout: 4 * time.Second,
		},
	}, got)
}

func TestReadServerSettingsReportsInvalidValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ change, want string }{
		{"SPIFFE_ENDPOINT_SOCKET", `SPIFFE_ENDPOINT_SOCKET is "": must be the address of the Workload API`},
		{"SPIFFE_ENDPOINT_SOCKET=/run/api.sock", `SPIFFE_ENDPOINT_SOCKET is "/run/api.sock": must be`},
		{"AUTHORIZED_SPIFFE_IDS", "none of AUTHORIZED_SPIFFE_IDS, AUTHORIZED_PATH_PREFIXES and AUTHORIZED_TRUST_DOMAINS is set"},
		{"AUTHORIZED_SPIFFE_IDS=", "none of AUTHORIZED_SPIFFE_IDS, AUTHORIZED_PATH_PREFIXES and AUTHORIZED_TRUST_DOMAINS is set"},
		{"AUTHORIZED_SPIFFE_IDS=example.org/client", `AUTHORIZED_SPIFFE_IDS is "example.org/client": must be a comma-separated list of SPIFFE IDs`},
		{"AUTHORIZED_SPIFFE_IDS=spiffe://example.org/a,", `AUTHORIZED_SPIFFE_IDS is "": must be`},
		{"AUTHORIZED_PATH_PREFIXES=spiffe://example.org", `AUTHORIZED_PATH_PREFIXES is "spiffe://example.org": must be a SPIFFE ID with a path; a whole trust domain belongs in AUTHORIZED_TRUST_DOMAINS`},
		{"AUTHORIZED_PATH_PREFIXES=spiffe://example.org/ns/", `AUTHORIZED_PATH_PREFIXES is "spiffe://example.org/ns/": must be`},
		{"AUTHORIZED_TRUST_DOMAINS=Example.org", `AUTHORIZED_TRUST_DOMAINS is "Example.org": must be a comma-separated list of trust domains`},
		{"AUTHORIZED_TRUST_DOMAINS=spiffe://example.org/client", `AUTHORIZED_TRUST_DOMAINS is "spiffe://example.org/client": must be a trust domain without scheme and path, such as example.org`},
		{"SERVER_ADDRESS=8443", `SERVER_ADDRESS is "8443": must be host:port, such as :8443`},
		{"SERVER_ADDRESS=", `SERVER_ADDRESS is "": must be host:port`},
		{"SERVER_ADDRESS=:0", `SERVER_ADDRESS is ":0": must be host:port, such as :8443 (its port must be a number from 1 to 65535)`},
		{"SERVER_ADDRESS=:70000", `SERVER_ADDRESS is ":70000": must be`},
		{"SERVER_ADDRESS=:https", `SERVER_ADDRESS is ":https": must be`},
		{"SHUTDOWN_GRACE_PERIOD=20", `SHUTDOWN_GRACE_PERIOD is "20": must be a duration from 0s to 1h0m0s, such as 10s`},
		{"SHUTDOWN_GRACE_PERIOD=-1s", `SHUTDOWN_GRACE_PERIOD is "-1s": must be`},
		{"MAX_CONNECTIONS=0", `MAX_CONNECTIONS is "0": must be a whole number from 1 to 100000`},
		{"MAX_CONNECTIONS_PER_PEER=2000", `MAX_CONNECTIONS_PER_PEER is "2000": must be at most MAX_CONNECTIONS, which is 512`},
		{"MAX_PENDING_HANDSHAKES=many", `MAX_PENDING_HANDSHAKES is "many": must be a whole number`},
		{"MAX_HEADER_BYTES=10", `MAX_HEADER_BYTES is "10": must be a whole number from 1024 to 1048576`},
		{"HANDSHAKE_TIMEOUT=0s", `HANDSHAKE_TIMEOUT is "0s": must be a duration from 1ms to 1h0m0s`},
		{"READ_TIMEOUT=x", `READ_TIMEOUT is "x": must be a duration`},
		{"WRITE_TIMEOUT=", `WRITE_TIMEOUT is "": must be a duration`},
		{"IDLE_TIMEOUT=2h", `IDLE_TIMEOUT is "2h": must be a duration`},
		{"LOG_LEVEL=verbose", `LOG_LEVEL is "verbose": must be one of debug, info, warn, error`},
	} {
		t.Run(test.change, func(t *testing.T) {
			t.Parallel()
			_, err := ReadServerSettings(environment(test.change))
			require.ErrorContains(t, err, test.want)
			assert.Equal(t, 1, strings.Count(err.Error(), "\n")+1, "one line per error: %v", err)
		})
	}

	t.Run("all errors at once", func(t *testing.T) {
		t.Parallel()
		_, err := ReadServerSettings(environment("SERVER_ADDRESS=x", "READ_TIMEOUT=x", "LOG_LEVEL=x"))
		for _, name := range []string{"SERVER_ADDRESS", "READ_TIMEOUT", "LOG_LEVEL"} {
			require.ErrorContains(t, err, name+` is "x"`)
		}
	})

	t.Run("fewer connections than the default for one peer are valid", func(t *testing.T) {
		t.Parallel()
		got, err := ReadServerSettings(environment("MAX_CONNECTIONS=10"))
		require.NoError(t, err)
		assert.Equal(t, 10, got.Limits.ConnectionsPerPeer)
	})
}

func TestPeersAuthorize(t *testing.T) {
	t.Parallel()
	peers := Peers{
		IDs:          []spiffeid.ID{spiffeid.RequireFromString("spiffe://example.org/client")},
		PathPrefixes: []spiffeid.ID{spiffeid.RequireFromString("spiffe://example.org/ns/prod")},
		TrustDomains: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("partner.test")},
	}
	for id, allowed := range map[string]bool{
		"spiffe://example.org/client":           true,
		"spiffe://example.org/client/more":      false,
		"spiffe://example.org/Client":           false,
		"spiffe://example.org":                  false,
		"spiffe://other.test/client":            false,
		"spiffe://example.org/ns/prod":          true,
		"spiffe://example.org/ns/prod/sa/web":   true,
		"spiffe://example.org/ns/production":    false,
		"spiffe://example.org/ns":               false,
		"spiffe://other.test/ns/prod/sa/web":    false,
		"spiffe://partner.test/anything/at/all": true,
		"spiffe://partner.test":                 true,
		"spiffe://sub.partner.test/x":           false,
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			parsed := spiffeid.RequireFromString(id)
			assert.Equal(t, allowed, peers.Authorize(parsed) == nil)
			require.Error(t, Peers{}.Authorize(parsed), "no Peers authorise nobody")
		})
	}
	assert.Equal(t, "spiffe://example.org/client,spiffe://example.org/ns/prod/**,spiffe://partner.test/**", peers.String())
	assert.True(t, Peers{}.Empty())
	assert.False(t, peers.Empty())
}
