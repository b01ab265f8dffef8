package ruleset_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"spire-falco/falco/conformance"
	"spire-falco/falco/ruleset"
)

// FuzzLoadRuleFile looks for rule files that panic or hang anywhere between
// reading and evaluation, and for problems without a place.
func FuzzLoadRuleFile(f *testing.F) {
	cases, err := conformance.Cases()
	require.NoError(f, err)
	for i, c := range cases {
		if c.Complete() && (c.Kind != "op" && c.Kind != "multi" || i%20 == 0) {
			f.Add([]byte(c.Files[0].Text))
		}
	}
	ev := event(f, eventLine)
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, options := range []ruleset.Options{falco040, {}} {
			fuzzRuleFile(t, content, options, ev)
		}
	})
}

func fuzzRuleFile(t *testing.T, content []byte, options ruleset.Options, ev ruleset.Event) {
	rs, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: content}}, options)
	for _, p := range append(report.Errors, report.Warnings...) {
		if p.Line == 0 || p.Column == 0 || p.File == "" {
			t.Fatalf("no place: %s", p)
		}
		_ = ruleset.NewExcerpts(content).At(p.Line, p.Column)
	}
	if !report.OK() {
		return
	}
	ruleset.Lint(rs, ruleset.LintOptions{})
	_ = rs.Rules()
	for _, a := range rs.NewEngine(ruleset.All).Eval(ev) {
		if _, err := a.JSON(); err != nil {
			t.Fatal(err)
		}
	}
}
