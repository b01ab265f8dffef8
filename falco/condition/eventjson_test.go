package condition_test

import (
	"strings"
	"testing"
	"time"

	"spire-falco/falco/condition"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListsInAnEventNestToABound(t *testing.T) {
	t.Parallel()
	ev, err := condition.ParseEvent([]byte(`{"a":[["x","y"],["z"]]}`))
	require.NoError(t, err)
	assert.Equal(t, "((x,y),(z))", ev.Text("a"))

	start := time.Now()
	_, err = condition.ParseEvent([]byte(`{"a":` + strings.Repeat("[", 3<<20)))
	require.ErrorContains(t, err, "lists are nested more than 16 deep")
	_, err = condition.ParseEvent([]byte(`{"a":` + strings.Repeat(`["`+strings.Repeat("x", 1000)+`",`, 2000) + "1" + strings.Repeat("]", 2000) + "}"))
	require.ErrorContains(t, err, "lists are nested more than 16 deep")
	assert.Less(t, time.Since(start), 5*time.Second)
}
