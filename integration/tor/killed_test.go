//go:build unix

package tor

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

func TestATorThatWasLaunchedEndsWithAProgramThatIsKilled(t *testing.T) {
	t.Parallel()
	tornet.Require(t)
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(within(t), self)
	command.Env = append(os.Environ(), launchVariable+"="+dir)
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	assert.NoError(t, err)
	assert.Equal(t, "up\n", line)
	tors := torsIn(t, dir)
	if assert.Len(t, tors, 1) {
		group, err := syscall.Getpgid(tors[0])
		assert.NoError(t, err)
		assert.NotEqual(t, syscall.Getpgrp(), group, "a Ctrl-C would end it before the program")
	}

	assert.NoError(t, command.Process.Kill())
	_ = command.Wait() // it was killed
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for ctx := within(t); len(torsIn(t, dir)) > 0; {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatal("tor goes on")
		}
	}
}
