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
	root := newRootCommand()
	checked := 0
	for _, p := range pages {
		for _, c := range p.Commands("falcorules") {
			checked++
			assert.NoError(t, c.Cobra(root)) //nolint:testifylint // the others are checked too
		}
	}
	assert.Positive(t, checked)
}
