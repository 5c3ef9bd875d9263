// Command tornetwork runs a program beside a private Tor network on this machine:
//
//	go run ./integration/tornetwork go run ./examples/survive
//
// The program runs in a network namespace that has only a loopback interface, with a Tor network of five relays and one
// tor to use it by. The environment variable FOOLSCAP_TOR_CONTROL has the address of that tor's control port, and
// FOOLSCAP_TOR_SOCKS that of its SOCKS port; so a shell makes a good program, too:
//
//	go run ./integration/tornetwork sh
//	foolscap serve --hidden --listen tor --tor control:$FOOLSCAP_TOR_CONTROL
//
// It takes 15 to 20 s to start and needs Linux and the package tor of Debian, or its like.
package main

import (
	"fmt"
	"os"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: tornetwork PROGRAM [ARGUMENT]...")
		os.Exit(2)
	}
	code, err := tornet.Command(os.Args[1:]...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tornetwork:", err)
		os.Exit(1)
	}
	os.Exit(code)
}
