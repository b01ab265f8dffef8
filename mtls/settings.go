package mtls

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// The environment variables that the programs read. Those of the server's
// limits are named in [ReadServerSettings].
const (
	// EnvSocket is the address of the Workload API: unix:///path or
	// tcp://ip:port. It is required.
	EnvSocket = workloadapi.SocketEnv
	// EnvServerAddress is host:port: where the server listens, and what the
	// client calls.
	EnvServerAddress = "SERVER_ADDRESS"
	// EnvSPIFFEIDs lists the exact SPIFFE IDs that the other end may have.
	EnvSPIFFEIDs = "AUTHORIZED_SPIFFE_IDS"
	// EnvPathPrefixes lists SPIFFE IDs; the other end may have any of them or
	// any ID below.
	EnvPathPrefixes = "AUTHORIZED_PATH_PREFIXES"
	// EnvTrustDomains lists trust domains; the other end may have any ID in
	// them.
	EnvTrustDomains = "AUTHORIZED_TRUST_DOMAINS"
	// EnvLogLevel is debug, info, warn or error.
	EnvLogLevel = "LOG_LEVEL"
)

// DefaultServerAddress is where the server listens when SERVER_ADDRESS is not
// set.
const DefaultServerAddress = ":8443"

// DefaultGracePeriod bounds the server's shutdown. It is below Kubernetes'
// default of 30 s between SIGTERM and SIGKILL.
const DefaultGracePeriod = 20 * time.Second

// Lookup finds an environment variable, as os.LookupEnv does.
type Lookup func(name string) (value string, set bool)

// Settings are the settings that the server and the client share.
type Settings struct {
	// Socket is the address of the Workload API.
	Socket string
	// Peers are the SPIFFE IDs that the other end may have.
	Peers Peers
	// LogLevel is the lowest level that is logged.
	LogLevel slog.Level
}

// ServerSettings are the settings of mtls-server.
type ServerSettings struct {
	Settings
	// Address is where the server listens, host:port.
	Address string
	// GracePeriod is how long requests in flight may take after a signal to
	// stop.
	GracePeriod time.Duration
	// Limits bound the resources that peers can take.
	Limits Limits
}

// ReadSettings reads the settings that both programs share. The error names
// every invalid variable, its value and what is allowed.
func ReadSettings(lookup Lookup) (Settings, error) {
	r := reader{lookup: lookup}
	s := r.common()
	return s, r.err()
}

// ReadServerSettings reads the settings of mtls-server: those of
// [ReadSettings], SERVER_ADDRESS, SHUTDOWN_GRACE_PERIOD, MAX_CONNECTIONS,
// MAX_CONNECTIONS_PER_PEER, MAX_PENDING_HANDSHAKES, MAX_HEADER_BYTES,
// HANDSHAKE_TIMEOUT, READ_TIMEOUT, WRITE_TIMEOUT and IDLE_TIMEOUT. The error
// names every invalid variable, its value and what is allowed.
func ReadServerSettings(lookup Lookup) (ServerSettings, error) {
	r := reader{lookup: lookup}
	def := DefaultLimits()
	s := ServerSettings{
		Settings:    r.common(),
		Address:     r.serverAddress(),
		GracePeriod: r.duration("SHUTDOWN_GRACE_PERIOD", DefaultGracePeriod, 0),
		Limits: Limits{
			Connections:        r.integer("MAX_CONNECTIONS", def.Connections, 1, 100_000),
			ConnectionsPerPeer: r.integer("MAX_CONNECTIONS_PER_PEER", def.ConnectionsPerPeer, 1, 100_000),
			PendingHandshakes:  r.integer("MAX_PENDING_HANDSHAKES", def.PendingHandshakes, 1, 100_000),
			HeaderBytes:        r.integer("MAX_HEADER_BYTES", def.HeaderBytes, 1024, 1<<20),
			HandshakeTimeout:   r.duration("HANDSHAKE_TIMEOUT", def.HandshakeTimeout, time.Millisecond),
			ReadTimeout:        r.duration("READ_TIMEOUT", def.ReadTimeout, time.Millisecond),
			WriteTimeout:       r.duration("WRITE_TIMEOUT", def.WriteTimeout, time.Millisecond),
			IdleTimeout:        r.duration("IDLE_TIMEOUT", def.IdleTimeout, time.Millisecond),
		},
	}
	if s.Limits.ConnectionsPerPeer > s.Limits.Connections {
		if _, set := lookup("MAX_CONNECTIONS_PER_PEER"); set {
			r.fail("MAX_CONNECTIONS_PER_PEER", strconv.Itoa(s.Limits.ConnectionsPerPeer),
				fmt.Sprintf("at most MAX_CONNECTIONS, which is %d", s.Limits.Connections))
		}
		s.Limits.ConnectionsPerPeer = s.Limits.Connections
	}
	return s, r.err()
}

// ServerAddress reads only SERVER_ADDRESS, for the health check.
func ServerAddress(lookup Lookup) (string, error) {
	r := reader{lookup: lookup}
	address := r.serverAddress()
	return address, r.err()
}

// CheckAddress returns an error unless address is host:port with a numeric
// port from 1 to 65535; the host may be empty.
func CheckAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("it must be host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("its port must be a number from 1 to 65535")
	}
	return nil
}

// reader collects the errors of the environment, so that one run reports all
// of them.
type reader struct {
	lookup Lookup
	errs   []error
}

func (r *reader) fail(name, value, allowed string) {
	r.errs = append(r.errs, fmt.Errorf("%s is %q: must be %s", name, value, allowed))
}

func (r *reader) err() error { return errors.Join(r.errs...) }

func (r *reader) common() Settings {
	var s Settings
	socket, _ := r.lookup(EnvSocket)
	if err := workloadapi.ValidateAddress(socket); err != nil {
		r.fail(EnvSocket, socket,
			"the address of the Workload API, such as unix:///spiffe-workload-api/api.sock ("+err.Error()+")")
	}
	s.Socket = socket

	for _, item := range r.list(EnvSPIFFEIDs) {
		id, err := spiffeid.FromString(item)
		if err != nil {
			r.fail(EnvSPIFFEIDs, item,
				"a comma-separated list of SPIFFE IDs, such as spiffe://example.org/client ("+err.Error()+")")
			continue
		}
		s.Peers.IDs = append(s.Peers.IDs, id)
	}
	for _, item := range r.list(EnvPathPrefixes) {
		id, err := spiffeid.FromString(item)
		switch {
		case err != nil:
			r.fail(EnvPathPrefixes, item,
				"a comma-separated list of SPIFFE IDs, such as spiffe://example.org/ns/prod ("+err.Error()+")")
		case id.Path() == "":
			r.fail(EnvPathPrefixes, item, "a SPIFFE ID with a path; a whole trust domain belongs in "+EnvTrustDomains)
		default:
			s.Peers.PathPrefixes = append(s.Peers.PathPrefixes, id)
		}
	}
	for _, item := range r.list(EnvTrustDomains) {
		domain, err := spiffeid.TrustDomainFromString(item)
		switch {
		case err != nil:
			r.fail(EnvTrustDomains, item, "a comma-separated list of trust domains, such as example.org ("+err.Error()+")")
		case item != domain.Name():
			// The library accepts any SPIFFE ID and takes its domain, which
			// would authorise far more than what was written.
			r.fail(EnvTrustDomains, item, "a trust domain without scheme and path, such as "+domain.Name())
		default:
			s.Peers.TrustDomains = append(s.Peers.TrustDomains, domain)
		}
	}
	if s.Peers.Empty() && len(r.errs) == 0 {
		r.errs = append(r.errs, fmt.Errorf("none of %s, %s and %s is set, so every peer would be refused: set at least one",
			EnvSPIFFEIDs, EnvPathPrefixes, EnvTrustDomains))
	}

	levels := []string{"debug", "info", "warn", "error"}
	if value, set := r.lookup(EnvLogLevel); set {
		if !slices.Contains(levels, value) || s.LogLevel.UnmarshalText([]byte(value)) != nil {
			r.fail(EnvLogLevel, value, "one of "+strings.Join(levels, ", "))
		}
	}
	return s
}

func (r *reader) serverAddress() string {
	address, set := r.lookup(EnvServerAddress)
	if !set {
		return DefaultServerAddress
	}
	if err := CheckAddress(address); err != nil {
		r.fail(EnvServerAddress, address, "host:port, such as :8443 ("+err.Error()+")")
	}
	return address
}

// list splits a comma-separated variable. An unset or empty one has no items;
// an empty item among others is kept, so that it is reported as invalid.
func (r *reader) list(name string) []string {
	value, _ := r.lookup(name)
	if strings.TrimSpace(value) == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

func (r *reader) integer(name string, def, low, high int) int {
	value, set := r.lookup(name)
	if !set {
		return def
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		r.fail(name, value, fmt.Sprintf("a whole number from %d to %d", low, high))
		return def
	}
	return n
}

func (r *reader) duration(name string, def, low time.Duration) time.Duration {
	const high = time.Hour
	value, set := r.lookup(name)
	if !set {
		return def
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < low || d > high {
		r.fail(name, value, fmt.Sprintf("a duration from %s to %s, such as 10s", low, high))
		return def
	}
	return d
}
