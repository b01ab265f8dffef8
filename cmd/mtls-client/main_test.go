package main

import (
	"bytes"
	"io"
	"maps"
	"testing"
	"time"

	"spire-falco/mtls"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// environment is the minimal environment of the client, with changes.
func environment(changes map[string]string) mtls.Lookup {
	values := map[string]string{
		"SPIFFE_ENDPOINT_SOCKET":   "unix:///spiffe-workload-api/api.sock",
		"AUTHORIZED_TRUST_DOMAINS": "example.org",
		"SERVER_ADDRESS":           "mtls-server:8443",
	}
	maps.Copy(values, changes)
	return func(name string) (string, bool) {
		value, set := values[name]
		return value, set
	}
}

func TestReadSettings(t *testing.T) {
	t.Parallel()

	t.Run("one request by default", func(t *testing.T) {
		t.Parallel()
		s, err := readSettings(nil, environment(nil), io.Discard)
		require.NoError(t, err)
		assert.Equal(t, "mtls-server:8443", s.address)
		assert.Equal(t, mtls.Load{Count: 1, Concurrency: 8}, s.load)
		assert.Equal(t, 5*time.Second, s.timeout)
		assert.Equal(t, 30*time.Second, s.identityTimeout)
	})

	t.Run("a rate runs until it is stopped", func(t *testing.T) {
		t.Parallel()
		s, err := readSettings([]string{"-rate", "2.5"}, environment(nil), io.Discard)
		require.NoError(t, err)
		assert.Equal(t, mtls.Load{Rate: 2.5, Concurrency: 8}, s.load)
	})

	t.Run("the environment sets what flags do not", func(t *testing.T) {
		t.Parallel()
		s, err := readSettings([]string{"-rate", "1"}, environment(map[string]string{
			"CLIENT_RATE": "9", "CLIENT_COUNT": "7", "CLIENT_NEW_CONNECTIONS": "true",
			"CLIENT_TIMEOUT": "2s", "CLIENT_REPORT_EVERY": "1m",
		}), io.Discard)
		require.NoError(t, err)
		assert.Equal(t, mtls.Load{Rate: 1, Count: 7, Concurrency: 8}, s.load)
		assert.True(t, s.newConnections)
		assert.Equal(t, 2*time.Second, s.timeout)
		assert.Equal(t, time.Minute, s.reportEvery)
	})

	for _, test := range []struct {
		name        string
		args        []string
		environment map[string]string
		want        string
	}{
		{"an unknown flag", []string{"-fast"}, nil, "-fast"},
		{"an argument", []string{"now"}, nil, `arguments ["now"]: must be flags only`},
		{"an address without host", nil, map[string]string{"SERVER_ADDRESS": ":8443"}, `-address (SERVER_ADDRESS) is ":8443": must be host:port`},
		{"an address without port", []string{"-address", "mtls-server"}, nil, `-address (SERVER_ADDRESS) is "mtls-server": must be host:port`},
		{"a negative rate", []string{"-rate", "-1"}, nil, `-rate (CLIENT_RATE) is "-1": must be a number from 0 to 1000000`},
		{"a rate that is not a number", nil, map[string]string{"CLIENT_RATE": "NaN"}, `-rate (CLIENT_RATE) is "NaN": must be`},
		{"a negative count", []string{"-count", "-1"}, nil, `-count (CLIENT_COUNT) is "-1"`},
		{"a negative duration", []string{"-duration", "-1s"}, nil, `-duration (CLIENT_DURATION) is "-1s"`},
		{"no concurrency", []string{"-concurrency", "0"}, nil, `-concurrency (CLIENT_CONCURRENCY) is "0"`},
		{"no time", []string{"-timeout", "0s"}, nil, `-timeout (CLIENT_TIMEOUT) is "0s": must be more than 0s`},
		{"no time for an identity", []string{"-identity-timeout", "0s"}, nil, `-identity-timeout (CLIENT_IDENTITY_TIMEOUT) is "0s"`},
		{"a negative interval", []string{"-report-every", "-1s"}, nil, `-report-every (CLIENT_REPORT_EVERY) is "-1s"`},
		{"a path without a slash", []string{"-path", "x"}, nil, `-path (CLIENT_PATH) is "x": must be a path that begins with /`},
		{"an invalid value in the environment", nil, map[string]string{"CLIENT_COUNT": "many"}, `CLIENT_COUNT is "many": must be a value for -count (stop after this many requests; 0: no limit)`},
		{"an invalid shared setting", nil, map[string]string{"LOG_LEVEL": "loud"}, `LOG_LEVEL is "loud"`},
	} {
		t.Run(test.name+" is reported", func(t *testing.T) {
			t.Parallel()
			_, err := readSettings(test.args, environment(test.environment), io.Discard)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestRun(t *testing.T) {
	t.Parallel()

	t.Run("help goes to standard output", func(t *testing.T) {
		t.Parallel()
		var stdout bytes.Buffer
		assert.Equal(t, exitOK, run(t.Context(), []string{"-h"}, environment(nil), &stdout, io.Discard))
		assert.Contains(t, stdout.String(), "Usage: mtls-client")
		assert.Contains(t, stdout.String(), "-rate")
	})

	t.Run("invalid settings are reported on standard error", func(t *testing.T) {
		t.Parallel()
		var stdout, stderr bytes.Buffer
		assert.Equal(t, exitUsage, run(t.Context(), []string{"-count", "-1"}, environment(nil), &stdout, &stderr))
		assert.Contains(t, stderr.String(), "-count")
		assert.Empty(t, stdout.String())
	})

	t.Run("every outcome has an exit code of its own", func(t *testing.T) {
		t.Parallel()
		seen := map[int]bool{exitUsage: true}
		for _, code := range exitCodes {
			assert.False(t, seen[code])
			seen[code] = true
		}
		for _, outcome := range []mtls.Outcome{
			mtls.OutcomeFailed, mtls.OutcomeRefused, mtls.OutcomeUnreachable, mtls.OutcomeNoIdentity,
		} {
			assert.Contains(t, exitCodes, outcome)
		}
	})
}
