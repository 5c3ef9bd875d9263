// Package integration has no code of its own: its tests let this module talk to real peers.
//
// The peers are Python Foolscap, from the program in peers, which internal/pypeer starts and directs; internal/relay puts
// a network with delays and failures between two of them. With FOOLSCAP_INTEGRATION=1 a test fails when what it needs is
// not installed, otherwise it is skipped; setup.sh installs it.
package integration
