package tornet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Shared returns the network of this test binary, which is started when it is first asked for and ends with Main. When it
// cannot be had the test ends: with FOOLSCAP_INTEGRATION=1 it has failed, otherwise it is skipped, with a message that
// says what is missing. A network that could not be started is a failure in any case.
func Shared(t testing.TB) *Network {
	t.Helper()
	Require(t)
	network.once.Do(func() {
		began := time.Now()
		network.started, network.err = Start(context.Background())
		t.Logf("starting a Tor network took %v", time.Since(began).Round(100*time.Millisecond))
	})
	if network.err != nil {
		t.Fatal(network.err)
	}
	return network.started
}

var network struct {
	once    sync.Once
	started *Network
	err     error
}

// Require ends the test, as Shared does, when this machine cannot run the network.
func Require(t testing.TB) {
	t.Helper()
	err := errUnavailable
	for _, name := range []string{"tor", "tor-gencert"} {
		if _, missing := program(name); err == nil && missing != nil {
			err = fmt.Errorf("%w\nOn Debian and Ubuntu:  sudo apt-get install --no-install-recommends tor", missing)
		}
	}
	switch {
	case err == nil:
	case os.Getenv("FOOLSCAP_INTEGRATION") == "1":
		t.Fatalf("this test needs a Tor network of its own: %v", err)
	default:
		t.Skipf("this test needs a Tor network of its own: %v", err)
	}
}

// program finds tor and its tools, which Debian keeps where only root's PATH leads.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if system := filepath.Join("/usr/sbin", name); executable(system) {
			return system, nil
		}
	}
	return path, err
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
