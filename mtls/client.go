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
	// OutcomeOK: answered with this client's own SPIFFE ID.
	OutcomeOK Outcome = "ok"
	// OutcomeRefused: one end did not accept the other's identity.
	OutcomeRefused Outcome = "refused"
	// OutcomeUnreachable: no connection, a broken one, or no answer in time.
	OutcomeUnreachable Outcome = "unreachable"
	// OutcomeNoIdentity: this process has no valid SVID.
	OutcomeNoIdentity Outcome = "no_identity"
	// OutcomeFailed: an unexpected answer.
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

// errWrongAnswer is wrapped in the error when the answer is not that of
// [Handler].
var errWrongAnswer = errors.New("unexpected answer")

// statusError is an answer whose status is not 200.
type statusError struct {
	code int
	text string
}

// Error implements error.
func (e *statusError) Error() string { return "the server answered " + e.text }

// ClientConfig says which server a [Client] calls and how.
type ClientConfig struct {
	// Identity is the client's own.
	Identity Identity
	// Peers are the SPIFFE IDs that the server may have.
	Peers Peers
	// Address is the server's host:port.
	Address string
	// Path is the path of the request; empty means /.
	Path string
	// Timeout bounds one request, including the connection it may need.
	Timeout time.Duration
	// NewConnections opens a connection for every request.
	NewConnections bool
	// IdleConnections is how many are kept for later requests; at least 1.
	IdleConnections int
}

// Client calls a server over mutual TLS. It is safe for concurrent use.
type Client struct {
	config    ClientConfig
	transport *http.Transport
	http      *http.Client
}

// maxAnswer is the size of the largest answer that is read, in bytes.
const maxAnswer = 64 << 10

// NewClient returns a client. When its identity is a [Source], each rotation
// makes new requests use new connections, so that no connection outlives the
// SVID that authenticated it.
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
			// An SVID names no host; verifyPeer does the verification.
			InsecureSkipVerify: true, //nolint:gosec // see above
			VerifyConnection:   verifyPeer(config.Identity, config.Peers),
		},
		TLSHandshakeTimeout:    config.Timeout,
		DisableKeepAlives:      config.NewConnections,
		MaxIdleConns:           max(config.IdleConnections, 1),
		MaxIdleConnsPerHost:    max(config.IdleConnections, 1),
		IdleConnTimeout:        30 * time.Second, // below the server's, so that the client closes first
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
			// A redirect would lead to another peer than the authorised one.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close closes the idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Get makes one request and returns the SPIFFE ID that the server answered,
// which must be this client's own. [OutcomeOf] classifies the error.
func (c *Client) Get(ctx context.Context) (string, error) {
	own, err := c.config.Identity.GetX509SVID()
	if err != nil {
		return "", err
	}
	url := "https://" + c.config.Address + c.config.Path
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("create the request: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("call %s: %w", c.config.Address, err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read the answer from %s: %w", c.config.Address, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", &statusError{code: response.StatusCode, text: response.Status}
	}
	var answer Answer
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("%w from %s: not the expected JSON object: %w", errWrongAnswer, c.config.Address, err)
	}
	if answer.SPIFFEID != own.ID.String() {
		return "", fmt.Errorf("%w from %s: it sees this client as %q instead of %q",
			errWrongAnswer, c.config.Address, answer.SPIFFEID, own.ID)
	}
	return answer.SPIFFEID, nil
}
