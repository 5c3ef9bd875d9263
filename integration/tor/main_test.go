// Package tor has the tests of the transport over Tor against a real network, which package tornet runs.
package tor

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

// TestMain makes sure that the Tubs and handlers of all tests, which are closed by then, have left no goroutine behind.
func TestMain(m *testing.M) {
	code := tornet.Main(m)
	if left := leftGoroutines(5 * time.Second); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left when all is closed:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

var ours = regexp.MustCompile(`foolscap-go/foolscap/(tub|protocol|handlers)|cretz/bine`)

// leftGoroutines returns the stacks of the goroutines of our code that are still there after a while.
func leftGoroutines(patience time.Duration) []string {
	deadline := time.After(patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		var left []string
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			if ours.MatchString(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-again.C:
		case <-deadline:
			return left
		}
	}
}
