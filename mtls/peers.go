package mtls

import (
	"errors"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Peers says which SPIFFE IDs the other end of a connection may have. An ID is
// authorised when it matches any of the three lists; the zero value authorises
// nobody.
type Peers struct {
	// IDs are exact SPIFFE IDs.
	IDs []spiffeid.ID
	// PathPrefixes match themselves and every ID below them, by whole path
	// segments: spiffe://td/ns/a matches spiffe://td/ns/a/sa/b but not
	// spiffe://td/ns/ab.
	PathPrefixes []spiffeid.ID
	// TrustDomains match every ID in the trust domain.
	TrustDomains []spiffeid.TrustDomain
}

// errNotAuthorized is returned by Peers.Authorize.
var errNotAuthorized = errors.New("its SPIFFE ID is not authorised")

// Authorize returns nil when the other end of a connection may have this ID.
func (p Peers) Authorize(id spiffeid.ID) error {
	if slices.Contains(p.IDs, id) {
		return nil
	}
	for _, prefix := range p.PathPrefixes {
		if spiffeid.MatchIDPrefix(prefix)(id) == nil {
			return nil
		}
	}
	if slices.ContainsFunc(p.TrustDomains, id.MemberOf) {
		return nil
	}
	return errNotAuthorized
}

// Empty reports whether nobody is authorised.
func (p Peers) Empty() bool {
	return len(p.IDs)+len(p.PathPrefixes)+len(p.TrustDomains) == 0
}

// String lists what is authorised; it is meant for logs.
func (p Peers) String() string {
	var parts []string
	for _, id := range p.IDs {
		parts = append(parts, id.String())
	}
	for _, prefix := range p.PathPrefixes {
		parts = append(parts, prefix.String()+"/**")
	}
	for _, domain := range p.TrustDomains {
		parts = append(parts, domain.IDString()+"/**")
	}
	return strings.Join(parts, ",")
}
