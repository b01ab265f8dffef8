package main

import (
	"context"
	"fmt"
	"io"
	"sort"
	"text/tabwriter"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/config"
	"spire-falco/detect/kube"
	"spire-falco/report"
)

func newUpCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   cli.Up.Use,
		Short: cli.Up.Short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := t.plan()
			if err != nil {
				return err
			}
			out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
			for _, warning := range p.warnings() {
				report.Fprintf(errOut, "warning: %s\n", warning)
			}
			if err := preflight(cmd.Context(), t.Dir, p.settings, systemTools{}); err != nil {
				return err
			}
			line, err := checkContract(cmd.Context(), p, t.render(errOut))
			if err != nil {
				return err
			}
			if line != "" {
				fmt.Fprintf(errOut, "warning: %s\n", line)
			}
			s, err := t.open(cmd.Context(), p.loaded, false, out, errOut)
			if err != nil {
				return err
			}
			defer s.close()
			if err := checkUpgrade(cmd.Context(), p.settings, s); err != nil {
				return err
			}
			if p.settings.Cluster.Mode == config.ModeMinikube {
				if err := resumeMinikube(cmd.Context(), s, systemTools{}, errOut); err != nil {
					return err
				}
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			go newPodTroubles(p.settings, errOut).watch(ctx, func() (*kube.Client, error) { return t.cluster(p.settings) })
			outputs, err := s.Up(cmd.Context(), nil)
			if err != nil {
				return err
			}
			return writeOutputs(out, outputs)
		},
	}
}

func newDownCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   cli.Down.Use,
		Short: cli.Down.Short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := t.load()
			if err != nil {
				return err
			}
			s, err := t.open(cmd.Context(), l, false, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer s.close()
			if err := preflightDown(cmd.Context(), s, systemTools{}); err != nil {
				return err
			}
			if err := s.Down(cmd.Context(), nil); err != nil {
				return err
			}
			return t.clearMinikube(cmd.Context(), l.settings, cmd.ErrOrStderr())
		},
	}
}

func newOutputsCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   cli.Outputs.Use,
		Short: cli.Outputs.Short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := t.load()
			if err != nil {
				return err
			}
			s, err := t.open(cmd.Context(), l, true, nil, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer s.close()
			outputs, err := s.Outputs(cmd.Context())
			if err != nil {
				return err
			}
			return writeOutputs(cmd.OutOrStdout(), outputs)
		},
	}
}

func writeOutputs(out io.Writer, outputs auto.OutputMap) error {
	names := make([]string, 0, len(outputs))
	for name := range outputs {
		names = append(names, name)
	}
	sort.Strings(names)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w)
	for _, name := range names {
		value := fmt.Sprint(outputs[name].Value)
		if outputs[name].Secret {
			value = "[secret]"
		}
		report.Fprintf(w, "%s\t%s\n", name, value)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the outputs: %w", err)
	}
	return nil
}
