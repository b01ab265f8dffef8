package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/cmd/internal/cli"
	"spire-falco/cmd/internal/rulecmd"
	"spire-falco/falco/ruletest"
)

const (
	macro = "- macro: m\n  condition: proc.name=cat\n"
	rule  = "- rule: r\n  desc: d\n  condition: evt.type=open and m\n  output: o %proc.name\n  priority: INFO\n"
	test  = "cases: []\n" // no rule file: a check that read it would fail
)

func run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := newRootCommand()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

func TestNeitherPulumiNorKubernetesIsImported(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "spire-falco/cmd/falcorules").Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, "spire-falco/cmd/falcorules")
	for _, dep := range deps {
		for _, heavy := range []string{"github.com/pulumi/", "k8s.io/", "google.golang.org/", "net/http", "spire-falco/config"} {
			assert.False(t, strings.HasPrefix(dep, heavy), "falcorules imports %s", dep)
		}
	}
}

func TestCheckTakesFoldersGlobsAndStandardInput(t *testing.T) {
	t.Parallel()
	ordered := folder(t, map[string]string{"a.yaml": macro, "b.yml": rule, "b_test.yaml": test, "notes.txt": "no rules", "sub/c.yaml": "- no: rule\n"})
	reversed := folder(t, map[string]string{"a.yaml": rule, "b.yaml": macro})
	empty := folder(t, map[string]string{"b_test.yaml": test})
	// With two files Falco warns of the macro that only the second one uses.
	for name, tt := range map[string]struct {
		args  []string
		stdin string
		code  int // 0: would load; 1: would refuse; 2: no verdict
		want  string
	}{
		"a folder, by name, without tests and subfolders":         {[]string{ordered}, "", 0, "0 errors, 1 warnings, 1 lint findings"},
		"a folder whose names are in the wrong order":             {[]string{reversed}, "", 1, "Undefined macro 'm'"},
		"a glob that no shell has expanded":                       {[]string{filepath.Join(ordered, "*.y*ml")}, "", 0, "0 errors, 1 warnings, 1 lint findings"},
		"standard input":                                          {[]string{"-"}, macro + rule, 0, "0 errors, 0 warnings"},
		"a fault of standard input has its place":                 {[]string{"-"}, rule, 1, "<stdin>:3:"},
		"a file, and what follows it from standard input":         {[]string{filepath.Join(ordered, "a.yaml"), "-"}, rule, 0, "0 errors, 1 warnings, 1 lint findings"},
		"standard input twice":                                    {[]string{"-", "-"}, rule, 2, "- is given twice"},
		"a folder without rules":                                  {[]string{empty}, "", 2, "has no rule file"},
		"a glob that matches nothing":                             {[]string{filepath.Join(empty, "*.yml")}, "", 2, "no rule file matches the glob"},
		"a malformed glob":                                        {[]string{filepath.Join(empty, "[")}, "", 2, "syntax error in pattern"},
		"a file that is not there":                                {[]string{"nowhere.yaml"}, "", 2, "nowhere.yaml"},
		"another Falco":                                           {[]string{"-", "--falco", "0.40.0"}, macro + rule, 0, "Falco 0.40.0 (chosen by --falco) would load them"},
		"an unknown Falco lists those known":                      {[]string{"-", "--falco", "0.12.0"}, rule, 2, "known: 0.40.0"},
		"stock macros, behind the rules that Falco's image loads": {[]string{"-", "--stock"}, strings.Replace(rule, "and m", "and container", 1), 0, "0 errors"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, tt.stdin, append([]string{"check"}, tt.args...)...)
			switch tt.code {
			case 0:
				require.NoError(t, err, out)
			case 1:
				var code cli.ExitCode
				require.ErrorAs(t, err, &code)
				assert.Equal(t, cli.ExitCode(1), code)
			default:
				var code cli.ExitCode
				require.Error(t, err)
				require.NotErrorAs(t, err, &code, "no verdict is not a bad verdict")
				out += err.Error()
			}
			assert.Contains(t, out, tt.want)
		})
	}
}

func TestEvalAndExplainTakeNamedRules(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.yaml": macro, "b.yaml": rule})
	out, err := run(t, `{"evt.type":"open","proc.name":"cat"}`+"\n", "eval", "-", "--rules", dir)
	require.NoError(t, err)
	assert.Contains(t, out, `"rule":"r"`)
	out, err = run(t, "", "explain", "r", "--rules", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "evt.type = open")
	assert.NotContains(t, out, "settings", "no settings feed these rules")
	for _, args := range [][]string{{"eval", "-"}, {"explain", "r"}} {
		_, err = run(t, "", args...)
		require.ErrorContains(t, err, "--rules FILE", args)
	}
}

func TestVersionNamesTheFalcosThatAreKnown(t *testing.T) {
	t.Parallel()
	out, err := run(t, "", "--version")
	require.NoError(t, err)
	assert.Regexp(t, `^falcorules version \S+, for Falco 0\.40\.0 to 0\.44\.\d+\n$`, out)
}

const (
	testedRules = "- rule: A shell\n  desc: d\n  condition: evt.type = execve and proc.name in (sh, bash)\n  output: o %proc.name\n  priority: INFO\n"
	shellCase   = "  - {name: a shell, event: {evt.type: execve, proc.name: sh}, fires: [A shell]}\n"
	silentCase  = "  - {name: a server, like: a shell, set: {proc.name: nginx}, fires: []}\n"
	wrongCase   = "  - {name: wrong, like: a shell, fires: []}\n"
	brokenCase  = "  - {name: broken, event: {evt.tpe: execve}, fires: []}\n"
)

// tests is a folder with rules, and with test files of the given cases.
func tests(t *testing.T, files map[string]string) string {
	t.Helper()
	all := map[string]string{"a.yaml": testedRules, "sub/b.yaml": testedRules}
	for name, cases := range files {
		all[name] = "cases:\n" + cases
	}
	return folder(t, all)
}

func TestTestTellsPassedFailedAndBrokenApart(t *testing.T) {
	t.Parallel()
	dir := tests(t, map[string]string{
		"a_test.yaml": shellCase + silentCase, "sub/b_test.yaml": shellCase, ".git/c_test.yaml": brokenCase,
		"failed_test.yaml": shellCase + wrongCase, "broken_test.yaml": shellCase + wrongCase + brokenCase,
	})
	for _, name := range []string{"failed", "broken"} {
		path := filepath.Join(dir, name+"_test.yaml")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, append([]byte("rules: [a.yaml]\n"), text...), 0o600))
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, tt := range map[string]struct {
		args []string
		code cli.ExitCode
		want []string
	}{
		"a file":                           {[]string{at("a_test.yaml")}, 0, []string{"a_test.yaml: 2 cases, as Falco ", "2 passed, 0 failed, 0 broken"}},
		"a folder and those below it":      {[]string{at("sub"), at("a_test.yaml"), at("a_test.yaml")}, 0, []string{"3 passed"}},
		"a case that fails":                {[]string{at("failed_test.yaml")}, 1, []string{"FAIL    ", "failed_test.yaml:4: wrong", "unexpected: rule \"A shell\" fired for event 1 (Informational): o sh\n"}},
		"a diff":                           {[]string{"--diff", at("failed_test.yaml")}, 1, []string{"+- rule: A shell"}},
		"a case that is broken":            {[]string{dir}, 2, []string{"BROKEN  ", "has no field \"evt.tpe\" (did you mean evt.type", "5 passed, 2 failed, 1 broken"}},
		"only the cases of a name":         {[]string{"--run", "^a sh", "-v", dir}, 0, []string{"ok      ", ": a shell\n", "4 passed, 0 failed, 0 broken"}},
		"another Falco than the files say": {[]string{"--falco", "0.40.0", at("a_test.yaml")}, 0, []string{"as Falco 0.40.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, "", append([]string{"test"}, tt.args...)...)
			if tt.code == 0 {
				require.NoError(t, err, out)
			} else {
				var code cli.ExitCode
				require.ErrorAs(t, err, &code, out)
				assert.Equal(t, tt.code, code)
			}
			for _, want := range tt.want {
				assert.Contains(t, out, want)
			}
		})
	}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no case of that name":        {[]string{"--run", "nothing", dir}, "no case has such a name"},
		"a pattern that is malformed": {[]string{"--run", "(", dir}, "--run = \"(\""},
		"a folder without tests":      {[]string{t.TempDir()}, "has no test file: their names end in _test.yaml"},
		"a file that is not there":    {[]string{at("none_test.yaml")}, "none_test.yaml: no such file"},
		"an unknown Falco":            {[]string{"--falco", "1.2.3", dir}, "known: 0.40.0"},
		"nothing named":               {nil, "requires at least 1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, "", append([]string{"test"}, tt.args...)...)
			var code cli.ExitCode
			require.Error(t, err)
			require.NotErrorAs(t, err, &code)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestTestMeasuresTheCases(t *testing.T) {
	t.Parallel()
	one := tests(t, map[string]string{"a_test.yaml": shellCase})
	silent := tests(t, map[string]string{"a_test.yaml": "  - {name: n, event: {evt.type: open}, fires: []}\n"})
	all := tests(t, map[string]string{
		"a_test.yaml": shellCase + silentCase + "  - {name: another call, like: a shell, set: {evt.type: open}, fires: []}\n" +
			"  - {name: bash, like: a shell, set: {proc.name: bash}, fires: [A shell]}\n",
	})
	for name, tt := range map[string]struct {
		dir    string
		args   []string
		failed bool
		want   string
	}{
		"coverage":                         {one, []string{"--coverage"}, false, "1 of 1 rules fired; 2 of 2 clauses decided a case (100.0 %)"},
		"a threshold that is reached":      {one, []string{"--coverage-threshold", "100"}, false, "coverage: "},
		"survivors alone are no failure":   {one, []string{"--mutate"}, false, "a.yaml:3:14: rule \"A shell\": unnoticed: without evt.type = execve"},
		"a threshold that is not reached":  {one, []string{"--mutate-threshold", "80"}, true, "3 of 6 changes (50.0 %), less than 80 %"},
		"cases that notice every change":   {all, []string{"--mutate-threshold", "100"}, false, "notice 6 of 6 changes (100.0 %)\n"},
		"a rule that never fired is named": {silent, []string{"--coverage"}, false, "a.yaml:1:3: rule \"A shell\" never fired\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, "", append([]string{"test", tt.dir}, tt.args...)...)
			if tt.failed {
				require.ErrorIs(t, err, cli.ExitCode(1))
			} else {
				require.NoError(t, err, out)
			}
			assert.Contains(t, out, tt.want)
		})
	}
	_, err := run(t, "", "test", one, "--coverage-threshold", "101")
	require.ErrorContains(t, err, "--coverage-threshold = 101: it must be a percentage from 0 to 100")
}

func TestTestWritesJSONAndJUnit(t *testing.T) {
	t.Parallel()
	dir := tests(t, map[string]string{"a_test.yaml": shellCase + wrongCase + brokenCase})
	junit := filepath.Join(dir, "junit.xml")
	out, err := run(t, "", "test", "--json", "--junit", junit, dir)
	require.Error(t, err)
	var got rulecmd.TestResult
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, 1, got.Version)
	assert.Equal(t, []int{1, 1, 1}, []int{got.Passed, got.Failed, got.Broken})
	require.Len(t, got.Files, 1)
	assert.Equal(t, ruletest.Failed, got.Files[0].Cases[1].Outcome)
	assert.Equal(t, 3, got.Files[0].Cases[1].Line)
	content, err := os.ReadFile(junit)
	require.NoError(t, err)
	assert.Contains(t, string(content), `tests="3" failures="1" errors="1"`)
}

func TestTestInitAndFromAlertsWriteATestThatPasses(t *testing.T) {
	t.Parallel()
	dir := tests(t, nil)
	rules, written := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "a_test.yaml")
	out, err := run(t, "", "test", "--init", rules)
	require.NoError(t, err)
	assert.Contains(t, out, "a_test.yaml: 2 cases, all pass")
	out, err = run(t, "", "test", dir)
	require.NoError(t, err, out)
	before, err := os.ReadFile(written)
	require.NoError(t, err)
	_, err = run(t, "", "test", "--init", rules)
	require.ErrorContains(t, err, "is there already: choose another file with --output")
	after, err := os.ReadFile(written)
	require.NoError(t, err)
	assert.Equal(t, before, after)
	out, err = run(t, "", "test", "--init", rules, "-o", "-")
	require.NoError(t, err)
	assert.Equal(t, string(before), out)
	_, err = run(t, "", "test", "--init", written)
	require.ErrorContains(t, err, "is a test file: name the rule files")

	log := filepath.Join(dir, "alerts.jsonl")
	require.NoError(t, os.WriteFile(log, []byte(`{"rule":"A shell","priority":"Informational","output":"o","output_fields":{"proc.name":"bash"}}`+"\n"), 0o600))
	fromLog := filepath.Join(dir, "log_test.yaml")
	out, err = run(t, "", "test", "--from-alerts", log, "-o", fromLog, rules)
	require.NoError(t, err)
	assert.Contains(t, out, "log_test.yaml: 1 cases, all pass")
	out, err = run(t, "", "test", "-v", fromLog)
	require.NoError(t, err, out)
	assert.Contains(t, out, "A shell fired")
}

// watched is where a watch writes, read while it runs.
type watched struct {
	sync.Mutex
	bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	return w.Buffer.Write(p)
}

func (w *watched) has(text string) bool {
	w.Lock()
	defer w.Unlock()
	return strings.Contains(w.String(), text)
}

func TestTestWatchRunsAgainWhenARuleChanges(t *testing.T) {
	t.Parallel()
	dir := tests(t, map[string]string{"a_test.yaml": shellCase})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := newRootCommand()
	var out watched
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"test", "--watch", dir})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	require.Eventually(t, func() bool { return out.has("1 passed, 0 failed") }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(strings.Replace(testedRules, "sh, bash", "zsh", 1)), 0o600))
	require.Eventually(t, func() bool { return out.has("0 passed, 1 failed") }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new_test.yaml"), []byte("rules: [a.yaml]\ncases:\n"+shellCase), 0o600))
	require.Eventually(t, func() bool { return out.has("0 passed, 2 failed") }, 10*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
}

func TestLintExplainsACode(t *testing.T) {
	t.Parallel()
	out, err := run(t, "", "lint")
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^old-call-alone +asks for a system call without`, out)
	out, err = run(t, "", "lint", "old-call-alone")
	require.NoError(t, err)
	assert.Contains(t, out, "# old-call-alone\n")
	_, err = run(t, "", "lint", "old-call-alon")
	require.ErrorContains(t, err, "did you mean old-call-alone?")
	out, err = run(t, rule, "check", "-", "--sarif") // which does not load: m is not there
	require.ErrorIs(t, err, cli.ExitCode(1))
	assert.Contains(t, out, `"id": "LOAD_ERR_VALIDATE"`)
	out, err = run(t, strings.Replace(rule, "and m", "and fd.name = /x", 1), "check", "-", "--sarif")
	require.NoError(t, err)
	assert.Contains(t, out, `"markdown": "# old-call-alone\n`)
}

func TestCheckIgnoresAFindingByAComment(t *testing.T) {
	t.Parallel()
	opens := strings.Replace(rule, "and m", "and fd.name = /x", 1)
	_, err := run(t, opens, "check", "-", "--strict")
	require.ErrorIs(t, err, cli.ExitCode(1))
	out, err := run(t, "# falcorules:ignore old-call-alone the kernel is old\n"+opens, "check", "-", "--strict")
	require.NoError(t, err, out)
	assert.Contains(t, out, "0 lint findings")
}
