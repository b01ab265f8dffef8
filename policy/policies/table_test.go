package policies_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"spire-falco/policy/policies"
)

// attempt is one change of the good stack, from testdata/hostile or testdata/honest.
type attempt struct {
	Name string
	// Policy that must object; empty for an honest one.
	Policy string
	// Copy adds a second workload of that name before the change, with everything that server has.
	Copy string
	// Of is the resource of the stack that Set changes, by place. Null deletes.
	Of  string
	Set map[string]yaml.Node
	// Add lists further resources.
	Add []struct {
		Name, Type string
		Inputs     yaml.Node
	}
}

func attempts(t *testing.T, folder string) map[string][]attempt {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out := map[string][]attempt{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		require.NoError(t, err)
		var list []attempt
		dec := yaml.NewDecoder(strings.NewReader(string(content)))
		dec.KnownFields(true)
		require.NoError(t, dec.Decode(&list), f)
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = list
	}
	return out
}

// plain reads a node: !unknown is a value that a preview does not know, !secret marks one as Pulumi does.
func plain(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch n.Kind {
	case yaml.AliasNode:
		return plain(t, n.Alias)
	case yaml.MappingNode:
		out := object{}
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Value == "<<" {
				maps.Copy(out, plain(t, n.Content[i+1]).(object))
				continue
			}
			out[n.Content[i].Value] = plain(t, n.Content[i+1])
		}
		return out
	case yaml.SequenceNode:
		out := list{}
		for _, item := range n.Content {
			out = append(out, plain(t, item))
		}
		return out
	}
	switch n.Tag {
	case "!unknown":
		return policies.Unknown{}
	case "!secret":
		return policies.Secret{Value: n.Value}
	case "!rules": // the name of the stack's rules ConfigMap
		return stack(t)["rules"].Inputs["metadata"].(object)["name"]
	case "!split": // a token in two parts, so that no scanner of repositories takes it for a real one
		return strings.ReplaceAll(n.Value, "~", "")
	}
	var v any
	require.NoError(t, n.Decode(&v))
	if i, ok := v.(int); ok {
		return float64(i)
	}
	return v
}

var step = regexp.MustCompile(`\[(\d+)\]|\{([^}]+)\}|([^.\[{]+)`)

// set puts a value at a place such as spec.containers[0].image; {a.b} is a key with dots.
func set(t *testing.T, into any, place string, v any) {
	t.Helper()
	steps := step.FindAllStringSubmatch(place, -1)
	for i, s := range steps {
		last := i == len(steps)-1
		if s[1] != "" {
			n, _ := strconv.Atoi(s[1])
			items, ok := into.(list)
			require.True(t, ok && n < len(items), "%s: no element %d", place, n)
			if last {
				items[n] = v
			}
			into = items[n]
			continue
		}
		m, ok := into.(object)
		require.True(t, ok, "%s: %s is in no object", place, s[0])
		key := s[2] + s[3]
		switch {
		case last && v == nil:
			delete(m, key)
		case last:
			m[key] = v
		case m[key] == nil:
			m[key] = object{}
		}
		into = m[key]
	}
}

// renamed is a deep copy with another name in every text.
func renamed(v any, from, to string) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for k, item := range v {
			out[k] = renamed(item, from, to)
		}
		return out
	case list:
		out := list{}
		for _, item := range v {
			out = append(out, renamed(item, from, to))
		}
		return out
	case string:
		if v == from || strings.HasPrefix(v, "spiffe://") || strings.HasPrefix(v, "mtls-") && !strings.Contains(v, ":") {
			return strings.ReplaceAll(v, from, to)
		}
	}
	return v
}

func (a attempt) on(t *testing.T) []policies.Resource {
	t.Helper()
	all := stack(t)
	if a.Copy != "" {
		for name, r := range stack(t) {
			if name == "server" || strings.HasPrefix(name, "server-") {
				r.Name = strings.ReplaceAll(name, "server", a.Copy)
				r.URN = "urn::" + r.Name
				r.Inputs = renamed(r.Inputs, "server", a.Copy).(object)
				for i, d := range r.DependsOn {
					r.DependsOn[i] = strings.ReplaceAll(d, "server", a.Copy)
				}
				all[r.Name] = r
			}
		}
	}
	for place, n := range a.Set {
		r, ok := all[a.Of]
		require.True(t, ok, "no resource %q", a.Of)
		set(t, r.Inputs, place, plain(t, &n))
	}
	for i, add := range a.Add {
		name := add.Name
		if name == "" {
			name = fmt.Sprintf("added-%d", i)
		}
		inputs, ok := plain(t, &add.Inputs).(object)
		require.True(t, ok)
		all[name] = policies.Resource{URN: "urn::" + name, Name: name, Type: add.Type, Inputs: inputs}
	}
	return sorted(all)
}

func TestNoHostileResourcePasses(t *testing.T) {
	t.Parallel()
	n := 0
	for kind, list := range attempts(t, "hostile") {
		for _, a := range list {
			n++
			t.Run(kind+"/"+strings.ReplaceAll(a.Name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				names, text := broken(policies.Evaluate(a.on(t)))
				assert.Contains(t, names, a.Policy, text)
				assert.NotContains(t, text, "hunter2")
			})
		}
	}
	assert.GreaterOrEqual(t, n, 150)
	t.Logf("%d hostile resources", n)
}

func TestNoHonestResourceIsRefused(t *testing.T) {
	t.Parallel()
	n := 0
	for kind, list := range attempts(t, "honest") {
		for _, a := range list {
			n++
			t.Run(kind+"/"+strings.ReplaceAll(a.Name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				assert.Empty(t, policies.Evaluate(a.on(t)))
			})
		}
	}
	assert.GreaterOrEqual(t, n, 60)
	t.Logf("%d honest resources", n)
}
