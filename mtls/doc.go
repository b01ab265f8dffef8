// Package mtls serves and calls HTTP over mutual TLS. Both ends authenticate
// with X.509 SVIDs from the SPIFFE Workload API. The programs mtls-server and
// mtls-client are built on it.
//
// A [Source] holds the identity of this process and follows its rotation. A
// [Server] accepts TLS 1.3 from peers that [Peers] authorises, in bounded
// memory and time, and logs why it refused the others. A [Client] calls such a
// server and distinguishes refused, unreachable and no identity.
package mtls
