//go:build linux

package socks

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/integration/internal/proxies"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

var programs = map[string]func(testing.TB, proxies.Options) *proxies.Proxy{
	"microsocks": proxies.Microsocks,
	"dante":      proxies.Dante,
}

// within is the context of the things that a test waits for.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newDialer(t testing.TB, addr string, opts ...socks.Option) *socks.Dialer {
	t.Helper()
	d, err := socks.NewDialer("tcp", addr, opts...)
	require.NoError(t, err)
	return d
}

// dial dials a hint through h, and closes what comes back.
func dial(t testing.TB, d *socks.Dialer, hint furl.Hint, opts ...socks.HandlerOption) error {
	t.Helper()
	h := socks.New(d, opts...)
	defer h.Close()
	stream, err := handlers.Dial(within(t), h, handlers.DialRequest{Hint: hint})
	if err == nil {
		stream.Close()
	}
	return err
}

// echo runs a server that sends back what it gets, and returns its port.
func echo(t testing.TB, host string) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn) // whether it comes back is what the test looks at
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// deadPort returns a port of 127.0.0.1 at which nobody listens.
func deadPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

func TestWhatAProxyAnswers(t *testing.T) {
	const none = socks.Succeeded
	right := socks.WithCredentials(proxies.User, proxies.Password)
	for name, test := range map[string]struct {
		only        string // the program that does so
		credentials bool
		opts        []socks.Option
		hint        furl.Hint
		want        error
		code        socks.ReplyCode
	}{
		"nobody listens":                   {hint: "tcp:127.0.0.1:DEAD", want: handlers.ErrUnreachable, code: socks.ConnectionRefused},
		"nobody listens, by name":          {hint: "tcp:known.test:DEAD", want: handlers.ErrUnreachable, code: socks.ConnectionRefused},
		"nobody listens, after a login":    {credentials: true, opts: []socks.Option{right}, hint: "tcp:127.0.0.1:DEAD", want: handlers.ErrUnreachable, code: socks.ConnectionRefused},
		"no way leads there":               {hint: "tcp:192.0.2.1:80", want: handlers.ErrUnreachable, code: socks.NetworkUnreachable},
		"no way leads there, over IPv6":    {only: "microsocks", hint: "tcp:[2001:db8::1]:80", want: handlers.ErrUnreachable, code: socks.NetworkUnreachable},
		"microsocks does not know a name":  {only: "microsocks", hint: "tcp:unknown.test:80", want: handlers.ErrProxyRefused, code: socks.GeneralFailure},
		"dante does not know a name":       {only: "dante", hint: "tcp:unknown.test:80", want: handlers.ErrUnreachable, code: socks.HostUnreachable},
		"dante forbids it":                 {only: "dante", hint: "tcp:127.0.0.9:80", want: handlers.ErrProxyRefused, code: socks.NotAllowed},
		"the password is wrong":            {credentials: true, opts: []socks.Option{socks.WithCredentials(proxies.User, "wrong")}, hint: "tcp:127.0.0.1:DEAD", want: socks.ErrCredentials},
		"the user is wrong":                {credentials: true, opts: []socks.Option{socks.WithCredentials("mallory", proxies.Password)}, hint: "tcp:127.0.0.1:DEAD", want: socks.ErrCredentials},
		"a password is wanted":             {credentials: true, hint: "tcp:127.0.0.1:DEAD", want: socks.ErrCredentials},
		"connections cannot be kept apart": {opts: []socks.Option{socks.WithIsolation()}, hint: "tcp:127.0.0.1:DEAD", want: socks.ErrNotIsolated},
	} {
		for program, start := range programs {
			if test.only != "" && test.only != program {
				continue
			}
			t.Run(name+", says "+program, func(t *testing.T) {
				p := start(t, proxies.Options{
					Credentials: test.credentials,
					Hosts:       map[string]string{"known.test": "127.0.0.1"},
					Forbidden:   "127.0.0.9",
				})
				hint := furl.Hint(strings.ReplaceAll(string(test.hint), "DEAD", deadPort(t)))
				err := dial(t, newDialer(t, p.Addr, test.opts...), hint)
				assert.ErrorIs(t, err, test.want)
				assert.NotErrorIs(t, err, handlers.ErrProxyUnreachable)
				var reply *socks.ReplyError
				if assert.Equal(t, test.code != none, errors.As(err, &reply), "%v", err) && reply != nil {
					assert.Equal(t, socks.ReplyError{Proxy: p.Addr, Code: test.code}, *reply)
				}
			})
		}
	}
}

func TestAProxyThatIsSuspendedOrGone(t *testing.T) {
	for program, start := range programs {
		t.Run(program, func(t *testing.T) {
			p := start(t, proxies.Options{})
			hint := furl.Hint("tcp:127.0.0.1:" + echo(t, "127.0.0.1"))
			d := newDialer(t, p.Addr)
			require.NoError(t, dial(t, d, hint))

			p.Suspend()
			err := dial(t, d, hint, socks.WithTimeout(300*time.Millisecond))
			assert.ErrorIs(t, err, handlers.ErrTimeout)
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			p.Resume()
			require.NoError(t, dial(t, d, hint))

			p.Kill()
			err = dial(t, d, hint)
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			assert.ErrorIs(t, err, syscall.ECONNREFUSED)
			assert.NotErrorIs(t, err, handlers.ErrUnreachable)
		})
	}
}

func TestProxiesFormChains(t *testing.T) {
	for name, test := range map[string]struct{ first, second string }{
		"microsocks over dante": {"dante", "microsocks"},
		"dante over microsocks": {"microsocks", "dante"},
	} {
		t.Run(name, func(t *testing.T) {
			// Each name is known to the one proxy that has to resolve it.
			second := programs[test.second](t, proxies.Options{Credentials: true, Hosts: map[string]string{"target.test": "127.0.0.1"}})
			first := programs[test.first](t, proxies.Options{Hosts: map[string]string{"second.test": "127.0.0.1"}})
			_, secondPort, err := net.SplitHostPort(second.Addr)
			require.NoError(t, err)
			chain := newDialer(t, "second.test:"+secondPort,
				socks.WithForward(newDialer(t, first.Addr)),
				socks.WithCredentials(proxies.User, proxies.Password))

			conn, err := chain.DialContext(within(t), "tcp", "target.test:"+echo(t, "127.0.0.1"))
			require.NoError(t, err)
			defer conn.Close()
			assert.Equal(t, first.Addr, conn.RemoteAddr().String())
			assertEchoes(t, conn, strings.Repeat("echo ", 100_000))

			err = dial(t, chain, furl.Hint("tcp:127.0.0.1:"+deadPort(t)))
			assertRefusedBy(t, err, "second.test:"+secondPort)
			assert.ErrorIs(t, err, handlers.ErrUnreachable)

			second.Kill()
			err = dial(t, chain, "tcp:target.test:80")
			assertRefusedBy(t, err, first.Addr)
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			assert.NotErrorIs(t, err, handlers.ErrUnreachable, "it is not the peer that is down")
		})
	}
}

func assertRefusedBy(t *testing.T, err error, proxy string) {
	t.Helper()
	var reply *socks.ReplyError
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, socks.ReplyError{Proxy: proxy, Code: socks.ConnectionRefused}, *reply)
}

// assertEchoes sends a text and wants it back. It does not end its own direction first: microsocks would end both.
func assertEchoes(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	var sending sync.WaitGroup
	sending.Go(func() {
		_, err := io.WriteString(conn, text)
		assert.NoError(t, err)
	})
	got := make([]byte, len(text))
	_, err := io.ReadFull(conn, got)
	sending.Wait()
	require.NoError(t, err)
	assert.True(t, string(got) == text)
}

func TestAProxyOnAUnixSocket(t *testing.T) {
	p := proxies.Microsocks(t, proxies.Options{})
	path := filepath.Join(t.TempDir(), "proxy")
	forward(t, path, p.Addr)
	d, err := socks.NewDialer("unix", path)
	require.NoError(t, err)
	conn, err := d.DialContext(within(t), "tcp", "127.0.0.1:"+echo(t, "127.0.0.1"))
	require.NoError(t, err)
	defer conn.Close()
	assertEchoes(t, conn, "over a Unix socket")
}

// forward passes connections to a Unix socket on to a proxy that knows only TCP.
func forward(t *testing.T, path, addr string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			proxy, err := net.Dial("tcp", addr)
			if !assert.NoError(t, err) {
				client.Close()
				return
			}
			for from, to := range map[net.Conn]net.Conn{client: proxy, proxy: client} {
				running.Go(func() {
					_, _ = io.Copy(to, from) // the ends see what is missing
					_ = to.(interface{ CloseWrite() error }).CloseWrite()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
}

func TestOtherTransportsRunOverTheDialer(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	defer web.Close()
	p := proxies.Dante(t, proxies.Options{Hosts: map[string]string{"web.test": "127.0.0.1"}})
	transport := &http.Transport{DialContext: newDialer(t, p.Addr).DialContext, DisableKeepAlives: true}
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://web.test:"+port, nil)
	require.NoError(t, err)
	answer, err := transport.RoundTrip(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	assert.Equal(t, "web.test:"+port, string(body))
}

func TestFailedDialsLeaveNoSocketOpen(t *testing.T) {
	p := proxies.Dante(t, proxies.Options{Credentials: true})
	right := newDialer(t, p.Addr, socks.WithCredentials(proxies.User, proxies.Password))
	wrong := newDialer(t, p.Addr, socks.WithCredentials(proxies.User, "wrong"))
	hint := furl.Hint("tcp:127.0.0.1:" + deadPort(t))
	require.Error(t, dial(t, right, hint), "so that what the runtime opens once is open")
	before := openFiles(t)
	for range 10 {
		require.Error(t, dial(t, right, hint))
		require.Error(t, dial(t, wrong, hint))
	}
	p.Suspend()
	for range 10 {
		require.ErrorIs(t, dial(t, right, hint, socks.WithTimeout(10*time.Millisecond)), handlers.ErrTimeout)
	}
	assert.Equal(t, before, openFiles(t))
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
