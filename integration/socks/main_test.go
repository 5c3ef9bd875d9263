//go:build linux

package socks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

// TestMain makes sure that nobody in this process has looked up a name, and that no goroutine of ours is left.
func TestMain(m *testing.M) {
	var lookups atomic.Int64
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			lookups.Add(1)
			return nil, errors.New("these tests look up no names")
		},
	}
	code := tornet.Main(m)
	if n := lookups.Load(); n > 0 {
		fmt.Fprintf(os.Stderr, "a name server was asked %d times\n", n)
		code = 1
	}
	if left := leftGoroutines(5 * time.Second); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

var ours = regexp.MustCompile(`foolscap-go/foolscap/(tub|protocol|handlers)`)

// leftGoroutines returns the stacks of the goroutines of ours that are still there after a while.
func leftGoroutines(patience time.Duration) []string {
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
