package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spire-falco/cmd/internal/cli"
	"spire-falco/detect/alerts"
)

func newAlertsCommand(t *target) *cobra.Command {
	var (
		o                           alerts.Options
		since, least, failOn        string
		format, colorWhen, annotate string
	)
	command := &cobra.Command{
		Use:   cli.Alerts.Use,
		Short: cli.Alerts.Short,
		Long: `Reads the alerts of Falco's pods on all nodes, or with --input those of a file or pipe, such as journalctl -u falco -o cat.

  stack alerts --since 1h --min-priority warning
  stack alerts --follow --pod 'mtls/mtls-server-*'
  stack alerts --follow --for 60s --fail-on critical

Exit codes: 0, 2 when --fail-on stops, 1 when the alerts could not be read.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out, errOut := c.OutOrStdout(), c.ErrOrStderr()
			if !c.Flags().Changed("since") && (o.Follow || o.Input != "") {
				since = "" // a file is read whole, and following begins now
				if o.Input == "" {
					since = "0s"
				}
			}
			err := errors.Join(
				parseSince(since, time.Now(), &o.Filter.Since),
				parsePriority("--min-priority", least, &o.Filter.MinPriority),
				parsePriority("--fail-on", failOn, &o.FailOn),
			)
			var ferr error
			if o.Format, ferr = alerts.ParseFormat(format); ferr != nil {
				err = errors.Join(err, fmt.Errorf("--output: %w", ferr))
			}
			switch colorWhen {
			case "auto":
				o.Color = color(out) == "always"
			case "always", "never":
				o.Color = colorWhen == "always"
			default:
				err = errors.Join(err, fmt.Errorf("--color = %q: must be auto, always or never", colorWhen))
			}
			switch annotate {
			case "auto":
				o.GitHub = os.Getenv("GITHUB_ACTIONS") == "true"
			case "always", "never":
				o.GitHub = annotate == "always"
			default:
				err = errors.Join(err, fmt.Errorf("--github = %q: must be auto, always or never", annotate))
			}
			if err != nil {
				return err
			}
			if o.Input == "" {
				l, err := t.load()
				if err != nil {
					return err
				}
				client, err := t.cluster(l.settings)
				if err != nil {
					return err
				}
				o.Logs = alerts.ClusterLogs{Client: client, Namespace: l.settings.Falco.Namespace}
			}
			o.Stdin = c.InOrStdin()
			err = alerts.Run(c.Context(), o, out, errOut)
			var gate *alerts.GateError
			if errors.As(err, &gate) {
				_, _ = fmt.Fprintf(errOut, "--fail-on %s: %v\n", strings.ToLower(gate.FailOn.String()), gate)
				return cli.ExitCode(exitGate)
			}
			return err
		},
	}
	f := command.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on with the alerts to come")
	f.DurationVar(&o.For, "for", 0, "with --follow: end after that long")
	f.StringVar(&since, "since", "1h", "alerts of the last 30m, 24h ..., or since a time such as 2026-01-31T15:04:05Z; all of a file, and those to come with --follow, if left out")
	f.StringVar(&least, "min-priority", "", "leave out lesser alerts: emergency, alert, critical, error, warning, notice, informational, debug")
	f.StringSliceVar(&o.Filter.Rules, "rule", nil, "only of these rules; * and ? match any text and character")
	f.StringSliceVar(&o.Filter.Pods, "pod", nil, "only about these pods, NAME or NAMESPACE/NAME; * and ? match any text and character")
	f.StringVarP(&format, "output", "o", "table", "table, wide (Falco's whole message) or json (as Falco wrote it)")
	f.StringVar(&colorWhen, "color", "auto", "auto (on a terminal), always or never")
	f.StringVar(&failOn, "fail-on", "", "exit with 2 when there is an alert of this priority or a graver one")
	f.StringVar(&annotate, "github", "auto", "annotate a GitHub Actions run with what --fail-on stops for: auto, always or never")
	f.StringVar(&o.Input, "input", "", "read this file instead of Falco's pods; - is the standard input")
	return command
}

// parseSince reads a duration before now or a point in time.
func parseSince(text string, now time.Time, into *time.Time) error {
	if text == "" {
		return nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		*into = now.Add(-d)
		return nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		*into = at
		return nil
	}
	return fmt.Errorf("--since = %q: must be a duration such as 30m, or a time such as 2026-01-31T15:04:05Z", text)
}

func parsePriority(flag, text string, into **alerts.Priority) error {
	if text == "" {
		return nil
	}
	p, err := alerts.ParsePriority(text)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	*into = &p
	return nil
}
