package leakwatch

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// inside starts a program in a network namespace whose loopback interface is up.
const inside = `ip link set lo up && exec "$0" "$@"`

// Main runs the tests of a binary in a network namespace that has only a loopback interface, and returns its exit code.
// For that the binary starts itself anew. It is for TestMain. If there is no other interface anyway, or a namespace cannot
// be made, the tests run where they are; Available says which.
func Main(m *testing.M) int {
	if isolated() == nil {
		return m.Run()
	}
	unshare := []string{"unshare", "--net"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	if exec.Command(unshare[0], append(unshare[1:], "sh", "-c", inside, "true")...).Run() != nil {
		return m.Run()
	}
	program, err := os.Executable()
	if err != nil {
		return m.Run()
	}
	// The kernel sends Pdeathsig when the thread that has started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	again := exec.Command(unshare[0], append(append(unshare[1:], "sh", "-c", inside, program), os.Args[1:]...)...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := again.Run(); again.ProcessState == nil || !again.ProcessState.Exited() {
		fmt.Fprintf(os.Stderr, "the tests have ended: %v\n", err)
		return 1
	}
	return again.ProcessState.ExitCode()
}
