package ruleset

import (
	"slices"
	"strings"

	"spire-falco/falco"
	"spire-falco/falco/condition"
)

const (
	syscallSource   = "syscall"
	containerPlugin = "container"

	msgOverrideAppend = "Keys 'override' and 'append: true' cannot be used together. Add an 'append' entry (e.g. " +
		"'condition: append') under 'override' instead."
	msgNoPreviousMacro = "Macro uses 'append' or 'override.condition: append' but no macro by that name already exists"
	msgNoPreviousList  = "List uses 'append' or 'override.items: append' but no list by that name already exists"
	msgNoPreviousRule  = "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists"
	msgNoReplacedRule  = "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists"
	msgAppend          = "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead."
	msgEnabled         = "The standalone 'enabled' key usage is deprecated. The correct approach requires also a 'replace' " +
		"entry under the 'override' key (i.e. 'enabled: replace')."
)

// order is what an item of a rule file has for its place in the load order: an
// item sees what was first defined before its last change.
type order struct {
	index, visibility int
}

type listInfo struct {
	order
	name  string
	items []text
	at    place
	// changed is where it was defined or appended to last.
	changed place
}

type macroInfo struct {
	order
	name string
	cond text
	at   place
	// added holds what was appended to the condition and is not in it yet, see settle.
	added []text
}

// settle joins what was appended. To join each time would take the square of
// the number of appends.
func (m *macroInfo) settle() { joinAdded(&m.cond, &m.added) }

func joinAdded(t *text, added *[]text) {
	if len(*added) == 0 {
		return
	}
	var b builder
	b.addText(*t)
	for _, a := range *added {
		b.add(" ", a.first())
		b.addText(a)
	}
	*t, *added = b.text(), nil
}

type ruleInfo struct {
	order
	name          string
	source        string
	unknownSource bool
	cond          text
	output        text
	desc          string
	priority      falco.Priority
	tags          []string
	exceptions    []*exception
	enabled       bool
	warnEvttypes  bool
	skipUnknown   bool
	at            place
	// What was appended and is not in the above yet, see settle.
	addedCond, addedOutput []text
	addedDesc, addedTags   []string
}

// settle joins what was appended.
func (r *ruleInfo) settle() {
	joinAdded(&r.cond, &r.addedCond)
	joinAdded(&r.output, &r.addedOutput)
	if len(r.addedDesc) > 0 {
		r.desc += " " + strings.Join(r.addedDesc, " ")
		r.addedDesc = nil
	}
	if len(r.addedTags) > 0 {
		r.tags = tagSet(append(slices.Clone(r.tags), r.addedTags...))
		r.addedTags = nil
	}
}

// forget drops what was appended to what the update replaces.
func (r *ruleInfo) forget(u *ruleUpdate) {
	if u.cond != nil {
		r.addedCond = nil
	}
	if u.output != nil {
		r.addedOutput = nil
	}
	if u.desc != nil {
		r.addedDesc = nil
	}
	if u.tags != nil {
		r.addedTags = nil
	}
}

// ruleUpdate holds the keys that an override or an append brings.
type ruleUpdate struct {
	name         string
	source       string
	cond         *text
	output       *text
	desc         *string
	tags         *[]string
	exceptions   *[]*exception
	priority     *falco.Priority
	enabled      *bool
	warnEvttypes *bool
	skipUnknown  *bool
	// captured: one of the keys of captures, which change no verdict.
	captured bool
	at       place
}

func (u *ruleUpdate) any() bool {
	return u.cond != nil || u.output != nil || u.desc != nil || u.tags != nil || u.exceptions != nil ||
		u.priority != nil || u.enabled != nil || u.warnEvttypes != nil || u.skipUnknown != nil || u.captured
}

// indexed keeps items in the order of their first definition.
type indexed[T any] struct {
	list   []*T
	byName map[string]*T
}

func (x *indexed[T]) at(name string) *T { return x.byName[name] }

func (x *indexed[T]) insert(name string, item *T) {
	if prev, ok := x.byName[name]; ok {
		*prev = *item
		return
	}
	if x.byName == nil {
		x.byName = map[string]*T{}
	}
	x.byName[name] = item
	x.list = append(x.list, item)
}

// collector keeps what the files define, over all files loaded so far.
type collector struct {
	next     int
	lists    indexed[listInfo]
	macros   indexed[macroInfo]
	rules    indexed[ruleInfo]
	plugins  []pluginRequirement
	falco    falco.Version
	lang     *condition.Language
	loader   loader
	engine   version
	sources  []string
	ignored  []ignoredKey
	warnings *[]Problem
	// last is what the files before came to, nil when they failed.
	last *compiled
}

type pluginVersion struct{ name, version string }

type pluginRequirement struct {
	alternatives []pluginVersion
	at           place
}

func (c *collector) warn(code Code, at place, item, msg string) {
	*c.warnings = append(*c.warnings, problemAt(code, at, item, msg))
}

func (c *collector) tick() int {
	c.next++
	return c.next - 1
}

func (c *collector) define(prev *order) order {
	id := c.tick()
	if prev != nil {
		return order{prev.index, id}
	}
	return order{id, id}
}

func (c *collector) defineList(l *listInfo) {
	var prev *order
	if p := c.lists.at(l.name); p != nil {
		prev = &p.order
	}
	l.order = c.define(prev)
	c.lists.insert(l.name, l)
}

func (c *collector) appendList(l *listInfo) error {
	prev := c.lists.at(l.name)
	if prev == nil {
		return fail(ErrValidate, l.at, item("list", l.name), msgNoPreviousList)
	}
	prev.items = append(prev.items, l.items...)
	prev.changed = l.changed
	prev.visibility = c.tick()
	return nil
}

func (c *collector) defineMacro(m *macroInfo) {
	var prev *order
	if p := c.macros.at(m.name); p != nil {
		prev = &p.order
	}
	m.order = c.define(prev)
	c.macros.insert(m.name, m)
}

func (c *collector) appendMacro(m *macroInfo) error {
	prev := c.macros.at(m.name)
	if prev == nil {
		return fail(ErrValidate, m.at, item("macro", m.name), msgNoPreviousMacro)
	}
	prev.added = append(prev.added, m.cond)
	prev.visibility = c.tick()
	return nil
}

// previous finds the rule of that name. It fails when both name a source and
// not the same one.
func (c *collector) previous(name, source string, at place) (*ruleInfo, error) {
	prev := c.rules.at(name)
	if prev != nil && prev.source != "" && source != "" && prev.source != source {
		return nil, fail(ErrValidate, at, item("rule", name), "Rule has been re-defined with a different source")
	}
	return prev, nil
}

func (c *collector) defineRule(r *ruleInfo) error {
	prev, err := c.previous(r.name, r.source, r.at)
	if err != nil {
		return err
	}
	if !slices.Contains(c.sources, r.source) {
		r.unknownSource = true
		c.warn(WarnUnknownSource, r.at, item("rule", r.name), "Unknown source "+r.source+", skipping")
	}
	for _, ex := range r.exceptions {
		if !ex.fields.valid() {
			return ex.fail(r.name, "Rule exception item must have fields property with a list of fields")
		}
		if err := ex.validate(c.lang, r.name, !r.unknownSource); err != nil {
			return err
		}
	}
	if prev != nil {
		r.order = c.define(&prev.order)
	} else {
		r.order = c.define(nil)
	}
	c.rules.insert(r.name, r)
	return nil
}

func (c *collector) appendRule(u *ruleUpdate) error {
	prev, err := c.previous(u.name, u.source, u.at)
	if err != nil {
		return err
	}
	what := item("rule", u.name)
	if prev == nil {
		return fail(ErrValidate, u.at, what, msgNoPreviousRule)
	}
	if !u.any() {
		return fail(ErrValidate, u.at, what, "Appended rule must have exceptions or condition property")
	}
	if u.cond != nil && !u.cond.empty() {
		prev.addedCond = append(prev.addedCond, *u.cond)
	}
	if u.output != nil && !u.output.empty() {
		prev.addedOutput = append(prev.addedOutput, *u.output)
	}
	if u.desc != nil && *u.desc != "" {
		prev.addedDesc = append(prev.addedDesc, *u.desc)
	}
	if u.tags != nil {
		prev.addedTags = append(prev.addedTags, *u.tags...)
	}
	if u.exceptions != nil {
		for _, ex := range *u.exceptions {
			if err := prev.appendException(c.lang, ex); err != nil {
				return err
			}
		}
	}
	prev.visibility = c.tick()
	return nil
}

func (r *ruleInfo) appendException(lang *condition.Language, ex *exception) error {
	for _, old := range r.exceptions {
		if old.name != ex.name {
			continue
		}
		if ex.fields.valid() {
			return ex.fail(r.name, "Can not append exception fields to existing exception, only values")
		}
		if ex.comps.valid() {
			return ex.fail(r.name, "Can not append exception comps to existing exception, only values")
		}
		old.values = append(old.values, ex.values...)
		return nil
	}
	if !ex.fields.valid() {
		return ex.fail(r.name, "Rule exception must have fields property with a list of fields")
	}
	if len(ex.values) == 0 {
		return ex.fail(r.name, "Rule exception must have values property with a list of values")
	}
	if err := ex.validate(lang, r.name, !r.unknownSource); err != nil {
		return err
	}
	r.exceptions = append(r.exceptions, ex)
	return nil
}

func (c *collector) replaceRule(u *ruleUpdate) error {
	prev, err := c.previous(u.name, u.source, u.at)
	if err != nil {
		return err
	}
	if prev == nil {
		return fail(ErrValidate, u.at, item("rule", u.name), msgNoReplacedRule)
	}
	if !u.any() {
		return fail(ErrValidate, u.at, item("rule", u.name), "The rule must have at least one field that can be replaced")
	}
	prev.forget(u)
	set(&prev.cond, u.cond)
	set(&prev.output, u.output)
	set(&prev.desc, u.desc)
	set(&prev.tags, u.tags)
	set(&prev.exceptions, u.exceptions)
	set(&prev.priority, u.priority)
	set(&prev.enabled, u.enabled)
	set(&prev.warnEvttypes, u.warnEvttypes)
	set(&prev.skipUnknown, u.skipUnknown)
	prev.visibility = c.tick()
	return nil
}

func set[T any](into, value *T) {
	if value != nil {
		*into = *value
	}
}

func (c *collector) enableRule(name string, enabled bool, at place) error {
	prev := c.rules.at(name)
	if prev == nil {
		return fail(ErrValidate, at, item("rule", name), "Rule has 'enabled' key but no rule by that name already exists")
	}
	prev.enabled = enabled
	return nil
}

func (c *collector) requireEngine(wanted version, at place) error {
	if c.engine.satisfies(wanted) {
		return nil
	}
	err := fail(ErrValidate, at, "required_engine_version",
		"Rules require engine version "+wanted.String()+", but engine version is "+c.engine.String())
	return withHint(err, c.neededFalco(func(v falco.Version) bool { return parseVersion(v.Engine).satisfies(wanted) }))
}

// neededFalco says which Falco is the first that passes the test, and which one
// the files are checked for.
func (c *collector) neededFalco(test func(falco.Version) bool) string {
	checked := "these rules are checked for Falco " + c.falco.Number
	for _, v := range falco.Versions() {
		if falco.CompareReleases(v.Number, c.falco.Number) > 0 && test(v) {
			return "needs Falco " + v.Minor() + " or newer; " + checked
		}
	}
	return checked
}

func (c *collector) requirePlugin(req pluginRequirement) error {
	seen := map[string]bool{}
	for _, p := range req.alternatives {
		if !parseVersion(p.version).valid {
			return fail(ErrValidate, req.at, "required_plugin_versions",
				"Invalid required version '"+p.version+"' for plugin '"+p.name+"'")
		}
		if seen[p.name] {
			return fail(ErrValidate, req.at, "required_plugin_versions",
				"Defined multiple alternative version requirements for plugin '"+p.name+"'")
		}
		seen[p.name] = true
	}
	c.plugins = append(c.plugins, req)
	return nil
}

// missingPlugin tells which requirement the loaded plugins do not meet.
func (c *collector) missingPlugin(loaded map[string]string) error {
	for _, req := range c.plugins {
		met, msg := false, ""
		for _, p := range req.alternatives {
			have, ok := loaded[p.name]
			if !ok {
				continue
			}
			met = parseVersion(have).satisfies(parseVersion(p.version))
			if !met {
				msg = "Plugin '" + p.name + "' version '" + have + "' is not compatible with required plugin version '" + p.version + "'"
			}
			break
		}
		if met {
			continue
		}
		if msg == "" {
			for i, p := range req.alternatives {
				if i > 0 {
					msg += ", "
				}
				msg += p.name + " (>= " + p.version + ")"
			}
			msg = "Plugin requirement not satisfied, must load one of: " + msg
		}
		return withHint(fail(ErrPluginRequirement, req.at, "required_plugin_versions", msg), c.pluginHint(req, loaded))
	}
	return nil
}

// pluginHint says which Falco brings the plugin that is required, if one does.
func (c *collector) pluginHint(req pluginRequirement, loaded map[string]string) string {
	hint := c.neededFalco(func(v falco.Version) bool {
		return slices.ContainsFunc(req.alternatives, func(p pluginVersion) bool {
			return p.name == containerPlugin && parseVersion(v.ContainerPlugin).satisfies(parseVersion(p.version))
		})
	})
	if have := loaded[containerPlugin]; have != "" {
		return hint + ", which brings the container plugin " + have
	}
	return hint + ", which brings no plugin"
}

func item(kind, name string) string {
	if name == "" {
		return kind
	}
	return kind + " \"" + name + "\""
}

// tagSet sorts tags and drops duplicates, as Falco's set does.
func tagSet(tags []string) []string {
	slices.Sort(tags)
	return slices.Compact(tags)
}

// validField reports whether an exception may name a field: by itself or inside
// transformers. The error is set where Falco stops at the name's argument.
func validField(lang *condition.Language, name string) (bool, error) {
	if !hasParenthesis(name) {
		_, ok, err := lang.LookupField(name)
		return ok, err
	}
	e, err := lang.Parse(name + " exists")
	if err == nil {
		_, err = lang.Check(e)
	}
	return err == nil, nil
}

func hasParenthesis(s string) bool { return slices.Contains([]byte(s), '(') }
