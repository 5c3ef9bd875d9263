// Package tor has the tests of the transport over Tor against a real network, which package tornet runs.
package tor

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/leftovers"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

// TestMain makes sure that the Tubs and handlers of all tests, which are closed by then, have left no goroutine behind.
func TestMain(m *testing.M) {
	if dir := os.Getenv(launchVariable); dir != "" {
		launchForEver(dir)
	}
	os.Exit(leftovers.Check(tornet.Main(m), "cretz/bine"))
}

// launchVariable makes the test binary a program that runs a tor of its own, in this directory, until it is killed.
const launchVariable = "FOOLSCAP_TEST_LAUNCH"

func launchForEver(dir string) {
	// It needs no network to take a service.
	torrc := []string{"DisableNetwork 1", "GeoIPFile /dev/null", "GeoIPv6File /dev/null"}
	if _, err := tor.Listen(context.Background(), tor.Launch(tor.LaunchConfig{DataDir: dir, Torrc: torrc}), servicePort); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up")
	select {}
}
