package values_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
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
			known := keys(t, r.chart)
			for _, k := range leaves("", r.values) {
				assert.True(t, exists(known, k.path, k.kind), "%s has no key %s of type %s", r.chart, k.path, k.kind)
			}
		})
	}
}

type leaf struct{ path, kind string }

// leaves are the keys of values with the types of what they hold, as testdata/*.tsv writes them.
func leaves(prefix string, v any) []leaf {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return []leaf{{prefix, "map"}}
		}
		var out []leaf
		for k, item := range v {
			out = append(out, leaves(strings.TrimPrefix(prefix+"."+k, "."), item)...)
		}
		sort.Slice(out, func(i, j int) bool { return out[i].path < out[j].path })
		return out
	case []any:
		return []leaf{{prefix, "list"}}
	case string:
		return []leaf{{prefix, "str"}}
	case bool:
		return []leaf{{prefix, "bool"}}
	case int:
		return []leaf{{prefix, "int"}}
	case float64:
		return []leaf{{prefix, "float"}}
	}
	return []leaf{{prefix, fmt.Sprintf("%T", v)}}
}

// passedOn are the maps that charts put into their objects as they are, so that the fields of the Kubernetes type count and
// not the defaults. The chart contract suite checks them on the objects.
var passedOn = []string{"controller.daemonset.updateStrategy", "podSecurityContext"}

// exists tells whether the chart's defaults have the key with that type, or a map without keys of its own above it, which
// holds what the user likes.
func exists(known map[string]string, path, kind string) bool {
	if have, ok := known[path]; ok {
		return have == kind || have == "null" || have == "int" && kind == "float" || have == "float" && kind == "int"
	}
	for k := range known {
		if kind == "map" && strings.HasPrefix(k, path+".") {
			return true // an empty map in place of one with keys changes nothing
		}
	}
	for strings.Contains(path, ".") {
		path = path[:strings.LastIndex(path, ".")]
		if known[path] == "map" || known[path] == "null" || slices.Contains(passedOn, path) {
			return true
		}
	}
	return false
}

func keys(t *testing.T, chart string) map[string]string {
	t.Helper()
	at := strings.LastIndex(chart, "-")
	out := charts.Keys(charts.Chart{Name: chart[:at], Version: chart[at+1:]})
	require.NotEmpty(t, out, "a supported version needs the list of its chart's keys")
	return out
}

// TestTheKeysOfTheGuideThatNoChartHasAreNotTaken is the control of the test above.
func TestTheKeysOfTheGuideThatNoChartHasAreNotTaken(t *testing.T) {
	t.Parallel()
	known := keys(t, "falco-4.19.0")
	for _, k := range []string{"falco.jsonOutput", "falco.rules_file", "falco.http_output.uri"} {
		assert.False(t, exists(known, k, "str"), k)
	}
	assert.False(t, exists(known, "falco.json_output", "str"), "of the wrong type")
	assert.True(t, exists(known, "falco.json_output", "bool"))
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
