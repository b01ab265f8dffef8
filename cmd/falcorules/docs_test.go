package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// block is a block of code of a page: a file to write, or commands with what they print.
var block = regexp.MustCompile("(?ms)^```(yaml \\S+|console)\n(.*?)^```$")

// The pages on rules show files and commands: each command, run as it stands in a folder with the files, prints what the page shows.
// UPDATE=1 writes what they print into the page.
func TestPagesShowWhatTheirCommandsPrint(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "falcorules")
	built, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(built))
	for _, name := range []string{"writing-a-rule.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := filepath.Join("..", "..", "docs", name)
			content, err := os.ReadFile(page)
			require.NoError(t, err)
			dir, commands := t.TempDir(), 0
			updated := block.ReplaceAllStringFunc(string(content), func(text string) string {
				parts := block.FindStringSubmatch(text)
				if file, ok := strings.CutPrefix(parts[1], "yaml "); ok {
					require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(parts[2]), 0o600))
					return text
				}
				var out strings.Builder
				out.WriteString("```console\n")
				for line := range strings.Lines(parts[2]) {
					if !strings.HasPrefix(line, "$ ") {
						continue // what the last command printed
					}
					out.WriteString(line)
					out.Write(shell(t, program, dir, strings.TrimPrefix(line, "$ ")))
					commands++
				}
				out.WriteString("```")
				return out.String()
			})
			assert.Positive(t, commands)
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.WriteFile(page, []byte(updated), 0o600))
				return
			}
			assert.Equal(t, string(content), updated)
		})
	}
}

// shell runs a command line in a folder and returns what it prints, errors included.
func shell(t *testing.T, program, dir, line string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, line)
		require.LessOrEqual(t, exit.ExitCode(), 1, "%s: %s", line, out.String())
	}
	return out.Bytes()
}
