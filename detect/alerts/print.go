package alerts

import (
	"cmp"
	"fmt"
	"io"

	"spire-falco/falco"
	"spire-falco/report"
)

// Format is the format in which alerts are written.
type Format string

// The formats.
const (
	// Table is one line for each alert: time, priority, rule, location, command.
	Table Format = "table"
	// Wide is Table with Falco's whole message instead of the command.
	Wide Format = "wide"
	// JSON is one line for each alert as Falco wrote it; terminal control characters are escaped, which does not change
	// its meaning.
	JSON Format = "json"
)

// ParseFormat reads a format; the error lists the known ones.
func ParseFormat(text string) (Format, error) {
	switch f := Format(text); f {
	case Table, Wide, JSON:
		return f, nil
	}
	return "", fmt.Errorf("unknown format %q; must be table, wide or json", text)
}

// Printer writes alerts.
type Printer struct {
	Out    io.Writer
	Format Format
	Color  bool

	header bool
}

// Print writes one alert.
func (p *Printer) Print(a *Alert) error {
	if p.Format == JSON {
		_, err := fmt.Fprintf(p.Out, "%s\n", report.JSON(a.Raw))
		return err
	}
	if !p.header {
		p.header = true
		last := "COMMAND"
		if p.Format == Wide {
			last = "MESSAGE"
		}
		if err := p.row(false, 0, "TIME (UTC)", "PRIORITY", "RULE", "WHERE", last); err != nil {
			return err
		}
	}
	what := a.Field("proc.cmdline")
	if p.Format == Wide || what == "" {
		what = a.Message()
	}
	at := a.Time.UTC().Format("2006-01-02 15:04:05.000")
	if a.Time.IsZero() {
		if at, _ = a.split(); len(at) > len("23:59:59.999999999") || at == "" {
			at = "unknown"
		}
	}
	return p.row(p.Color, a.Priority, at, a.Priority.String(), cmp.Or(a.Rule, "-"), a.Where(), what)
}

// row uses fixed column widths that fit this stack's own rules and pods: alerts come one by one, so the widths of later
// ones are not known.
func (p *Printer) row(color bool, priority falco.Priority, at, name, rule, where, what string) error {
	label := fmt.Sprintf("%-13s", name)
	if color {
		label = priorityColor(priority) + label + colorOff
	}
	_, err := fmt.Fprintf(p.Out, "%-23s  %s  %-46s  %-40s  %s\n",
		report.Text(at), label, report.Text(rule), report.Text(where), report.Text(what))
	return err
}

const colorOff = "\x1b[0m"

func priorityColor(p falco.Priority) string {
	switch {
	case p <= falco.PriorityCritical:
		return "\x1b[1;31m" // bold red
	case p <= falco.PriorityError:
		return "\x1b[31m"
	case p <= falco.PriorityWarning:
		return "\x1b[33m"
	case p <= falco.PriorityNotice:
		return "\x1b[36m"
	}
	return "\x1b[2m"
}

// GitHubAnnotation returns the workflow command that shows the alert as an error of a GitHub Actions run.
func GitHubAnnotation(a *Alert) string {
	return report.Annotation{
		Title:   fmt.Sprintf("Falco %s: %s", a.Priority, a.Rule),
		Message: a.Where() + ": " + a.Message(),
	}.String()
}
