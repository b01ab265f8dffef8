package charts

import (
	"embed"
	"maps"
	"slices"
	"strings"
)

// keyLists have keys and types (bool, int, float, str, list, map, null), a file each: CHART-VERSION.tsv the keys of the
// chart's default values, and those that its templates read besides; falco.yaml-VERSION.tsv the keys of Falco's own
// configuration, from the schema that this Falco holds it to.
//
//go:embed keys/*.tsv
var keyLists embed.FS

// Keys are the keys of the chart's values and their types: bool, int, float, str, list, map or null. Only leaves are
// listed; a map is one without keys of its own, which holds what the user likes, and null may be anything. Helm ignores any
// other key without a word. Nil when the list of that version is not known.
func Keys(c Chart) map[string]string {
	keys := list(c.Name+"-"+c.Version, "")
	if keys != nil && c.Name == FalcoName { // the chart writes what is below falco into falco.yaml as it is
		app, _ := appVersion(c.Name, c.Version)
		for key, kind := range list("falco.yaml-"+app, "falco.") {
			if keys[key] == "" {
				keys[key] = kind
			}
		}
	}
	return keys
}

// list reads a list of keys and puts the prefix in front of each; nil when there is none of that name.
func list(name, prefix string) map[string]string {
	text, err := keyLists.ReadFile("keys/" + name + ".tsv")
	if err != nil {
		return nil
	}
	keys := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, kind, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			keys[prefix+key] = kind
		}
	}
	return keys
}

// Kinds of values that are no types of leaves.
const (
	// KindObject is a map with keys of its own, which has no others.
	KindObject = "object"
	// KindAny is below a map that holds what the user likes.
	KindAny = "any"
)

// passedOn are the maps, by the last part of their key, that charts put into their objects as they are: the fields of the
// Kubernetes type count, not the keys of the chart's defaults.
var passedOn = []string{
	"annotations", "labels", "nodeSelector", "resources", "limits", "requests",
	"podSecurityContext", "securityContext", "containerSecurityContext", "updateStrategy",
}

// passedOnBySPIRE are such maps of the chart spire alone; the chart falco writes its probes field by field.
var passedOnBySPIRE = []string{"livenessProbe", "readinessProbe", "startupProbe", "brokers"}

// Schema is what the values of one version of a chart may be.
type Schema struct {
	kinds   map[string]string          // of the leaves, by key
	objects map[string]map[string]bool // the parts below each map that has keys of its own
	free    []string
}

// SchemaOf is the schema of a chart's values; nil when the list of its keys is not known.
func SchemaOf(c Chart) *Schema {
	kinds := Keys(c)
	if kinds == nil {
		return nil
	}
	s := &Schema{kinds: kinds, objects: map[string]map[string]bool{}, free: passedOn}
	if c.Name == SPIREName {
		s.free = slices.Concat(passedOn, passedOnBySPIRE)
	}
	for key := range kinds {
		parts := strings.Split(key, ".")
		for i, part := range parts {
			parent := strings.Join(parts[:i], ".")
			if s.objects[parent] == nil {
				s.objects[parent] = map[string]bool{}
			}
			s.objects[parent][part] = true
		}
	}
	return s
}

// Kind is the type that the chart's value has there: one of the types of Keys, KindObject or KindAny; empty when the chart
// has no such key.
func (s *Schema) Kind(path ...string) string {
	free, at := false, ""
	for i, part := range path {
		if free && strings.Contains(part, ".") {
			return KindAny // its dots are not those between keys
		}
		if at = strings.TrimPrefix(at+"."+part, "."); strings.Contains(part, ".") {
			return ""
		}
		kind, leaf := s.kinds[at]
		switch {
		case leaf && i == len(path)-1:
			return kind
		case leaf && (kind == "map" || kind == "null"):
			return KindAny
		case leaf:
			return ""
		case s.objects[at] == nil && free:
			return KindAny
		case s.objects[at] == nil:
			return ""
		}
		free = free || slices.Contains(s.free, part)
	}
	return KindObject
}

// Below are the parts of keys directly below a map, sorted.
func (s *Schema) Below(path ...string) []string {
	return slices.Sorted(maps.Keys(s.objects[strings.Join(path, ".")]))
}
