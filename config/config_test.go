package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/report/reporttest"
)

func load(values map[string]string) (*Settings, error) {
	return Load(Source{Stack: "dev", Values: values})
}

func TestTheDefaultsAreTheGuides(t *testing.T) {
	s, err := load(nil)
	require.NoError(t, err)
	assert.False(t, s.EnableFalco, "Falco is off unless asked for")
	assert.Equal(t, Resources{"100m", "256Mi"}, s.Falco.Requests)
	assert.Equal(t, Resources{"500m", "512Mi"}, s.Falco.Limits)
	assert.Equal(t, "4.19.4", s.Falco.Chart.Requested)
	assert.Equal(t, "4.19.0", s.Falco.Chart.Version)
	assert.Equal(t, DriverModernEBPF, s.Falco.Driver)
	assert.Equal(t, "/tmp/spire-agent/public/api.sock", s.SPIRE.AgentSocketPath)
	assert.Equal(t, ".state/dev/kubeconfig", s.Cluster.Kubeconfig)
	assert.Equal(t, "spire-falco", s.Cluster.Context)
	require.Len(t, s.Workloads, 2)
	assert.Equal(t, "mtls-server", s.Workloads[0].Name)
	assert.Equal(t, 8443, s.Workloads[0].Port)
	assert.Equal(t, "/mtls-server", s.Workloads[0].Executable)
	assert.Equal(t, "spiffe://example.org/ns/mtls/sa/mtls-server", s.Workloads[0].SPIFFEID(s.SPIRE.TrustDomain))
	assert.Equal(t, []Workload{s.Workloads[0]}, Servers(s.Workloads[1], s.Workloads))
	assert.Empty(t, s.Warnings, "no word about Falco's chart while Falco is off")
}

func TestTheEnvironmentVariableWinsOverTheSetting(t *testing.T) {
	for _, tt := range []struct {
		setting, variable string
		set, want         bool
	}{
		{"false", "true", true, true},
		{"false", "TRUE", true, true},
		{"false", "True", true, true},
		{"false", "1", true, true},
		{"true", "false", true, false},
		{"true", "FALSE", true, false},
		{"true", "0", true, false},
		{"true", "", false, true},
		{"false", "", false, false},
		{"1", "", false, true},
	} {
		t.Run(tt.setting+" and "+tt.variable, func(t *testing.T) {
			s, err := Load(Source{Stack: "dev", Values: map[string]string{"enableFalco": tt.setting}, LookupEnv: env(tt.variable, tt.set)})
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.EnableFalco)
		})
	}
	for _, bad := range []string{"maybe", "yes", "", " true", "on", "2", "enabled"} {
		t.Run("refuses "+bad, func(t *testing.T) {
			_, err := Load(Source{Stack: "dev", LookupEnv: env(bad, true)})
			require.ErrorContains(t, err, EnableFalcoVariable)
			require.ErrorContains(t, err, "must be true, false, 1 or 0")
		})
	}
}

func env(value string, set bool) func(string) (string, bool) {
	return func(n string) (string, bool) {
		if n == EnableFalcoVariable {
			return value, set
		}
		return "", false
	}
}

func TestAWarningSaysWhyTheChartVersionWasReplaced(t *testing.T) {
	s, err := load(map[string]string{"enableFalco": "true"})
	require.NoError(t, err)
	require.Len(t, s.Warnings, 1)
	assert.Contains(t, s.Warnings[0], "4.19.4 was never published")
}

var badValues = []struct {
	key, value, want string
	with             map[string]string
}{
	{"enableFalco", "maybe", "true or false", nil},
	{"cluster.mode", "kind", "minikube, existing", nil},
	{"cluster.kubeconfig", "", "is required with cluster.mode existing", onExisting},
	{"cluster.context", "", "is required with cluster.mode existing", onExisting},
	{"cluster.context", "other", "must be empty with cluster.mode minikube", nil},
	{"cluster.context", "a b", "without spaces", onExisting},
	{"cluster.kubeconfig", "/root/.kube/config", "must be empty or a file in .state/dev", nil},
	{"cluster.kubeconfig", "~/.kube/config", "must be empty or a file in .state/dev", nil},
	{"cluster.kubeconfig", "kubeconfig", "must be empty or a file in .state/dev", nil},
	{"cluster.kubeconfig", ".state/dev/../../Pulumi.yaml", "must be empty or a file in .state/dev", nil},
	{"cluster.kubeconfig", ".state/other/kubeconfig", "must be empty or a file in .state/dev", nil},
	{"cluster.kubeconfig", ".state/dev/project/Pulumi.yaml", "must be empty or a file in .state/dev", nil},
	{"cluster.kubeconfig", ".state/dev", "must be empty or a file in .state/dev", nil},
	{"cluster.kubeconfig", ".state/dev/", "must be empty or a file in .state/dev", nil},
	{"cluster.testing", "2", "true or false", nil},
	{"minikube.profile", "a_b", "letters, digits and dashes", nil},
	{"minikube.profile", "ab-", "last a letter or digit", nil},
	{"minikube.profile", "a", "from 2 to 63", nil},
	{"minikube.profile", "Delete", "a word of Minikube's own", nil},
	{"minikube.profile", "spire-falco", "must be minikube with minikube.driver none", map[string]string{"minikube.driver": "none"}},
	{"minikube.driver", "dockr", "must be one of docker", nil},
	{"minikube.driver", "ssh", "must be one of docker", nil},
	{"minikube.cpus", "1", "from 2 to 256", nil},
	{"minikube.cpus", "two", "from 2 to 256", nil},
	{"minikube.memory", "1024", "from 2048", nil},
	{"minikube.disk", "20", "such as 20g", nil},
	{"minikube.disk", "1999m", "at least 2000m", nil},
	{"minikube.disk", "1gb", "at least 2000m", nil},
	{"minikube.disk", "99999999999999999999g", "at least 2000m", nil},
	{"minikube.cni", "bridge", "must be one of kindnet, calico, cilium", nil},
	{"minikube.kubernetesVersion", "latest", "v1.36.3", nil},
	{"spire.mode", "none", "install, existing", nil},
	{"spire.mode", "existing", "must be install with cluster.mode minikube", nil},
	{"spire.values", `{"spire-server":{"loglevel":"debug"}}`, "did you mean spire-server.logLevel?", nil},
	{"spireCrds.values", `{"annotation":{}}`, "did you mean annotations?", nil},
	{"falco.values", `["a"]`, "must be an object with values of the chart falco", nil},
	{"falcosidekick.values", `{"service":{"type":"NodePort"}}`, "must be ClusterIP or left out", nil},
	{"spire.namespace", "SPIRE", "DNS label", nil},
	{"spire.namespace", "", "DNS label", nil},
	{"spire.trustDomain", "spiffe://example.org", "without spiffe://", nil},
	{"spire.trustDomain", "Example.org", "lower-case", nil},
	{"spire.clusterName", "a b", "DNS label", nil},
	{"spire.chartVersion", "0.27.9", "0.27.0, 0.27.1, 0.28.0", nil},
	{"spire.chartVersion", "0.28.0", "supported: 0.27.0, 0.27.1, 0.28.4, 0.29.0, 0.30.0", nil},
	{"spire.crdsChartVersion", "1.0.0", "never published", nil},
	{"spire.crdsChartVersion", "0.5.0", "must be 0.6.0, which goes with chart spire 0.30.0", nil},
	{"spire.crdsChartVersion", "0.6.0", "must be 0.5.0, which goes with chart spire 0.29.0", map[string]string{"spire.chartVersion": "0.29.0"}},
	{"spire.className", "a b", "without spaces", nil},
	{"spire.className", "x", "must be empty with spire.mode install", nil},
	{"spire.persistence", "disk", "pvc, emptyDir", nil},
	{"spire.agentSocketPath", "api.sock", "absolute path", nil},
	{"spire.agentSocketPath", "/api.sock", "folder of its own", nil},
	{"spire.agentSocketPath", "/tmp/../run/spire/api.sock", "absolute path", nil},
	{"spire.agentSocketPath", "/run/" + strings.Repeat("a", 101) + "/s", "at most 107 bytes", nil},
	{"spire.agentSocketPath", "/run/a/" + strings.Repeat("s", 85), "at most 107 bytes", nil},
	{"spire.agentSocketPath", "/run/a\x1b[2J/api.sock", "must not have the control character U+001B, at byte 7", nil},
	{"falco.chartVersion", "4.19.5", "4.19.0, 4.20.0", nil},
	{"falco.namespace", "spire", "must differ", map[string]string{"enableFalco": "true"}},
	{"falco.driver", "kmod", "must be modern_ebpf", nil},
	{"falco.priority", "urgent", "emergency, alert", nil},
	{"falco.requests.cpu", "lots", "quantity", nil},
	{"falco.requests.cpu", "2", "must not exceed falco.limits.cpu", nil},
	{"falco.requests.memory", "1Gi", "must not exceed falco.limits.memory", nil},
	{"falco.requests.memory", "256 Mi", "quantity", nil},
	{"falco.limits.cpu", "-1", "quantity", nil},
	{"falco.limits.memory", "512MiB", "quantity", nil},
	{"falco.bufferPreset", "0", "from 1", nil},
	{"falco.bufferPreset", "11", "from 1", nil},
	{"falco.leastPrivileged", "x", "true or false", nil},
	{"falco.allowedProcesses", `["my-client"]`, "absolute path", nil},
	{"falco.allowedProcesses", `my-client`, "list of texts", nil},
	{"falco.extraRules", `{}`, "list of texts", nil},
	{"falco.fileOutput", "events.txt", "absolute path", nil},
	{"falco.fileOutput", "/etc/falco/alerts.json", "below /var/log", nil},
	{"falco.fileOutput", "/var/log/", "below /var/log", nil},
	{"falco.syslogOutput", "sometimes", "true or false", nil},
	{"falco.metrics", "x", "true or false", nil},
	{"falco.serviceMonitor", "true", "needs falco.metrics", map[string]string{"falco.metrics": "false"}},
	{"falco.dashboard", "x", "true or false", nil},
	{"falcosidekick.chartVersion", "9.9.9", "never published", nil},
	{SlackWebhookKey, "https://hooks.slack.com/services/T/B/X", "stands in plain text", nil},
	{"falcosidekick.slack.minimumPriority", "warn", "warning", nil},
	{"falcosidekick.elasticsearch.hostPort", "elasticsearch:9200", "http://elasticsearch:9200", nil},
	{"falcosidekick.elasticsearch.hostPort", "http://user:pw@es:9200", "holds a password in a URL", nil},
	{"falcosidekick.elasticsearch.hostPort", "http://user@es:9200", "without user, password and query", nil},
	{"falcosidekick.elasticsearch.hostPort", "http://user:p/w@es:9200", "without user, password and query", nil},
	{"falcosidekick.elasticsearch.hostPort", "http://es:9200/?api_key=pw", "holds a credential in the query", nil},
	{"falcosidekick.elasticsearch.index", "Falco", "lower-case", nil},
	{"falcosidekick.elasticsearch.index", "", "lower-case", nil},
	{"falcosidekick.elasticsearch.type", "a b", "document type", nil},
	{"falcosidekick.elasticsearch.minimumPriority", "high", "emergency", nil},
	{"falcosidekick.elasticsearch.username", "elastic", "together with", nil},
	{ElasticsearchPasswordKey, "pw", "stands in plain text", nil},
	{"falcosidekick.ui.enabled", "yes", "true or false", nil},
	{"falcosidekick.ui.user", "a:b", "without spaces and colons", nil},
	{"falcosidekick.outputs", "hello", "from the name of an output to its keys", nil},
	{UIPasswordKey, "", "is required when the UI is on", map[string]string{"falcosidekick.ui.enabled": "true"}},
	{"hosts.list", "a", "list of objects", nil},
	{"hosts.list", `[{"name":"a","addrss":"b"}]`, "did you mean address?", nil},
	{"hosts.privateKeys", "", "is required when there are hosts", map[string]string{"hosts.list": `[{"name":"a","address":"a.example.org","user":"root"}]`}},
	{"hosts.alertFile", "events.json", "absolute path", nil},
	{"hosts.rotateMB", "0", "from 1", nil},
	{"hosts.rotateKeep", "0", "from 1", nil},
	{"hosts.syslog", "x", "true or false", nil},
	{"hosts.httpOutput", "falcosidekick:2801", "a URL such as", nil},
	{"workloads", "mtls-server", "list of objects", nil},
	{"workloads", `[7]`, "object", nil},
	{"image.repository", "https://ghcr.io/you", "without a tag", nil},
	{"image.repository", "", "required with cluster.mode existing", onExisting},
	{"charts.falcoRepository", "falcosecurity", "URL", nil},
	{"charts.spireRepository", "", "URL", nil},
}

var onExisting = map[string]string{"cluster.mode": "existing", "cluster.kubeconfig": "k", "cluster.context": "c"}

func TestTheChartOfTheCRDsFollowsTheChartOfSPIRE(t *testing.T) {
	for _, tt := range []struct{ spire, crds, want string }{
		{"", "", "0.6.0"},
		{"0.29.0", "", "0.5.0"},
		{"0.27.0", "0.5.0", "0.5.0"},
		{"0.30.0", "0.6.0", "0.6.0"},
	} {
		t.Run(tt.spire+" with "+tt.crds, func(t *testing.T) {
			set := map[string]string{"charts.spireRepository": "https://mirror.example"}
			for key, value := range map[string]string{"spire.chartVersion": tt.spire, "spire.crdsChartVersion": tt.crds} {
				if value != "" {
					set[key] = value
				}
			}
			s, err := load(set)
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.SPIRE.CRDs.Version)
			assert.Equal(t, "https://mirror.example", s.SPIRE.CRDs.Repository)
			assert.Equal(t, "https://mirror.example", s.SPIRE.Chart.Repository)
		})
	}
}

func TestEverySettingRefusesBadValuesNamingKeyAndWhatIsAllowed(t *testing.T) {
	tested := map[string]bool{}
	for _, tt := range badValues {
		tested[tt.key] = true
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			values := map[string]string{}
			for k, v := range tt.with {
				values[k] = v
			}
			values[tt.key] = tt.value
			_, err := load(values)
			var problems Problems
			require.ErrorAs(t, err, &problems)
			var wants []string
			for _, p := range problems {
				if declaredKey(p.Key) == tt.key {
					wants = append(wants, p.Want)
				}
			}
			assert.Contains(t, strings.Join(wants, "\n"), tt.want, "%v", err)
		})
	}
	for _, d := range Declared {
		assert.True(t, tested[d.Key], "no bad value of %s is tested", d.Key)
	}
}

func TestAWorkloadRefusesBadValues(t *testing.T) {
	for _, tt := range []struct{ name, workloads, key, want string }{
		{"port", `[{"name":"a","image":"a:1","port":70000}]`, "workloads[0].port", "1 to 65535"},
		{"negative port", `[{"name":"a","image":"a:1","port":-1}]`, "workloads[0].port", "1 to 65535"},
		{"no name", `[{"image":"a:1"}]`, "workloads[0].name", "DNS label"},
		{"name", `[{"name":"A B","image":"a:1"}]`, "workloads[0].name", "DNS label"},
		{"same name twice", `[{"name":"a","image":"a:1"},{"name":"a","image":"a:1"}]`, "workloads[1].name", "taken by workloads[0]"},
		{"mistyped field", `[{"name":"a","prot":1}]`, "workloads[0].prot", "did you mean port?"},
		{"wrong type", `[{"name":"a","port":"8443"}]`, "workloads[0].port", "must be of type int"},
		{"latest", `[{"name":"a","image":"a:latest"}]`, "workloads[0].image", "fixed tag"},
		{"no tag", `[{"name":"a","image":"a"}]`, "workloads[0].image", "fixed tag"},
		{"registry port is no tag", `[{"name":"a","image":"reg:5000/a"}]`, "workloads[0].image", "fixed tag"},
		{"unknown peer", `[{"name":"a","image":"a:1","port":1,"peers":["b"]}]`, "workloads[0].peers[0]", "name of a declared workload"},
		{"itself as peer", `[{"name":"a","image":"a:1","port":1,"peers":["a"]}]`, "workloads[0].peers[0]", "another workload"},
		{"peers without a port", `[{"name":"a","image":"a:1","peers":["b"]},{"name":"b","image":"b:1"}]`, "workloads[0].peers", "needs a port"},
		{"egress to a name", `[{"name":"a","image":"a:1","egress":[{"cidr":"db.example.org","port":5432,"protocol":"tcp"}]}]`, "workloads[0].egress[0].cidr", "names are not possible"},
		{"egress port", `[{"name":"a","image":"a:1","egress":[{"cidr":"10.0.0.0/8","port":0,"protocol":"tcp"}]}]`, "workloads[0].egress[0].port", "1 to 65535"},
		{"egress protocol", `[{"name":"a","image":"a:1","egress":[{"cidr":"10.0.0.0/8","port":1,"protocol":"sctp"}]}]`, "workloads[0].egress[0].protocol", "tcp or udp"},
		{"relative executable", `[{"name":"a","image":"a:1","executable":"a"}]`, "workloads[0].executable", "absolute path"},
		{"relative socket", `[{"name":"a","image":"a:1","socketPath":"api.sock"}]`, "workloads[0].socketPath", "absolute path"},
		{"socket that the kernel cannot have", `[{"name":"a","image":"a:1","socketPath":"/run/` + strings.Repeat("s", 103) + `"}]`, "workloads[0].socketPath", "at most 107 bytes"},
		{"control character", `[{"name":"a","image":"a:1","executable":"/a\u001b[2J"}]`, "workloads[0].executable", "control character U+001B"},
		{"text that runs the other way", `[{"name":"a","image":"a:1","env":{"A":"\u202egnp"}}]`, "workloads[0].env.A", "control character U+202E"},
		{"line end in a path", `[{"name":"a","image":"a:1","children":["/a\nb"]}]`, "workloads[0].children[0]", "control character U+000A"},
		{"variable named a password", `[{"name":"a","image":"a:1","env":{"DB_PASSWORD":"hunter2"}}]`, "workloads[0].env.DB_PASSWORD", "holds a credential, by its name"},
		{"password in a variable", `[{"name":"a","image":"a:1","env":{"DB":"postgres://u:hunter2@db/x"}}]`, "workloads[0].env.DB", "holds a password in a URL"},
		{"key among arguments", `[{"name":"a","image":"a:1","args":["--url=http://h/?api_key=hunter2"]}]`, "workloads[0].args[0]", "holds a credential in the query"},
		{"relative child", `[{"name":"a","image":"a:1","children":["sh"]}]`, "workloads[0].children[0]", "absolute path"},
		{"relative certificate folder", `[{"name":"a","image":"a:1","certificateDirs":["tls"]}]`, "workloads[0].certificateDirs[0]", "absolute path"},
		{"variable name", `[{"name":"a","image":"a:1","env":{"A B":"x"}}]`, "workloads[0].env", "letters, digits"},
		{"replicas", `[{"name":"a","image":"a:1","replicas":-1}]`, "workloads[0].replicas", "1 to 100"},
		{"own image that authorises nobody", `[{"name":"a","port":8443}]`, "workloads[0]", "would authorise nobody"},
		{"SPIRE's namespace", `[{"name":"a","image":"a:1","namespace":"spire"}]`, "workloads[0].namespace", "must differ"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(map[string]string{"workloads": tt.workloads})
			var problems Problems
			require.ErrorAs(t, err, &problems)
			wants := map[string]string{}
			for _, p := range problems {
				wants[p.Key] = p.Want
			}
			require.Contains(t, wants, tt.key)
			assert.Contains(t, wants[tt.key], tt.want)
		})
	}
}

func TestAllProblemsAreReportedAtOnceWithTheirPlaces(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, `config:
  spire-falco:falco.chartVersion: 4.19.5
  spire-falco:spire.trustDomain: Not A Domain
  spire-falco:spire.trustDomian: example.org
  spire-falco:workloads:
    - name: mtls-server
      port: 70000
      peers: [mtls-client]
    - name: mtls-client
`)
	src, err := FromStackFile(dir, "dev")
	require.NoError(t, err)
	_, err = Load(src)
	var problems Problems
	require.ErrorAs(t, err, &problems)
	require.Len(t, problems, 4)
	for _, want := range []string{
		`Pulumi.dev.yaml:2:3: falco.chartVersion = "4.19.5"`,
		`Pulumi.dev.yaml:3:3: spire.trustDomain = "Not A Domain"`,
		`Pulumi.dev.yaml:4:3: spire.trustDomian: no such setting; did you mean spire.trustDomain?`,
		`Pulumi.dev.yaml:5:3: workloads[0].port = "70000": must be a port from 1 to 65535`,
	} {
		assert.Contains(t, err.Error(), want)
	}
}

func TestAStackFileIsReadAsTheEngineReadsIt(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, `encryptionsalt: v1:x
config:
  kubernetes:context: other
  spire-falco:enableFalco: true
  spire-falco:minikube.cpus: 4
  spire-falco:falco.allowedProcesses: [/usr/bin/my-client]
  spire-falco:falcosidekick.slack.webhookUrl:
    secure: v1:abc
`)
	src, err := FromStackFile(dir, "dev")
	require.NoError(t, err)
	src.LookupEnv = nil
	s, err := Load(src)
	require.NoError(t, err)
	assert.True(t, s.EnableFalco)
	assert.Equal(t, 4, s.Cluster.Minikube.CPUs)
	assert.Equal(t, []string{"/usr/bin/my-client"}, s.Falco.AllowedProcesses)
	require.NotEmpty(t, s.Sidekick.Outputs)
	assert.Equal(t, "slack", s.Sidekick.Outputs[0].Output())

	t.Run("a group may be written as an object", func(t *testing.T) {
		write(t, dir, `config:
  spire-falco:minikube:
    cpus: 4
    memory: 8192
  spire-falco:falcosidekick:
    slack:
      webhookUrl:
        secure: v1:abc
  spire-falco:clustr:
    mode: existing
`)
		src, err := FromStackFile(dir, "dev")
		require.NoError(t, err)
		assert.Equal(t, "4", src.Values["minikube.cpus"])
		assert.True(t, src.Secrets[SlackWebhookKey])
		_, err = Load(src)
		require.ErrorContains(t, err, "Pulumi.dev.yaml:10:5: clustr.mode: no such setting; did you mean cluster.mode?")
	})
	t.Run("a missing file means the defaults", func(t *testing.T) {
		src, err := FromStackFile(dir, "other")
		require.NoError(t, err)
		assert.Empty(t, src.Values)
	})
	for want, text := range map[string]string{
		"is set twice":          "config:\n  spire-falco:enableFalco: true\n  enableFalco: false\n",
		"must be a mapping":     "config: [a]\n",
		"Pulumi.dev.yaml: yaml": "config: {\n",
	} {
		t.Run(want, func(t *testing.T) {
			write(t, dir, text)
			_, err := FromStackFile(dir, "dev")
			require.ErrorContains(t, err, want)
		})
	}
}

func write(t *testing.T, dir, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.dev.yaml"), []byte(text), 0o600))
}

func TestNoSecretValueStandsInAnError(t *testing.T) {
	const secret = "hunter2-hunter2"
	for _, d := range Declared {
		if !d.Secret {
			continue
		}
		for _, marked := range []bool{false, true} {
			_, err := Load(Source{Stack: "dev", Values: map[string]string{d.Key: secret, "enableFalco": "maybe"}, Secrets: map[string]bool{d.Key: marked}})
			require.Error(t, err)
			assert.NotContains(t, err.Error(), secret)
		}
	}
}

func TestACredentialInAPlainSettingIsRefusedAndNeverShown(t *testing.T) {
	const secret = "hunter2"
	texts := []string{
		"http://user:" + secret + "@h.example.org", "https://h.example.org/?token=" + secret, "https://hooks.slack.com/services/T0/B0/" + secret,
		"oci://user:" + secret + "@h.example.org/charts", "-----BEGIN RSA PRIVATE KEY-----\n" + secret,
	}
	for _, d := range Declared {
		if d.Secret {
			continue
		}
		for _, text := range texts {
			values := []string{text}
			switch d.Type {
			case Strings:
				values = append(values, quoted(t, []string{text}))
			case Objects:
				values = append(values, quoted(t, []map[string]any{{"name": text}}), quoted(t, []map[string]any{{"unknown": text}}), quoted(t, []string{text}), quoted(t, []map[string]any{{"env": map[string]string{"A": text}}}))
			}
			for _, value := range values {
				_, err := load(map[string]string{d.Key: value})
				require.Error(t, err, "%s = %s", d.Key, value)
				assert.NotContains(t, err.Error(), secret)
				assert.Contains(t, err.Error(), d.Key)
				assert.Contains(t, err.Error(), "pulumi config set --secret", "%s = %s", d.Key, value)
			}
		}
	}
	for _, d := range Declared { // neither is one that only the form of the setting refuses
		if _, err := load(map[string]string{d.Key: "user:" + secret + "@h.example.org/x"}); err != nil {
			assert.NotContains(t, err.Error(), secret, d.Key)
		}
	}
	_, err := load(map[string]string{"workloads": `[{"name":"a","image":"a:1","args":["a\n\tb"],"env":{"TOKEN_FILE":"/run/token","LINES":"a\nb"}}]`})
	require.NoError(t, err, "what only looks alike is taken")
}

func quoted(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func TestASettingThatIsNeededBeforeAnythingIsDecryptedMustNotBeSecret(t *testing.T) {
	_, err := Load(Source{Stack: "dev", Secrets: map[string]bool{"enableFalco": true}})
	require.ErrorContains(t, err, "enableFalco: must not be a secret")
	// Inside a program the engine has decrypted it, and a group is secret as a whole.
	_, err = Load(Source{Stack: "dev", Values: map[string]string{"minikube.cpus": "0"}, Secrets: map[string]bool{"minikube.cpus": true}})
	require.EqualError(t, err, "the settings have 1 problem:\n  minikube.cpus: must be a whole number from 2 to 256")
}

func TestALongValueIsShownShortAndATooLongOneNotAtAll(t *testing.T) {
	_, err := load(map[string]string{"falco.priority": strings.Repeat("x", 64<<10)})
	require.ErrorContains(t, err, "xxx... (65238 more bytes): must be one of")
	assert.Less(t, len(err.Error()), 1000)
	_, err = load(map[string]string{"falco.priority": strings.Repeat("x", 1<<20)})
	require.EqualError(t, err, "the settings have 1 problem:\n  falco.priority: must have at most 65536 bytes; it has 1048576")
}

func TestAStackNameStaysInTheProjectsFolder(t *testing.T) {
	for _, name := range []string{"dev", "a", "t1", "prod-eu_1.x", "_x"} {
		require.NoError(t, CheckStackName(name), name)
	}
	for _, name := range []string{"", ".", "..", "../../x", "a/b", "/etc/x", "a b", "a\x00", "a\x1b[2J", "-s", ".hidden", "ä", strings.Repeat("a", 101)} {
		for _, err := range []error{CheckStackName(name), func() error { _, err := FromStackFile(t.TempDir(), name); return err }()} {
			require.ErrorContains(t, err, "--stack = ")
			require.ErrorContains(t, err, "must be a name of 1 to 100 letters")
			assert.NotContains(t, err.Error(), "\x1b")
		}
	}
}

func TestOnlyARegularFileOfABoundedSizeIsReadAsSettings(t *testing.T) {
	for want, place := range map[string]func(path string) error{
		"a pipe, not a regular file":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a directory, not a regular file": func(path string) error { return os.Mkdir(path, 0o700) },
		"a device, not a regular file":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"larger than the 1 MiB":           func(path string) error { return os.WriteFile(path, make([]byte, 1<<20+1), 0o600) },
	} {
		dir := t.TempDir()
		require.NoError(t, place(filepath.Join(dir, "Pulumi.dev.yaml")))
		_, err := FromStackFile(dir, "dev")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "Pulumi.dev.yaml")
	}
}

func TestMistypedKeysGetTheNearestOne(t *testing.T) {
	for given, want := range map[string]string{
		"enablefalco":              "did you mean enableFalco?",
		"falco.chartversion":       "did you mean falco.chartVersion?",
		"trustDomain":              "did you mean spire.trustDomain?",
		"minikube.cpu":             "did you mean minikube.cpus?",
		"falco":                    "it is the beginning of others, such as falco.chartVersion",
		"falcosidekick.slack":      "it is the beginning of others, such as falcosidekick.slack.minimumPriority",
		"clustr.mode":              "did you mean cluster.mode?",
		"completely.different.key": "no such setting",
	} {
		_, err := load(map[string]string{given: "x"})
		require.ErrorContains(t, err, want, given)
	}
	for _, given := range []string{
		"falcosidekick.teams.webhookUrl", "falcosidekick.slak.webhookUrl", "falcosidekick.ui.pasword", "password", "webhookUrl",
		"falcosidekick.alertmanager.hostPort", "hosts.privatKeys", "a.b", "x", "falco.x",
	} {
		_, err := load(map[string]string{given: "x"})
		require.ErrorContains(t, err, "no such setting", given)
		assert.NotContains(t, err.Error(), "did you mean", "%s: neither a secret nor another setting", given)
	}
	_, err := load(map[string]string{"completely.different.key": "x"})
	assert.NotContains(t, err.Error(), "did you mean")
}

func TestPulumiYAMLDeclaresEverySettingAsTheProgramDoes(t *testing.T) {
	compareGenerated(t, filepath.Join("..", "Pulumi.yaml"), ProjectYAML())
}

func TestTheTablesInTheDocsAreTheProgramsOwn(t *testing.T) {
	for file, table := range map[string]struct{ name, text string }{
		"settings.md": {"settings", MarkdownTable()},
		"values.md":   {"guards", GuardsMarkdown()},
	} {
		path := filepath.Join("..", "docs", file)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		begin, end := "<!-- "+table.name+": begin -->\n", "<!-- "+table.name+": end -->"
		before, rest, ok := strings.Cut(string(text), begin)
		require.True(t, ok)
		_, after, ok := strings.Cut(rest, end)
		require.True(t, ok)
		compareGenerated(t, path, before+begin+table.text+end+after)
	}
}

// compareGenerated writes the file when UPDATE is set (make generate) and compares it otherwise.
func compareGenerated(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "run: make generate")
}

func TestProblemsAreAnErrorThatCanBeTakenApart(t *testing.T) {
	_, err := load(map[string]string{"minikube.cpus": "0"})
	var problems Problems
	require.ErrorAs(t, err, &problems)
	assert.Equal(t, Problem{Key: "minikube.cpus", Value: "0", Want: "must be a whole number from 2 to 256"}, problems[0])
}

func TestAProblemIsOneHarmlessLine(t *testing.T) {
	t.Parallel()
	_, err := Load(Source{
		Stack:  "dev",
		Values: map[string]string{reporttest.Hostile: "x", "minikube.driver": reporttest.Hostile, "minikube.profile": strings.Repeat("x", 1<<20)},
		Where:  func(string) string { return reporttest.Hostile },
	})
	require.Error(t, err)
	reporttest.Harmless(t, err.Error())
	assert.Contains(t, err.Error(), reporttest.Shown)
	assert.Equal(t, 3, strings.Count(err.Error(), "\n"), "one line a problem, and the first")
	assert.Less(t, len(err.Error()), 4000)
}
