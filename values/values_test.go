package values_test

import (
	"fmt"
	"maps"
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
	"spire-falco/values"
)

func load(t *testing.T, set map[string]string, secrets ...string) *config.Settings {
	t.Helper()
	src := config.Source{Stack: "test", Values: map[string]string{"enableFalco": "true"}, Secrets: map[string]bool{}}
	for k, v := range set {
		src.Values[k] = v
	}
	for _, k := range secrets {
		src.Secrets[k] = true
	}
	s, err := config.Load(src)
	require.NoError(t, err)
	return s
}

var inputs = values.FalcoInputs{
	RulesConfigMap: "falco-rules-0123456789ab",
	RulesFiles:     []string{"/etc/falco/rules.d/ours.yaml", "/etc/falco/falco_rules.yaml"},
	RulesHash:      "0123456789abcdef", AlertURL: "http://falcosidekick:2801", Preflight: "exit 0",
}

// rendered are the values of every chart, in every supported version, with settings that between them reach every key.
func rendered(t *testing.T) map[string]struct {
	chart  string // and version
	values values.Map
} {
	t.Helper()
	type entry = struct {
		chart  string
		values values.Map
	}
	out := map[string]entry{}
	for _, v := range charts.Supported(charts.FalcoName) {
		for name, set := range map[string]map[string]string{
			"defaults": {},
			"all-settings": {
				"falco.priority": "warning", "falco.fileOutput": "/var/log/alerts.json", "falco.syslogOutput": "true", "falco.metrics": "false",
				"falco.serviceMonitor": "false", "falco.leastPrivileged": "true", "falco.bufferPreset": "6",
				"falco.limits.cpu": "2", "falco.limits.memory": "1Gi", "falco.requests.cpu": "1", "falco.requests.memory": "512Mi",
			},
		} {
			set["falco.chartVersion"] = v
			out["falco-"+v+"-"+name] = entry{"falco-" + v, values.Falco(load(t, set).Falco, inputs)}
		}
	}
	for _, v := range charts.Supported(charts.FalcosidekickName) {
		s := load(t, map[string]string{"falcosidekick.chartVersion": v})
		out["falcosidekick-"+v+"-defaults"] = entry{"falcosidekick-" + v, values.Falcosidekick(s.Sidekick, values.FalcosidekickInputs{})}
		s = load(t, map[string]string{
			"falcosidekick.chartVersion": v, "falcosidekick.elasticsearch.hostPort": "http://es:9200", "falcosidekick.elasticsearch.username": "u",
			"falcosidekick.ui.enabled": "true", "falcosidekick.outputs.loki.hostport": "http://loki:3100",
			"falcosidekick.outputs.loki.minimumpriority": "warning", "falcosidekick.outputs.loki.checkcert": "false",
			"falcosidekick.outputs.aws.region": "eu-west-1", "falcosidekick.outputs.aws.s3.bucket": "alerts",
		}, "falcosidekick.outputs.loki.apikey", config.SlackWebhookKey, config.ElasticsearchPasswordKey, config.UIPasswordKey)
		out["falcosidekick-"+v+"-all-settings"] = entry{
			"falcosidekick-" + v,
			values.Falcosidekick(s.Sidekick, values.FalcosidekickInputs{Secret: "falcosidekick-outputs", SecretHash: "abcdef"}),
		}
	}
	for _, v := range charts.Supported(charts.SPIREName) {
		for name, set := range map[string]map[string]string{
			"defaults":     {},
			"all-settings": {"spire.trustDomain": "corp.example", "spire.clusterName": "east", "spire.persistence": "emptyDir", "spire.agentSocketPath": "/run/a/b.sock"},
		} {
			set["spire.chartVersion"] = v
			out["spire-"+v+"-"+name] = entry{"spire-" + v, values.SPIRE(load(t, set).SPIRE)}
		}
	}
	return out
}

// TestEveryKeyExistsInItsChart is there because Helm ignores a key that a chart does not have.
func TestEveryKeyExistsInItsChart(t *testing.T) {
	t.Parallel()
	for name, r := range rendered(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := schemaOf(t, r.chart)
			for _, k := range leaves(nil, r.values) {
				assert.True(t, exists(schema, k.path, k.kind), "%s has no key %s of type %s", r.chart, strings.Join(k.path, "."), k.kind)
			}
		})
	}
}

type leaf struct {
	path []string
	kind string
}

// leaves are the keys of values with the types of what they hold, as charts.Keys writes them.
func leaves(path []string, v any) []leaf {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return []leaf{{path, "map"}}
		}
		var out []leaf
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out = append(out, leaves(append(slices.Clip(path), k), v[k])...)
		}
		return out
	case []any:
		return []leaf{{path, "list"}}
	case string:
		return []leaf{{path, "str"}}
	case bool:
		return []leaf{{path, "bool"}}
	case int:
		return []leaf{{path, "int"}}
	case float64:
		return []leaf{{path, "float"}}
	}
	return []leaf{{path, fmt.Sprintf("%T", v)}}
}

// exists tells whether the chart has the key with that type. An empty map in place of one with keys changes nothing.
func exists(schema *charts.Schema, path []string, kind string) bool {
	switch have := schema.Kind(path...); have {
	case "null", charts.KindAny:
		return true
	case charts.KindObject:
		return kind == "map"
	case "int", "float":
		return kind == "int" || kind == "float"
	default:
		return have == kind
	}
}

func schemaOf(t *testing.T, chart string) *charts.Schema {
	t.Helper()
	at := strings.LastIndex(chart, "-")
	out := charts.SchemaOf(charts.Chart{Name: chart[:at], Version: chart[at+1:]})
	require.NotNil(t, out, "a supported version needs the list of its chart's keys")
	return out
}

// TestTheKeysOfTheGuideThatNoChartHasAreNotTaken is the control of the test above.
func TestTheKeysOfTheGuideThatNoChartHasAreNotTaken(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "falco-4.19.0")
	for _, k := range [][]string{{"falco", "jsonOutput"}, {"falco", "rules_file"}, {"falco", "http_output", "uri"}, {"falco.json_output"}} {
		assert.False(t, exists(schema, k, "bool"), k)
	}
	assert.False(t, exists(schema, []string{"falco", "json_output"}, "str"), "of the wrong type")
	assert.True(t, exists(schema, []string{"falco", "json_output"}, "bool"))
}

// TestGolden compares the whole of the values; UPDATE=1 writes them anew, for reading the difference.
func TestGolden(t *testing.T) {
	t.Parallel()
	wanted := map[string]bool{}
	for name, r := range rendered(t) {
		wanted[name+".yaml"] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := yaml.Marshal(r.values)
			require.NoError(t, err)
			file := filepath.Join("testdata", "golden", name+".yaml")
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.WriteFile(file, got, 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got))
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "golden"))
	require.NoError(t, err)
	for _, f := range files {
		assert.True(t, wanted[f.Name()], "%s is of no supported version", f.Name())
	}
}

func TestValuesAreMadeAnewForEachCall(t *testing.T) {
	t.Parallel()
	s := load(t, nil)
	first := values.Falco(s.Falco, inputs)
	falco, ok := first["falco"].(values.Map)
	require.True(t, ok)
	falco["priority"] = "broken"
	again, ok := values.Falco(s.Falco, inputs)["falco"].(values.Map)
	require.True(t, ok)
	assert.Equal(t, "debug", again["priority"])
}

func TestTheImageIsThatOfTheChart(t *testing.T) {
	t.Parallel()
	for _, v := range charts.Supported(charts.FalcoName) {
		f, err := charts.ResolveFalco(v)
		require.NoError(t, err)
		assert.Regexp(t, `^docker\.io/falcosecurity/falco:`+regexp.QuoteMeta(f.AppVersion)+`(-debian)?$`, values.FalcoImage(f))
		assert.Equal(t, strings.HasPrefix(v, "4."), strings.HasSuffix(values.FalcoImage(f), "-debian"), v)
	}
}

func TestSPIRECRDsTakesTheMarkAway(t *testing.T) {
	t.Parallel()
	var v struct {
		Annotations map[string]any `yaml:"annotations"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(values.SPIRECRDs()), &v))
	mark, ok := v.Annotations["helm.sh/resource-policy"]
	assert.True(t, ok, "named, for Helm to take it away")
	assert.Nil(t, mark)
	assert.Greater(t, len(v.Annotations), 1, "the chart's template needs one that is left")
}

const userValues = `{"image":{"pullPolicy":"Always"},"falco":{"json_output":true,"output_timeout":500},"extra":{"env":[{"name":"A","value":"b"}]}}`

func TestTheUsersValuesAreMergedLast(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		"falco.values":         userValues,
		"falcosidekick.values": `{"replicaCount":2,"config":{"debug":true}}`,
		"spire.values":         `{"spire-server":{"experimental":{"cacheReloadInterval":"3s"},"caTTL":"48h"}}`,
	})
	falco := values.Falco(s.Falco, inputs)
	assert.Equal(t, values.Map{"pullPolicy": "Always"}, falco["image"])
	assert.Equal(t, 500, falco["falco"].(values.Map)["output_timeout"])
	assert.Equal(t, inputs.AlertURL, falco["falco"].(values.Map)["http_output"].(values.Map)["url"], "the stack's stay")
	assert.NotEmpty(t, falco["extra"].(values.Map)["initContainers"])
	sidekick := values.Falcosidekick(s.Sidekick, values.FalcosidekickInputs{})
	assert.Equal(t, 2, sidekick["replicaCount"])
	server := values.SPIRE(s.SPIRE)["spire-server"].(values.Map)
	assert.Equal(t, values.Map{"enabled": true, "cacheReloadInterval": "3s"}, server["experimental"])
}

func TestChangesNameEveryKeyThatIsOtherThanTheStacks(t *testing.T) {
	t.Parallel()
	s := load(t, map[string]string{
		"falco.values":         userValues,
		"falcosidekick.values": `{"replicaCount":2}`,
		"spire.values":         `{"spire-server":{"experimental":{"cacheReloadInterval":"3s"}}}`,
		"spireCrds.values":     `{"annotations":{"a":"b"}}`,
	})
	want := []values.Change{
		{Chart: "spire-crds", Key: "annotations.a", To: `"b"`},
		{Chart: "spire", Key: "spire-server.experimental.cacheReloadInterval", From: `"1s"`, To: `"3s"`},
		{Chart: "falcosidekick", Key: "replicaCount", From: "1", To: "2"},
		{Chart: "falco", Key: "extra.env", To: `[{"name":"A","value":"b"}]`},
		{Chart: "falco", Key: "falco.output_timeout", To: "500"},
		{Chart: "falco", Key: "image.pullPolicy", To: `"Always"`},
	}
	assert.Equal(t, want, values.Changes(s), "json_output is what the stack sets")
	s.EnableFalco, s.SPIRE.Install = false, false
	assert.Empty(t, values.Changes(s), "of charts that are installed")
}
