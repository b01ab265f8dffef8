package ruleset

import (
	"slices"
	"strings"

	"spire-falco/falco/condition"
	"spire-falco/falco/internal/yaml"
)

// ignoredKey is a key of a rule file that Falco passes over without an error,
// such as one that is misspelt.
type ignoredKey struct {
	at place
	// kind is macro or list, "" for a rule.
	kind, name string
	why, hint  string
}

// The keys that Falco reads, and those that its schema of rule files has
// besides: desc of macros and lists, and captures, which Falco 0.42 and newer
// know.
var (
	listKeys      = []string{"list", "items", "append", "override", "desc"}
	macroKeys     = []string{"macro", "condition", "append", "override", "desc"}
	ruleKeys      = append([]string{"rule", "source", "append", "override", "capture", "capture_duration"}, replaceableKeys...)
	appendKeys    = []string{"rule", "source", "append", "condition", "exceptions", "desc"}
	exceptionKeys = []string{"name", "fields", "comps", "values"}
)

// noteIgnoredOfRule keeps what Falco passes over in a rule and in its exceptions.
func (r *reader) noteIgnoredOfRule(it node, name string, known []string) {
	r.noteIgnored(it, "", name, "", known)
	for _, ex := range it.get("exceptions").items() {
		if ex.isMap() {
			r.noteIgnored(ex, "", name, " of an exception", exceptionKeys)
		}
	}
}

// noteIgnored keeps what Falco passes over in an item, or in a part of one.
func (r *reader) noteIgnored(it node, kind, name, of string, known []string) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(it.Content); i += 2 {
		key := it.Content[i]
		if key.Kind != yaml.Scalar {
			continue
		}
		k := ignoredKey{at: it.wrap(key).place(), kind: kind, name: name}
		switch {
		case seen[key.Value]:
			k.why, k.hint = "is there twice: Falco reads the first and ignores this one", "write it once"
		case !slices.Contains(known, key.Value):
			k.why = "means nothing to Falco, which ignores it"
			k.hint = "the keys" + of + " are " + strings.Join(known, ", ")
			if near := condition.Nearest(strings.ToLower(key.Value), known); near != "" {
				k.hint = "did you mean " + near + "?"
			}
		}
		seen[key.Value] = true
		if k.why != "" {
			k.why = "the key " + quote(key.Value) + of + " " + k.why
			r.ignored = append(r.ignored, k)
		}
	}
}
