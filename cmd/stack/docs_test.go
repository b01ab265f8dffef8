package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/doccheck"
)

func TestTheCommandsInTheDocsExist(t *testing.T) {
	t.Parallel()
	checked, err := doccheck.CheckCommands("../..", newRootCommand(nil), func(p *doccheck.Page) []doccheck.Command { return p.Commands("stack") })
	require.NoError(t, err)
	assert.Greater(t, checked, 10)
}
