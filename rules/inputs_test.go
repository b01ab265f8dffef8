package rules_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/rules"
)

// with returns the default inputs, changed.
func with(change func(*rules.Inputs)) rules.Inputs {
	in := rules.DefaultInputs()
	change(&in)
	return in
}

func load(t *testing.T, values map[string]string) *config.Settings {
	t.Helper()
	s, err := config.Load(config.Source{Stack: "test", Values: values})
	require.NoError(t, err)
	return s
}

// No value of a setting becomes syntax of a condition or of YAML: the settings refuse it, or Falco takes it as a value.
func TestNoSettingBecomesSyntax(t *testing.T) {
	t.Parallel()
	evil := []string{
		`x" or evt.num > 0 or "`, "x') or (evt.num>0", "x\n- rule: y", "x: y", "[x", "{x}", "x,y", "x # y", "x)", "(x",
		"spire_mtls_shells)", "%proc.name", "x\\", "x\x00", "é", "x y", "&a", "*a", "!x", "x|", ">", "'x'",
	}
	inWorkload := func(field string, value any) func(string) (string, string) {
		return func(v string) (string, string) {
			w := map[string]any{"name": "orders", "image": "acme/orders:1", "port": 8443}
			w[field] = reflect.ValueOf(value).Call([]reflect.Value{reflect.ValueOf(v)})[0].Interface()
			text, err := json.Marshal([]any{w})
			require.NoError(t, err)
			return "workloads", string(text)
		}
	}
	text := func(prefix string) any { return func(v string) any { return prefix + v } }
	list := func(prefix ...string) any {
		return func(v string) any {
			out := slices.Clone(prefix)
			out[len(out)-1] += v
			return out
		}
	}
	for name, set := range map[string]func(string) (key, value string){
		"falco.chartVersion":    func(v string) (string, string) { return "falco.chartVersion", "4.19.0" + v },
		"spire.agentSocketPath": func(v string) (string, string) { return "spire.agentSocketPath", "/tmp/a/" + v },
		"spire.namespace":       func(v string) (string, string) { return "spire.namespace", v },
		"image.repository":      func(v string) (string, string) { return "image.repository", "a/" + v },
		"falco.allowedProcesses": func(v string) (string, string) {
			text, err := json.Marshal([]string{"/bin/" + v})
			require.NoError(t, err)
			return "falco.allowedProcesses", string(text)
		},
		"name":            inWorkload("name", text("")),
		"namespace":       inWorkload("namespace", text("")),
		"image":           inWorkload("image", text("a/")),
		"executable":      inWorkload("executable", text("/")),
		"socketPath":      inWorkload("socketPath", text("/a/")),
		"health":          inWorkload("health", list("/a", "")),
		"children":        inWorkload("children", list("/")),
		"certificateDirs": inWorkload("certificateDirs", list("/")),
		"egress.cidr": inWorkload("egress", func(v string) any {
			return []any{map[string]any{"cidr": v, "port": 1, "protocol": "tcp"}}
		}),
		"egress.protocol": inWorkload("egress", func(v string) any {
			return []any{map[string]any{"cidr": "10.0.0.0/8", "port": 1, "protocol": v}}
		}),
	} {
		for _, v := range evil {
			key, value := set(v)
			settings, err := config.Load(config.Source{Stack: "test", Values: map[string]string{"enableFalco": "true", key: value}})
			if name == "health" && config.ValidArgument(v) {
				require.NoErrorf(t, err, "an argument is in quotes: %q", v)
				_, err = rules.RenderSettings(settings, ".")
				require.NoErrorf(t, err, "%q", v)
				continue
			}
			var bad config.Problems
			assert.ErrorAsf(t, err, &bad, "%s with %q", name, v)
		}
	}
}

func TestEveryInputOfTheRulesIsNamedAfterASettingThatThereIs(t *testing.T) {
	t.Parallel()
	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[rules.Inputs]()) {
		keys = append(keys, rules.Key(f.Name))
	}
	ofWorkload := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Workload]()) {
		keys = append(keys, rules.Key("Workloads."+f.Name))
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		ofWorkload[name] = true
	}
	for _, key := range keys {
		if field, ok := strings.CutPrefix(key, "workloads[]."); ok {
			assert.True(t, ofWorkload[field], key)
			continue
		}
		assert.True(t, strings.EqualFold(key, "workloads") || config.Known(key), key)
	}
}

func TestAWorkloadMayConnectToItsServersToDNSAndToItsEgressAlone(t *testing.T) {
	t.Parallel()
	rendered, err := rules.RenderSettings(load(t, map[string]string{"enableFalco": "true", "workloads": `[
		{"name":"server","port":8443,"peers":["client"]},
		{"name":"client","egress":[{"cidr":"10.1.2.3/8","port":5432,"protocol":"tcp"}]}]`}), ".")
	require.NoError(t, err)
	text := generated(t, rendered)
	for _, row := range []string{
		`"client"', 8443, tcp,`, `"client"', 53, udp,`, `"client"', 53, tcp,`, `"client"', [10.0.0.0/8], 5432, tcp,`,
	} {
		assert.Contains(t, text, row)
	}
	assert.NotContains(t, text, `"server"', 53,`, "it connects to nobody")
}

func TestAWorkloadIsHeldToItsImageAndItsHealthCommand(t *testing.T) {
	t.Parallel()
	declared := map[string]string{"enableFalco": "true", "workloads": `[
		{"name":"server","port":8443,"peers":["client"]},
		{"name":"client","image":"ghcr.io/acme/client:1.2","health":["/client","ping"]}]`}
	rendered, err := rules.RenderSettings(load(t, declared), ".")
	require.NoError(t, err)
	text := generated(t, rendered)
	assert.Contains(t, text, `"`+rules.DefaultImage+`"`, "as Minikube has it")
	for _, row := range []string{`'"ghcr.io/acme/client"', '"/client"', '"ping"'`, `'"/server"', '"health"'`} {
		assert.Contains(t, text, row)
	}

	declared["image.repository"] = "registry.example.org/acme/server"
	rendered, err = rules.RenderSettings(load(t, declared), ".")
	require.NoError(t, err)
	text = generated(t, rendered)
	assert.Contains(t, text, `"registry.example.org/acme/server"`, "as it is pushed")
	assert.NotContains(t, text, rules.DefaultImage)
}

func TestRulesAreRenderedOnlyWhileFalcoIsOn(t *testing.T) {
	t.Parallel()
	rendered, err := rules.RenderSettings(load(t, nil), ".")
	require.NoError(t, err)
	assert.Nil(t, rendered)

	dir := t.TempDir()
	on := load(t, map[string]string{"enableFalco": "true", "falco.extraRules": `["own.yaml"]`})
	_, err = rules.RenderSettings(on, dir)
	require.ErrorContains(t, err, `falco.extraRules[0] = "own.yaml": `)
	own := filepath.Join(dir, "own.yaml")
	require.NoError(t, os.WriteFile(own, []byte("- list: own\n  items: [a]\n"), 0o600))
	rendered, err = rules.RenderSettings(on, dir)
	require.NoError(t, err)
	var names []string
	for _, f := range rendered.Files() {
		names = append(names, f.Name)
	}
	assert.Contains(t, names, "own.yaml", "taken from the folder")
	require.NoError(t, os.WriteFile(own, []byte("- rule: own\n"), 0o600))
	_, err = rules.RenderSettings(on, dir)
	require.ErrorContains(t, err, "the rules cannot be deployed: ")
}

func TestAnExtraRuleFileMustBeARegularOneThatFitsIntoAConfigMap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		place      func(path string) error
	}{
		{"a pipe", "a pipe, not a regular file", func(path string) error { return syscall.Mkfifo(path, 0o600) }},
		{"a folder", "a directory, not a regular file", func(path string) error { return os.Mkdir(path, 0o700) }},
		{"an endless device", "a device, not a regular file", func(path string) error { return os.Symlink("/dev/zero", path) }},
		{"a file of the system that is read for ever", "", func(path string) error { return os.Symlink("/proc/self/pagemap", path) }},
		{"a gigabyte", "larger than the 1 MiB", func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<30))
		}},
		{"two files that are too large together", "have 1200000 bytes together", func(path string) error {
			text := []byte("# " + strings.Repeat("x", 599_998))
			return errors.Join(os.WriteFile(path, text, 0o600), os.WriteFile(strings.TrimSuffix(path, ".yaml")+"-too.yaml", text, 0o600))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "own.yaml")
			require.NoError(t, tt.place(path))
			settings := map[string]string{"enableFalco": "true", "falco.extraRules": `["` + path + `"]`}
			too := strings.TrimSuffix(path, ".yaml") + "-too.yaml"
			if _, err := os.Stat(too); err == nil {
				settings["falco.extraRules"] = `["` + path + `","` + too + `"]`
			}
			begun := time.Now()
			_, err := rules.RenderSettings(load(t, settings), ".")
			require.ErrorContains(t, err, "falco.extraRules")
			require.ErrorContains(t, err, strings.TrimSuffix(path, ".yaml"))
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, "must be regular files of at most 1 MiB together")
			assert.Less(t, time.Since(begun), 5*time.Second)
		})
	}
}

// TestWhatTheSettingsAcceptTheRulesTake holds that nothing passes the settings and fails later, without a place: each value
// is refused with its key, or it renders to rules that load.
func TestWhatTheSettingsAcceptTheRulesTake(t *testing.T) {
	t.Parallel()
	values := []string{
		"plain", "two words", "dot.ted", "UPPER", "under_score", "a@b+c~d", "ü", "quo\"te", "quo'te", "back\\slash", "par(en", "com,ma", "br[ack]et",
		"br{ace}", "col:on", "ha#sh", "per%cent", "amp&", "star*", "new\nline", "nul\x00", "tab\t", "", "..", ".", "-dash", "trailing/", strings.Repeat("a", 300),
	}
	accepted := 0
	for key, setting := range map[string]func(v string) (string, any){
		"spire.agentSocketPath":           func(v string) (string, any) { return "spire.agentSocketPath", "/tmp/agent/" + v },
		"spire.namespace":                 func(v string) (string, any) { return "spire.namespace", v },
		"falco.allowedProcesses":          func(v string) (string, any) { return "falco.allowedProcesses", []string{"/bin/" + v} },
		"falco.extraRules":                func(v string) (string, any) { return "falco.extraRules", []string{v + ".yaml"} },
		"image.repository":                func(v string) (string, any) { return "image.repository", "example.org/" + v },
		"workloads[0].name":               workload(func(w map[string]any, v string) { w["name"] = v }),
		"workloads[0].namespace":          workload(func(w map[string]any, v string) { w["namespace"] = v }),
		"workloads[0].image":              workload(func(w map[string]any, v string) { w["image"] = "example.org/" + v + ":1" }),
		"workloads[0].executable":         workload(func(w map[string]any, v string) { w["executable"] = "/bin/" + v }),
		"workloads[0].health[0]":          workload(func(w map[string]any, v string) { w["health"] = []string{"/bin/" + v} }),
		"workloads[0].health[1]":          workload(func(w map[string]any, v string) { w["health"] = []string{"/bin/check", v} }),
		"workloads[0].children[0]":        workload(func(w map[string]any, v string) { w["children"] = []string{"/bin/" + v} }),
		"workloads[0].certificateDirs[0]": workload(func(w map[string]any, v string) { w["certificateDirs"] = []string{"/run/" + v} }),
		"workloads[0].socketPath":         workload(func(w map[string]any, v string) { w["socketPath"] = "/run/" + v + "/api.sock" }),
	} {
		for _, v := range values {
			name, raw := setting(v)
			text, ok := raw.(string)
			if !ok {
				b, err := json.Marshal(raw)
				require.NoError(t, err)
				text = string(b)
			}
			set := map[string]string{"enableFalco": "true", name: text}
			settings, err := config.Load(config.Source{Stack: "test", Values: set})
			if err != nil {
				root, _, _ := strings.Cut(key, "[")
				require.ErrorContains(t, err, root, "%s with %q", key, v)
				continue
			}
			accepted++
			dir := t.TempDir()
			for _, f := range settings.Falco.ExtraRules {
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte("- list: mine\n  items: [a]\n"), 0o600))
			}
			_, err = rules.RenderSettings(settings, dir)
			require.NoError(t, err, "%s with %q", key, v)
		}
	}
	assert.Greater(t, accepted, 50, "most of the forms take something")
}

func workload(change func(w map[string]any, v string)) func(v string) (string, any) {
	return func(v string) (string, any) {
		w := map[string]any{"name": "orders", "port": 9443, "peers": []string{"client"}}
		change(w, v)
		return "workloads", []any{w, map[string]any{"name": "client"}}
	}
}
