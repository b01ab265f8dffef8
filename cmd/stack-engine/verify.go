package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/config"
	"spire-falco/detect/kube"
	"spire-falco/detect/verify"
)

// Exit codes of verify and alerts; 1 is also that of every other error.
const (
	exitNotVerified = 2
	exitGate        = 2
)

func newVerifyCommand(t *target) *cobra.Command {
	var (
		o             verify.Options
		jsonTo, xmlTo string
		list          bool
	)
	command := &cobra.Command{
		Use:   cli.Verify.Use,
		Short: cli.Verify.Short,
		Long: `Performs each documented attack for real, waits for its alert and for its delivery to Falcosidekick, then lets the stack
work normally and shows that no rule of ours fires. Everything it makes has the label ` + verify.Label + ` and is removed again.

Exit codes: 0 verified, 2 not verified, 1 it could not be run, 130 interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if list {
				for _, s := range verify.Scenarios() {
					_, _ = fmt.Fprintf(c.OutOrStdout(), "%-20s  %-45s  %s\n", s.ID, s.Rule, s.Title)
				}
				return nil
			}
			p, err := t.plan()
			if err != nil {
				return err
			}
			if o.Client, err = t.cluster(p.settings); err != nil {
				return err
			}
			o.Settings, o.Rules = p.settings, p.rules
			o.Out, o.Notes = c.OutOrStdout(), c.ErrOrStderr()
			if jsonTo == "-" || xmlTo == "-" {
				o.Out = c.ErrOrStderr()
			}
			o.Color = color(o.Out) == "always"
			o.Live = o.Color
			report, err := verify.Run(c.Context(), o)
			if report != nil {
				stdout := c.OutOrStdout()
				if werr := errors.Join(writeReport(jsonTo, stdout, report.WriteJSON), writeReport(xmlTo, stdout, report.WriteJUnit)); werr != nil {
					return errors.Join(werr, err)
				}
			}
			switch {
			case errors.Is(err, context.Canceled):
				_, _ = fmt.Fprintln(c.ErrOrStderr(), "interrupted")
				return cli.ExitInterrupted
			case errors.Is(err, verify.ErrNotVerified):
				return cli.ExitCode(exitNotVerified)
			}
			return err
		},
	}
	f := command.Flags()
	f.StringVar(&jsonTo, "json", "", "write the report as JSON to this file; - is the standard output")
	f.StringVar(&xmlTo, "junit", "", "write the report as JUnit to this file; - is the standard output")
	f.StringSliceVar(&o.Only, "only", nil, "perform only these scenarios")
	f.BoolVar(&list, "list", false, "list the scenarios and do nothing")
	f.StringVar(&o.Workload, "workload", "", "attack this workload; the first that listens if left out")
	f.StringVar(&o.ToolboxImage, "toolbox-image", verify.DefaultToolboxImage, "image with busybox's tools, for the attackers")
	f.DurationVar(&o.Quiet, "quiet", 75*time.Second, "watch normal operation for that long; 0 leaves it out")
	f.DurationVar(&o.AlertTimeout, "alert-timeout", 15*time.Second, "wait that long for an alert")
	f.BoolVar(&o.Force, "force", false, "attack a stack whose settings do not say cluster.testing")
	return command
}

// cluster connects to the stack's cluster.
func (t *target) cluster(s *config.Settings) (*kube.Client, error) {
	client, err := kube.New(s.Cluster.KubeconfigPath(t.Dir), s.Cluster.Context)
	if err != nil {
		return nil, fmt.Errorf("%w (is the stack up? see stack up)", err)
	}
	return client, nil
}

// writeReport writes to the file, to stdout for -, and nowhere for no name.
func writeReport(to string, stdout io.Writer, write func(io.Writer) error) error {
	switch to {
	case "":
		return nil
	case "-":
		return write(stdout)
	}
	file, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return errors.Join(write(file), file.Close())
}
