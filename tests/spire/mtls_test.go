package spire_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spire-falco/mtls"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	home      = "example.org"
	elsewhere = "elsewhere.test"
)

// The exit codes of mtls-client.
const (
	exitRefused     = 3
	exitUnreachable = 4
	exitNoIdentity  = 5
)

// mtlsServer is a running mtls-server.
type mtlsServer struct {
	*process
	binary  string
	address string
}

// startServer starts mtls-server under its own path with these settings on top
// of the least ones. It is stopped with the test, gracefully.
func startServer(t *testing.T, d *domain, binary string, settings ...string) *mtlsServer {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	env := append([]string{"SPIFFE_ENDPOINT_SOCKET=" + d.socket(), "SERVER_ADDRESS=" + address}, settings...)
	s := &mtlsServer{process: startProcess(t, env, binary), binary: binary, address: address}
	t.Cleanup(func() {
		s.stop()
		assert.Zero(t, s.cmd.ProcessState.ExitCode(), "mtls-server:\n%s", s.output.String())
	})
	return s
}

// health runs the server's own health check.
func (s *mtlsServer) health(t *testing.T) int {
	t.Helper()
	return startProcess(t, []string{"SERVER_ADDRESS=" + s.address}, s.binary, "health").wait(t, 10*time.Second)
}

// waitServing waits until the health check is good.
func (s *mtlsServer) waitServing(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return s.health(t) == 0 }, 15*time.Second, 20*time.Millisecond, "%s", s.output)
}

// startClient starts mtls-client against the server.
func startClient(t *testing.T, d *domain, binary, address string, args ...string) *process {
	t.Helper()
	env := []string{"SPIFFE_ENDPOINT_SOCKET=" + d.socket(), "SERVER_ADDRESS=" + address, "AUTHORIZED_SPIFFE_IDS=spiffe://" + home + "/server"}
	return startProcess(t, env, binary, args...)
}

// summary reads what mtls-client printed.
func summary(t *testing.T, p *process) mtls.Summary {
	t.Helper()
	var s mtls.Summary
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &s), "%s", p.output)
	return s
}

// fetchSVID gets the SVID of this test from the Workload API.
func fetchSVID(t *testing.T, d *domain, id string) *x509svid.SVID {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	d.register(t, self, id)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	for {
		all, err := workloadapi.FetchX509SVIDs(ctx, workloadapi.WithAddr(d.socket()))
		for _, svid := range all {
			if svid.ID.String() == id {
				return svid
			}
		}
		require.NoError(t, ctx.Err(), "%v", err)
		time.Sleep(100 * time.Millisecond)
	}
}

// mintSVID has the SPIRE server issue an SVID for a few seconds.
func mintSVID(t *testing.T, d *domain, id string, life time.Duration) *x509svid.SVID {
	t.Helper()
	dir := t.TempDir()
	d.cli(t, "x509", "mint", "-spiffeID", id, "-ttl", life.String(), "-write", dir)
	svid, err := x509svid.Load(filepath.Join(dir, "svid.pem"), filepath.Join(dir, "key.pem"))
	require.NoError(t, err)
	return svid
}

// intruder is a peer that takes whatever the server shows, and shows svid.
func intruder(svid *x509svid.SVID) *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if svid != nil {
		config.GetClientCertificate = tlsconfig.GetClientCertificate(svid)
	}
	return config
}

// talk makes a TLS connection and a request and returns what comes back.
func talk(address string, config *tls.Config) (string, error) {
	raw, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return "", err
	}
	defer raw.Close() //nolint:errcheck // a test's connection
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
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

// requireRefusal wants a refusal in the server's log, for that reason.
func requireRefusal(t *testing.T, s *mtlsServer, reason mtls.Reason, peer string) {
	t.Helper()
	var last []map[string]any
	require.Eventually(t, func() bool {
		last = s.output.entries("peer refused")
		for _, entry := range last {
			got, _ := entry["peer"].(string)
			if entry["reason"] == string(reason) && got == peer {
				return true
			}
		}
		return false
	}, 3*time.Second, 10*time.Millisecond, "no refusal for %s of %q", reason, peer)
}

func TestPeers(t *testing.T) {
	t.Parallel()
	d := startDomain(t, home)
	server := startServer(t, d, d.program(t, binaries.server, "spiffe://example.org/server"), "AUTHORIZED_SPIFFE_IDS=spiffe://example.org/client")
	server.waitServing(t)

	t.Run("a registered client is served and told its ID", func(t *testing.T) {
		t.Parallel()
		client := startClient(t, d, d.program(t, binaries.client, "spiffe://example.org/client"), server.address)
		require.Zero(t, client.wait(t, 20*time.Second), "%s", client.output)
		got := summary(t, client)
		assert.Equal(t, "spiffe://example.org/client", got.SPIFFEID)
		assert.Equal(t, map[mtls.Outcome]int{mtls.OutcomeOK: 1}, got.Outcomes)
		assert.Positive(t, got.Latency.P50)
	})

	t.Run("an ID that is not allowed is refused", func(t *testing.T) {
		t.Parallel()
		client := startClient(t, d, d.program(t, binaries.client, "spiffe://example.org/stranger"), server.address)
		assert.Equal(t, exitRefused, client.wait(t, 20*time.Second), "%s", client.output)
		assert.Contains(t, client.output.String(), "bad certificate")
		requireRefusal(t, server, mtls.ReasonNotAuthorized, "spiffe://example.org/stranger")
	})

	t.Run("a client refuses a server of another ID", func(t *testing.T) {
		t.Parallel()
		binary := d.program(t, binaries.client, "spiffe://example.org/client")
		client := startProcess(t, []string{
			"SPIFFE_ENDPOINT_SOCKET=" + d.socket(), "SERVER_ADDRESS=" + server.address, "AUTHORIZED_SPIFFE_IDS=spiffe://example.org/another",
		}, binary)
		assert.Equal(t, exitRefused, client.wait(t, 20*time.Second), "%s", client.output)
		assert.Contains(t, client.output.String(), "not_authorized")
		requireRefusal(t, server, mtls.ReasonRefusedByPeer, "")
	})

	t.Run("another trust domain is refused by the server", func(t *testing.T) {
		t.Parallel()
		other := startDomain(t, elsewhere)
		svid := fetchSVID(t, other, "spiffe://elsewhere.test/client")
		_, err := talk(server.address, intruder(svid))
		require.ErrorContains(t, err, "bad certificate")
		requireRefusal(t, server, mtls.ReasonUnknownTrustDomain, "spiffe://elsewhere.test/client")
	})

	t.Run("a client of another trust domain refuses the server", func(t *testing.T) {
		t.Parallel()
		other := startDomain(t, elsewhere)
		client := startClient(t, other, other.program(t, binaries.client, "spiffe://elsewhere.test/client"), server.address)
		assert.Equal(t, exitRefused, client.wait(t, 20*time.Second), "%s", client.output)
		assert.Contains(t, client.output.String(), "unknown_trust_domain")
	})

	t.Run("a client without certificate is refused", func(t *testing.T) {
		t.Parallel()
		_, err := talk(server.address, intruder(nil))
		require.ErrorContains(t, err, "certificate required")
		requireRefusal(t, server, mtls.ReasonNoCertificate, "")
	})

	t.Run("an SVID is accepted while it lives and refused once expired", func(t *testing.T) {
		t.Parallel()
		svid := mintSVID(t, d, "spiffe://example.org/client", 3*time.Second)
		answer, err := talk(server.address, intruder(svid))
		require.NoError(t, err)
		assert.Contains(t, answer, `{"spiffe_id":"spiffe://example.org/client"}`)
		time.Sleep(time.Until(svid.Certificates[0].NotAfter.Add(time.Second)))
		_, err = talk(server.address, intruder(svid))
		require.ErrorContains(t, err, "bad certificate")
		requireRefusal(t, server, mtls.ReasonExpired, "spiffe://example.org/client")
	})

	t.Run("plain HTTP is refused", func(t *testing.T) {
		t.Parallel()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.address+"/", http.NoBody)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		requireRefusal(t, server, mtls.ReasonPlainHTTP, "")
	})

	t.Run("TLS 1.2 is refused", func(t *testing.T) {
		t.Parallel()
		config := intruder(mintSVID(t, d, "spiffe://example.org/client", time.Minute))
		config.MaxVersion = tls.VersionTLS12
		_, err := talk(server.address, config)
		require.ErrorContains(t, err, "protocol version")
		requireRefusal(t, server, mtls.ReasonTLSVersion, "")
	})

	t.Run("no secret is in the log", func(t *testing.T) {
		t.Parallel()
		assert.NotContains(t, server.output.String(), "PRIVATE KEY")
	})
}

func TestPathPrefixesAndTrustDomains(t *testing.T) {
	t.Parallel()
	d := startDomain(t, home)
	binary := d.program(t, binaries.server, "spiffe://example.org/server")
	deep := d.program(t, binaries.client, "spiffe://example.org/ns/prod/sa/web")
	near := d.program(t, binaries.client, "spiffe://example.org/ns/production")
	for _, test := range []struct {
		setting    string
		deep, near int
	}{
		{"AUTHORIZED_PATH_PREFIXES=spiffe://example.org/ns/prod", 0, exitRefused},
		{"AUTHORIZED_TRUST_DOMAINS=example.org", 0, 0},
		{"AUTHORIZED_TRUST_DOMAINS=elsewhere.test", exitRefused, exitRefused},
	} {
		t.Run(test.setting, func(t *testing.T) {
			t.Parallel()
			server := startServer(t, d, binary, test.setting)
			server.waitServing(t)
			for client, code := range map[string]int{deep: test.deep, near: test.near} {
				p := startClient(t, d, client, server.address)
				assert.Equal(t, code, p.wait(t, 20*time.Second), "%s", p.output)
			}
		})
	}
}

func TestServerServesSoonAfterItIsRegisteredAndNotBefore(t *testing.T) {
	t.Parallel()
	d := startDomain(t, home)
	server := startServer(t, d, d.program(t, binaries.server, ""), "AUTHORIZED_TRUST_DOMAINS=example.org")
	require.Eventually(t, func() bool { return len(server.output.entries("still waiting for an identity")) > 0 }, 10*time.Second, 10*time.Millisecond)
	assert.Equal(t, "no registration entry matches this process", server.output.entries("still waiting for an identity")[0]["cause"])
	time.Sleep(3 * time.Second) // far enough for its retries to be as slow as they get
	_, err := net.DialTimeout("tcp", server.address, time.Second)
	require.ErrorContains(t, err, "connection refused")
	require.Equal(t, 1, server.health(t))

	registered := time.Now()
	d.register(t, server.binary, "spiffe://example.org/late")
	server.waitServing(t)
	took := time.Since(registered)
	t.Logf("from the registered entry to serving: %s", took.Round(time.Millisecond))
	assert.Less(t, took, 3*time.Second)
}

func TestServerStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	d := startDomain(t, home)
	server := startServer(t, d, d.program(t, binaries.server, ""), "AUTHORIZED_TRUST_DOMAINS=example.org")
	require.Eventually(t, func() bool { return len(server.output.entries("still waiting for an identity")) > 0 }, 10*time.Second, 10*time.Millisecond)
	begun := time.Now()
	server.stop()
	assert.Less(t, time.Since(begun), 2*time.Second)
}

func TestClientTellsFailuresApart(t *testing.T) {
	t.Parallel()
	d := startDomain(t, home)

	t.Run("no identity", func(t *testing.T) {
		t.Parallel()
		client := startClient(t, d, d.program(t, binaries.client, ""), "127.0.0.1:1", "-identity-timeout", "1s")
		assert.Equal(t, exitNoIdentity, client.wait(t, 10*time.Second), "%s", client.output)
		assert.Contains(t, client.output.String(), "no registration entry matches this process")
	})

	t.Run("no agent", func(t *testing.T) {
		t.Parallel()
		client := startProcess(t, []string{
			"SPIFFE_ENDPOINT_SOCKET=unix://" + filepath.Join(t.TempDir(), "absent.sock"), "SERVER_ADDRESS=127.0.0.1:1", "AUTHORIZED_TRUST_DOMAINS=example.org",
		}, binaries.client, "-identity-timeout", "1s")
		assert.Equal(t, exitNoIdentity, client.wait(t, 10*time.Second), "%s", client.output)
		assert.Contains(t, client.output.String(), "the SPIRE agent does not answer")
	})

	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()
		client := startClient(t, d, d.program(t, binaries.client, "spiffe://example.org/client"), fmt.Sprintf("127.0.0.1:%d", freePort(t)))
		assert.Equal(t, exitUnreachable, client.wait(t, 20*time.Second), "%s", client.output)
	})

	t.Run("wrong settings", func(t *testing.T) {
		t.Parallel()
		client := startProcess(t, []string{}, binaries.client)
		assert.Equal(t, 2, client.wait(t, 10*time.Second))
		assert.Contains(t, client.output.String(), "SPIFFE_ENDPOINT_SOCKET is")
	})
}

// TestRotation keeps a steady load on a server, on kept and on new
// connections, while SVIDs rotate and the agent and the SPIRE server go away
// and come back. No request may fail.
func TestRotation(t *testing.T) {
	t.Parallel()
	// A domain of its own: it is torn.
	d := startDomain(t, "rotation.test")
	server := startServer(t, d, d.program(t, binaries.server, "spiffe://rotation.test/server"), "AUTHORIZED_SPIFFE_IDS=spiffe://rotation.test/client")
	server.waitServing(t)

	rotations, away := 6, time.Second
	if soak {
		rotations, away = 60, 4*time.Second
	}
	binary := d.program(t, binaries.client, "spiffe://rotation.test/client")
	clients := map[string]*process{}
	for name, args := range map[string][]string{"kept": nil, "new": {"-new-connections"}} {
		env := []string{"SPIFFE_ENDPOINT_SOCKET=" + d.socket(), "SERVER_ADDRESS=" + server.address, "AUTHORIZED_SPIFFE_IDS=spiffe://rotation.test/server"}
		clients[name] = startProcess(t, env, binary, append(args, "-rate", "50", "-duration", "1h")...)
	}
	rotated := func(p *process) int { return len(p.output.entries("identity rotated")) }
	waitRotations := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool {
			return rotated(server.process) >= n && rotated(clients["kept"]) >= n && rotated(clients["new"]) >= n
		}, time.Duration(rotations)*svidSeconds*time.Second, 50*time.Millisecond)
	}
	begun := time.Now()
	waitRotations(rotations / 3)
	d.restartAgent(t, away)
	waitRotations(2 * rotations / 3)
	d.restartServer(t, away)
	waitRotations(rotations)

	for name, client := range clients {
		client.stop()
		require.Zero(t, client.cmd.ProcessState.ExitCode(), "%s", client.output)
		got := summary(t, client)
		t.Logf("%s connections: %d requests in %.0f s, %d rotations, latency p50 %.2f p99 %.2f max %.2f ms",
			name, got.Requests, got.Seconds, rotated(client), got.Latency.P50, got.Latency.P99, got.Latency.Max)
		assert.Equal(t, map[mtls.Outcome]int{mtls.OutcomeOK: got.Requests}, got.Outcomes)
		assert.Greater(t, float64(got.Requests), 40*got.Seconds, "a steady load")
	}
	t.Logf("server: %d rotations in %s", rotated(server.process), time.Since(begun).Round(time.Second))
	assert.NotEmpty(t, server.output.entries("the Workload API is unavailable; keeping the current identity"), "the agent was away")
	for _, entry := range server.output.entries("peer refused") {
		// A client that rotates closes the connections that it has to spare,
		// some of them while they are being made.
		assert.Equal(t, string(mtls.ReasonAborted), entry["reason"], "%v", entry)
	}
}

// soak makes the load tests as long as docs/mtls.md tells its figures for.
var soak = os.Getenv("SPIRE_FALCO_SOAK") == "1"

// TestServerNamesEveryWrongSetting runs the program itself; what is wrong is
// tested in package mtls.
func TestServerNamesEveryWrongSetting(t *testing.T) {
	t.Parallel()
	p := startProcess(t, []string{"SERVER_ADDRESS=:http", "AUTHORIZED_TRUST_DOMAINS=Example", "READ_TIMEOUT=10"}, binaries.server)
	assert.Equal(t, 2, p.wait(t, 10*time.Second))
	for _, name := range []string{"SPIFFE_ENDPOINT_SOCKET", "SERVER_ADDRESS", "AUTHORIZED_TRUST_DOMAINS", "READ_TIMEOUT"} {
		assert.Equal(t, 1, strings.Count(p.output.String(), name+" is "), name)
	}
}
