package alerts

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Format is how alerts are written.
type Format string

// The formats.
const (
	// Table is a line for each alert: time, priority, rule, place, command.
	Table Format = "table"
	// Wide is the same with Falco's whole message.
	Wide Format = "wide"
	// JSON is a line for each alert as Falco wrote it.
	JSON Format = "json"
)

// ParseFormat reads a format; the error lists what is allowed.
func ParseFormat(text string) (Format, error) {
	switch f := Format(text); f {
	case Table, Wide, JSON:
		return f, nil
	}
	return "", fmt.Errorf("%q is no format; allowed: table, wide, json", text)
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
		_, err := fmt.Fprintf(p.Out, "%s\n", a.Raw)
		return err
	}
	if !p.header {
		p.header = true
		if err := p.row(false, 0, "TIME (UTC)", "PRIORITY", "RULE", "WHERE", map[bool]string{true: "MESSAGE", false: "COMMAND"}[p.Format == Wide]); err != nil {
			return err
		}
	}
	what := a.Field("proc.cmdline")
	if p.Format == Wide || what == "" {
		what = a.Message()
	}
	return p.row(p.Color, a.Priority, a.Time.UTC().Format("2006-01-02 15:04:05.000"), a.Priority.String(), a.Rule, a.Where(), what)
}

// row keeps columns of the width that this stack's own rules and pods need: alerts come one by one, so that no width can be
// taken from those to come.
func (p *Printer) row(color bool, priority Priority, at, name, rule, where, what string) error {
	label := fmt.Sprintf("%-13s", name)
	if color {
		label = priorityColor(priority) + label + colorOff
	}
	_, err := fmt.Fprintf(p.Out, "%-23s  %s  %-46s  %-40s  %s\n", at, label, Printable(rule), Printable(where), Printable(what))
	return err
}

const colorOff = "\x1b[0m"

func priorityColor(p Priority) string {
	switch {
	case p <= Critical:
		return "\x1b[1;31m" // bold red
	case p <= Error:
		return "\x1b[31m"
	case p <= Warning:
		return "\x1b[33m"
	case p <= Notice:
		return "\x1b[36m"
	}
	return "\x1b[2m"
}

// Printable makes text safe for a terminal: whoever is caught chooses the command line, and with control characters could
// write over the very alert.
func Printable(text string) string {
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte(' ')
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool {
	return !unicode.IsPrint(r)
}

// GitHubAnnotation is the workflow command that shows the alert as an error on a GitHub Actions run.
func GitHubAnnotation(a *Alert) string {
	title := workflowProperty(fmt.Sprintf("Falco %s: %s", a.Priority, a.Rule))
	return fmt.Sprintf("::error title=%s::%s", title, workflowData(a.Where()+": "+a.Message()))
}

var (
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func workflowData(text string) string     { return dataEscapes.Replace(text) }
func workflowProperty(text string) string { return propertyEscapes.Replace(text) }
