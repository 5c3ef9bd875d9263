//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// asProgram makes the test binary the program itself, for tests that need a
// process.
const asProgram = "FOOLSCAP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
	}
	os.Exit(m.Run())
}

// program is a process of the tool; it is killed if it hangs.
func program(t *testing.T, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	t.Cleanup(cancel)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// ended is what a process that was started ends with.
func ended(cmd *exec.Cmd) exitCode {
	cmd.Wait()
	return exitCode(cmd.ProcessState.ExitCode())
}

func TestAnInterruptEndsTheReadingOfStandardInput(t *testing.T) {
	furlFile := filepath.Join(t.TempDir(), "some.furl")
	require.NoError(t, os.WriteFile(furlFile, []byte(someFURL), 0o600))
	for _, c := range []struct {
		name   string
		args   []string
		signal os.Signal
	}{
		{"a FURL that is shown", []string{"furl"}, os.Interrupt},
		{"a FURL that is tried", []string{"ping", "-"}, os.Interrupt},
		{"a FURL that is called", []string{"call", "-", "add"}, syscall.SIGTERM},
		{"a capture", []string{"tokens"}, os.Interrupt},
		{"an argument", []string{"call", "@" + furlFile, "echo", "-"}, os.Interrupt},
		{"a FURL within an argument", []string{"call", "@" + furlFile, "echo", `{"$furl": "-"}`}, os.Interrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			require.NoError(t, err)
			ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
			defer ours.Close()
			require.NoError(t, syscall.SetsockoptInt(pair[0], syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1))
			var stderr bytes.Buffer
			cmd := program(t, c.args...)
			cmd.Stdin, cmd.Stderr = theirs, &stderr
			require.NoError(t, cmd.Start())
			require.NoError(t, theirs.Close())
			// More than the buffers of the system hold, less than what is too long: the program reads.
			_, err = ours.Write(bytes.Repeat([]byte("\n"), 60<<10))
			require.NoError(t, err)
			require.NoError(t, cmd.Process.Signal(c.signal))
			assert.Equal(t, exitInterrupted, ended(cmd), &stderr)
			assert.Contains(t, stderr.String(), "interrupted")
		})
	}
}

func TestAnInterruptEndsTheReadingOfAFIFO(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for _, args := range [][]string{{"furl", "@" + fifo}, {"ping", "@" + fifo}, {"tokens", fifo}} {
		cmd := program(t, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for the program to open it
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, exitInterrupted, ended(cmd), &stderr)
		require.NoError(t, w.Close())
	}
}

// serving starts "foolscap serve" as a process and returns its FURL.
func serving(t *testing.T, args ...string) (cmd *exec.Cmd, f furl.FURL, stderr *watcher) {
	stderr = watchFor("stopping")
	cmd = program(t, append([]string{"serve"}, args...)...)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	f, err = furl.Parse(strings.TrimSpace(line))
	require.NoError(t, err)
	return cmd, f, stderr
}

func TestServeRunsUntilItIsInterrupted(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd, f, stderr := serving(t)
		for range 2 {
			assert.Equal(t, result{code: exitOK, stdout: "5\n"}, foolscapWith(t, f.Reveal(), "call", "-", "add", "2", "3"))
		}
		require.NoError(t, cmd.Process.Signal(signal))
		assert.Equal(t, exitOK, ended(cmd), stderr)
		assert.Contains(t, stderr.String(), "stopping")
	}
}

func TestASecondSignalEndsServeAtOnce(t *testing.T) {
	cmd, f, stderr := serving(t, "--grace", "10m")
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	client, err := tub.New(id, nil)
	require.NoError(t, err)
	defer client.Close()
	ref, err := client.Connect(t.Context(), f)
	require.NoError(t, err)
	entered := make(chan struct{})
	slow := tub.NewObject(tub.Method("wait", func(ctx context.Context, _ struct{ Value any }) (tub.None, error) {
		close(entered)
		<-ctx.Done()
		return tub.None{}, ctx.Err()
	}, tub.Concurrent))
	_, err = tub.Start[any](t.Context(), ref, "call_back", slow, "wait", nil)
	require.NoError(t, err)
	<-entered
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	<-stderr.seen
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	assert.Equal(t, exitInterrupted, ended(cmd), stderr)
}
