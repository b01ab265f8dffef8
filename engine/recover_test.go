package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/engine/helm"
	"spire-falco/engine/helm/helmtest"
)

// twoReleases is a state with falco, and with spire whose upgrade was broken off.
const twoReleases = `{"manifest": {}, "resources": [
	{"urn": "urn:pulumi:dev::spire-falco::kubernetes:helm.sh/v3:Release::spire", "type": "kubernetes:helm.sh/v3:Release",
		"inputs": {"name": "spire", "namespace": "spire", "timeout": 600}},
	{"urn": "urn:pulumi:dev::spire-falco::kubernetes:helm.sh/v3:Release::falco", "type": "kubernetes:helm.sh/v3:Release",
		"inputs": {"name": "falco", "namespace": "falco", "timeout": 600}}]}`

func TestTheReleasesOfAStateAreThoseThatItNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, deployment string
		want             []helm.Release
	}{
		{name: "no state"},
		{
			name:       "with their timeout, or the provider's",
			deployment: `{"resources": [{"type": "kubernetes:helm.sh/v3:Release", "inputs": {"name": "a", "namespace": "x", "timeout": 600}}, {"type": "kubernetes:helm.sh/v3:Release", "inputs": {"name": "b", "namespace": "y"}}]}`,
			want: []helm.Release{
				{Name: "a", Namespace: "x", Timeout: 10 * time.Minute}, {Name: "b", Namespace: "y", Timeout: 5 * time.Minute},
			},
		},
		{
			name:       "one that was being created is known as that",
			deployment: `{"pending_operations": [{"type": "creating", "resource": {"type": "kubernetes:helm.sh/v3:Release", "inputs": {"name": "a", "namespace": "x"}}}]}`,
			want:       []helm.Release{{Name: "a", Namespace: "x", Creating: true, Timeout: 5 * time.Minute}},
		},
		{
			name: "one that was being updated is listed once",
			deployment: `{"resources": [{"type": "kubernetes:helm.sh/v3:Release", "inputs": {"name": "a", "namespace": "x"}}],
				"pending_operations": [{"type": "updating", "resource": {"type": "kubernetes:helm.sh/v3:Release", "inputs": {"name": "a", "namespace": "x"}}}]}`,
			want: []helm.Release{{Name: "a", Namespace: "x", Timeout: 5 * time.Minute}},
		},
		{
			name: "not what is to be deleted, has no plain name, or is no release",
			deployment: `{"resources": [{"type": "kubernetes:helm.sh/v3:Release", "delete": true, "inputs": {"name": "a", "namespace": "x"}},
				{"type": "kubernetes:helm.sh/v3:Release", "inputs": {"name": {"ciphertext": "b"}, "namespace": "x"}},
				{"type": "kubernetes:helm.sh/v3:Release", "inputs": {"name": "c"}},
				{"type": "kubernetes:core/v1:Namespace", "inputs": {"name": "d", "namespace": "x"}}]}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := releasesOf(json.RawMessage(tt.deployment))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

// stuck is an engine of a stack with a file backend, whose release spire is left in the middle of an upgrade.
func stuck(t *testing.T) (*Engine, *helmtest.Cluster, *bytes.Buffer) {
	t.Helper()
	c := helmtest.New(t)
	now := time.Now()
	c.Set("spire", "spire", helmtest.Revision{Number: 1, Status: "deployed", Since: now}, helmtest.Revision{Number: 2, Status: "pending-upgrade", Since: now})
	c.Set("falco", "falco", helmtest.Revision{Number: 1, Status: "deployed", Since: now})
	dir := t.TempDir()
	var out bytes.Buffer
	b := &Backend{
		stack: "dev", dir: dir, WorkDir: filepath.Join(dir, "work"),
		Environment: map[string]string{"PULUMI_BACKEND_URL": "file://" + dir},
	}
	require.NoError(t, os.MkdirAll(b.WorkDir, 0o700))
	return &Engine{opts: Options{Backend: b, Cluster: &c.Cluster, Err: &out}}, c, &out
}

func TestAnUnfinishedReleaseIsRecovered(t *testing.T) {
	t.Parallel()
	e, c, out := stuck(t)
	recovered, err := e.recoverReleases(t.Context(), json.RawMessage(twoReleases))
	require.NoError(t, err)
	assert.True(t, recovered)
	assert.Equal(t, []string{"rollback spire 1 --namespace spire --timeout 5m0s"}, c.Calls(t))
	assert.Equal(t, "the Helm release spire/spire was left in pending-upgrade (revision 2): rolled back to revision 1\n", out.String())
}

func TestAReleaseIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, e *Engine, c *helmtest.Cluster)
		says    string
	}{
		{"without a cluster to look at", func(_ *testing.T, e *Engine, _ *helmtest.Cluster) { e.opts.Cluster = nil }, ""},
		{"of a cluster that is not there yet", func(_ *testing.T, e *Engine, _ *helmtest.Cluster) { e.opts.Cluster.Kubeconfig = "/nowhere" }, ""},
		{"of a cluster that cannot serve now", func(_ *testing.T, _ *Engine, c *helmtest.Cluster) { c.Refuse(http.StatusServiceUnavailable) }, ""},
		{
			"of a cluster that refuses, which is said",
			func(_ *testing.T, _ *Engine, c *helmtest.Cluster) { c.Refuse(http.StatusForbidden) },
			"look at the Helm release spire/spire",
		},
		{"while another run holds the lock", func(t *testing.T, e *Engine, _ *helmtest.Cluster) { lockStack(t, e, "{}") }, ""},
		{"when another run takes it up meanwhile", func(_ *testing.T, _ *Engine, c *helmtest.Cluster) {
			c.OnLook(func(number int) {
				if number == 3 { // the first look asks for two releases
					c.Set("spire", "spire", helmtest.Revision{Number: 3, Status: "pending-rollback", Since: time.Now()})
				}
			})
		}, ""},
		{"where locks cannot be seen, as long as another run may be at work on it", func(_ *testing.T, e *Engine, _ *helmtest.Cluster) {
			e.opts.Backend.Environment["PULUMI_BACKEND_URL"] = "s3://bucket"
		}, "an up after"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, c, out := stuck(t)
			tt.prepare(t, e, c)
			recovered, err := e.recoverReleases(t.Context(), json.RawMessage(twoReleases))
			require.NoError(t, err)
			assert.False(t, recovered)
			assert.Empty(t, c.Calls(t))
			if tt.says == "" {
				assert.Empty(t, out.String())
			} else {
				assert.Contains(t, out.String(), tt.says)
			}
		})
	}
}

func TestWhereLocksCannotBeSeenARevisionOlderThanItsTimeoutIsRecovered(t *testing.T) {
	t.Parallel()
	e, c, _ := stuck(t)
	e.opts.Backend.Environment["PULUMI_BACKEND_URL"] = "s3://bucket"
	c.Set("spire", "spire", helmtest.Revision{Number: 1, Status: "pending-install", Since: time.Now().Add(-11 * time.Minute)})
	recovered, err := e.recoverReleases(t.Context(), json.RawMessage(twoReleases))
	require.NoError(t, err)
	assert.True(t, recovered)
	assert.Len(t, c.Calls(t), 1)
}

func lockStack(t *testing.T, e *Engine, text string) {
	t.Helper()
	dir := e.opts.Backend.lockDir()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id.json"), []byte(text), 0o600))
}

// leftover starts a program of the plugin's name in that folder.
func leftover(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	text, err := os.ReadFile(sleep)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "pulumi-resource-kubernetes")
	require.NoError(t, os.WriteFile(path, text, 0o700))
	cmd := exec.Command(path, "60")
	cmd.Dir = dir
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestAPluginThatOutlivesItsEngineIsWaitedFor(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("this system does not show other processes in /proc")
	}
	t.Run("until it ends", func(t *testing.T) {
		t.Parallel()
		e, c, out := stuck(t)
		plugin := leftover(t, e.opts.Backend.WorkDir)
		e.opts.Err = writer(func(p []byte) (int, error) { // it ends once it is waited for
			if strings.HasPrefix(string(p), "waiting") {
				require.Empty(t, c.Calls(t))
				_, _ = plugin.Process.Kill(), plugin.Wait()
			}
			return out.Write(p)
		})
		recovered, err := e.recoverReleases(t.Context(), json.RawMessage(twoReleases))
		require.NoError(t, err)
		assert.True(t, recovered)
		assert.Contains(t, out.String(), "(process "+strconv.Itoa(plugin.Process.Pid)+")")
		assert.Len(t, c.Calls(t), 1)
	})
	t.Run("or the user ends the wait", func(t *testing.T) {
		t.Parallel()
		e, c, _ := stuck(t)
		leftover(t, e.opts.Backend.WorkDir)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		e.opts.Err = writer(func(p []byte) (int, error) { cancel(); return len(p), nil })
		_, err := e.recoverReleases(ctx, json.RawMessage(twoReleases))
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, c.Calls(t))
	})
	t.Run("unless it is another stack's", func(t *testing.T) {
		t.Parallel()
		e, _, _ := stuck(t)
		leftover(t, t.TempDir())
		recovered, err := e.recoverReleases(t.Context(), json.RawMessage(twoReleases))
		require.NoError(t, err)
		assert.True(t, recovered)
	})
}

func TestTwoRunsDoNotRecoverTheSameRelease(t *testing.T) {
	t.Parallel()
	e, _, _ := stuck(t)
	unlock, err := e.opts.Backend.lockReleases(t.Context(), e)
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e.opts.Err = writer(func(p []byte) (int, error) { cancel(); return len(p), nil })
	_, err = e.recoverReleases(ctx, json.RawMessage(twoReleases))
	require.ErrorIs(t, err, context.Canceled, "it waits for the other run")
	assert.FileExists(t, filepath.Join(e.opts.Backend.dir, config.StateDir("dev"), "releases.lock"))
}
