//go:build unix

package appserver

import (
	"os"
	"os/exec"
	"syscall"
)

// inGroup makes a command the head of a process group of its own.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills a command and what it has started, unless it was waited for.
func killGroup(cmd *exec.Cmd) {
	if cmd.Process.Signal(syscall.Signal(0)) == nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // they may be gone
	}
}

// outcome says by which signal a process has ended, or else with which exit code; the
// other one is None.
func outcome(state *os.ProcessState) (signal, code any) {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal()), nil
	}
	return nil, state.ExitCode()
}
