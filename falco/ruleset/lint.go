package ruleset

import (
	"fmt"
	"slices"
	"strings"

	"spire-falco/falco/condition"
)

// FindingCode names a kind of trap that Falco itself does not tell of.
type FindingCode string

// The kinds of findings.
const (
	// LintUncaptured: the rule needs calls that Falco does not capture by default.
	LintUncaptured FindingCode = "uncaptured-event"
	// LintNoDescriptor: the rule reads fd.* of events that have no file descriptor.
	LintNoDescriptor FindingCode = "no-file-descriptor"
	// LintUnixSocketName: the rule compares fd.name of a connected Unix socket with a path.
	LintUnixSocketName FindingCode = "unix-socket-name"
	// LintEnterEvent: the rule needs enter events, which newer Falco does not deliver.
	LintEnterEvent FindingCode = "enter-event"
	// LintShadowed: under rule_matching first, an earlier rule takes every event.
	LintShadowed FindingCode = "shadowed-rule"
	// LintRenamable: an attacker satisfies the allow-list by naming a binary so.
	LintRenamable FindingCode = "renamable-allow-list"
	// LintBrokenRegex: the regular expression is invalid, so the check is never true.
	LintBrokenRegex FindingCode = "broken-regex"
	// LintListIgnored: Falco ignores all or part of the list of this check.
	LintListIgnored FindingCode = "ignored-list"
	// LintCrash: the rule loads, and Falco ends at an event.
	LintCrash FindingCode = "crashes-falco"
	// LintNotUTF8: Falco loads the bytes of the file as they are, and a ConfigMap cannot hold them.
	LintNotUTF8 FindingCode = "not-utf-8"
	// LintDeadField: the condition reads a field that Falco never fills.
	LintDeadField FindingCode = "dead-field"
	// LintDeadOutput: the output prints a field that Falco never fills.
	LintDeadOutput FindingCode = "dead-output-field"
	// LintOutputIndex: the output prints a field of ancestors without an index.
	LintOutputIndex FindingCode = "output-without-index"
	// LintNameTooLong: a process name has more than the kernel's 15 characters.
	LintNameTooLong FindingCode = "process-name-too-long"
	// LintNameWithPath: a process name is compared with a path.
	LintNameWithPath FindingCode = "process-name-with-path"
	// LintResult: evt.res is compared with what it never is.
	LintResult FindingCode = "unknown-result"
	// LintFoldedCase: a value has letters that the field no longer has after tolower or toupper.
	LintFoldedCase FindingCode = "folded-case"
	// LintTypographic: a value has the quotation marks of a word processor.
	LintTypographic FindingCode = "typographic-quotes"
	// LintSlash: a value has a slash where the field has none.
	LintSlash FindingCode = "slash"
	// LintOldCall: the rule asks for a call that today's programs no longer use.
	LintOldCall FindingCode = "old-call-alone"
	// LintContradiction: two comparisons of one field cannot both hold.
	LintContradiction FindingCode = "contradiction"
	// LintKeyIgnored: Falco passes over this key of the file, misspelt or given twice.
	LintKeyIgnored FindingCode = "ignored-key"
	// LintIgnoreComment: a comment that should ignore a finding is malformed, and ignores nothing.
	LintIgnoreComment FindingCode = "ignore-comment"
	// LintUnusedIgnore: a comment ignores a finding that there is not.
	LintUnusedIgnore FindingCode = "unused-ignore"
)

var lintDescriptions = map[FindingCode]string{
	LintUncaptured:     "needs system calls that Falco does not capture live unless started with -A",
	LintNoDescriptor:   "reads fd.* fields of events that carry no file descriptor",
	LintUnixSocketName: "compares fd.name of a connected Unix socket, which starts with kernel addresses, with a path",
	LintEnterEvent:     "needs enter events (evt.dir=>), which Falco 0.42 and later no longer deliver",
	LintShadowed:       "never fires under rule_matching first, since an earlier rule matches whatever it matches",
	LintRenamable:      "trusts a process by a name that any attacker can give to a binary",
	LintBrokenRegex:    "holds a regular expression that Falco accepts and never matches",
	LintDeadField:      "reads a field that Falco never fills",
	LintDeadOutput:     "prints a field that Falco never fills",
	LintOutputIndex:    "prints a field of the ancestors without an index, which up to Falco 0.43 is none of them",
	LintNameTooLong:    "compares a process name with more than the 15 characters that the kernel keeps",
	LintNameWithPath:   "compares a process name, which has no slash, with a path",
	LintResult:         "compares evt.res with what is no result: it is SUCCESS or the name of an error",
	LintFoldedCase:     "compares a field in one case with a value that has letters of the other",
	LintTypographic:    "has typographic quotes in a value, which are part of it",
	LintSlash:          "has a slash in a value where the field has none",
	LintOldCall:        "asks for a system call without those that replace it",
	LintContradiction:  "asks for two different values of one field at once",
	LintNotUTF8:        "is not UTF-8: Falco loads it, a ConfigMap cannot hold it",
	LintKeyIgnored:     "has a key that Falco passes over",
	LintListIgnored:    "gives a list to a check that looks at its first value, or at none",
	LintIgnoreComment:  "has a comment that should ignore a finding and cannot",
	LintUnusedIgnore:   "has a comment that ignores a finding that there is not",
	LintCrash:          "loads, and ends Falco when an event comes that it cannot read a value of",
}

// LintCodes returns every kind of finding.
func LintCodes() []FindingCode {
	return []FindingCode{
		LintUncaptured, LintNoDescriptor, LintUnixSocketName, LintEnterEvent,
		LintShadowed, LintRenamable, LintBrokenRegex, LintListIgnored, LintCrash, LintKeyIgnored, LintNotUTF8,
		LintDeadField, LintDeadOutput, LintOutputIndex, LintNameTooLong, LintNameWithPath, LintResult,
		LintFoldedCase, LintTypographic, LintSlash, LintOldCall, LintContradiction, LintIgnoreComment, LintUnusedIgnore,
	}
}

// Describe says what a kind of finding is about.
func (c FindingCode) Describe() string { return lintDescriptions[c] }

// LintOptions switches kinds of findings off. The zero value looks for all of
// them under rule_matching first.
type LintOptions struct {
	Disable  []FindingCode
	Matching Matching
}

// Finding is one trap in one rule. Line and Column count from 1.
type Finding struct {
	Code FindingCode `json:"code"`
	Rule string      `json:"rule"`
	// Kind is macro, list or file where Rule is the name of one, "" for a rule.
	Kind    string `json:"kind,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
}

// Item names what the finding is in, for example rule "Shell in container".
func (f Finding) Item() string {
	kind := f.Kind
	if kind == "" {
		kind = "rule"
	}
	return item(kind, f.Rule)
}

// String returns the finding on one line.
func (f Finding) String() string {
	s := fmt.Sprintf("%s:%d:%d: %s: %s: %s", f.File, f.Line, f.Column, f.Code, f.Item(), f.Message)
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return visible(s)
}

// Lint looks for rules that load and still do not do what they seem to. It
// looks at the enabled rules of the syscall source, and at the keys of all items.
// A comment above an item, "# falcorules:ignore CODE reason", leaves a finding out.
func Lint(rs *Ruleset, opts LintOptions) []Finding {
	findings := make([][]Finding, len(rs.compiled.rules))
	each(len(findings), func(i int) {
		r := rs.compiled.rules[i]
		if !r.info.enabled || r.info.source != syscallSource {
			return
		}
		l := &linter{lang: rs.lang, opts: opts, rule: r}
		l.liveness()
		l.checks()
		l.values()
		l.output()
		l.contradictions()
		if opts.Matching == First {
			l.shadowed(rs.compiled.rules[:i])
		}
		findings[i] = l.findings
	})
	all := slices.Concat(append([][]Finding{rs.encodings(opts), rs.ignoredKeys(opts)}, findings...)...)
	return rs.applyIgnores(all, opts)
}

// encodings are findings of whole files.
func (rs *Ruleset) encodings(opts LintOptions) []Finding {
	if slices.Contains(opts.Disable, LintNotUTF8) {
		return nil
	}
	var findings []Finding
	for _, f := range rs.notText {
		findings = append(findings, Finding{
			Code: LintNotUTF8, Rule: f.name, Kind: "file", Message: f.fault, Hint: "a ConfigMap cannot hold it",
			File: f.name, Line: f.location.Line, Column: f.location.Column,
		})
	}
	return findings
}

// ignoredKeys are findings of all items, whether they are enabled or not.
func (rs *Ruleset) ignoredKeys(opts LintOptions) []Finding {
	if slices.Contains(opts.Disable, LintKeyIgnored) {
		return nil
	}
	var findings []Finding
	for _, k := range rs.ignored {
		at := k.at.location()
		findings = append(findings, Finding{
			Code: LintKeyIgnored, Rule: k.name, Kind: k.kind, Message: k.why, Hint: k.hint, File: at.File, Line: at.Line, Column: at.Column,
		})
	}
	return findings
}

// linter looks at one rule.
type linter struct {
	lang     *condition.Language
	opts     LintOptions
	rule     *compiledRule
	findings []Finding
	seen     map[Finding]bool
	// steps counts the comparisons of shadowed.
	steps int
	// allowances holds the checks of the rule that trust a name.
	allowances []*condition.Binary
}

func (l *linter) report(code FindingCode, at condition.Location, msg, hint string) {
	if slices.Contains(l.opts.Disable, code) {
		return
	}
	if at.File == "" {
		at = l.rule.info.at.location()
	}
	f := Finding{Code: code, Rule: l.rule.info.name, Message: msg, Hint: hint, File: at.File, Line: at.Line, Column: at.Column}
	if !l.seen[f] {
		if l.seen == nil {
			l.seen = map[Finding]bool{}
		}
		l.seen[f] = true
		l.findings = append(l.findings, f)
	}
}

func (l *linter) at(e condition.Expr) condition.Location {
	loc, _ := e.Position().Location()
	return loc
}

// liveness asks for which events the condition can be true at all.
func (l *linter) liveness() {
	expr, start := l.rule.condition, l.rule.info.cond.first()
	if dir := (assumption{lang: l.lang, dir: "<"}); !l.lang.MatchesAll(l.rule.types) && l.rule.types.Len() > 0 || mentions(expr, "evt.dir") {
		if !dir.possible(expr).canTrue && (assumption{lang: l.lang, dir: ">"}).possible(expr).canTrue {
			l.report(LintEnterEvent, start.location(), "is true for enter events only (evt.dir=>)",
				"Falco 0.42 and later deliver exit events only: write the condition for evt.dir=< or without evt.dir")
		}
	}
	if l.lang.MatchesAll(l.rule.types) {
		return
	}
	var uncaptured, alive []string
	dead := map[FindingCode][]string{}
	for _, name := range l.lang.EventNames(l.rule.types) {
		if name == "syscall" {
			alive = append(alive, name)
			continue
		}
		if !(assumption{lang: l.lang, event: name}).possible(expr).canTrue {
			continue // the name came in by another check
		}
		if !l.lang.Captured(name) {
			uncaptured = append(uncaptured, name)
			continue
		}
		alive = append(alive, name)
		switch {
		case !l.lang.UsesFD(name) && !(assumption{lang: l.lang, event: name, noFD: true}).possible(expr).canTrue:
			dead[LintNoDescriptor] = append(dead[LintNoDescriptor], name)
		case socketCalls[name] && !(assumption{lang: l.lang, event: name, dir: "<", unixName: true}).possible(expr).canTrue &&
			(assumption{lang: l.lang, event: name, dir: "<"}).possible(expr).canTrue:
			dead[LintUnixSocketName] = append(dead[LintUnixSocketName], name)
		}
	}
	l.missingCalls(alive)
	if len(uncaptured) > 0 {
		msg := "does not see " + strings.Join(uncaptured, ", ") + ": Falco does not capture them by default"
		if len(alive) == 0 {
			msg = "never fires live: " + msg
		}
		l.report(LintUncaptured, start.location(), msg, "watch the open, connect or exec that comes before")
	}
	l.reportDead(LintNoDescriptor, dead, alive, start, "such events have no fd.* fields", pathFields(dead[LintNoDescriptor]))
	l.reportDead(LintUnixSocketName, dead, alive, start,
		"fd.name of a connected Unix socket reads \"address->address PATH\" and never equals or starts with a path",
		"use fd.name endswith PATH")
}

// pathFields says which fields have the paths of events without a descriptor.
func pathFields(events []string) string {
	var fields []string
	for _, e := range events {
		use := "evt.args"
		switch {
		case strings.HasPrefix(e, "exec"):
			use = "proc.exepath"
		case strings.HasPrefix(e, "rename"), strings.HasPrefix(e, "link"), strings.HasPrefix(e, "symlink"):
			use = "fs.path.source and fs.path.target"
		case strings.HasPrefix(e, "unlink"), strings.HasPrefix(e, "mkdir"), e == "rmdir", strings.HasPrefix(e, "chmod"), strings.HasPrefix(e, "fchmodat"),
			e == "chown", e == "lchown", e == "fchownat":
			use = "fs.path.name"
		}
		if !slices.Contains(fields, use) {
			fields = append(fields, use)
		}
	}
	return "use " + strings.Join(fields, ", ")
}

var socketCalls = map[string]bool{"connect": true, "accept": true, "accept4": true}

func (l *linter) reportDead(code FindingCode, dead map[FindingCode][]string, alive []string, at place, why, hint string) {
	names := dead[code]
	if len(names) == 0 {
		return
	}
	msg := "never fires for " + strings.Join(names, ", ") + ": " + why
	if len(names) == len(alive) {
		msg = "never fires: " + msg
	}
	l.report(code, at.location(), msg, hint)
}

func mentions(e condition.Expr, field string) bool {
	found := false
	condition.Walk(e, func(e condition.Expr) bool {
		if f, ok := e.(*condition.Field); ok && f.Name == field {
			found = true
		}
		return !found
	})
	return found
}

// possibility says which truth values a condition can take.
type possibility struct{ canTrue, canFalse bool }

var unknown = possibility{true, true}

// fixed is the possibility of a check that comes out one way.
func fixed(is bool) possibility { return possibility{is, !is} }

// assumption is what is known of an event. Checks that it says nothing about
// can come out either way, independently of each other.
type assumption struct {
	lang  *condition.Language
	event string // evt.type, "" for any
	dir   string // evt.dir, "" for either
	// noFD: the event has no file descriptor.
	noFD bool
	// unixName: fd.name is that of a connected Unix socket.
	unixName bool
	// never holds checks that are never true.
	never map[condition.Expr]bool
}

func (a assumption) possible(e condition.Expr) possibility {
	switch n := e.(type) {
	case *condition.And:
		p := possibility{canTrue: true}
		for _, c := range n.Children {
			q := a.possible(c)
			p.canTrue = p.canTrue && q.canTrue
			p.canFalse = p.canFalse || q.canFalse
		}
		return p
	case *condition.Or:
		p := possibility{canFalse: true}
		for _, c := range n.Children {
			q := a.possible(c)
			p.canTrue = p.canTrue || q.canTrue
			p.canFalse = p.canFalse && q.canFalse
		}
		return p
	case *condition.Not:
		q := a.possible(n.Child)
		return possibility{q.canFalse, q.canTrue}
	case *condition.Unary:
		return a.check(n.Left, e, "exists", nil)
	case *condition.Binary:
		return a.check(n.Left, e, n.Op, constants(n))
	}
	return unknown
}

func (a assumption) check(left, whole condition.Expr, op string, values []string) possibility {
	if a.never[whole] {
		return possibility{canFalse: true}
	}
	name := fieldName(left)
	switch {
	case (name == "evt.type" || name == "syscall.type") && a.event != "", name == "evt.dir" && a.dir != "":
		if op != "exists" && values == nil {
			return unknown
		}
		// The usual checks need no compiling.
		of := a.event
		if name == "evt.dir" {
			of = a.dir
		}
		switch op {
		case "=", "==", "in":
			return fixed(slices.Contains(values, of))
		case "!=":
			return fixed(!slices.Contains(values, of))
		}
		p, _, err := a.lang.Compile(whole)
		if err != nil {
			return unknown
		}
		ctx := p.Layout().NewContext()
		ctx.Reset(condition.NewEvent(map[string]condition.EventValue{
			"evt.type": condition.StringValue(a.event), "syscall.type": condition.StringValue(a.event),
			"evt.dir": condition.StringValue(a.dir),
		}))
		return fixed(p.Match(ctx))
	case a.noFD && strings.HasPrefix(name, "fd."):
		return possibility{canFalse: true}
	case a.unixName && name == "fd.name" && onlyPaths(op, values):
		return possibility{canFalse: true}
	}
	return unknown
}

// onlyPaths tells whether a check can be true only for texts that start with a slash.
func onlyPaths(op string, values []string) bool {
	switch op {
	case "=", "==", "in", "intersects", "startswith", "pmatch", "glob":
	default:
		return false
	}
	for _, v := range values {
		if !strings.HasPrefix(v, "/") {
			return false
		}
	}
	return len(values) > 0
}

// constants returns the constants that a check compares with, for reading
// only, and nil when it compares with another field.
func constants(b *condition.Binary) []string {
	switch r := b.Right.(type) {
	case *condition.Value:
		return []string{r.Value}
	case *condition.List:
		if r.Values == nil {
			return []string{}
		}
		return r.Values
	}
	return nil
}

func fieldName(e condition.Expr) string {
	if f, ok := e.(*condition.Field); ok {
		return f.Name
	}
	return ""
}

// checks looks at each check by itself and at what is negated.
func (l *linter) checks() {
	condition.Walk(l.rule.condition, func(e condition.Expr) bool {
		if b, ok := e.(*condition.Binary); ok {
			l.binary(b)
		}
		l.crashes(e, l.at(e))
		return true
	})
	for _, e := range outputExpressions(l.lang, l.rule.output) {
		condition.Walk(e, func(e condition.Expr) bool {
			l.crashes(e, l.rule.info.outputPlace().location())
			return true
		})
	}
	l.allowances = nil
	l.allowLists(l.rule.condition, false, false)
	if len(l.allowances) == 0 {
		return
	}
	var fields []string
	for _, b := range l.allowances {
		fields = append(fields, checkedField(b.Left))
	}
	slices.Sort(fields)
	msg := "lets processes off by " + strings.Join(slices.Compact(fields), ", ") + " alone, which an attacker chooses by naming a binary so"
	if n := len(l.allowances); n > 1 {
		msg += fmt.Sprintf(" (%d checks, the first is here)", n)
	}
	l.report(LintRenamable, l.at(l.allowances[0]), msg,
		"ask for proc.exepath too, and in containers for proc.is_exe_upper_layer=false")
}

// crashes finds what Falco 0.44 loads and ends at: a number in a list of a
// transformer that an event does not have (a crash), and the length of several
// options (an error that ends it). Seen with 0.44.1.
func (l *linter) crashes(e condition.Expr, at condition.Location) {
	switch n := e.(type) {
	case *condition.TransformerList:
		for _, item := range n.Items {
			f, ok := item.(*condition.Field)
			if !ok || f.Name == "evt.num" {
				continue
			}
			ref, ok, err := l.lang.LookupField(f.FullName())
			if ok && err == nil && ref.Type.PrintedInLists() {
				l.report(LintCrash, at, "Falco crashes at an event without "+f.FullName()+", a number in the list of a transformer",
					"take the number out of the list")
			}
		}
	case *condition.Transformer:
		if inner, ok := n.Value.(*condition.Transformer); ok && n.Name == "len" && inner.Name == "getopt" && inner.Selector == nil {
			l.report(LintCrash, at, "Falco ends at a process with several options: len() takes what getopt() finds for one text",
				"compare one option, as in getopt(...)[o] exists")
		}
	}
}

func (l *linter) binary(b *condition.Binary) {
	values := constants(b)
	name := fieldName(b.Left)
	switch {
	case b.Op == "regex" && !l.lang.RefusesBrokenRegex():
		for _, v := range values {
			if !condition.ValidRegex(v) {
				l.report(LintBrokenRegex, l.at(b.Right), "the expression "+quote(v)+" is invalid: the check is never true",
					`Falco takes POSIX expressions, without \d, \w, \b and lazy repetition`)
			}
		}
	case name == "fd.ip" && (b.Op == "in" || b.Op == "intersects"):
		l.report(LintListIgnored, l.at(b), "fd.ip with a list never matches in Falco",
			"write fd.ip = A or fd.ip = B, or use fd.cip and fd.sip with the list")
	case name == "fd.net" && b.Op == "in" && len(values) > 1:
		l.report(LintListIgnored, l.at(b), "fd.net compares with the first network of the list only",
			"write fd.net = A or fd.net = B, or use fd.cnet and fd.snet with the list")
	case name == "proc.apid" && (b.Op == "in" || b.Op == "intersects"):
		l.report(LintListIgnored, l.at(b), "proc.apid without an index never matches a list in Falco",
			"write proc.apid = A or proc.apid = B")
	}
}

func quote(s string) string { return "\"" + s + "\"" }

// renamable holds the fields that an attacker chooses by naming a file or
// giving arguments.
var renamable = map[string]bool{
	"proc.name": true, "proc.pname": true, "proc.aname": true, "proc.exe": true, "proc.pexe": true, "proc.aexe": true,
	"proc.cmdline": true, "proc.pcmdline": true, "proc.acmdline": true, "proc.args": true, "proc.exeline": true,
	"proc.sname": true, "proc.vpgid.name": true, "proc.pgid.name": true, "proc.sid.exe": true,
}

// anchored holds the fields, or starts of fields, that an attacker inside a
// container or without root does not choose.
var anchored = []string{
	"proc.exepath", "proc.pexepath", "proc.aexepath", "proc.is_exe_upper_layer", "proc.is_exe_lower_layer",
	"proc.exe_ino", "container.", "k8s.", "user.", "group.", "proc.sid.exepath", "proc.vpgid.exepath", "proc.pgid.exepath",
	"proc.vpid", "proc.pvpid",
}

func isAnchored(name string) bool {
	for _, a := range anchored {
		if name == a || strings.HasSuffix(a, ".") && strings.HasPrefix(name, a) {
			return true
		}
	}
	return false
}

// allowLists finds the checks that let a process off by a name alone. held
// tells that the same allowance also asks for something that cannot be chosen.
func (l *linter) allowLists(e condition.Expr, negated, held bool) {
	switch n := e.(type) {
	case *condition.Not:
		l.allowLists(n.Child, !negated, held)
	case *condition.And:
		l.group(n.Children, negated, held, negated)
	case *condition.Or:
		l.group(n.Children, negated, held, !negated)
	case *condition.Binary:
		if !held && renamable[checkedField(n.Left)] && allows(n.Op, negated) {
			l.allowances = append(l.allowances, n)
		}
	}
}

// checkedField names the field of a check, under its transformers.
func checkedField(e condition.Expr) string {
	for {
		t, ok := e.(*condition.Transformer)
		if !ok {
			return fieldName(e)
		}
		e = t.Value
	}
}

// group looks at the parts of a conjunction or disjunction. together tells
// that all of them must hold for the allowance.
func (l *linter) group(children []condition.Expr, negated, held, together bool) {
	if together {
		for _, c := range children {
			held = held || mentionsAnchored(c)
		}
	}
	for _, c := range children {
		l.allowLists(c, negated, held)
	}
}

func mentionsAnchored(e condition.Expr) bool {
	found := false
	condition.Walk(e, func(e condition.Expr) bool {
		if f, ok := e.(*condition.Field); ok && isAnchored(f.Name) {
			found = true
		}
		return !found
	})
	return found
}

// allows tells whether a check that names something lets events off: "!=" does
// by itself, the others when negated.
func allows(op string, negated bool) bool {
	if op == "!=" {
		return !negated
	}
	switch op {
	case "=", "==", "in", "intersects", "startswith", "endswith", "contains", "icontains", "glob", "iglob", "pmatch", "regex":
		return negated
	}
	return false
}
