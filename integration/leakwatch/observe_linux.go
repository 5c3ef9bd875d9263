package leakwatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ioPatience is how long something that has escaped may keep the program's output open.
const ioPatience = 5 * time.Second

func available() error {
	if _, err := exec.LookPath("strace"); err != nil {
		return fmt.Errorf("%w: %w\nOn Debian and Ubuntu:  sudo apt-get install --no-install-recommends strace", ErrUnavailable, err)
	}
	if err := traceable(); err != nil {
		return err
	}
	return isolated()
}

// traceable makes sure that strace knows its options, and may do what it is to do.
var traceable = sync.OnceValue(tryStrace)

func tryStrace() error {
	try := append(append([]string{"--output=" + os.DevNull}, straceOptions...), "--", "true")
	if output, err := exec.Command("strace", try...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: strace fails: %w\n%s", ErrUnavailable, err, bytes.TrimSpace(output))
	}
	return nil
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
	// When this program is killed. strace then ends the program, but not what that has started.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	cmd.WaitDelay = ioPatience
	var killed atomic.Bool
	kill := func() error {
		killed.Store(true)
		killTraced(cmd.Process.Pid)
		return nil
	}
	if cmd.Cancel != nil { // it has a context of its own
		cmd.Cancel = kill
	}

	// The kernel sends Pdeathsig when the thread that has started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(over); _ = kill() })
	err = cmd.Wait()
	if !stop() {
		<-over
		return fmt.Errorf("the program was killed: %w", context.Cause(ctx))
	}
	if killed.Load() {
		return fmt.Errorf("the program was killed, as the context of its command has ended: %w", err)
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

// killTraced kills all that a strace traces, wherever it has got to, and returns when strace has ended by that. It comes
// last, since without it the others would be free.
func killTraced(strace int) {
	for end := time.Now().Add(ioPatience); syscall.Kill(strace, 0) == nil; time.Sleep(5 * time.Millisecond) {
		for _, pid := range tracees(strace) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
		}
		if time.Now().After(end) {
			_ = syscall.Kill(-strace, syscall.SIGKILL)
		}
	}
}

// tracees returns the processes that another one traces.
func tracees(tracer int) []int {
	var all []int
	files, _ := filepath.Glob("/proc/[0-9]*/status") // the pattern is right
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(status, fmt.Appendf(nil, "\nTracerPid:\t%d\n", tracer)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			all = append(all, pid)
		}
	}
	return all
}
