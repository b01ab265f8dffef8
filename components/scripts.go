package components

import (
	"embed"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command/local"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

//go:embed scripts/*.sh
var scriptFiles embed.FS

// script returns a file in scripts/ without the shebang and the comment below it. A line that includes another of these
// files is replaced by that file: the script runs where there is no directory to read from.
func script(name string) string {
	content, err := scriptFiles.ReadFile("scripts/" + name)
	if err != nil {
		panic(fmt.Sprintf("components: %v", err)) // a programming error: the files are embedded
	}
	lines := strings.Split(string(content), "\n")
	for len(lines) > 0 && (strings.HasPrefix(lines[0], "#") || lines[0] == "") {
		lines = lines[1:]
	}
	for i, line := range lines {
		if included, ok := strings.CutPrefix(line, ". components/scripts/"); ok {
			lines[i] = script(included)
		}
	}
	return strings.Join(lines, "\n")
}

// logNothing keeps a command's output out of the update's log: the engine would print it even if it is marked secret.
// The error of a failing command still contains its stderr.
const logNothing = local.LoggingNone

// runScript and runDelete run a script from an environment variable, because the engine prints the whole text of a
// failing command, three times.
const (
	runScript      = `eval "$SCRIPT"`
	runDelete      = `eval "$DELETE_SCRIPT"`
	scriptVariable = "SCRIPT"
	deleteVariable = "DELETE_SCRIPT"
)

func environment(env map[string]string) pulumi.StringMap {
	out := make(pulumi.StringMap, len(env))
	for k, v := range env {
		out[k] = pulumi.String(v)
	}
	return out
}
