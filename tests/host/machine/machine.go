// Package machine makes throw-away Debian machines for tests: a Debian root with dpkg, apt, sudo and users of its own
// in namespaces of its own, an SSH server on a loopback address that logs in there, and an apt repository. What a
// namespace cannot have, the command in ../standin plays: systemd, the kernel's release, and Falco.
package machine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spire-falco/internal/filelock"
)

var (
	//go:embed prepare.sh
	prepareSh string
	//go:embed start.sh
	startSh string
)

// RequireVariable names the environment variable that makes a machine that cannot be made a failure, not a skip.
const RequireVariable = "REQUIRE_MACHINES"

// Options are what differs from a usual machine.
type Options struct {
	// Kernel is what uname -r prints; empty is 6.8.0-45-generic.
	Kernel string
	// SizeMB is how much the machine's disk takes beyond its system; 0 is 1024.
	SizeMB int
}

// Machine is a running one. It ends with its test.
type Machine struct {
	pid  int
	root string
}

// Result is what a command has left.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// New starts a machine, and skips the test, loudly, where none can be made: it needs root, Linux and debootstrap.
func New(t testing.TB, o Options) *Machine {
	t.Helper()
	prepared, err := preparedRoot()
	if err != nil {
		if os.Getenv(RequireVariable) != "" {
			t.Fatalf("no machine: %v", err)
		}
		t.Skipf("SKIPPED, NOT PASSED: no machine can be made here: %v", err)
	}
	standin, err := buildStandin()
	require.NoError(t, err, "build the stand-in")
	if o.Kernel == "" {
		o.Kernel = "6.8.0-45-generic"
	}
	if o.SizeMB == 0 {
		o.SizeMB = 1024
	}
	//nolint:gosec // the tests' own scripts
	c := exec.Command("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "--propagation", "private",
		"/bin/sh", "-c", startSh, "start.sh", t.TempDir(), prepared, standin, strconv.Itoa(o.SizeMB))
	var stderr bytes.Buffer
	c.Stderr = &stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, startLocked(c), "start the machine")
	t.Cleanup(func() {
		_ = c.Process.Kill() // unshare takes process 1 with it, and that the rest
		_ = c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoErrorf(t, err, "start the machine: %s", &stderr)
	m := &Machine{}
	_, err = fmt.Sscan(line, &m.pid)
	require.NoError(t, err)
	m.root = fmt.Sprintf("/proc/%d/root", m.pid)
	require.Eventually(t, func() bool {
		_, err := os.Stat(m.Path("/etc/standin"))
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", m.pid))
		return err == nil && strings.TrimSpace(string(comm)) == "init"
	}, 10*time.Second, 5*time.Millisecond, "the machine has started")
	m.Write(t, "/etc/standin/kernel", o.Kernel+"\n")
	return m
}

// Path is where the test finds a file of the machine.
func (m *Machine) Path(path string) string { return filepath.Join(m.root, path) }

// Write makes a file of the machine, with its folders.
func (m *Machine) Write(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(m.Path(path)), 0o755))     //nolint:gosec // for every user of the machine
	require.NoError(t, os.WriteFile(m.Path(path), []byte(content), 0o644)) //nolint:gosec // as above
}

// Read returns the content of a file of the machine.
func (m *Machine) Read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(m.Path(path))
	require.NoError(t, err)
	return string(content)
}

// Exists tells whether the machine has the file.
func (m *Machine) Exists(path string) bool {
	_, err := os.Lstat(m.Path(path))
	return err == nil
}

// Command is a command line in the login shell of a user of the machine, as sshd would run it.
func (m *Machine) Command(ctx context.Context, user, line string) *exec.Cmd {
	home, path := "/home/"+user, "/usr/local/bin:/usr/bin:/bin:/usr/games"
	if user == "root" {
		home, path = "/root", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	//nolint:gosec // running what a test says is what a machine is for
	c := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--pid", "--uts", "--ipc", "--root",
		"/usr/bin/setpriv", "--reuid="+user, "--regid="+user, "--init-groups",
		"/usr/bin/env", "-i", "-C", home, "HOME="+home, "USER="+user, "LOGNAME="+user, "PATH="+path,
		"/bin/sh", "-c", line)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	return c
}

// Run runs a command line to its end.
func (m *Machine) Run(t testing.TB, user, line, stdin string) Result {
	t.Helper()
	c := m.Command(context.Background(), user, line)
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := c.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return Result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

// MustRun runs a command line as root and returns its output; the test fails when the command does.
func (m *Machine) MustRun(t testing.TB, line string) string {
	t.Helper()
	r := m.Run(t, "root", line, "")
	require.Zerof(t, r.Code, "%s: %s%s", line, r.Stdout, r.Stderr)
	return r.Stdout
}

// noise are folders whose content any use of dpkg, apt, sudo or the stand-ins changes, or that are not on disk.
var noise = []string{
	"/proc", "/sys", "/dev", "/run", "/tmp", "/var/log/apt", "/var/log/dpkg.log", "/var/log/alternatives.log",
	"/var/lib/dpkg", "/var/lib/apt/extended_states", "/var/lib/apt/periodic", "/var/lib/apt/lists/lock",
	"/var/lib/apt/lists/auxfiles", "/var/lib/apt/lists/partial", "/var/cache/apt", "/var/cache/debconf", "/var/lib/sudo",
	"/etc/standin",
}

// Snapshot describes every file of the machine by kind, mode and digest, and the state of every package and service.
// Two equal snapshots are two equal machines.
func (m *Machine) Snapshot(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(m.root+"/"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := filepath.Join("/", path)
		if slices.Contains(noise, inside) || bulk(inside) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		all[inside], err = describe(m.Path(inside), d)
		return err
	})
	require.NoError(t, err)
	require.Contains(t, all, "/etc/passwd")
	all["packages"] = m.MustRun(t, "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n'; apt-mark showhold")
	all["services"] = m.MustRun(t, `for u in falco-modern-bpf falco-kmod falco-custom falcoctl-artifact-follow; do
		echo "$u $(systemctl is-enabled $u.service) $(systemctl is-active $u.service)"; done`)
	return all
}

// bulk tells of folders with thousands of files that no step comes near.
func bulk(path string) bool {
	return slices.Contains([]string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/zoneinfo", "/usr/share/perl5", "/usr/lib/python3"}, path)
}

// Differences lists what differs between two snapshots, one line a path.
func Differences(before, after map[string]string) []string {
	var lines []string
	for path, was := range before {
		if is, ok := after[path]; !ok {
			lines = append(lines, "gone: "+path)
		} else if is != was {
			lines = append(lines, fmt.Sprintf("changed: %s: %s: %s", path, was, is))
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			lines = append(lines, "new: "+path)
		}
	}
	slices.Sort(lines)
	return lines
}

func describe(path string, d fs.DirEntry) (string, error) {
	info, err := d.Info()
	if err != nil {
		return "", err
	}
	switch {
	case info.Mode().IsRegular():
		sum, err := digest(path, info)
		return fmt.Sprintf("%s %s", info.Mode(), sum), err
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return "-> " + to, err
	default:
		return info.Mode().String(), nil
	}
}

// digests are those of files that lie in the prepared root: all machines of the process share them.
var digests sync.Map

// digest reads a file, or remembers it by its size and times. Nobody can set the change time, so a file that a machine
// has touched is never taken for the prepared one.
func digest(path string, info fs.FileInfo) (string, error) {
	stat, _ := info.Sys().(*syscall.Stat_t)
	_, inside, _ := strings.Cut(strings.TrimPrefix(path, "/proc/"), "/root/")
	key := fmt.Sprint(inside, stat.Size, stat.Mtim, stat.Ctim)
	if sum, ok := digests.Load(key); ok {
		return sum.(string), nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	digests.Store(key, hex.EncodeToString(sum[:8]))
	return hex.EncodeToString(sum[:8]), nil
}

// cacheDir is the module's own; it is not committed.
func cacheDir() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "..", ".cache", "machines")
	return dir, os.MkdirAll(dir, 0o755) //nolint:gosec // every user of a machine passes through it
}

// preparedRoot returns the folder that all machines start from, and makes it when there is none for this prepare.sh.
var preparedRoot = sync.OnceValues(func() (string, error) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return "", errors.New("machines need Linux and root; with sudo: go test -exec 'sudo -E' ./tests/host/... ./components/host")
	}
	for _, tool := range []string{"debootstrap", "unshare", "nsenter", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is missing; try: apt-get install debootstrap util-linux dpkg", tool)
		}
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	unlock, err := filelock.Lock(context.Background(), filepath.Join(cache, "lock"), "a Debian root that another run prepares", os.Stderr)
	if err != nil {
		return "", err
	}
	defer unlock()
	sum := sha256.Sum256([]byte(prepareSh))
	root := filepath.Join(cache, "debian-12-"+runtime.GOARCH+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	unfinished := root + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "preparing a Debian root in %s: once, some minutes\n", root)
	// In namespaces of its own: a run that is cut off would leave /proc mounted, and its folder could not be removed.
	//nolint:gosec // the tests' own script
	out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--propagation", "private", "--mount-proc",
		"/bin/sh", "-c", prepareSh, "prepare.sh", unfinished).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("prepare a Debian root: %w: %s", err, out[max(0, len(out)-600):])
	}
	return root, os.Rename(unfinished, root)
})

// buildStandin builds ../standin, statically, once for a test process.
var buildStandin = sync.OnceValues(func() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	_, file, _, _ := runtime.Caller(0)
	binary := filepath.Join(cache, "standin")
	unfinished := fmt.Sprintf("%s.%d", binary, os.Getpid())
	//nolint:gosec // a name of our own
	c := exec.Command("go", "build", "-o", unfinished, "./tests/host/standin")
	c.Dir = filepath.Join(filepath.Dir(file), "..", "..", "..")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, os.Rename(unfinished, binary) // machines that run keep the former one
})

// startLocked starts a command from a thread that stays: the kernel sends the death signal when that thread ends.
func startLocked(c *exec.Cmd) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- c.Start()
		select {}
	}()
	return <-done
}
