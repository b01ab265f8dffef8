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
	"spire-falco/falco"
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
		Long: `Reads the alerts of Falco's pods on all nodes, or with --input those of a file or pipe.

  stack alerts --since 1h --min-priority warning
  stack alerts --follow --pod 'mtls/mtls-server-*'
  stack alerts --follow --for 60s --fail-on critical
  journalctl -u falco -o json --all | stack alerts --input - --fail-on critical

Alerts are found one on a line, several on a line, over several lines, in arrays, as Falco's text output, and inside the
logs of the kubelet, Docker, the journal, syslog and kubectl. What is or may be an alert and cannot be read is reported on
the standard error with the count and the first place.

Exit codes: 0; 2 when there is an alert that --fail-on stops for; 1 when the alerts could not be read, and with --fail-on
also when one of them could not.`,
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
			if gate, ok := errors.AsType[*alerts.GateError](err); ok {
				_, _ = fmt.Fprintf(errOut, "--fail-on %s: %v\n", strings.ToLower(gate.FailOn.String()), gate)
				return cli.ExitCode(exitGate)
			}
			return err
		},
	}
	f := command.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "continue with the alerts to come")
	f.DurationVar(&o.For, "for", 0, "with --follow: end after that long")
	f.StringVar(&since, "since", "1h", "alerts of the last 30m, 24h ..., or since a time such as 2026-01-31T15:04:05Z; all of a file, and those to come with --follow, if left out")
	f.StringVar(&least, "min-priority", "", "leave out less severe alerts: emergency, alert, critical, error, warning, notice, informational, debug")
	f.StringSliceVar(&o.Filter.Rules, "rule", nil, "only of these rules; * and ? match any text and character")
	f.StringSliceVar(&o.Filter.Pods, "pod", nil, "only about these pods, NAME or NAMESPACE/NAME; * and ? match any text and character")
	f.StringVarP(&format, "output", "o", "table", "table, wide (Falco's whole message) or json (as Falco wrote it, on one line)")
	f.StringVar(&colorWhen, "color", "auto", "auto (on a terminal), always or never")
	f.StringVar(&failOn, "fail-on", "", "exit with 2 when there is an alert of this priority or a more severe one, and with 1 when what may be one cannot be read")
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

func parsePriority(flag, text string, into **falco.Priority) error {
	if text == "" {
		return nil
	}
	p, err := falco.ParsePriority(text)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	*into = &p
	return nil
}
