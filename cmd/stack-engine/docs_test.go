package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/doccheck"
)

func TestTheCommandsInTheDocsExist(t *testing.T) {
	t.Parallel()
	pages, err := doccheck.Pages("../..")
	require.NoError(t, err)
	root := newRootCommand()
	checked := 0
	for _, p := range pages {
		commands := p.Commands("stack")
		for _, c := range p.Commands("make") { // make TARGET ARGS="..." runs stack TARGET ...
			if len(c.Args) == 2 && c.Args[0] != "pulumi" {
				if args, ok := strings.CutPrefix(c.Args[1], "ARGS="); ok {
					commands = append(commands, doccheck.Command{Place: c.Place, Args: append(c.Args[:1:1], strings.Fields(args)...)})
				}
			}
		}
		for _, c := range commands {
			if len(c.Args) > 0 && c.Args[0] == "rules" { // a command of cmd/stack itself
				continue
			}
			checked++
			assert.NoError(t, c.Cobra(root)) //nolint:testifylint // the others are checked too
		}
	}
	assert.Greater(t, checked, 10)
}
