package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/doccheck"
)

func TestTheCommandsInTheDocsExist(t *testing.T) {
	t.Parallel()
	checked, err := doccheck.CheckCommands("../..", newRootCommand(), func(p *doccheck.Page) []doccheck.Command { return p.Commands("falcorules") })
	require.NoError(t, err)
	assert.Positive(t, checked)
}
