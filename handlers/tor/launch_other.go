//go:build !unix

package tor

import (
	"os"
	"os/exec"
)

func separate(*exec.Cmd) {}

func killGroup(p *os.Process) { _ = p.Kill() }
