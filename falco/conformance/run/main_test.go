package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCasesAreAddedVerdictsRecordedAndCompared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	data := filepath.Join(dir, "cases.jsonl.gz")
	require.NoError(t, write(nil, data))
	do := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(append([]string{"-data", data}, args...), strings.NewReader(""), &out)
		return out.String(), err
	}
	_, err := do("-add", file("new.jsonl", `{"id":"a","files":[{"name":"r.yaml","text":"- list: l\n"}]}`+"\n"))
	require.NoError(t, err)
	out, err := do("-cases")
	require.NoError(t, err)
	assert.Contains(t, out, `"id":"a"`)
	good := file("good.jsonl", `{"id":"a","results":[{"successful":true,"errors":[],"warnings":[]}]}`+"\n")
	for _, v := range []string{"0.43.1", "0.44.1"} {
		_, err = do("-falco", v, "-record", good)
		require.NoError(t, err)
	}
	out, err = do("-falco", "0.44.1", "-verdicts", good)
	require.NoError(t, err)
	assert.Contains(t, out, "Falco 0.44.1: 1 cases, 0 disagreements, 0 without a verdict")
	out, err = do("-falco", "0.44.1", "-verdicts", file("bad.jsonl", `{"id":"a","results":[{"successful":false,"errors":[],"warnings":[]}]}`+"\n"))
	require.Error(t, err)
	assert.Contains(t, out, "a: file 0: Falco accepts: true, here: false")
	_, err = do("-falco", "0.44.1", "-verdicts", file("none.jsonl", ""))
	require.Error(t, err)
	_, err = do("-falco", "0.44.1")
	require.ErrorContains(t, err, "want -cases")
}
