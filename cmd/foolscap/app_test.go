//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/appserver"
)

// freePort is one that nobody listens at.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// appServer makes a server with one service, and returns its folder and a file with the FURL.
func appServer(t *testing.T, service ...string) (dir, furlFile string) {
	dir = filepath.Join(t.TempDir(), "server")
	r := foolscap(t, append([]string{"app", "create", "--listen", "127.0.0.1:" + freePort(t), dir}, service...)...)
	require.Equal(t, exitOK, r.code, r.stderr)
	furlFile = filepath.Join(t.TempDir(), "furl")
	require.NoError(t, os.WriteFile(furlFile, []byte(r.stdout), 0o600))
	return dir, furlFile
}

// runApp serves until the test ends, and returns the first line that is printed.
func runApp(t *testing.T, dir string) string {
	cmd := program(t, "app", "run", dir)
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, exitOK, ended(cmd))
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	return line
}

func TestADropBoxIsTwoCommands(t *testing.T) {
	inbox := t.TempDir()
	dir, drop := appServer(t, "upload-file", "--mode=0600", inbox)
	assert.Equal(t, "1  upload-file --mode=0600 "+inbox+"\n", runApp(t, dir))
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	for _, file := range []string{one, two} {
		require.NoError(t, os.WriteFile(file, []byte(file), 0o600))
	}
	assert.Equal(t, result{stdout: "one: uploaded\ntwo: uploaded\n"}, foolscap(t, "app", "upload", "@"+drop, one, two))
	text, err := os.ReadFile(filepath.Join(inbox, "two"))
	require.NoError(t, err)
	assert.Equal(t, two, string(text))

	r := foolscap(t, "app", "upload", "--json", "@"+drop, one, filepath.Join(inbox, "../missing"))
	assert.Equal(t, exitFailure, r.code, "nothing is sent before all files can be read")
	hidden := filepath.Join(t.TempDir(), ".hidden")
	require.NoError(t, os.WriteFile(hidden, nil, 0o600))
	r = foolscap(t, "app", "upload", "--json", "@"+drop, one, hidden)
	assert.Equal(t, exitRemote, r.code)
	var doc uploadsDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	require.Len(t, doc.Files, 1)
	assert.EqualValues(t, len(one), doc.Files[0].Bytes)
	assert.Equal(t, "foolscap.appserver.services.BadFilenameError", doc.Error.Remote.Type)

	for says, files := range map[string][]string{"is a folder": {inbox}, "are called": {one, one}} {
		r := foolscap(t, append([]string{"app", "upload", "@" + drop}, files...)...)
		assert.Equal(t, exitUsage, r.code)
		assert.Contains(t, r.stderr, says)
	}
}

func TestARemoteCommandExitsHere(t *testing.T) {
	dir, _ := appServer(t)
	runs := func(words ...string) string {
		r := foolscap(t, append([]string{"app", "add", dir, "run-command"}, words...)...)
		require.Equal(t, exitOK, r.code, r.stderr)
		return strings.TrimSpace(r.stdout)
	}
	here := t.TempDir()
	three := runs(here, "sh", "-c", "echo out; echo err >&2; exit 3")
	killed := runs(here, "sh", "-c", "kill -TERM $$")
	cat := runs("--accept-stdin", here, "cat")
	missing := runs(here, "no-such-program")
	cmd := program(t, "app", "run", dir)
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	assert.Equal(t, result{3, "out\n", "err\n"}, foolscap(t, "app", "run-command", three))
	assert.Equal(t, result{code: exitKilled}, foolscap(t, "app", "run-command", killed))
	assert.Equal(t, result{stdout: "{\"exit\":0,\"signal\":15}\n", code: exitKilled}, foolscap(t, "app", "run-command", "--json", killed))
	assert.Equal(t, result{stdout: "input"}, foolscapWith(t, "input", "app", "run-command", cat))
	assert.Equal(t, result{}, foolscapWith(t, cat, "app", "run-command", "-"), "standard input was the FURL")
	assert.Equal(t, result{stdout: "{\"stdout\":\"aW5wdXQ=\"}\n{\"exit\":0,\"signal\":null}\n"}, foolscapWith(t, "input", "app", "run-command", "--json", cat))
	r := foolscap(t, "app", "run-command", missing)
	assert.Equal(t, exitNotRun, r.code)
	assert.Contains(t, r.stderr, "cannot be started")
	r = foolscap(t, "app", "run-command", "--json", missing+"x")
	assert.Equal(t, exitNotRun, r.code)
	assert.Contains(t, r.stdout, `"kind":"not-run","code":255`)
	assert.Contains(t, r.stdout, "builtins.KeyError")

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	assert.Equal(t, exitOK, ended(cmd))
	assert.Equal(t, exitNotRun, foolscap(t, "app", "run-command", three).code, "nobody is there")
	assert.Equal(t, exitUsage, foolscap(t, "app", "run-command", "nonsense").code)
}

func TestServicesAreAddedListedAndRemoved(t *testing.T) {
	dir, drop := appServer(t, "upload-file", ".")
	secret, err := os.ReadFile(drop)
	require.NoError(t, err)
	require.Equal(t, exitOK, foolscap(t, "app", "add", "--comment", "say \x1b[0m", dir, "run-command", ".", "echo", "--json").code)
	r := foolscap(t, "app", "list", dir)
	assert.Contains(t, r.stdout, "   "+string(secret))
	assert.Contains(t, r.stdout, " echo --json\n   # say \\x1b[0m\n")
	var doc servicesDocument
	require.NoError(t, json.Unmarshal([]byte(foolscap(t, "app", "list", "--json", dir).stdout), &doc))
	require.Len(t, doc.Services, 2)
	assert.Equal(t, strings.TrimSpace(string(secret)), doc.Services[0].FURL)
	assert.Equal(t, result{}, foolscap(t, "app", "remove", dir, "1"))
	r = foolscap(t, "app", "remove", dir, "1")
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "no such service")
	assert.NotContains(t, foolscap(t, "app", "list", dir).stdout, string(secret))
	r = foolscap(t, "app", "add", dir, "teleport")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "upload-file and run-command")
	r = foolscap(t, "app", "create", dir)
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "exists already")
}

func TestTheFURLOfAnOnionServiceIsNotKnownBefore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "server")
	r := foolscap(t, "app", "create", "--listen", "tor", dir, "upload-file", t.TempDir())
	assert.Equal(t, exitOK, r.code)
	assert.Empty(t, r.stdout)
	assert.Contains(t, r.stderr, "once it is known where it is reached")
	assert.Contains(t, foolscap(t, "app", "list", dir).stdout, "once the server has run")
	r = foolscap(t, "app", "run", "--tor", "control:"+closedPort(t).Address(), dir)
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "refused")
}

func TestWhereAServerListensIsKeptInPythonsWords(t *testing.T) {
	for _, c := range []struct{ listen, port, again string }{
		{"tcp:127.0.0.1:3116", "tcp:3116:interface=127.0.0.1", ""},
		{"tcp:[::1]:3116", `tcp6:3116:interface=\:\:1`, ""},
		{"tcp:0.0.0.0:3116", "tcp:3116:interface=0.0.0.0", ""},
		{"tcp::3116", "tcp:3116", ""},
		{"quic:127.0.0.1:3116", "quic:127.0.0.1:3116", ""},
		{"tor:80", "tor:80", ""},
		{"tor", "tor", ""},
	} {
		l, err := parseListening(c.listen)
		require.NoError(t, err)
		port, err := portText([]listening{l})
		require.NoError(t, err)
		assert.Equal(t, c.port, port)
		if c.again == "" {
			c.again = c.listen
		}
		again, err := listenText(port)
		require.NoError(t, err)
		assert.Equal(t, c.again, again)
	}
	for line, listen := range map[string]string{"3116": "tcp::3116", "tcp:port=3116:backlog=5": "tcp::3116", "tcp6:3116": "tcp:[::]:3116"} {
		got, err := listenText(line)
		require.NoError(t, err)
		assert.Equal(t, listen, got)
	}
	for _, line := range []string{"ssl:443", "unix:socket", "tcp:3116:whatever=1", "onion"} {
		_, err := listenText(line)
		assert.ErrorContains(t, err, "not understood", line)
	}
}

func TestAServerIsNotMadeWhereItCouldNotBeReached(t *testing.T) {
	for says, flags := range map[string][]string{
		"a fixed one":    {"--listen", "tcp:127.0.0.1:0"},
		"--location tcp": {"--listen", "tcp:0.0.0.0:3116"},
		"--two-faces":    {"--listen", "tor", "--listen", "tcp:127.0.0.1:3116"},
	} {
		dir := filepath.Join(t.TempDir(), "server")
		r := foolscap(t, append([]string{"app", "create", dir}, flags...)...)
		assert.Equal(t, exitUsage, r.code)
		assert.Contains(t, r.stderr, says)
		assert.NoDirExists(t, dir)
	}
}

func TestAFolderWithABadPortIsNotServed(t *testing.T) {
	for text, says := range map[string]string{"": "does not say where", "ssl:443": "not understood", "tcp:99999": "0..65535"} {
		dir := filepath.Join(t.TempDir(), "server")
		_, err := appserver.Create(dir, nil, appserver.Settings{Port: text}, nil)
		require.NoError(t, err)
		r := foolscap(t, "app", "run", dir)
		assert.Equal(t, exitFailure, r.code)
		assert.Contains(t, r.stderr, says)
	}
}
