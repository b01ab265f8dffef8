package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/engine"
	"spire-falco/report"
)

func newPulumiCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   cli.Pulumi.Use,
		Short: cli.Pulumi.Short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := engine.EnsureHome(t.Dir); err != nil {
				return err
			}
			pulumi, err := engine.CLI(cmd.Context(), t.Dir, report.Writer(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			backend, err := engine.OpenBackend(t.Dir, t.Name)
			if err != nil {
				return err
			}
			run := exec.CommandContext(cmd.Context(), pulumi, args...) //nolint:gosec // what the user typed
			run.Dir = t.Dir
			run.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true", "PULUMI_STACK="+t.Name)
			for k, v := range backend.Environment {
				run.Env = append(run.Env, k+"="+v)
			}
			run.Stdin, run.Stdout, run.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			err = run.Run()
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return cli.ExitCode(exit.ExitCode())
			}
			if err != nil {
				return fmt.Errorf("run the Pulumi CLI: %w", err)
			}
			return nil
		},
	}
}
