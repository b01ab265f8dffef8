package alerts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sort"
	"strings"
	"time"

	"spire-falco/falco"
	"spire-falco/report"
)

// Options of Run.
type Options struct {
	// Logs are Falco's pods. Nil when Input is set.
	Logs Logs
	// Input is a file with Falco's output, or - for the standard input; empty to read Logs.
	Input string
	// Stdin is what - reads; os.Stdin when nil.
	Stdin io.Reader

	Filter Filter
	// Follow waits for further alerts until For is over or the context ends.
	Follow bool
	// For ends Follow after that time; zero for never.
	For time.Duration

	Format Format
	Color  bool
	// FailOn is the gate. If an alert that the filter selects has this priority or a more severe one, Run returns a
	// *GateError; if something that may be such an alert cannot be read, an *UnreadError. Nil for no gate.
	FailOn *falco.Priority
	// GitHub also writes the alerts that fail the gate as annotations of a GitHub Actions run.
	GitHub bool
	// Poll is the Follower's; zero for its default.
	Poll time.Duration
}

// GateError reports that alerts failed the gate.
type GateError struct {
	// FailOn is the least severe priority that fails the gate.
	FailOn falco.Priority
	// Count is the number of alerts that failed it.
	Count int
	// Alerts are the first of them, at most 1000, in the order of arrival.
	Alerts []*Alert
	// Rules counts them by rule; beyond 100 rules, the rest are counted together under "others".
	Rules map[string]int
}

const (
	// maxGateAlerts and maxGateRules bound what is kept of alerts that fail the gate.
	maxGateAlerts = 1000
	maxGateRules  = 100
	otherRules    = "others"
	unnamedRule   = "without a rule's name"
)

func (e *GateError) add(a *Alert) {
	e.Count++
	if len(e.Alerts) < maxGateAlerts {
		e.Alerts = append(e.Alerts, a)
	}
	rule := a.Rule
	if rule == "" {
		rule = unnamedRule
	}
	if e.Rules == nil {
		e.Rules = map[string]int{}
	}
	if _, ok := e.Rules[rule]; !ok && len(e.Rules) >= maxGateRules {
		rule = otherRules
	}
	e.Rules[rule]++
}

// Error counts the alerts by rule.
func (e *GateError) Error() string {
	rules := make([]string, 0, len(e.Rules))
	for rule, n := range e.Rules {
		rules = append(rules, fmt.Sprintf("%s (%d)", report.Bounded(rule, maxRuleShown), n))
	}
	sort.Strings(rules)
	noun := "alerts"
	if e.Count == 1 {
		noun = "alert"
	}
	return fmt.Sprintf("%d %s of priority %s or more severe: %s",
		e.Count, noun, strings.ToLower(e.FailOn.String()), strings.Join(rules, ", "))
}

// maxRuleShown is how many characters of a rule's name are shown.
const maxRuleShown = 200

// UnreadError reports that the gate cannot be evaluated: something that is or may be an alert could not be read.
type UnreadError struct {
	// Count is the number of such places.
	Count int
	// First is the first of them.
	First Line
}

// Error returns the count and the first place.
func (e *UnreadError) Error() string {
	what := "1 place that is or may be an alert cannot be read"
	if e.Count != 1 {
		what = fmt.Sprintf("%d places that are or may be alerts cannot be read; the first", e.Count)
	}
	return fmt.Sprintf("%s: %s: %v: %s",
		what, report.Text(e.First.Place()), e.First.Err, report.Bounded(e.First.Text, maxTextShown))
}

// maxTextShown is how many characters are shown of a text that cannot be read.
const maxTextShown = 120

// Validate reports options that contradict each other.
func (o Options) Validate() error {
	var errs []error
	if (o.Logs == nil) == (o.Input == "") {
		errs = append(errs, errors.New("alerts are read either from Falco's pods or from --input"))
	}
	if o.For < 0 || o.For > 0 && !o.Follow {
		errs = append(errs, fmt.Errorf("--for = %s: must be a positive duration, with --follow", o.For))
	}
	if _, err := ParseFormat(string(o.Format)); err != nil {
		errs = append(errs, fmt.Errorf("--output: %w", err))
	}
	return errors.Join(append(errs, o.Filter.Validate())...)
}

// Run reads alerts, writes those that the filter selects to stdout, and logs to stderr. It returns a *GateError or an
// *UnreadError when the gate fails, and no error when ctx ends while following.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	if err := o.Validate(); err != nil {
		return err
	}
	notes := stderr // for workflow commands, which report.Writer would escape
	stderr = report.Writer(stderr)
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s := &sink{options: o, printer: Printer{Out: stdout, Format: o.Format, Color: o.Color}, notes: notes}
	if o.FailOn != nil {
		s.gate.FailOn = *o.FailOn
	}
	if o.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.For)
		defer cancel()
	}
	ctx, s.stop = context.WithCancelCause(ctx)
	defer s.stop(nil)
	err := read(ctx, o, s, log)
	s.flush()
	if s.err != nil {
		return fmt.Errorf("write alerts: %w", s.err)
	}
	if err != nil && (ctx.Err() == nil || !o.Follow) {
		return err
	}
	if s.unread.Count > 0 && (o.FailOn == nil || s.gate.Count > 0) { // otherwise the error says it
		log.Warn(s.unread.Error())
	}
	switch {
	case s.gate.Count > 0:
		return &s.gate
	case s.unread.Count > 0 && o.FailOn != nil:
		return &s.unread
	}
	return nil
}

func read(ctx context.Context, o Options, s *sink, log *slog.Logger) error {
	switch {
	case o.Input == "-": // a pipe ends by itself
		in := o.Stdin
		if in == nil {
			in = os.Stdin
		}
		return Scan("standard input", in, s.take)
	case o.Input != "" && o.Follow:
		return FollowFile(ctx, o.Input, s.take)
	case o.Input != "":
		file, err := os.Open(o.Input)
		if err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		defer file.Close() //nolint:errcheck // only read
		return Scan(o.Input, file, s.take)
	}
	f := &Follower{Logs: o.Logs, Since: o.Filter.Since, Poll: o.Poll, Log: log}
	if o.Follow {
		return f.Follow(ctx, s.take)
	}
	s.sorted = true // several nodes are read concurrently
	return f.Query(ctx, s.take)
}

// sink takes lines, one at a time.
type sink struct {
	options Options
	printer Printer
	notes   io.Writer
	stop    context.CancelCauseFunc
	sorted  bool
	held    []*Alert
	gate    GateError
	unread  UnreadError
	err     error
}

func (s *sink) take(l Line) {
	if l.Err != nil && s.mayStop(l.Err) {
		if s.unread.Count++; s.unread.Count == 1 {
			s.unread.First = l
		}
	}
	if l.Alert == nil || !s.options.Filter.Wants(l.Alert) {
		return
	}
	if s.sorted {
		s.held = append(s.held, l.Alert)
		return
	}
	s.write(l.Alert)
}

// mayStop reports whether something that cannot be read may be an alert that fails the gate. Only its priority can rule
// that out: filters cannot be applied to it.
func (s *sink) mayStop(err error) bool {
	var unreadable *UnreadableError
	return s.options.FailOn == nil || !errors.As(err, &unreadable) || unreadable.Priority <= *s.options.FailOn
}

func (s *sink) flush() {
	sort.SliceStable(s.held, func(i, j int) bool { return s.held[i].Time.Before(s.held[j].Time) })
	for _, a := range s.held {
		s.write(a)
	}
}

func (s *sink) write(a *Alert) {
	if s.err != nil {
		return
	}
	s.err = s.printer.Print(a)
	if o := s.options; o.FailOn != nil && a.Priority <= *o.FailOn {
		s.gate.add(a)
		if o.GitHub && s.err == nil {
			_, s.err = fmt.Fprintln(s.notes, GitHubAnnotation(a))
		}
	}
	if s.err != nil { // such as a pipe whose reader has gone
		s.stop(s.err)
	}
}
