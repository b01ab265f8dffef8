package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"spire-falco/charts"
	"spire-falco/config"
)

// stackFile loads the settings of a file of that text below config.
func stackFile(t *testing.T, text string) (*config.Settings, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.dev.yaml"), []byte("config:\n"+text), 0o600))
	s, _, err := config.LoadStackFile(dir, "dev")
	return s, err
}

func TestValuesAreTakenWithTheirTypes(t *testing.T) {
	t.Parallel()
	s, err := stackFile(t, `  spire-falco:falco.chartVersion: 9.1.0
  spire-falco:falco:
    values:
      tolerations: [{key: dedicated, operator: Exists, tolerationSeconds: 30}]
      podAnnotations: {example.org/team: platform}
      driver: {kind: modern_ebpf}
      resources: {limits: {ephemeral-storage: 1Gi}}
      healthChecks: {livenessProbe: {periodSeconds: 20}}
      falco:
        append_output: [{match: {source: syscall}, extra_output: "on CPU %evt.cpu"}]
        syscall_event_drops: {threshold: 1}
  spire-falco:spire.values:
    global: {spire: {jwtIssuer: "https://oidc.example.org", caSubject: {country: DE}}}
    spire-server:
      persistence: {storageClass: fast, size: 2Gi}
      livenessProbe: {timeoutSeconds: 5}
      resources: {requests: {cpu: 1}}
  spire-falco:spireCrds.values:
    annotations: {example.org/owner: platform}
  spire-falco:falcosidekick.values: {config: {customfields: "env:prod"}, replicaCount: 2}
`)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"tolerations":    []any{map[string]any{"key": "dedicated", "operator": "Exists", "tolerationSeconds": 30}},
		"podAnnotations": map[string]any{"example.org/team": "platform"},
		"driver":         map[string]any{"kind": "modern_ebpf"},
		"resources":      map[string]any{"limits": map[string]any{"ephemeral-storage": "1Gi"}},
		"healthChecks":   map[string]any{"livenessProbe": map[string]any{"periodSeconds": 20}},
		"falco": map[string]any{
			"append_output":       []any{map[string]any{"match": map[string]any{"source": "syscall"}, "extra_output": "on CPU %evt.cpu"}},
			"syscall_event_drops": map[string]any{"threshold": 1},
		},
	}, s.Falco.Values)
	assert.Equal(t, map[string]any{"config": map[string]any{"customfields": "env:prod"}, "replicaCount": 2}, s.Sidekick.Values)
	assert.Equal(t, map[string]any{"annotations": map[string]any{"example.org/owner": "platform"}}, s.SPIRE.CRDValues)
	assert.Equal(t, map[string]any{"requests": map[string]any{"cpu": 1}}, s.SPIRE.Values["spire-server"].(map[string]any)["resources"])
}

func TestAWrongValueIsRefusedAtItsPlace(t *testing.T) {
	t.Parallel()
	const file = "Pulumi.dev.yaml"
	for name, c := range map[string]struct{ text, place, want string }{
		"an unknown key":                        {"falco.values:\n    image: {pullPolcy: Always}\n", ":3:13: falco.values.image.pullPolcy", "did you mean image.pullPolicy?"},
		"a key as the guide has it":             {"falco.values:\n    falco: {jsonOutput: true}\n", ":3:13", "did you mean falco.json_output?"},
		"a key at the wrong place":              {"spire.values:\n    auditLogEnabled: true\n", ":3:5", "did you mean spire-server.auditLogEnabled?"},
		"a key that nothing is like":            {"falco.values:\n    frobnicate: 1\n", ":3:5", "chart falco 4.19.0 has no such key; at this place it has affinity"},
		"a key of another version":              {"falco.values:\n    falco: {capture: {enabled: true}}\n", ":3:13", "falco has append_output"},
		"dots in one name":                      {"falco.values:\n    image.pullPolicy: Always\n", `:3:5: falco.values["image.pullPolicy"]`, "has no such key"},
		"a text for a switch":                   {"falco.values:\n    tty: \"true\"\n", `:3:5: falco.values.tty = "true"`, "must be true or false"},
		"a text for a number":                   {"falcosidekick.values:\n    replicaCount: two\n", ":3:5", "must be a whole number"},
		"a version read as a number":            {"spire.values:\n    spire-server: {tools: {kubectl: {image: {tag: 1.30}}}}\n", ":3:46", "must be a text; put a number with a point"},
		"an object for a list":                  {"falco.values:\n    tolerations: {key: a}\n", ":3:5", "must be a list"},
		"a text for an object":                  {"falco.values:\n    image: falco\n", ":3:5", "must be an object, with pullPolicy"},
		"an empty object":                       {"falco.values:\n    resources: {}\n", ":3:5", "an empty object changes nothing"},
		"no value":                              {"falco.values:\n    tolerations:\n", ":3:5", "must have a value"},
		"no object":                             {"falco.values: all\n", ":2:3", "must be an object with values of the chart falco"},
		"a key by itself":                       {"falco.values.tty: true\n", ":2:3: falco.values.tty", "pulumi config set --path spire-falco:falco.values.tty"},
		"a secret":                              {"falco.values:\n    podLabels:\n      a:\n        secure: abc\n", ":4:7: falco.values.podLabels.a", "must not be a secret"},
		"a credential by its name":              {"falcosidekick.values:\n    webui: {redis: {password: hunter2hunter2}}\n", ":3:21", "is a credential by its name"},
		"a credential in a variable":            {"falco.values:\n    extra: {env: [{name: A_TOKEN, value: hunter2hunter2}]}\n", ":3:35: falco.values.extra.env[0].value", "is a credential by its name"},
		"a credential by its form":              {"falco.values:\n    podAnnotations: {a: \"http://u:hunter2hunter2@h\"}\n", ":3:22", "holds a password in a URL"},
		"a private key":                         {"falco.values:\n    certs: {client: {key: hunter2hunter2}}\n", ":3:22", "may not be set: a private key"},
		"a control character":                   {"falco.values:\n    podLabels: {a: \"\\e[1m\"}\n", ":3:17", "control character"},
		"rules of the user's own":               {"falco.values:\n    customRules: {a.yaml: \"\"}\n", ":3:5: falco.values.customRules:", "use the setting falco.extraRules"},
		"another list of rules":                 {"falco.values:\n    falco: {rules_files: [a]}\n", ":3:13", "use the setting falco.extraRules"},
		"another driver":                        {"falco.values:\n    driver: {kind: kmod}\n", ":3:14", "must be modern_ebpf or left out"},
		"falcoctl on":                           {"falco.values:\n    falcoctl: {artifact: {install: {enabled: true}}}\n", ":3:37: falco.values.falcoctl.artifact.install.enabled = \"true\"", "must be false or left out"},
		"a subchart":                            {"falco.values:\n    falcosidekick: {enabled: false, config: {slack: {webhookurl: hunter2hunter2}}}\n", ":3:5: falco.values.falcosidekick:", "use the setting falcosidekick.outputs and falcosidekick.values"},
		"an output":                             {"falcosidekick.values:\n    config: {loki: {hostport: \"http://loki:3100\"}}\n", ":3:21: falcosidekick.values.config.loki.hostport:", "use the setting falcosidekick.outputs"},
		"an identity for everyone":              {"spire.values:\n    spire-server: {controllerManager: {identities: {clusterSPIFFEIDs: {default: {enabled: true}}}}}\n", ":3:82", "must be false or left out"},
		"an Ingress":                            {"spire.values:\n    spire-server: {ingress: {enabled: true}}\n", ":3:30", "to outside of the cluster"},
		"what takes the CRDs out of a teardown": {"spireCrds.values:\n    annotations: {helm.sh/resource-policy: keep}\n", ":3:19", "leave the CRDs behind"},
		"values of a SPIRE that is not ours":    {"spire.mode: existing\n  spire-falco:spire.values: {a: b}\n", ":3:3", "must be empty with spire.mode existing"},
		"a chart whose keys are not known":      {"falco.chartVersion: 9.0.0\n  spire-falco:falco.values: {tty: true}\n", ":3:3", "the keys of chart falco 9.0.0 are not known"},
		"an output with nothing in it":          {"falcosidekick.outputs:\n    loki: {}\n", ":3:5: falcosidekick.outputs.loki", "it is switched on by loki.hostport"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := stackFile(t, "  spire-falco:"+c.text)
			require.Error(t, err)
			assert.Contains(t, err.Error(), file+c.place)
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestAGuardOfManyKeysIsReportedOnce(t *testing.T) {
	t.Parallel()
	_, err := stackFile(t, "  spire-falco:falco.values:\n    falcoctl: {image: {tag: a, registry: b}, config: {artifact: {install: {refs: [c]}}}}\n")
	require.Error(t, err)
	assert.Equal(t, 1, strings.Count(err.Error(), "may not be set"), err.Error())
	assert.Contains(t, err.Error(), ":3:5: falco.values.falcoctl:")
}

// TestEveryGuardStands holds each guard to a value that would break what it is for, in every version of the chart.
func TestEveryGuardStands(t *testing.T) {
	t.Parallel()
	settings := map[string]string{
		charts.FalcoName: config.FalcoValuesKey, charts.FalcosidekickName: config.FalcosidekickValuesKey,
		charts.SPIREName: config.SPIREValuesKey, charts.SPIRECRDsName: config.SPIRECRDsValuesKey,
	}
	count := 0
	for chart, guards := range config.Guarded {
		for _, g := range guards {
			if g.Why == "" {
				continue
			}
			count++
			path := g.Key
			name := ""
			if head, last, ok := strings.Cut(path, "nnotations."); ok {
				path, name = head+"nnotations", last
			}
			path = strings.NewReplacer("config.*.*", "config.loki.hostport", "**", "spire-server", "certs.*", "certs.client", "upstreamAuthority.*", "upstreamAuthority.disk", "-*", "-x", "*", "x").Replace(path)
			keys := strings.Split(path, ".")
			if name != "" {
				keys = append(keys, name)
			}
			open, shut := "", ""
			for _, k := range keys {
				open += `{"` + k + `":`
				shut += "}"
			}
			set := func(value string) error {
				_, err := config.Load(config.Source{Stack: "dev", Values: map[string]string{settings[chart]: open + value + shut}})
				return err
			}
			require.ErrorContains(t, set(`"something else"`), g.Why, g.Key)
			if g.Setting != "" {
				require.ErrorContains(t, set(`"something else"`), g.Setting, g.Key)
			}
			switch keep := g.Keep.(type) {
			case nil:
			case string:
				assert.NoError(t, set(`"`+keep+`"`), g.Key)
			case bool:
				assert.NoError(t, set(map[bool]string{true: "true", false: "false"}[keep]), g.Key)
				require.Error(t, set(map[bool]string{true: "false", false: "true"}[keep]), g.Key)
			}
		}
	}
	assert.Greater(t, count, 150)
}

// TestEverySettingThatAGuardNamesIsOne keeps the advice right.
func TestEverySettingThatAGuardNamesIsOne(t *testing.T) {
	t.Parallel()
	for _, guards := range config.Guarded {
		for _, g := range guards {
			for name := range strings.SplitSeq(g.Setting, " and ") {
				assert.True(t, name == "" || config.Known(name), name)
			}
		}
	}
}

// TestPublicValuesAreTakenOrRefusedWithAReason has values files that people publish, reduced to their keys (x stands for a
// text), with what is refused of each.
func TestPublicValuesAreTakenOrRefusedWithAReason(t *testing.T) {
	t.Parallel()
	reason := regexp.MustCompile(`use the setting |did you mean |must be .* or left out: |has no such key; .*has |may not be set: \w+|must be a whole number|` +
		`must be a text; put`)
	for chart, key := range map[string]string{
		charts.FalcoName: config.FalcoValuesKey, charts.FalcosidekickName: config.FalcosidekickValuesKey, charts.SPIREName: config.SPIREValuesKey,
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "public-values", chart+".yaml"))
		require.NoError(t, err)
		var files []struct {
			Name    string
			Values  map[string]any
			Refused []string
		}
		require.NoError(t, yaml.Unmarshal(text, &files))
		for _, f := range files {
			t.Run(chart+" with "+f.Name, func(t *testing.T) {
				t.Parallel()
				values, err := json.Marshal(f.Values)
				require.NoError(t, err)
				_, err = config.Load(config.Source{Stack: "dev", Values: map[string]string{key: string(values)}})
				var problems config.Problems
				if err != nil {
					require.ErrorAs(t, err, &problems)
				}
				var refused []string
				for _, p := range problems {
					refused = append(refused, strings.TrimPrefix(p.Key, key+"."))
					assert.Regexp(t, reason, p.Want, p.Key)
				}
				slices.Sort(f.Refused)
				slices.Sort(refused)
				assert.Equal(t, f.Refused, refused, "%v", err)
			})
		}
	}
}
