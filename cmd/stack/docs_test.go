package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/doccheck"
)

func TestTheCommandsInTheDocsExist(t *testing.T) {
	t.Parallel()
	pages, err := doccheck.Pages("../..")
	require.NoError(t, err)
	root := newRootCommand(nil)
	checked := 0
	for _, p := range pages {
		for _, c := range p.Commands("stack") {
			checked++
			assert.NoError(t, c.Cobra(root)) //nolint:testifylint // the others are checked too
		}
	}
	assert.Greater(t, checked, 10)
}
