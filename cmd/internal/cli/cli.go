// Package cli is what the two command line programs share. Users start cmd/stack: it is small, starts in a millisecond
// and contains the rules commands. cmd/stack-engine has the commands that need the Pulumi engine or a cluster;
// cmd/stack lists them and passes them on.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"spire-falco/report"
)

// Command describes a command of cmd/stack-engine for the help of both programs.
type Command struct {
	// Use is the name of the command and its arguments.
	Use string
	// Short says in one line what it does.
	Short string
}

// The commands of cmd/stack-engine.
var (
	Preview = Command{"preview", "Check settings and rules and plan the whole stack; changes nothing"}
	Up      = Command{"up", "Bring the stack up and wait until it runs"}
	Down    = Command{"down", "Destroy everything that the stack created, and nothing else"}
	Outputs = Command{"outputs", "Print the outputs of the last up; secrets are not shown"}
	Pulumi  = Command{
		"pulumi -- ARGUMENT...",
		"Run the Pulumi CLI with this project's backend, such as: pulumi -- config set --secret KEY",
	}
	Verify = Command{"verify", "Run every documented attack on the running stack and show which alerts arrive"}
	Alerts = Command{"alerts", "Show or follow Falco's alerts, or fail a CI run because of them"}
)

// EngineCommands are the commands of cmd/stack-engine.
func EngineCommands() []Command {
	return []Command{Preview, Up, Down, Outputs, Pulumi, Verify, Alerts}
}

// ExitCode is an error that ends the program with this code; what went wrong has already been printed.
type ExitCode int

// ExitInterrupted is the exit code of a command that the user interrupted.
const ExitInterrupted ExitCode = 130

// Error implements error; the text is never shown.
func (c ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Target is the stack that a command works on.
type Target struct {
	// Dir is the project's folder; absolute after Find.
	Dir string
	// Name is the name of the stack.
	Name string
}

// Find checks that Dir contains the project, and makes it absolute.
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

// NewRoot returns the command stack with the flags that select the stack, and without subcommands.
func NewRoot(t *Target) *cobra.Command {
	root := &cobra.Command{
		Use:           "stack",
		Short:         "SPIRE, Falco with tested rules, Falcosidekick and an mTLS server as one stack",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVarP(&t.Name, "stack", "s", "dev", "name of the stack; its settings are in Pulumi.NAME.yaml")
	root.PersistentFlags().StringVarP(&t.Dir, "dir", "C", ".", "the project's folder")
	return root
}

// Main runs the command line and ends the program when it fails.
func Main(ctx context.Context, root *cobra.Command) {
	if err := root.ExecuteContext(ctx); err != nil {
		Fail(err)
	}
}

// Interruptible returns a context that SIGINT and SIGTERM cancel until stop is called. Callers must watch ctx.Done():
// the signals no longer end the process.
func Interruptible(ctx context.Context) (interruptible context.Context, stop context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

// WriteError prints an error. Its text may contain anything: names of rules, settings and files, and output of other
// programs.
func WriteError(out io.Writer, err error) {
	fmt.Fprintf(out, "\nerror: %s\n", report.Lines(err.Error()))
}

// Fail prints the error and ends the program.
func Fail(err error) {
	if code, ok := errors.AsType[ExitCode](err); ok {
		os.Exit(int(code))
	}
	if errors.Is(err, context.Canceled) { // by Interruptible
		fmt.Fprintf(os.Stderr, "\ninterrupted: %s\n", strings.TrimSuffix(err.Error(), ": "+context.Canceled.Error()))
		os.Exit(int(ExitInterrupted))
	}
	WriteError(os.Stderr, err)
	os.Exit(1)
}
