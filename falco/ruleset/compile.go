package ruleset

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"spire-falco/falco/condition"
)

// compiled is what the definitions of all files loaded so far come to.
type compiled struct {
	lang *condition.Language
	// loader is what the loader of this version does otherwise than that of others.
	loader loader
	size   *size
	lists  []*listDef
	// listIndex finds a list by its name; oddLists have names with delimiters in them.
	listIndex map[string]int
	oddLists  []int
	macros    []*macroDef
	byName    map[string]*macroDef
	// macroNames has the names of all macros, those that do not compile included.
	macroNames map[string]bool
	rules      []*compiledRule
}

type compiledRule struct {
	info      *ruleInfo
	condition condition.Expr
	// output is the rule's output with its old placeholder replaced.
	output string
	types  condition.EventTypes
	macros []string
	lists  []string
	// order and warnings are kept for the next file, see reuse.
	order    order
	warnings []Problem
	scan     [2]string
}

func (c *collector) compile() (*compiled, error) {
	out := &compiled{lang: c.lang, loader: c.loader, size: &size{}, byName: map[string]*macroDef{}}
	for _, r := range c.rules.list {
		r.settle()
	}
	out.macroNames = make(map[string]bool, len(c.macros.list))
	for _, m := range c.macros.list {
		m.settle()
		out.macroNames[m.name] = true
	}
	if err := c.compileLists(out); err != nil {
		return nil, err
	}
	changed := c.changedSince(out)
	if err := c.compileMacros(out, changed); err != nil {
		return nil, err
	}
	results := make([]ruleResult, len(c.rules.list))
	each(len(results), func(i int) {
		r := c.rules.list[i]
		if r.unknownSource {
			return
		}
		if rule := c.last.reusedRule(r, changed); rule != nil {
			results[i] = ruleResult{rule: rule, lists: rule.lists, macros: rule.macros, warnings: rule.warnings}
			return
		}
		results[i].err = out.compileRule(r, &results[i])
		if rule := results[i].rule; rule != nil {
			rule.warnings = results[i].warnings
		}
	})
	for i := range results {
		r := &results[i]
		out.markUsed(r.lists, r.macros)
		*c.warnings = append(*c.warnings, r.warnings...)
		if r.err != nil {
			return nil, r.err
		}
		if r.rule != nil {
			out.rules = append(out.rules, r.rule)
		}
	}
	for _, m := range out.macros {
		if !m.used {
			c.warn(WarnUnusedMacro, m.info.at, item("macro", m.name), "Macro not referred to by any other rule/macro")
		}
	}
	for _, l := range out.lists {
		if !l.used {
			c.warn(WarnUnusedList, l.at, item("list", l.name), "List not referred to by any other rule/macro")
		}
	}
	return out, nil
}

// compileLists puts the items of lists that were defined before into the lists
// that name them, one level deep.
func (c *collector) compileLists(out *compiled) error {
	used, total := map[string]bool{}, 0
	out.lists = make([]*listDef, 0, len(c.lists.list))
	for _, info := range c.lists.list {
		l := &listDef{name: info.name, at: info.at, items: info.items, changed: info.changed, visibility: info.visibility}
		for i, it := range info.items {
			ref := c.lists.at(it.s)
			if ref == nil || ref.index >= info.visibility {
				if l.refs != nil {
					l.items = append(l.items, it)
				}
				continue
			}
			if l.refs == nil {
				l.items = slices.Clone(info.items[:i])
			}
			used[ref.name] = true
			l.refs = append(l.refs, ref.name)
			l.items = append(l.items, ref.items...)
			if total += len(ref.items); total > maxListItems {
				return fail(ErrValidate, it.first(), item("list", info.name),
					fmt.Sprintf("lists in lists come to more than %d items", maxListItems))
			}
		}
		l.joined = joinItems(l.items)
		out.lists = append(out.lists, l)
	}
	out.listIndex = make(map[string]int, len(out.lists))
	for i, l := range out.lists {
		l.used = used[l.name]
		out.listIndex[l.name] = i
		if hasDelimiter(l.name) {
			out.oddLists = append(out.oddLists, i)
		}
	}
	return nil
}

func (c *collector) compileMacros(out *compiled, changed *names) error {
	out.macros = make([]*macroDef, len(c.macros.list))
	errs := make([]error, len(out.macros))
	each(len(out.macros), func(i int) {
		info := c.macros.list[i]
		if out.macros[i] = c.last.reusedMacro(info, changed); out.macros[i] != nil {
			return
		}
		e, lists, expanded, err := out.parse(info.cond, item("macro", info.name), info.order)
		out.macros[i] = &macroDef{
			name: info.name, expr: e, info: info, order: info.order, lists: lists, scan: [2]string{info.cond.s, expanded},
		}
		errs[i] = err
	})
	for i, m := range out.macros {
		if errs[i] != nil {
			return errs[i]
		}
		out.byName[m.name] = m
	}
	for _, m := range out.macros {
		if m.reused {
			out.markUsed(m.lists, m.macros)
			continue
		}
		// A macro sees the macros that were first defined before its last change.
		visible := func(name string) *macroDef {
			if other := out.byName[name]; other != nil && other.info.index < m.info.visibility {
				return other
			}
			return nil
		}
		e, macros, nodes, err := out.resolve(m.expr, visible, item("macro", m.name), m.info.cond, m.lists, m.order)
		if err != nil {
			return err
		}
		m.expr, m.macros, m.nodes = e, macros, nodes
		out.markUsed(m.lists, macros)
	}
	return nil
}

// parse expands lists in a condition and parses it. It returns the names of
// the lists used, and the text after expansion.
func (out *compiled) parse(t text, what string, owner order) (e condition.Expr, used []string, expandedText string, err error) {
	expanded, lists, ok := out.expandLists(t, nil)
	if !ok {
		return nil, nil, "", fail(ErrCompileCondition, t.first(), what, "the condition grows beyond 4 MiB when lists are expanded")
	}
	if out.size.length.Add(int64(len(expanded.s))) > maxTotalLength {
		return nil, nil, "", fail(ErrCompileCondition, t.first(), what, "all conditions together grow beyond 64 MiB when lists are expanded")
	}
	e, err = out.lang.ParseSource(expanded.source())
	if err != nil {
		return nil, nil, "", out.parseProblem(err, t, expanded, lists, what, owner)
	}
	return e, lists, expanded.s, nil
}

// expandLists replaces the names of lists by their items, and names the lists
// that were used. A list that instead has an entry for is expanded as that one,
// or not at all when it is nil. ok is false when the text grows too large.
func (out *compiled) expandLists(t text, instead map[string]*listDef) (expanded text, lists []string, ok bool) {
	named := out.listsNamed(t.s)
	for i, l := range out.lists {
		if !named[i] {
			continue
		}
		if other, replaced := instead[l.name]; replaced {
			if l = other; l == nil {
				continue
			}
		}
		next, found := expandList(t, l)
		if !found {
			continue
		}
		t = next
		out.addNamed(named, l.joined) // its items may be names of the lists that come after
		lists = append(lists, l.name)
		if len(t.s) > maxConditionLength {
			return text{}, nil, false
		}
	}
	return t, lists, true
}

// listsNamed tells for each list whether its name may stand in a text.
func (out *compiled) listsNamed(s string) []bool {
	named := make([]bool, len(out.lists))
	for _, i := range out.oddLists {
		named[i] = true
	}
	out.addNamed(named, s)
	return named
}

func (out *compiled) addNamed(named []bool, s string) {
	for word := range words(s) {
		if i, ok := out.listIndex[word]; ok {
			named[i] = true
		}
	}
}

// conditionProblem places an error of package condition in the file.
func conditionProblem(err error, t text, what string) error {
	var ce *condition.Error
	if !errors.As(err, &ce) {
		return fail(ErrCompileCondition, t.first(), what, err.Error())
	}
	p := Problem{Code: ErrCompileCondition, Message: ce.Message, Hint: ce.Hint, Item: what}
	p.locate(ce.Pos, t)
	return &loadError{p}
}

func (p *Problem) locate(pos condition.Pos, t text) {
	loc, ok := pos.Location()
	if !ok || loc.File == "" {
		loc = t.first().location()
	}
	p.File, p.Line, p.Column = loc.File, loc.Line, loc.Column
}

// resolve puts the conditions of macros in place of their names. The text that
// e was parsed from, the lists used in it and the place of its owner in the
// order of definitions tell what is at fault when there is no such macro.
func (out *compiled) resolve(
	e condition.Expr, visible func(name string) *macroDef, what string, from text, lists []string, owner order,
) (resolved condition.Expr, macros []string, nodes int, err error) {
	r := &resolver{visible: visible, total: &out.size.nodes}
	e = r.resolve(e)
	switch {
	case len(r.errors) > 0:
		p := Problem{Code: ErrValidate, Message: r.errors[0].msg, Item: what}
		p.locate(r.errors[0].pos, text{})
		return nil, nil, 0, &loadError{p}
	case len(r.unknown) > 0:
		name := r.unknown[0].msg
		p := Problem{Code: ErrValidate, Message: "Undefined macro '" + name + "' used in filter.", Item: what, Hint: out.macroHint(name)}
		p.locate(r.unknown[0].pos, text{})
		if l := out.listTaken(from, lists, name); l != nil {
			expanded, _, _ := out.expandLists(from, nil)
			out.blameName(&p, l, owner, expanded)
		}
		return nil, nil, 0, &loadError{p}
	}
	if r.resolved == nil {
		return e, nil, r.nodes, nil
	}
	for _, m := range out.macros {
		if r.resolved[m.name] {
			macros = append(macros, m.name)
		}
	}
	return e, macros, r.nodes, nil
}

func (out *compiled) macro(name string) *macroDef { return out.byName[name] }

func (out *compiled) macroHint(name string) string {
	if out.byName[name] != nil {
		return "macro " + name + " is defined after it is used, or by itself"
	}
	for _, l := range out.lists {
		if l.name == name {
			return name + " is a list: use it as in (" + name + ")"
		}
	}
	for _, m := range out.macros {
		if strings.EqualFold(m.name, name) || len(name) > 3 && (strings.HasPrefix(m.name, name) || strings.HasPrefix(name, m.name)) {
			return "did you mean " + m.name + "?"
		}
	}
	return ""
}

// unknownFieldOrType tells the errors that skip-if-unknown-filter forgives.
func unknownFieldOrType(msg string) bool {
	return strings.Contains(msg, "nonexistent field") || strings.Contains(msg, "invalid formatting token") ||
		strings.Contains(msg, "unknown event type") || strings.Contains(msg, "unknown filter:")
}

// ruleResult is what a rule comes to. There may be no rule without an error,
// where Falco skips it.
type ruleResult struct {
	rule          *compiledRule
	lists, macros []string
	warnings      []Problem
	err           error
}

func (res *ruleResult) warn(code Code, at place, item, msg string) {
	res.warnings = append(res.warnings, problemAt(code, at, item, msg))
}

// markUsed marks the lists and macros of these names.
func (out *compiled) markUsed(lists, macros []string) {
	for _, name := range lists {
		out.lists[out.listIndex[name]].used = true
	}
	for _, name := range macros {
		out.byName[name].used = true
	}
}

func (out *compiled) compileRule(r *ruleInfo, res *ruleResult) error {
	what := item("rule", r.name)
	cond := r.cond
	if len(r.exceptions) > 0 {
		var err error
		if cond, err = withExceptions(out.lang, r); err != nil {
			return err
		}
	}
	output := out.output(r, res)
	if err := checkOutput(out.lang, output); err != nil {
		if unknownFieldOrType(err.Error()) && r.skipUnknown {
			res.warn(WarnUnknownFilter, r.outputPlace(), what, err.Error())
			return nil
		}
		return outputProblem(err, r, what)
	}
	for _, field := range out.loader.deprecatedFields {
		if strings.Contains(output, field) {
			res.warn(WarnDeprecatedItem, r.outputPlace(), what,
				"usage of deprecated field '"+field+"' has been detected in the rule output")
		}
	}
	e, lists, expanded, err := out.parse(cond, what, r.order)
	res.lists = lists
	if err != nil {
		return out.exceptionProblem(err, r, what)
	}
	e, macros, _, err := out.resolve(e, out.macro, what, cond, lists, r.order)
	res.macros = macros
	if err != nil {
		return err
	}
	if unsafeNA(e) {
		res.warn(WarnUnsafeNACheck, r.at, what, "")
	}
	for _, field := range out.loader.deprecatedFields {
		if readsField(e, field) {
			res.warn(WarnDeprecatedItem, r.cond.first(), what, deprecatedFieldMessage(field))
		}
	}
	warnings, err := out.lang.Check(e)
	if err != nil {
		err = out.valueProblem(err, cond, what, r)
		var le *loadError
		if errors.As(err, &le) && unknownFieldOrType(le.Message) && r.skipUnknown {
			le.Code = WarnUnknownFilter
			res.warnings = append(res.warnings, le.Problem)
			return nil
		}
		return err
	}
	for _, w := range warnings {
		p := Problem{Code: WarnCompileCondition, Message: w.Message, Item: what}
		p.locate(w.Pos, cond)
		res.warnings = append(res.warnings, p)
	}
	rule := &compiledRule{
		info: r, condition: e, output: output, macros: macros, lists: lists,
		order: r.order, scan: [2]string{cond.s, expanded},
	}
	if r.source == syscallSource {
		if rule.types, err = out.lang.NeededEventTypes(e); err != nil {
			return conditionProblem(err, cond, what)
		}
		if n := rule.types.Len(); (n == 0 || n > 100) && r.warnEvttypes {
			res.warn(WarnNoEventType, r.at, what,
				"Rule matches too many evt.type values. This has a significant performance penalty.")
		}
	}
	res.rule = rule
	return nil
}

const containerInfo = "%container.info"

// output is the rule's output as Falco reads it: with its old placeholder
// replaced, and with the fields that the container plugin suggests.
func (out *compiled) output(r *ruleInfo, res *ruleResult) string {
	if !out.loader.suggestedOutput {
		return strings.ReplaceAll(r.output.s, containerInfo, "container_id=%container.id container_name=%container.name")
	}
	if !strings.Contains(r.output.s, containerInfo) {
		return r.output.s + suggestedOutput
	}
	res.warn(WarnDeprecatedItem, r.at, item("rule", r.name), "%container.info is deprecated and no more useful, and will be dropped by "+
		"Falco 1.0.0. The container plugin will automatically add required fields to the output message.")
	return strings.ReplaceAll(r.output.s, containerInfo, "") + suggestedOutput
}

// suggestedOutput is what Falco adds to every output, as its image is set
// (append_output, suggested_output): the fields that the container plugin marks.
const suggestedOutput = " container_id=%container.id container_name=%container.name" +
	" container_image_repository=%container.image.repository container_image_tag=%container.image.tag" +
	" k8s_pod_name=%k8s.pod.name k8s_ns_name=%k8s.ns.name"

// readsField tells whether Falco finds a field in a condition when it looks for
// deprecated ones: on the left of a check, within transformers but not within
// their lists.
func readsField(e condition.Expr, field string) bool {
	found := false
	var left func(e condition.Expr)
	left = func(e condition.Expr) {
		switch n := e.(type) {
		case *condition.Field:
			found = found || n.Name == field
		case *condition.Transformer:
			left(n.Value)
			for _, arg := range n.More {
				left(arg)
			}
		}
	}
	condition.Walk(e, func(e condition.Expr) bool {
		switch n := e.(type) {
		case *condition.Unary:
			left(n.Left)
			return false
		case *condition.Binary:
			left(n.Left)
			return false
		}
		return true
	})
	return found
}

func deprecatedFieldMessage(field string) string {
	if field == "evt.dir" {
		return "due to the drop of enter events, 'evt.dir = <' always evaluates to true, and 'evt.dir = >' always evaluates to false. " +
			"The rule expression can be simplified by removing the condition on 'evt.dir'"
	}
	return "field is not available due to the drop of enter events."
}

// outputPlace is where the rule's output is, or the rule where it is blank.
func (r *ruleInfo) outputPlace() place {
	if r.output.empty() {
		return r.at
	}
	return r.output.first()
}

func outputProblem(err error, r *ruleInfo, what string) error {
	at, output := r.outputPlace(), r.output
	var oe *outputError
	if errors.As(err, &oe) && oe.offset < len(output.s) && !strings.Contains(output.s, containerInfo) {
		at = output.placeOf(oe.offset)
	}
	p := problemAt(ErrCompileOutput, at, what, err.Error())
	if oe != nil {
		p.Hint = oe.hint
	}
	return &loadError{p}
}

// unsafeNA finds comparisons of a Kubernetes audit field with <NA>.
func unsafeNA(e condition.Expr) bool {
	found := false
	condition.Walk(e, func(e condition.Expr) bool {
		b, ok := e.(*condition.Binary)
		if !ok {
			return true
		}
		f, ok := b.Left.(*condition.Field)
		if !ok || !strings.HasPrefix(f.Name, "ka.") && !strings.HasPrefix(f.Name, "jevt.") {
			return false
		}
		switch b.Op {
		case "==", "=", "!=", "in", "intersects", "pmatch":
			switch right := b.Right.(type) {
			case *condition.Value:
				found = found || right.Value == "<NA>"
			case *condition.List:
				found = found || slices.Contains(right.Values, "<NA>")
			}
		}
		return false
	})
	return found
}
