package tornet

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/proxy"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestTheNetworkCarriesConnectionsToItsExit(t *testing.T) {
	n := Shared(t)
	echo, err := net.Listen("tcp", net.JoinHostPort(PublicIP, "0"))
	require.NoError(t, err)
	defer echo.Close()
	go func() {
		conn, err := echo.Accept()
		if err != nil {
			return // the test has failed
		}
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()

	client := n.Client(t)
	require.Equal(t, client.SOCKS, n.Client(t).SOCKS, "it is the same tor")
	client.WaitExit(t)
	dialer, err := proxy.SOCKS5("tcp", client.SOCKS, nil, nil)
	require.NoError(t, err)
	conn, err := dialer.Dial("tcp", echo.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(answer))
}

func TestATorCanBeKilledAndComesBack(t *testing.T) {
	c := Shared(t).Start(t, Options{Torrc: []string{"MapAddress mapped.test 203.0.113.5"}})
	c.Kill()
	_, err := net.Dial("tcp", c.SOCKS)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	c.Restart()
	c.WaitBootstrapped()
	response, err := c.Control().SendRequest("GETINFO version")
	require.NoError(t, err)
	assert.Contains(t, strings.Join(response.Data, ""), "version=")
}

func TestTheNamespaceLeadsNowhere(t *testing.T) {
	Require(t)
	interfaces, err := net.Interfaces()
	require.NoError(t, err)
	require.Len(t, interfaces, 1)
	assert.Equal(t, "lo", interfaces[0].Name)
	_, err = net.DialTimeout("tcp", "192.0.2.1:80", patience)
	assert.ErrorIs(t, err, syscall.ENETUNREACH)
}

const victimVariable = "FOOLSCAP_TORNET_VICTIM"

// A victim is this test binary once more, with a child that it does not care about.
func TestVictim(t *testing.T) {
	file := os.Getenv(victimVariable)
	if file == "" {
		return // nobody has asked for one
	}
	Require(t)
	child := exec.Command("tail", "-f", file)
	require.NoError(t, child.Start())
	fmt.Println("the child runs")
	_, err := os.Stdin.Read(make([]byte, 1)) // until we may end
	require.ErrorIs(t, err, io.EOF)
	t.Fail()
}

func TestNoProcessIsLeft(t *testing.T) {
	Require(t)
	for name, end := range map[string]func(*exec.Cmd, io.Closer) error{
		"when the tests have failed":      func(_ *exec.Cmd, stdin io.Closer) error { return stdin.Close() },
		"when the test binary was killed": func(victim *exec.Cmd, _ io.Closer) error { return victim.Process.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "followed")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			program, err := os.Executable()
			require.NoError(t, err)
			victim := exec.CommandContext(t.Context(), program, "-test.run=^TestVictim$")
			victim.Env = append(os.Environ(), victimVariable+"="+file)
			stdin, err := victim.StdinPipe()
			require.NoError(t, err)
			stdout, err := victim.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, victim.Start())
			line := make([]byte, len("the child runs"))
			_, err = io.ReadFull(stdout, line)
			require.NoError(t, err)
			require.Equal(t, 1, processesWith(t, file))

			require.NoError(t, end(victim, stdin))
			_, _ = io.Copy(io.Discard, stdout) // it may be closed already
			assert.Error(t, victim.Wait())
			require.Eventually(t, func() bool { return processesWith(t, file) == 0 }, patience, 10*time.Millisecond)
		})
	}
}

// processesWith counts the processes that have an argument. /proc is that of the machine.
func processesWith(t *testing.T, argument string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	count := 0
	for _, line := range lines {
		if text, err := os.ReadFile(line); err == nil && bytes.Contains(text, []byte("\x00"+argument+"\x00")) {
			count++
		}
	}
	return count
}
