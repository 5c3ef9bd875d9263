// Package quic is the transport for hints of the type quic, "quic:host:port": a
// [Handler] that dials them and a [Listener].
//
// A connection is one QUIC connection with one stream in it. The Tubs show each
// other their certificates in its TLS 1.3 handshake, so that the Tub that dials
// knows before its own certificate goes out that the right one has answered, and
// negotiation begins with the hello. No TubID crosses the wire in clear, and
// therefore one listener serves one Tub. docs/quic.md specifies all of it.
//
// Hosts are DNS names, IPv4 addresses and IPv6 addresses in brackets, with or
// without a zone. All addresses of a name are tried as the package tcp tries
// them. Every dial has a UDP socket of its own, which is bound to no address: when
// the route to the peer changes, the next packet goes out from another address
// and the connection lives on.
//
// QUIC reveals the address of this machine to the peer, and names to the
// resolver. A Tub that must stay hidden does not use this package.
package quic
