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
		{"an unknown argument is reported with the known ones", []string{"serve"}, nil, exitUsage, "", `arguments ["serve"]: must be none, health or -h`},
		{"more than one argument is reported", []string{"health", "now"}, nil, exitUsage, "", `must be none, health or -h`},
		{"help goes to standard output", []string{"-h"}, nil, exitOK, "Usage: mtls-server", ""},
		{"missing settings are reported", nil, nil, exitUsage, "", "SPIFFE_ENDPOINT_SOCKET is"},
		{"health with an invalid address is reported", []string{"health"}, map[string]string{"SERVER_ADDRESS": "x"}, exitUsage, "", `SERVER_ADDRESS is "x"`},
		{"health fails where nothing listens", []string{"health"}, map[string]string{"SERVER_ADDRESS": "127.0.0.1:1"}, exitFailed, "", "unhealthy at 127.0.0.1:1"},
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
