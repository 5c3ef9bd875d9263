// Package tor has the tests of the transport over Tor against a real network, which package tornet runs.
package tor

import (
	"os"
	"testing"

	"github.com/foolscap-go/foolscap/integration/internal/leftovers"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

// TestMain makes sure that the Tubs and handlers of all tests, which are closed by then, have left no goroutine behind.
func TestMain(m *testing.M) {
	os.Exit(leftovers.Check(tornet.Main(m), "cretz/bine"))
}
