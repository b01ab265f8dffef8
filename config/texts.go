package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"spire-falco/internal/redact"
)

// maxText is how long the text of a setting may be, in bytes: many times what an honest one has.
const maxText = 64 << 10

// texts checks what holds for every setting that is not a secret, whatever it is for: no credentials, which would be
// readable in the file, in the state and in the cluster, and no characters that nobody can see.
func (l *loader) texts() {
	for _, d := range Declared {
		value, set := l.src.Values[d.Key]
		switch {
		case d.Secret, valuesKey(d.Key) != "": // values are checked with their keys
		case !set:
			if l.src.Secrets[d.Key] {
				l.problem(d.Key, "", "must not be a secret: it is needed before the engine decrypts anything; set it again without --secret")
			}
		case d.Type == Strings || d.Type == Objects:
			var tree any
			if json.Unmarshal([]byte(value), &tree) != nil {
				tree = value // reported where it is read
			}
			l.tree(d.Key, tree)
		default:
			l.text(d.Key, value, false)
		}
	}
}

// tree checks every text in the value of a setting that is a list.
func (l *loader) tree(at string, v any) {
	switch v := v.(type) {
	case string:
		field := at[strings.LastIndex(at, "].")+1:]
		l.text(at, v, strings.HasPrefix(field, ".env.") || strings.HasPrefix(field, ".args[") || strings.HasPrefix(field, ".health["))
		if name, ok := strings.CutPrefix(field, ".env."); ok && v != "" && redact.SecretName(name) {
			l.spoil(at, "", wantNoCredential("a credential, by its name"))
		}
	case []any:
		for i, item := range v {
			l.tree(fmt.Sprintf("%s[%d]", at, i), item)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			l.tree(at+"."+k, v[k])
		}
	}
}

// text checks one text. Several lines are possible where a program gets the text as it is.
func (l *loader) text(at, v string, lines bool) {
	if len(v) > maxText { // and its credentials are not looked for, so nothing of it is shown
		l.spoil(at, "", fmt.Sprintf("must have at most %d bytes; it has %d", maxText, len(v)))
		return
	}
	if kind := redact.Find(v); kind != "" {
		l.spoil(at, v, wantNoCredential(kind))
		return
	}
	for i, r := range v {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(v[i:], string(utf8.RuneError)):
			l.spoil(at, v, fmt.Sprintf("must be UTF-8; the byte %d is not", i+1))
			return
		case lines && (r == '\n' || r == '\t'):
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\ufeff':
			l.spoil(at, v, fmt.Sprintf("must not have the control character %U, at byte %d", r, i+1))
			return
		}
	}
}

// spoil reports a text that must not be there at all.
func (l *loader) spoil(at, value, want string) {
	l.problem(at, value, want)
	l.spoiled[at] = true
}

// wantNoCredential says where credentials go.
func wantNoCredential(kind string) string {
	var keys []string
	for _, d := range Declared {
		if d.Secret {
			keys = append(keys, d.Key)
		}
	}
	return "holds " + kind + ", and this setting is kept in plain text; only these settings are secret: " + strings.Join(keys, ", ") +
		" (pulumi config set --secret " + Project + ":KEY); a workload gets other secrets by its identity"
}
