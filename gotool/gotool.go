// Package gotool builds programs from pinned Go modules, once, and caches them: the Pulumi CLI, and the Kubernetes and
// SPIRE servers that tests run against. It downloads nothing but Go modules.
package gotool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"spire-falco/internal/filelock"
	"spire-falco/report"
)

// CacheVariable is the environment variable that sets the cache directory of built programs.
const CacheVariable = "SPIRE_FALCO_CACHE"

// CacheDir returns the cache directory of built programs: SPIRE_FALCO_CACHE, or spire-falco in the user's cache
// directory.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory for built programs (%s sets one): %w", CacheVariable, err)
	}
	return filepath.Join(dir, "spire-falco"), nil
}

// Tool is one program to build.
type Tool struct {
	// Name is the name of the binary and, with the version, of its directory in the cache.
	Name string
	// Dir contains the go.mod that pins Module.
	Dir string
	// Module is the module whose version in go.mod is the tool's version.
	Module string
	// Package is the package to build.
	Package string
	// LDFlags are linker flags; "VERSION" is replaced by the version with its v, "NUMBER" by the one without.
	LDFlags string
	// Env is added to the environment of the build.
	Env []string
}

// Version returns the pinned version of the tool, such as v1.2.3.
func (t Tool) Version() (string, error) {
	file := filepath.Join(t.Dir, "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("find the pinned version of %s: %w", t.Name, err)
	}
	line := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(t.Module) + ` (v\S+)`)
	m := line.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s does not require %s", file, t.Module)
	}
	return string(m[1]), nil
}

// Build returns the path of the program, which it builds if it is not in the cache. Progress goes to log. Two
// concurrent runs build once: the second prints which process it waits for, and ends when ctx ends.
func Build(ctx context.Context, t Tool, log io.Writer) (string, error) {
	version, err := t.Version()
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, t.Name+"-"+strings.TrimPrefix(version, "v"), "bin", t.Name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("create the directory of %s (%s sets another cache directory): %w", t.Name, CacheVariable, err)
	}
	unlock, err := filelock.Lock(ctx, path+".lock", "the build of "+t.Name, log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil { // built by another run in the meantime
		return path, nil
	}
	return path, t.build(ctx, version, path, log)
}

// build builds the program at path.
func (t Tool) build(ctx context.Context, version, path string, log io.Writer) error {
	report.Fprintf(log, "building %s %s from its Go module (once; minutes on two cores)\n", t.Name, version)
	start := time.Now()
	ldflags := strings.NewReplacer("VERSION", version, "NUMBER", strings.TrimPrefix(version, "v")).Replace(t.LDFlags)
	unfinished := path + ".new"
	defer os.Remove(unfinished) //nolint:errcheck // renamed, unless the build failed

	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w " + ldflags, "-o", unfinished, t.Package}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // pinned in the project
	cmd.Dir = t.Dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // on which the go command cleans up
	cmd.WaitDelay = stopDelay
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off"), t.Env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	stop := Heartbeat(log, t.Name, start)
	err := cmd.Run()
	stop()
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("ended the build of %s after %s: %w", t.Name, time.Since(start).Round(time.Second), ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("build %s: %w\n%s", t.Name, err, report.Lines(output.String()))
	}
	if err := putInPlace(unfinished, path); err != nil {
		return fmt.Errorf("put %s in place: %w", t.Name, err)
	}
	report.Fprintf(log, "built %s in %s\n", t.Name, time.Since(start).Round(time.Second))
	return nil
}

// stopDelay is how long the go command may take to end after an interrupt.
const stopDelay = 10 * time.Second

// putInPlace renames a built program once all of it is on the disk: a later run trusts that name.
func putInPlace(unfinished, path string) error {
	file, err := os.Open(unfinished)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

// Heartbeat prints every 20 s that a build is still running, until stop is called.
func Heartbeat(log io.Writer, name string, start time.Time) (stop func()) {
	ticker := time.NewTicker(20 * time.Second)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C:
				report.Fprintf(log, "  still building %s, %s\n", name, time.Since(start).Round(time.Second))
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-ended
	}
}
