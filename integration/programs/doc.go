// Package programs has no code of its own: its tests run the command line tool and the examples as processes, where these
// need a Tor network or a SOCKS proxy.
package programs
