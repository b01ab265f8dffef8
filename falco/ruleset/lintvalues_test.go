package ruleset_test

import (
	"strings"
	"testing"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestValuesThatAFieldNeverHas(t *testing.T) {
	t.Parallel()
	exec := func(check string) string { return rule("R", "evt.type in (execve, execveat) and "+check) }
	opens := func(check string) string {
		return rule("R", "evt.type in (open, openat, openat2) and "+check)
	}
	printing := func(output string) string {
		return strings.Replace(exec("proc.name = sh"), "o %proc.name", output, 1)
	}
	for _, c := range []struct {
		name, falco, rules string
		want               []ruleset.FindingCode
		says               string
	}{
		{"a field of deployments", "0.44.1", exec("k8s.deployment.name = till"), codes(ruleset.LintDeadField), "the rule never fires: k8s.deployment.name"},
		{"a label of a namespace", "0.44.1", exec("k8s.ns.label[team] = a"), codes(ruleset.LintDeadField), "the rule never fires"},
		{"a dead field that is asked for alone", "0.40.0", exec("k8s.svc.name exists"), codes(ruleset.LintDeadField), "the rule never fires"},
		{"a dead field beside another", "0.40.0", exec("(k8s.rs.name = a or k8s.pod.name = b)"), codes(ruleset.LintDeadField), "the check is never true"},
		{"a dead field that is excluded", "0.40.0", exec("not k8s.rc.name = a"), codes(ruleset.LintDeadField), "the check is never true"},
		{"a field of Mesos", "0.40.0", exec("mesos.task.name = a"), codes(ruleset.LintDeadField), "mesos.task.name"},
		{"the fields of pods", "0.44.1", exec("k8s.pod.name = a and k8s.ns.name = b and k8s.pod.label[app] = c"), nil, ""},
		{"a health check up to 0.43", "0.43.1", exec("proc.is_container_healthcheck = true"), nil, ""},
		{"a health check from 0.44 on", "0.44.1", exec("proc.is_container_healthcheck = true"), codes(ruleset.LintDeadField), "never fires"},
		{"an output with a dead field", "0.44.1", printing("at %k8s.deployment.name %k8s.pod.name"), codes(ruleset.LintDeadOutput), "always prints <NA>"},
		{"an output with a dead field at its end", "0.44.1", printing("in %k8s.svc.name."), codes(ruleset.LintDeadOutput), "%k8s.svc.name"},
		{"an output of ancestors", "0.40.0", printing("at %proc.aname up"), codes(ruleset.LintOutputIndex), "%proc.aname"},
		{"an output of ancestors at its end", "0.43.1", printing("up %proc.acmdline"), codes(ruleset.LintOutputIndex), "%proc.acmdline"},
		{"an output of ancestors from 0.44 on", "0.44.1", printing("at %proc.aname up"), codes(ruleset.LintOutputIndex), "up to Falco 0.43 none"},
		{"an output of one ancestor", "0.40.0", printing("at %proc.aname[2] %proc.pname %proc.env"), nil, ""},
		{"a process name of 16 characters", "0.44.1", exec("proc.name = abcdefghijklmnop"), codes(ruleset.LintNameTooLong), "the rule never fires"},
		{"a process name of 15 characters", "0.44.1", exec("proc.name = abcdefghijklmno"), nil, ""},
		{"one of two names", "0.44.1", exec("proc.name in (blockstore-supervisor, sh)"), codes(ruleset.LintNameTooLong), `write "blockstore-supe"`},
		{"a long name within a list", "0.44.1", "- list: names\n  items: [sh, blockstore-supervisor]\n" + exec("proc.name in (names)"), codes(ruleset.LintNameTooLong), "has 21"},
		{"a long name of a parent, in small letters", "0.44.1", exec("tolower(proc.pname) = blockstore-supervisor"), codes(ruleset.LintNameTooLong), "proc.pname"},
		{"a long name of an ancestor", "0.44.1", exec("proc.aname[2] = blockstore-supervisor"), codes(ruleset.LintNameTooLong), "proc.aname"},
		{"a long name of the session's leader", "0.44.1", exec("proc.sname startswith blockstore-supervisor"), codes(ruleset.LintNameTooLong), "proc.sname"},
		{"a long part of a name", "0.44.1", exec("proc.name contains blockstore-supervisor"), codes(ruleset.LintNameTooLong), ""},
		{"a long pattern", "0.44.1", exec("proc.name glob '*blockstore-supervisor*'"), codes(ruleset.LintNameTooLong), ""},
		{"a pattern that is long by its wildcards", "0.44.1", exec("proc.name glob '*blockstore*heal*'"), nil, ""},
		{"a long name that is unequal", "0.44.1", exec("proc.exepath = /x and proc.name != blockstore-supervisor"), codes(ruleset.LintRenamable, ruleset.LintNameTooLong), "the check is always true"},
		{"a long path of a program", "0.44.1", exec("proc.exepath = /usr/bin/blockstore-supervisor"), nil, ""},
		{"a path for a name", "0.44.1", exec("proc.name = /usr/bin/java"), codes(ruleset.LintNameWithPath), `write "java"`},
		{"a path for the end of a name", "0.44.1", exec("proc.name endswith /java"), codes(ruleset.LintNameWithPath), ""},
		{"names with a slash that there are", "0.44.1", exec("proc.name in ('kworker/0:1', 'kworker/u8:2-events_unbound', 'ksoftirqd/0', 'runc:[2:INIT]', '/usr/sbin/spamd', 'N/A')"), nil, ""},
		{"a number for evt.res", "0.44.1", exec("evt.res = 0"), codes(ruleset.LintResult), "evt.res = SUCCESS"},
		{"a negative number for evt.res", "0.44.1", exec("evt.res in (-2, ENOENT)"), codes(ruleset.LintResult), "evt.rawres"},
		{"a number that has no name", "0.44.1", exec("evt.res = -126"), nil, ""},
		{"an unknown error", "0.44.1", exec("evt.res = EACCESS"), codes(ruleset.LintResult), "did you mean EACCES?"},
		{"an error by another name", "0.44.1", exec("evt.res = EWOULDBLOCK"), codes(ruleset.LintResult), "Falco calls it EAGAIN"},
		{"a result in small letters", "0.44.1", exec("evt.res = success"), codes(ruleset.LintResult), "did you mean SUCCESS?"},
		{"results", "0.44.1", exec("evt.res in (SUCCESS, ENOENT) and evt.res startswith E and evt.rawres = 0"), nil, ""},
		{"a start that no result has", "0.44.1", exec("evt.res startswith -"), nil, ""},
		{"capitals behind tolower", "0.44.1", opens("tolower(fd.name) = /etc/Passwd"), codes(ruleset.LintFoldedCase), `write "/etc/passwd"`},
		{"small letters behind toupper", "0.44.1", opens("toupper(fd.name) startswith /ETC/p"), codes(ruleset.LintFoldedCase), `write "/ETC/P"`},
		{"capitals in a list", "0.44.1", "- list: l\n  items: [/a, /B]\n" + opens("tolower(fd.name) in (l)"), codes(ruleset.LintFoldedCase), ""},
		{"capitals in a part without case", "0.44.1", opens("tolower(fd.name) icontains Passwd"), nil, ""},
		{"small letters behind tolower", "0.44.1", opens("tolower(fd.name) = /etc/passwd and toupper(fd.filename) contains A1-"), nil, ""},
		{"typographic quotes", "0.44.1", opens("fd.name = “/etc/passwd”"), codes(ruleset.LintTypographic), `"/etc/passwd"`},
		{"typographic quotes of German", "0.44.1", opens("fd.name in („/etc/passwd“, /x)"), codes(ruleset.LintTypographic), ""},
		{"typographic quotes within a text", "0.44.1", opens("fd.name contains 'a“b”c'"), nil, ""},
		{"an apostrophe", "0.44.1", opens("fd.name endswith ’s"), nil, ""},
		{"a directory with a slash at its end", "0.44.1", opens("fd.directory = /var/spool/"), codes(ruleset.LintSlash), `write "/var/spool"`},
		{"directories", "0.44.1", opens("fd.directory in (/, /etc) and fd.directory startswith /etc/ and fd.directory contains /x/"), nil, ""},
		{"a path with a slash at its end", "0.44.1", rule("R", "evt.type in (mkdir, mkdirat) and fs.path.name = /etc/x/"), codes(ruleset.LintSlash), ""},
		{"a file name with a directory", "0.44.1", opens("fd.filename = etc/passwd"), codes(ruleset.LintSlash), "use fd.name"},
		{"a base name with a directory", "0.44.1", opens("basename(fd.name) = /passwd"), codes(ruleset.LintSlash), ""},
		{"open alone", "0.44.1", rule("R", "evt.type = open and fd.name = /x"), codes(ruleset.LintOldCall), "openat or openat2"},
		{"open without those that it is negated for", "0.44.1", rule("R", "evt.type = open and not evt.type = openat"), codes(ruleset.LintOldCall), ""},
		{"openat alone", "0.44.1", rule("R", "evt.type = openat and fd.name = /x"), nil, ""},
		{"open and openat2", "0.44.1", rule("R", "evt.type in (open, openat2) and fd.name = /x"), codes(ruleset.LintOldCall), "not for openat"},
		{"open excluded", "0.44.1", rule("R", "evt.type in (open, openat, unlink) and not evt.type in (open, unlink)"), nil, ""},
		{"unlink alone", "0.44.1", rule("R", "evt.type = unlink and evt.arg.path = /x"), codes(ruleset.LintOldCall), "unlinkat"},
		{"all that open", "0.44.1", opens("fd.name = /x"), nil, ""},
		{"two names at once", "0.44.1", exec("proc.name = a and proc.name = b"), codes(ruleset.LintContradiction), `cannot be "b" and also "a"`},
		{"two lists without a name in common", "0.44.1", exec("proc.name in (a, b) and proc.name in (c, d)"), codes(ruleset.LintContradiction), ""},
		{"two lists with a name in common", "0.44.1", exec("proc.name in (a, b) and proc.name in (b, c)"), nil, ""},
		{"two ancestors", "0.44.1", exec("proc.aname = a and proc.aname = b and proc.pname = c and proc.name = d"), nil, ""},
		{"two alternatives", "0.44.1", exec("(proc.name = a or proc.name = b)"), nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := falco.Lookup(c.falco)
			require.NoError(t, err)
			rs, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(c.rules)}}, ruleset.Options{Falco: v})
			require.NoError(t, report.Err())
			var got []ruleset.FindingCode
			said := ""
			for _, f := range ruleset.Lint(rs, ruleset.LintOptions{}) {
				got = append(got, f.Code)
				said += f.String() + "\n"
			}
			assert.Equal(t, c.want, got, said)
			assert.Contains(t, said, c.says)
		})
	}
}
