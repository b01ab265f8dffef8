package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// locking is a shell script that takes the lock of a host in the folder dir, and then runs more.
func locking(dir, more string) string {
	return setting{"HOST_NAME", "web-1"}.assign() + setting{"OWNER", "me"}.assign() + libSh +
		setting{"LOCK_DIR", dir}.assign() + setting{"LOCK", dir + "/lock"}.assign() + "LOCK_WAIT=1\ntrap at_exit EXIT\ntake_lock\n" + more
}

func shell(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-s")
	cmd.Stdin = strings.NewReader(script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func TestTheLockOfAHostIsInAFolderOfRootsOwn(t *testing.T) {
	t.Parallel()
	assert.Contains(t, libSh, "\nLOCK_DIR=/run/spire-falco\nLOCK=$LOCK_DIR/lock\n")
	assert.NotContains(t, strings.Join(codeLines(libSh), "\n"), "/run/lock")
	for _, tt := range []struct {
		name, want string
		before     func(dir string) error
	}{
		{"a new one", "", func(string) error { return nil }},
		{"one of an earlier step", "", func(dir string) error { return os.Mkdir(dir, 0o700) }},
		{"none that others can write to", "and is: directory, owner %d, mode 1777", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777|os.ModeSticky))
		}},
		{"no link to another", "and is: symbolic link, owner %d, mode 777", func(dir string) error {
			return errors.Join(os.Mkdir(dir+".other", 0o700), os.Symlink(dir+".other", dir))
		}},
		{"no link that leads nowhere", "and is: symbolic link, owner %d, mode 777", func(dir string) error { return os.Symlink(dir+".other", dir) }},
		{"no file", "and is: regular empty file, owner %d, mode 600", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "own")
			require.NoError(t, tt.before(dir))
			out, err := shell(t, locking(dir, "echo taken\n")).CombinedOutput()
			if tt.want == "" {
				require.NoError(t, err, string(out))
				assert.Equal(t, "taken\n", string(out))
				info, err := os.Lstat(dir)
				require.NoError(t, err)
				assert.Equal(t, os.ModeDir|0o700, info.Mode())
				return
			}
			require.Error(t, err)
			assert.Equal(t, fmt.Sprintf("web-1: error: "+dir+" must be a directory of root's with mode 700, "+tt.want+"; remove it and run this again\n", os.Getuid()), string(out))
			assert.NoFileExists(t, filepath.Join(dir+".other", "lock"))
		})
	}
}

func TestAWaitForAnotherRunOnAHostNamesItAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		spoil      func(*exec.Cmd)
	}{
		{"one that works", "process %[1]d, since 20", func(*exec.Cmd) {}},
		{"one that is stopped", "is stopped; continue it with: kill -CONT %[1]d, or end it with: kill -KILL %[1]d", func(c *exec.Cmd) { _ = c.Process.Signal(syscall.SIGSTOP) }},
		{"one that was killed and left a child", "process %[1]d has ended, but one that it started goes on; find it with: fuser -v ", func(c *exec.Cmd) {
			_ = c.Process.Kill()
			_ = c.Wait()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "own")
			holder := shell(t, locking(dir, "echo taken\nsleep 30\n:\n"))
			out, err := holder.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, holder.Start())
			t.Cleanup(func() { _ = syscall.Kill(-holder.Process.Pid, syscall.SIGKILL); _ = holder.Wait() })
			_, err = io.ReadFull(out, make([]byte, len("taken\n")))
			require.NoError(t, err)
			time.Sleep(100 * time.Millisecond) // until its sleep runs
			tt.spoil(holder)
			said, err := shell(t, locking(dir, "echo taken\n")).CombinedOutput()
			require.Error(t, err)
			lines := strings.Split(strings.TrimSpace(string(said)), "\n")
			require.Len(t, lines, 2, string(said))
			want := fmt.Sprintf(tt.want, holder.Process.Pid)
			assert.Contains(t, lines[0], "web-1: waiting for another run on this host to end: ")
			assert.Contains(t, lines[0], want)
			assert.Contains(t, lines[1], "web-1: error: another run has held "+dir+"/lock for 1 seconds: ")
			assert.Contains(t, lines[1], want)
		})
	}
}
