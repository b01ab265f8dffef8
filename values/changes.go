package values

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"spire-falco/config"
	"spire-falco/internal/redact"
)

// Change is one key of a chart that the user's values change.
type Change struct {
	Chart, Key string
	// From is the value that the stack gives, To the user's, as a person reads them and without credentials. From is empty where
	// the stack leaves the key to the chart.
	From, To string
}

// Changes are what the user's values change in the values of the charts that the settings install.
func Changes(s *config.Settings) []Change {
	var out []Change
	if set := s.SPIRE; set.Install {
		var crds Map
		if err := yaml.Unmarshal([]byte(SPIRECRDs()), &crds); err != nil {
			panic(fmt.Sprintf("values: %v", err)) // embedded at build time: a programming error
		}
		out = append(out, changes(set.CRDs.Name, crds, set.CRDValues)...)
		user := set.Values
		set.Values = nil
		out = append(out, changes(set.Chart.Name, SPIRE(set), user)...)
	}
	if s.EnableFalco {
		sidekick, falco := s.Sidekick, s.Falco
		sidekick.Values, falco.Values = nil, nil
		out = append(out, changes(sidekick.Chart.Name, Falcosidekick(sidekick, FalcosidekickInputs{}), s.Sidekick.Values)...)
		out = append(out, changes(falco.Chart.Name, Falco(falco, FalcoInputs{}), s.Falco.Values)...)
	}
	return out
}

// changes compares the user's values with the stack's, key by key. Lists are replaced as a whole, as Helm does.
func changes(chart string, own, user Map) []Change {
	var out []Change
	var walk func(key string, own any, user Map)
	walk = func(key string, own any, user Map) {
		below, _ := own.(Map)
		for part, to := range user {
			at := strings.TrimPrefix(key+"."+part, ".")
			from, set := below[part]
			if deeper, ok := to.(Map); ok && len(deeper) > 0 {
				walk(at, from, deeper)
				continue
			}
			c := Change{Chart: chart, Key: at, To: shown(part, to)}
			if set {
				c.From = shown(part, from)
			}
			if c.From != c.To {
				out = append(out, c)
			}
		}
	}
	walk("", own, user)
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return slices.Clip(out)
}

// shown is a value on one line, without what may be a credential.
func shown(name string, v any) string {
	if _, text := v.(string); text && redact.SecretName(name) {
		return "[secret]"
	}
	text, err := json.Marshal(v)
	if err != nil { // an output of Pulumi, such as the hash of a secret
		return "[not shown]"
	}
	return redact.String(string(text))
}
