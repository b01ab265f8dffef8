package config

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumiconfig "github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

// FromPulumi loads the settings inside a running Pulumi program. keys lists every configuration key of the project that
// is set, for finding mistyped ones: the SDK itself can only be asked for keys that one knows.
func FromPulumi(ctx *pulumi.Context, keys []string) (*Settings, error) {
	src := Source{
		Stack:     ctx.Stack(),
		Values:    map[string]string{},
		Secrets:   map[string]bool{},
		LookupEnv: os.LookupEnv,
	}
	for _, k := range keys {
		src.Values[k] = ""
	}
	for _, d := range Declared {
		keys = append(keys, d.Key)
	}
	for _, k := range keys {
		full := ctx.Project() + ":" + k
		if v, ok := ctx.GetConfig(full); ok {
			src.Values[k] = v
		}
		if src.Values[k] != "" && ctx.IsConfigSecret(full) { // the engine passes the declared default "" as a secret too
			src.Secrets[k] = true
		}
	}
	return Load(src)
}

// KeysFromEnvironment lists the keys of the project's configuration that the engine passes to a language host's program
// in PULUMI_CONFIG.
func KeysFromEnvironment() ([]string, error) {
	text := os.Getenv(pulumi.EnvConfig)
	if text == "" {
		return nil, nil
	}
	var all map[string]string
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("read the environment variable %s: %w", pulumi.EnvConfig, err)
	}
	var keys []string
	for k := range all {
		if key, ok := strings.CutPrefix(k, Project+":"); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Secret reads the value of a secret setting, which Settings does not hold. It stays secret in every output made of it.
func Secret(ctx *pulumi.Context, key string) pulumi.StringOutput {
	return pulumiconfig.GetSecret(ctx, Project+":"+key)
}
