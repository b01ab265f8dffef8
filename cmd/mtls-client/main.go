// Command mtls-client calls an mtls-server over mutual TLS, once or at a rate.
// Its exit code says whether it was served, was refused, could not reach the
// server or has no identity. See docs/mtls.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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

Calls an mtls-server once, or repeatedly with -rate, -count or -duration, and
prints a summary as one line of JSON.

Exit codes:
  0  every request succeeded
  1  unexpected answer
  2  invalid settings
  3  refused: one end did not accept the other
  4  unreachable
  5  no identity
The first request that failed decides.

Environment:
  SPIFFE_ENDPOINT_SOCKET    Workload API: unix:///path or tcp://ip:port (required)
  AUTHORIZED_SPIFFE_IDS     accepted servers: exact SPIFFE IDs, comma-separated
  AUTHORIZED_PATH_PREFIXES  ... every ID at or below these
  AUTHORIZED_TRUST_DOMAINS  ... every ID in these (at least one of the three)
  SERVER_ADDRESS            -address
  CLIENT_RATE, ...          any other flag, in capitals after CLIENT_
  LOG_LEVEL                 debug, info (default), warn or error

Flags override the environment:

`

// settings are all settings of mtls-client.
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

// run is main without global state, for tests.
func run(ctx context.Context, args []string, lookup mtls.Lookup, stdout, stderr io.Writer) int {
	s, err := readSettings(args, lookup, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "mtls-client: invalid settings:\n%v\n", err)
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

// report logs a summary at intervals.
func report(ctx context.Context, log *slog.Logger, recorder *mtls.Recorder, every time.Duration) {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			log.Info("summary so far", "summary", recorder.Summary())
		case <-ctx.Done():
			return
		}
	}
}

// failureLog logs failed requests: every change of outcome, and the same
// outcome at most every 10 s.
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

// readSettings reads the flags, and the environment variable of each flag that
// is not given. The error names every invalid setting.
func readSettings(args []string, lookup mtls.Lookup, stdout io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("mtls-client", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller prints the error
	flags.StringVar(&s.address, "address", "", "host:port of the server")
	flags.StringVar(&s.path, "path", "/", "`path` of the request")
	flags.Float64Var(&s.load.Rate, "rate", 0, "requests per second; 0 with a count or duration: as fast as answers come")
	flags.IntVar(&s.load.Count, "count", 0, "stop after this many requests; 0: no limit")
	flags.DurationVar(&s.load.Duration, "duration", 0, "stop after this time; 0: no limit")
	flags.IntVar(&s.load.Concurrency, "concurrency", 8, "maximum number of requests in flight")
	flags.DurationVar(&s.timeout, "timeout", 5*time.Second, "timeout of one request")
	flags.DurationVar(&s.identityTimeout, "identity-timeout", 30*time.Second, "how long to wait for an identity")
	flags.BoolVar(&s.newConnections, "new-connections", false, "open a connection for every request")
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
		errs = append(errs, fmt.Errorf("arguments %q: must be flags only", flags.Args()))
	}
	errs = append(errs, setFromEnvironment(flags, lookup)...)
	errs = append(errs, s.validate()...)
	if s.load.Rate == 0 && s.load.Count == 0 && s.load.Duration == 0 {
		s.load.Count = 1
	}
	common, err := mtls.ReadSettings(lookup)
	s.Settings = common
	return s, errors.Join(append(errs, err)...)
}

// setFromEnvironment sets the flags that were not given from their environment
// variables.
func setFromEnvironment(flags *flag.FlagSet, lookup mtls.Lookup) (errs []error) {
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	flags.VisitAll(func(f *flag.Flag) {
		value, set := lookup(variable(f.Name))
		if given[f.Name] || !set {
			return
		}
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s is %q: must be a value for -%s (%s): %w",
				variable(f.Name), value, f.Name, f.Usage, err))
		}
	})
	return errs
}

// validate checks the ranges of the client's own settings.
func (s *settings) validate() (errs []error) {
	check := func(ok bool, name string, value any, allowed string) {
		if !ok {
			errs = append(errs, fmt.Errorf("-%s (%s) is %q: must be %s", name, variable(name), fmt.Sprint(value), allowed))
		}
	}
	hasHost := mtls.CheckAddress(s.address) == nil && !strings.HasPrefix(s.address, ":")
	check(hasHost, "address", s.address, "host:port with a port from 1 to 65535, such as mtls-server:8443")
	check(strings.HasPrefix(s.path, "/"), "path", s.path, "a path that begins with /")
	check(s.load.Rate >= 0 && s.load.Rate <= 1e6, "rate", s.load.Rate, "a number from 0 to 1000000")
	check(s.load.Count >= 0, "count", s.load.Count, "0 or more")
	check(s.load.Duration >= 0, "duration", s.load.Duration, "0s or more")
	check(s.load.Concurrency >= 1 && s.load.Concurrency <= 10_000,
		"concurrency", s.load.Concurrency, "a whole number from 1 to 10000")
	check(s.timeout > 0, "timeout", s.timeout, "more than 0s")
	check(s.identityTimeout > 0, "identity-timeout", s.identityTimeout, "more than 0s")
	check(s.reportEvery >= 0, "report-every", s.reportEvery, "0s or more")
	return errs
}

// variable returns the environment variable of a flag.
func variable(name string) string {
	if name == "address" {
		return mtls.EnvServerAddress
	}
	return "CLIENT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
