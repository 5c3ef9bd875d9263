// Package peers carries the Python programs that play the real Foolscap in the integration tests.
//
// peer.py is the program; it documents its control channel, and notation.py how values are written on it. They are
// embedded so that a test finds them wherever it runs.
package peers

import "embed"

// Files holds the Python files, all in its root.
//
//go:embed *.py
var Files embed.FS
