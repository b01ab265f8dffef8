package fromsettings

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

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
	require.ErrorContains(t, err, "falco.extraRules: ")
	own := filepath.Join(dir, "own.yaml")
	require.NoError(t, os.WriteFile(own, []byte("- list: own\n  items: [a]\n"), 0o600))
	rendered, err = Render(on, dir)
	require.NoError(t, err)
	var names []string
	for _, f := range rendered.Files {
		names = append(names, f.Name)
	}
	assert.Contains(t, names, "own.yaml", "taken from the folder")
	require.NoError(t, os.WriteFile(own, []byte("- rule: own\n"), 0o600))
	_, err = Render(on, dir)
	require.ErrorContains(t, err, "the rules cannot be deployed: ")
}
