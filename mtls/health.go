package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// healthTimeout bounds [CheckHealth].
const healthTimeout = 2 * time.Second

// CheckHealth returns nil when the server that listens at address on this host
// completes a TLS 1.3 handshake and presents an SVID that is valid now. An
// address without host means this host. It needs no identity of its own and
// no second port.
func CheckHealth(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect to the server: %w", err)
	}
	defer raw.Close() //nolint:errcheck // nothing was sent that could be lost
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{healthProtocol},
		// The check asks whether the server serves, not whether it is genuine,
		// so that it needs no access to the Workload API.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf := state.PeerCertificates[0]
			if _, err := x509svid.IDFromCert(leaf); err != nil {
				return fmt.Errorf("the server presents no SVID: %w", err)
			}
			if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
				return fmt.Errorf("the server's SVID is valid from %s to %s, not now",
					leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
			}
			return nil
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake with the server: %w", err)
	}
	if conn.ConnectionState().NegotiatedProtocol != healthProtocol {
		return errors.New("another program than mtls-server listens there")
	}
	return nil
}
