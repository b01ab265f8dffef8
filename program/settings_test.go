package program

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
)

type noResources struct{}

func (noResources) NewResource(pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return "", nil, nil
}
func (noResources) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func inProgram(t *testing.T, values map[string]string, secrets []string, program func(*pulumi.Context)) {
	t.Helper()
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		program(ctx)
		return nil
	}, pulumi.WithMocks(config.Project, "dev", noResources{}), func(info *pulumi.RunInfo) {
		info.Config = values
		info.ConfigSecretKeys = secrets
	})
	require.NoError(t, err)
}

func TestAProgramReadsSettingsAsTheEnginePassesThem(t *testing.T) {
	// The engine passes the defaults of Pulumi.yaml as objects beside the flat keys that somebody set.
	values := map[string]string{
		"spire-falco:minikube":              `{"cpus":2,"memory":4096,"disk":"20g"}`,
		"spire-falco:minikube.cpus":         "6",
		"spire-falco:enableFalco":           "true",
		"spire-falco:falco":                 `{"requests":{"cpu":"200m"},"allowedProcesses":["/usr/bin/x"],"metrics":false}`,
		"spire-falco:falcosidekick":         `{"slack":{"webhookUrl":"https://hooks.slack.com/services/x"},"ui":{"password":""},"outputs":{"loki":{"apikey":"key-in-the-group"}}}`,
		"spire-falco:falcosidekick.outputs": `{"loki":{"hostport":"http://loki:3100","checkcert":false},"syslog":{"host":"log","port":514}}`,
	}
	keys := []string{"minikube", "minikube.cpus", "enableFalco", "falco", "falcosidekick", "falcosidekick.outputs"}
	inProgram(t, values, []string{"spire-falco:falcosidekick"}, func(ctx *pulumi.Context) {
		t.Setenv(config.EnableFalcoVariable, "true")
		s, err := loadSettings(ctx, keys)
		require.NoError(t, err)
		assert.Equal(t, 6, s.Cluster.Minikube.CPUs, "a key that was set wins over the object of defaults")
		assert.Equal(t, "200m", s.Falco.Requests.CPU)
		assert.Equal(t, []string{"/usr/bin/x"}, s.Falco.AllowedProcesses)
		assert.False(t, s.Falco.Metrics)
		got := map[string]any{}
		for _, o := range s.Sidekick.Outputs {
			got[o.Key] = o.Value
		}
		assert.Equal(t, map[string]any{
			"slack.webhookurl": nil, "slack.minimumpriority": "warning", "loki.apikey": nil,
			"loki.hostport": "http://loki:3100", "loki.checkcert": false, "syslog.host": "log", "syslog.port": "514",
		}, got, "an output's keys may stand in the group, in an object of their own and each by itself")
		assert.False(t, s.Sidekick.UI.Enabled)
		done := make(chan string, 1)
		secret(ctx, "falcosidekick.outputs.loki.apikey").ApplyT(func(v string) string { done <- v; return v })
		assert.Equal(t, "key-in-the-group", <-done)
		webhook := secret(ctx, config.SlackWebhookKey)
		webhook.ApplyT(func(v string) string { done <- v; return v })
		assert.Equal(t, "https://hooks.slack.com/services/x", <-done)
	})
}

func TestAProgramFindsMistypedKeys(t *testing.T) {
	inProgram(t, map[string]string{"spire-falco:enablefalco": "true"}, nil, func(ctx *pulumi.Context) {
		_, err := loadSettings(ctx, []string{"enablefalco"})
		assert.ErrorContains(t, err, "did you mean enableFalco?")
	})
}

func TestAPlainSecretIsRefusedInAProgramToo(t *testing.T) {
	inProgram(t, map[string]string{"spire-falco:" + config.SlackWebhookKey: "https://hooks.slack.com/services/x"}, nil, func(ctx *pulumi.Context) {
		_, err := loadSettings(ctx, []string{config.SlackWebhookKey})
		assert.ErrorContains(t, err, "stands in plain text")
	})
}

func TestAProgramReadsTheValuesOfCharts(t *testing.T) {
	values := map[string]string{
		"spire-falco:falco":                `{"values":{},"chartVersion":"9.1.0"}`,
		"spire-falco:falco.values":         `{"tolerations":[{"key":"a"}],"falco":{"output_timeout":500}}`,
		"spire-falco:falcosidekick":        `{"values":{"replicaCount":2}}`,
		"spire-falco:spire.values":         `{"spire-server":{"caTTL":"48h"}}`,
		"spire-falco:spireCrds.values.a.b": "c",
	}
	keys := []string{"falco", "falco.values", "falcosidekick", "spire.values"}
	inProgram(t, values, nil, func(ctx *pulumi.Context) {
		s, err := loadSettings(ctx, keys)
		require.NoError(t, err)
		assert.Equal(t, map[string]any{"tolerations": []any{map[string]any{"key": "a"}}, "falco": map[string]any{"output_timeout": 500}}, s.Falco.Values)
		assert.Equal(t, map[string]any{"replicaCount": 2}, s.Sidekick.Values)
		assert.Equal(t, map[string]any{"spire-server": map[string]any{"caTTL": "48h"}}, s.SPIRE.Values)
		_, err = loadSettings(ctx, append(keys, "spireCrds.values.a.b"))
		assert.ErrorContains(t, err, "must stand inside the object spireCrds.values")
	})
	inProgram(t, map[string]string{"spire-falco:falcosidekick": `{"values":{"podLabels":{"a":"b"}},"ui":{"password":"x"}}`},
		[]string{"spire-falco:falcosidekick"}, func(ctx *pulumi.Context) {
			_, err := loadSettings(ctx, []string{"falcosidekick"})
			assert.ErrorContains(t, err, "falcosidekick.values: must not be a secret")
		})
	inProgram(t, map[string]string{"spire-falco:falcosidekick": `{"values":{},"outputs":{"loki":{}}}`}, nil, func(ctx *pulumi.Context) {
		_, err := loadSettings(ctx, []string{"falcosidekick"})
		assert.ErrorContains(t, err, "it is switched on by loki.hostport")
	})
}
