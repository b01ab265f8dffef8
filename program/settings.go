package program

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"spire-falco/config"
)

// loadSettings loads the settings inside a running Pulumi program. keys lists every configuration key of the project
// that is set, for finding mistyped ones: the SDK cannot list the keys.
func loadSettings(ctx *pulumi.Context, keys []string) (*config.Settings, error) {
	src := config.Source{
		Stack:     ctx.Stack(),
		Values:    map[string]string{},
		Secrets:   map[string]bool{},
		LookupEnv: os.LookupEnv,
	}
	lookup := lookupIn(ctx)
	for _, k := range keys {
		if strings.HasPrefix(k, config.OutputsKey+".") {
			if value, secret, ok := lookup(k); ok {
				src.Values[k], src.Secrets[k] = value, secret
			}
			continue
		}
		if config.Known(k) && !insideValues(k) {
			continue // read below
		}
		src.Values[k] = "" // an unknown key, or one in a place where it does not belong: Load says so
	}
	outputs(ctx, src)
	for _, d := range config.Declared {
		if d.Key == config.OutputsKey {
			continue // its keys were read one by one
		}
		value, secret, ok := lookup(d.Key)
		if !ok {
			continue
		}
		src.Values[d.Key] = value
		if value != "" && value != "{}" && secret { // a declared default "" comes with its group, which may be secret as a whole
			src.Secrets[d.Key] = true
		}
	}
	return config.Load(src)
}

// insideValues tells whether a key is inside the values of a chart, which are one object.
func insideValues(key string) bool {
	return slices.ContainsFunc(config.ValuesKeys, func(values string) bool { return strings.HasPrefix(key, values+".") })
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
		if key, ok := strings.CutPrefix(k, config.Project+":"); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// lookupIn returns a function that finds a setting in the configuration of a running program: under its flat key, or
// inside the object of its group. The engine puts the defaults of Pulumi.yaml into such objects, because it interprets
// dots in a declaration as a path, and so does `pulumi config set --path`. A flat key wins, because it is no default.
func lookupIn(ctx *pulumi.Context) func(key string) (value string, secret, ok bool) {
	get := func(key string) (string, bool, bool) {
		full := ctx.Project() + ":" + key
		v, ok := ctx.GetConfig(full)
		return v, ctx.IsConfigSecret(full), ok
	}
	return func(key string) (string, bool, bool) {
		if v, secret, ok := get(key); ok {
			return v, secret, true
		}
		for at := strings.LastIndex(key, "."); at > 0; at = strings.LastIndex(key[:at], ".") {
			object, secret, ok := get(key[:at])
			if !ok {
				continue
			}
			var tree map[string]any
			if err := json.Unmarshal([]byte(object), &tree); err != nil {
				return "", false, false
			}
			if v, ok := inside(tree, strings.Split(key[at+1:], ".")); ok {
				return v, secret, true
			}
		}
		return "", false, false
	}
}

// outputs adds the outputs that are written as an object. The engine passes the whole object as secret when one value
// in it is, and does not say which. So whether a value that must be secret is in plain text can only be checked in the
// stack's file.
func outputs(ctx *pulumi.Context, src config.Source) {
	for _, place := range []struct {
		key  string
		path []string
	}{{config.OutputsKey, nil}, {"falcosidekick", []string{"outputs"}}} {
		full := ctx.Project() + ":" + place.key
		text, ok := ctx.GetConfig(full)
		if !ok {
			continue
		}
		var tree any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&tree); err != nil {
			tree = text // not an object, which Load reports
		}
		for _, name := range place.path {
			object, _ := tree.(map[string]any)
			tree = object[name]
		}
		if tree != nil {
			config.AddOutputs(src, tree, ctx.IsConfigSecret(full))
		}
	}
}

// inside finds a value in nested objects and returns it in the form in which Pulumi passes values to programs.
func inside(tree map[string]any, path []string) (string, bool) {
	v, ok := tree[path[0]]
	if !ok {
		return "", false
	}
	if len(path) > 1 {
		next, ok := v.(map[string]any)
		if !ok {
			return "", false
		}
		return inside(next, path[1:])
	}
	if text, ok := v.(string); ok {
		return text, true
	}
	text, err := json.Marshal(v)
	return string(text), err == nil
}

// secret reads the value of a secret setting, which config.Settings does not contain. Outputs derived from it are
// secret too.
func secret(ctx *pulumi.Context, key string) pulumi.StringOutput {
	value, _, _ := lookupIn(ctx)(key)
	return pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)
}
