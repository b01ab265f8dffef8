package safefile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAWritePutsTheWholeFileInPlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(path string) error
	}{
		{"where there is none", func(string) error { return nil }},
		{"over another", func(path string) error { return os.WriteFile(path, []byte("a longer text of before"), 0o644) }},
		{"over a symbolic link, and not through it", func(path string) error {
			return errors.Join(os.WriteFile(path+".target", []byte("mine"), 0o600), os.Symlink(path+".target", path))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			require.NoError(t, tt.before(path))
			require.NoError(t, Write(path, []byte("new"), 0o600))
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, "new", string(text))
			info, err := os.Lstat(path)
			require.NoError(t, err)
			assert.Equal(t, fs.FileMode(0o600), info.Mode())
			if target, err := os.ReadFile(path + ".target"); err == nil {
				assert.Equal(t, "mine", string(target))
			}
		})
	}
}

func TestAFullDiskLeavesTheFileOfBeforeAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("SKIPPED, NOT PASSED: a file system that fills up needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	path := filepath.Join(dir, "file")
	require.NoError(t, Write(path, []byte("before"), 0o600))
	for name, write := range map[string]error{
		"Write":  Write(path, make([]byte, 64<<10), 0o600),
		"Create": Create(filepath.Join(dir, "other"), make([]byte, 64<<10), 0o600),
	} {
		require.ErrorIs(t, write, syscall.ENOSPC, name)
		require.ErrorContains(t, write, dir, name)
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "before", string(text))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestCreateNeverReplaces(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, Create(path, []byte("first"), 0o600))
	require.ErrorIs(t, Create(path, []byte("second"), 0o600), fs.ErrExist)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "first", string(text))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestOnlyRegularFilesOfABoundedSizeAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(in("small"), []byte("12345678"), 0o600))
	require.NoError(t, os.WriteFile(in("large"), []byte("123456789"), 0o600))
	require.NoError(t, os.Symlink(in("small"), in("link")))
	require.NoError(t, os.Symlink(in("zero"), in("dangling")))
	require.NoError(t, syscall.Mkfifo(in("pipe"), 0o600))
	socket, err := net.Listen("unix", in("socket"))
	require.NoError(t, err)
	defer socket.Close() //nolint:errcheck // a test's
	sparse, err := os.Create(in("sparse"))
	require.NoError(t, err)
	require.NoError(t, errors.Join(sparse.Truncate(1<<40), sparse.Close()))

	for _, tt := range []struct{ path, want string }{
		{in("small"), ""},
		{in("link"), ""},
		{in("large"), "the file is larger than the 8 bytes"},
		{in("sparse"), "the file is larger than the 8 bytes"},
		{in("pipe"), "a pipe, not a regular file"},
		{in("socket"), "a socket, not a regular file"},
		{dir, "a directory, not a regular file"},
		{"/dev/zero", "a device, not a regular file"},
		{in("dangling"), "no such file"},
		{in("nowhere"), "no such file"},
	} {
		t.Run(filepath.Base(tt.path), func(t *testing.T) {
			begun := time.Now()
			content, err := Read(tt.path, 8)
			assert.Less(t, time.Since(begun), 2*time.Second)
			if tt.want == "" {
				require.NoError(t, err)
				assert.Equal(t, "12345678", string(content))
				return
			}
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, tt.path)
			assert.Equal(t, strings.HasPrefix(tt.want, "no such"), errors.Is(err, fs.ErrNotExist))
		})
	}
}

func TestTheLimitIsReadable(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, TooLargeError(1<<20), "the 1 MiB")
	assert.ErrorContains(t, TooLargeError(4096), "the 4096 bytes")
}
