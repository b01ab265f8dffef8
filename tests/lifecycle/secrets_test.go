package lifecycle

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"spire-falco/config"
	"spire-falco/engine/fakeprovider"
)

// Secrets that tests set; each is a text that stands nowhere else.
const (
	slackWebhook          = "https://hooks.slack.example/services/T0/B0/qKz81SlackSecret"
	elasticsearchPassword = "vN27ElasticSecret"
	uiPassword            = "rT93UserInterfaceSecret"
	lokiKey               = "bH45LokiOutputSecret"
	lokiKeyKey            = config.OutputsKey + ".loki.apikey"
)

// allOutputs switches every output of Falcosidekick on; their secrets are those above.
var allOutputs = map[string]any{
	"enableFalco":                          true,
	"falcosidekick.elasticsearch.hostPort": "http://elasticsearch:9200",
	"falcosidekick.elasticsearch.username": "falco",
	"falcosidekick.ui.enabled":             true,
}

var allSecrets = map[string]string{
	config.SlackWebhookKey:          slackWebhook,
	config.ElasticsearchPasswordKey: elasticsearchPassword,
	config.UIPasswordKey:            uiPassword,
	lokiKeyKey:                      lokiKey,
}

// encrypt sets secret settings the way a person does, with pulumi config set --secret.
func (s *stack) encrypt(values map[string]string) {
	s.t.Helper()
	file := filepath.Join(s.dir, "Pulumi."+s.name+".yaml")
	if _, err := os.Stat(file); err != nil {
		s.pulumi("stack", "init", s.name)
	}
	args := []string{"config", "set-all", "--stack", s.name}
	for k, v := range values {
		args = append(args, "--secret", config.Project+":"+k+"="+v)
	}
	s.pulumi(args...)
	text, err := os.ReadFile(file)
	require.NoError(s.t, err)
	var doc struct {
		Config map[string]any `yaml:"config"`
	}
	require.NoError(s.t, yaml.Unmarshal(text, &doc))
	if s.secure == nil {
		s.secure = map[string]string{}
	}
	for k := range values {
		secure, ok := doc.Config[config.Project+":"+k].(map[string]any)["secure"].(string)
		require.True(s.t, ok, "%s is encrypted", k)
		s.secure[k] = secure
	}
}

// TestSecretsStaySecret looks for the secrets in everything that runs write, broken off ones too.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	s := newStack(t, with(existing, allOutputs))
	s.encrypt(allSecrets)
	// One of them inside an object, as pulumi config set --path writes it.
	s.settings[config.OutputsKey] = map[string]any{"loki": map[string]any{
		"hostport": "http://loki:3100", "apikey": map[string]any{"secure": s.secure[lokiKeyKey]},
	}}
	delete(s.secure, lokiKeyKey)
	// A killed run leaves the inputs of a create that it does not know the end of.
	i := &injector{s: s, fault: killed, kind: fakeprovider.Create, names: []string{"falcosidekick-outputs"}, hit: map[string]bool{}}
	s.providers.Before = i.before
	checkpoints := 0
	assert.Equal(t, 2, i.converge(t, func(ctx context.Context) error {
		err := s.upWith(ctx)
		checkpoints += s.assertNoSecretOnDisk()
		return err
	}))
	assert.Contains(t, s.did(), "create falcosidekick-outputs")
	kept := 0
	for _, op := range s.providers.Objects() {
		if urnName(op.URN) != "falcosidekick-outputs" {
			assertNoSecret(t, op.URN, resource.NewProperty(op.Inputs).String())
			continue
		}
		data := op.Inputs["stringData"]
		assert.True(t, data.ContainsSecrets(), "the Secret's data is marked secret")
		for _, v := range secretTexts(data) {
			for _, want := range allSecrets {
				if strings.HasSuffix(v, want) {
					kept++
				}
			}
		}
	}
	assert.Equal(t, len(allSecrets), kept, "the provider gets the secrets")
	require.NoError(t, s.down(), s.out.String())
	assertNoSecret(t, "the engine's output", s.out.String())
	checkpoints += s.assertNoSecretOnDisk()
	assert.GreaterOrEqual(t, checkpoints, 4, "the state, its backups and its history were looked at, after each run")
	t.Logf("%d checkpoints hold the Secret encrypted", checkpoints)
}

// assertNoSecretOnDisk looks into every file of the project and its state. It returns how many speak of the Secret.
func (s *stack) assertNoSecretOnDisk() (checkpoints int) {
	s.t.Helper()
	require.NoError(s.t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		assertNoSecret(s.t, path, string(text))
		if strings.Contains(string(text), "falcosidekick-outputs") {
			checkpoints++
		}
		return nil
	}))
	return checkpoints
}

func assertNoSecret(t *testing.T, where, text string) {
	t.Helper()
	for key, value := range allSecrets {
		assert.NotContains(t, text, value[len(value)-12:], "%s stands in %s", key, where)
	}
}

// secretTexts lists the texts of v that are inside a secret.
func secretTexts(v resource.PropertyValue) []string {
	var out []string
	if v.IsSecret() {
		element := v.SecretValue().Element
		if element.IsString() {
			return []string{element.StringValue()}
		}
		for _, e := range element.ObjectValue() {
			out = append(out, secretTexts(resource.MakeSecret(e))...)
		}
		return out
	}
	if v.IsObject() {
		for _, e := range v.ObjectValue() {
			out = append(out, secretTexts(e)...)
		}
	}
	return out
}
