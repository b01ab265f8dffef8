// Command mtls-server answers HTTP over mutual TLS with the caller's SPIFFE
// ID. It gets its own identity from the SPIFFE Workload API, and serves the
// peers that its settings authorise. See docs/mtls.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"spire-falco/mtls"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// softMemoryLimit is where the garbage collector starts to work harder, unless
// GOMEMLIMIT sets another limit. The default limits let peers take half of it,
// and the process stays within 64 MiB.
const softMemoryLimit = 40 << 20

const usage = `Usage: mtls-server [health]

With no argument, runs the server. "health" checks the server on this host and
exits with 0 or 1. Settings are environment variables, defaults in parentheses:

  SPIFFE_ENDPOINT_SOCKET    Workload API: unix:///path or tcp://ip:port (required)
  AUTHORIZED_SPIFFE_IDS     accepted clients: exact SPIFFE IDs, comma-separated
  AUTHORIZED_PATH_PREFIXES  ... every ID at or below these
  AUTHORIZED_TRUST_DOMAINS  ... every ID in these (at least one of the three)
  SERVER_ADDRESS            host:port to listen on (:8443)
  SHUTDOWN_GRACE_PERIOD     for requests in flight at shutdown (20s)
  MAX_CONNECTIONS (512), MAX_CONNECTIONS_PER_PEER (128),
  MAX_PENDING_HANDSHAKES (256), MAX_HEADER_BYTES (8192),
  HANDSHAKE_TIMEOUT (5s), READ_TIMEOUT (10s), WRITE_TIMEOUT (10s),
  IDLE_TIMEOUT (1m), LOG_LEVEL (info; or debug, warn, error),
  GOMEMLIMIT (40MiB; raise it together with the limits)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without global state, for tests.
func run(ctx context.Context, args []string, lookup mtls.Lookup, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 0:
		return serve(ctx, lookup, stderr)
	case len(args) == 1 && args[0] == "health":
		return health(ctx, lookup, stderr)
	case len(args) == 1 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help"):
		_, _ = io.WriteString(stdout, usage)
		return exitOK
	}
	_, _ = fmt.Fprintf(stderr, "mtls-server: arguments %q: must be none, health or -h\n\n%s", args, usage)
	return exitUsage
}

func serve(ctx context.Context, lookup mtls.Lookup, stderr io.Writer) int {
	settings, err := mtls.ReadServerSettings(lookup)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "mtls-server: invalid settings:\n%v\n", err)
		return exitUsage
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: settings.LogLevel}))

	if _, set := lookup("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(softMemoryLimit)
	}
	source, err := mtls.OpenSource(ctx, settings.Socket, log)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, mtls.ErrNoIdentity) {
			log.Info("stopped while waiting for an identity", "error", err)
			return exitOK
		}
		log.Error("cannot get an identity", "error", err)
		return exitFailed
	}
	defer source.Close()

	// Only now, so that an open port means a server that can prove who it is.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", settings.Address)
	if err != nil {
		log.Error("cannot listen", "address", settings.Address, "error", err)
		return exitFailed
	}
	server := mtls.NewServer(mtls.ServerConfig{
		Identity: source, Peers: settings.Peers, Limits: settings.Limits, GracePeriod: settings.GracePeriod, Log: log,
	})
	if err := server.Serve(ctx, listener); err != nil {
		log.Error("cannot continue", "error", err)
		return exitFailed
	}
	return exitOK
}

func health(ctx context.Context, lookup mtls.Lookup, stderr io.Writer) int {
	address, err := mtls.ServerAddress(lookup)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "mtls-server: invalid settings:\n%v\n", err)
		return exitUsage
	}
	if err := mtls.CheckHealth(ctx, address); err != nil {
		_, _ = fmt.Fprintf(stderr, "mtls-server: unhealthy at %s: %v\n", address, err)
		return exitFailed
	}
	return exitOK
}
