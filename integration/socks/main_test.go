//go:build linux

package socks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/foolscap-go/foolscap/integration/internal/leftovers"
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
	os.Exit(leftovers.Check(code, ""))
}
