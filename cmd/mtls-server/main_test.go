package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		args           []string
		environment    map[string]string
		code           int
		stdout, stderr string
	}{
		{"an unknown word is an error that tells the known ones", []string{"serve"}, nil, exitUsage, "", `arguments ["serve"]: allowed is none, health or -h`},
		{"more than one word is an error", []string{"health", "now"}, nil, exitUsage, "", `allowed is none, health or -h`},
		{"help goes to standard output", []string{"-h"}, nil, exitOK, "Usage: mtls-server", ""},
		{"serving without settings names them", nil, nil, exitUsage, "", "SPIFFE_ENDPOINT_SOCKET is"},
		{"health wants a right address", []string{"health"}, map[string]string{"SERVER_ADDRESS": "x"}, exitUsage, "", `SERVER_ADDRESS is "x"`},
		{"health is bad where nothing listens", []string{"health"}, map[string]string{"SERVER_ADDRESS": "127.0.0.1:1"}, exitFailed, "", "127.0.0.1:1 does not serve"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), test.args, func(name string) (string, bool) {
				value, set := test.environment[name]
				return value, set
			}, &stdout, &stderr)
			assert.Equal(t, test.code, code)
			assert.Contains(t, stdout.String(), test.stdout)
			assert.Contains(t, stderr.String(), test.stderr)
		})
	}
}
