package ruleset_test

import (
	"strings"
	"testing"

	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A problem that the user's file causes in a rule of another file lies in the user's file.
func TestAProblemIsWhereItsCauseIsWritten(t *testing.T) {
	t.Parallel()
	const base = `- list: shells
  items: [sh, bash]
- list: words
  items: [one]
- list: ports
  items: [80]
- list: nets
  items: ['"10.0.0.0/8"']
- list: groups
  items: [shells, ksh]
- macro: started
  condition: (evt.type in (execve, execveat) and proc.name in (shells))
- macro: files
  condition: (fd.name startswith /etc or fd.sport in (ports))
- macro: grouped
  condition: (proc.name in (groups))
- rule: R
  desc: d
  condition: started and files and not proc.pname in (words) and (grouped or container.id != host) and proc.args contains 'x'
  output: o %proc.cmdline
  priority: WARNING
  exceptions:
    - name: names
      fields: [proc.name, proc.cmdline]
      comps: [in, startswith]
    - name: parents
      fields: proc.pname
- rule: Networks
  desc: d
  condition: evt.type = connect and fd.snet in (nets)
  output: o
  priority: WARNING
`
	appendList := func(name, items string) string {
		return "- list: " + name + "\n  items: [" + items + "]\n  override: {items: append}\n"
	}
	exception := func(name, values string) string {
		return "- rule: R\n  exceptions:\n    - name: " + name + "\n      values: " + values + "\n  override: {exceptions: append}\n"
	}
	for _, c := range []struct {
		name, mine, at, hint string
	}{
		{"an appended item with a quote", appendList("shells", `zsh, "bob's"`), "bob's", `write it as '"bob''s"'`},
		{"the list again with such an item", "- list: shells\n  items: [zsh, \"bob's\"]\n", "bob's", "the item bob's of list shells"},
		{"an item with both quotes", appendList("shells", `'a"b''c'`), `a"b''c`, `'"a\"b''c"'`},
		{"an item that opens a quote and swallows what follows", appendList("shells", `"'sh"`), `'sh`, "of list shells"},
		{"an item with a comma", appendList("shells", "'a,b(c)'"), "a,b(c)", "of list shells"},
		{"an item of a list that is in a list", "- list: shells\n  items: [a=b]\n", "a=b", "of list shells"},
		{"an item with a bad escape", appendList("words", `'"a\q b"'`), `\q`, `double the backslash (\\q)`},
		{"a port that is a word", appendList("ports", "abc"), "abc", "an item of list ports"},
		{"a network that is none", appendList("nets", `'"10.0.0.0/99"'`), `"10.0.0.0/99"`, "an item of list nets"},
		{"a list that takes the name of a macro", "- list: files\n  items: [/a, /b]\n", "list: files", "the name of a macro: rename the list"},
		{"one that has one item", "- list: files\n  items: [/a]\n", "list: files", "the name of a macro: rename the list"},
		{"one whose item could be a macro", "- list: files\n  items: [other]\n", "list: files", "the name of a macro: rename the list"},
		{"one without items", "- list: files\n  items: []\n", "list: files", "the name of a macro: rename the list"},
		{"a list that takes the name of a value", "- list: host\n  items: [a, b]\n", "list: host", "not one of the values in parentheses"},
		{"a list that takes the name of a field", "- list: fd.name\n  items: [a, b]\n", "list: fd.name", "not one of the values in parentheses"},
		{"a list without its parentheses", "- list: mine\n  items: [a, b]\n" + rule("Mine", "evt.type = open and proc.name in mine"), "mine", "in parentheses, as in (mine)"},
		{"a list in place of a macro", "- list: mine\n  items: [a]\n" + rule("Mine", "evt.type = open and mine"), "mine", "in parentheses, as in (mine)"},
		{"a macro that is redefined with a wrong value", "- macro: files\n  condition: fd.sport = abc\n", "abc", "port number"},
		{"a macro that is appended to", "- macro: files\n  condition: or fd.sprt = 1\n  override: {condition: append}\n", "fd.sprt", "fd.sport"},
		{"a condition that is appended to", "- rule: R\n  condition: and proc.nme = 1\n  override: {condition: append}\n", "proc.nme", "proc.name"},
		{"an output that is appended to", "- rule: R\n  output: x %proc.nme\n  override: {output: append}\n", "%proc.nme", "proc.name"},
		{"a value of an exception with a quote", exception("names", `[[a, "bob's "], [b, 'c''d']]`), `''d`, `write it as '"c''d"'`},
		{"a value of an exception that opens a quote", exception("names", `[[a, "'b"]]`), `'b`, `'"''b"'`},
		{"a list for startswith", exception("names", "[[a, [b, c]]]"), "[b, c]", "startswith takes one value"},
		{"a value of a list with a quote", exception("names", `[[[a, "b'c"], x]]`), "'c", `'"b''c"'`},
		{"an expression with a bad escape", exception("names", `[[a, 'x \w']]`), `\w`, "POSIX"},
		{"a row that is too short", exception("names", "[[a, b], [c]]"), "[c]", ""},
		{"a row without a value", exception("names", "[[a, b], [c, ]]"), "[c, ]", ""},
		{"a null", exception("names", "[[a, null]]"), "null", ""},
		{"a value of a single field with a quote", exception("parents", `[a, "b'c"]`), "'c", `'"b''c"'`},
		{"a list for a single field", exception("parents", "[a, [b]]"), "[b]", ""},
		{"an unknown comparison", "- rule: R\n  exceptions:\n    - name: new\n      fields: [proc.name]\n      comps: [equals]\n      values: [[a]]\n  override: {exceptions: append}\n", "equals", ""},
		{"an unknown field", "- rule: R\n  exceptions:\n    - name: new\n      fields: [proc.nme]\n      values: [[a]]\n  override: {exceptions: append}\n", "proc.nme", "proc.name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, report := ruleset.Load([]ruleset.File{
				{Name: "base.yaml", Content: []byte(base)}, {Name: "my.yaml", Content: []byte(c.mine)},
			}, ruleset.Options{})
			require.Empty(t, report.Files[0].Errors)
			require.NotEmpty(t, report.Errors)
			p := report.Errors[0]
			require.Equal(t, "my.yaml", p.File, p.String())
			line := strings.Split(c.mine, "\n")[p.Line-1]
			assert.Truef(t, strings.HasPrefix(line[p.Column-1:], c.at), "%s points at %q", p, line[p.Column-1:])
			assert.Contains(t, p.Hint, c.hint, p.String())
		})
	}
}

func TestAnItemThatIsQuotedAsTheHintSaysLoads(t *testing.T) {
	t.Parallel()
	for _, item := range []string{`'"bob''s"'`, `'"a\"b''c"'`, `'''sa"y'''`, `'"a,b(c)"'`} {
		content := "- list: l\n  items: [a, " + item + "]\n" + rule("R", "evt.type = open and proc.name in (l)")
		_, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(content)}}, ruleset.Options{})
		assert.NoError(t, report.Err(), item)
	}
}
