package fromsettings

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/rules"
)

func load(t *testing.T, values map[string]string) *config.Settings {
	t.Helper()
	s, err := config.Load(config.Source{Stack: "test", Values: values})
	require.NoError(t, err)
	return s
}

func TestEveryInputOfTheRulesIsNamedAfterASettingThatThereIs(t *testing.T) {
	t.Parallel()
	var keys []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[rules.Inputs]()) {
		keys = append(keys, Key(f.Name))
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[rules.Workload]()) {
		keys = append(keys, Key("Workloads."+f.Name))
	}
	ofWorkload := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Workload]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		ofWorkload[name] = true
	}
	for _, text := range keys {
		for key := range strings.SplitSeq(text, " and ") {
			if field, ok := strings.CutPrefix(key, "workloads[]."); ok {
				assert.True(t, ofWorkload[field], key)
				continue
			}
			assert.True(t, strings.EqualFold(key, "workloads") || config.Known(key), key)
		}
	}
}

func TestAWorkloadMayConnectToItsServersToDNSAndToItsEgressAlone(t *testing.T) {
	t.Parallel()
	in, err := Inputs(load(t, map[string]string{"workloads": `[
		{"name":"server","port":8443,"peers":["client"]},
		{"name":"client","egress":[{"cidr":"10.0.0.0/8","port":5432,"protocol":"tcp"}]}]`}), ".")
	require.NoError(t, err)
	assert.Empty(t, in.Workloads[0].Egress)
	assert.Equal(t, []rules.Endpoint{
		{Port: 8443, Protocol: "tcp"},
		{Port: 53, Protocol: "udp"},
		{Port: 53, Protocol: "tcp"},
		{CIDR: "10.0.0.0/8", Port: 5432, Protocol: "tcp"},
	}, in.Workloads[1].Egress)
}

func TestAWorkloadIsHeldToItsImageAndItsHealthCommand(t *testing.T) {
	t.Parallel()
	declared := map[string]string{"workloads": `[
		{"name":"server","port":8443,"peers":["client"]},
		{"name":"client","image":"ghcr.io/acme/client:1.2","health":["/client","ping"]}]`}
	in, err := Inputs(load(t, declared), ".")
	require.NoError(t, err)
	assert.Equal(t, rules.DefaultImage, in.Workloads[0].Image, "as Minikube has it")
	assert.Equal(t, []string{in.Workloads[0].Executable, "health"}, in.Workloads[0].Health)
	assert.Equal(t, "ghcr.io/acme/client:1.2", in.Workloads[1].Image)
	assert.Equal(t, []string{"/client", "ping"}, in.Workloads[1].Health)

	declared["image.repository"] = "registry.example.org/acme/server"
	in, err = Inputs(load(t, declared), ".")
	require.NoError(t, err)
	assert.Equal(t, "registry.example.org/acme/server", in.Workloads[0].Image, "as it is pushed")
}

func TestRulesAreRenderedOnlyWhileFalcoIsOn(t *testing.T) {
	t.Parallel()
	rendered, err := Render(load(t, nil), ".")
	require.NoError(t, err)
	assert.Nil(t, rendered)

	dir := t.TempDir()
	on := load(t, map[string]string{"enableFalco": "true", "falco.extraRules": `["own.yaml"]`})
	_, err = Render(on, dir)
	require.ErrorContains(t, err, `falco.extraRules[0] = "own.yaml": `)
	own := filepath.Join(dir, "own.yaml")
	require.NoError(t, os.WriteFile(own, []byte("- list: own\n  items: [a]\n"), 0o600))
	rendered, err = Render(on, dir)
	require.NoError(t, err)
	var names []string
	for _, f := range rendered.Files() {
		names = append(names, f.Name)
	}
	assert.Contains(t, names, "own.yaml", "taken from the folder")
	require.NoError(t, os.WriteFile(own, []byte("- rule: own\n"), 0o600))
	_, err = Render(on, dir)
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
			_, err := Render(load(t, settings), ".")
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
			_, err = Render(settings, dir)
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
