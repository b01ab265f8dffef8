package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
)

func newPreviewCommand(t *target) *cobra.Command {
	var expectNoChanges bool
	cmd := &cobra.Command{
		Use:   cli.Preview.Use,
		Short: cli.Preview.Short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := t.plan()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			contractLine, err := previewContract(cmd.Context(), p, t.render(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			s, err := t.open(cmd.Context(), p.loaded, true, out, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer s.close()
			if err := checkUpgrade(cmd.Context(), p.settings, s); err != nil {
				return err
			}
			seen := &planned{}
			if err := s.Preview(cmd.Context(), seen.event); err != nil {
				return err
			}
			if err := writeSummary(out, t.Name, p, seen, s.standIn, contractLine); err != nil {
				return err
			}
			if n := seen.changes(); expectNoChanges && n > 0 {
				return fmt.Errorf("%d resources would change, and none should", n)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&expectNoChanges, "expect-no-changes", false, "fail when anything would change")
	return cmd
}
