//go:build unix

// Package unixsock is a transport between Tubs of one machine: connections over
// Unix sockets. Its hints are "unix:NAME", where NAME is that of a socket in a
// directory that both sides know.
//
// Why not "unix:PATH"? Hints come from FURLs, and FURLs from strangers: one with
// the path of another program's socket would make our Tub talk to that program
// in our name. (A hint cannot contain a '/' anyway.)
package unixsock
