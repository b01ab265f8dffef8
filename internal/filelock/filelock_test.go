package filelock

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// holdVariable makes this test binary a process that takes the lock of that name and keeps it.
const holdVariable = "SPIRE_FALCO_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdVariable); path != "" {
		if _, err := Lock(context.Background(), path, "a test", os.Stderr); err != nil {
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("held\n")
		if os.Getenv("LEAVE_A_CHILD") != "" {
			leaveChild(path)
			return
		}
		time.Sleep(time.Minute)
		return
	}
	os.Exit(m.Run())
}

// leaveChild starts a process that keeps the lock when this one has ended.
func leaveChild(path string) {
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); target == path {
			n, _ := strconv.Atoi(filepath.Base(fd))
			cmd := exec.Command("sleep", "30")
			cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(n), path)}
			_ = cmd.Start()
		}
	}
}

// hold starts a process that holds the lock.
func hold(t *testing.T, path string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), holdVariable+"="+path), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	_, err = io.ReadFull(out, make([]byte, len("held\n")))
	require.NoError(t, err)
	return cmd
}

// output can be written and read at the same time.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func lockPath(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return filepath.Join(dir, "lock")
}

func TestAWaitSaysAtOnceWhoIsWaitedForAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	path := lockPath(t)
	holder := hold(t, path)
	ctx, interrupt := context.WithCancel(t.Context())
	var log output
	done := make(chan error, 1)
	go func() {
		_, err := Lock(ctx, path, "the build of it", &log)
		done <- err
	}()
	begun := time.Now()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "\n") }, 5*time.Second, time.Millisecond)
	assert.Less(t, time.Since(begun), time.Second)
	said := log.String()
	assert.Contains(t, said, "waiting for the build of it: process "+strconv.Itoa(holder.Process.Pid)+" (filelock.test in ")
	assert.Contains(t, said, " holds it since ")
	interrupt()
	interrupted := time.Now()
	err := <-done
	assert.Less(t, time.Since(interrupted), time.Second)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "ended the wait for the build of it after 0s (process ")
	assert.NotContains(t, err.Error(), "\n")
}

func TestTheLockIsTakenAsSoonAsItsHolderIsKilled(t *testing.T) {
	t.Parallel()
	path := lockPath(t)
	holder := hold(t, path)
	time.AfterFunc(300*time.Millisecond, func() { _ = holder.Process.Kill() })
	var log output
	unlock, err := Lock(t.Context(), path, "it", &log)
	require.NoError(t, err)
	assert.Contains(t, log.String(), "waiting for it")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"pid":`+strconv.Itoa(os.Getpid()))
	unlock()
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.Empty(t, string(text), "a lock that nobody holds names nobody")
}

func TestAHolderThatWillNotGoOnIsNamedWithWhatToDo(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("SKIPPED, NOT PASSED: needs /proc")
	}
	for _, tt := range []struct {
		name, env, want string
		spoil           func(*exec.Cmd)
	}{
		{"a stopped one", "", " is stopped and will not continue by itself; continue it with: kill -CONT ", func(c *exec.Cmd) { _ = c.Process.Signal(syscall.SIGSTOP) }},
		{"a dead one whose child has the lock", "LEAVE_A_CHILD=1", " has ended, but a process that it started still holds the lock; find it with: fuser -v ", func(c *exec.Cmd) { _ = c.Wait() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := lockPath(t)
			holder := hold(t, path, tt.env)
			tt.spoil(holder)
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
			defer stop()
			var log output
			_, err := Lock(ctx, path, "it", &log)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 1, strings.Count(log.String(), "process "+strconv.Itoa(holder.Process.Pid)+tt.want), log.String())
		})
	}
}

func TestALockOfAnOlderProgramIsNamedByTheKernel(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/locks"); err != nil {
		t.Skip("SKIPPED, NOT PASSED: needs /proc/locks")
	}
	path := lockPath(t)
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close() //nolint:errcheck // a test's
	require.NoError(t, syscall.Flock(int(file.Fd()), syscall.LOCK_EX))
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	var log output
	_, err = Lock(ctx, path, "it", &log)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Contains(t, log.String(), "waiting for it: process "+strconv.Itoa(os.Getpid())+" holds it")
}

func TestAHolderOfAnotherMachineIsNotLookedForHere(t *testing.T) {
	t.Parallel()
	h := holder{PID: 1 << 22, Program: "stack\x1b[2J", Place: "elsewhere pid:[1]"}
	assert.Equal(t, working, h.condition())
	assert.Equal(t, "process 4194304 (stack?[2J) of another machine or container holds it", h.String())
	h.Place = place()
	assert.Equal(t, ended, h.condition())
}

func TestTwoOfOneProcessTakeTurns(t *testing.T) {
	t.Parallel()
	path := lockPath(t)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		inside int
	)
	for range 8 {
		wg.Go(func() {
			unlock, err := Lock(t.Context(), path, "it", io.Discard)
			if !assert.NoError(t, err) { //nolint:testifylint // require must not be called here: not the test's goroutine
				return
			}
			mu.Lock()
			inside++
			assert.Equal(t, 1, inside)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			inside--
			mu.Unlock()
			unlock()
		})
	}
	wg.Wait()
}
