// Package tcp is the transport for hints of the type tcp, "tcp:host:port" and
// the older "host:port": a [Handler] that dials them and a [Listener].
//
// Hosts are DNS names, IPv4 addresses and IPv6 addresses in brackets, with or
// without a zone. All addresses of a name are tried, IPv6 first and the families
// in turn, each a moment after the one before, as RFC 8305 ("Happy Eyeballs")
// describes; the first connection wins. Names below .onion and .i2p are never
// looked up, since the look-up alone would tell the local network about them.
//
// TCP reveals the address of this machine to the peer, and names to the
// resolver. A Tub that must stay hidden does not use this package.
package tcp
