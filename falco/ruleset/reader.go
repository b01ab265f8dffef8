package ruleset

import (
	"fmt"
	"slices"
	"strings"

	"spire-falco/falco"
)

// reader reads the items of one file into the collector.
type reader struct {
	*collector
}

// budget is what may still be read of a file. An alias reads again what its
// anchor stands for, and aliases of aliases grow without end: a file may come
// to four times its size, and a mebibyte on top.
type budget struct{ left int }

func newBudget(fileSize int) budget { return budget{4*fileSize + 1<<20} }

// spend takes what it costs to read a node, without the nodes in it, and
// reports whether it was there.
func (n node) spend() bool {
	n.src.budget.left -= len(n.Value) + 8*len(n.Content) + 8
	return n.src.budget.left >= 0
}

const msgAliases = "The aliases of the file repeat more than four times its size"

// read reads the documents of a file. It stops at the first error, which is a *loadError.
func (r *reader) read(docs []node, err error) error {
	if err != nil {
		return err
	}
	for _, doc := range docs {
		switch {
		case doc.isNull():
			continue
		case !doc.isMap() && !doc.isSequence():
			return fail(ErrYAMLValidate, doc.place(), "", "Rules content is not yaml")
		case !doc.isSequence():
			return fail(ErrYAMLValidate, doc.place(), "", "Rules content is not yaml array of objects")
		}
		for _, it := range doc.items() {
			if it.isNull() {
				continue
			}
			if err := r.readItem(it); err != nil {
				return err
			}
		}
	}
	return nil
}

// itemKinds are the kinds of items in the order in which Falco looks for their
// keys, with the other keys that an item of the kind may have.
var itemKinds = []struct {
	key  string
	keys []string
	read func(*reader, node) error
}{
	{"required_engine_version", nil, (*reader).readEngineVersion},
	{"required_plugin_versions", nil, func(r *reader, it node) error {
		return r.readPluginVersions(it.get("required_plugin_versions"))
	}},
	{"list", []string{"items", "append", "override"}, (*reader).readList},
	{"macro", []string{"condition", "append", "override"}, (*reader).readMacro},
	{"rule", slices.Concat([]string{"source", "append", "override"}, replaceableOrCapture), (*reader).readRule},
}

func (r *reader) readItem(it node) error {
	if !it.isMap() {
		return fail(ErrYAMLValidate, it.place(), "", "Unexpected element type. Each element should be a yaml associative array.")
	}
	if !it.spend() {
		return fail(ErrYAMLValidate, it.place(), "", msgAliases)
	}
	for _, kind := range itemKinds {
		if !it.get(kind.key).defined() {
			continue
		}
		if err := kind.read(r, it); err != nil {
			return err
		}
		if r.loader.unknownKeys {
			r.warnUnknownKeys(it, kind.key, kind.keys)
		}
		return nil
	}
	r.warn(WarnUnknownItem, it.place(), "", "Unknown top level item")
	return nil
}

// warnUnknownKeys warns of keys that Falco ignores, as it does itself from 0.44 on.
func (r *reader) warnUnknownKeys(it node, kind string, known []string) {
	for i := 0; i+1 < len(it.Content); i += 2 {
		k := it.wrap(it.Content[i])
		key, _ := stringOf(k) // keys are texts, see oddKey
		if key == kind || slices.Contains(known, key) {
			continue
		}
		what := kind
		if name := it.get(kind); name.isScalar() && known != nil {
			what = item(kind, name.Value)
		}
		r.warn(WarnUnknownKey, k.place(), what, "Unknown key '"+key+"'. The key will be ignored.")
	}
}

// scope is an item of a rule file while its keys are read.
type scope struct {
	node
	name string // for messages
}

func (s scope) fail(at place, msg string) error { return fail(ErrYAMLValidate, at, s.name, msg) }

// scalar returns the scalar under key. It returns an undefined node when the
// key is optional and absent.
func (s scope) scalar(key string, optional, mayBeEmpty bool) (node, error) {
	v := s.get(key)
	none := node{nil, s.src}
	switch {
	case !v.defined() && optional:
		return none, nil
	case !v.defined():
		return none, s.fail(s.place(), "Item has no mapping for key '"+key+"'")
	case v.isNull() && mayBeEmpty:
		return none, nil
	case v.isNull():
		return none, s.fail(s.keyPlace(key), "Mapping for key '"+key+"' is empty")
	case !v.isScalar():
		return none, s.fail(v.place(), "Value is not a scalar value")
	case v.Value == "" && mayBeEmpty:
		return none, nil
	case v.Value == "":
		return none, s.fail(v.place(), "Value must be non-empty")
	}
	return v, nil
}

func (s scope) required(key string) (text, error) {
	v, err := s.scalar(key, false, false)
	if err != nil {
		return text{}, err
	}
	if !v.spend() {
		return text{}, s.fail(v.place(), msgAliases)
	}
	return v.text(), nil
}

// truth reads a truth value. It leaves into as it is when the key is optional
// and absent.
func (s scope) truth(key string, optional bool, into *bool) error {
	v, err := s.scalar(key, optional, false)
	if err != nil || !v.defined() {
		return err
	}
	value, ok := v.truth()
	if !ok {
		err := s.fail(v.place(), "Can't decode YAML scalar value")
		return withHint(err, "'"+key+"' is true or false")
	}
	*into = value
	return nil
}

// number checks a number that no verdict depends on.
func (s scope) number(key string, optional bool) error {
	v, err := s.scalar(key, optional, false)
	if err != nil || !v.defined() {
		return err
	}
	if _, ok := v.unsigned(); !ok {
		return withHint(s.fail(v.place(), "Can't decode YAML scalar value"), "'"+key+"' is a number of milliseconds")
	}
	return nil
}

func withHint(err error, hint string) error {
	if le, ok := err.(*loadError); ok { //nolint:errorlint // our own, never wrapped
		le.Hint = hint
	}
	return err
}

func (s scope) sequence(key string, optional bool) ([]text, error) {
	v := s.get(key)
	if !v.defined() {
		if optional {
			return nil, nil
		}
		return nil, s.fail(s.place(), "Item has no mapping for key '"+key+"'")
	}
	if !v.isSequence() {
		return nil, s.fail(v.place(), "Value is not a sequence")
	}
	list := make([]text, 0, len(v.Content))
	for _, it := range v.items() {
		if !it.isScalar() {
			return nil, s.fail(it.place(), "sequence value is not scalar")
		}
		if !it.spend() {
			return nil, s.fail(it.place(), msgAliases)
		}
		list = append(list, it.text())
	}
	return list, nil
}

func (s scope) tags() ([]string, error) {
	list, err := s.sequence("tags", true)
	if err != nil {
		return nil, err
	}
	tags := make([]string, len(list))
	for i, t := range list {
		tags[i] = t.s
	}
	return tagSet(tags), nil
}

func (s scope) priority() (falco.Priority, error) {
	v, err := s.required("priority")
	if err != nil {
		return 0, err
	}
	p, err := falco.ParsePriority(v.s)
	if err != nil {
		return 0, withHint(s.fail(v.first(), "Invalid priority"), "one of "+strings.Join(priorityNames(), ", ")+", in any case")
	}
	return p, nil
}

// priorityNames lists the priorities as alerts have them.
func priorityNames() []string {
	var names []string
	for p := falco.PriorityEmergency; p <= falco.PriorityDebug; p++ {
		names = append(names, p.String())
	}
	return names
}

// overrides reads the override key: which keys are appended to, which replaced.
func (s scope) overrides(appendable, replaceable []string) (appended, replaced []string, err error) {
	v := s.get("override")
	if v.isSequence() && len(v.Content) > 0 {
		return nil, nil, fail(ErrValidate, v.place(), s.name, "invalid node; this may result from using a map iterator as a sequence iterator, or vice-versa")
	}
	if !v.isMap() {
		return nil, nil, nil
	}
	for i := 0; i+1 < len(v.Content); i += 2 {
		k, op := v.wrap(v.Content[i]), v.wrap(v.Content[i+1])
		key, okKey := stringOf(k)
		operation, okOp := stringOf(op)
		if !okKey {
			return nil, nil, badConversion(ErrValidate, k, s.name)
		}
		if !okOp {
			return nil, nil, badConversion(ErrValidate, op, s.name)
		}
		canAppend, canReplace := slices.Contains(appendable, key), slices.Contains(replaceable, key)
		switch operation {
		case "append":
			if !canAppend {
				return nil, nil, s.fail(k.place(), "Key '"+key+"' cannot be appended to, use 'replace' instead")
			}
			appended = append(appended, key)
		case "replace":
			if !canReplace {
				return nil, nil, s.fail(k.place(), "Key '"+key+"' cannot be replaced")
			}
			replaced = append(replaced, key)
		default:
			msg := "Invalid override operation for key '" + key + "': '" + operation + "'. Allowed values are: "
			if canAppend {
				msg += "append "
			}
			if canReplace {
				msg += "replace "
			}
			return nil, nil, s.fail(op.place(), msg)
		}
	}
	return appended, replaced, nil
}

// badConversion is what the YAML library says of a node that is no text.
func badConversion(code Code, n node, what string) error {
	at := n.place()
	loc := at.location()
	return fail(code, at, what, fmt.Sprintf("yaml-cpp: error at line %d, column %d: bad conversion", loc.Line, loc.Column))
}

func stringOf(n node) (string, bool) {
	if n.isNull() {
		return "null", true
	}
	if !n.isScalar() {
		return "", false
	}
	return n.Value, true
}

func (r *reader) readEngineVersion(it node) error {
	s := scope{it, "required_engine_version"}
	v, err := s.scalar("required_engine_version", false, false)
	if err != nil {
		return err
	}
	if n, ok := v.unsigned(); ok {
		return r.requireEngine(version{0, n, 0, true}, v.place())
	}
	ver := parseVersion(v.Value)
	if !ver.valid {
		return s.fail(v.place(), "Unable to parse engine version '"+v.Value+"' as a semver string. Expected \"x.y.z\" semver format.")
	}
	return r.requireEngine(ver, v.place())
}

func (r *reader) readPluginVersions(list node) error {
	s := scope{list, "required_plugin_versions"}
	if !list.isSequence() {
		return s.fail(list.place(), "Value of required_plugin_versions must be a sequence")
	}
	for _, plugin := range list.items() {
		if !plugin.isMap() {
			return s.fail(plugin.place(), "Plugin version must be a mapping")
		}
		first, err := readPlugin(scope{plugin, s.name})
		if err != nil {
			return err
		}
		req := pluginRequirement{alternatives: []pluginVersion{first}, at: plugin.place()}
		others := plugin.get("alternatives")
		if others.defined() && !others.isSequence() {
			return s.fail(others.place(), "Value of plugin version alternatives must be a sequence")
		}
		for _, alt := range others.items() {
			if !alt.isMap() {
				return s.fail(alt.place(), "Plugin version alternative must be a mapping")
			}
			other, err := readPlugin(scope{alt, s.name})
			if err != nil {
				return err
			}
			req.alternatives = append(req.alternatives, other)
		}
		if err := r.requirePlugin(req); err != nil {
			return err
		}
	}
	return nil
}

func readPlugin(s scope) (pluginVersion, error) {
	name, err := s.required("name")
	if err != nil {
		return pluginVersion{}, err
	}
	ver, err := s.required("version")
	return pluginVersion{name.s, ver.s}, err
}

// appendMode reads append and override of a list or a macro, which have one
// key to override.
func (r *reader) appendMode(s scope, key string) (bool, error) {
	appended := false
	if err := s.truth("append", true, &appended); err != nil {
		return false, err
	}
	if appended {
		r.warn(WarnDeprecatedItem, s.keyPlace("append"), s.name, msgAppend)
	}
	added, replaced, err := s.overrides([]string{key}, []string{key})
	if err != nil {
		return false, err
	}
	if appended && len(added)+len(replaced) > 0 {
		return false, s.fail(s.keyPlace("override"), msgOverrideAppend)
	}
	return appended || len(added) > 0, nil
}

func (r *reader) readList(it node) error {
	name, err := scope{it, "list"}.required("list")
	if err != nil {
		return err
	}
	s := scope{it, item("list", name.s)}
	r.noteIgnored(it, "list", name.s, "", listKeys)
	if !isBareString(name.s) {
		r.warn(WarnInvalidListName, name.first(), s.name,
			`List has an invalid name. List names should match a regular expression: ([^()"'[:space:]=,]+)`)
	}
	items, err := s.sequence("items", false)
	if err != nil {
		return err
	}
	appended, err := r.appendMode(s, "items")
	if err != nil {
		return err
	}
	l := &listInfo{name: name.s, items: items, at: it.place(), changed: it.place()}
	if appended {
		return r.appendList(l)
	}
	r.defineList(l)
	return nil
}

func (r *reader) readMacro(it node) error {
	name, err := scope{it, "macro"}.required("macro")
	if err != nil {
		return err
	}
	s := scope{it, item("macro", name.s)}
	r.noteIgnored(it, "macro", name.s, "", macroKeys)
	if !isIdentifier(name.s) {
		r.warn(WarnInvalidMacroName, name.first(), s.name,
			"Macro has an invalid name. Macro names should match a regular expression: ([a-zA-Z]+[a-zA-Z0-9_]*)")
	}
	cond, err := s.required("condition")
	if err != nil {
		return err
	}
	appended, err := r.appendMode(s, "condition")
	if err != nil {
		return err
	}
	m := &macroInfo{name: name.s, cond: cond, at: it.place()}
	if appended {
		return r.appendMacro(m)
	}
	r.defineMacro(m)
	return nil
}

var (
	appendableKeys  = []string{"condition", "desc", "exceptions", "output", "tags"}
	replaceableKeys = []string{
		"condition", "desc", "enabled", "exceptions", "output", "priority", "skip-if-unknown-filter", "tags", "warn_evttypes",
	}
	captureKeys = []string{"capture", "capture_duration"}
	// replaceableOrCapture is sorted, as is the set in which Falco keeps the keys.
	replaceableOrCapture = slices.Sorted(slices.Values(append(slices.Clone(replaceableKeys), captureKeys...)))
)

// replaceable are the keys of a rule that an override replaces.
func (r *reader) replaceable() []string {
	if r.loader.captures {
		return replaceableOrCapture
	}
	return replaceableKeys
}

func (r *reader) readRule(it node) error {
	name, err := scope{it, "rule"}.required("rule")
	if err != nil {
		return err
	}
	s := scope{it, item("rule", name.s)}
	src, err := s.scalar("source", true, true)
	if err != nil {
		return err
	}
	sourceName := ""
	if src.defined() {
		sourceName = src.Value
	}
	appended := false
	if err := s.truth("append", true, &appended); err != nil {
		return err
	}
	if appended {
		r.warn(WarnDeprecatedItem, s.keyPlace("append"), s.name, msgAppend)
	}
	known := ruleKeys
	if appended {
		known = appendKeys
	}
	r.noteIgnoredOfRule(it, name.s, known)
	added, replaced, err := s.overrides(appendableKeys, r.replaceable())
	if err != nil {
		return err
	}
	overridden := len(added)+len(replaced) > 0
	switch {
	case appended && overridden:
		return s.fail(s.keyPlace("override"), msgOverrideAppend)
	case overridden:
		return r.readOverrides(s, name.s, sourceName, added, replaced)
	case appended:
		return r.readAppend(s, name.s, sourceName)
	}
	return r.readDefinition(s, name.s)
}

func (r *reader) readAppend(s scope, name, sourceName string) error {
	u := &ruleUpdate{name: name, source: sourceName, at: s.place()}
	if s.get("condition").defined() {
		cond, err := s.required("condition")
		if err != nil {
			return err
		}
		u.cond = &cond
	}
	if s.get("exceptions").defined() {
		list, err := r.readExceptions(s, true)
		if err != nil {
			return err
		}
		u.exceptions = &list
	}
	return r.appendRule(u)
}

func (r *reader) readOverrides(s scope, name, sourceName string, added, replaced []string) error {
	expected := map[string]bool{}
	for _, key := range r.replaceable() {
		if s.get(key).defined() {
			expected[key] = true
		}
	}
	if len(added) > 0 {
		u, err := r.readUpdate(s, "append", added, appendOrder, expected, name, sourceName)
		if err != nil {
			return err
		}
		if err := r.appendRule(u); err != nil {
			return err
		}
	}
	if len(replaced) > 0 {
		u, err := r.readUpdate(s, "replace", replaced, replaceOrder, expected, name, sourceName)
		if err != nil {
			return err
		}
		if err := r.replaceRule(u); err != nil {
			return err
		}
	}
	for _, key := range r.replaceable() {
		if expected[key] {
			return s.fail(s.keyPlace(key), "Unexpected key '"+key+"': no corresponding entry under 'override' is defined.")
		}
	}
	return nil
}

// The order in which Falco reads the keys, which decides what error comes first.
var (
	appendOrder  = []string{"condition", "exceptions", "output", "desc", "tags"}
	replaceOrder = append(slices.Clone(appendOrder), "priority", "capture", "capture_duration", "enabled", "warn_evttypes", "skip-if-unknown-filter")
)

func (r *reader) readUpdate(s scope, mode string, chosen, keys []string, expected map[string]bool, name, sourceName string) (*ruleUpdate, error) {
	u := &ruleUpdate{name: name, at: s.place()}
	for _, key := range keys {
		if !slices.Contains(chosen, key) {
			continue
		}
		if !expected[key] {
			return nil, s.fail(s.get("override").keyPlace(key),
				"An "+mode+" override for '"+key+"' was specified but '"+key+"' is not defined")
		}
		delete(expected, key)
		if err := r.readKey(s, u, key, mode == "append", sourceName); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (r *reader) readKey(s scope, u *ruleUpdate, key string, appending bool, sourceName string) error {
	textKey := func(into **text) error {
		t, err := s.required(key)
		*into = &t
		return err
	}
	truthKey := func(into **bool) error {
		*into = new(bool)
		return s.truth(key, false, *into)
	}
	switch key {
	case "condition":
		u.source = sourceName
		return textKey(&u.cond)
	case "output":
		return textKey(&u.output)
	case "desc":
		t, err := s.required(key)
		u.desc = &t.s
		return err
	case "tags":
		tags, err := s.tags()
		u.tags = &tags
		return err
	case "exceptions":
		list, err := r.readExceptions(s, appending)
		u.exceptions = &list
		return err
	case "priority":
		p, err := s.priority()
		u.priority = &p
		return err
	case "capture":
		u.captured = true
		return s.truth(key, false, new(bool))
	case "capture_duration":
		u.captured = true
		return s.number(key, false)
	case "enabled":
		return truthKey(&u.enabled)
	case "warn_evttypes":
		return truthKey(&u.warnEvttypes)
	default:
		return truthKey(&u.skipUnknown)
	}
}

func (r *reader) readDefinition(s scope, name string) error {
	rule := &ruleInfo{name: name, source: syscallSource, enabled: true, warnEvttypes: true, at: s.place()}
	if !s.get("condition").defined() && !s.get("output").defined() &&
		!s.get("desc").defined() && !s.get("priority").defined() {
		if err := s.truth("enabled", false, &rule.enabled); err != nil {
			return err
		}
		r.warn(WarnDeprecatedItem, s.keyPlace("enabled"), s.name, msgEnabled)
		return r.enableRule(name, rule.enabled, s.place())
	}
	var err error
	if rule.cond, err = s.required("condition"); err != nil {
		return err
	}
	if rule.output, err = s.required("output"); err != nil {
		return err
	}
	desc, err := s.required("desc")
	if err != nil {
		return err
	}
	rule.desc = desc.s
	rule.output = rule.output.trim()
	if rule.priority, err = s.priority(); err != nil {
		return err
	}
	src, err := s.scalar("source", true, false)
	if err != nil {
		return err
	}
	if src.defined() {
		rule.source = src.Value
	}
	if err := s.truth("enabled", true, &rule.enabled); err != nil {
		return err
	}
	if err := r.readCapture(s); err != nil {
		return err
	}
	if err := s.truth("warn_evttypes", true, &rule.warnEvttypes); err != nil {
		return err
	}
	if err := s.truth("skip-if-unknown-filter", true, &rule.skipUnknown); err != nil {
		return err
	}
	if rule.tags, err = s.tags(); err != nil {
		return err
	}
	if rule.exceptions, err = r.readExceptions(s, false); err != nil {
		return err
	}
	return r.defineRule(rule)
}

func (t text) trim() text { return t.trimSet(" \t\n\r\v\f") }

// trimComp trims an operator of an exception.
func (t text) trimComp() text { return t.trimSet(" \t\r\n") }

func (t text) trimSet(blank string) text {
	start := len(t.s) - len(strings.TrimLeft(t.s, blank))
	end := len(strings.TrimRight(t.s, blank))
	if start >= end {
		return text{}
	}
	var b builder
	b.addPart(t, start, end)
	return b.text()
}

// readCapture reads the keys of captures, which Falco knows from 0.42 on.
func (r *reader) readCapture(s scope) error {
	if !r.loader.captures {
		return nil
	}
	if err := s.truth("capture", true, new(bool)); err != nil {
		return err
	}
	return s.number("capture_duration", true)
}

func (r *reader) readExceptions(s scope, appending bool) ([]*exception, error) {
	list := s.get("exceptions")
	if !list.defined() || list.isNull() {
		return nil, nil
	}
	if !list.isSequence() {
		return nil, s.fail(list.place(), "Rule exceptions must be a sequence")
	}
	var exceptions []*exception
	names := map[string]int{}
	for _, it := range list.items() {
		es := scope{it, s.name + ", exception"}
		if !it.isMap() {
			return nil, es.fail(it.place(), "Rule exception must be a mapping")
		}
		if !it.spend() {
			return nil, es.fail(it.place(), msgAliases)
		}
		name, err := es.required("name")
		if err != nil {
			return nil, err
		}
		es.name = s.name + ", " + item("exception", name.s)
		ex := &exception{name: name.s, at: it.place()}
		// Falco warns once for each one before.
		for range min(names[ex.name], maxSameName) {
			r.warn(WarnExceptionName, it.place(), es.name, "Multiple definitions of exception '"+ex.name+"' in the same rule")
		}
		names[ex.name]++
		if ex.fields, err = es.entry("fields", appending); err != nil {
			return nil, err
		}
		if ex.comps, err = es.entry("comps", true); err != nil {
			return nil, err
		}
		values := it.get("values")
		switch {
		case values.defined() && !values.isSequence():
			return nil, es.fail(values.place(), "Rule exception values must be a sequence")
		case values.defined():
			for _, v := range values.items() {
				e, err := es.decodeEntry(v, 0)
				if err != nil {
					return nil, err
				}
				ex.values = append(ex.values, e)
			}
		case appending:
			r.warn(WarnAppendNoValues, it.place(), es.name, "Overriding/appending exception with no values")
		}
		exceptions = append(exceptions, ex)
	}
	return exceptions, nil
}

func (s scope) entry(key string, optional bool) (entry, error) {
	v := s.get(key)
	if !v.defined() {
		if optional {
			return entry{}, nil
		}
		return entry{}, s.fail(s.place(), "Item has no mapping for key '"+key+"'")
	}
	return s.decodeEntry(v, 0)
}

// maxSameName bounds how many warnings one more exception of a name gives.
const maxSameName = 100

// maxEntryDepth bounds lists within lists, which aliases can make endless.
const maxEntryDepth = 32

func (s scope) decodeEntry(v node, depth int) (entry, error) {
	switch {
	case v.defined() && !v.spend():
		return entry{}, s.fail(v.place(), msgAliases)
	case depth > maxEntryDepth:
		return entry{}, s.fail(v.place(), "Lists of an exception are nested too deeply")
	case v.isScalar() && v.Value == "":
		return entry{}, s.fail(v.place(), "Value must be non-empty")
	case v.isScalar():
		return entry{item: v.text(), at: v.place()}, nil
	case v.isSequence():
		e := entry{isList: true, at: v.place()}
		for _, it := range v.items() {
			sub, err := s.decodeEntry(it, depth+1)
			if err != nil {
				return entry{}, err
			}
			e.items = append(e.items, sub)
		}
		return e, nil
	}
	return entry{at: v.place()}, nil
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

func isBareString(s string) bool { return s != "" && !strings.ContainsAny(s, "()\"' \t\n\r\v\f=,") }
