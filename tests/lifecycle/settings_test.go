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
	// value that the setting gets; a secret's is encrypted first.
	value any
	want  []string
	// also are settings that the value cannot be without.
	also map[string]any
}

// What a rule edit does: other rules, another name, and Falco mounts that.
var ruleEdit = []string{"replace falco-rules", "update falco-release"}

func updates(names ...string) []string { return each("update", names) }

const ruleFile = "- rule: Mine\n  desc: One of my own.\n  condition: evt.type=openat and fd.name=/etc/mine\n  output: mine (file=%fd.name)\n  priority: NOTICE\n"

var (
	spireWaits  = []string{"spire-release", "spire-spire-agent-ready", "spire-spire-spiffe-csi-driver-ready"}
	identities  = []string{"mtls-client-identity", "mtls-server-identity"}
	deployments = []string{"mtls-client-deployment", "mtls-server-deployment"}
	// The cluster's own SPIRE takes the place of the stack's.
	ownSPIRE = each("delete", sorted(spireWaits, []string{"spire-crds", "spire-namespace"}))
	// Everything in the cluster, with every output on.
	anew = each("replace", sorted(inCluster, []string{"cluster-provider", "falcosidekick-outputs"}))
)

// onMinikube are flips on a stack with everything switched on.
var onMinikube = []flip{
	{"enableFalco", false, each("delete", sorted(falcoResources, []string{"falcosidekick-outputs"})), nil},
	{"cluster.kubeconfig", "elsewhere/kubeconfig", updates("cluster-minikube", "cluster-provider", "falco-check-nodes"), nil},
	{"cluster.testing", true, nil, nil},
	{"minikube.driver", "kvm2", updates("cluster-minikube"), nil},
	// Another cluster: everything is planned anew there. With another profile the running one refuses (minikube-up.sh) before anything is lost.
	{"minikube.profile", "other", sorted(anew, updates("cluster-minikube", "falco-check-nodes", "image")), nil},
	{"cluster.mode", "existing", sorted(anew, each("delete", []string{"cluster-minikube"}), updates("falco-check-nodes", "image")), map[string]any{"cluster.kubeconfig": "elsewhere/kubeconfig", "cluster.context": "other", "image.repository": "ghcr.io/you/mtls-server"}},
	{"minikube.cpus", 4, updates("cluster-minikube"), nil},
	{"minikube.memory", 8192, updates("cluster-minikube"), nil},
	{"minikube.disk", "40g", updates("cluster-minikube"), nil},
	{"minikube.kubernetesVersion", "v1.34.1", updates("cluster-minikube"), nil},
	{"spire.trustDomain", "other.example", updates(sorted(spireWaits, identities, deployments)...), nil},
	{"spire.clusterName", "other", updates(spireWaits...), nil},
	{"spire.persistence", "emptyDir", updates(spireWaits...), nil},
	{"spire.agentSocketPath", "/run/spire-agent/public/api.sock", sorted(updates(spireWaits...), ruleEdit), nil},
	{"falco.chartVersion", "5.0.1", updates("falco-check-nodes", "falco-release"), nil}, // it loads on other kernels
	{"falco.leastPrivileged", true, updates("falco-release"), nil},
	{"falco.priority", "notice", updates("falco-release"), nil},
	{"falco.requests.cpu", "200m", updates("falco-release"), nil},
	{"falco.requests.memory", "300Mi", updates("falco-release"), nil},
	{"falco.limits.cpu", "1", updates("falco-release"), nil},
	{"falco.limits.memory", "1Gi", updates("falco-release"), nil},
	{"falco.bufferPreset", 5, updates("falco-release"), nil},
	{"falco.allowedProcesses", []string{"/usr/bin/other"}, ruleEdit, nil},
	{"falco.extraRules", []string{"mine.yaml"}, ruleEdit, nil},
	{"falco.fileOutput", "/var/log/falco.log", updates("falco-release"), nil},
	{"falco.syslogOutput", true, updates("falco-release"), nil},
	{"falco.metrics", false, updates("falco-release"), nil},
	{"falco.serviceMonitor", true, updates("falco-release"), nil},
	{"falco.dashboard", true, each("create", []string{"falco-dashboard"}), nil},
	{"falcosidekick.chartVersion", "0.10.2", updates("falcosidekick-release"), nil},
	{config.SlackWebhookKey, slackWebhook + "2", updates("falcosidekick-outputs", "falcosidekick-release"), nil},
	{"falcosidekick.slack.minimumPriority", "error", updates("falcosidekick-release"), nil},
	{"falcosidekick.elasticsearch.hostPort", "http://other:9200", updates("falcosidekick-release"), nil},
	{"falcosidekick.elasticsearch.index", "other", updates("falcosidekick-release"), nil},
	{"falcosidekick.elasticsearch.type", "other", updates("falcosidekick-release"), nil},
	{"falcosidekick.elasticsearch.minimumPriority", "error", updates("falcosidekick-release"), nil},
	{"falcosidekick.elasticsearch.username", "other", updates("falcosidekick-release"), nil},
	{config.ElasticsearchPasswordKey, elasticsearchPassword + "2", updates("falcosidekick-outputs", "falcosidekick-release"), nil},
	{"falcosidekick.ui.enabled", false, updates("falcosidekick-outputs", "falcosidekick-release"), nil},
	{"falcosidekick.ui.user", "other", updates("falcosidekick-outputs", "falcosidekick-release"), nil},
	{config.UIPasswordKey, uiPassword + "2", updates("falcosidekick-outputs", "falcosidekick-release"), nil},
	{"charts.falcoRepository", "https://mirror.example/falco", updates("falco-release", "falcosidekick-release"), nil},
	{"charts.spireRepository", "https://mirror.example/spire", updates("spire-crds", "spire-release"), nil},
	{"image.repository", "ghcr.io/you/mtls-server", updates(sorted(deployments, []string{"image"})...), nil},
}

// Everything of the stack in an existing cluster but its image.
var inCluster = slices.DeleteFunc(sorted(baseResources, falcoResources), func(name string) bool {
	return name == "image" || name == "falco-check-nodes"
})

// onExisting are flips on a stack in a cluster that exists.
var onExisting = []flip{
	// Another cluster: everything is made there and taken from here.
	{"cluster.context", "other", sorted(each("replace", append([]string{"cluster-provider"}, inCluster...)), updates("falco-check-nodes")), nil},
	{"spire.mode", "existing", sorted(ownSPIRE, updates(identities...)), nil},
	{"spire.namespace", "other", sorted(each("replace", sorted(spireWaits, []string{"spire-crds", "spire-namespace"})), updates(identities...), ruleEdit), nil},
	{"falco.namespace", "other", each("replace", []string{"falco-namespace", "falco-release", "falco-rules", "falcosidekick-release"}), nil},
	{"spire.className", "other", sorted(ownSPIRE, updates(identities...)), map[string]any{"spire.mode": "existing"}},
	{
		"workloads", // another port
		[]map[string]any{
			{"name": "mtls-server", "namespace": "mtls", "port": 9443, "peers": []string{"mtls-client"}},
			{"name": "mtls-client", "namespace": "mtls", "env": map[string]string{"SERVER_ADDRESS": "mtls-server.mtls.svc:9443", "CLIENT_RATE": "1"}},
		},
		sorted(ruleEdit, updates(deployments...), updates("mtls-client-policy", "mtls-server-policy", "mtls-server-service")),
		nil,
	},
}

// onHosts are flips on a stack with a host outside the cluster.
var onHosts = []flip{
	{"hosts.list", []map[string]any{edge, {"name": "here", "local": true}}, each("create", []string{"hosts-here-check", "hosts-here-base", "hosts-here-package", "hosts-here-falco"}), nil},
	{config.HostKeysKey, `{"edge":"other key"}`, updates("hosts-edge-base", "hosts-edge-check", "hosts-edge-falco", "hosts-edge-package"), nil},
	{"hosts.alertFile", "/var/log/falco/other.json", updates("hosts-edge-falco"), nil},
	{"hosts.rotateMB", 50, updates("hosts-edge-falco"), nil},
	{"hosts.rotateKeep", 3, updates("hosts-edge-falco"), nil},
	{"hosts.syslog", false, updates("hosts-edge-falco"), nil},
	{"hosts.httpOutput", "http://falcosidekick.example:2801", updates("hosts-edge-falco"), nil},
}

var edge = map[string]any{
	"name": "edge", "address": "edge.example.org", "user": "root",
	"hostKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65TtGH9wlhqQHf+zyt7Tf5",
}

// single are settings that have one value alone, or whose other values need another setting with them: why they have no
// flip of their own.
var single = map[string]string{
	"falco.driver":           "modern_ebpf is the only driver",
	"spire.chartVersion":     "0.27.0 is the only supported version",
	"spire.crdsChartVersion": "0.5.0 is the only supported version",
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
				maps.Copy(s.settings, f.also)
				if changed[f.key] != "" {
					s.secure[f.key] = changed[f.key]
				} else {
					s.settings[f.key] = f.value
				}
				got := s.preview()
				want := slices.Clone(f.want)
				slices.Sort(want)
				assert.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"), "%s = %v", f.key, f.value)
			}
		})
	}
}
