// Package mtls serves and calls HTTP over mutual TLS whose both ends prove
// themselves with X.509 SVIDs from the SPIFFE Workload API. It is what the
// programs mtls-server and mtls-client are made of.
//
// A [Source] holds the identity of this process and follows its rotation. A
// [Server] accepts TLS 1.3 from peers that [Peers] authorises, in bounded
// memory and time, and says in its log why it refused the others. A [Client]
// calls such a server and tells refused, unreachable and no identity apart.
package mtls
