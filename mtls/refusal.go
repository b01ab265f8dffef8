package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Reason is why a connection was refused: the value of "reason" in the log.
type Reason string

// The reasons for refusing a connection.
const (
	// ReasonNoCertificate: the peer sent no certificate.
	ReasonNoCertificate Reason = "no_client_certificate"
	// ReasonNoSPIFFEID: the peer's certificate carries no SPIFFE ID.
	ReasonNoSPIFFEID Reason = "no_spiffe_id"
	// ReasonUnknownTrustDomain: no bundle for the peer's trust domain.
	ReasonUnknownTrustDomain Reason = "unknown_trust_domain"
	// ReasonExpired: the peer's SVID has expired.
	ReasonExpired Reason = "svid_expired"
	// ReasonNotYetValid: the peer's SVID is not valid yet.
	ReasonNotYetValid Reason = "svid_not_yet_valid"
	// ReasonUntrusted: the peer's certificate is no SVID, or was not issued by
	// an authority of its trust domain.
	ReasonUntrusted Reason = "svid_untrusted"
	// ReasonNotAuthorized: the peer's SPIFFE ID is genuine but not authorised.
	ReasonNotAuthorized Reason = "not_authorized"
	// ReasonPlainHTTP: the peer spoke HTTP without TLS.
	ReasonPlainHTTP Reason = "plain_http"
	// ReasonNotTLS: the peer spoke neither TLS nor HTTP.
	ReasonNotTLS Reason = "not_tls"
	// ReasonTLSVersion: the peer does not speak TLS 1.3.
	ReasonTLSVersion Reason = "tls_version"
	// ReasonProtocol: the peer does not speak HTTP/1.1 over TLS.
	ReasonProtocol Reason = "application_protocol"
	// ReasonRefusedByPeer: the peer did not accept this end's identity.
	ReasonRefusedByPeer Reason = "refused_by_peer"
	// ReasonTimeout: the handshake was not complete in time.
	ReasonTimeout Reason = "handshake_timeout"
	// ReasonAborted: the peer disconnected during the handshake.
	ReasonAborted Reason = "handshake_aborted"
	// ReasonEvicted: too many handshakes were pending, and a newer one took
	// this one's place.
	ReasonEvicted Reason = "too_many_handshakes"
	// ReasonTooLarge: the peer's handshake is larger than any honest one.
	ReasonTooLarge Reason = "handshake_too_large"
	// ReasonTooManyConnections: the peer, or all peers together, have the
	// maximum number of connections, all of them busy.
	ReasonTooManyConnections Reason = "too_many_connections"
	// ReasonOwnIdentity: this end has no valid SVID to present.
	ReasonOwnIdentity Reason = "own_identity_expired"
	// ReasonOther: anything else; see the error.
	ReasonOther Reason = "handshake_failed"
)

// RefusedError reports that this end refused a connection.
type RefusedError struct {
	// Reason is why.
	Reason Reason
	// Peer is who was refused; the zero value when unknown.
	Peer spiffeid.ID
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Peer.IsZero() {
		return fmt.Sprintf("peer refused (%s): %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("peer %s refused (%s): %v", e.Peer, e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

var (
	errEvicted  = errors.New("evicted by a newer handshake")
	errTooLarge = errors.New("the peer sent more than a handshake needs")
)

// verifyPeer returns a tls.Config.VerifyConnection that authenticates and
// authorises the other end; unlike VerifyPeerCertificate, crypto/tls calls it
// for resumed sessions too. Its errors are *RefusedError.
func verifyPeer(identity Identity, peers Peers) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		certs := state.PeerCertificates
		if len(certs) == 0 {
			return &RefusedError{Reason: ReasonNoCertificate, Err: errors.New("the peer sent no certificate")}
		}
		id, err := x509svid.IDFromCert(certs[0])
		if err != nil {
			return &RefusedError{Reason: ReasonNoSPIFFEID, Err: err}
		}
		bundle, err := identity.GetX509BundleForTrustDomain(id.TrustDomain())
		if err != nil {
			return &RefusedError{Reason: ReasonUnknownTrustDomain, Peer: id, Err: err}
		}
		if _, _, err := x509svid.Verify(certs, bundle); err != nil {
			reason := ReasonUntrusted
			if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
				// crypto/x509 uses one reason for both ends of the validity.
				reason = ReasonExpired
				if time.Now().Before(invalid.Cert.NotBefore) {
					reason = ReasonNotYetValid
				}
			}
			return &RefusedError{Reason: reason, Peer: id, Err: err}
		}
		if err := peers.Authorize(id); err != nil {
			return &RefusedError{Reason: ReasonNotAuthorized, Peer: id, Err: err}
		}
		return nil
	}
}

// tlsErrors are the errors of crypto/tls that have no type of their own.
var tlsErrors = []struct {
	text   string
	reason Reason
}{
	{"client didn't provide a certificate", ReasonNoCertificate},
	{"client offered only unsupported versions", ReasonTLSVersion},
	{"unsupported application protocols", ReasonProtocol},
}

// refusal returns why a handshake failed on the server's side.
func refusal(err error) *RefusedError {
	if known := (*RefusedError)(nil); errors.As(err, &known) {
		return known
	}
	reason := ReasonOther
	record := tls.RecordHeaderError{}
	op := (*net.OpError)(nil)
	switch {
	case errors.Is(err, errEvicted):
		reason = ReasonEvicted
	case errors.Is(err, errTooLarge):
		reason = ReasonTooLarge
	case errors.Is(err, ErrIdentityExpired), errors.Is(err, ErrIdentityNotYetValid):
		reason = ReasonOwnIdentity
	case errors.As(err, &record):
		reason = ReasonNotTLS
		if looksLikeHTTP(record.RecordHeader) {
			reason = ReasonPlainHTTP
		}
	case errors.As(err, &op) && op.Op == "remote error":
		reason = ReasonRefusedByPeer
	case errors.Is(err, os.ErrDeadlineExceeded):
		reason = ReasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		reason = ReasonAborted
	default:
		for _, known := range tlsErrors {
			if strings.Contains(err.Error(), known.text) {
				reason = known.reason
			}
		}
	}
	return &RefusedError{Reason: reason, Err: err}
}

// looksLikeHTTP recognises the start of an HTTP request, as net/http does.
func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}
