package components

import (
	"fmt"
	"maps"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
	"spire-falco/config"
	"spire-falco/falco"
	"spire-falco/falco/ruleset"
	"spire-falco/rules"
	"spire-falco/values"
)

var falcoOn = map[string]string{"enableFalco": "true"}

func on(more map[string]string) map[string]string {
	m := map[string]string{"enableFalco": "true"}
	maps.Copy(m, more)
	return m
}

func TestWithoutFalcoNoResourceOfFalcoExists(t *testing.T) {
	r, _ := stack(t, settings(t, nil), FalcosidekickSecrets{})
	for _, res := range r.list {
		assert.NotContains(t, strings.ToLower(res.name), "falco", res.typ)
		assert.NotEqual(t, "falco", res.get("namespace"))
	}
}

func TestEveryResourceIsParentedToItsComponent(t *testing.T) {
	r, _ := stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	parents := map[string]string{}
	for _, res := range r.list {
		parents[res.name] = res.parent
	}
	for child, parent := range map[string]string{
		"cluster": "stack", "spire": "stack", "falco": "stack", "falcosidekick": "stack", "mtls-server": "stack", "mtls-client": "stack",
		"cluster-minikube": "cluster", "cluster-provider": "cluster",
		"spire-namespace": "spire", "spire-crds": "spire", "spire-release": "spire", "spire-spire-agent-ready": "spire",
		"falco-rules": "falco", "falco-release": "falco", "falco-check-nodes": "falco",
		"falcosidekick-release":  "falcosidekick",
		"mtls-server-deployment": "mtls-server", "mtls-server-identity": "mtls-server", "mtls-server-policy": "mtls-server",
		"mtls-server-account": "mtls-server", "mtls-server-service": "mtls-server",
	} {
		assert.Equal(t, parent, parents[child], child)
	}
}

func TestEverythingInTheClusterUsesItsProviderAndDiesWithMinikube(t *testing.T) {
	r, _ := stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	for _, res := range r.list {
		switch {
		case strings.HasPrefix(res.typ, "kubernetes:"):
			assert.Contains(t, res.provider, "cluster-provider", res.name)
			assert.Equal(t, "cluster-minikube", res.deletedWith, res.name)
		case res.typ == "command:local:Command" && res.name != "cluster-minikube":
			assert.Equal(t, "cluster-minikube", res.deletedWith, res.name)
		default:
			assert.Empty(t, res.deletedWith, res.name)
		}
	}
	existing := on(map[string]string{
		"cluster.mode": "existing", "cluster.kubeconfig": "/k", "cluster.context": "c", "image.repository": "registry.example.org/mtls",
	})
	r, _ = stack(t, settings(t, existing), FalcosidekickSecrets{})
	for _, res := range r.list {
		assert.Empty(t, res.deletedWith, "%s: in an existing cluster everything is deleted one by one", res.name)
		assert.NotEqual(t, "cluster-minikube", res.name)
	}
}

func TestThePartsComeUpInOrderAndSoGoDownInReverse(t *testing.T) {
	r, _ := stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	for _, tt := range []struct {
		what  string
		after []string
	}{
		{"cluster-provider", []string{"cluster-minikube"}},
		{"spire-release", []string{"spire-crds"}},
		{"spire-spire-agent-ready", []string{"spire-release"}},
		{"spire-spire-spiffe-csi-driver-ready", []string{"spire-release"}},
		{"mtls-server-identity", []string{"spire-release"}},
		{"mtls-server-deployment", []string{
			"mtls-server-identity", "mtls-server-account", "mtls-server-policy",
			"spire-release", "spire-spire-agent-ready", "spire-spire-spiffe-csi-driver-ready", "image",
		}},
		{"falco-release", []string{"falco-rules", "falco-check-nodes", "falcosidekick-release"}},
		{"image", []string{"cluster-minikube"}},
	} {
		got := r.one(t, tt.what).dependsOn
		for _, a := range tt.after {
			assert.Contains(t, got, a, tt.what)
		}
	}
}

func TestTheRulesConfigMapHoldsTheCheckedRulesUnderTheirHash(t *testing.T) {
	r, rendered := stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	cm := r.one(t, "falco-rules")
	assert.Equal(t, "falco-rules-"+rendered.Hash[:12], cm.get("metadata", "name"))
	assert.Equal(t, "falco", cm.get("metadata", "namespace"))
	assert.Equal(t, true, cm.get("immutable"))
	data, ok := cm.get("data").(map[string]any)
	require.True(t, ok)

	var files []ruleset.File
	for _, f := range rendered.Files() {
		assert.Equal(t, f.Content, data[f.Name])
		text, ok := data[f.Name].(string)
		require.True(t, ok)
		files = append(files, ruleset.File{Name: f.Name, Content: []byte(text)})
	}
	assert.Len(t, data, len(rendered.Files()))
	version, err := falco.Lookup("0.40.0")
	require.NoError(t, err)
	set, report := ruleset.Load(files, ruleset.Options{Falco: version})
	require.True(t, report.OK(), "%v", report.Errors)
	assert.Empty(t, report.Warnings)
	var names []string
	for _, rule := range set.Rules() {
		names = append(names, rule.Name)
		assert.True(t, rule.Enabled, rule.Name)
	}
	for _, name := range []string{ // the guide's seven and four more
		"Unauthorized Access to SPIRE Socket", "Unexpected Shell Spawned in mTLS Container", "Unexpected Network Port Binding",
		"Certificate File Modification", "Container Escape Attempt via Proc", "Outbound Connection from mTLS Server",
		"Sensitive File Read by mTLS Process", "SPIRE Socket Directory Tampering", "Service Account Token Access in mTLS Container",
		"Unexpected Child Process in mTLS Container", "Debugger Attached to mTLS Process",
	} {
		assert.Contains(t, names, name)
	}
}

func TestOtherRulesGetAnotherConfigMapThatTheReleaseMounts(t *testing.T) {
	plainRun, _ := stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	other, _ := stack(t, settings(t, on(map[string]string{"falco.allowedProcesses": `["/usr/bin/my-client"]`})), FalcosidekickSecrets{})
	a, b := plainRun.one(t, "falco-rules"), other.one(t, "falco-rules")
	assert.NotEqual(t, a.get("metadata", "name"), b.get("metadata", "name"))
	for run, cm := range map[*recorder]registered{plainRun: a, other: b} {
		v, ok := run.one(t, "falco-release").get("values", "mounts").(map[string]any)
		require.True(t, ok)
		assert.Equal(t, []any{map[string]any{"name": "spire-falco-rules", "configMap": map[string]any{"name": cm.get("metadata", "name")}}}, v["volumes"])
		assert.Equal(t, []any{map[string]any{"name": "spire-falco-rules", "mountPath": "/etc/falco/rules.d", "readOnly": true}}, v["volumeMounts"])
	}
}

func TestReleasesTakeTheResolvedChart(t *testing.T) {
	r, _ := stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	for name, want := range map[string][3]string{
		"falco-release":         {"falco", "4.19.0", "https://falcosecurity.github.io/charts"},
		"falcosidekick-release": {"falcosidekick", "0.14.0", "https://falcosecurity.github.io/charts"},
		"spire-release":         {"spire", "0.30.0", "https://spiffe.github.io/helm-charts-hardened/"},
		"spire-crds":            {"spire-crds", "0.6.0", "https://spiffe.github.io/helm-charts-hardened/"},
	} {
		res := r.one(t, name)
		assert.Equal(t, want[0], res.get("chart"), name)
		assert.Equal(t, want[1], res.get("version"), name)
		assert.Equal(t, want[2], res.get("repositoryOpts", "repo"), name)
	}
	assert.Equal(t, "modern_ebpf", r.one(t, "falco-release").get("values", "driver", "kind"))
	assert.Equal(t, AlertURL, r.one(t, "falco-release").get("values", "falco", "http_output", "url"))
}

func TestSecretsAreOnlyInTheSecretThatTheChartReadsByName(t *testing.T) {
	s := settings(t, on(map[string]string{
		"falcosidekick.ui.enabled":             "true",
		"falcosidekick.elasticsearch.hostPort": "http://es:9200",
		"falcosidekick.elasticsearch.username": "elastic",
	}), config.SlackWebhookKey, config.ElasticsearchPasswordKey, config.UIPasswordKey)
	const slack, es, ui = "https://hooks.slack.com/services/T0/B0/slacksecret", "es-secret-password", "ui-secret-password"
	secrets := func(slack string) FalcosidekickSecrets {
		return FalcosidekickSecrets{Outputs: map[string]pulumi.StringInput{config.SlackWebhookKey: pulumi.String(slack), config.ElasticsearchPasswordKey: pulumi.String(es)}, UIPassword: pulumi.String(ui)}
	}
	r, _ := stack(t, s, secrets(slack))
	secret := r.one(t, "falcosidekick-outputs")
	assert.Equal(t, map[string]any{"secret": map[string]any{
		"SLACK_WEBHOOKURL": slack, "ELASTICSEARCH_PASSWORD": es, "FALCOSIDEKICK_UI_USER": "admin:" + ui,
	}}, secret.get("stringData"), "secret as a whole")
	for _, res := range r.list {
		if res.name == secret.name {
			continue
		}
		text := res.inputs.Mappable()
		for _, word := range []string{slack, "slacksecret", es, ui} {
			assert.NotContains(t, flatten(text), word, res.name)
		}
	}
	release := r.one(t, "falcosidekick-release")
	assert.Equal(t, "falcosidekick-outputs", release.get("values", "config", "existingSecret"))
	assert.Equal(t, "falcosidekick-outputs", release.get("values", "webui", "existingSecret"))
	hash := release.get("values", "podAnnotations", values.SecretHashAnnotation)
	assert.Len(t, hash, 6, "a short hash, and no secret itself")
	assert.Contains(t, release.dependsOn, "falcosidekick-outputs")

	other, _ := stack(t, s, secrets(slack+"2"))
	assert.NotEqual(t, hash, other.one(t, "falcosidekick-release").get("values", "podAnnotations", values.SecretHashAnnotation), "another secret rolls the pods")
}

func flatten(v any) string {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		var b strings.Builder
		for _, k := range keys {
			b.WriteString(k + "=" + flatten(v[k]) + "\n")
		}
		return b.String()
	case []any:
		var b strings.Builder
		for _, item := range v {
			b.WriteString(flatten(item) + "\n")
		}
		return b.String()
	case string:
		return v
	}
	return ""
}

func TestAnOutputWithoutItsSecretIsAnErrorBeforeAnythingIsRegistered(t *testing.T) {
	s := settings(t, falcoOn, config.SlackWebhookKey)
	_, err := (&FalcosidekickArgs{Settings: s.Sidekick}).secretData()
	require.ErrorContains(t, err, config.SlackWebhookKey)
}

func TestAWorkloadIsHeldToTheRestrictedLevel(t *testing.T) {
	r, _ := stack(t, settings(t, nil), FalcosidekickSecrets{})
	assert.Equal(t, "restricted", r.one(t, "namespace-mtls").get("metadata", "labels", "pod-security.kubernetes.io/enforce"))
	for _, name := range []string{"mtls-server", "mtls-client"} {
		assert.Equal(t, false, r.one(t, name+"-account").get("automountServiceAccountToken"))
		pod, ok := r.one(t, name+"-deployment").get("spec", "template", "spec").(map[string]any)
		require.True(t, ok)
		assert.Equal(t, false, pod["automountServiceAccountToken"])
		assert.Equal(t, name, pod["serviceAccountName"])
		assert.Equal(t, map[string]any{
			"runAsNonRoot": true, "runAsUser": 65532.0, "runAsGroup": 65532.0,
			"seccompProfile": map[string]any{"type": "RuntimeDefault"},
		}, pod["securityContext"])
		containers, ok := pod["containers"].([]any)
		require.True(t, ok)
		require.Len(t, containers, 1)
		c, ok := containers[0].(map[string]any)
		require.True(t, ok)
		assert.Equal(t, map[string]any{
			"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
			"capabilities": map[string]any{"drop": []any{"ALL"}},
		}, c["securityContext"])
		assert.Contains(t, c["resources"], "limits")
		assert.Equal(t, []any{map[string]any{
			"name": "spiffe-workload-api", "csi": map[string]any{"driver": "csi.spiffe.io", "readOnly": true},
		}}, pod["volumes"])
	}
}

func TestTheDocsNameTheResourcesOfAWorkload(t *testing.T) {
	r, _ := stack(t, settings(t, nil), FalcosidekickSecrets{})
	containers, ok := r.one(t, "mtls-server-deployment").get("spec", "template", "spec", "containers").([]any)
	require.True(t, ok)
	resources, ok := containers[0].(map[string]any)["resources"].(map[string]any)
	require.True(t, ok)
	of := func(kind string) string {
		quantities, ok := resources[kind].(map[string]any)
		require.True(t, ok)
		return fmt.Sprintf("%s %s and %s", kind, quantities["cpu"], quantities["memory"])
	}
	text, err := os.ReadFile("../docs/mtls.md")
	require.NoError(t, err)
	assert.Contains(t, string(text), "- Resources: "+of("requests")+", "+of("limits")+".")
}

func TestIdentityAndEnforcementComeFromTheOneDeclaration(t *testing.T) {
	s := settings(t, map[string]string{"spire.trustDomain": "td.example"})
	r, _ := stack(t, s, FalcosidekickSecrets{})
	assert.Equal(t, map[string]any{
		"className":        "spire-spire",
		"spiffeIDTemplate": "spiffe://td.example/ns/mtls/sa/mtls-server",
		"namespaceSelector": map[string]any{"matchLabels": map[string]any{
			"kubernetes.io/metadata.name": "mtls",
		}},
		"podSelector":               map[string]any{"matchLabels": map[string]any{"app": "mtls-server"}},
		"workloadSelectorTemplates": []any{"k8s:ns:mtls", "k8s:sa:mtls-server"},
	}, r.one(t, "mtls-server-identity").get("spec"))

	peer := func(app string) map[string]any {
		return map[string]any{
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": "mtls"}},
			"podSelector":       map[string]any{"matchLabels": map[string]any{"app": app}},
		}
	}
	server := r.one(t, "mtls-server-policy")
	assert.Equal(t, []any{"Ingress", "Egress"}, server.get("spec", "policyTypes"))
	assert.Equal(t, []any{map[string]any{
		"from":  []any{peer("mtls-client")},
		"ports": []any{map[string]any{"port": 8443.0, "protocol": "TCP"}},
	}}, server.get("spec", "ingress"))
	assert.Empty(t, server.get("spec", "egress"), "inbound only")
	client := r.one(t, "mtls-client-policy")
	assert.Empty(t, client.get("spec", "ingress"))
	egress, ok := client.get("spec", "egress").([]any)
	require.True(t, ok)
	require.Len(t, egress, 2, "the server and the cluster's DNS")
	assert.Equal(t, map[string]any{
		"to":    []any{peer("mtls-server")},
		"ports": []any{map[string]any{"port": 8443.0, "protocol": "TCP"}},
	}, egress[0])

	containers, ok := r.one(t, "mtls-server-deployment").get("spec", "template", "spec", "containers").([]any)
	require.True(t, ok)
	env, ok := containers[0].(map[string]any)["env"].([]any)
	require.True(t, ok)
	assert.Contains(t, env, map[string]any{"name": "AUTHORIZED_SPIFFE_IDS", "value": "spiffe://td.example/ns/mtls/sa/mtls-client"})
	assert.Contains(t, env, map[string]any{"name": "SERVER_ADDRESS", "value": ":8443"})
	assert.Contains(t, env, map[string]any{"name": "SPIFFE_ENDPOINT_SOCKET", "value": "unix:///spiffe-workload-api/api.sock"})
}

func TestAnExistingSPIREIsUsedAndLeftAlone(t *testing.T) {
	r, _ := stack(t, settings(t, map[string]string{
		"cluster.mode": "existing", "cluster.kubeconfig": "/k", "cluster.context": "c", "image.repository": "registry.example.org/mtls",
		"spire.mode": "existing", "spire.className": "prod",
	}), FalcosidekickSecrets{})
	for _, res := range r.list {
		assert.NotEqual(t, releaseType, res.typ, res.name)
		assert.NotEqual(t, "spire-namespace", res.name)
	}
	assert.Equal(t, "prod", r.one(t, "mtls-server-identity").get("spec", "className"))
}

func TestNoCommandLogsWhatCouldBeSecret(t *testing.T) {
	r, _ := stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	assert.Equal(t, "none", r.one(t, "image").get("logging"))
	// Minikube knows none of the stack's secrets, and masks the password of a proxy; its steps are shown as they happen.
	assert.Equal(t, "stderr", r.one(t, "cluster-minikube").get("logging"))
}

func TestComponentsRefuseMissingArguments(t *testing.T) {
	for name, register := range map[string]func(*pulumi.Context) error{
		"Stack":         func(ctx *pulumi.Context) error { _, err := NewStack(ctx, "x", nil); return err },
		"Cluster":       func(ctx *pulumi.Context) error { _, err := NewCluster(ctx, "x", &ClusterArgs{}); return err },
		"SPIRE":         func(ctx *pulumi.Context) error { _, err := NewSPIRE(ctx, "x", &SPIREArgs{}); return err },
		"Falco":         func(ctx *pulumi.Context) error { _, err := NewFalco(ctx, "x", &FalcoArgs{}); return err },
		"Falcosidekick": func(ctx *pulumi.Context) error { _, err := NewFalcosidekick(ctx, "x", nil); return err },
		"Workload":      func(ctx *pulumi.Context) error { _, err := NewWorkload(ctx, "x", &WorkloadArgs{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			err := pulumi.RunErr(register, pulumi.WithMocks(config.Project, "test", r))
			require.ErrorContains(t, err, "needs")
			assert.Empty(t, r.list, "nothing is registered")
		})
	}
}

func TestHostsGetTheClustersRulesAndTheirKeysStaySecret(t *testing.T) {
	s := settings(t, on(map[string]string{
		"hosts.list": `[{"name":"edge","address":"edge.example.org","user":"root","hostKey":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65TtGH9wlhqQHf+zyt7Tf5"}]`,
	}), config.HostKeysKey)
	args := HostArgs(s, mustRender(t, s), nil)
	require.NotNil(t, args)
	require.NoError(t, args.Validate())
	assert.Equal(t, mustRender(t, s).Data(), args.Rules)
	assert.Equal(t, "0.40.0", args.FalcoVersion)

	const key = "-----BEGIN OPENSSH PRIVATE KEY----- hostsecret"
	r := &recorder{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := NewStack(ctx, "stack", &StackArgs{
			Settings: s, Kubeconfig: "/k", Rules: mustRender(t, s), Image: "mtls-server:1",
			HostKeys: map[string]pulumi.StringInput{"edge": pulumi.String(key)},
		})
		return err
	}, pulumi.WithMocks(config.Project, "test", r))
	require.NoError(t, err)
	remote := 0
	for _, res := range r.list {
		if res.typ != "command:remote:Command" {
			continue
		}
		remote++
		assert.Equal(t, key, res.get("connection", "secret", "privateKey"), "%s: the connection is secret as a whole", res.name)
	}
	assert.Positive(t, remote)

	off := settings(t, map[string]string{"hosts.list": `[{"name":"here","local":true}]`})
	assert.Nil(t, HostArgs(off, nil, nil), "no Falco, no hosts")
}

// TestWhatTheSettingsAcceptTheHostsAcceptToo holds the two validations of the same value together.
func TestWhatTheSettingsAcceptTheHostsAcceptToo(t *testing.T) {
	type change struct{ key, value string }
	changes := []change{
		{"falco.priority", "info"},
		{"falco.priority", "Informational"},
		{"falco.bufferPreset", "1"},
		{"falco.bufferPreset", "10"},
		{"hosts.rotateMB", "1"},
		{"hosts.rotateMB", strconv.Itoa(config.MaxRotateMB)},
		{"hosts.rotateKeep", "1"},
		{"hosts.rotateKeep", strconv.Itoa(config.MaxRotateKeep)},
	}
	for _, p := range falco.PrioritySettings() {
		changes = append(changes, change{"falco.priority", p})
	}
	for _, c := range charts.SupportedFalco() {
		changes = append(changes, change{"falco.chartVersion", c.Version})
	}
	for _, c := range changes {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			s := settings(t, on(map[string]string{"hosts.list": `[{"name":"here","local":true}]`, c.key: c.value}))
			args := HostArgs(s, mustRender(t, s), nil)
			require.NotNil(t, args)
			require.NoError(t, args.Validate())
		})
	}
}

func mustRender(t *testing.T, s *config.Settings) *rules.Rendered {
	t.Helper()
	rendered, err := rules.RenderSettings(s, ".")
	require.NoError(t, err)
	return rendered
}

func TestTheDashboardIsAConfigMapThatGrafanaFinds(t *testing.T) {
	r, _ := stack(t, settings(t, on(map[string]string{"falco.dashboard": "true"})), FalcosidekickSecrets{})
	cm := r.one(t, "falco-dashboard")
	assert.Equal(t, map[string]any{"grafana_dashboard": "1"}, cm.get("metadata", "labels"))
	assert.Len(t, cm.get("data"), 1)
	r, _ = stack(t, settings(t, falcoOn), FalcosidekickSecrets{})
	for _, res := range r.list {
		assert.NotEqual(t, "falco-dashboard", res.name, "off by default")
	}
}
