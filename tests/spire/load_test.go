package spire_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spire-falco/mtls"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// memoryLimit is what the server may take at its worst, in KiB: the limit that
// a pod of it gets.
const memoryLimit = 64 << 10

// TestHostilePeersDoNotStopService has a steady client served while others do
// their worst, one after another, and looks at the server's memory. It runs
// before the tests that run beside each other, as it wants the machine.
func TestHostilePeersDoNotStopService(t *testing.T) {
	d := startDomain(t, home)
	server := startServer(t, d, d.program(t, binaries.server, "spiffe://example.org/server"), "AUTHORIZED_TRUST_DOMAINS=example.org")
	server.waitServing(t)
	stranger := intruder(mintSVID(t, startDomain(t, elsewhere), "spiffe://elsewhere.test/x", time.Hour))
	var slowOnes []*tls.Config // one peer may not have as many connections as all together
	for i := range 4 {
		slowOnes = append(slowOnes, intruder(mintSVID(t, d, fmt.Sprintf("spiffe://example.org/slow%d", i), time.Hour)))
	}
	fast := d.program(t, binaries.client, "spiffe://example.org/fast")
	steady := d.program(t, binaries.client, "spiffe://example.org/steady")

	slow, halfOpen, handshakes, refused := 200, 1000, 1000, 500
	if soak {
		slow, halfOpen, handshakes, refused = 500, 10_000, 10_000, 10_000
	}
	idle := memory(t, server.process, "VmRSS")

	for _, phase := range []struct {
		name string
		run  func(*testing.T)
	}{
		{fmt.Sprintf("%d slow clients with as large a header as allowed", slow), func(t *testing.T) {
			var next atomic.Int64
			header := []byte("GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 11<<10))
			held := hold(t, slow, func() (net.Conn, error) {
				conn, err := tls.Dial("tcp", server.address, slowOnes[int(next.Add(1))%len(slowOnes)])
				if err == nil {
					_, err = conn.Write(header)
				}
				return conn, err
			})
			for range 20 { // a byte now and then
				time.Sleep(100 * time.Millisecond)
				for _, conn := range held {
					_, _ = conn.Write([]byte("x")) // the server may have had enough
				}
			}
		}},
		{fmt.Sprintf("%d half-open connections", halfOpen), func(t *testing.T) {
			// A ClientHello as long as a TLS record may be, without its end.
			hello := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc}, make([]byte, 15<<10)...)
			hold(t, halfOpen, func() (net.Conn, error) {
				conn, err := net.Dial("tcp", server.address)
				if err == nil {
					_, err = conn.Write(hello)
				}
				return conn, err
			})
			time.Sleep(time.Second)
		}},
		{fmt.Sprintf("%d refused handshakes", refused), func(*testing.T) {
			each(8, refused, func() { _, _ = talk(server.address, stranger) }) // the refusals are counted below
		}},
		{fmt.Sprintf("%d handshakes", handshakes), func(t *testing.T) {
			client := startProcess(t, []string{
				"SPIFFE_ENDPOINT_SOCKET=" + d.socket(), "SERVER_ADDRESS=" + server.address, "AUTHORIZED_SPIFFE_IDS=spiffe://example.org/server",
			}, fast, "-new-connections", "-count", strconv.Itoa(handshakes), "-concurrency", "16")
			require.Zero(t, client.wait(t, 5*time.Minute), "%s", client.output)
			got := summary(t, client)
			assert.Equal(t, map[mtls.Outcome]int{mtls.OutcomeOK: handshakes}, got.Outcomes)
			t.Logf("%.0f handshakes per second", float64(got.Requests)/got.Seconds)
		}},
	} {
		t.Run(phase.name, func(t *testing.T) {
			client := startProcess(t, []string{
				"SPIFFE_ENDPOINT_SOCKET=" + d.socket(), "SERVER_ADDRESS=" + server.address, "AUTHORIZED_SPIFFE_IDS=spiffe://example.org/server",
			}, steady, "-new-connections", "-rate", "20", "-duration", "1h")
			require.Eventually(t, func() bool { return len(client.output.entries("identity received")) > 0 }, 15*time.Second, 10*time.Millisecond)
			phase.run(t)
			client.stop()
			require.Zero(t, client.cmd.ProcessState.ExitCode(), "%s", client.output)
			got := summary(t, client)
			t.Logf("the steady client: %d requests, p50 %.1f p99 %.1f max %.1f ms; the server: %d KiB now, %d KiB at most so far",
				got.Requests, got.Latency.P50, got.Latency.P99, got.Latency.Max, memory(t, server.process, "VmRSS"), memory(t, server.process, "VmHWM"))
			assert.Equal(t, map[mtls.Outcome]int{mtls.OutcomeOK: got.Requests}, got.Outcomes)
			assert.Positive(t, got.Requests)
			assert.Less(t, got.Latency.Max, 2000.0)
		})
	}

	t.Logf("the server: %d KiB when idle, %d KiB at most", idle, memory(t, server.process, "VmHWM"))
	assert.Less(t, memory(t, server.process, "VmHWM"), memoryLimit)
	assert.Less(t, strings.Count(server.output.String(), `"msg":"peer refused"`), 1000+refused/10, "the log is not flooded")
	require.Eventually(t, func() bool {
		counted := 0
		for _, entry := range server.output.entries("peer refused") {
			if entry["reason"] == string(mtls.ReasonUnknownTrustDomain) {
				counted++
			}
		}
		for _, entry := range server.output.entries("more peers refused") {
			if n, ok := entry["count"].(float64); ok && entry["reason"] == string(mtls.ReasonUnknownTrustDomain) {
				counted += int(n)
			}
		}
		return counted == refused
	}, 3*time.Second, 100*time.Millisecond, "every refusal is in the log, one by one or counted")
}

// hold opens connections and keeps them until the end of the test.
func hold(t *testing.T, n int, open func() (net.Conn, error)) []net.Conn {
	t.Helper()
	var mu sync.Mutex
	var held []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range held {
			_ = conn.Close() // by the server already, perhaps
		}
	})
	each(32, n, func() {
		if conn, err := open(); err == nil {
			mu.Lock()
			held = append(held, conn)
			mu.Unlock()
		}
	})
	mu.Lock()
	defer mu.Unlock()
	require.Greater(t, len(held), n*9/10)
	return held
}

// each calls f n times, from that many goroutines.
func each(workers, n int, f func()) {
	work := make(chan struct{})
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range work {
				f()
			}
		})
	}
	for range n {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
}

// memory reads a figure of a process, in KiB.
func memory(t *testing.T, p *process, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			require.NoError(t, err)
			return kib
		}
	}
	require.FailNow(t, "no "+field)
	return 0
}
