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
// It takes some 15 s to start and needs Linux and the package tor of Debian, or its like.
package main

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

const usage = `usage: tornetwork PROGRAM [ARGUMENT]...

Runs the program beside a private Tor network, in a network namespace that has
only a loopback interface. The program finds a tor of that network by
` + tornet.ControlVariable + `, the address of its control port, and
` + tornet.SOCKSVariable + `, that of its SOCKS port.
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	switch os.Args[1] {
	case "-h", "-help", "--help":
		fmt.Print(usage)
		return
	}
	if _, err := exec.LookPath(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "tornetwork:", err)
		os.Exit(2)
	}
	if os.Getpid() != 1 { // the first of its namespace is the one that Command starts
		fmt.Fprintln(os.Stderr, "tornetwork: starting a private Tor network, which takes some 15 s")
	}
	code, err := tornet.Command(os.Args[1:]...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tornetwork:", err)
		os.Exit(1)
	}
	os.Exit(code)
}
