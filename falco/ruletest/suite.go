package ruletest

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/internal/yaml"
	"spire-falco/falco/ruleset"
	"spire-falco/internal/safefile"
)

// Suffix ends the names of files that test rules.
const Suffix = "_test.yaml"

// The most that is read of a file, in bytes: of a test or of rules, and of recorded events.
const (
	maxFile      = 16 << 20
	maxRecording = 256 << 20
)

// Suite is a test file.
type Suite struct {
	// Path is the file, as it was named.
	Path string
	// Falco is the version to judge as.
	Falco falco.Version
	// Rules are the paths of the rule files in load order.
	Rules []string
	// Stock is the path of the stock rules of a Falco, which load before Rules; placeholders stand in for them when
	// Placeholders is set, and neither when it is empty.
	Stock        string
	Placeholders bool
	// Matching is Falco's rule_matching.
	Matching ruleset.Matching
	Cases    []Case
	// Problems are what keeps the whole file from being judged.
	Problems []Problem

	// recordings are the files of events by their paths.
	recordings map[string]*recording
	lang       *condition.Language
}

// Case is events, and the alerts that they must give.
type Case struct {
	Name string
	// File, Line and Column are where the case begins.
	condition.Location
	Events []condition.Event
	Want   []Expected
	// Problems are what keeps the case from being judged.
	Problems []Problem
}

// Expected is one alert, or Count of the same kind. What is empty is not compared.
type Expected struct {
	condition.Location
	Rule string
	// Priority is compared when HasPriority is set.
	Priority    falco.Priority
	HasPriority bool
	// Output is the rule's output with its fields filled in, without what Falco adds by itself.
	Output string
	// Fields are output fields by name; nil for one without a value.
	Fields map[string]*string
	// Tags are compared in any order when HasTags is set.
	Tags    []string
	HasTags bool
	Count   int
}

// Overrides replaces what test files say.
type Overrides struct {
	// Falco is the version to judge as; the zero Version leaves it to the file.
	Falco falco.Version
	// Stock is the path of the stock rules; empty leaves it to the file.
	Stock string
}

// The keys of a test file, of a case and of an expected alert.
var (
	suiteKeys = []string{"cases", "rules", "falco", "stock", "matching"}
	caseKeys  = []string{"name", "event", "events", "recording", "only", "like", "set", "remove", "each", "fires"}
	wantKeys  = []string{"rule", "priority", "output", "fields", "tags", "count"}
)

// Read reads a test file. What is wrong with it is in the Problems of the suite and of its cases.
func Read(path string, o Overrides) *Suite {
	s := &Suite{Path: path, recordings: map[string]*recording{}}
	content, err := safefile.Read(path, maxFile)
	if err != nil {
		s.Problems = []Problem{{File: path, Message: fmt.Sprintf("read the tests: %v", err)}}
		return s
	}
	s.decode(content, o)
	return s
}

func (s *Suite) decode(content []byte, o Overrides) {
	d := newDocument(s.Path, content, &s.Problems)
	s.Falco = falco.Newest()
	if o.Falco.Number != "" {
		s.Falco = o.Falco
	}
	s.lang = condition.For(s.Falco)
	root, err := yaml.ParseOne(d.text)
	if err != nil {
		var ye *yaml.Error
		if errors.As(err, &ye) {
			d.report(ye.Offset, "", "%s", ye.Message)
		}
		return
	}
	if root == nil || root.Kind == yaml.Null {
		d.report(0, "", "the file is empty: it must have cases")
		return
	}
	m, ok := d.fieldsOf(root, "a test file", suiteKeys)
	if !ok {
		return
	}
	if n := m["falco"]; n != nil {
		if v, err := falco.Lookup(d.str(n, "falco")); err != nil {
			d.fail(n, "falco: %v", err)
		} else if o.Falco.Number == "" {
			s.Falco = v
		}
	}
	s.lang = condition.For(s.Falco)
	if n := m["matching"]; n != nil {
		if s.Matching, err = ruleset.ParseMatching(n.Value); err != nil {
			d.fail(n, "matching: it is first or all, as Falco's rule_matching")
		}
	}
	s.decodeStock(d, m["stock"], o)
	if n := m["rules"]; n != nil {
		for _, path := range d.strs(n, "rules") {
			s.Rules = append(s.Rules, s.relative(path))
		}
		if len(s.Rules) == 0 {
			d.fail(n, "rules: name at least one rule file")
		}
	} else {
		s.Rules = []string{strings.TrimSuffix(s.Path, Suffix) + ".yaml"}
		if !strings.HasSuffix(s.Path, Suffix) {
			d.report(int(root.Offset), "", "there is no key rules: only NAME%s tests NAME.yaml without it", Suffix)
		}
	}
	if m["cases"] == nil {
		d.report(int(root.Offset), "", "there is no key cases")
		return
	}
	for _, n := range d.list(m["cases"], "cases") {
		s.Cases = append(s.Cases, s.decodeCase(d, n))
	}
	if len(s.Cases) == 0 && len(s.Problems) == 0 {
		d.fail(m["cases"], "cases: there is none")
	}
}

func (s *Suite) decodeStock(d *document, n *yaml.Node, o Overrides) {
	switch {
	case n == nil, n.Kind == yaml.Scalar && n.Value == "false":
	case n.Kind == yaml.Scalar && n.Value == "true":
		s.Placeholders = true
	default:
		if path := d.str(n, "stock"); path != "" {
			s.Stock = s.relative(path)
		}
	}
	if o.Stock != "" && (s.Placeholders || s.Stock != "") {
		s.Stock, s.Placeholders = o.Stock, false
	}
}

// relative is a path that the file names, from where the file is.
func (s *Suite) relative(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(s.Path), filepath.FromSlash(path))
}

// Files are all files that the outcome depends on.
func (s *Suite) Files() []string {
	out := append([]string{s.Path}, s.Rules...)
	if s.Stock != "" {
		out = append(out, s.Stock)
	}
	for path := range s.recordings {
		out = append(out, path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *Suite) decodeCase(d *document, n *yaml.Node) Case {
	c := Case{Location: d.location(int(n.Offset))}
	in := *d
	in.problems = &c.Problems
	d = &in
	m, ok := d.fieldsOf(n, "a case", caseKeys)
	if !ok {
		return c
	}
	if m["name"] == nil {
		d.fail(n, "the case has no name")
	} else if c.Name = d.str(m["name"], "name"); c.Name != "" {
		if i := slices.IndexFunc(s.Cases, func(o Case) bool { return o.Name == c.Name }); i >= 0 {
			d.fail(m["name"], "the case of line %d has the same name", s.Cases[i].Line)
		}
	}
	s.decodeEvents(d, n, m, &c)
	if m["fires"] == nil {
		d.fail(n, "the case has no key fires: it lists the alerts, and is [] when there must be none")
		return c
	}
	for _, w := range d.list(m["fires"], "fires") {
		if e, ok := decodeExpected(d, w); ok {
			c.Want = append(c.Want, e)
		}
	}
	return c
}

func decodeExpected(d *document, n *yaml.Node) (Expected, bool) {
	e := Expected{Location: d.location(int(n.Offset)), Count: 1}
	if n.Kind == yaml.Scalar {
		e.Rule = d.str(n, "an item of fires")
		return e, e.Rule != ""
	}
	m, ok := d.fieldsOf(n, "an item of fires", wantKeys)
	if !ok {
		return e, false
	}
	if m["rule"] == nil {
		d.fail(n, "the alert has no rule")
		return e, false
	}
	if e.Rule = d.str(m["rule"], "rule"); e.Rule == "" {
		return e, false
	}
	e.Location = d.location(int(m["rule"].Offset))
	if p := m["priority"]; p != nil {
		var err error
		if e.Priority, err = falco.ParsePriority(p.Value); err != nil {
			d.fail(p, "priority: %v", err)
		}
		e.HasPriority = true
	}
	if o := m["output"]; o != nil {
		e.Output = d.str(o, "output")
	}
	if f := m["fields"]; f != nil {
		e.Fields = map[string]*string{}
		flat(f, "", func(name string, key, v *yaml.Node) {
			switch v.Kind {
			case yaml.Scalar:
				e.Fields[name] = &v.Value
			case yaml.Null:
				e.Fields[name] = nil
			default:
				d.fail(v, "the field %s is %s: it must be a value, or null for none", quote(name), kindOf(v))
			}
		})
		if f.Kind != yaml.Map {
			d.fail(f, "fields is %s: it must be a map of output fields", kindOf(f))
		}
	}
	if t := m["tags"]; t != nil {
		e.Tags, e.HasTags = d.strs(t, "tags"), true
	}
	if c := m["count"]; c != nil {
		count, err := strconv.Atoi(c.Value)
		if err != nil || count < 1 {
			d.report(int(c.Offset), "for no alert leave the entry out", "count is %s: it must be a whole number from 1 on", quote(c.Value))
		}
		e.Count = count
	}
	return e, true
}
