package charts

import (
	"embed"
	"strings"
)

// keyLists have every key of a chart's default values with its type (bool, int, float, str, list, map, null), one file a
// version, made from the chart's values.yaml.
//
//go:embed keys/*.tsv
var keyLists embed.FS

// Keys are the keys of the chart's default values and their types: bool, int, float, str, list, map or null. Only leaves
// are listed; a map is one without keys of its own, which holds what the user likes. Helm ignores any other key without a
// word. Nil when the list of that version is not known.
func Keys(c Chart) map[string]string {
	text, err := keyLists.ReadFile("keys/" + c.Name + "-" + c.Version + ".tsv")
	if err != nil {
		return nil
	}
	keys := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, kind, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			keys[key] = kind
		}
	}
	return keys
}
