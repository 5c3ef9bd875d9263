// Package leftovers finds the goroutines that tests have left behind.
package leftovers

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// patience is how long goroutines may take to end.
const patience = 5 * time.Second

// Check is for TestMain, with the exit code of the tests: when all is well and goroutines of our packages, or of those
// that the pattern names, do not end, it shows them and returns 1.
func Check(code int, others string) int {
	if code != 0 {
		return code
	}
	pattern := `foolscap-go/foolscap/(tub|protocol|handlers|flog)`
	if others != "" {
		pattern += "|" + others
	}
	left := goroutines(regexp.MustCompile(pattern))
	if len(left) == 0 {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%d goroutines are left when all is closed:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
	return 1
}

// goroutines returns the stacks of those that are still there after a while.
func goroutines(ours *regexp.Regexp) []string {
	deadline := time.After(patience)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		stacks := make([]byte, 16<<20)
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
