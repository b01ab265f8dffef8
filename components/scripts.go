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

// script is the text of a file in scripts/, without its interpreter line and the comment under it. A line that includes
// another of these files gives way to that file's text: what runs later has no folder to read from.
func script(name string) string {
	content, err := scriptFiles.ReadFile("scripts/" + name)
	if err != nil {
		panic(fmt.Sprintf("components: %v", err)) // embedded at build time: a programming error
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

// logNothing keeps a command's output out of the update's log: the engine would print it even when it is marked secret.
// What went wrong is still told, since a failing command's error carries its stderr.
const logNothing = local.LoggingNone

// runScript and runDelete are commands that run a script which stands in the environment: the engine shows a failing
// command whole, three times over.
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
