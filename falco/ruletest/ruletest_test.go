package ruletest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/ruletest"
)

// rules are two rules of which the second sees what the first one leaves.
const rules = `
- list: shells
  items: [sh, bash]
- macro: started
  condition: evt.type = execve and evt.dir = <
- rule: A shell of nginx
  desc: d
  condition: started and proc.pname = nginx and proc.name in (shells)
  output: shell=%proc.name fd=%fd.num
  priority: WARNING
  tags: [b, a]
- rule: Any program of nginx
  desc: d
  condition: started and proc.pname = nginx and not proc.name in (nginx)
  output: program=%proc.name
  priority: INFO
- rule: Off
  desc: d
  condition: started
  output: o
  priority: INFO
  enabled: false
`

// shell is an event that both rules match.
const shell = `{evt.type: execve, proc.name: sh, proc.pname: nginx}`

// suite writes a test file beside the rules and runs it.
func suite(t *testing.T, text string, files map[string]string) *ruletest.Result {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	write("a.yaml", rules)
	for name, text := range files {
		write(name, text)
	}
	return ruletest.Run(ruletest.Read(write("a_test.yaml", text), ruletest.Overrides{}), nil)
}

// problems is everything that is wrong, a line each, without the folder.
func problems(r *ruletest.Result) string {
	var out []string
	dir := filepath.Dir(r.Suite.Path) + string(filepath.Separator)
	add := func(format string, args ...any) {
		out = append(out, strings.ReplaceAll(fmt.Sprintf(format, args...), dir, ""))
	}
	for _, p := range r.Problems {
		add("%s", p)
	}
	for i := range r.Cases {
		c := &r.Cases[i]
		for _, p := range c.Problems {
			add("%s", p)
		}
		for _, m := range c.Missing {
			add("missing %d %s", m.Count, m.Rule)
			for _, line := range append(m.Difference, m.Why...) {
				add("  %s", line)
			}
		}
		for _, f := range c.Unexpected {
			add("unexpected %s of event %d", f.Rule, f.Event)
		}
	}
	return strings.Join(out, "\n")
}

func TestCases(t *testing.T) {
	t.Parallel()
	recording := `{"evt.num":7,"evt.type":"execve","evt.dir":"<","proc.name":"sh","proc.pname":"nginx"}
{"evt.num":8,"evt.type":"execve","evt.dir":"<","proc.name":"id","proc.pname":"nginx"}
`
	for name, tt := range map[string]struct {
		test string // of the case, but for its name
		want string // what is wrong; empty when it passes
	}{
		"an alert as expected passes": {"event: " + shell + "\nfires: [A shell of nginx]", ""},
		"everything about it is as expected": {"event: " + shell + `
fires:
  - rule: A shell of nginx
    priority: warning
    output: shell=sh fd=<NA>
    fields: {proc.name: sh, fd.num: null}
    tags: [a, b]`, ""},
		"what Falco adds to an output may be written too": {"event: " + shell + `
fires:
  - rule: A shell of nginx
    output: "shell=sh fd=<NA> container_id=<NA> container_name=<NA> container_image_repository=<NA> container_image_tag=<NA> k8s_pod_name=<NA> k8s_ns_name=<NA>"`, ""},
		"a part of an output is another output": {
			"event: " + shell + "\nfires: [{rule: A shell of nginx, output: shell=sh}]",
			"missing 1 A shell of nginx\n  output: want \"shell=sh\", got \"shell=sh fd=<NA>\"\nunexpected A shell of nginx of event 1",
		},
		"another priority, field and tag are told apart": {
			"event: " + shell + "\nfires: [{rule: A shell of nginx, priority: ERROR, fields: {proc.name: bash, fd.num: 1, x: y}, tags: [a]}]",
			"missing 1 A shell of nginx\n  priority: want Error, got Warning\n  field fd.num: want \"1\", got no value\n" +
				"  field proc.name: want \"bash\", got \"sh\"\n  field x: the output has no such field; it has container.id, " +
				"container.image.repository, container.image.tag, container.name, fd.num, k8s.ns.name, k8s.pod.name, proc.name\n" +
				"  tags: want [a], got [a, b]\nunexpected A shell of nginx of event 1",
		},
		"an alert that nothing expects fails":                 {"event: " + shell + "\nfires: []", "unexpected A shell of nginx of event 1"},
		"silence passes where nothing fires":                  {"event: {evt.type: open, proc.name: sh}\nfires: []", ""},
		"under matching first the second rule is not reached": {"event: " + shell + "\nfires: [Any program of nginx]", "missing 1 Any program of nginx\n  its condition is true for event 1, but \"A shell of nginx\", which loads before it, takes the event (rule_matching first)\nunexpected A shell of nginx of event 1"},
		"why a rule is silent is said with place and value": {
			"event: {evt.type: execve, proc.pname: nginx, proc.name: nginx}\nfires: [A shell of nginx]",
			"missing 1 A shell of nginx\n  a.yaml:8:49: proc.name in (sh, bash) is false; proc.name is \"nginx\"",
		},
		"a field that the event does not have is named": {
			"event: {evt.type: execve, proc.name: sh}\nfires: [A shell of nginx]",
			"missing 1 A shell of nginx\n  a.yaml:8:26: proc.pname = nginx is false; the event has no proc.pname",
		},
		"nested fields are flat ones":                    {"event: {evt: {type: execve}, proc: {name: sh, pname: nginx}}\nfires: [A shell of nginx]", ""},
		"an event may be JSON":                           {`event: '{"evt.type":"execve","proc":{"name":"sh","pname":"nginx"}}'` + "\nfires: [A shell of nginx]", ""},
		"an alert is the event of its fields":            {`event: {"hostname":"h","priority":"Warning","rule":"x","output":"y","output_fields":{"evt.time":1700000000000000000,"proc.name":"sh","proc.pname":"nginx","fd.num":null}}` + "\nset: {evt.type: execve}\nfires: [A shell of nginx]", ""},
		"the direction of an event is its end by itself": {"event: " + shell + "\nset: {evt.dir: '>'}\nfires: []", ""},
		"set changes, remove takes away":                 {"event: " + shell + "\nset: {proc.name: id}\nremove: [fd.num]\nfires: [Any program of nginx]", ""},
		"removed fields are gone":                        {"event: " + shell + "\nremove: [proc.pname]\nfires: []", ""},
		"null takes away too":                            {"event: " + shell + "\nset: {proc.pname: null}\nfires: []", ""},
		"each makes an event of every entry":             {"event: " + shell + "\neach: [{proc.name: sh}, {proc.name: bash}]\nfires: [{rule: A shell of nginx, count: 2}]", ""},
		"a wrong count fails":                            {"event: " + shell + "\nfires: [{rule: A shell of nginx, count: 2}]", "missing 1 A shell of nginx"},
		"alerts find their own expectation, whatever the order": {
			"event: " + shell + "\neach: [{proc.name: bash}, {proc.name: sh}]\nfires: [A shell of nginx, {rule: A shell of nginx, fields: {proc.name: bash}}]", "",
		},
		"a recording":                         {"recording: r.jsonl\nfires: [A shell of nginx, Any program of nginx]", ""},
		"some events of a recording":          {"recording: r.jsonl\nonly: [8]\nfires: [Any program of nginx]", ""},
		"an event that no recording has":      {"recording: r.jsonl\nonly: [9]\nfires: []", "a_test.yaml:4:12: only: no event of the recording has the evt.num 9"},
		"a recording that is not there":       {"recording: s.jsonl\nfires: []", "a_test.yaml:3:16: read the recording: open s.jsonl: no such file or directory"},
		"a recording that is no JSON":         {"recording: a.yaml\nfires: []", "a_test.yaml:3:16: a.yaml:2: read event: at byte 1: found '-' where an object was expected"},
		"an unknown key of a case":            {"event: " + shell + "\nfire: []", "a_test.yaml:4:5: unknown key \"fire\" of a case (did you mean fires?)\na_test.yaml:2:5: the case has no key fires: it lists the alerts, and is [] when there must be none"},
		"an unknown key of an alert":          {"event: " + shell + "\nfires: [{rule: A shell of nginx, prority: INFO}]", "a_test.yaml:4:38: unknown key \"prority\" of an item of fires (did you mean priority?)"},
		"an unknown field":                    {"event: {evt.type: execve, proc.nmae: sh}\nfires: []", "a_test.yaml:3:31: Falco 0.44.1 has no field \"proc.nmae\" (did you mean proc.name or proc.pname or proc.aname?)"},
		"a field of an older Falco":           {"event: {evt.type: execve, k8s.pod.label.app: x}\nfires: []", "a_test.yaml:3:31: Falco 0.44.1 has no field \"k8s.pod.label.app\" ('k8s.pod.label.app' was removed in Falco 0.41; use k8s.pod.label[app])"},
		"an unknown event":                    {"event: {evt.type: exceve}\nfires: []", "a_test.yaml:3:23: evt.type is \"exceve\": no such event: did you mean execve?"},
		"a text where a number must be":       {"event: {evt.type: execve, fd.num: x}\nfires: []", "a_test.yaml:3:39: fd.num is \"x\": fd.num wants a whole number"},
		"a field that Falco works out":        {"event: {evt.type: connect, fd.ip: 10.0.0.1}\nfires: []", "a_test.yaml:3:32: no event has the field fd.ip: Falco works it out from others (give fd.type, and fd.cip, fd.cport, fd.sip and fd.sport)"},
		"a field twice, nested and not":       {"event: {evt.type: execve, proc.name: a, proc: {name: b}}\nfires: []", "a_test.yaml:3:52: the field \"proc.name\" is there twice"},
		"an event without a type":             {"event: {proc.name: sh}\nfires: []", "a_test.yaml:2:5: the event has no evt.type (every event has one; an alert often does not: give it with set)"},
		"no event at all":                     {"fires: []", "a_test.yaml:2:5: the case must have one of the keys event, events, recording, like; it has none"},
		"two kinds of events":                 {"event: " + shell + "\nrecording: r.jsonl\nfires: []", "a_test.yaml:2:5: the case must have one of the keys event, events, recording, like; it has event and recording"},
		"like without such a case":            {"like: casus\nfires: []", "a_test.yaml:3:11: no case before this one has the name \"casus\""},
		"a rule that is not there":            {"event: " + shell + "\nfires: [A shell of ngnix]", "a_test.yaml:4:13: the rules have no rule \"A shell of ngnix\" (did you mean \"A shell of nginx\"?)"},
		"a rule that is disabled":             {"event: " + shell + "\nfires: [Off]", "a_test.yaml:4:13: the rule \"Off\" is disabled, so it never fires"},
		"a priority that is none":             {"event: " + shell + "\nfires: [{rule: Off, priority: HIGH}]", "a_test.yaml:4:35: priority: "},
		"a count of nothing":                  {"event: " + shell + "\nfires: [{rule: Off, count: 0}]", "a_test.yaml:4:32: count is \"0\": it must be a whole number from 1 on (for no alert leave the entry out)"},
		"fires that is no list":               {"event: " + shell + "\nfires: none", "a_test.yaml:4:12: fires is a value: it must be a list"},
		"an event that is no map":             {"event: shell\nfires: []", "a_test.yaml:3:12: the event is neither a map of fields nor JSON: read event: at byte 1: found 's' where an object was expected"},
		"a list for a field of one value":     {"event: {evt.type: execve, proc.name: [a]}\nfires: []", "a_test.yaml:3:42: proc.name has one value, not a list"},
		"an alert with a key that none has":   {"event: {output_fields: {proc.name: a}, ruel: x}\nset: {evt.type: execve}\nfires: []", "a_test.yaml:3:44: unknown key \"ruel\" of an alert (did you mean rule?)"},
		"two events of which one has no type": {"events: [" + shell + ", {proc.name: x}]\nfires: []", "a_test.yaml:2:5: event 2 has no evt.type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "cases:\n  - name: case\n    " + strings.ReplaceAll(tt.test, "\n", "\n    ") + "\n"
			r := suite(t, text, map[string]string{"r.jsonl": recording})
			got := problems(r)
			if tt.want == "" {
				assert.Empty(t, got)
				return
			}
			assert.True(t, strings.HasPrefix(got, tt.want), got)
			outcome := ruletest.Broken
			if strings.HasPrefix(tt.want, "missing") || strings.HasPrefix(tt.want, "unexpected") {
				outcome = ruletest.Failed
			}
			require.Len(t, r.Cases, 1)
			assert.Equal(t, outcome, r.Cases[0].Outcome)
		})
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	const one = "cases:\n  - {name: n, event: {evt.type: open}, fires: []}\n"
	for name, tt := range map[string]struct{ text, want string }{
		"the rules are those of the same name by themselves": {one, ""},
		"rules in load order":                                {"rules: [more.yaml, a.yaml]\n" + one, ""},
		"rules that Falco would refuse":                      {"rules: [more.yaml, bad.yaml]\n" + one, "bad.yaml:3:14: Falco 0.44.1 would refuse the rules: LOAD_ERR_VALIDATE: rule \"x\": Undefined macro 'm' used in filter."},
		"rules that are not there":                           {"rules: [b.yaml]\n" + one, "a_test.yaml: read the rules: open b.yaml: no such file or directory"},
		"no rules at all":                                    {"rules: []\n" + one, "a_test.yaml:1:8: rules: name at least one rule file"},
		"another Falco":                                      {"falco: 0.40.0\ncases:\n  - {name: n, event: {evt.type: open, k8s.pod.label.app: x}, fires: []}\n", ""},
		"an unknown Falco":                                   {"falco: 0.1.0\n" + one, "a_test.yaml:1:8: falco: "},
		"an unknown matching":                                {"matching: most\n" + one, "a_test.yaml:1:11: matching: it is first or all, as Falco's rule_matching"},
		"under matching all every rule fires":                {"matching: all\ncases:\n  - {name: n, event: " + shell + ", fires: [A shell of nginx, Any program of nginx]}\n", ""},
		"an unknown key":                                     {"rule: [a.yaml]\n" + one, "a_test.yaml:1:1: unknown key \"rule\" of a test file (did you mean rules?)"},
		"a key that is there twice":                          {one + one, "a_test.yaml:3:1: the key \"cases\" is there twice"},
		"no cases":                                           {"falco: 0.44.1\n", "a_test.yaml:1:1: there is no key cases"},
		"an empty list of cases":                             {"cases: []\n", "a_test.yaml:1:8: cases: there is none"},
		"an empty file":                                      {"", "a_test.yaml:1:1: the file is empty: it must have cases"},
		"two cases of one name":                              {one + "  - {name: n, event: {evt.type: open}, fires: []}\n", "a_test.yaml:3:12: the case of line 2 has the same name"},
		"a case without a name":                              {"cases:\n  - {event: {evt.type: open}, fires: []}\n", "a_test.yaml:2:5: the case has no name"},
		"a file that is no YAML":                             {"cases: [\n", "a_test.yaml:2:1: end of sequence flow not found"},
		"a second document, which would be lost":             {one + "---\n" + one, "a_test.yaml:3:1: the document ends before this: check the indentation, and write one document"},
		"what stands left of the rest":                       {"  cases:\n    - {name: n, event: {evt.type: open}, fires: []}\nfalco: 0.40.0\n", "a_test.yaml:3:1: "},
		"like takes the events of a case before":             {"cases:\n  - {name: n, event: " + shell + ", fires: [A shell of nginx]}\n  - {name: o, like: n, set: {proc.name: id}, fires: [Any program of nginx]}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := suite(t, tt.text, map[string]string{
				"more.yaml": "- macro: other\n  condition: proc.name = x\n",
				"bad.yaml":  "- rule: x\n  desc: d\n  condition: m\n  output: o\n  priority: INFO\n",
			})
			got := problems(r)
			if tt.want == "" {
				assert.Empty(t, got)
			} else {
				assert.True(t, strings.HasPrefix(got, tt.want), got)
			}
		})
	}
}

func TestWhatNeedsStockRulesIsBroken(t *testing.T) {
	t.Parallel()
	const mine = `
- rule: Mine
  desc: d
  condition: spawned_process and proc.name = nginx
  output: o
  priority: INFO
- rule: Of a list
  desc: d
  condition: evt.type = open and proc.name in (shell_binaries)
  output: o
  priority: INFO
`
	const real = `
- list: shell_binaries
  items: [sh]
- macro: spawned_process
  condition: evt.type in (execve, execveat)
`
	for name, tt := range map[string]struct{ stock, event, fires, want string }{
		"a rule that may fire, as far as is known": {
			"true", "{evt.type: execve, proc.name: nginx}", "[Mine]",
			"a_test.yaml:4:5: whether the rule \"Mine\" fires is not known: it uses macros or lists of the stock rules, whose text is not here (name the file",
		},
		"a rule that cannot fire, whatever the stock rules say": {"true", "{evt.type: execve, proc.name: cat}", "[]", ""},
		"an event of another type":                              {"true", "{evt.type: connect, proc.name: nginx}", "[]", ""},
		"a list whose items are not known":                      {"true", "{evt.type: open, proc.name: sh}", "[Of a list]", "a_test.yaml:4:5: whether the rule \"Of a list\" fires"},
		"a rule of the stock rules itself":                      {"true", "{evt.type: connect}", "[Terminal shell in container]", "a_test.yaml:4:72: the rule \"Terminal shell in container\" is one of the stock rules"},
		"the real stock rules":                                  {"stock.yaml", "{evt.type: execve, proc.name: nginx}", "[Mine]", ""},
		"no stock rules at all":                                 {"false", "{evt.type: execve, proc.name: nginx}", "[Mine]", "mine.yaml:4:14: Falco 0.44.1 would refuse the rules"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := fmt.Sprintf("rules: [mine.yaml]\nstock: %s\ncases:\n  - {name: n, event: %s, fires: %s}\n", tt.stock, tt.event, tt.fires)
			got := problems(suite(t, text, map[string]string{"mine.yaml": mine, "stock.yaml": real}))
			if tt.want == "" {
				assert.Empty(t, got)
			} else if !strings.HasPrefix(tt.want, "a_test.yaml:4:72") {
				assert.True(t, strings.HasPrefix(got, tt.want), got)
			} else {
				assert.Contains(t, got, "is one of the stock rules")
			}
		})
	}
}

func TestDiffShowsWhatWasCompared(t *testing.T) {
	t.Parallel()
	r := suite(t, "cases:\n  - name: n\n    events: ["+shell+", {evt.type: execve, proc.name: id, proc.pname: nginx}]\n"+
		"    fires: [{rule: A shell of nginx, priority: ERROR}]\n", nil)
	assert.Equal(t, `diff want got
--- want
+++ got
@@ -1,2 +1,5 @@
 - rule: A shell of nginx
-  priority: Error
+  priority: Warning
+- rule: Any program of nginx
+  priority: Informational
+  output: "program=id"
`, r.Cases[0].Diff())
}

// hard are conditions that an event is not easily found for.
const hard = `
- rule: Prefix, part and end of one field
  desc: d
  condition: evt.type = open and fd.name startswith /etc/ and fd.name contains "/ssl/" and fd.name endswith .key and not fd.name contains "/x.key"
  output: o %fd.name
  priority: INFO
- rule: Numbers within bounds
  desc: d
  condition: evt.type = open and fd.num > 10 and fd.num < 12 and not proc.pid = 1 and user.uid != 0
  output: o
  priority: INFO
- rule: Networks
  desc: d
  condition: evt.type = connect and fd.snet in ("10.0.0.0/8", "192.168.0.0/16") and fd.sport in (443, 8443) and not fd.sip = "10.0.0.1"
  output: o
  priority: INFO
- rule: The second branch of an or
  desc: d
  condition: evt.type = open and (proc.name = a or proc.name = b) and proc.name != a
  output: o
  priority: INFO
- rule: Patterns
  desc: d
  condition: evt.type = open and proc.cmdline regex "(curl|wget) -[a-z]{2} [0-9]+" and proc.exe glob "/usr/*/cu?l" and fd.name pmatch (/var/log)
  output: o
  priority: INFO
- rule: Fields compared, and folded
  desc: d
  condition: evt.type = execve and proc.pname = val(proc.name) and tolower(proc.exe) = python and proc.args exists
  output: o
  priority: INFO
- rule: Nothing is asked of the type
  desc: d
  condition: proc.name = only
  output: o
  priority: INFO
- rule: Odd characters in a value
  desc: d
  condition: 'evt.type = open and fd.name = "a: b #c\\d" and proc.name = "null"'
  output: o %fd.name
  priority: INFO
`

func TestFirstMakesCasesThatPassForEveryRuleItCan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "hard.yaml")
	never := "- rule: Never\n  desc: d\n  condition: evt.type = open and proc.name = a and proc.name = b\n  output: o\n  priority: INFO\n"
	require.NoError(t, os.WriteFile(path, []byte(hard+never), 0o600))
	d, err := ruletest.First(filepath.Join(dir, "hard_test.yaml"), []string{path}, ruletest.Overrides{})
	require.NoError(t, err)
	assert.Equal(t, []string{`no case for the rule "Never": no event was found that its condition is true for`}, d.Notes)
	assert.Equal(t, strings.Count(hard, "- rule: "), strings.Count(string(d.Text), " fires\"\n")+strings.Count(string(d.Text), " fires\n    event:"), string(d.Text))
	require.NoError(t, os.WriteFile(d.Path, d.Text, 0o600))
	r := ruletest.Run(ruletest.Read(d.Path, ruletest.Overrides{}), nil)
	assert.Empty(t, problems(r))
	assert.Len(t, r.Cases, d.Cases)
	assert.Greater(t, d.Cases, strings.Count(hard, "- rule: "), "near misses too")
}

func TestFromAlertsCompletesAlerts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	require.NoError(t, os.WriteFile(path, []byte(rules), 0o600))
	alert := func(rule, fields string) string {
		return fmt.Sprintf(`{"hostname":"h","output":"o","output_fields":{%s},"priority":"Warning","rule":%q,"source":"syscall","tags":[],"time":"2026-01-01T00:00:00Z"}`+"\n", fields, rule)
	}
	log := "Falco initialized\n" +
		alert("A shell of nginx", `"evt.time":1700000000000000000,"proc.name":"sh","fd.num":null`) +
		alert("A shell of nginx", `"evt.time":1700000000000000009,"proc.name":"sh","fd.num":null`) + // the same again
		alert("A shell of nginx", `"proc.name":"bash","proc.pname":"nginx"`) +
		alert("A shell of nginx", `"proc.name":"cat"`) + // which the rule no longer asks for
		alert("Gone", `"proc.name":"cat"`)
	d, err := ruletest.FromAlerts(filepath.Join(dir, "a_test.yaml"), "log", []byte(log), []string{path}, ruletest.Overrides{})
	require.NoError(t, err)
	assert.Equal(t, 2, d.Cases)
	assert.Equal(t, []string{
		`no case for the rule "A shell of nginx": log:5: its condition is not true for the alert, whatever the fields are that the alert does not have`,
		`no case for the rule "Gone": the rule files do not have it; 1 alerts`,
	}, d.Notes)
	assert.Contains(t, string(d.Text), "# the alert of log:2, which does not have evt.type, proc.pname: made up from the condition\n")
	assert.Contains(t, string(d.Text), "evt.rawtime: 1700000000000000000\n")

	_, err = ruletest.FromAlerts(filepath.Join(dir, "a_test.yaml"), "log", []byte("no alert\n"), []string{path}, ruletest.Overrides{})
	require.ErrorContains(t, err, "log has no alert of Falco's JSON output")
}

func TestOverridesReplaceWhatFilesSay(t *testing.T) {
	t.Parallel()
	r := suite(t, "falco: 0.44.1\ncases:\n  - {name: n, event: {evt.type: open}, fires: []}\n", nil)
	old, err := falco.Lookup("0.40.0")
	require.NoError(t, err)
	s := ruletest.Read(r.Suite.Path, ruletest.Overrides{Falco: old})
	assert.Equal(t, "0.40.0", s.Falco.Number)
	r = ruletest.Run(s, func(name string) bool { return name == "m" })
	assert.Empty(t, r.Cases)
	assert.Empty(t, r.Problems)
}
