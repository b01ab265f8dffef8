package mtls

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

// Outcome is how a request ended, in one word.
type Outcome string

// The outcomes of a request.
const (
	// OutcomeOK: answered, and told the right SPIFFE ID.
	OutcomeOK Outcome = "ok"
	// OutcomeRefused: one end did not accept the other's identity.
	OutcomeRefused Outcome = "refused"
	// OutcomeUnreachable: no connection, or it broke, or no answer in time.
	OutcomeUnreachable Outcome = "unreachable"
	// OutcomeNoIdentity: this process has no valid SVID.
	OutcomeNoIdentity Outcome = "no_identity"
	// OutcomeFailed: answered, but not as a server of this kind answers.
	OutcomeFailed Outcome = "failed"
)

// OutcomeOf classifies an error of [Client.Get] or [OpenSource]; nil is
// [OutcomeOK].
func OutcomeOf(err error) Outcome {
	op := (*net.OpError)(nil)
	status := (*statusError)(nil)
	refused := (*RefusedError)(nil)
	switch {
	case err == nil:
		return OutcomeOK
	case errors.Is(err, ErrNoIdentity), errors.Is(err, ErrIdentityExpired), errors.Is(err, ErrIdentityNotYetValid):
		return OutcomeNoIdentity
	case errors.As(err, &refused):
		return OutcomeRefused
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert
		return OutcomeRefused
	case errors.As(err, &status):
		if status.code == http.StatusUnauthorized || status.code == http.StatusForbidden {
			return OutcomeRefused
		}
		return OutcomeFailed
	case errors.Is(err, errWrongAnswer):
		return OutcomeFailed
	default:
		return OutcomeUnreachable
	}
}

// errWrongAnswer is wrapped when the answer is not what [Handler] says.
var errWrongAnswer = errors.New("unexpected answer")

// statusError is an answer with another status than 200.
type statusError struct {
	code int
	text string
}

// Error implements error.
func (e *statusError) Error() string { return "the server answered " + e.text }

// ClientConfig says whom a [Client] calls and how.
type ClientConfig struct {
	// Identity is the client's own.
	Identity Identity
	// Peers are who the server may be.
	Peers Peers
	// Address is the server's host:port.
	Address string
	// Path is what is asked for; empty means /.
	Path string
	// Timeout bounds one request, with the connection it may need.
	Timeout time.Duration
	// NewConnections makes every request on a connection of its own.
	NewConnections bool
	// IdleConnections are kept for later requests; at least 1.
	IdleConnections int
}

// Client calls a server over mutual TLS. It may be used by several goroutines.
type Client struct {
	config    ClientConfig
	transport *http.Transport
	http      *http.Client
}

// maxAnswer is the largest answer that is read, in bytes.
const maxAnswer = 64 << 10

// NewClient returns a client. When its identity is a [Source], each rotation
// has new requests use new connections, so that none outlives the SVID that
// authenticated it.
func NewClient(config ClientConfig) *Client {
	if config.Path == "" {
		config.Path = "/"
	}
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: config.Timeout}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:           tls.VersionTLS13,
			GetClientCertificate: tlsconfig.GetClientCertificate(config.Identity),
			NextProtos:           []string{"http/1.1"},
			// An SVID names no host: verifyPeer does all of the verification.
			InsecureSkipVerify: true, //nolint:gosec // see above
			VerifyConnection:   verifyPeer(config.Identity, config.Peers),
		},
		TLSHandshakeTimeout:    config.Timeout,
		DisableKeepAlives:      config.NewConnections,
		MaxIdleConns:           max(config.IdleConnections, 1),
		MaxIdleConnsPerHost:    max(config.IdleConnections, 1),
		IdleConnTimeout:        30 * time.Second, // below the server's, so that it never closes first
		MaxResponseHeaderBytes: maxAnswer,
		DisableCompression:     true,
	}
	if source, ok := config.Identity.(*Source); ok {
		source.OnUpdate(transport.CloseIdleConnections)
	}
	return &Client{
		config: config, transport: transport,
		http: &http.Client{
			Transport: transport,
			Timeout:   config.Timeout,
			// Where the server would send its callers is not the peer that
			// was authorised.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close closes the connections that no request uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Get asks once and returns the SPIFFE ID under which the server knows this
// client, which must be its own. [OutcomeOf] classifies the error.
func (c *Client) Get(ctx context.Context) (string, error) {
	own, err := c.config.Identity.GetX509SVID()
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.config.Address+c.config.Path, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("make the request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", c.config.Address, err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", c.config.Address, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", &statusError{code: response.StatusCode, text: response.Status}
	}
	var answer Answer
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("%w of %s: not the JSON object expected: %w", errWrongAnswer, c.config.Address, err)
	}
	if answer.SPIFFEID != own.ID.String() {
		return "", fmt.Errorf("%w of %s: it knows this client as %q, not as %q", errWrongAnswer, c.config.Address, answer.SPIFFEID, own.ID)
	}
	return answer.SPIFFEID, nil
}
