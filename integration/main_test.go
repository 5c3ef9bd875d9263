package integration

import (
	"os"
	"testing"

	"github.com/foolscap-go/foolscap/integration/internal/leftovers"
)

// TestMain makes sure that the Tubs of all tests, which are closed by then, have left no goroutine behind.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(runChild())
	}
	os.Exit(leftovers.Check(m.Run(), ""))
}
