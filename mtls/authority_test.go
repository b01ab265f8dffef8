package mtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
)

// authority issues SVIDs of one trust domain, as SPIRE would.
type authority struct {
	tb     testing.TB
	domain spiffeid.TrustDomain
	cert   *x509.Certificate
	key    crypto.Signer
	bundle *x509bundle.Bundle
}

func newAuthority(tb testing.TB, domain string) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	a := &authority{tb: tb, domain: spiffeid.RequireTrustDomainFromString(domain), key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{a.domain.ID().URL()},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(tb, err)
	a.cert, err = x509.ParseCertificate(raw)
	require.NoError(tb, err)
	a.bundle = x509bundle.FromX509Authorities(a.domain, []*x509.Certificate{a.cert})
	return a
}

// issue returns an SVID for a path in the trust domain. With an empty path the
// certificate has no SPIFFE ID.
func (a *authority) issue(path string, notBefore, notAfter time.Time) *x509svid.SVID {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.tb, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(a.tb, err)
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: notBefore, NotAfter: notAfter, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
	}
	svid := &x509svid.SVID{PrivateKey: key}
	if path != "" {
		svid.ID = spiffeid.RequireFromPath(a.domain, path)
		template.URIs = []*url.URL{svid.ID.URL()}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.tb, err)
	leaf, err := x509.ParseCertificate(raw)
	require.NoError(a.tb, err)
	svid.Certificates = []*x509.Certificate{leaf}
	return svid
}

// identity has an SVID valid for an hour and trusts only this authority.
func (a *authority) identity(path string) *staticIdentity {
	a.tb.Helper()
	return &staticIdentity{
		svid:   a.issue(path, time.Now().Add(-time.Minute), time.Now().Add(time.Hour)),
		bundle: x509bundle.NewSet(a.bundle),
	}
}

// staticIdentity is an Identity that does not rotate.
type staticIdentity struct {
	svid   *x509svid.SVID
	err    error
	bundle *x509bundle.Set
}

func (s *staticIdentity) GetX509SVID() (*x509svid.SVID, error) { return s.svid, s.err }

func (s *staticIdentity) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return s.bundle.GetX509BundleForTrustDomain(domain)
}
