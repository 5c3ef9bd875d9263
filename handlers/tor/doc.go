// Package tor is the transport over Tor: a [Handler] for the hints
// "tor:host:port", and for tcp hints if it is registered for them too, and a
// [Listener] that is an onion service.
//
// Which tor they use is said by a [Tor]: one that runs already, known by its
// SOCKS port ([SOCKS]) or its control port ([Control]), or one of the program's
// own ([Launch]). A tor that is launched is started when it is first needed and
// ends with the last Handler and Listener that use it.
//
// Names are never looked up here, they are handed to tor. Both directions hide
// the address of this machine. Connections to different Tubs go over different
// circuits. That keeps those apart who see only circuits: exits, and whoever watches
// them; but a Tub shows the same TubID to all its peers. Who must not be recognised
// by them takes a Tub with a new identity for each.
//
// The behaviour is described in docs/tor.md.
package tor
