//go:build !linux

package tornet

import (
	"errors"
	"testing"
)

var errUnavailable = errors.New("network namespaces exist only on Linux")

// Main runs the tests of a binary. Those that need the network fail or are skipped, for it exists only on Linux.
func Main(m *testing.M) int { return m.Run() }
