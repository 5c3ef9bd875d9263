// Package socks is the transport through a SOCKS5 proxy (RFC 1928, RFC 1929): a
// [Handler] for the hints "tcp:host:port" and "host:port", or others of that
// form, and the [Dialer] under it, on which further transports can be built.
//
// Names go to the proxy as they are and are never looked up here. IPv4 and IPv6
// addresses go as addresses. The proxy is reached over TCP, a Unix socket or any
// handlers.ContextDialer, and a Dialer is one itself: so proxies form chains, and
// other transports run through them.
//
// A proxy hides nothing that can be seen from here: it may run on this machine,
// ask this machine's resolver, and it knows both ends. Therefore a Dialer declares
// to reveal everything unless its caller answers for the proxy (WithExposure) or
// the way to the proxy hides this machine already.
package socks
