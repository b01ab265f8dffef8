package condition_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/condition"
)

func TestEveryVersionHasItsLanguage(t *testing.T) {
	t.Parallel()
	for _, v := range falco.Versions() {
		l := condition.For(v)
		assert.Equal(t, v, l.Version())
		assert.Greater(t, len(l.Fields()), 200, v.Number)
		assert.True(t, l.KnownEventType("openat"), v.Number)
		assert.Positive(t, l.AllEventTypes().Len(), v.Number)
		assert.True(t, l.MatchesAll(l.AllEventTypes()), v.Number)
		patch, err := falco.Lookup(v.Minor() + ".99")
		require.NoError(t, err)
		assert.Same(t, l, condition.For(patch), "releases of a minor share their language")
	}
	assert.Same(t, condition.For(falco.Newest()), condition.For(falco.Version{}))
	assert.Panics(t, func() { condition.For(falco.Version{Number: "0.1.0"}) })
}

func check(l *condition.Language, text string) error {
	e, err := l.Parse(text)
	if err != nil {
		return err
	}
	if _, err = l.Check(e); err != nil {
		return err
	}
	_, err = l.NeededEventTypes(e)
	return err
}

func TestWhatAVersionHasAndOthersLack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, condition string
		// since is the first version that accepts the condition, until the first
		// that does not any more; empty for none.
		since, until string
		// hint is what the others say.
		hint string
	}{
		{name: "anyof after startswith", condition: "proc.name startswith anyof (a, b)", since: "0.44", hint: "'anyof' needs Falco 0.44 or newer"},
		{name: "oneof after an equals sign", condition: "proc.name = oneof (a, b)", since: "0.44", hint: "'oneof' needs Falco 0.44 or newer"},
		{name: "allof before the name of a list", condition: "not proc.name contains allof names", since: "0.44", hint: "'allof' needs Falco 0.44 or newer"},
		{name: "anyof as a value", condition: "proc.name = anyof"},
		{name: "join on the left", condition: `join(",", (proc.name, "x")) = a`, since: "0.44", hint: "'join(' needs Falco 0.44 or newer"},
		{name: "concat on the right", condition: `proc.name = concat(proc.pname, "x")`, since: "0.44", hint: "'concat(' needs Falco 0.44 or newer"},
		{name: "getopt with a selector", condition: `getopt((proc.args[0]), "ab:")[b] = x`, since: "0.44", hint: "'getopt(' needs Falco 0.44 or newer"},
		{name: "the arguments of ancestors", condition: "proc.aargs contains x", since: "0.41", hint: "'proc.aargs' needs Falco 0.41 or newer"},
		{name: "one argument of a process", condition: "proc.args[0] = x", since: "0.41", hint: "'proc.args[0]' needs Falco 0.41 or newer"},
		{name: "a label of a container", condition: "container.label[x] = y", since: "0.41", hint: "'container.label[x]' needs Falco 0.41 or newer"},
		{name: "a label of a pod in brackets", condition: "k8s.pod.label[app] = y"},
		{
			name: "a label of a pod behind a dot", condition: "k8s.pod.label.app = y", until: "0.41",
			hint: "'k8s.pod.label.app' was removed in Falco 0.41; use k8s.pod.label[app]",
		},
		{name: "syslog", condition: "syslog.severity = 3", until: "0.41", hint: "'syslog.severity' was removed in Falco 0.41"},
		{name: "mesos", condition: "mesos.task.name = a", until: "0.42", hint: "'mesos.task.name' was removed in Falco 0.42"},
		{name: "span", condition: "span.id = 1", until: "0.42", hint: "'span.id' was removed in Falco 0.42"},
		{name: "evtin", condition: "evtin.span.id = 1", until: "0.42", hint: "'evtin.span.id' was removed in Falco 0.42"},
		{name: "an invalid expression", condition: "fd.name regex '['", until: "0.44"},
		{name: "the type of a system call transformed", condition: "tolower(syscall.type) = open", until: "0.41"},
		{name: "an event of the container plugin", condition: "evt.type = container_removed", since: "0.41", hint: "'container_removed' needs Falco 0.41 or newer"},
		{name: "enter events", condition: "evt.dir = >"},
		{name: "a pid as a constant", condition: "evt.rawarg.pid = 1", since: "0.42"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, v := range falco.Versions() {
				err := check(condition.For(v), tt.condition)
				if v.AtLeast(tt.since) && (tt.until == "" || !v.AtLeast(tt.until)) {
					require.NoError(t, err, v.Number)
					continue
				}
				var ce *condition.Error
				if assert.ErrorAs(t, err, &ce, v.Number) && tt.hint != "" {
					assert.Equal(t, tt.hint, ce.Hint, v.Number)
				}
			}
		})
	}
}

func TestListModifiersAndTransformersOfSeveralArgumentsAreEvaluated(t *testing.T) {
	t.Parallel()
	ev, err := condition.ParseEvent([]byte(`{"evt.type":"execve","proc.name":"bash","proc.pname":"sshd","proc.pid":7,"fd.num":5,` +
		`"fd.sip":"10.1.2.3","proc.args":"-nt value","proc.args[0]":"-nt","proc.args[1]":"value","proc.args[2]":"rest","proc.aname[2]":"init"}`))
	require.NoError(t, err)
	l := condition.For(falco.Newest())
	for _, tt := range []struct {
		condition string
		want      bool
	}{
		{"proc.name startswith anyof (ba, zz)", true},
		{"proc.name startswith anyof (aa, zz)", false},
		{"proc.name contains allof (ba, sh)", true},
		{"proc.name contains allof (ba, zz)", false},
		{"proc.name contains oneof (ba, sh)", false},
		{"proc.name contains oneof (ba, zz)", true},
		{"proc.name = anyof (zsh, bash)", true},
		{"proc.name != allof (zsh, bash)", false},
		{"proc.name != anyof (zsh, bash)", true},
		{"proc.name regex anyof ('b.*', 'z.*')", true},
		{"proc.name glob anyof ('z*', '?ash')", true},
		{"proc.name = anyof ()", false},
		{"fd.num = anyof (4, 5)", true},
		{"fd.sip = anyof (10.1.2.4, 10.1.2.3)", true},
		{"fd.snet = anyof (192.168.0.0/16, 10.0.0.0/8)", true},
		{`join("-", (proc.name, proc.pname)) = bash-sshd`, true},
		{`join("-", (proc.name, "x", 5)) = bash-x-5`, true},
		{`join(",", (proc.pid, fd.num)) = "7,5"`, true},
		{`join("-", (proc.name, fd.name)) exists`, false},
		{`join("-", ()) = ""`, true},
		{`concat(proc.name, "!", proc.pname) = bash!sshd`, true},
		{`proc.name = concat("ba", "sh")`, true},
		{`toupper(concat(proc.name, "x")) = BASHX`, true},
		{`len((proc.name, proc.pname)) = 2`, true},
		{`len("abc") = 3`, true},
		{`getopt((proc.args[0], proc.args[1], proc.args[2]), "nt:")[t] = value`, true},
		{`getopt((proc.args[0], proc.args[1]), "nt:")[n] = n`, true},
		{`getopt((proc.args[0], proc.args[1]), "nt:")[x] exists`, false},
		{`getopt((proc.args[0], proc.args[1]), "nt:") intersects (value)`, true},
		{`getopt((proc.args[0]), "n") in (n, "?")`, true},
		{`proc.aname = anyof (x, init)`, false}, // only the first counts where all ancestors are compared
		{`proc.aname = anyof (init, x)`, true},
	} {
		t.Run(tt.condition, func(t *testing.T) {
			t.Parallel()
			got, err := l.Match(tt.condition, ev)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestOutputsOfNewFalcoAreReadOnShorterAndShorterTexts(t *testing.T) {
	t.Parallel()
	l := condition.For(falco.Newest())
	ev, err := condition.ParseEvent([]byte(`{"proc.name":"bash","proc.pname":"sshd","proc.aname[2]":"init"}`))
	require.NoError(t, err)
	for _, tt := range []struct {
		text   string
		length int
		shown  string
	}{
		{"proc.name and more", 9, "bash"},
		{"proc.namex", 9, "bash"},
		{"proc.pname)", 10, "sshd"},
		{`concat(proc.name, "-x")y`, 23, "bash-x"},
		{"tolower(proc.name)[x]", 18, "bash"},
		{"proc.aname", 10, "sshd init"},
		{"proc.aname[2]]", 13, "init"},
		{"fd.ip", 5, ""},
		{"proc.nam", 0, ""},
		{"tolower(proc.name", 0, ""},
		{"k8s.pod.label.app", 0, ""},
		{" proc.name", 0, ""},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			f, ok, err := l.OutputField(tt.text)
			require.True(t, ok)
			if tt.length == 0 {
				require.EqualError(t, err, "unknown filter: unexpected token after '")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.length, f.Length)
			shown, _ := f.Shown().Text(ev)
			assert.Equal(t, tt.shown, shown)
		})
	}
	_, ok, err := condition.For(falco.Versions()[0]).OutputField("proc.name")
	require.NoError(t, err)
	assert.False(t, ok, "older versions look fields up in another way")
}
