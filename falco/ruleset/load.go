package ruleset

import (
	"errors"

	"spire-falco/falco/condition"
)

// Options changes what the files are checked against. The zero value is Falco
// 0.40 without plugins.
type Options struct {
	// EngineVersion is the version of the rule engine, "" for EngineVersion.
	EngineVersion string
	// Plugins maps the names of loaded plugins to their versions.
	Plugins map[string]string
}

// Ruleset is what accepted rule files come to.
type Ruleset struct {
	compiled *compiled
	macros   []*macroInfo
	ignored  []ignoredKey
}

// Load loads rule files in order, as Falco does. The Ruleset is nil when
// Report holds an error. All files are looked at even after an error, as
// falco -V does.
func Load(files []File, opts Options) (*Ruleset, *Report) {
	engine := opts.EngineVersion
	if engine == "" {
		engine = EngineVersion
	}
	c := &collector{engine: parseVersion(engine), sources: []string{syscallSource}}
	report := &Report{}
	var last *compiled
	docs := parseAll(files)
	for i, f := range files {
		fr := FileReport{Name: f.Name}
		c.warnings = &fr.Warnings
		err := (&reader{c}).read(docs[i]())
		if err == nil {
			last, err = c.compile()
			c.last = last
		}
		fr.add(err)
		fr.add(c.missingPlugin(opts.Plugins))
		report.Files = append(report.Files, fr)
	}
	report.collect()
	if !report.OK() {
		return nil, report
	}
	if last == nil {
		last = &compiled{}
	}
	return &Ruleset{compiled: last, macros: c.macros.list, ignored: c.ignored}, report
}

func (f *FileReport) add(err error) {
	if err == nil {
		return
	}
	var le *loadError
	if !errors.As(err, &le) {
		le = &loadError{Problem{Code: ErrValidate, Message: err.Error(), File: f.Name}}
	}
	f.Errors = append(f.Errors, le.Problem)
}

// Rule describes a rule of a loaded set.
type Rule struct {
	Name     string
	Desc     string
	Priority Priority
	Tags     []string
	Source   string
	Enabled  bool
	// Output is the rule's output format.
	Output string
	// ConditionExpanded is the condition with macros, lists and exceptions expanded.
	ConditionExpanded string
	// EventTypes names the events that the condition needs, nil when it needs
	// no particular ones.
	EventTypes []string
	// Macros and Lists name what the condition is made of, macros of macros included.
	Macros []string
	Lists  []string
	// Fields names the fields that the condition reads, sorted.
	Fields []string
	// Exceptions names the rule's exceptions.
	Exceptions []string
	// File, Line and Column tell where the rule was first defined.
	File   string
	Line   int
	Column int
	// Expr is the tree of ConditionExpanded.
	Expr condition.Expr
}
