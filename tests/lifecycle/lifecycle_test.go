package lifecycle

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// existing are the settings of a cluster that is there already.
var existing = map[string]any{
	"cluster.mode":       "existing",
	"cluster.kubeconfig": "kubeconfig",
	"cluster.context":    "there",
	"image.repository":   "ghcr.io/you/mtls-server",
}

func with(base map[string]any, more ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range append([]map[string]any{base}, more...) {
		maps.Copy(out, m)
	}
	return out
}

var falcoOn = map[string]any{"enableFalco": true}

// What the stack consists of, sorted.
var (
	baseResources = []string{
		"image",
		"mtls-client-account", "mtls-client-deployment", "mtls-client-identity", "mtls-client-policy",
		"mtls-server-account", "mtls-server-deployment", "mtls-server-identity", "mtls-server-policy", "mtls-server-service",
		"namespace-mtls",
		"spire-crds", "spire-namespace", "spire-release", "spire-spire-agent-ready", "spire-spire-spiffe-csi-driver-ready",
	}
	falcoResources = []string{
		"falco-check-nodes", "falco-namespace", "falco-release", "falco-rules", "falcosidekick-release",
	}
)

func sorted(lists ...[]string) []string {
	out := slices.Concat(lists...)
	slices.Sort(out)
	return out
}

func each(verb string, names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, verb+" "+n)
	}
	slices.Sort(out)
	return out
}

func TestWholeProgram(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		settings map[string]any
		want     []string
		deleted  []string // one by one
	}{
		{"Minikube_without_Falco", nil, sorted(baseResources, []string{"cluster-minikube"}), []string{"cluster-minikube"}},
		{"Minikube_with_Falco", falcoOn, sorted(baseResources, falcoResources, []string{"cluster-minikube"}), []string{"cluster-minikube"}},
		{"existing_cluster_without_Falco", existing, baseResources, baseResources},
		{"existing_cluster_with_Falco", with(existing, falcoOn), sorted(baseResources, falcoResources), sorted(baseResources, falcoResources)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, c.settings)
			assert.Equal(t, each("create", append([]string{"cluster-provider"}, c.want...)), s.preview(), "a preview plans everything")
			assert.Empty(t, s.did(), "a preview does nothing")
			require.NoError(t, s.up(), s.out.String())
			up := s.did()
			assert.Equal(t, each("create", c.want), s.changes(), "up makes what was planned")
			s.requireWhole(c.want)
			assertCreated(t, up)
			require.NoError(t, s.up(), s.out.String())
			assert.Empty(t, s.did(), "a second up changes nothing")
			require.NoError(t, s.down(), s.out.String())
			assert.Equal(t, each("delete", c.deleted), s.changes(), "destroy")
			if len(c.deleted) > 1 {
				s.requireWhole(nil)
				assertDeleted(t, s.did())
			}
			assert.Empty(t, s.state().Checkpoint.Latest.Pending)
		})
	}
}

// order lists what must be up before what. A destroy goes the other way.
var order = [][2]string{
	{"cluster-minikube", "spire-namespace"},
	{"spire-namespace", "spire-crds"},
	{"spire-crds", "spire-release"},
	{"spire-release", "spire-spire-agent-ready"},
	{"spire-release", "spire-spire-spiffe-csi-driver-ready"},
	{"spire-crds", "mtls-server-identity"},
	{"spire-release", "mtls-server-identity"}, // whose webhook and controller answer for it
	{"mtls-server-identity", "mtls-server-deployment"},
	{"mtls-client-identity", "mtls-client-deployment"},
	{"spire-spire-agent-ready", "mtls-server-deployment"},
	{"spire-spire-spiffe-csi-driver-ready", "mtls-server-deployment"},
	{"spire-spire-spiffe-csi-driver-ready", "mtls-client-deployment"},
	{"image", "mtls-server-deployment"},
	{"mtls-server-policy", "mtls-server-deployment"},
	{"mtls-server-account", "mtls-server-deployment"},
	{"namespace-mtls", "mtls-server-account"},
	{"falco-namespace", "falcosidekick-release"},
	{"falcosidekick-release", "falco-release"},
	{"falco-rules", "falco-release"},
	{"falco-check-nodes", "falco-release"},
}

func assertCreated(t *testing.T, did []string) {
	t.Helper()
	for _, o := range order {
		first, second := slices.Index(did, "create "+o[0]), slices.Index(did, "create "+o[1])
		if first >= 0 && second >= 0 {
			assert.Less(t, first, second, "%s is made before %s: %s", o[0], o[1], strings.Join(did, ", "))
		}
	}
}

func assertDeleted(t *testing.T, did []string) {
	t.Helper()
	for _, o := range order {
		first, second := slices.Index(did, "delete "+o[0]), slices.Index(did, "delete "+o[1])
		if first >= 0 && second >= 0 {
			assert.Greater(t, first, second, "%s goes after %s: %s", o[0], o[1], strings.Join(did, ", "))
		}
	}
}
