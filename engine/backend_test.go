package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
)

// project is a project's folder without a state, on a machine without a login.
func project(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", passphraseVariable, passphraseFileVariable} {
		t.Setenv(name, "")
		require.NoError(t, os.Unsetenv(name))
	}
	t.Setenv("PULUMI_HOME", t.TempDir())
	return fill(t, t.TempDir())
}

func fill(t *testing.T, dir string) string {
	t.Helper()
	write(t, filepath.Join(dir, "Pulumi.yaml"), "name: spire-falco\nruntime: go\n")
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func passphraseOf(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ".state", "passphrase"))
	require.NoError(t, err)
	return string(text)
}

func TestThePassphraseIsCreatedOnceAndOnlyItsOwnerCanReadIt(t *testing.T) {
	dir := project(t)
	b, err := OpenBackend(dir, "dev")
	require.NoError(t, err)
	first := passphraseOf(t, dir)
	assert.Len(t, first, 48)
	assert.Equal(t, filepath.Join(dir, ".state", "passphrase"), b.Environment[passphraseFileVariable])
	_, err = OpenBackend(dir, "other")
	require.NoError(t, err)
	assert.Equal(t, first, passphraseOf(t, dir))

	require.NoError(t, errors.Join(os.Chmod(filepath.Join(dir, ".state"), 0o755), os.Chmod(filepath.Join(dir, ".state", "passphrase"), 0o644)))
	_, err = OpenBackend(dir, "dev")
	require.NoError(t, err)
	for path, mode := range map[string]fs.FileMode{".state": 0o700, ".state/passphrase": 0o600, ".state/dev": 0o700, ".state/dev/project/Pulumi.dev.yaml": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), path)
	}
}

func TestAPassphraseThatCannotBeUsedIsAnErrorAndStaysAsItIs(t *testing.T) {
	const state = ".state/.pulumi/stacks/spire-falco/dev.json"
	in := func(dir, path string) string { return filepath.Join(dir, path) }
	for _, tt := range []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"an empty one", func(dir string) error { return os.Truncate(in(dir, ".state/passphrase"), 0) }, ".state/passphrase is empty, as a full disk leaves it: put the passphrase back"},
		{"one of blanks", func(dir string) error { return os.WriteFile(in(dir, ".state/passphrase"), []byte(" \n"), 0o600) }, ".state/passphrase is empty"},
		{"a link that leads nowhere", func(dir string) error {
			return errors.Join(os.Remove(in(dir, ".state/passphrase")), os.Symlink("/mnt/stick/passphrase", in(dir, ".state/passphrase")))
		}, "is a symbolic link to /mnt/stick/passphrase, which is not there: put that file back"},
		{"a folder", func(dir string) error {
			return errors.Join(os.Remove(in(dir, ".state/passphrase")), os.Mkdir(in(dir, ".state/passphrase"), 0o700))
		}, "a directory, not a regular file"},
		{"a pipe", func(dir string) error {
			return errors.Join(os.Remove(in(dir, ".state/passphrase")), syscall.Mkfifo(in(dir, ".state/passphrase"), 0o600))
		}, "a pipe, not a regular file"},
		{"one that is missing while there is a state", func(dir string) error {
			write(t, in(dir, state), "{}")
			return os.Remove(in(dir, ".state/passphrase"))
		}, ".state/passphrase is missing, and "},
		{"one that is missing while settings are encrypted", func(dir string) error {
			write(t, in(dir, "Pulumi.dev.yaml"), "encryptionsalt: v1:abc\n")
			return os.Remove(in(dir, ".state/passphrase"))
		}, "Pulumi.dev.yaml is encrypted with it: put it back"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := project(t)
			_, err := OpenBackend(dir, "dev")
			require.NoError(t, err)
			require.NoError(t, tt.spoil(dir))
			before, _ := os.Lstat(in(dir, ".state/passphrase"))
			_, err = OpenBackend(dir, "dev")
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, dir)
			after, _ := os.Lstat(in(dir, ".state/passphrase"))
			assert.True(t, before == nil && after == nil || os.SameFile(before, after), "nothing was put in its place")
		})
	}
}

func TestAnEmptyPassphraseInTheEnvironmentIsRefused(t *testing.T) {
	dir := project(t)
	t.Setenv(passphraseVariable, "")
	_, err := OpenBackend(dir, "dev")
	require.ErrorContains(t, err, "PULUMI_CONFIG_PASSPHRASE is set and empty")
	t.Setenv(passphraseVariable, "x")
	b, err := OpenBackend(dir, "dev")
	require.NoError(t, err)
	assert.NotContains(t, b.Environment, passphraseFileVariable)
	assert.NoFileExists(t, filepath.Join(dir, ".state", "passphrase"))

	require.NoError(t, os.Unsetenv(passphraseVariable))
	file := filepath.Join(dir, "mine")
	write(t, file, "")
	t.Setenv(passphraseFileVariable, file)
	_, err = OpenBackend(dir, "dev")
	require.ErrorContains(t, err, "PULUMI_CONFIG_PASSPHRASE_FILE names a file that cannot be used: "+file+" is empty")
}

func TestAFullDiskLeavesNoEmptyPassphraseAndNoSettingsWithoutTheirSalt(t *testing.T) {
	dir := project(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Skipf("SKIPPED, NOT PASSED: a file system that fills up needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	fill(t, dir)
	fillUp := func() {
		require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 128<<10), 0o600), syscall.ENOSPC)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".state", "dev", "project"), 0o700))
	fillUp()
	_, err := OpenBackend(dir, "dev")
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.NoFileExists(t, filepath.Join(dir, ".state", "passphrase"))

	require.NoError(t, os.Remove(filepath.Join(dir, "filler")))
	_, err = OpenBackend(dir, "dev")
	require.NoError(t, err)
	first := passphraseOf(t, dir)
	copied := filepath.Join(dir, ".state", "dev", "project", "Pulumi.dev.yaml")
	write(t, copied, "encryptionsalt: v1:abc\n")
	write(t, filepath.Join(dir, "Pulumi.dev.yaml"), "# "+strings.Repeat("x", 12<<10)+"\n") // more room than the copy has
	fillUp()
	_, err = OpenBackend(dir, "dev")
	require.ErrorIs(t, err, syscall.ENOSPC)
	text, err := os.ReadFile(copied)
	require.NoError(t, err)
	assert.Equal(t, "encryptionsalt: v1:abc\n", string(text))
	assert.Equal(t, first, passphraseOf(t, dir))

	require.NoError(t, os.Remove(filepath.Join(dir, "filler")))
	_, err = OpenBackend(dir, "dev")
	require.NoError(t, err)
	text, err = os.ReadFile(copied)
	require.NoError(t, err)
	assert.Contains(t, string(text), "encryptionsalt: v1:abc\n")
}

func TestTheSaltIsNotDroppedWhenItCannotBeRead(t *testing.T) {
	dir := project(t)
	_, err := OpenBackend(dir, "dev")
	require.NoError(t, err)
	copied := filepath.Join(dir, ".state", "dev", "project", "Pulumi.dev.yaml")
	require.NoError(t, errors.Join(os.Remove(copied), os.Mkdir(copied, 0o700)))
	_, err = OpenBackend(dir, "dev")
	require.ErrorContains(t, err, "read the salt of stack dev")
}

func TestTheCLIGetsAHomeWhereTheUserHasNone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "")
	for _, tt := range []struct{ name, home, given, want string }{
		{"one that can be written to", filepath.Join(dir, "home"), "", ""},
		{"one that cannot be created", filepath.Join(file, "home"), "", "/project/.state/pulumi"},
		{"none", "", "", "/project/.state/pulumi"},
		{"a relative one", "home", "", "/project/.state/pulumi"},
		{"none, but a folder for the CLI", "", "/given", "/given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(homeVariable, tt.given)
			require.NoError(t, ensureHome("/project", tt.home))
			assert.Equal(t, tt.want, os.Getenv(homeVariable))
		})
	}
}

func TestABackendIsNeverOpenedOutsideTheProject(t *testing.T) {
	dir := project(t)
	for _, name := range []string{"../../x", "", ".", "a/b"} {
		_, err := OpenBackend(filepath.Join(dir, "inner"), name)
		require.ErrorContains(t, err, "--stack = ")
	}
	assert.NoDirExists(t, filepath.Join(dir, "inner"))
}

func TestARunThatHoldsTheLockIsNamedAndSoIsOneThatIsStopped(t *testing.T) {
	t.Parallel()
	sleep := exec.Command("sleep", "30")
	require.NoError(t, sleep.Start())
	t.Cleanup(func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })
	dir := t.TempDir()
	b := &Backend{stack: "dev", Environment: map[string]string{"PULUMI_BACKEND_URL": "file://" + dir}}
	assert.Empty(t, b.holders())
	host, err := os.Hostname()
	require.NoError(t, err)
	text, err := json.Marshal(lock{PID: sleep.Process.Pid, Username: "me\x1b[2J", Hostname: host, Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	require.NoError(t, err)
	write(t, filepath.Join(b.lockDir(), "x.json"), string(text))
	who := b.holders()
	assert.Contains(t, who, fmt.Sprintf(`process %d of "me\x1b[2J" on %q holds it since 2026-01-02T`, sleep.Process.Pid, host))
	assert.NotContains(t, who, "is stopped")
	require.NoError(t, sleep.Process.Signal(syscall.SIGSTOP))
	assert.Eventually(t, func() bool {
		return strings.Contains(b.holders(), fmt.Sprintf("and is stopped: continue it with kill -CONT %d", sleep.Process.Pid))
	}, 5*time.Second, 10*time.Millisecond)
}

func TestADownDeletesNoKubeconfigThatIsNotTheStacks(t *testing.T) {
	t.Parallel()
	state := func(kubeconfig string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"manifest":{},"resources":[{"urn":"urn:pulumi:dev::p::command:local:Command::cluster-minikube","type":"command:local:Command",
			"inputs":{"create":"x","environment":{"PROFILE":"spire-falco","KUBECONFIG":%q,"DELETE_SCRIPT":"rm"}}}]}`, kubeconfig))
	}
	for path, refused := range map[string]bool{
		"/home/me/project/" + config.StateDir("dev") + "/kubeconfig": false,
		"/home/me/.kube/config":                          true,
		"/home/me/project/.state/other/kubeconfig":       true,
		"/home/me/project/.state/dev/../../.kube/config": true,
	} {
		minikube, err := minikubeIn(state(path))
		require.NoError(t, err)
		err = minikube.checkKubeconfig("dev")
		if refused {
			require.ErrorContains(t, err, "down would delete "+path+", which is not a file of this stack")
		} else {
			require.NoError(t, err)
		}
	}
	for _, empty := range []json.RawMessage{nil, json.RawMessage(`{"manifest":{}}`)} {
		minikube, err := minikubeIn(empty)
		require.NoError(t, err)
		require.Nil(t, minikube)
		require.NoError(t, minikube.checkKubeconfig("dev"))
	}
}
