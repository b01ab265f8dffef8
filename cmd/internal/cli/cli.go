// Package cli is what the two programs of the command line share. cmd/stack is the one that people start: it is small,
// starts in a millisecond and has the commands on rules. cmd/stack-engine has the commands that need the Pulumi engine or
// a cluster; cmd/stack lists them and hands them over.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Command is how a command of cmd/stack-engine is called and what it does, as the help of both programs says it.
type Command struct {
	// Use is the name of the command and its arguments.
	Use string
	// Short says in one line what it does.
	Short string
}

// The commands of cmd/stack-engine.
var (
	Preview = Command{"preview", "Check settings and rules, and plan the whole stack on the real engine; nothing is changed"}
	Up      = Command{"up", "Bring the stack up, and wait until it runs"}
	Down    = Command{"down", "Destroy everything that the stack made, and nothing else"}
	Outputs = Command{"outputs", "Print the outputs of the last up; secrets are not shown"}
	Pulumi  = Command{"pulumi -- ARGUMENT...", "Run the Pulumi CLI with this project's backend, such as: pulumi -- config set --secret KEY"}
	Verify  = Command{"verify", "attack the running stack with every documented attack and show which alerts arrive"}
	Alerts  = Command{"alerts", "show or follow Falco's alerts, or stop a CI run because of them"}
)

// EngineCommands are the commands of cmd/stack-engine.
func EngineCommands() []Command {
	return []Command{Preview, Up, Down, Outputs, Pulumi, Verify, Alerts}
}

// ExitCode ends the program with that code; what went wrong has been told already.
type ExitCode int

// ExitInterrupted is the exit code of a command that the user interrupted.
const ExitInterrupted ExitCode = 130

// Error is never shown.
func (c ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Target is the stack that a command works on.
type Target struct {
	// Dir is the project's folder; absolute after Find.
	Dir string
	// Name of the stack.
	Name string
}

// Find checks that the project is there.
func (t *Target) Find() error {
	dir, err := filepath.Abs(t.Dir)
	if err != nil {
		return fmt.Errorf("--dir = %q: %w", t.Dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err != nil {
		return fmt.Errorf("--dir = %q: there is no Pulumi.yaml: run this in the project's folder", t.Dir)
	}
	t.Dir = dir
	return nil
}

// NewRoot is the command stack with the flags that say which stack is meant, and without any command of its own.
func NewRoot(t *Target) *cobra.Command {
	root := &cobra.Command{
		Use:           "stack",
		Short:         "SPIRE, Falco with tested rules, Falcosidekick and an mTLS server as one stack",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVarP(&t.Name, "stack", "s", "dev", "name of the stack: its settings are in Pulumi.NAME.yaml")
	root.PersistentFlags().StringVarP(&t.Dir, "dir", "C", ".", "the project's folder")
	return root
}

// Main runs the command line and ends the program when it fails.
func Main(ctx context.Context, root *cobra.Command) {
	if err := root.ExecuteContext(ctx); err != nil {
		Fail(err)
	}
}

// Interruptible is a context that an interrupt or a request to end cancels, until stop is called. Callers must watch
// ctx.Done(): the signals no longer end the process itself.
func Interruptible(ctx context.Context) (interruptible context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// Fail prints the error and ends the program.
func Fail(err error) {
	var code ExitCode
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	if errors.Is(err, context.Canceled) { // by Interruptible: what was done until then is known
		fmt.Fprintf(os.Stderr, "\ninterrupted: %s\n", strings.TrimSuffix(err.Error(), ": "+context.Canceled.Error()))
		os.Exit(int(ExitInterrupted))
	}
	fmt.Fprintf(os.Stderr, "\nerror: %v\n", err)
	os.Exit(1)
}
