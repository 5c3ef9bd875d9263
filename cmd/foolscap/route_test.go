package main

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A hint goes where the flags say, and nowhere else.
func TestHintsTakeTheRouteOfTheFlags(t *testing.T) {
	nobody := closedPort(t)
	f, err := furl.Parse(someFURL)
	require.NoError(t, err)
	onion := furl.Hint("tor:" + "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:80")
	tcp, quic := nobody, furl.Hint("quic:"+nobody.Address())
	for _, c := range []struct {
		name  string
		hint  furl.Hint
		flags []string
		says  []string
	}{
		{"tcp hints directly", tcp, nil, []string{" tcp ", "nothing accepts"}},
		{"quic hints directly", quic, nil, []string{" quic ", "failed in dial"}},
		{"tcp hints through a proxy", tcp, []string{"--socks", nobody.Address()}, []string{"socks via " + nobody.Address(), "the proxy cannot be reached"}},
		{"quic hints not past a proxy", quic, []string{"--socks", nobody.Address()}, []string{" - ", "with --socks, hints of this type are not dialled"}},
		{"tor hints by a SOCKS port", onion, []string{"--tor", "socks:" + nobody.Address()}, []string{"tor via " + nobody.Address(), "no tor there: ", "start one, or --tor launch"}},
		{"tor hints by a control port", onion, []string{"--tor", "control:" + nobody.Address()}, []string{"tor via control port " + nobody.Address(), "no tor there: tor's control port: ", "on Debian --tor control:unix:/run/tor/control"}},
		{"tcp hints by tor, hidden", "tcp:198.41.0.4:1", []string{"--hidden", "--tor", "socks:" + nobody.Address()}, []string{"tor via " + nobody.Address(), "no tor there: ", "start one, or --tor launch"}},
		{"quic hints not at all, hidden", quic, []string{"--hidden", "--tor", "socks:" + nobody.Address()}, []string{" - ", "with --hidden, hints of this type are not dialled"}},
		{"private addresses not at all, hidden", tcp, []string{"--hidden"}, []string{" tor ", "private addresses cannot be reached over Tor"}},
		{"IPv6 addresses not at all, hidden", "tcp:[2001:db8::1]:1", []string{"--hidden"}, []string{" tor ", "IPv6 addresses cannot be reached over Tor"}},
		{"by a tor whose socket is not there", onion, []string{"--tor", "control:unix:" + filepath.Join(t.TempDir(), "control")}, []string{" tor via control port unix:", "no tor there: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, command := range [][]string{{"ping", "--timeout", "10s", "-"}, {"call", "--timeout", "10s", "-", "add"}} {
				r := foolscapWith(t, f.WithHints(c.hint).Reveal(), append(command, c.flags...)...)
				assert.Equal(t, exitUnreachable, r.code, r.stderr)
				says := c.says
				if command[0] == "call" { // which does not name the handler
					says = says[1:]
				}
				for _, part := range says {
					assert.Contains(t, r.stdout+r.stderr, part)
				}
			}
		})
	}
}

// proxyWithLogin takes one connection, and returns what it was shown.
func proxyWithLogin(t *testing.T) (address string, shown <-chan string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	login := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		greeting := make([]byte, 2)
		if _, err := io.ReadFull(conn, greeting); err != nil {
			return
		}
		if _, err := io.ReadFull(conn, make([]byte, greeting[1])); err != nil {
			return
		}
		if _, err := conn.Write([]byte{5, 2}); err != nil {
			return
		}
		b := make([]byte, len("\x01\x05alice\x06secret"))
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		login <- string(b)
		conn.Write([]byte{1, 1}) // no
	}()
	return l.Addr().String(), login
}

func TestTheProxyIsShownTheLogin(t *testing.T) {
	address, shown := proxyWithLogin(t)
	file := filepath.Join(t.TempDir(), "login")
	require.NoError(t, os.WriteFile(file, []byte("alice:secret\n"), 0o600))
	f, err := furl.Parse(someFURL)
	require.NoError(t, err)
	r := foolscap(t, "ping", "--socks", address, "--socks-login", file, f.WithHints(f.Hints[0]).Reveal())
	assert.Equal(t, exitUnreachable, r.code)
	assert.Equal(t, "\x01\x05alice\x06secret", <-shown)
	assert.Contains(t, r.stdout, "user name and password")
	assert.Contains(t, r.stdout, "--socks-login FILE")
	assert.NotContains(t, r.stdout, "WithCredentials")
	assert.NotContains(t, r.stdout+r.stderr, "secret")
}

func TestFilesWithSecretsHaveOneLine(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "two": "alice:secret\nbob:secret\n", "no-password": "alice\n"} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		r := foolscap(t, "ping", "--socks", "127.0.0.1:1", "--socks-login", file, someFURL)
		assert.Equal(t, exitFailure, r.code)
		assert.Contains(t, r.stderr, file)
		assert.NotContains(t, r.stderr, "secret")
	}
	r := foolscap(t, "ping", "--tor", "control", "--tor-password", filepath.Join(dir, "missing"), someFURL)
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "no such file")
}

func TestProgressIsThatOfTheHintThatIsStillTried(t *testing.T) {
	begun := time.Now()
	info := tub.ConnInfo{Hints: []tub.HintStatus{
		{Hint: "tcp:a.example:1", Started: begun, Text: "looking up a.example", Err: io.EOF},
		{Hint: "quic:a.example:1"},
		{Hint: "tor:x.onion:1", Started: begun, Phase: handlers.PhaseDial, Text: "bootstrap 45%"},
	}}
	assert.Equal(t, "tor: bootstrap 45%", progressOf(info))
	assert.Empty(t, progressOf(tub.ConnInfo{}))
	info.Hints[2].Won = true
	assert.Empty(t, progressOf(info))
}

func TestATorThatWeMayNotUseIsAnotherThanNone(t *testing.T) {
	for err, says := range map[error]string{
		fs.ErrPermission: "the tor there cannot be used: dial: open: permission denied; let this user",
		fs.ErrNotExist:   "no tor there: dial: open: file does not exist; start one",
	} {
		err = fmt.Errorf("%w: %w", handlers.ErrProxyUnreachable, &net.OpError{Op: "dial", Err: fmt.Errorf("open: %w", err)})
		assert.ErrorContains(t, torAdvice(err), says)
	}
	broken := fmt.Errorf("%w: it says nothing", handlers.ErrProxyUnreachable)
	assert.Equal(t, broken, torAdvice(broken))
}
