package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
	"spire-falco/config"
)

func outputsOf(t *testing.T, file string) (*config.Settings, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.dev.yaml"), []byte("config:\n  spire-falco:falcosidekick.outputs:\n"+file), 0o600))
	s, _, err := config.LoadStackFile(dir, "dev")
	return s, err
}

func TestAnOutputIsTakenWithTheTypesOfTheChart(t *testing.T) {
	t.Parallel()
	s, err := outputsOf(t, "    loki:\n      hostport: http://loki:3100\n      checkcert: false\n      minimumpriority: Warning\n      apikey:\n        secure: abc\n    syslog:\n      host: log\n      port: 514\n")
	require.NoError(t, err)
	got := map[string]any{}
	for _, o := range s.Sidekick.Outputs {
		got[o.Key] = o.Value
		if o.Value == nil {
			assert.Equal(t, "LOKI_APIKEY", o.Variable())
		}
	}
	assert.Equal(t, map[string]any{
		"loki.hostport": "http://loki:3100", "loki.checkcert": false, "loki.minimumpriority": "warning", "loki.apikey": nil,
		"syslog.host": "log", "syslog.port": "514",
	}, got)
}

func TestAWrongOutputIsRefusedAtItsPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, place, want string }{
		"an unknown output":                    {"    lokki:\n      hostport: http://a\n", "Pulumi.dev.yaml:4:7", "did you mean loki?"},
		"an unknown key":                       {"    loki:\n      hostprt: http://a\n", "Pulumi.dev.yaml:4:7", "did you mean loki.hostport?"},
		"a key in another case":                {"    loki:\n      hostPort: http://a\n", "Pulumi.dev.yaml:4:7", "did you mean loki.hostport?"},
		"no keys":                              {"    loki: http://a\n", "Pulumi.dev.yaml:3:5", "must be an object"},
		"another type":                         {"    loki:\n      hostport: http://a\n      checkcert: maybe\n", "Pulumi.dev.yaml:5:7", "must be true or false"},
		"an unknown priority":                  {"    loki:\n      hostport: http://a\n      minimumpriority: high\n", "Pulumi.dev.yaml:5:7", "must be one of emergency"},
		"a credential in plain text":           {"    loki:\n      apikey: hunter2hunter2\n", "Pulumi.dev.yaml:4:7", "is a secret, but stands in plain text"},
		"a credential in a URL":                {"    loki:\n      hostport: http://u:hunter2hunter2@a\n", "Pulumi.dev.yaml:4:7", "holds a password in a URL"},
		"a secret where none is":               {"    loki:\n      hostport:\n        secure: abc\n", "Pulumi.dev.yaml:4:7", "must not be a secret"},
		"a key with a setting of its own":      {"    slack:\n      webhookurl:\n        secure: abc\n", "Pulumi.dev.yaml:4:7", config.SlackWebhookKey},
		"a Slack that is not on":               {"    slack:\n      channel: a\n", "Pulumi.dev.yaml:4:7", "needs " + config.SlackWebhookKey},
		"a priority of an output that is off":  {"    loki:\n      minimumpriority: error\n", "Pulumi.dev.yaml:4:7", "has a minimum priority alone"},
		"variables that could be anything":     {"    otlp:\n      metrics:\n        extraenvvars: [a]\n", "Pulumi.dev.yaml:5:9", "may not be set"},
		"what is configured but not an output": {"    tlsserver:\n      deploy: true\n", "Pulumi.dev.yaml:4:7", "no such output"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := outputsOf(t, c.file)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.place+": falcosidekick.outputs.")
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// harmless are keys of outputs that look like credentials and are none: names, identifiers, switches and addresses.
var harmless = regexp.MustCompile(`^(grafana\.allfieldsastags|kafka\.sasl|redis\.key|smtp\.authmechanism|gcp\.workloadIdentityServiceAccount|webhook\.(address|method|checkcert|minimumpriority|mutualtls))$|\.(checkcert|mutualtls|minimumpriority)$`)

var looksSecret = regexp.MustCompile(`(?i)passw|secret|token|key|webhook|cred|header|auth|receiverurl|rabbitmq\.url`)

func TestEveryKeyThatLooksLikeACredentialMustBeASecret(t *testing.T) {
	t.Parallel()
	count := 0
	for _, version := range charts.Supported(charts.FalcosidekickName) {
		keys := charts.Keys(charts.Chart{Name: charts.FalcosidekickName, Version: version})
		outputs := map[string]bool{}
		for k := range keys {
			if parts := strings.Split(k, "."); parts[0] == "config" && parts[len(parts)-1] == "minimumpriority" {
				outputs[parts[1]] = true
			}
		}
		for k := range keys {
			key, ok := strings.CutPrefix(k, "config.")
			output, _, _ := strings.Cut(key, ".")
			if !ok || !outputs[output] || !looksSecret.MatchString(key) || harmless.MatchString(key) {
				continue
			}
			count++
			_, err := config.Load(config.Source{Stack: "dev", Values: map[string]string{
				"falcosidekick.chartVersion": version, config.OutputsKey + "." + key: "plain",
			}})
			require.Error(t, err, key)
			assert.Regexp(t, `is a secret, but stands in plain text|has a setting of its own|may not be set`, err.Error(), "%s %s", version, key)
		}
	}
	assert.Greater(t, count, 150)
}
