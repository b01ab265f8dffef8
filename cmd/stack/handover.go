package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/gotool"
	"spire-falco/internal/filelock"
	"spire-falco/report"
)

const (
	// engineName is the name of the program that has the commands that are not here.
	engineName = "stack-engine"
	// engineSource is its package in the project's folder.
	engineSource = "cmd/" + engineName
)

// newHandedOverCommand is a command of the other program: listed here, everything else about it is said and done there.
func newHandedOverCommand(c cli.Command, args []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:                c.Use,
		Short:              c.Short,
		DisableFlagParsing: true, // its flags are the other program's
		RunE: func(cmd *cobra.Command, _ []string) error {
			return handOver(cmd.Context(), args, cmd.ErrOrStderr())
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			if path, ok := builtEngine(projectOf(args).Dir); ok { // a shell's completion must not build anything
				_ = become(path, args)
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { // stack help COMMAND
		cli.Fail(handOver(cmd.Context(), args, cmd.ErrOrStderr()))
	})
	return cmd
}

// handOver finds or builds the other program and goes on as it. It returns only with an error.
func handOver(ctx context.Context, args []string, log io.Writer) error {
	path, ok := neighbour()
	if !ok {
		project := projectOf(args)
		if err := project.Find(); err != nil {
			return err
		}
		var err error
		if path, err = buildEngine(ctx, project.Dir, log); err != nil {
			return err
		}
	}
	return become(path, args)
}

// become replaces this process by the other program, so that signals, terminal and exit code are its own.
func become(path string, args []string) error {
	err := syscall.Exec(path, append([]string{"stack"}, args...), os.Environ()) //nolint:gosec // this project's own program
	return fmt.Errorf("start %s: %w", path, err)
}

// projectOf reads the flags that say which project is meant, wherever they stand. What is wrong with the others the
// other program says.
func projectOf(args []string) *cli.Target {
	t := &cli.Target{}
	root := cli.NewRoot(t)
	root.InitDefaultHelpFlag() // an undeclared one ends the parsing
	root.FParseErrWhitelist.UnknownFlags = true
	_ = root.ParseFlags(args)
	return t
}

// neighbour is the other program beside this one, where an installation puts it.
func neighbour() (string, bool) {
	self, err := os.Executable()
	if err != nil {
		return "", false
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", false
	}
	path := filepath.Join(filepath.Dir(self), engineName)
	return path, isProgram(path)
}

// cachedEngine is where the other program is kept that was built from the project's folder.
func cachedEngine(dir string) string {
	return filepath.Join(dir, ".cache", "bin", engineName)
}

// builtEngine is the other program as it was last built.
func builtEngine(dir string) (string, bool) {
	if path, ok := neighbour(); ok {
		return path, true
	}
	path, err := filepath.Abs(cachedEngine(dir))
	return path, err == nil && isProgram(path)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// buildEngine builds the other program from the project's folder and returns its path. Where nothing has changed, that
// is the Go command's own check and takes part of a second.
func buildEngine(ctx context.Context, dir string, log io.Writer) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, engineSource)); err != nil {
		return "", fmt.Errorf("--dir = %q: there is no %s to build the commands that need the Pulumi engine from: run this in the project's folder, or put a built %s beside this program", dir, engineSource, engineName)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("the commands that need the Pulumi engine are built from source, and there is no Go command in PATH: install Go (https://go.dev/dl/), or put a built %s beside this program", engineName)
	}
	path := cachedEngine(dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("create the folder that %[1]s is built into (a built %[1]s beside this program needs none): %[2]w", engineName, err)
	}
	say := sync.OnceFunc(func() {
		fmt.Fprintln(log, "building the commands that need the Pulumi engine (the first time takes minutes)")
	})
	if !isProgram(path) {
		say()
	}
	ctx, stop := cli.Interruptible(ctx)
	defer stop()
	unlock, err := filelock.Lock(ctx, path+".lock", "the build of "+engineName, log) // two runs at a time must not start half a program
	if err != nil {
		return "", err
	}
	defer unlock()
	slow := time.AfterFunc(2*time.Second, say)
	defer slow.Stop()
	// With the state of the repository stamped into it, it would have to be linked again after every commit.
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "./"+engineSource) //nolint:gosec // fixed but for the project's folder
	build.Dir = dir
	output := report.Writer(log)
	build.Stdout, build.Stderr = output, output
	build.WaitDelay = 5 * time.Second                                         // of what it started, something may still hold its output
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) } // it removes what it has begun
	build.WaitDelay = 10 * time.Second
	beat := gotool.Heartbeat(log, engineName, time.Now())
	err = build.Run()
	beat()
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return "", cli.ExitInterrupted
		}
		return "", fmt.Errorf("build the commands that need the Pulumi engine from %s: %w", filepath.Join(dir, engineSource), err)
	}
	return path, nil
}
