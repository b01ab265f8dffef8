package spire_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// svidSeconds is the life of an SVID. The server dates them back by 10 s, and
// the agent rotates at half of the whole, give or take a tenth, at its next
// look, once a second: here every 3.5 to 7.5 s.
const svidSeconds = 20

// domain is a trust domain with a SPIRE server and an agent of its own.
type domain struct {
	name string
	dir  string
	port int

	server, agent *process
}

var (
	domainsMu sync.Mutex
	domains   = map[string]*domain{}
)

// startDomain returns the running trust domain of that name, which all tests
// share.
func startDomain(t *testing.T, name string) *domain {
	t.Helper()
	domainsMu.Lock()
	defer domainsMu.Unlock()
	if d := domains[name]; d != nil {
		return d
	}
	// Short, as the path of a Unix socket may have 107 bytes.
	dir, err := os.MkdirTemp("", "spire-") //nolint:usetesting // all tests share it, and its path must be short
	require.NoError(t, err)
	d := &domain{name: name, dir: dir, port: freePort(t)}
	domains[name] = d // stopped even if what follows fails
	d.configure(t)
	d.startServer(t)
	bundle := d.cli(t, "bundle", "show")
	require.NoError(t, os.WriteFile(d.path("bundle.pem"), []byte(bundle), 0o600))
	token := strings.TrimPrefix(strings.TrimSpace(d.cli(t, "token", "generate", "-spiffeID", "spiffe://"+name+"/node")), "Token: ")
	d.startAgent(t, "-joinToken", strings.Fields(token)[0])
	return d
}

func stopDomains() {
	domainsMu.Lock()
	defer domainsMu.Unlock()
	for _, d := range domains {
		for _, p := range []*process{d.agent, d.server} {
			if p != nil {
				p.stop()
			}
		}
		_ = os.RemoveAll(d.dir) // in the temporary directory
	}
}

func (d *domain) path(name string) string { return filepath.Join(d.dir, name) }

// socket is the address of the Workload API.
func (d *domain) socket() string { return "unix://" + d.path("agent.sock") }

func (d *domain) configure(t *testing.T) {
	t.Helper()
	// The two intervals, 5 s each by default, are most of the time from an
	// entry to an identity.
	server := fmt.Sprintf(`
server {
  bind_address = "127.0.0.1"
  bind_port = %d
  socket_path = "%s"
  trust_domain = "%s"
  data_dir = "%s"
  log_level = "INFO"
  experimental { cache_reload_interval = "1s" }
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "%s" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { keys_path = "%s" } }
}
`, d.port, d.path("server.sock"), d.name, d.path("server"), d.path("server.sqlite3"), d.path("server-keys.json"))
	agent := fmt.Sprintf(`
agent {
  data_dir = "%s"
  server_address = "127.0.0.1"
  server_port = %d
  socket_path = "%s"
  trust_bundle_path = "%s"
  trust_domain = "%s"
  log_level = "INFO"
  experimental { sync_interval = "1s" }
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "%s" } }
  WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
`, d.path("agent"), d.port, d.path("agent.sock"), d.path("bundle.pem"), d.name, d.path("agent"))
	for name, content := range map[string]string{"server.conf": server, "agent.conf": agent} {
		require.NoError(t, os.WriteFile(d.path(name), []byte(content), 0o600))
	}
	for _, name := range []string{"server", "agent"} {
		require.NoError(t, os.Mkdir(d.path(name), 0o700))
	}
}

func (d *domain) startServer(t *testing.T) {
	t.Helper()
	d.server = startProcess(t, nil, binaries.spireServer, "run", "-config", d.path("server.conf"))
	d.waitFor(t, d.server, d.path("server.sock"))
}

func (d *domain) startAgent(t *testing.T, args ...string) {
	t.Helper()
	d.agent = startProcess(t, nil, binaries.spireAgent, append([]string{"run", "-config", d.path("agent.conf")}, args...)...)
	d.waitFor(t, d.agent, d.path("agent.sock"))
}

// waitFor waits until p answers on its socket.
func (d *domain) waitFor(t *testing.T, p *process, socket string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			require.NoError(t, conn.Close())
			return
		}
		if p.exited() || time.Now().After(deadline) {
			require.FailNow(t, "SPIRE does not come up", "%s of %s: %v\n%s", socket, d.name, err, p.output.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// restartAgent stops the agent, leaves it away for a while and starts it from
// what it keeps on disk: a join token works once.
func (d *domain) restartAgent(t *testing.T, away time.Duration) {
	t.Helper()
	d.agent.stop()
	time.Sleep(away)
	d.startAgent(t)
}

// restartServer does the same with the SPIRE server.
func (d *domain) restartServer(t *testing.T, away time.Duration) {
	t.Helper()
	d.server.stop()
	time.Sleep(away)
	d.startServer(t)
}

// cli runs a command of spire-server.
func (d *domain) cli(t *testing.T, args ...string) string {
	t.Helper()
	args = append(args, "-socketPath", d.path("server.sock"))
	output, err := exec.CommandContext(t.Context(), binaries.spireServer, args...).CombinedOutput()
	require.NoError(t, err, "spire-server %s: %s", args, output)
	return string(output)
}

// register gives the program at path an identity.
func (d *domain) register(t *testing.T, path, id string) {
	t.Helper()
	d.cli(t, "entry", "create", "-parentID", "spiffe://"+d.name+"/node", "-spiffeID", id,
		"-selector", "unix:path:"+path, "-x509SVIDTTL", strconv.Itoa(svidSeconds))
}

// program copies a binary to a path of its own, by which SPIRE tells it from
// the others, and registers it unless id is empty.
func (d *domain) program(t *testing.T, binary, id string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(dir, filepath.Base(binary))
	content, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o700))
	if id != "" {
		d.register(t, path, id)
	}
	return path
}

// process is a child process whose output is kept.
type process struct {
	cmd    *exec.Cmd
	output *buffer
	stdout *buffer
	done   chan struct{}
	err    error
}

// startProcess starts a program with env alone as its environment, if not nil.
func startProcess(t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), output: &buffer{}, stdout: &buffer{}, done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = io.MultiWriter(p.output, p.stdout), p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a killed test leaves nothing behind
	p.cmd.WaitDelay = time.Second
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

// exited reports whether the process has ended.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end, and kills it after 10 s.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // may have ended
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// wait waits for the end of the process and returns its exit code.
func (p *process) wait(t *testing.T, atMost time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(atMost):
		p.stop()
		require.FailNow(t, "the program does not end", "%s after %s:\n%s", p.cmd.Args, atMost, p.output.String())
	}
	exit := (*exec.ExitError)(nil)
	if p.err != nil && !errors.As(p.err, &exit) {
		require.NoError(t, p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// buffer collects output of a process that still writes.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

// String returns what was written so far.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// entries returns the JSON log lines with that message.
func (b *buffer) entries(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(b.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // only its number is wanted
	return l.Addr().(*net.TCPAddr).Port
}
