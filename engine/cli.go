// Package engine runs the real Pulumi engine: it finds or builds the CLI, keeps a state of its own for a first-time user,
// and stands in for provider plugins where none can be had.
package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"

	"spire-falco/gotool"
)

// minCLI is the oldest CLI that this program's SDK works with: stack policies of Go policy packs need 3.258.
var minCLI = semver.MustParse("3.258.0")

// CLI finds a Pulumi CLI: the one on PATH if it is new enough, else one built from its pinned Go module in
// dir/tools/pulumi. What it does is told on log.
func CLI(ctx context.Context, dir string, log io.Writer) (path string, err error) {
	if path, err := exec.LookPath("pulumi"); err == nil {
		v, err := cliVersion(ctx, path)
		if err == nil && v.GTE(minCLI) {
			return path, nil
		}
		fmt.Fprintf(log, "pulumi on PATH (%s) is not used: %s or newer is needed\n", path, minCLI)
	}
	return buildCLI(ctx, dir, log)
}

// commandAt makes the Automation API run the CLI at path, which stands in a folder bin unless it is the one on PATH.
func commandAt(path string) (auto.PulumiCommand, error) {
	opts := &auto.PulumiCommandOptions{}
	if onPath, err := exec.LookPath("pulumi"); err != nil || onPath != path {
		opts.Root = filepath.Dir(filepath.Dir(path))
	}
	cmd, err := auto.NewPulumiCommand(opts)
	if err != nil {
		return nil, fmt.Errorf("run the Pulumi CLI %s: %w", path, err)
	}
	return cmd, nil
}

func buildCLI(ctx context.Context, dir string, log io.Writer) (string, error) {
	return gotool.Build(ctx, gotool.Tool{
		Name:    "pulumi",
		Dir:     filepath.Join(dir, "tools", "pulumi"),
		Module:  "github.com/pulumi/pulumi/pkg/v3",
		Package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
		// The version must be in the binary: the Automation API refuses a CLI that does not know its own.
		LDFlags: "-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=NUMBER",
	}, log)
}

func cliVersion(ctx context.Context, path string) (semver.Version, error) {
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true")
	out, err := cmd.Output()
	if err != nil {
		return semver.Version{}, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	text := strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
	v, err := semver.Parse(text)
	if err != nil {
		return v, fmt.Errorf("%s says that its version is %q: %w", path, text, err)
	}
	return v, nil
}
