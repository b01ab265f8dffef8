package ruleset_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

// loadAs loads a file as a version of Falco does, and returns the codes of its errors and warnings.
func loadAs(v falco.Version, content string) (*ruleset.Report, []string, []string) {
	_, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(content)}}, ruleset.Options{Falco: v})
	return report, ourCodes(report.Errors), ourCodes(report.Warnings)
}

func TestTheLoaderDoesWhatEachVersionDoes(t *testing.T) {
	t.Parallel()
	open := rule("r", "evt.type=open")
	output := func(o string) string { return strings.Replace(open, "o %proc.name", o, 1) }
	exception := func(fields, comps string) string {
		return open + "  exceptions:\n  - name: e\n    fields: " + fields + "\n    comps: " + comps + "\n    values: [a, b c]\n"
	}
	const (
		validate, decode    = "LOAD_ERR_VALIDATE", "LOAD_ERR_YAML_VALIDATE"
		condition, out      = "LOAD_ERR_COMPILE_CONDITION", "LOAD_ERR_COMPILE_OUTPUT"
		deprecated, unknown = "LOAD_DEPRECATED_ITEM", "LOAD_UNKNOWN_KEY"
	)
	// by holds the codes from a version on, up to the next one that is named.
	type by map[string][]string
	for _, tt := range []struct {
		name, rules      string
		errors, warnings by
	}{
		{name: "a list modifier in an exception", rules: exception("proc.name", "startswith anyof"), errors: by{"0.40": {validate}, "0.44": nil}},
		{name: "blanks around an operator of an exception", rules: exception("proc.name", "' in '"), errors: by{"0.40": {validate}, "0.44": nil}},
		{name: "an exception on a field that came later", rules: exception("proc.aargs", "in"), errors: by{"0.40": {validate}, "0.41": nil}},
		{name: "a capture that is not true or false", rules: open + "  capture: perhaps\n", errors: by{"0.40": nil, "0.42": {decode}}},
		{name: "a capture's duration that is no number", rules: open + "  capture_duration: long\n", errors: by{"0.40": nil, "0.42": {decode}}},
		{
			name: "a capture that is replaced", rules: open + "- rule: r\n  capture: true\n  override:\n    capture: replace\n",
			errors: by{"0.40": {decode}, "0.42": nil},
		},
		{name: "a key that is misspelt", rules: open + "  tag: [a]\n", warnings: by{"0.40": nil, "0.44": {unknown}}},
		{name: "a desc of a macro", rules: "- macro: m\n  condition: evt.type=open\n  desc: x\n" + rule("r", "m"), warnings: by{"0.40": nil, "0.44": {unknown}}},
		{name: "evt.dir in a condition", rules: rule("r", "evt.type=open and evt.dir=<"), warnings: by{"0.40": nil, "0.42": {deprecated}}},
		{name: "evt.dir in an output", rules: output("o %evt.dir"), warnings: by{"0.40": nil, "0.42": {deprecated}}},
		{name: "a latency in a condition", rules: rule("r", "evt.type=open and evt.latency>5"), warnings: by{"0.40": nil, "0.43": {deprecated}}},
		{name: "the placeholder %container.info", rules: output("o %container.info"), warnings: by{"0.40": nil, "0.41": {deprecated}}},
		{name: "fd.ip in an output", rules: output("o %fd.ip"), errors: by{"0.40": {out}, "0.44": nil}},
		{name: "a transformer of several arguments in an output", rules: output(`'%concat(proc.name, "x")'`), errors: by{"0.40": {out}, "0.44": nil}},
		{name: "a field that went in an output", rules: output("o %syslog.severity"), errors: by{"0.40": nil, "0.41": {out}}},
		{name: "a pod's label behind a dot", rules: rule("r", "evt.type=open and k8s.pod.label.app=x"), errors: by{"0.40": nil, "0.41": {condition}}},
		{name: "an invalid expression", rules: rule("r", "evt.type=open and fd.name regex '['"), errors: by{"0.40": nil, "0.44": {condition}}},
		{
			name: "an unknown field of an output that may be unknown", rules: output("o %proc.nosuch") + "  skip-if-unknown-filter: true\n",
			warnings: by{"0.40": {"LOAD_UNKNOWN_FILTER"}},
		},
		{name: "a key that is a list", rules: open + "  ? [a]\n  : x\n", errors: by{"0.40": {"LOAD_ERR_YAML_PARSE"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var wantErrors, wantWarnings []string
			for _, v := range falco.Versions() {
				if w, ok := tt.errors[v.Minor()]; ok {
					wantErrors = w
				}
				if w, ok := tt.warnings[v.Minor()]; ok {
					wantWarnings = w
				}
				report, errs, warnings := loadAs(v, tt.rules)
				assert.ElementsMatch(t, wantErrors, errs, "%s: %v", v.Number, report.Errors)
				assert.ElementsMatch(t, wantWarnings, warnings, "%s: %v", v.Number, report.Warnings)
				for _, p := range append(report.Errors, report.Warnings...) {
					assert.NotZero(t, p.Line, p.String())
				}
			}
		})
	}
}

func TestAFileThatNeedsAnotherFalcoIsRefusedWithThatFalco(t *testing.T) {
	t.Parallel()
	open := rule("r", "evt.type=open")
	for _, tt := range []struct{ name, falco, rules, hint string }{
		{"a list modifier", "0.40.0", rule("r", "evt.type=open and proc.name = anyof (a)"), "'anyof' needs Falco 0.44 or newer"},
		{
			"a list modifier of an exception", "0.43.1", open + "  exceptions:\n  - name: e\n    fields: proc.name\n    comps: startswith anyof\n    values: [a]\n",
			"'startswith anyof' needs Falco 0.44 or newer",
		},
		{"a field of an output", "0.40.0", strings.Replace(open, "%proc.name", "%proc.aargs", 1), "'proc.aargs' needs Falco 0.41 or newer"},
		{"a field that went from outputs", "0.44.1", strings.Replace(open, "%proc.name", "%syslog.severity.str", 1), "'syslog.severity.str' was removed in Falco 0.41"},
		{"an engine", "0.41.3", "- required_engine_version: 0.57.0\n", "needs Falco 0.42 or newer; these rules are checked for Falco 0.41.3"},
		{"an engine that no Falco has", "0.44.1", "- required_engine_version: 0.99.0\n", "these rules are checked for Falco 0.44.1"},
		{
			"a container plugin", "0.42.1", "- required_plugin_versions:\n  - name: container\n    version: 0.7.0\n",
			"needs Falco 0.44 or newer; these rules are checked for Falco 0.42.1, which brings the container plugin 0.4.1",
		},
		{
			"the container plugin for a Falco without plugins", "0.40.0", "- required_plugin_versions:\n  - name: container\n    version: 0.3.0\n",
			"needs Falco 0.41 or newer; these rules are checked for Falco 0.40.0, which brings no plugin",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			report, _, _ := loadAs(version(tt.falco), tt.rules)
			require.Len(t, report.Errors, 1)
			assert.Equal(t, tt.hint, report.Errors[0].Hint)
		})
	}
}

func TestOutputsShowWhatTheVersionAddsToThem(t *testing.T) {
	t.Parallel()
	rules := strings.Replace(rule("r", "evt.type=openat"), "o %proc.name", `'%concat(proc.name, "!") %container.info'`, 1)
	set, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(rules)}}, ruleset.Options{})
	require.NoError(t, report.Err())
	alerts := set.NewEngine(ruleset.First).Eval(event(t, eventLine))
	require.Len(t, alerts, 1)
	assert.Equal(t, "Cat!  container_id=<NA> container_name=<NA> container_image_repository=<NA> container_image_tag=<NA> "+
		"k8s_pod_name=<NA> k8s_ns_name=<NA>", alerts[0].Message)
	assert.Equal(t, "Cat", alerts[0].OutputFields["proc.name"])
}

func TestARuleThatEndsFalcoIsReported(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, rules string
		findings    int
	}{
		{"a number that an event may lack, in a condition", rule("r", `evt.type=open and join(",", (proc.name, fd.num)) = x`), 1},
		{"a number that an event may lack, in an output", strings.Replace(rule("r", "evt.type=open"), "o %proc.name", `'%join(",", (proc.pid, "x"))'`, 1), 1},
		{"the length of options", rule("r", `evt.type=open and len(getopt((proc.args), "ab")) = 1`), 1},
		{"the number of the event", rule("r", `evt.type=open and join(",", (evt.num, proc.name)) = x`), 0},
		{"texts", rule("r", `evt.type=open and join(",", (proc.name, fd.name)) = x`), 0},
		{"one option", rule("r", `evt.type=open and len(getopt((proc.args), "ab:")[b]) = 1`), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(tt.rules)}}, ruleset.Options{})
			require.NoError(t, report.Err())
			n := 0
			for _, f := range ruleset.Lint(set, ruleset.LintOptions{}) {
				if f.Code == ruleset.LintCrash {
					n++
					assert.NotZero(t, f.Line)
				}
			}
			assert.Equal(t, tt.findings, n)
		})
	}
}
