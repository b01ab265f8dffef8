package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
)

var want = Want{
	Release: "falco", Image: "docker.io/falcosecurity/falco:0.44.0", InitContainers: []string{"check-node"},
	RulesFiles:     []string{"/etc/falco/rules.d/10.yaml", "/etc/falco/falco_rules.yaml"},
	RulesConfigMap: "falco-rules-0123456789ab", AlertURL: "http://falcosidekick:2801", Plugins: []string{"container"},
}

// kept is what a chart makes that keeps the contract.
const kept = `
kind: ServiceAccount
metadata: {name: falco}
---
kind: ConfigMap
metadata: {name: falco}
data:
  falco.yaml: |
    rules_files: [/etc/falco/rules.d/10.yaml, /etc/falco/falco_rules.yaml]
    config_files: []
    load_plugins: [container]
    engine: {kind: modern_ebpf}
    rule_matching: first
    json_output: true
    http_output: {enabled: true, url: http://falcosidekick:2801}
---
kind: DaemonSet
metadata: {name: falco}
spec:
  template:
    spec:
      initContainers:
        - {name: check-node, image: "docker.io/falcosecurity/falco:0.44.0"}
      containers:
        - name: falco
          image: docker.io/falcosecurity/falco:0.44.0
          imagePullPolicy: IfNotPresent
          volumeMounts:
            - {name: containerd, mountPath: /host/run/containerd/}
            - {name: etc, mountPath: /host/etc, readOnly: true}
            - {name: config, mountPath: /etc/falco/falco.yaml, subPath: falco.yaml}
            - {name: rules, mountPath: /etc/falco/rules.d, readOnly: true}
      volumes:
        - {name: containerd, hostPath: {path: /run/containerd}}
        - {name: etc, hostPath: {path: /etc}}
        - {name: config, configMap: {name: falco}}
        - {name: rules, configMap: {name: falco-rules-0123456789ab}}
`

func TestAChartThatKeepsTheContractHasNothingToReport(t *testing.T) {
	t.Parallel()
	objects, err := parse([]byte(kept))
	require.NoError(t, err)
	require.Len(t, objects, 3)
	require.NoError(t, Check(objects, want))
}

func TestEachBreachOfTheContractIsReported(t *testing.T) {
	t.Parallel()
	mount := func(more string) string {
		return "            - {name: rules, mountPath: /etc/falco/rules.d, readOnly: true}\n            - " + more + "\n"
	}
	const rulesMount = "            - {name: rules, mountPath: /etc/falco/rules.d, readOnly: true}\n"
	for _, tt := range []struct{ name, from, to, want string }{
		{"no DaemonSet", "kind: DaemonSet", "kind: Other", "makes no DaemonSet falco"},
		{"a DaemonSet of another name", "kind: DaemonSet\nmetadata: {name: falco}", "kind: DaemonSet\nmetadata: {name: other}", "makes another DaemonSet, other"},
		{"another workload", "kind: ServiceAccount", "kind: Deployment", "makes the Deployment falco"},
		{"rules of its own", "kind: ServiceAccount\nmetadata: {name: falco}", "kind: ConfigMap\nmetadata: {name: falco-rules}", "makes the ConfigMap falco-rules"},
		{"no falco.yaml", "falco.yaml: |", "other.yaml: |", "makes no falco.yaml"},
		{"a falco.yaml that cannot be read", "rules_files: [", "rules_files: [[", "falco.yaml cannot be read"},
		{"both keys of rules", "config_files: []", "rules_file: []", "has rules_file beside rules_files"},
		{"rules in another order", "[/etc/falco/rules.d/10.yaml, /etc/falco/falco_rules.yaml]", "[/etc/falco/falco_rules.yaml, /etc/falco/rules.d/10.yaml]", "has rules_files [/etc/falco/falco_rules.yaml"},
		{"a rule file twice", "/etc/falco/falco_rules.yaml]", "/etc/falco/falco_rules.yaml, /etc/falco/falco_rules.yaml]", "has rules_files"},
		{"further configuration", "config_files: []", "config_files: [/etc/falco/config.d]", "has config_files"},
		{"another plugin", "[container]", "[container, k8smeta]", "has load_plugins [container k8smeta], and must have [container]"},
		{"another driver", "kind: modern_ebpf", "kind: kmod", "has engine.kind kmod"},
		{"rules that all match", "rule_matching: first", "rule_matching: all", "has rule_matching all"},
		{"alerts that are no JSON", "json_output: true", "json_output: false", "has json_output false"},
		{"alerts that go nowhere", "enabled: true, url", "enabled: false, url", "has http_output.enabled false"},
		{"alerts that go elsewhere", "http://falcosidekick:2801}", "http://other:2801}", "has http_output.url http://other:2801"},
		{"a driver loader", "name: check-node", "name: falco-driver-loader", "the init container falco-driver-loader"},
		{"falcoctl", "        - name: falco\n", "        - name: falcoctl-artifact-follow\n        - name: falco\n", "the containers [falcoctl-artifact-follow falco]"},
		{"another image", "image: docker.io/falcosecurity/falco:0.44.0\n", "image: docker.io/falcosecurity/falco:latest\n", "has the image docker.io/falcosecurity/falco:latest"},
		{"an image that is pulled at every start", "IfNotPresent", "Always", "pulls its image at every start"},
		{"no mount of the rules", rulesMount, "", "/etc/falco/rules.d is mounted 0 times"},
		{"rules that can be written", "rules.d, readOnly: true}", "rules.d}", "mounted writable"},
		{"rules of another ConfigMap", "name: falco-rules-0123456789ab", "name: falco-rules", `from the ConfigMap "falco-rules"`},
		{"a mount over the rules", rulesMount, mount("{name: etc, mountPath: /etc/falco}"), "the mount etc at /etc/falco hides rules"},
		{"a mount over one rule file", rulesMount, mount("{name: etc, mountPath: /etc/falco/rules.d/10.yaml}"), "hides rules"},
		{"a mount without its volume", rulesMount, mount("{name: gone, mountPath: /gone}"), "mounts gone, which is no volume"},
		{"the socket of another runtime", "/run/containerd}", "/run/crio/crio.sock}", "mounts /run/crio/crio.sock of the node"},
		{"two sockets", "hostPath: {path: /etc}", "hostPath: {path: /var/run/docker.sock}", "mounts 2 sockets"},
		{"no socket", "/run/containerd}", "/srv}", "mounts 0 sockets"},
		{"the socket at another place", "/host/run/containerd/", "/run/containerd", "must be at /host/run/containerd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, kept, tt.from)
			objects, err := parse([]byte(strings.Replace(kept, tt.from, tt.to, 1)))
			require.NoError(t, err)
			require.ErrorContains(t, Check(objects, want), tt.want)
		})
	}
}

// helm is a program in place of the Helm CLI that does what the script says.
func helm(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helm")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700))
	return path
}

func TestRenderAsksHelmForTheChartOfTheRepository(t *testing.T) {
	t.Parallel()
	release := Release{Name: "falco", Namespace: "watch", Values: map[string]any{"driver": map[string]any{"kind": "modern_ebpf"}}}
	for _, tt := range []struct{ repository, pull string }{
		{"https://mirror.example/charts", "pull falco --repo https://mirror.example/charts --version 9.0.0"},
		{"oci://mirror.example/charts/", "pull oci://mirror.example/charts/falco --version 9.0.0"},
	} {
		t.Run(tt.repository, func(t *testing.T) {
			t.Parallel()
			said := filepath.Join(t.TempDir(), "said")
			r := release
			r.Chart = charts.Chart{Name: "falco", Version: "9.0.0", Repository: tt.repository}
			objects, err := Render(t.Context(), helm(t, `echo "$HELM_CACHE_HOME $*" >>`+said+`
case "$1" in
pull) exit 0 ;;
esac
cat values.yaml
echo ---
echo 'kind: DaemonSet'
`), r)
			require.NoError(t, err)
			assert.Equal(t, []map[string]any{{"driver": map[string]any{"kind": "modern_ebpf"}}, {"kind": "DaemonSet"}}, objects)
			calls, err := os.ReadFile(said)
			require.NoError(t, err)
			assert.Contains(t, string(calls), tt.pull)
			assert.Contains(t, string(calls), "template falco ")
			assert.Contains(t, string(calls), "falco-9.0.0.tgz --namespace watch --values ")
			home, _, _ := strings.Cut(string(calls), " ")
			assert.NoDirExists(t, home, "the chart and Helm's own files are removed")
		})
	}
}

func TestAChartThatCannotBeHadIsToldFromOneThatDoesNotRender(t *testing.T) {
	t.Parallel()
	release := Release{Chart: charts.Chart{Name: "falco", Version: "9.0.0", Repository: "https://mirror.example"}, Name: "falco"}
	_, err := Render(t.Context(), helm(t, "echo 'Error: no such host' >&2; exit 1\n"), release)
	require.ErrorIs(t, err, ErrNoChart)
	require.ErrorContains(t, err, "Error: no such host")
	_, err = Render(t.Context(), helm(t, `[ "$1" = pull ] || { echo 'Error: both collectors' >&2; exit 1; }`+"\n"), release)
	require.NotErrorIs(t, err, ErrNoChart)
	require.ErrorContains(t, err, "render chart falco 9.0.0")
	require.ErrorContains(t, err, "Error: both collectors")
	_, err = Render(t.Context(), helm(t, "echo '- no object'\n"), release)
	require.ErrorContains(t, err, "read what the chart makes")
}
