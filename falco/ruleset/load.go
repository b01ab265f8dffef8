package ruleset

import (
	"errors"
	"fmt"
	"maps"

	"spire-falco/falco"
	"spire-falco/falco/condition"
)

// Options changes what the files are checked against. The zero value is the
// newest Falco as its image runs it.
type Options struct {
	// Falco is the version that loads the files; the zero Version is falco.Newest.
	Falco falco.Version
	// Plugins maps the names of loaded plugins to their versions, in addition to
	// the container plugin that the version carries. A name that is given
	// overrides what the version carries; an empty version removes it.
	Plugins map[string]string
}

// falco is the version that the options ask for.
func (o Options) falco() falco.Version {
	if o.Falco.Number == "" {
		return falco.Newest()
	}
	return o.Falco
}

// plugins are the loaded plugins by name.
func (o Options) plugins() map[string]string {
	loaded := map[string]string{containerPlugin: o.falco().ContainerPlugin}
	maps.Copy(loaded, o.Plugins)
	maps.DeleteFunc(loaded, func(_, version string) bool { return version == "" })
	return loaded
}

// Ruleset is what accepted rule files come to.
type Ruleset struct {
	lang     *condition.Language
	compiled *compiled
	macros   []*macroInfo
	ignored  []ignoredKey
	// ignores are the comments that ignore findings.
	ignores []ignore
	// notText holds the files that Falco loads and no ConfigMap can hold.
	notText []fileFault
}

// fileFault is what is wrong with the bytes of a file.
type fileFault struct {
	name     string
	fault    string
	location condition.Location
}

// Language returns the condition language that the rules are written in.
func (rs *Ruleset) Language() *condition.Language { return rs.lang }

// Load loads rule files in order, as Falco does. The Ruleset is nil when
// Report holds an error. All files are looked at even after an error, as
// falco -V does.
func Load(files []File, opts Options) (*Ruleset, *Report) {
	version := opts.falco()
	lang := condition.For(version)
	c := &collector{falco: version, lang: lang, loader: loaderOf(version), engine: parseVersion(version.Engine), sources: []string{syscallSource}}
	plugins := opts.plugins()
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
		if fault, at := encodingFault(f); fault != "" && len(fr.Errors) > 0 {
			fr.Errors[0].addHint(fmt.Sprintf("line %d has %s", at.Line, fault))
		}
		fr.add(c.missingPlugin(plugins))
		report.Files = append(report.Files, fr)
	}
	report.collect()
	if !report.OK() {
		return nil, report
	}
	if last == nil {
		last = &compiled{lang: lang, loader: c.loader}
	}
	rs := &Ruleset{lang: lang, compiled: last, macros: c.macros.list, ignored: c.ignored}
	for i, f := range files {
		if docs, err := docs[i](); err == nil {
			rs.ignores = append(rs.ignores, ignoresOf(docs)...)
		}
		if fault, at := encodingFault(f); fault != "" {
			rs.notText = append(rs.notText, fileFault{f.Name, fault, at})
		}
	}
	return rs, report
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
	Priority falco.Priority
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
