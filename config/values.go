package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"spire-falco/charts"
	"spire-falco/internal/lazyregexp"
	"spire-falco/internal/redact"
)

// Settings that hold values of a chart, merged over the stack's own.
const (
	FalcoValuesKey         = "falco.values"
	FalcosidekickValuesKey = "falcosidekick.values"
	SPIREValuesKey         = "spire.values"
	SPIRECRDsValuesKey     = "spireCrds.values"
)

// ValuesKeys are the settings that hold values of a chart. Each is one object, which Source has as JSON.
var ValuesKeys = []string{FalcoValuesKey, FalcosidekickValuesKey, SPIREValuesKey, SPIRECRDsValuesKey}

// valuesKey is the setting with values that a place is in; empty for another place.
func valuesKey(at string) string {
	for _, key := range ValuesKeys {
		if rest, ok := strings.CutPrefix(at, key); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return key
		}
	}
	return ""
}

var plainPart = lazyregexp.New(`^[A-Za-z0-9_/-]+$`)

// below is the place of a key inside the object at a place. A name with dots of its own is quoted.
func below(at, part string) string {
	if plainPart.MatchString(part) {
		return at + "." + part
	}
	return at + "[" + strconv.Quote(part) + "]"
}

// values reads a setting with values of a chart and holds each key against the chart. The numbers in it are int or float64.
func (l *loader) values(key string, chart charts.Chart) map[string]any {
	ok := true
	for _, k := range l.src.keys() {
		switch {
		case valuesKey(k) != key:
		case l.src.Secrets[k]:
			ok = false
			l.problem(k, "", "must not be a secret: values are readable in the cluster; put the secret into a Secret and name that. Pulumi takes "+
				"a whole object for secret when one part is: "+key+" must be set apart from secrets")
		case k != key:
			ok = false
			l.problem(k, "", "must stand inside the object "+key+"; set it with: pulumi config set --path "+Project+":"+k)
		}
	}
	text := l.raw(key)
	if !ok || text == "" || text == "{}" {
		return nil
	}
	var tree map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		l.text(key, text, false)
		l.problem(key, "", "must be an object with values of the chart "+chart.Name)
		return nil
	}
	if chart.Version == "" { // the chart is not known, which is reported
		return nil
	}
	w := &valuesOf{loader: l, chart: chart, schema: charts.SchemaOf(chart)}
	if w.schema == nil {
		l.problem(key, "", fmt.Sprintf("must be empty: the keys of chart %s %s are not known, so no value can be checked; they are of %s",
			chart.Name, chart.Version, strings.Join(charts.Supported(chart.Name), ", ")))
		return nil
	}
	return w.object(key, nil, tree)
}

// valuesOf holds the values of one chart against its keys.
type valuesOf struct {
	*loader
	chart  charts.Chart
	schema *charts.Schema
}

func (w *valuesOf) object(at string, path []string, tree map[string]any) map[string]any {
	out := map[string]any{}
	for _, part := range slices.Sorted(maps.Keys(tree)) {
		if v := w.value(below(at, part), append(slices.Clip(path), part), tree[part]); v != nil {
			out[part] = v
		}
	}
	return out
}

// value checks one value of the chart; nil when it is wrong.
func (w *valuesOf) value(at string, path []string, v any) any {
	v = number(v)
	object, isObject := v.(map[string]any)
	if g := guardOf(w.chart.Name, path); g != nil {
		if isObject && len(object) > 0 {
			return w.guarded(at, path, object, g)
		}
		if isObject || g.Keep != nil && reflect.DeepEqual(v, g.Keep) { // an empty object changes nothing
			return v
		}
		shown := ""
		if _, text := v.(string); !text && v != nil && kindOf(v) != "list" {
			shown = fmt.Sprint(v)
		}
		w.problem(at, shown, g.want())
		return nil
	}
	kind := w.schema.Kind(path...)
	switch {
	case kind == "":
		w.problem(at, "", w.unknown(path))
		return nil
	case v == nil:
		w.problem(at, "", "must have a value; leave the key out for what the stack or the chart has")
		return nil
	case !takes(kind, v):
		w.problem(at, scalar(v), w.wantKind(kind, path))
		return nil
	case kind == charts.KindObject && len(object) == 0:
		w.problem(at, "", "must not be empty: an empty object changes nothing, since Helm merges objects; leave it out, or set "+list(w.schema.Below(path...)))
		return nil
	case isObject:
		return w.object(at, path, object)
	}
	return w.free(at, path[len(path)-1], v)
}

// guarded looks at an object under a guard: at each of its keys there may be another guard, of which some values are right.
func (w *valuesOf) guarded(at string, path []string, object map[string]any, g *Guard) any {
	refused := false
	out := map[string]any{}
	for _, part := range slices.Sorted(maps.Keys(object)) {
		inner := append(slices.Clip(path), part)
		if other := guardOf(w.chart.Name, inner); other == g {
			more, isObject := object[part].(map[string]any)
			if !isObject || !w.keeps(inner, more, g) {
				refused = true
				continue
			}
		}
		if v := w.value(below(at, part), inner, object[part]); v != nil {
			out[part] = v
		}
	}
	if refused {
		w.problem(at, "", g.want())
		return nil
	}
	return out
}

// keeps tells whether nothing in an object falls to the guard itself.
func (w *valuesOf) keeps(path []string, object map[string]any, g *Guard) bool {
	for part, v := range object {
		inner := append(slices.Clip(path), part)
		more, isObject := v.(map[string]any)
		if guardOf(w.chart.Name, inner) == g && (!isObject || !w.keeps(inner, more, g)) {
			return false
		}
	}
	return true
}

// free takes what a chart puts into its objects as it is. It looks for what must be nowhere; name is the last key above.
func (w *valuesOf) free(at, name string, v any) any {
	switch v := number(v).(type) {
	case nil:
		w.problem(at, "", "must have a value")
		return nil
	case string:
		if v != "" && redact.SecretName(name) {
			w.spoil(at, "", "is a credential by its name, and values are readable in the state and in the cluster; put it into a Secret, and name that "+
				"under a key such as existingSecret, externalSecret or secretKeyRef")
			return nil
		}
		w.text(at, v, true)
		return v
	case []any:
		out := make([]any, 0, len(v))
		for i, item := range v {
			out = append(out, w.free(fmt.Sprintf("%s[%d]", at, i), name, item))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for _, part := range slices.Sorted(maps.Keys(v)) {
			w.text(below(at, part), part, false)
			called, item := part, v[part]
			if variable, ok := v["name"].(string); ok && part == "value" { // of an environment variable
				called = variable
			}
			out[part] = w.free(below(at, part), called, item)
		}
		return out
	default:
		return v
	}
}

// number gives a number of JSON the type int where it is whole, and float64 elsewhere; anything else stays.
func number(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if whole, err := strconv.Atoi(n.String()); err == nil {
		return whole
	}
	f, err := n.Float64()
	if err != nil {
		return n.String() // as text it keeps what it says
	}
	return f
}

// kindOf is the type of a value, as charts.Keys writes it.
func kindOf(v any) string {
	switch v.(type) {
	case bool:
		return "bool"
	case int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case []any:
		return "list"
	}
	return "map"
}

// takes tells whether a key of that type takes the value. A whole number is taken for a text: quantities are written so.
func takes(kind string, v any) bool {
	have := kindOf(v)
	switch kind {
	case charts.KindAny, "null":
		return true
	case charts.KindObject:
		return have == "map"
	case "float", "str":
		return have == kind || have == "int"
	}
	return have == kind
}

func (w *valuesOf) wantKind(kind string, path []string) string {
	switch kind {
	case "bool":
		return "must be true or false"
	case "int":
		return "must be a whole number"
	case "float":
		return "must be a number"
	case "str":
		return "must be a text; put a number with a point, true and false in quotes"
	case "list":
		return "must be a list"
	case "map":
		return "must be an object"
	}
	return "must be an object, with " + list(w.schema.Below(path...))
}

// unknown tells that the chart has no such key, and which one may be meant.
func (w *valuesOf) unknown(path []string) string {
	above, part := path[:len(path)-1], path[len(path)-1]
	want := fmt.Sprintf("chart %s %s has no such key", w.chart.Name, w.chart.Version)
	for len(above) > 0 && w.schema.Kind(above...) != charts.KindObject {
		above = above[:len(above)-1]
	}
	siblings := w.schema.Below(above...)
	if near := nearestOf(part, siblings); near != "" {
		return want + "; did you mean " + strings.Join(append(slices.Clip(above), near), ".") + "?"
	}
	if elsewhere := w.elsewhere(part); len(path) == 1 && len(elsewhere) > 0 && len(elsewhere) <= 3 {
		return want + "; did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	if len(above) == 0 {
		return want + "; at this place it has " + list(siblings)
	}
	return want + "; " + strings.Join(above, ".") + " has " + list(siblings)
}

// elsewhere are the keys of the chart that end alike and may be set.
func (w *valuesOf) elsewhere(part string) []string {
	var out []string
	for key := range charts.Keys(w.chart) {
		if strings.HasSuffix(key, "."+part) && guardOf(w.chart.Name, strings.Split(key, ".")) == nil {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// list names a few of many.
func list(names []string) string {
	const most = 16
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// scalar is a value for a message; empty for lists and objects.
func scalar(v any) string {
	switch kindOf(v) {
	case "list", "map":
		return ""
	}
	return fmt.Sprint(v)
}
