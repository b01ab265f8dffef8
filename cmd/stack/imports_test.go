package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A check of rules is to start in a millisecond. The Pulumi SDK alone takes twenty to initialise, and minutes to
// compile.
func TestNothingHeavyIsImported(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"spire-falco/cmd/stack", "spire-falco/config"} {
		out, err := exec.Command("go", "list", "-deps", program).Output()
		require.NoError(t, err)
		deps := strings.Fields(string(out))
		require.Contains(t, deps, program)
		for _, dep := range deps {
			for _, heavy := range []string{"github.com/pulumi/", "k8s.io/", "google.golang.org/", "net/http"} {
				assert.False(t, strings.HasPrefix(dep, heavy), "%s imports %s", program, dep)
			}
		}
	}
}
