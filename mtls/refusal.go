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

// Reason says in one word why a connection was refused. It is the value of
// "reason" in the log.
type Reason string

// The reasons for which a connection is refused.
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
	// ReasonUntrusted: the authorities of its trust domain did not issue the
	// peer's SVID, or it is not one.
	ReasonUntrusted Reason = "svid_untrusted"
	// ReasonNotAuthorized: the peer's SPIFFE ID is genuine and not authorised.
	ReasonNotAuthorized Reason = "not_authorized"
	// ReasonPlainHTTP: the peer spoke HTTP without TLS.
	ReasonPlainHTTP Reason = "plain_http"
	// ReasonNotTLS: the peer spoke something else than TLS.
	ReasonNotTLS Reason = "not_tls"
	// ReasonTLSVersion: the peer does not speak TLS 1.3.
	ReasonTLSVersion Reason = "tls_version"
	// ReasonProtocol: the peer does not speak HTTP/1.1 over TLS.
	ReasonProtocol Reason = "application_protocol"
	// ReasonRefusedByPeer: the peer did not accept this end's identity.
	ReasonRefusedByPeer Reason = "refused_by_peer"
	// ReasonTimeout: the handshake was not complete in time.
	ReasonTimeout Reason = "handshake_timeout"
	// ReasonAborted: the peer went away during the handshake.
	ReasonAborted Reason = "handshake_aborted"
	// ReasonCrowdedOut: too many handshakes were pending, this was the oldest.
	ReasonCrowdedOut Reason = "too_many_handshakes"
	// ReasonTooLarge: the peer's handshake is larger than any honest one.
	ReasonTooLarge Reason = "handshake_too_large"
	// ReasonTooManyConnections: the peer, or all peers, have as many
	// connections as allowed, all of them busy.
	ReasonTooManyConnections Reason = "too_many_connections"
	// ReasonOwnIdentity: this end has no valid SVID to show.
	ReasonOwnIdentity Reason = "own_identity_expired"
	// ReasonOther: anything else; the error tells.
	ReasonOther Reason = "handshake_failed"
)

// RefusedError is a connection refused by this end.
type RefusedError struct {
	// Reason is why.
	Reason Reason
	// Peer is who was refused; the zero value when that is not known.
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
	errCrowdedOut = errors.New("crowded out by newer handshakes")
	errTooLarge   = errors.New("the peer sent more than a handshake needs")
)

// verifyPeer returns a tls.Config.VerifyConnection that authenticates and
// authorises the other end. crypto/tls calls it for resumed sessions too,
// unlike VerifyPeerCertificate. Its errors are *RefusedError.
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
				// crypto/x509 has one reason for both ends of the validity.
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

// refusal tells why a handshake failed on the server's side.
func refusal(err error) *RefusedError {
	if known := (*RefusedError)(nil); errors.As(err, &known) {
		return known
	}
	reason := ReasonOther
	record := tls.RecordHeaderError{}
	op := (*net.OpError)(nil)
	switch {
	case errors.Is(err, errCrowdedOut):
		reason = ReasonCrowdedOut
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

// looksLikeHTTP tells an HTTP request line from other bytes, as net/http does.
func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}
