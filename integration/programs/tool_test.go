//go:build linux

package programs

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

// serve starts "foolscap serve" and returns the line that it prints once its object can be called.
func serve(t *testing.T, tool string, flags ...string) (line string, stop func() (log string)) {
	t.Helper()
	return started(t, tool, append([]string{"serve"}, flags...)...)
}

// started starts the tool, and returns the first line that it prints.
func started(t *testing.T, tool string, args ...string) (line string, stop func() (log string)) {
	t.Helper()
	cmd := exec.Command(tool, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		cmd.Wait()
		t.Fatalf("%s has ended: %s", args[0], &stderr)
	}
	return line, func() string {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), &stderr)
		return stderr.String()
	}
}

func TestTheToolServesAndCallsOverTor(t *testing.T) {
	client := tornet.Shared(t).Client(t)
	tool, dir := build(t, "cmd/foolscap"), t.TempDir()
	control := "control:unix:" + client.ControlSocket
	file := filepath.Join(dir, "onion.furl")
	flags := []string{"--hidden", "--listen", "tor:80", "--tor", control, "--furl-file", file,
		"--cert", filepath.Join(dir, "tub.pem"), "--onion-key", filepath.Join(dir, "onion.key")}
	first := ""
	for range 2 { // the second time, the address and the name are the same
		line, stop := serve(t, tool, flags...)
		assert.Regexp(t, `^pb://\w{32}@tor:\w{56}\.onion:80/\w{32}\n$`, line)
		if first != "" {
			assert.Equal(t, first, line)
		}
		first = line

		for _, via := range []string{"socks:" + client.SOCKS, "control:" + client.ControlPort, control} {
			assert.Regexp(t, `\.onion:80  tor via .+  ok  +\d`, retry(t, tool, "ping", "--timeout", "15s", "--tor", via, "@"+file))
			assert.Equal(t, "5\n", retry(t, tool, "call", "--timeout", "15s", "--hidden", "--tor", via, "@"+file, "add", "2", "3"))
		}
		log := stop()
		assert.Contains(t, log, "waiting until the onion service is published")
		assert.Contains(t, log, "the onion service is published")
	}
}

func TestTheToolAdmitsAuthorisedClientsOnly(t *testing.T) {
	client := tornet.Shared(t).Client(t)
	tool, dir := build(t, "cmd/foolscap"), t.TempDir()
	control := "control:unix:" + client.ControlSocket
	file, key := filepath.Join(dir, "onion.furl"), filepath.Join(dir, "service.key")
	flags := []string{"--hidden", "--listen", "tor", "--tor", control, "--furl-file", file,
		"--cert", filepath.Join(dir, "tub.pem"), "--onion-key", filepath.Join(dir, "onion.key")}
	line, stop := serve(t, tool, flags...)
	stop()
	onion := regexp.MustCompile(`\w{56}\.onion`).FindString(line)
	public, err := exec.Command(tool, "clientkey", "create", onion, key).Output()
	require.NoError(t, err)

	_, stop = serve(t, tool, append(flags, "--proof-of-work", "--authorize", strings.TrimSpace(string(public)))...)
	// A tor that has not heard of the service before; first without the key.
	other := "control:unix:" + tornet.Shared(t).Client(t).ControlSocket
	var stderr bytes.Buffer
	cmd := exec.Command(tool, "call", "--timeout", "60s", "--tor", other, "@"+file, "add", "2", "3")
	cmd.Stderr = &stderr
	assert.Error(t, cmd.Run())
	assert.Equal(t, 3, cmd.ProcessState.ExitCode(), &stderr)
	assert.Contains(t, stderr.String(), "admits authorised clients only")
	assert.Equal(t, "5\n", retry(t, tool, "call", "--timeout", "15s", "--tor", other, "--client-key", key, "@"+file, "add", "2", "3"))
	stop()
}

func TestTheToolServesByEveryTransport(t *testing.T) {
	client := tornet.Shared(t).Client(t)
	tool, file := build(t, "cmd/foolscap"), filepath.Join(t.TempDir(), "demo.furl")
	line, stop := serve(t, tool, "--two-faces", "--listen", "tcp:127.0.0.1:0", "--listen", "quic:127.0.0.1:0", "--listen", "tor",
		"--tor", "control:"+client.ControlPort, "--furl-file", file)
	assert.Regexp(t, `@tcp:127\.0\.0\.1:\d+,quic:127\.0\.0\.1:\d+,tor:\w{56}\.onion:3457/`, line)
	retry(t, tool, "ping", "--all", "--timeout", "15s", "--tor", "socks:"+client.SOCKS, "@"+file)
	stop()
}

func TestTheToolSaysWhatItIsWaitingForWhenATorStarts(t *testing.T) {
	tornet.Require(t)
	tool := build(t, "cmd/foolscap")
	for _, command := range [][]string{{"serve", "--hidden", "--listen", "tor"}, {"demo", "--duration", "1ms"}} {
		t.Run(command[0], func(t *testing.T) {
			// A tor that it starts itself is one of the real network, which cannot be reached from here.
			cmd := exec.Command(tool, append(command, "--tor", "launch:"+t.TempDir())...)
			stderr, err := cmd.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { cmd.Process.Kill() })
			said := ""
			for lines := bufio.NewScanner(stderr); lines.Scan(); {
				said += lines.Text() + "\n"
				if bytes.Contains(lines.Bytes(), []byte("waiting for tor: bootstrap 0%")) {
					require.NoError(t, cmd.Process.Signal(os.Interrupt))
				}
			}
			assert.Error(t, cmd.Wait())
			assert.Equal(t, 130, cmd.ProcessState.ExitCode(), said)
			assert.Contains(t, said, "waiting for tor: bootstrap 0%")
		})
	}
}

func TestTheToolSaysHowFarATorGotWhenTheTimeIsUp(t *testing.T) {
	tornet.Require(t)
	tool := build(t, "cmd/foolscap")
	const onion = "pb://ka5xurmkm6wb6vuzeo3jpxwrw6kla6ce@tor:2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:80/an-object"
	for _, command := range [][]string{{"call", onion, "add"}, {"ping", onion}} {
		cmd := exec.Command(tool, append(command, "--timeout", "8s", "--tor", "launch:"+t.TempDir())...)
		output, err := cmd.CombinedOutput()
		assert.Error(t, err)
		assert.Equal(t, 3, cmd.ProcessState.ExitCode())
		assert.Contains(t, string(output), `it did not get any further than "bootstrap 0%"`)
	}
}

func TestTheToolShowsAnOnionService(t *testing.T) {
	client := tornet.Shared(t).Client(t)
	output := retry(t, build(t, "cmd/foolscap"), "demo", "--duration", "50ms", "--tor", "control:"+client.ControlPort)
	assert.Regexp(t, `(?m)^Tor +tor:\w{56}\.onion:3457  tor via control port `, output)
	assert.NotContains(t, output, "Left out: Tor")
}

func TestADropBoxOnAnOnionAddressIsTwoCommands(t *testing.T) {
	client := tornet.Shared(t).Client(t)
	tool, dir, inbox := build(t, "cmd/foolscap"), filepath.Join(t.TempDir(), "drop"), t.TempDir()
	run(t, tool, "app", "create", "--listen", "tor", dir, "upload-file", inbox)
	_, stop := started(t, tool, "app", "run", "--tor", "control:"+client.ControlPort, dir)
	furl := regexp.MustCompile(`pb://\S+`).FindString(run(t, tool, "app", "list", dir))
	require.Regexp(t, `@tor:\w{56}\.onion:3457/`, furl)
	file := filepath.Join(t.TempDir(), "drop.furl")
	require.NoError(t, os.WriteFile(file, []byte(furl), 0o600))
	retry(t, tool, "app", "upload", "--timeout", "15s", "--hidden", "--tor", "socks:"+client.SOCKS, "@"+file, file)
	text, err := os.ReadFile(filepath.Join(inbox, "drop.furl"))
	require.NoError(t, err)
	assert.Equal(t, furl, string(text))
	assert.Contains(t, stop(), "the onion service is published")
	assert.FileExists(t, filepath.Join(dir, "onion.key"))
}
