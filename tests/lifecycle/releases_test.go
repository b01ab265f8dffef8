package lifecycle

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/engine/helm/helmtest"
)

// Helm's own part is in tests/apiserver, with the real one.
func TestAReleaseThatHelmLeftUnfinishedIsTakenUpByTheNextUp(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := helmtest.New(t)
	cli := c.CLI
	s := newStack(t, with(existing, falcoOn))
	s.releases = &c.Cluster
	require.NoError(t, s.up(), s.out.String())
	whole := sorted(baseResources, falcoResources)
	s.requireWhole(whole)
	require.Empty(t, c.Calls(t), "nothing is to be taken up")

	t.Run("uninstalled and installed again, though the state has it as whole", func(t *testing.T) {
		c.Set("falco", "falco", helmtest.Revision{Number: 1, Status: "uninstalling", Since: now})
		c.CLI = func(ctx context.Context) (string, error) { // what Helm does to the cluster, the stand-in does not see
			assert.True(t, s.providers.Remove("Release/falco/falco"))
			return cli(ctx)
		}
		s.out.Reset()
		require.NoError(t, s.up(), s.out.String())
		assert.Contains(t, s.out.String(), "falco/falco was left in uninstalling (revision 1): uninstalled, to be installed again\n")
		assert.Equal(t, []string{"create falco-release"}, s.changes())
		s.requireWhole(whole)
	})
	t.Run("or rolled back, before the upgrade", func(t *testing.T) {
		c.Set("falco", "falco", helmtest.Revision{Number: 1, Status: "deployed", Since: now}, helmtest.Revision{Number: 2, Status: "pending-upgrade", Since: now})
		c.CLI = func(ctx context.Context) (string, error) {
			assert.Empty(t, s.changes(), "nothing is changed before it")
			return cli(ctx)
		}
		s.settings["falco.priority"] = "warning"
		s.out.Reset()
		require.NoError(t, s.up(), s.out.String())
		assert.Contains(t, s.out.String(), "falco/falco was left in pending-upgrade (revision 2): rolled back to revision 1\n")
		assert.Contains(t, s.changes(), "update falco-release")
		assert.Len(t, c.Calls(t), 2)
		s.requireWhole(whole)
	})
	t.Run("while a down leaves that to Helm, which uninstalls it as it is", func(t *testing.T) {
		require.NoError(t, s.down(), s.out.String())
		assert.Len(t, c.Calls(t), 2)
		s.requireWhole(nil)
	})
}
