package leakwatch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// ioPatience is how long something that has escaped may keep the program's output open.
const ioPatience = 5 * time.Second

func available() error {
	if _, err := exec.LookPath("strace"); err != nil {
		return fmt.Errorf("%w: %w\nOn Debian and Ubuntu:  sudo apt-get install --no-install-recommends strace", ErrUnavailable, err)
	}
	return isolated()
}

// isolated makes sure that nothing leaves the machine.
func isolated() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			return fmt.Errorf("%w: beside the loopback interface there is %s, by which leaks would leave the machine; "+
				"let TestMain call leakwatch.Main, and run the tests as root or allow unprivileged user namespaces", ErrUnavailable, i.Name)
		}
	}
	return nil
}

// observe runs a command under strace and reads the trace.
func (t *tracer) observe(ctx context.Context, cmd *exec.Cmd) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "leakwatch")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	trace := filepath.Join(dir, "trace")

	options := append([]string{"strace", "--output=" + trace}, straceOptions...)
	cmd.Args = append(append(options, "--", cmd.Path), cmd.Args[min(1, len(cmd.Args)):]...)
	cmd.Path = strace
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	// When this program is killed. strace then ends what it has started.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	cmd.WaitDelay = ioPatience
	// If strace alone was killed the program would be free.
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if cmd.Cancel != nil { // it has a context of its own
		cmd.Cancel = kill
	}

	// The kernel sends Pdeathsig when the thread that has started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = kill() }) // it may just have ended
	err = cmd.Wait()
	if !stop() {
		return fmt.Errorf("the program was killed: %w", context.Cause(ctx))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return err
	}
	t.report.Err = err

	file, err := os.Open(trace)
	if err != nil {
		return fmt.Errorf("strace has written no trace: %w", errors.Join(err, t.report.Err))
	}
	defer file.Close()
	if err := t.read(file); err != nil {
		return errors.Join(err, t.report.Err)
	}
	return nil
}
