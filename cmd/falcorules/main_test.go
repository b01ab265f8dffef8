package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/cmd/internal/cli"
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
