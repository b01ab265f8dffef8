package ruleset_test

import (
	"strings"
	"testing"
	"time"

	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where a problem lies and what would mend it is ours to tell.
func TestAProblemPointsAtItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, rules, at, hint string
	}{
		{"an unknown field in a folded condition", "- rule: r\n  desc: d\n  condition: >\n    evt.type=open\n    and\n      proc.nam=a\n  output: o\n  priority: INFO\n", "proc.nam=a", "did you mean proc.name"},
		{"an unknown field behind a list", "- list: l\n  items: [a, b]\n- rule: r\n  desc: d\n  condition: evt.type=open and proc.name in (l) and fd.nam=x\n  output: o\n  priority: INFO\n", "fd.nam=x", "fd.name"},
		{"a field in a macro", "- macro: m\n  condition: evt.type=open and user.uidd=0\n" + rule("r", "m"), "user.uidd", "user.uid"},
		{"an appended condition", rule("r", "evt.type=open") + "- rule: r\n  condition: and fd.sprt=1\n  override:\n    condition: append\n", "fd.sprt", "fd.sport"},
		{"a macro that is not there", rule("r", "evt.type=open and spawned"), "spawned", ""},
		{"a value of the wrong type", rule("r", "evt.type=open and fd.num=abc"), "abc", "whole number"},
		{"an operator of the wrong type", rule("r", "evt.type=open and fd.num contains 1"), "fd.num", "takes exists"},
		{"an event type", rule("r", "evt.type in (open, opeanat)"), "opeanat", "openat"},
		{"a field of an output", "- rule: r\n  desc: d\n  condition: evt.type=open\n  output: file %fd.nme\n  priority: INFO\n", "%fd.nme", "%fd.name"},
		{"a value of an exception", rule("r", "evt.type=open") + "  exceptions:\n  - name: e\n    fields: [fd.num]\n    values: [[x7]]\n", "x7", "whole number"},
		{"a list item", "- list: ports\n  items: [80, abc]\n" + rule("r", "evt.type=connect and fd.sport in (ports)"), "abc]", "port number"},
		{"a priority", strings.Replace(rule("r", "evt.type=open"), "NOTICE", "SOMETIMES", 1), "SOMETIMES", "Emergency"},
		{"a truth value", rule("r", "evt.type=open") + "  enabled: perhaps\n", "perhaps", "true or false"},
		{"an override of nothing", rule("r", "evt.type=open") + "- rule: r\n  override:\n    tags: append\n", "tags: append", ""},
		{"broken YAML", "- rule: r\n   desc: d\n", ": d", ""},
		{"a field of an exception", rule("r", "evt.type=open") + "  exceptions:\n  - name: e\n    fields: [proc.nme]\n    values: [[x]]\n", "proc.nme", "proc.name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(c.rules)}}, falco040)
			require.Len(t, report.Errors, 1)
			p := report.Errors[0]
			lines := strings.Split(c.rules, "\n")
			require.LessOrEqual(t, p.Line, len(lines), p.String())
			assert.Truef(t, strings.HasPrefix(lines[p.Line-1][p.Column-1:], c.at), "%s points at %q", p, lines[p.Line-1][p.Column-1:])
			assert.Contains(t, p.Hint, c.hint)
			assert.True(t, strings.HasPrefix(p.String(), "r.yaml:"), p.String())
			excerpt := ruleset.NewExcerpts([]byte(c.rules)).At(p.Line, p.Column)
			assert.Equal(t, lines[p.Line-1]+"\n"+strings.Repeat(" ", p.Column-1)+"^", excerpt)
		})
	}
}

func TestAnExcerptOfALongLineIsCut(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("a", 500) + "X" + strings.Repeat("b", 500)
	excerpt := strings.Split(ruleset.NewExcerpts([]byte(line)).At(1, 501), "\n")
	require.Len(t, excerpt, 2)
	assert.Less(t, len(excerpt[0]), 140)
	assert.Equal(t, byte('X'), excerpt[0][strings.IndexByte(excerpt[1], '^')])
	assert.Empty(t, ruleset.NewExcerpts(nil).At(7, 1))
}

func TestLaterFilesSeeEarlierOnes(t *testing.T) {
	t.Parallel()
	files := []ruleset.File{
		{Name: "a.yaml", Content: []byte("- macro: m\n  condition: evt.type=open\n")},
		{Name: "b.yaml", Content: []byte(rule("r", "m and proc.name=a"))},
	}
	_, report := ruleset.Load(files, falco040)
	require.True(t, report.OK())
	assert.Equal(t, []string{string(ruleset.WarnUnusedMacro)}, ourCodes(report.Files[0].Warnings), "Falco warns while it loads the first file")
	assert.Empty(t, report.Files[1].Warnings)
	files[0], files[1] = files[1], files[0]
	_, report = ruleset.Load(files, falco040)
	assert.False(t, report.OK())
	assert.Equal(t, "b.yaml", report.Errors[0].File)
	assert.ErrorContains(t, report.Err(), "Undefined macro 'm'")
}

func TestRequirementsOfFilesAreMetByTheVersionAndItsPlugins(t *testing.T) {
	t.Parallel()
	engine057 := "- required_engine_version: 0.57.0\n"
	k8saudit := "- required_plugin_versions:\n  - name: k8saudit\n    version: 0.7.0\n"
	container := "- required_plugin_versions:\n  - name: container\n    version: 0.7.0\n"
	for _, tt := range []struct {
		name, falco, rules string
		plugins            map[string]string
		want               []string
	}{
		{name: "an engine that is too old", falco: "0.40.0", rules: engine057, want: []string{"LOAD_ERR_VALIDATE"}},
		{name: "the engine of the version", falco: "0.42.1", rules: engine057},
		{name: "the newest Falco when none is given", rules: engine057 + container},
		{name: "a plugin that is not loaded", falco: "0.42.1", rules: k8saudit, want: []string{"PLUGIN_REQUIREMENT"}},
		{name: "a plugin that is loaded", falco: "0.42.1", rules: k8saudit, plugins: map[string]string{"k8saudit": "0.7.1"}},
		{name: "a plugin that is too old", falco: "0.42.1", rules: k8saudit, plugins: map[string]string{"k8saudit": "0.6.0"}, want: []string{"PLUGIN_REQUIREMENT"}},
		{name: "the container plugin of the version", falco: "0.44.1", rules: container},
		{name: "the container plugin of an older version", falco: "0.43.1", rules: container, want: []string{"PLUGIN_REQUIREMENT"}},
		{name: "no container plugin in 0.40", falco: "0.40.0", rules: container, want: []string{"PLUGIN_REQUIREMENT"}},
		{name: "a newer container plugin than the image has", falco: "0.43.1", rules: container, plugins: map[string]string{"container": "0.7.1"}},
		{name: "the container plugin taken away", falco: "0.44.1", rules: container, plugins: map[string]string{"container": ""}, want: []string{"PLUGIN_REQUIREMENT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			opts := ruleset.Options{Plugins: tt.plugins}
			if tt.falco != "" {
				opts.Falco = version(tt.falco)
			}
			_, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(tt.rules)}}, opts)
			assert.ElementsMatch(t, tt.want, ourCodes(report.Errors), "%v", report.Errors)
		})
	}
}

// Small files that expand without end, or that are deep, must not take long.
func TestHostileFilesEndSoon(t *testing.T) {
	t.Parallel()
	var lists, macros strings.Builder
	lists.WriteString("- list: l0x\n  items: [a]\n")
	macros.WriteString("- macro: m0\n  condition: evt.num=1\n")
	for i := 1; i < 40; i++ {
		prev, this := string(rune('a'+(i-1)%26))+strings.Repeat("q", (i-1)/26), string(rune('a'+i%26))+strings.Repeat("q", i/26)
		lists.WriteString("- list: l" + this + "\n  items: [" + strings.Repeat("l"+prev+", ", 9) + "x]\n")
		macros.WriteString("- macro: m" + this + "\n  condition: m" + prev + strings.Repeat(" and m"+prev, 9) + "\n")
	}
	for name, content := range map[string]string{
		"lists of lists":       lists.String() + rule("r", "evt.type=open and proc.name in (lmq)"),
		"macros of macros":     strings.Replace(macros.String(), "m0", "ma", 1) + rule("r", "mmq"),
		"parentheses":          rule("r", strings.Repeat("(", 100_000)+"evt.type=open"),
		"balanced":             rule("r", strings.Repeat("(", 4_000)+"evt.type=open"+strings.Repeat(")", 4_000)),
		"negations":            rule("r", strings.Repeat("not ", 100_000)+"evt.type=open"),
		"transformers":         rule("r", strings.Repeat("tolower(", 100_000)+"proc.name"),
		"many values":          rule("r", "proc.name in (a"+strings.Repeat(", a", 100_000)+")"),
		"a list used often":    "- list: l\n  items: [a]\n" + rule("r", "proc.name in (l"+strings.Repeat(", l", 50_000)+")"),
		"an endless exception": rule("r", "evt.type=open") + "  exceptions: &a\n  - name: e\n    fields: [proc.name]\n    values: *a\n",
		"a self-made list":     rule("r", "evt.type=open") + "  exceptions:\n  - name: e\n    fields: [proc.name]\n    values: &v\n    - *v\n",
		"deep YAML":            strings.Repeat("[", 100_000),
		"deep blocks":          strings.Repeat("- ", 50_000),
		"open quotes":          strings.Repeat("- \"", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			rs, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(content)}}, falco040)
			if report.OK() {
				ruleset.Lint(rs, ruleset.LintOptions{})
				rs.NewEngine(ruleset.All).Match(event(t, eventLine))
			}
			assert.Less(t, time.Since(start), 10*time.Second)
		})
	}
}
