package ruleset_test

import (
	"testing"

	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func rule(name, condition string) string {
	return "- rule: " + name + "\n  desc: d\n  condition: >\n    " + condition + "\n  output: o %proc.name\n  priority: NOTICE\n"
}

func load(t testing.TB, content string) *ruleset.Ruleset {
	t.Helper()
	rs, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(content)}}, falco040)
	require.NoError(t, report.Err())
	return rs
}

func TestLint(t *testing.T) {
	t.Parallel()
	open := rule("Opens", "evt.type in (open, openat, openat2) and fd.name startswith /etc")
	for _, c := range []struct {
		name, rules string
		want        []ruleset.FindingCode
	}{
		{"a rule on read never fires live", rule("R", "evt.type=read and fd.name=/etc/shadow"), codes(ruleset.LintUncaptured)},
		{"a rule on open fires", open, nil},
		{"calls left out beside captured ones are told of", rule("R", "evt.type in (connect, write) and fd.sport=53"), codes(ruleset.LintUncaptured)},
		{"a macro hides the call", "- macro: m\n  condition: evt.type in (readv)\n" + rule("R", "m and fd.sport=53"), codes(ruleset.LintUncaptured)},
		{"the calls that Falco needs to know a socket's ends are captured", rule("R", "evt.type in (sendto, sendmsg, sendmmsg, recvfrom, recvmsg, recvmmsg) and fd.sport=53"), nil},
		{"a negated type needs no call", rule("R", "evt.type=open and not evt.type=read"), nil},
		{"fd.name on unlink", rule("R", "evt.type in (unlink, unlinkat) and fd.name endswith .crt"), codes(ruleset.LintNoDescriptor)},
		{"fd.name on some events only", rule("R", "evt.type in (open, rename) and fd.name endswith .crt"), codes(ruleset.LintNoDescriptor)},
		{"fd.name or another field on unlink", rule("R", "evt.type=unlink and (fd.name=/x or evt.arg.path=/x)"), nil},
		{"a negated fd.name can be true on unlink", rule("R", "evt.type=unlink and not fd.name=/x"), nil},
		{"fd.name = on a connected Unix socket", rule("R", "evt.type=connect and fd.name=/run/api.sock"), codes(ruleset.LintUnixSocketName)},
		{"fd.name in on a connected Unix socket", rule("R", "evt.type=connect and fd.name in (/run/a, /run/b)"), codes(ruleset.LintUnixSocketName)},
		{"fd.name endswith on a connected Unix socket", rule("R", "evt.type=connect and fd.name endswith /run/api.sock"), nil},
		{"enter events", rule("R", "evt.type=connect and evt.dir=> and fd.sport=53"), codes(ruleset.LintEnterEvent)},
		{"no enter events", rule("R", "evt.type=connect and not evt.dir=<"), codes(ruleset.LintEnterEvent)},
		{"exit events", rule("R", "evt.type=connect and evt.dir=< and fd.sport=53"), nil},
		{"the same condition twice", open + rule("Second", "evt.type in (open, openat, openat2) and fd.name startswith /etc and proc.name=cat"), codes(ruleset.LintShadowed)},
		{"a narrower list comes after", open + rule("Second", "evt.type=openat and fd.name startswith /etc/ssl"), codes(ruleset.LintShadowed)},
		{"a narrower rule comes before", rule("First", "evt.type=openat and fd.name startswith /etc/ssl") + open, nil},
		{"another file is not shadowed", open + rule("Second", "evt.type=openat and fd.name startswith /var"), nil},
		{"a disabled rule shadows nothing", open + "  enabled: false\n" + rule("Second", "evt.type=openat and fd.name startswith /etc/ssl"), nil},
		{"a key that is misspelt", open + "  tag: [a]\n", codes(ruleset.LintKeyIgnored)},
		{"a key that is there twice", open + "  priority: INFO\n", codes(ruleset.LintKeyIgnored)},
		{"a key of a rule in a macro", "- macro: m\n  condition: evt.type=open\n  output: x\n" + rule("R", "m and fd.name=/x"), codes(ruleset.LintKeyIgnored)},
		{"a key of a rule in a list", "- list: l\n  items: [/x]\n  condition: x\n" + rule("R", "evt.type=open and fd.name in (l)"), codes(ruleset.LintKeyIgnored)},
		{"a key of an exception that is misspelt", open + "  exceptions:\n    - name: e\n      fields: [fd.name]\n      value: [[/x]]\n", codes(ruleset.LintKeyIgnored)},
		{"an appended rule takes no tags", open + "- rule: Opens\n  append: true\n  condition: and fd.num>0\n  tags: [a]\n", codes(ruleset.LintKeyIgnored)},
		{
			"every key that Falco reads", open + "  enabled: true\n  source: syscall\n  tags: [a]\n  warn_evttypes: true\n  skip-if-unknown-filter: true\n  exceptions: []\n" +
				"- rule: Opens\n  tags: [b]\n  override: {tags: append}\n", nil,
		},
		{"an allow-list of names", rule("R", "evt.type=execve and not proc.name in (a, b)"), codes(ruleset.LintRenamable)},
		{"a name that is unequal", rule("R", "evt.type=execve and proc.name != a"), codes(ruleset.LintRenamable)},
		{"a name inside a transformer", rule("R", "evt.type=execve and not tolower(proc.name) = a"), codes(ruleset.LintRenamable)},
		{"an allow-list of paths", rule("R", "evt.type=execve and not proc.exepath in (/bin/a, /bin/b)"), nil},
		{"a name held by a path", rule("R", "evt.type=execve and not (proc.name=a and proc.exepath=/bin/a)"), nil},
		{"a name asked for", rule("R", "evt.type=execve and proc.name in (nc, socat)"), nil},
		{"an exception by name", rule("R", "evt.type=execve and user.uid=0") + "  exceptions:\n  - name: e\n    fields: [proc.name]\n    values: [[a]]\n", codes(ruleset.LintRenamable)},
		{"a broken regex", rule("R", `evt.type=open and fd.name regex "[a"`), codes(ruleset.LintBrokenRegex)},
		{"a regex that only Perl knows", rule("R", `evt.type=open and fd.name regex "/proc/\\d+"`), codes(ruleset.LintBrokenRegex)},
		{"fd.ip with a list", rule("R", "evt.type=connect and fd.ip in (10.0.0.1)"), codes(ruleset.LintListIgnored)},
		{"fd.net with two networks", rule("R", "evt.type=connect and fd.net in (10.0.0.0/8, 192.168.0.0/16)"), codes(ruleset.LintListIgnored)},
		{"fd.snet with two networks", rule("R", "evt.type=connect and fd.snet in (10.0.0.0/8, 192.168.0.0/16)"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			findings := ruleset.Lint(load(t, c.rules), ruleset.LintOptions{Disable: withoutOldCalls})
			var got []ruleset.FindingCode
			for _, f := range findings {
				got = append(got, f.Code)
				assert.NotZero(t, f.Line, f.String())
				assert.NotEmpty(t, f.Code.Describe())
			}
			assert.Equal(t, c.want, got, "%v", findings)
			assert.Empty(t, ruleset.Lint(load(t, c.rules), ruleset.LintOptions{Disable: ruleset.LintCodes()}), "every finding can be switched off")
		})
	}
}

// withoutOldCalls leaves out the finding about open alone: the rules of the tests are short.
var withoutOldCalls = codes(ruleset.LintOldCall)

func codes(list ...ruleset.FindingCode) []ruleset.FindingCode { return list }

func TestNoRuleIsShadowedWhenAllFire(t *testing.T) {
	t.Parallel()
	rs := load(t, rule("A", "evt.type=open and proc.name=a")+rule("B", "evt.type=open and proc.name=a and fd.name=/x"))
	assert.Empty(t, ruleset.Lint(rs, ruleset.LintOptions{Matching: ruleset.All, Disable: withoutOldCalls}))
	assert.Len(t, ruleset.Lint(rs, ruleset.LintOptions{Matching: ruleset.First, Disable: withoutOldCalls}), 1)
}

func TestLintNamesTheKeyThatFalcoPassesOverAndWhatWasProbablyMeant(t *testing.T) {
	t.Parallel()
	got := ruleset.Lint(load(t, "- list: names\n  item: [z]\n  items: [a]\n"+rule("R", "evt.type=open and proc.name in (names)")), ruleset.LintOptions{Disable: withoutOldCalls})
	require.Len(t, got, 1)
	assert.Equal(t, `r.yaml:2:3: ignored-key: list "names": the key "item" means nothing to Falco, which ignores it (did you mean items?)`, got[0].String())
}
