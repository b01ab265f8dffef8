package workflows_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// action is what action.yml has.
type action struct {
	Inputs map[string]struct {
		Required bool
		Default  string
	}
	Outputs map[string]struct{ Value string }
	Runs    struct {
		Using string
		Steps []struct {
			ID    string
			Name  string
			If    string
			Uses  string
			Shell string
			Env   map[string]string
			Run   string
		}
	}
}

func readAction(t *testing.T) action {
	t.Helper()
	content, err := os.ReadFile(root + "action.yml")
	require.NoError(t, err)
	var a action
	require.NoError(t, yaml.Unmarshal(content, &a))
	return a
}

// outcome is what a run of the action's commands came to.
type outcome struct {
	out string
	// failed names the steps that failed.
	failed  []string
	outputs map[string]string
}

// perform runs the commands of the action as a runner does, with program as what its build step builds.
func (a action) perform(t *testing.T, program, dir string, inputs map[string]string) outcome {
	t.Helper()
	temp := t.TempDir()
	require.NoError(t, os.Symlink(program, filepath.Join(temp, "falcorules")))
	outputs := filepath.Join(temp, "output")
	for name, in := range a.Inputs {
		if _, ok := inputs[name]; !ok {
			require.False(t, in.Required, name)
			inputs[name] = in.Default
		}
	}
	result := outcome{outputs: map[string]string{}}
	for _, s := range a.Runs.Steps {
		if s.ID == "" || s.ID == "test" && inputs["tests"] == "" {
			continue // the set-up, which ran before
		}
		cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", s.Run)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "RUNNER_TEMP="+temp, "GITHUB_OUTPUT="+outputs)
		for name, value := range s.Env {
			key := strings.TrimSuffix(strings.TrimPrefix(value, "${{ inputs."), " }}")
			require.Contains(t, a.Inputs, key)
			cmd.Env = append(cmd.Env, name+"="+inputs[key])
		}
		out, err := cmd.CombinedOutput()
		result.out += string(out)
		if _, ok := errors.AsType[*exec.ExitError](err); ok {
			result.failed = append(result.failed, s.ID)
		} else {
			require.NoError(t, err)
		}
	}
	written, err := os.ReadFile(outputs)
	require.NoError(t, err)
	for line := range strings.Lines(string(written)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		result.outputs[name] = value
	}
	return result
}

func TestTheActionChecksAndTestsRules(t *testing.T) {
	t.Parallel()
	a := readAction(t)
	require.Equal(t, "composite", a.Runs.Using)
	temp := t.TempDir()
	program := filepath.Join(temp, "falcorules")
	for _, s := range a.Runs.Steps {
		if s.Name == "Build falcorules" {
			abs, err := filepath.Abs(root)
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), "bash", "-c", s.Run)
			cmd.Env = append(os.Environ(), "CGO_ENABLED="+s.Env["CGO_ENABLED"], "RUNNER_TEMP="+temp, "GITHUB_ACTION_PATH="+abs)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
		}
	}
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	rule := func(condition string) string {
		return "- rule: R\n  desc: d\n  condition: " + condition + "\n  output: o\n  priority: INFO\n"
	}
	write("my rules/good.yaml", rule("evt.type = openat and fd.name = /x"))
	write("my rules/good_test.yaml", "cases:\n  - {name: n, event: {evt.type: openat, fd.name: /x}, fires: [R]}\n")
	write("bad.yaml", rule("evt.type = openat and fd.nmae = /x"))
	write("trap.yaml", rule("evt.type = open and fd.name = /x"))
	write("failing_test.yaml", "rules: [trap.yaml]\ncases:\n  - {name: 'a: b', event: {evt.type: open, fd.name: /y}, fires: [R]}\n")
	for name, tt := range map[string]struct {
		inputs map[string]string
		failed []string
		want   []string
	}{
		"good rules and tests": {
			map[string]string{"rules": "my rules/good.yaml\n", "tests": "my rules"},
			nil,
			[]string{"0 errors, 0 warnings, 0 lint findings", "1 passed, 0 failed, 0 broken"},
		},
		"rules alone":   {map[string]string{"rules": "my rules"}, nil, []string{"0 errors"}},
		"another Falco": {map[string]string{"rules": "my rules", "falco": "0.40.0"}, nil, []string{"Falco 0.40.0"}},
		"a rule that Falco would refuse": {
			map[string]string{"rules": "bad.yaml", "tests": "my rules"},
			[]string{"check"},
			[]string{"\n::error file=bad.yaml,line=3,title=LOAD_ERR_COMPILE_CONDITION::", "1 passed"},
		},
		"a finding is shown":              {map[string]string{"rules": "trap.yaml"}, nil, []string{"\n::warning file=trap.yaml,line=3,title=old-call-alone::"}},
		"a finding that is a failure":     {map[string]string{"rules": "trap.yaml", "strict": "true"}, []string{"check"}, []string{"\n::error file=trap.yaml,line=3,title=old-call-alone::"}},
		"rules that use stock macros":     {map[string]string{"rules": "my rules", "stock": "true"}, nil, []string{"0 errors"}},
		"a test that fails":               {map[string]string{"rules": "trap.yaml", "tests": "failing_test.yaml"}, []string{"test"}, []string{"\n::error file=failing_test.yaml,line=3,title=failed%3A a%3A b::missing: rule \"R\" did not fire%0A"}},
		"coverage that is not reached":    {map[string]string{"rules": "my rules", "tests": "failing_test.yaml", "coverage-threshold": "90"}, []string{"test"}, []string{"less than 90 %"}},
		"rules that are not there at all": {map[string]string{"rules": "none.yaml"}, []string{"check"}, []string{"none.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := a.perform(t, program, dir, tt.inputs)
			assert.Equal(t, tt.failed, got.failed, got.out)
			for _, want := range tt.want {
				assert.Contains(t, got.out, want)
			}
			if name != "rules that are not there at all" {
				sarif, err := os.ReadFile(got.outputs["sarif"])
				require.NoError(t, err)
				assert.Contains(t, string(sarif), `"version": "2.1.0"`)
			}
			if tt.inputs["tests"] != "" {
				assert.FileExists(t, got.outputs["junit"])
			}
		})
	}
}

func TestTheActionPutsNothingFromOutsideIntoACommand(t *testing.T) {
	t.Parallel()
	a := readAction(t)
	for _, s := range a.Runs.Steps {
		assert.NotContains(t, s.Run, "${{", s.Name)
	}
	for name, out := range a.Outputs {
		id := strings.Split(out.Value, ".")[1]
		assert.Contains(t, out.Value, "steps."+id+".outputs."+name)
	}
}

func TestTheHooksOfPreCommitRunTheProgramOfTheirClone(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(root + ".pre-commit-hooks.yaml")
	require.NoError(t, err)
	var hooks []struct {
		ID            string
		Entry         string
		Language      string
		PassFilenames bool `yaml:"pass_filenames"`
		Args          []string
	}
	require.NoError(t, yaml.Unmarshal(content, &hooks))
	require.Len(t, hooks, 2)
	for _, h := range hooks {
		assert.Equal(t, "script", h.Language)
		assert.False(t, h.PassFilenames, "the order of the files matters")
		path, command, _ := strings.Cut(h.Entry, " ")
		abs, err := filepath.Abs(root + path)
		require.NoError(t, err)
		out, err := exec.CommandContext(t.Context(), abs, command, "--help").CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "falcorules "+command)
	}
}
