package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/internal/lazyregexp"
	"spire-falco/internal/safefile"
	"spire-falco/report"
)

// settingsLimit is the largest settings file that is read, in bytes: many times what every setting together takes.
const settingsLimit = 1 << 20

// stackName is what Pulumi takes as the name of a stack, and no more: it becomes part of paths.
var stackName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)

// CheckStackName refuses a name that Pulumi would refuse, or that would lead out of the project's folder.
func CheckStackName(name string) error {
	if !stackName.MatchString(name) {
		return fmt.Errorf("--stack = %s: must be a name of 1 to 100 letters, digits, dashes, underscores and dots, beginning with a letter, digit or underscore", report.Bounded(strconv.QuoteToASCII(name), maxShown))
	}
	return nil
}

// StateDir is the folder of a stack's own files, relative to the project's folder.
func StateDir(stack string) string { return filepath.Join(".state", stack) }

// LoadStackFile loads the settings of a stack from Pulumi.STACK.yaml in dir. The source tells which of them are set there.
func LoadStackFile(dir, stack string) (*Settings, Source, error) {
	src, err := FromStackFile(dir, stack)
	if err != nil {
		return nil, src, err
	}
	settings, err := Load(src)
	return settings, src, err
}

// FromStackFile reads the raw settings of a stack from Pulumi.STACK.yaml in dir, without the engine and without
// decrypting anything, so that they can be checked before the engine is asked. A missing file means no settings.
func FromStackFile(dir, stack string) (Source, error) {
	if err := CheckStackName(stack); err != nil {
		return Source{}, err
	}
	name := "Pulumi." + stack + ".yaml"
	src := Source{Stack: stack, Values: map[string]string{}, Secrets: map[string]bool{}, LookupEnv: os.LookupEnv}
	content, err := safefile.Read(filepath.Join(dir, name), settingsLimit)
	if errors.Is(err, fs.ErrNotExist) {
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
		if !ours && strings.Contains(key, ":") {
			continue // a provider's own configuration
		}
		if err := src.add(name, key, keyNode, valueNode, where); err != nil {
			return src, err
		}
	}
	return src, nil
}

// add takes one setting, or every setting of a group that is written as an object.
func (s *Source) add(file, key string, keyNode, valueNode *yaml.Node, where map[string]string) error {
	place := fmt.Sprintf("%s:%d:%d", file, keyNode.Line, keyNode.Column)
	secure := mappingValue(valueNode, "secure") != nil && len(valueNode.Content) == 2
	if valueNode.Kind == yaml.MappingNode && len(valueNode.Content) == 0 && strings.HasPrefix(key, OutputsKey+".") {
		s.Values[key], where[key] = "{}", place // an output that says nothing, which is reported
		return nil
	}
	if valueNode.Kind == yaml.MappingNode && !secure && valuesKey(key) != key {
		for i := 0; i+1 < len(valueNode.Content); i += 2 {
			k := valueNode.Content[i]
			if err := s.add(file, key+"."+k.Value, k, valueNode.Content[i+1], where); err != nil {
				return err
			}
		}
		return nil
	}
	if first, twice := where[key]; twice {
		return fmt.Errorf("%s: %s is set twice, first at %s", place, key, first)
	}
	where[key] = place
	if secure {
		s.Secrets[key] = true
		return nil
	}
	value, err := rawValue(valueNode)
	if err != nil {
		if d, ok := declared(key); ok && d.Secret {
			return fmt.Errorf("%s: %s: the value cannot be read", place, key) // the cause would show it
		}
		return fmt.Errorf("%s: %s: %w", place, key, err)
	}
	s.Values[key] = value
	if valuesKey(key) == key {
		s.places(file, key, valueNode, where)
	}
	return nil
}

// places notes where each key inside an object of values is, and which of them are secret.
func (s *Source) places(file, at string, n *yaml.Node, where map[string]string) {
	note := func(at string, key, value *yaml.Node) {
		where[at] = fmt.Sprintf("%s:%d:%d", file, key.Line, key.Column)
		if mappingValue(value, "secure") != nil && len(value.Content) == 2 {
			s.Secrets[at] = true
			return
		}
		s.places(file, at, value, where)
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			note(below(at, n.Content[i].Value), n.Content[i], n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			note(fmt.Sprintf("%s[%d]", at, i), item, item)
		}
	}
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
