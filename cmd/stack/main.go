// Command stack is the program's own command line: it plans, brings up, checks and takes down the stack, and works with
// its Falco rules.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	var code exitCode
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	fmt.Fprintf(os.Stderr, "\nerror: %v\n", err)
	os.Exit(1)
}

// exitCode ends the program with that code; what went wrong has been told already.
type exitCode int

// Error is never shown.
func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// target is the stack that a command works on.
type target struct {
	// dir is the project's folder, absolute.
	dir string
	// name of the stack.
	name string
}

func newRootCommand() *cobra.Command {
	t := &target{}
	root := &cobra.Command{
		Use:           "stack",
		Short:         "SPIRE, Falco with tested rules, Falcosidekick and an mTLS server as one stack",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return t.find()
		},
	}
	root.PersistentFlags().StringVarP(&t.name, "stack", "s", "dev", "name of the stack: its settings are in Pulumi.NAME.yaml")
	root.PersistentFlags().StringVarP(&t.dir, "dir", "C", ".", "the project's folder")
	root.AddCommand(
		newPreviewCommand(t),
		newUpCommand(t),
		newDownCommand(t),
		newOutputsCommand(t),
		newPulumiCommand(t),
		newRulesCommand(t),
		newVerifyCommand(t),
		newAlertsCommand(t),
	)
	return root
}

func (t *target) find() error {
	dir, err := filepath.Abs(t.dir)
	if err != nil {
		return fmt.Errorf("--dir = %q: %w", t.dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err != nil {
		return fmt.Errorf("--dir = %q: there is no Pulumi.yaml: run this in the project's folder", t.dir)
	}
	t.dir = dir
	return nil
}
