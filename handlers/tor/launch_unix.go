//go:build unix

package tor

import (
	"os"
	"os/exec"
	"syscall"
)

// separate keeps signals of the terminal from a program: a Ctrl-C would end it before
// this process has said goodbye to anybody.
func separate(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends a program that was made separate, and all that it has started, as far as
// that still runs.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
