package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// FromStackFile reads the raw settings of a stack from Pulumi.STACK.yaml in dir, without the engine and without
// decrypting anything, so that they can be checked before the engine is asked. A missing file means no settings.
func FromStackFile(dir, stack string) (Source, error) {
	name := "Pulumi." + stack + ".yaml"
	src := Source{Stack: stack, Values: map[string]string{}, Secrets: map[string]bool{}, LookupEnv: os.LookupEnv}
	content, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // the stack's own file, named by the user
	if os.IsNotExist(err) {
		return src, nil
	}
	if err != nil {
		return src, fmt.Errorf("read the settings of stack %s: %w", stack, err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return src, fmt.Errorf("%s: %w", name, err)
	}
	where := map[string]string{}
	src.Where = func(key string) string { return where[key] }
	if len(doc.Content) == 0 {
		return src, nil
	}
	settings := mappingValue(doc.Content[0], "config")
	if settings == nil {
		return src, nil
	}
	if settings.Kind != yaml.MappingNode {
		return src, fmt.Errorf("%s:%d:%d: config must be a mapping of settings", name, settings.Line, settings.Column)
	}
	for i := 0; i+1 < len(settings.Content); i += 2 {
		keyNode, valueNode := settings.Content[i], settings.Content[i+1]
		key, ours := strings.CutPrefix(keyNode.Value, Project+":")
		if !ours {
			if strings.Contains(keyNode.Value, ":") {
				continue // a provider's own configuration
			}
			key = keyNode.Value
		}
		place := fmt.Sprintf("%s:%d:%d", name, keyNode.Line, keyNode.Column)
		if _, twice := where[key]; twice {
			return src, fmt.Errorf("%s: %s is set twice, first at %s", place, key, where[key])
		}
		where[key] = place
		if secure := mappingValue(valueNode, "secure"); secure != nil && len(valueNode.Content) == 2 {
			src.Secrets[key] = true
			continue
		}
		value, err := rawValue(valueNode)
		if err != nil {
			return src, fmt.Errorf("%s: %s: %w", place, key, err)
		}
		src.Values[key] = value
	}
	return src, nil
}

// rawValue gives a YAML value the form in which Pulumi passes it to a program.
func rawValue(n *yaml.Node) (string, error) {
	if n.Kind == yaml.ScalarNode {
		if n.Tag == "!!null" {
			return "", nil
		}
		return n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	return string(text), nil
}

func mappingValue(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
