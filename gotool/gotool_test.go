package gotool

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/filelock"
	"spire-falco/report/reporttest"
)

// tool is a tiny module that requires example.org/pinned and prints the version that the linker put in.
func tool(t *testing.T, source string) Tool {
	t.Helper()
	t.Setenv(CacheVariable, t.TempDir())
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.org/tool\n\ngo 1.26\n\nrequire example.org/pinned v1.2.3\n\nreplace example.org/pinned => ./pinned\n"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "pinned"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pinned", "go.mod"), []byte("module example.org/pinned\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pinned", "main.go"), []byte(source), 0o600))
	return Tool{Name: "tool", Dir: dir, Module: "example.org/pinned", Package: "example.org/pinned", LDFlags: "-X main.version=NUMBER"}
}

const printsVersion = "package main\n\nvar version string\n\nfunc main() { println(version) }\n"

func TestAToolIsBuiltOnceAtItsPinnedVersionEvenByTwoAtATime(t *testing.T) {
	spec := tool(t, printsVersion)
	var (
		wg    sync.WaitGroup
		logs  [2]bytes.Buffer
		paths [2]string
	)
	for i := range paths {
		wg.Go(func() {
			path, err := Build(t.Context(), spec, &logs[i])
			assert.NoError(t, err)
			paths[i] = path
		})
	}
	wg.Wait()
	assert.Equal(t, paths[0], paths[1])
	assert.Contains(t, paths[0], "tool-1.2.3")
	both := logs[0].String() + logs[1].String()
	assert.Equal(t, 1, strings.Count(both, "building tool v1.2.3"), "only one of the two builds")
	out, err := exec.Command(paths[0]).CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, "1.2.3\n", string(out))

	var quiet bytes.Buffer
	_, err = Build(t.Context(), spec, &quiet)
	require.NoError(t, err)
	assert.Empty(t, quiet.String(), "a program that is there is not built again")
}

func TestAFailedBuildSaysWhatTheCompilerSaidAndLeavesNothingBehind(t *testing.T) {
	spec := tool(t, "package main\n\nfunc main() { undefined() }\n")
	_, err := Build(t.Context(), spec, &bytes.Buffer{})
	require.ErrorContains(t, err, "build tool")
	require.ErrorContains(t, err, "undefined: undefined")
	cache, err := CacheDir()
	require.NoError(t, err)
	assert.NoFileExists(t, filepath.Join(cache, "tool-1.2.3", "bin", "tool"))
}

func TestAnInterruptEndsAWaitForAnotherBuildAtOnce(t *testing.T) {
	spec := tool(t, printsVersion)
	cache, err := CacheDir()
	require.NoError(t, err)
	bin := filepath.Join(cache, "tool-1.2.3", "bin")
	require.NoError(t, os.MkdirAll(bin, 0o750))
	unlock, err := filelock.Lock(t.Context(), filepath.Join(bin, "tool.lock"), "the build of tool", io.Discard)
	require.NoError(t, err)
	defer unlock()
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, interrupt)
	begun := time.Now()
	var log bytes.Buffer
	_, err = Build(ctx, spec, &log)
	require.ErrorIs(t, err, context.Canceled)
	assert.Less(t, time.Since(begun), 2*time.Second)
	assert.Contains(t, log.String(), "waiting for the build of tool: process ")
}

func TestAnInterruptEndsABuildAndLeavesNothingHalfDone(t *testing.T) {
	spec := tool(t, printsVersion)
	dir := t.TempDir()
	// A Go command that never ends, and that cleans up when it is interrupted as the real one does.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), []byte(`#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo half >"$2"
trap 'echo cleaned >"`+dir+`/cleaned"; exit 1' INT
while :; do sleep 0.05; done
`), 0o700))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	ctx, interrupt := context.WithTimeout(t.Context(), time.Second)
	defer interrupt()
	_, err := Build(ctx, spec, &bytes.Buffer{})
	require.ErrorContains(t, err, "ended the build of tool after 1s")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.FileExists(t, filepath.Join(dir, "cleaned"))
	cache, err := CacheDir()
	require.NoError(t, err)
	entries, err := os.ReadDir(filepath.Join(cache, "tool-1.2.3", "bin"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "tool.lock", entries[0].Name())
}

func TestAModuleThatIsNotPinnedIsAnError(t *testing.T) {
	spec := tool(t, printsVersion)
	spec.Module = "example.org/other"
	_, err := Build(t.Context(), spec, &bytes.Buffer{})
	require.ErrorContains(t, err, "does not require example.org/other")
}

func TestWhatACompilerPrintsIsHarmless(t *testing.T) {
	spec := tool(t, "package main\n\nfunc main() { \u202e }\n// \x1b[2J\n")
	_, err := Build(t.Context(), spec, &bytes.Buffer{})
	require.Error(t, err)
	reporttest.Harmless(t, err.Error())
}
