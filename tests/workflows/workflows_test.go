// Package workflows_test holds the workflows to what docs/security.md promises of them.
package workflows_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const root = "../../"

type step struct {
	Uses string
	Run  string
	With map[string]any
}

type workflow struct {
	On          yaml.Node
	Permissions map[string]string
	Jobs        map[string]struct {
		Permissions map[string]string
		Steps       []step
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(root + ".github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out := map[string]workflow{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(content, &w), f)
		out[filepath.Base(f)] = w
	}
	return out
}

func TestEveryActionIsPinnedByCommitAndSaysItsRelease(t *testing.T) {
	t.Parallel()
	pin := regexp.MustCompile(`uses: [a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	files, err := filepath.Glob(root + ".github/workflows/*.yml")
	require.NoError(t, err)
	seen := map[string]string{}
	for _, f := range append(files, root+"action.yml") {
		content, err := os.ReadFile(f)
		require.NoError(t, err)
		for line := range strings.Lines(string(content)) {
			if line = strings.TrimRight(line, "\n"); !strings.Contains(line, "uses:") {
				continue
			}
			assert.Regexp(t, pin, line, f)
			_, action, _ := strings.Cut(line, "uses: ")
			name, _, _ := strings.Cut(action, "@")
			if old, ok := seen[name]; ok {
				assert.Equal(t, old, action, "one release of %s everywhere", name)
			}
			seen[name] = action
		}
	}
}

// TestNoJobThatMayWriteRunsCodeOfAPullRequest: such a job starts on workflow_run, checks out the default branch, and
// has no commands.
func TestNoJobThatMayWriteRunsCodeOfAPullRequest(t *testing.T) {
	t.Parallel()
	writers := 0
	for name, w := range workflows(t) {
		require.NotNil(t, w.Permissions, "%s leaves the permissions to the repository", name)
		var on map[string]any
		require.NoError(t, w.On.Decode(&on), name)
		assert.NotContains(t, on, "pull_request_target", name)
		for _, level := range w.Permissions {
			assert.Equal(t, "read", level, name)
		}
		for id, job := range w.Jobs {
			writes := false
			for _, level := range job.Permissions {
				writes = writes || level == "write"
			}
			if !writes {
				continue
			}
			writers++
			assert.NotContains(t, on, "pull_request", "%s: %s", name, id)
			assert.Contains(t, on, "workflow_run", "%s: %s", name, id)
			for _, s := range job.Steps {
				assert.Empty(t, s.Run, "%s: %s", name, id)
				if strings.HasPrefix(s.Uses, "actions/checkout@") {
					assert.Equal(t, "${{ github.event.repository.default_branch }}", s.With["ref"], "%s: %s", name, id)
				}
				if script, ok := s.With["script"].(string); ok {
					assert.NotContains(t, script, "${{", "what comes from outside is not put into a script")
				}
			}
		}
	}
	assert.Equal(t, 1, writers)
}

func TestNothingFromOutsideIsPutIntoACommand(t *testing.T) {
	t.Parallel()
	for name, w := range workflows(t) {
		for id, job := range w.Jobs {
			for _, s := range job.Steps {
				assert.NotContains(t, s.Run, "${{", "%s: %s", name, id)
				assert.NotRegexp(t, `(^|[ >"])/tmp/`, s.Run, "%s: %s", name, id)
			}
			for _, s := range job.Steps {
				if strings.HasPrefix(s.Uses, "actions/checkout@") {
					assert.Equal(t, false, s.With["persist-credentials"], "%s: %s", name, id)
				}
			}
		}
	}
	run, err := os.ReadFile(root + ".ci/run")
	require.NoError(t, err)
	assert.NotContains(t, string(run), "/tmp/", "a name that others can guess")
}

func TestTheUpdaterCoversEveryModule(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(root + ".github/dependabot.yml")
	require.NoError(t, err)
	var doc struct {
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directories []string
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &doc))
	covered, ecosystems := map[string]bool{}, map[string]bool{}
	for _, u := range doc.Updates {
		ecosystems[u.Ecosystem] = true
		for _, d := range u.Directories {
			covered[d] = true
		}
	}
	assert.True(t, ecosystems["github-actions"])
	for _, pattern := range []string{"go.mod", "*/go.mod", "*/*/go.mod"} {
		modules, err := filepath.Glob(root + pattern)
		require.NoError(t, err)
		for _, m := range modules {
			dir := "/" + strings.Trim(strings.TrimPrefix(filepath.Dir(m), filepath.Clean(root)), "/")
			assert.True(t, covered[dir], dir)
		}
	}
}

// body runs the script of the comment on a plan.
func body(t *testing.T, plan string) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	cmd := exec.CommandContext(t.Context(), node, "-e", `
		const { body } = require('./.github/scripts/plan-comment.js');
		process.stdout.write(JSON.stringify(body(require('fs').readFileSync(0, 'utf8'))));`)
	cmd.Dir = root
	cmd.Stdin = strings.NewReader(plan)
	out, err := cmd.Output()
	require.NoError(t, err)
	var text string
	require.NoError(t, json.Unmarshal(out, &text))
	return text
}

func TestAPlanCannotCloseItsFence(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3, 4, 5, 50, 4000} {
		plan := "x\nSTACK dev\n" + strings.Repeat("`", n) + "\n# out\n<img src=x>\n"
		lines := strings.Split(body(t, plan), "\n")
		fence := strings.TrimSuffix(lines[2], "text")
		if !strings.HasPrefix(fence, "```") {
			assert.Len(t, lines, 3, "%d backticks: nothing of the plan is shown", n)
			continue
		}
		assert.Greater(t, len(fence), n)
		assert.Equal(t, fence, lines[len(lines)-1])
		for _, l := range lines[3 : len(lines)-1] {
			assert.NotContains(t, l, fence)
		}
	}
}

func TestAPlanIsBoundedAndShowsWhatCannotBeSeen(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{
		strings.Repeat("x", 1_000_000),
		"\nSTACK dev\n" + strings.Repeat("y", 1_000_000),
		"\nSTACK dev\n" + strings.Repeat("`", 1_000_000),
		"\nSTACK dev\n" + strings.Repeat("\x1b", 100_000),
	} {
		assert.LessOrEqual(t, len(body(t, plan)), 65_536)
	}
	got := body(t, "\nSTACK dev\nred \x1b[31m bidi \u202e zero \u200b end\r\n")
	assert.Contains(t, got, `red \u{1b}[31m bidi \u{202e} zero \u{200b} end`)
}
