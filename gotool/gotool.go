// Package gotool builds programs from Go modules that are pinned in a go.mod of their own, once, and keeps them: the
// Pulumi CLI, and the Kubernetes and SPIRE servers that tests run against. Nothing is downloaded but Go modules.
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
)

// CacheVariable is the environment variable that moves the folder in which built programs are kept.
const CacheVariable = "SPIRE_FALCO_CACHE"

// CacheDir is where built programs are kept: SPIRE_FALCO_CACHE, or spire-falco in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder to keep built programs in (%s sets one): %w", CacheVariable, err)
	}
	return filepath.Join(dir, "spire-falco"), nil
}

// Tool is one program to build.
type Tool struct {
	// Name of the binary and, with the version, of its folder in the cache.
	Name string
	// Dir has the go.mod that pins Module.
	Dir string
	// Module whose version in go.mod is the tool's version.
	Module string
	// Package to build.
	Package string
	// LDFlags for the linker; "VERSION" stands for the version with its v, "NUMBER" for the one without.
	LDFlags string
	// Env is added to the environment of the build.
	Env []string
}

// Version is the pinned version of the tool, such as v1.2.3.
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

// Build returns the path of the program, which it builds if the cache does not have it. Progress goes to log. Two runs
// at the same time build once: the second says whom it waits for, and both end when ctx does.
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
		return "", fmt.Errorf("create the folder of %s (%s names another place for it): %w", t.Name, CacheVariable, err)
	}
	unlock, err := filelock.Lock(ctx, path+".lock", "the build of "+t.Name, log)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil { // another run has built it
		return path, nil
	}
	fmt.Fprintf(log, "building %s %s from its Go module (once; minutes on two cores)\n", t.Name, version)
	start := time.Now()
	ldflags := strings.NewReplacer("VERSION", version, "NUMBER", strings.TrimPrefix(version, "v")).Replace(t.LDFlags)
	unfinished := path + ".new"
	defer os.Remove(unfinished) //nolint:errcheck // renamed, or of no use

	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w "+ldflags, "-o", unfinished, t.Package) //nolint:gosec // pinned in the project
	cmd.Dir = t.Dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it removes what it has begun
	cmd.WaitDelay = stopDelay
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off"), t.Env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	stop := Heartbeat(log, t.Name, start)
	err = cmd.Run()
	stop()
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("ended the build of %s after %s: %w", t.Name, time.Since(start).Round(time.Second), ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", t.Name, err, output.String())
	}
	if err := putInPlace(unfinished, path); err != nil {
		return "", fmt.Errorf("put %s in place: %w", t.Name, err)
	}
	fmt.Fprintf(log, "built %s in %s\n", t.Name, time.Since(start).Round(time.Second))
	return path, nil
}

// stopDelay is how long the Go command may take to end when it is interrupted.
const stopDelay = 10 * time.Second

// putInPlace gives a built program its name once all of it is on the disk: a later run trusts that name.
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

// Heartbeat tells every 20 s that a build goes on, until stop is called, which waits for its last word.
func Heartbeat(log io.Writer, name string, start time.Time) (stop func()) {
	ticker := time.NewTicker(20 * time.Second)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ticker.C:
				fmt.Fprintf(log, "  still building %s, %s\n", name, time.Since(start).Round(time.Second))
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
