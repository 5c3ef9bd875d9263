package tornet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

// insideVariable tells a test binary that it runs in the namespaces already.
const insideVariable = "FOOLSCAP_TORNET_INSIDE"

// errUnavailable is why there are no namespaces, once Main runs the tests.
var errUnavailable = errors.New("the tests of this package are not run by tornet.Main")

// Main runs the tests of a binary in a network namespace and a PID namespace, in which the binary starts itself anew, and
// returns its exit code. When the last test is over it ends the network. If namespaces cannot be had, the tests run where
// they are, and those that need the network fail or are skipped.
func Main(m *testing.M) int {
	if os.Getenv(insideVariable) == "" {
		code, err := runInside()
		if err == nil {
			return code
		}
		errUnavailable = fmt.Errorf("a network namespace cannot be made: %w; run the tests as root, or allow unprivileged user namespaces", err)
		return m.Run()
	}
	errUnavailable = configureLoopback()
	if errUnavailable == nil {
		// A program that a test starts may use Main for itself.
		errUnavailable = os.Unsetenv(insideVariable)
	}
	defer func() {
		if network.started != nil {
			network.started.Stop()
		}
	}()
	return m.Run()
}

// runInside runs this program again, in namespaces of its own, and returns its exit code. The error says that it could
// not be started.
func runInside() (code int, err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// The kernel sends Pdeathsig when the thread that has started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	inside := exec.Command(program, os.Args[1:]...)
	inside.Stdin, inside.Stdout, inside.Stderr = os.Stdin, os.Stdout, os.Stderr
	inside.Env = append(os.Environ(), insideVariable+"=1")
	inside.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		inside.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		inside.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		inside.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := inside.Start(); err != nil {
		return 0, err
	}
	_ = inside.Wait() // the state says it all
	if code := inside.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	fmt.Fprintf(os.Stderr, "the tests have ended: %v\n", inside.ProcessState)
	return 1, nil
}

// configureLoopback switches the loopback interface of the namespace on and gives it PublicIP.
func configureLoopback() error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)

	// struct ifreq, of which a call uses one member of the union.
	type flags struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	type address struct {
		name    [syscall.IFNAMSIZ]byte
		address syscall.RawSockaddrInet4
		_       [8]byte
	}
	up := flags{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(up.name[:], "lo")
	public := address{address: syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: [4]byte(net.ParseIP(PublicIP).To4())}}
	copy(public.name[:], "lo:0")
	for _, call := range []struct {
		request uintptr
		ifreq   unsafe.Pointer
	}{
		{syscall.SIOCSIFFLAGS, unsafe.Pointer(&up)},
		{syscall.SIOCSIFADDR, unsafe.Pointer(&public)},
	} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), call.request, uintptr(call.ifreq)); errno != 0 {
			return fmt.Errorf("configuring the loopback interface of the namespace: %w", errno)
		}
	}
	return nil
}
