//go:build unix

// Package child is a transport through the standard input and output of a child
// process, such as ssh, which carries a Tub to machines that can be reached in no
// other way. Its hints are "exec:NAME".
//
// The hint is not a command line, but the name of one that whoever dials has set
// up: hints come from FURLs, and FURLs from strangers, who are not to choose what
// is run here.
//
// At the far end the command runs Relay, which connects to the socket of a
// Listener and says so with the line Ready. Then bytes pass in both directions.
package child
