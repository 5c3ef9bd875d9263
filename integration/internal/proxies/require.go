//go:build linux

package proxies

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// integrationVariable makes it a failure, when it is 1, that something is missing.
const integrationVariable = "FOOLSCAP_INTEGRATION"

// find returns the path of a program; that it may be in /usr/sbin is not known to everybody's PATH.
func find(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		missing(t, fmt.Errorf("this test needs a SOCKS proxy: %w\n"+
			"On Debian and Ubuntu:  sudo apt-get install --no-install-recommends %s", err, debianPackage))
	}
	return path
}

// unshare is the command that runs another one with file systems of its own, in which it is root.
func unshare(t testing.TB) []string {
	t.Helper()
	command := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		command = append(command, "--map-root-user")
	}
	output, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput()
	if err != nil {
		missing(t, fmt.Errorf("this test needs a mount namespace for its proxy: %w: %s\n"+
			"Run it as root, or allow unprivileged user namespaces", err, strings.TrimSpace(string(output))))
	}
	return command
}

func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(integrationVariable) == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}
