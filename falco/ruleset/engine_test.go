package ruleset_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

const eventLine = `{"evt.type":"openat","evt.dir":"<","evt.rawtime":1795384397827701107,"evt.time":"x","fd.name":"/etc/shadow",` +
	`"proc.name":"Cat","proc.pname":"bash","user.uid":0,"evt.failed":false,"container.name":null,"k8s.pod.labels":"app:web, tier:x"}`

func event(t testing.TB, line string) ruleset.Event {
	t.Helper()
	ev, err := ruleset.ParseEvent([]byte(line))
	require.NoError(t, err)
	return ev
}

func TestAnAlertHasTheFormOfFalcosJSON(t *testing.T) {
	t.Parallel()
	rs := load(t, `- rule: Shadow
  desc: d
  condition: evt.type in (open, openat) and fd.name=/etc/shadow
  output: "read %fd.name by %5proc.name/%tolower(proc.name) uid=%user.uid in %container.name (%k8s.pod.label[app]) %proc.aname[1]"
  priority: warning
  tags: [mitre_b, a]
`)
	alerts := rs.NewEngine(ruleset.First).Eval(event(t, eventLine))
	require.Len(t, alerts, 1)
	line, err := alerts[0].JSON()
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"time": "2026-11-22T21:53:17.827701107Z",
		"rule": "Shadow", "priority": "Warning", "source": "syscall",
		"output": "21:53:17.827701107: Warning read /etc/shadow by Cat  /cat uid=0 in <NA> (web) bash",
		"output_fields": {
			"evt.time": 1795384397827701107, "fd.name": "/etc/shadow", "proc.name": "Cat", "user.uid": 0,
			"container.name": null, "k8s.pod.label[app]": "web", "proc.aname[1]": "bash"
		},
		"tags": ["a", "mitre_b"]
	}`, string(line))
}

func TestMatching(t *testing.T) {
	t.Parallel()
	rs := load(t, rule("A", "evt.type=openat and proc.name=Cat")+
		rule("B", "evt.type=close and proc.name=Cat")+
		rule("C", "evt.type=openat")+"  enabled: false\n"+
		rule("D", "user.uid=0"))
	ev := event(t, eventLine)
	assert.Equal(t, []string{"A"}, rs.NewEngine(ruleset.First).Match(ev))
	assert.Equal(t, []string{"A", "D"}, rs.NewEngine(ruleset.All).Match(ev))
	assert.Nil(t, rs.NewEngine(ruleset.All).Match(event(t, `{"evt.type":"close"}`)))
	for _, m := range []ruleset.Matching{ruleset.First, ruleset.All} {
		got, err := ruleset.ParseMatching(m.String())
		require.NoError(t, err)
		assert.Equal(t, m, got)
	}
	_, err := ruleset.ParseMatching("some")
	assert.ErrorContains(t, err, `"some"`)
}

func TestALineThatIsNoEventIsRefused(t *testing.T) {
	t.Parallel()
	for _, line := range []string{``, `x`, `[]`, `{"a":1`, `{"a":}`, `{"a":{}}`, `{"a":1}{`, `{"a" 1}`, `{"a":"x}`, `{"a":1,}`, `{"a":--1}`, `{"a":"\q"}`} {
		_, err := ruleset.ParseEvent([]byte(line))
		require.Error(t, err, line)
	}
	ev := event(t, `{"a":"\u00e9\n","b":18446744073709551615,"c":-1.5,"d":["x",1],"e":null,"f":true}`)
	b, err := json.Marshal([]any{ev.Text("a"), ev.Text("b"), ev.Text("c"), ev.Text("d"), ev.Text("e"), ev.Text("f")})
	require.NoError(t, err)
	assert.JSONEq(t, `["é\n","18446744073709551615","-1.5","(x,1)","","true"]`, string(b))
}

func TestRulesAreExplained(t *testing.T) {
	t.Parallel()
	rs := load(t, `- list: inner
  items: [a, b]
- list: names
  items: [inner, c]
- macro: named
  condition: proc.name in (names)
- macro: opens
  condition: evt.type in (open, openat) and named
- macro: unused
  condition: evt.num=1
- rule: R
  desc: what it is for
  condition: opens and not container.id=host
  output: o %fd.name
  priority: INFO
  tags: [t]
  exceptions:
  - name: known
    fields: [fd.name]
    comps: [startswith]
    values: [[/tmp]]
`)
	r, ok := rs.Rule("R")
	require.True(t, ok)
	assert.Equal(t, "(((evt.type in (open, openat) and proc.name in (a, b, c)) and not container.id = host) and not fd.name startswith /tmp)", r.ConditionExpanded)
	assert.Equal(t, []string{"open", "openat"}, r.EventTypes)
	assert.Equal(t, []string{"named", "opens"}, r.Macros)
	assert.Equal(t, []string{"inner", "names"}, r.Lists)
	assert.Equal(t, []string{"container.id", "evt.type", "fd.name", "proc.name"}, r.Fields)
	assert.Equal(t, []string{"known"}, r.Exceptions)
	assert.Equal(t, falco.PriorityInformational, r.Priority)
	assert.Equal(t, 11, r.Line)
	_, ok = rs.Rule("nosuch")
	assert.False(t, ok)
}
