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
	// Follow goes on with the alerts to come, until For is over or the context ends.
	Follow bool
	// For ends Follow after that time; zero for never.
	For time.Duration

	Format Format
	Color  bool
	// FailOn is the gate: an alert of that priority or a graver one, among those that the filter wants, makes Run return
	// a *GateError. Nil for no gate.
	FailOn *Priority
	// GitHub writes alerts that fail the gate as annotations of a GitHub Actions run too.
	GitHub bool
	// Poll is the Follower's; zero for its default.
	Poll time.Duration
}

// GateError says that alerts were grave enough to stop.
type GateError struct {
	// FailOn is the least priority that stops.
	FailOn Priority
	// Alerts that do, in order of time of arrival.
	Alerts []*Alert
}

// Error counts the alerts by rule.
func (e *GateError) Error() string {
	counts := map[string]int{}
	for _, a := range e.Alerts {
		counts[Printable(a.Rule)]++
	}
	rules := make([]string, 0, len(counts))
	for rule, n := range counts {
		rules = append(rules, fmt.Sprintf("%s (%d)", rule, n))
	}
	sort.Strings(rules)
	noun := "alerts"
	if len(e.Alerts) == 1 {
		noun = "alert"
	}
	return fmt.Sprintf("%d %s of priority %s or graver: %s", len(e.Alerts), noun, strings.ToLower(e.FailOn.String()), strings.Join(rules, ", "))
}

// Validate tells what does not fit together.
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

// Run reads alerts and writes those that the filter wants to stdout, and to stderr what else a person should know. It
// returns a *GateError when FailOn's gate is shut, and no error when ctx ends while following.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	if err := o.Validate(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s := &sink{options: o, printer: Printer{Out: stdout, Format: o.Format, Color: o.Color}, notes: stderr}
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
	if s.broken > 0 {
		log.Warn("lines that begin as alerts cannot be read", "lines", s.broken, "first", s.firstBroken)
	}
	if len(s.gate) > 0 {
		return &GateError{FailOn: *o.FailOn, Alerts: s.gate}
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
		return Scan(in, s.take)
	case o.Input != "" && o.Follow:
		return FollowFile(ctx, o.Input, s.take)
	case o.Input != "":
		file, err := os.Open(o.Input)
		if err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		defer file.Close() //nolint:errcheck // only read
		return Scan(file, s.take)
	}
	f := &Follower{Logs: o.Logs, Since: o.Filter.Since, Poll: o.Poll, Log: log}
	if o.Follow {
		return f.Follow(ctx, s.take)
	}
	s.sorted = true // several nodes, read one beside the other
	return f.Query(ctx, s.take)
}

// sink takes lines, one at a time.
type sink struct {
	options     Options
	printer     Printer
	notes       io.Writer
	stop        context.CancelCauseFunc
	sorted      bool
	held        []*Alert
	gate        []*Alert
	broken      int
	firstBroken string
	err         error
}

func (s *sink) take(l Line) {
	if l.Err != nil {
		if s.broken++; s.broken == 1 {
			s.firstBroken = l.Err.Error()
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
		s.gate = append(s.gate, a)
		if o.GitHub && s.err == nil {
			_, s.err = fmt.Fprintln(s.notes, GitHubAnnotation(a))
		}
	}
	if s.err != nil { // such as a pipe whose reader has gone
		s.stop(s.err)
	}
}
