// Package spire_test proves mtls-server and mtls-client against a real SPIRE
// server and agent, which it builds once from the module that tools/spire
// pins. It needs neither root nor a cluster. See docs/mtls.md.
package spire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"spire-falco/gotool"
	"spire-falco/internal/filelock"
)

const (
	root        = "../.."
	spireModule = "github.com/spiffe/spire"
)

// binaries are the programs under test and those they are tested with.
var binaries struct {
	spireServer, spireAgent string
	server, client          string
}

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	scratch, err := os.MkdirTemp("", "spire-test-")
	if err == nil {
		defer os.RemoveAll(scratch) //nolint:errcheck // what is left in the temporary directory does no harm
		err = errors.Join(buildSPIRE(), buildPrograms(scratch))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot prepare the SPIRE tests:", err)
		return 1
	}
	code := m.Run()
	stopDomains()
	return code
}

// buildPrograms compiles mtls-server and mtls-client as the image has them.
func buildPrograms(dir string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", dir+"/",
		"./cmd/mtls-server", "./cmd/mtls-client")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build mtls-server and mtls-client: %w\n%s", err, output)
	}
	binaries.server, binaries.client = filepath.Join(dir, "mtls-server"), filepath.Join(dir, "mtls-client")
	return nil
}

// buildSPIRE builds spire-server and spire-agent unless the cache has them.
// The directory is named after all that decides what comes out.
func buildSPIRE() error {
	module := filepath.Join(root, "tools", "spire")
	list := exec.Command("go", "list", "-m", "-f", "{{.Version}}", spireModule)
	list.Dir = module
	var stderr bytes.Buffer
	list.Stderr = &stderr
	output, err := list.Output()
	if err != nil {
		return fmt.Errorf("read the version of SPIRE in %s: %w\n%s", module, err, &stderr)
	}
	version := strings.TrimPrefix(strings.TrimSpace(string(output)), "v")
	cache, err := gotool.CacheDir()
	if err != nil {
		return err
	}
	dir := filepath.Join(cache, "spire", version+"-"+runtime.Version()+"-"+runtime.GOOS+"-"+runtime.GOARCH)
	binaries.spireServer, binaries.spireAgent = filepath.Join(dir, "spire-server"), filepath.Join(dir, "spire-agent")
	complete := func() bool {
		_, serverErr := os.Stat(binaries.spireServer)
		_, agentErr := os.Stat(binaries.spireAgent)
		return serverErr == nil && agentErr == nil
	}
	if complete() {
		return nil
	}

	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return fmt.Errorf("make the cache for SPIRE: %w", err)
	}
	// Two test runs build once.
	unlock, err := filelock.Lock(context.Background(), dir+".lock", "the build of SPIRE", os.Stderr)
	if err != nil {
		return err
	}
	defer unlock()
	if complete() {
		return nil
	}
	fmt.Fprintf(os.Stderr, "building SPIRE %s into %s: once, some minutes\n", version, dir)
	begun := time.Now()
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), "unfinished-")
	if err != nil {
		return fmt.Errorf("make the cache for SPIRE: %w", err)
	}
	defer os.RemoveAll(unfinished) //nolint:errcheck // renamed, or of no use
	build := exec.Command("go", "build", "-trimpath",
		"-ldflags=-s -w -X "+spireModule+"/pkg/common/version.gittag="+version, "-o", unfinished+"/",
		spireModule+"/cmd/spire-server", spireModule+"/cmd/spire-agent")
	build.Dir = module
	build.Env = append(os.Environ(), "CGO_ENABLED=1", "GOWORK=off") // its SQLite is C
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build SPIRE %s: %w\n%s", version, err, output)
	}
	if err := os.Rename(unfinished, dir); err != nil {
		return fmt.Errorf("put SPIRE into the cache: %w", err)
	}
	fmt.Fprintf(os.Stderr, "built SPIRE %s in %s\n", version, time.Since(begun).Round(time.Second))
	return nil
}
