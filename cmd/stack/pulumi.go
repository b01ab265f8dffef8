package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"spire-falco/engine"
)

func newPulumiCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "pulumi -- ARGUMENT...",
		Short: "Run the Pulumi CLI with this project's backend, such as: pulumi -- config set --secret KEY",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cli, err := engine.CLI(cmd.Context(), t.dir, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			backend, err := engine.OpenBackend(t.dir, t.name)
			if err != nil {
				return err
			}
			run := exec.CommandContext(cmd.Context(), cli, args...) //nolint:gosec // what the user typed
			run.Dir = t.dir
			run.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true", "PULUMI_STACK="+t.name)
			for k, v := range backend.Environment {
				run.Env = append(run.Env, k+"="+v)
			}
			run.Stdin, run.Stdout, run.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			err = run.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return exitCode(exit.ExitCode())
			}
			if err != nil {
				return fmt.Errorf("run the Pulumi CLI: %w", err)
			}
			return nil
		},
	}
}
