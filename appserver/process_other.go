//go:build !unix

package appserver

import (
	"os"
	"os/exec"
)

func inGroup(*exec.Cmd) {}

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func outcome(state *os.ProcessState) (signal, code any) { return nil, state.ExitCode() }
