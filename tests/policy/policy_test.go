package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"spire-falco/policy/policies"
	"spire-falco/tests/recorder"
)

func TestTheProgramKeepsEveryPolicy(t *testing.T) {
	t.Parallel()
	run, err := recorder.Program(recorder.Settings{Values: map[string]string{"enableFalco": "true"}})
	require.NoError(t, err)
	for _, v := range policies.Evaluate(run.ForPolicy()) {
		t.Error(v)
	}
}
