package ruleset_test

import (
	"strings"
	"testing"

	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/assert"
)

func TestIgnoreComments(t *testing.T) {
	t.Parallel()
	const (
		mark = "# falcorules:ignore "
		list = "- macro: trusted\n  condition: proc.name in (a, b)\n"
	)
	open := rule("Opens", "evt.type = open and fd.name = /x")       // old-call-alone
	trusts := rule("Trusts", "evt.type = execve and not trusted")   // renamable-allow-list, written in the macro
	both := rule("Both", "evt.type = open and not proc.name = cat") // both
	for name, tt := range map[string]struct {
		rules string
		want  []string
	}{
		"without a comment":                     {open, []string{"4:5: old-call-alone"}},
		"a comment above the rule":              {mark + "old-call-alone an old kernel\n" + open, nil},
		"other comments and blanks between":     {mark + "old-call-alone an old kernel\n\n# Opens files.\n" + open, nil},
		"several codes":                         {mark + "old-call-alone,renamable-allow-list both are meant\n" + both, nil},
		"several comments":                      {mark + "old-call-alone is meant\n" + mark + "renamable-allow-list is meant\n" + both, nil},
		"a comment above the macro":             {mark + "renamable-allow-list nobody is root here\n" + list + trusts, nil},
		"a comment above the rule that uses it": {list + mark + "renamable-allow-list nobody is root here\n" + trusts, nil},
		"a comment above another rule":          {mark + "old-call-alone is meant\n" + rule("Other", "evt.type = openat and fd.name = /y") + open, []string{"11:5: old-call-alone", "1:1: unused-ignore"}},
		"another code":                          {mark + "slash is meant\n" + open, []string{"5:5: old-call-alone", "1:1: unused-ignore"}},
		"no reason":                             {mark + "old-call-alone\n" + open, []string{"5:5: old-call-alone", "1:1: ignore-comment"}},
		"no code":                               {strings.TrimSpace(mark) + "\n" + open, []string{"5:5: old-call-alone", "1:1: ignore-comment"}},
		"a code that there is not":              {mark + "old-call is meant\n" + open, []string{"5:5: old-call-alone", "1:1: ignore-comment"}},
		"a comment within the rule":             {strings.Replace(open, "  desc: d\n", "  "+mark+"old-call-alone is meant\n  desc: d\n", 1), []string{"5:5: old-call-alone", "2:3: ignore-comment"}},
		"a comment behind the name":             {strings.Replace(open, "Opens\n", "Opens "+mark+"old-call-alone is meant\n", 1), []string{"4:5: old-call-alone", "1:15: ignore-comment"}},
		"a comment at the end of the file":      {open + mark + "old-call-alone is meant\n", []string{"4:5: old-call-alone", "7:1: ignore-comment"}},
		"what is no comment": {
			"- rule: Opens\n  desc: >\n    d\n    " + mark + "old-call-alone is meant\n  condition: evt.type = open and fd.name = /x\n  output: '" + mark + "'\n  priority: INFO\n",
			[]string{"5:14: old-call-alone"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range ruleset.Lint(load(t, tt.rules), ruleset.LintOptions{}) {
				at, _, _ := strings.Cut(strings.TrimPrefix(f.String(), "r.yaml:"), ": "+string(f.Code))
				got = append(got, at+": "+string(f.Code))
			}
			assert.Equal(t, tt.want, got)
		})
	}
	t.Run("a code that is switched off is not unused", func(t *testing.T) {
		t.Parallel()
		rs := load(t, mark+"old-call-alone is meant\n"+open)
		assert.Empty(t, ruleset.Lint(rs, ruleset.LintOptions{Disable: codes(ruleset.LintOldCall)}))
	})
}
