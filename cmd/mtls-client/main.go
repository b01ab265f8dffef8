// Command mtls-client calls an mtls-server over mutual TLS, once or at a rate,
// and tells in its exit code whether it was served, refused, could not reach
// the server or has no identity. See docs/mtls.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"spire-falco/mtls"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnreachable = 4
	exitNoIdentity  = 5
)

var exitCodes = map[mtls.Outcome]int{
	"":                      exitOK, // no request failed
	mtls.OutcomeFailed:      exitFailed,
	mtls.OutcomeRefused:     exitRefused,
	mtls.OutcomeUnreachable: exitUnreachable,
	mtls.OutcomeNoIdentity:  exitNoIdentity,
}

const usage = `Usage: mtls-client [flags]

Asks an mtls-server once, or, given a rate, a count or a duration, again and
again, and prints a summary as one line of JSON. Exit codes: 0 every request
was answered; of the first that was not: 1 unexpected answer, 3 refused (one
end did not accept the other), 4 unreachable, 5 no identity; 2 wrong settings.

Environment: SPIFFE_ENDPOINT_SOCKET (required); who the server may be:
AUTHORIZED_SPIFFE_IDS, AUTHORIZED_PATH_PREFIXES, AUTHORIZED_TRUST_DOMAINS (at
least one); SERVER_ADDRESS, for -address; CLIENT_RATE and so on for every other
flag; LOG_LEVEL (info; debug, warn, error).

`

// settings are the client's own.
type settings struct {
	mtls.Settings
	address         string
	path            string
	load            mtls.Load
	timeout         time.Duration
	identityTimeout time.Duration
	newConnections  bool
	reportEvery     time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program without the process around it.
func run(ctx context.Context, args []string, lookup mtls.Lookup, stdout, stderr io.Writer) int {
	s, err := readSettings(args, lookup, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "mtls-client: wrong settings:\n%v\n", err)
		return exitUsage
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: s.LogLevel}))

	waiting, cancel := context.WithTimeout(ctx, s.identityTimeout)
	defer cancel()
	source, err := mtls.OpenSource(waiting, s.Socket, log)
	if err != nil {
		log.Error("cannot get an identity", "error", err)
		return exitCodes[mtls.OutcomeOf(err)]
	}
	defer source.Close()
	client := mtls.NewClient(mtls.ClientConfig{
		Identity: source, Peers: s.Peers, Address: s.address, Path: s.path, Timeout: s.timeout,
		NewConnections: s.newConnections, IdleConnections: s.load.Concurrency,
	})
	defer client.Close()

	recorder := mtls.NewRecorder()
	if s.reportEvery > 0 {
		go report(ctx, log, recorder, s.reportEvery)
	}
	failures := failureLog{log: log}
	if err := recorder.Run(ctx, s.load, client.Get, failures.add); err != nil {
		_, _ = fmt.Fprintf(stderr, "mtls-client: %v\n", err)
		return exitUsage
	}
	summary := recorder.Summary()
	if err := json.NewEncoder(stdout).Encode(summary); err != nil {
		log.Error("cannot write the summary", "error", err)
		return exitFailed
	}
	return exitCodes[summary.FirstFailure]
}

// report logs how a long load goes.
func report(ctx context.Context, log *slog.Logger, recorder *mtls.Recorder, every time.Duration) {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			log.Info("so far", "summary", recorder.Summary())
		case <-ctx.Done():
			return
		}
	}
}

// failureLog logs failed requests: each change of outcome, and the same again
// after 10 s at the earliest.
type failureLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	last mtls.Outcome
	when time.Time
}

func (f *failureLog) add(outcome mtls.Outcome, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if outcome == f.last && (outcome == mtls.OutcomeOK || now.Sub(f.when) < 10*time.Second) {
		return
	}
	first := f.last == ""
	f.last, f.when = outcome, now
	switch {
	case outcome != mtls.OutcomeOK:
		f.log.Warn("request failed", "outcome", string(outcome), "error", err)
	case !first:
		f.log.Info("requests are answered again")
	}
}

// readSettings reads flags, and for each that is not given its environment
// variable. The error names every setting that is wrong.
func readSettings(args []string, lookup mtls.Lookup, stdout io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("mtls-client", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says it
	flags.StringVar(&s.address, "address", "", "host:port of the server")
	flags.StringVar(&s.path, "path", "/", "what to ask for")
	flags.Float64Var(&s.load.Rate, "rate", 0, "requests per second; 0 with a count or a duration: as fast as answers come")
	flags.IntVar(&s.load.Count, "count", 0, "end after so many requests; 0: no limit")
	flags.DurationVar(&s.load.Duration, "duration", 0, "end after this time; 0: no limit")
	flags.IntVar(&s.load.Concurrency, "concurrency", 8, "requests under way at the same time")
	flags.DurationVar(&s.timeout, "timeout", 5*time.Second, "of one request")
	flags.DurationVar(&s.identityTimeout, "identity-timeout", 30*time.Second, "how long to wait for an identity")
	flags.BoolVar(&s.newConnections, "new-connections", false, "a new connection and a full handshake for every request")
	flags.DurationVar(&s.reportEvery, "report-every", 0, "log a summary at this interval; 0: only at the end")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(stdout, usage)
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		return s, err
	}
	var errs []error
	if flags.NArg() > 0 {
		errs = append(errs, fmt.Errorf("arguments %q: allowed are flags alone", flags.Args()))
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	flags.VisitAll(func(f *flag.Flag) {
		value, set := lookup(variable(f.Name))
		if given[f.Name] || !set {
			return
		}
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s is %q: allowed is what -%s takes (%s): %w", variable(f.Name), value, f.Name, f.Usage, err))
		}
	})

	check := func(ok bool, name, value, allowed string) {
		if !ok {
			errs = append(errs, fmt.Errorf("-%s (%s) is %q: allowed is %s", name, variable(name), value, allowed))
		}
	}
	host, err := s.address, mtls.CheckAddress(s.address)
	check(err == nil && !strings.HasPrefix(host, ":"), "address", s.address, "host:port with a port from 1 to 65535, as mtls-server:8443")
	check(strings.HasPrefix(s.path, "/"), "path", s.path, "a path that begins with /")
	check(s.load.Rate >= 0 && !math.IsInf(s.load.Rate, 0) && s.load.Rate <= 1e6, "rate", fmt.Sprint(s.load.Rate), "a number from 0 to 1000000")
	check(s.load.Count >= 0, "count", fmt.Sprint(s.load.Count), "0 or more")
	check(s.load.Duration >= 0, "duration", s.load.Duration.String(), "0s or more")
	check(s.load.Concurrency >= 1 && s.load.Concurrency <= 10_000, "concurrency", fmt.Sprint(s.load.Concurrency), "a whole number from 1 to 10000")
	check(s.timeout > 0, "timeout", s.timeout.String(), "more than 0s")
	check(s.identityTimeout > 0, "identity-timeout", s.identityTimeout.String(), "more than 0s")
	check(s.reportEvery >= 0, "report-every", s.reportEvery.String(), "0s or more")
	if s.load.Rate == 0 && s.load.Count == 0 && s.load.Duration == 0 {
		s.load.Count = 1
	}
	common, err := mtls.ReadSettings(lookup)
	s.Settings = common
	return s, errors.Join(append(errs, err)...)
}

// variable is the environment variable of a flag.
func variable(name string) string {
	if name == "address" {
		return mtls.EnvServerAddress
	}
	return "CLIENT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
