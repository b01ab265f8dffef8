package helm_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/detect/kube"
	"spire-falco/engine/helm"
	"spire-falco/engine/helm/helmtest"
)

// at is when what the tests look at was written.
var at = time.Unix(1_700_000_000, 0)

func history(statuses ...string) []helmtest.Revision {
	var all []helmtest.Revision
	for i, s := range statuses {
		all = append(all, helmtest.Revision{Number: i + 1, Status: s, Since: at})
	}
	return all
}

func TestWhatIsDoneFollowsFromTheHistoryOfTheRelease(t *testing.T) {
	t.Parallel()
	const (
		uninstall = "uninstall falco --wait --namespace detection --timeout 5m0s"
		nothing   = ""
	)
	rollback := func(to string) string { return "rollback falco " + to + " --namespace detection --timeout 5m0s" }
	for _, tt := range []struct {
		name     string
		history  []helmtest.Revision
		creating bool
		want     string
	}{
		{name: "a release that is not there", want: nothing},
		{name: "a deployed release", history: history("superseded", "deployed"), want: nothing},
		{name: "a failed upgrade, which Helm upgrades", history: history("deployed", "failed"), want: nothing},
		{name: "a pending revision that a rollback has left behind", history: history("superseded", "pending-upgrade", "deployed"), want: nothing},
		{name: "a killed first install", history: history("pending-install"), want: uninstall},
		{name: "a killed first install that the state has as being created", history: history("pending-install"), creating: true, want: uninstall},
		{name: "a killed upgrade", history: history("superseded", "deployed", "pending-upgrade"), want: rollback("2")},
		{name: "a killed upgrade after a failed one", history: history("deployed", "failed", "pending-upgrade"), want: rollback("1")},
		{name: "a killed upgrade with nothing deployed", history: history("superseded", "superseded", "failed", "pending-upgrade"), want: rollback("2")},
		{name: "a killed upgrade of what never worked", history: history("failed", "pending-upgrade"), want: uninstall},
		{name: "a killed rollback", history: history("superseded", "deployed", "failed", "pending-rollback"), want: rollback("2")},
		{name: "a killed uninstall", history: history("superseded", "uninstalling"), want: uninstall},
		{
			name: "a tenth revision, which is newer than the ninth",
			history: []helmtest.Revision{
				{Number: 10, Status: "pending-upgrade", Since: at},
				{Number: 9, Status: "deployed", Since: at},
				{Number: 8, Status: "superseded", Since: at},
			},
			want: rollback("9"),
		},
		{
			name:    "somebody else's release of the name that was being created",
			history: history("deployed", "pending-upgrade"), creating: true, want: nothing,
		},
		{
			name:    "somebody else's release whose first revisions are forgotten",
			history: []helmtest.Revision{{Number: 7, Status: "pending-upgrade"}}, creating: true, want: nothing,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := helmtest.New(t)
			c.Set("detection", "falco", tt.history...)
			c.Set("other", "falco", history("deployed", "pending-upgrade")...)
			c.Set("detection", "theirs", history("deployed", "pending-upgrade")...)
			found, err := c.Unfinished(t.Context(), []helm.Release{{Name: "falco", Namespace: "detection", Creating: tt.creating}})
			require.NoError(t, err)
			if tt.want == nothing {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Equal(t, at, found[0].Since)
			line, err := c.Recover(t.Context(), found[0])
			require.NoError(t, err)
			assert.Equal(t, []string{tt.want}, c.Calls(t))
			assert.Contains(t, line, "the Helm release detection/falco was left in "+found[0].Status)
		})
	}
}

func TestHelmWorksOnTheClusterOfTheStackWhateverTheEnvironmentSays(t *testing.T) {
	t.Setenv("HELM_KUBEAPISERVER", "https://another.example.org")
	t.Setenv("HELM_DRIVER", "configmap")
	t.Setenv("KUBECONFIG", "/another")
	t.Setenv("CREDENTIAL_PLUGIN", "needs this")
	c := helmtest.New(t)
	_, err := c.Recover(t.Context(), helm.Unfinished{Release: helm.Release{Name: "falco", Namespace: "falco"}, Target: 1})
	require.NoError(t, err)
	env := c.Environment(t)
	assert.NotContains(t, env, "another")
	assert.Contains(t, env, "HELM_DRIVER=secret\n")
	assert.Contains(t, env, "CREDENTIAL_PLUGIN=needs this\n")
}

func TestWhenHelmFails(t *testing.T) {
	t.Parallel()
	u := helm.Unfinished{
		Release: helm.Release{Name: "spire", Namespace: "spire"}, Revision: 2, Status: "pending-upgrade", Target: 1,
	}
	t.Run("the error has its message without credentials, and the command", func(t *testing.T) {
		t.Parallel()
		c := helmtest.New(t)
		c.Set("spire", "spire", history("deployed", "pending-upgrade", "pending-rollback")...)
		c.HelmSays(t, "Error: cannot reach https://me:hunter2@proxy.example.org\x1b[31m", 1)
		_, err := c.Recover(t.Context(), u)
		require.ErrorContains(t, err, "Error: cannot reach")
		require.ErrorContains(t, err, "by hand: helm rollback spire 1 --namespace spire --kubeconfig "+c.Kubeconfig+" --kube-context test")
		assert.NotContains(t, err.Error(), "hunter2")
		assert.NotContains(t, err.Error(), "\x1b")
	})
	t.Run("and has left a release that can be upgraded, the run continues", func(t *testing.T) {
		t.Parallel()
		c := helmtest.New(t)
		c.Set("spire", "spire", history("deployed", "superseded", "failed")...)
		c.HelmSays(t, "Error: field is immutable", 1)
		line, err := c.Recover(t.Context(), u)
		require.NoError(t, err)
		assert.Contains(t, line, "field is immutable")
		assert.Contains(t, line, "left it so that Helm upgrades it")
	})
	t.Run("or cannot be had, the error says so", func(t *testing.T) {
		t.Parallel()
		c := helmtest.New(t)
		c.CLI = func(context.Context) (string, error) { return "", errors.New("no network") }
		_, err := c.Recover(t.Context(), u)
		require.ErrorContains(t, err, "no network")
		require.ErrorContains(t, err, "spire/spire was left in pending-upgrade")
	})
}

func TestAClusterThatRefusesIsToldFromOneThatIsNotThere(t *testing.T) {
	t.Parallel()
	releases := []helm.Release{{Name: "falco", Namespace: "falco"}}
	c := helmtest.New(t)
	c.Refuse(http.StatusForbidden)
	_, err := c.Unfinished(t.Context(), releases)
	require.ErrorContains(t, err, "not you")
	assert.False(t, kube.IsRetriable(err))

	none := helm.Cluster{Kubeconfig: "/nowhere", Context: "test"}
	_, err = none.Unfinished(t.Context(), releases)
	require.Error(t, err)
	assert.True(t, kube.IsRetriable(err))
	found, err := none.Unfinished(t.Context(), nil)
	require.NoError(t, err, "without releases nothing is asked")
	assert.Empty(t, found)
}
