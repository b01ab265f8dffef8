package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/doccheck"
)

func TestTheCommandsInTheDocsExist(t *testing.T) {
	t.Parallel()
	checked, err := doccheck.CheckCommands("../..", newRootCommand(), engineCommands)
	require.NoError(t, err)
	assert.Greater(t, checked, 10)
}

// engineCommands are the commands of stack on a page, without those that cmd/stack has itself. make TARGET ARGS="..." runs
// stack TARGET ... too.
func engineCommands(p *doccheck.Page) []doccheck.Command {
	commands := p.Commands("stack")
	for _, c := range p.Commands("make") {
		if len(c.Args) == 2 && c.Args[0] != "pulumi" {
			if args, ok := strings.CutPrefix(c.Args[1], "ARGS="); ok {
				commands = append(commands, doccheck.Command{Place: c.Place, Args: append(c.Args[:1:1], strings.Fields(args)...)})
			}
		}
	}
	return slices.DeleteFunc(commands, func(c doccheck.Command) bool { return len(c.Args) > 0 && c.Args[0] == "rules" })
}
