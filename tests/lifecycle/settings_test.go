package lifecycle

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
)

// flip is one setting changed on a stack that is up, and everything that a preview then plans.
type flip struct {
	key string
	// value that the setting gets, with the stack's name for STACK; a secret's is encrypted first.
	value any
	want  []string
}

// What a rule edit does: other rules, another name, and Falco mounts that.
var ruleEdit = []string{"replace falco-rules", "update falco-release"}

func updates(names ...string) []string { return each("update", names) }

const ruleFile = "- rule: Mine\n  desc: One of my own.\n  condition: evt.type=openat and fd.name=/etc/mine\n  output: mine (file=%fd.name)\n  priority: NOTICE\n"

var (
	spireWaits  = []string{"spire-release", "spire-spire-agent-ready", "spire-spire-spiffe-csi-driver-ready"}
	identities  = []string{"mtls-client-identity", "mtls-server-identity"}
	deployments = []string{"mtls-client-deployment", "mtls-server-deployment"}
	spireParts  = sorted(spireWaits, []string{"spire-crds", "spire-namespace"})
	// The cluster's own SPIRE takes the place of the stack's.
	ownSPIRE = each("delete", spireParts)
	// Everything in the cluster, with every output on.
	anew = each("replace", sorted(inCluster, []string{"cluster-provider", "falcosidekick-outputs"}))
)

// also are the settings that a flipped one cannot be without.
var also = map[string]map[string]any{
	"cluster.mode":    {"cluster.kubeconfig": "elsewhere/kubeconfig", "cluster.context": "other", "image.repository": "ghcr.io/you/mtls-server"},
	"spire.className": {"spire.mode": "existing"},
}

// onMinikube are flips on a stack with everything switched on.
var onMinikube = []flip{
	{"enableFalco", false, each("delete", sorted(falcoResources, []string{"falcosidekick-outputs"}))},
	{"cluster.kubeconfig", ".state/STACK/other", updates("cluster-minikube", "cluster-provider", "falco-check-nodes")},
	{"cluster.testing", true, nil},
	{"minikube.driver", "kvm2", updates("cluster-minikube")},
	// Another cluster: everything is planned anew there. With another profile the running one refuses (minikube-up.sh)
	// before anything is lost.
	{"minikube.profile", "other", sorted(anew, updates("cluster-minikube", "falco-check-nodes", "image"))},
	{"cluster.mode", "existing", sorted(anew, each("delete", []string{"cluster-minikube"}), updates("falco-check-nodes", "image"))},
	{"minikube.cpus", 4, updates("cluster-minikube")},
	{"minikube.memory", 8192, updates("cluster-minikube")},
	{"minikube.disk", "40g", updates("cluster-minikube")},
	{"minikube.cni", "calico", updates("cluster-minikube")},
	{"minikube.kubernetesVersion", "v1.35.9", updates("cluster-minikube")},
	{"spire.trustDomain", "other.example", updates(sorted(spireWaits, identities, deployments)...)},
	{"spire.clusterName", "other", updates(spireWaits...)},
	{"spire.persistence", "emptyDir", updates(spireWaits...)},
	{"spire.agentSocketPath", "/run/spire-agent/public/api.sock", sorted(updates(spireWaits...), ruleEdit)},
	{"falco.chartVersion", "6.4.1", updates("falco-check-nodes", "falco-release")}, // it loads on other kernels
	{"falco.leastPrivileged", true, updates("falco-release")},
	{"falco.priority", "notice", updates("falco-release")},
	{"falco.requests.cpu", "200m", updates("falco-release")},
	{"falco.requests.memory", "300Mi", updates("falco-release")},
	{"falco.limits.cpu", "1", updates("falco-release")},
	{"falco.limits.memory", "1Gi", updates("falco-release")},
	{"falco.bufferPreset", 5, updates("falco-release")},
	{"falco.allowedProcesses", []string{"/usr/bin/other"}, ruleEdit},
	{"falco.extraRules", []string{"mine.yaml"}, ruleEdit},
	{"falco.fileOutput", "/var/log/falco.log", updates("falco-release")},
	{"falco.syslogOutput", true, updates("falco-release")},
	{"falco.metrics", false, updates("falco-release")},
	{"falco.serviceMonitor", true, updates("falco-release")},
	{config.FalcoValuesKey, map[string]any{"tolerations": []any{map[string]any{"operator": "Exists"}}}, updates("falco-release")},
	{config.FalcosidekickValuesKey, map[string]any{"replicaCount": 2}, updates("falcosidekick-release")},
	{config.SPIREValuesKey, map[string]any{"spire-server": map[string]any{"caTTL": "48h"}}, updates(spireWaits...)},
	{config.SPIRECRDsValuesKey, map[string]any{"annotations": map[string]any{"example.org/owner": "platform"}}, updates("spire-crds")},
	{"falco.dashboard", true, each("create", []string{"falco-dashboard"})},
	{"spire.chartVersion", "0.29.0", updates(sorted(spireWaits, []string{"spire-crds"})...)},
	{"falcosidekick.chartVersion", "0.13.1", updates("falcosidekick-release")},
	{config.SlackWebhookKey, slackWebhook + "2", updates("falcosidekick-outputs", "falcosidekick-release")},
	{"falcosidekick.slack.minimumPriority", "error", updates("falcosidekick-release")},
	{"falcosidekick.elasticsearch.hostPort", "http://other:9200", updates("falcosidekick-release")},
	{"falcosidekick.elasticsearch.index", "other", updates("falcosidekick-release")},
	{"falcosidekick.elasticsearch.type", "other", updates("falcosidekick-release")},
	{"falcosidekick.elasticsearch.minimumPriority", "error", updates("falcosidekick-release")},
	{"falcosidekick.elasticsearch.username", "other", updates("falcosidekick-release")},
	{config.ElasticsearchPasswordKey, elasticsearchPassword + "2", updates("falcosidekick-outputs", "falcosidekick-release")},
	{config.OutputsKey, map[string]any{"loki": map[string]any{"hostport": "http://loki:3100"}}, updates("falcosidekick-release")},
	{"falcosidekick.ui.enabled", false, updates("falcosidekick-outputs", "falcosidekick-release")},
	{"falcosidekick.ui.user", "other", updates("falcosidekick-outputs", "falcosidekick-release")},
	{config.UIPasswordKey, uiPassword + "2", updates("falcosidekick-outputs", "falcosidekick-release")},
	{"charts.falcoRepository", "https://mirror.example/falco", updates("falco-release", "falcosidekick-release")},
	{"charts.spireRepository", "https://mirror.example/spire", updates("spire-crds", "spire-release")},
	{"image.repository", "ghcr.io/you/mtls-server", sorted(updates(sorted(deployments, []string{"image"})...), ruleEdit)}, // the rules ask for the image
}

// Everything of the stack in an existing cluster but its image.
var inCluster = slices.DeleteFunc(sorted(baseResources, falcoResources), func(name string) bool {
	return name == "image" || name == "falco-check-nodes"
})

// onExisting are flips on a stack in a cluster that exists.
var onExisting = []flip{
	// Another cluster: everything is made there and taken from here.
	{"cluster.context", "other", sorted(each("replace", append([]string{"cluster-provider"}, inCluster...)), updates("falco-check-nodes"))},
	{"spire.mode", "existing", sorted(ownSPIRE, updates(identities...))},
	{"spire.namespace", "other", sorted(each("replace", spireParts), updates(identities...), ruleEdit)},
	{"falco.namespace", "other", each("replace", []string{"falco-namespace", "falco-release", "falco-rules", "falcosidekick-release"})},
	{"spire.className", "other", sorted(ownSPIRE, updates(identities...))},
	{
		"workloads", // another port
		[]map[string]any{
			{"name": "mtls-server", "namespace": "mtls", "port": 9443, "peers": []string{"mtls-client"}},
			{"name": "mtls-client", "namespace": "mtls", "env": map[string]string{"SERVER_ADDRESS": "mtls-server.mtls.svc:9443", "CLIENT_RATE": "1"}},
		},
		sorted(ruleEdit, updates(deployments...), updates("mtls-client-policy", "mtls-server-policy", "mtls-server-service")),
	},
}

// onHosts are flips on a stack with a host outside the cluster.
var onHosts = []flip{
	{"hosts.list", []map[string]any{edge, {"name": "here", "local": true}}, each("create", []string{"hosts-here-check", "hosts-here-base", "hosts-here-package", "hosts-here-falco"})},
	{config.HostKeysKey, `{"edge":"other key"}`, updates("hosts-edge-base", "hosts-edge-check", "hosts-edge-falco", "hosts-edge-package")},
	{"hosts.alertFile", "/var/log/falco/other.json", updates("hosts-edge-falco")},
	{"hosts.rotateMB", 50, updates("hosts-edge-falco")},
	{"hosts.rotateKeep", 3, updates("hosts-edge-falco")},
	{"hosts.syslog", false, updates("hosts-edge-falco")},
	{"hosts.httpOutput", "http://falcosidekick.example:2801", updates("hosts-edge-falco")},
}

var edge = map[string]any{
	"name": "edge", "address": "edge.example.org", "user": "root",
	"hostKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65TtGH9wlhqQHf+zyt7Tf5",
}

// single are settings that have one value alone, or whose other values need another setting with them: why they have no
// flip of their own.
var single = map[string]string{
	"falco.driver":           "modern_ebpf is the only driver",
	"spire.crdsChartVersion": "each chart of SPIRE goes with one version of its CRDs",
}

// sample is one in how many settings is flipped unless LIFECYCLE=full: each flip is a run of the engine.
const sample = 6

func TestEverySettingChangesOnlyWhatItIsFor(t *testing.T) {
	t.Parallel()
	flipped := map[string]bool{}
	for _, f := range slices.Concat(onMinikube, onExisting, onHosts) {
		flipped[f.key] = true
	}
	for _, d := range config.Declared {
		assert.NotEqual(t, flipped[d.Key], single[d.Key] != "", "the setting %s has either a flip or a reason not to have one", d.Key)
	}
	half := len(onMinikube) / 2
	for _, c := range []struct {
		name     string
		settings map[string]any
		secrets  map[string]string
		flips    []flip
	}{
		{"on_Minikube", allOutputs, allSecrets, onMinikube[:half]},
		{"on_Minikube_too", allOutputs, allSecrets, onMinikube[half:]},
		{"in_an_existing_cluster", with(existing, falcoOn), nil, onExisting},
		{"with_a_host", with(existing, falcoOn, map[string]any{"hosts.list": []map[string]any{edge}}), map[string]string{config.HostKeysKey: `{"edge":"key"}`}, onHosts},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t, c.settings)
			require.NoError(t, os.WriteFile(filepath.Join(s.dir, "mine.yaml"), []byte(ruleFile), 0o600))
			changed := map[string]string{}
			if c.secrets != nil {
				other := map[string]string{}
				for _, f := range c.flips {
					if text, ok := f.value.(string); ok && c.secrets[f.key] != "" {
						other[f.key] = text
					}
				}
				if len(other) > 0 {
					s.encrypt(other)
					maps.Copy(changed, s.secure)
				}
				s.encrypt(c.secrets)
			}
			require.NoError(t, s.up(), s.out.String())
			settings, secure := s.settings, s.secure
			for i, f := range c.flips {
				if !full && i%sample != 0 {
					continue
				}
				s.settings, s.secure = maps.Clone(settings), maps.Clone(secure)
				maps.Copy(s.settings, also[f.key])
				if changed[f.key] != "" {
					s.secure[f.key] = changed[f.key]
				} else {
					s.settings[f.key] = f.value
					if text, ok := f.value.(string); ok {
						s.settings[f.key] = strings.ReplaceAll(text, "STACK", s.name)
					}
				}
				got := s.preview()
				want := slices.Clone(f.want)
				slices.Sort(want)
				assert.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"), "%s = %v", f.key, f.value)
			}
		})
	}
}
