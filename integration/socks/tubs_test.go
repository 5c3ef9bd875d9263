//go:build linux

package socks

import (
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/integration/internal/proxies"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// serverTub publishes an object that adds numbers, echoes bytes and calls back. The FURL leads to it under the name or
// address host, which stands for the address that it listens on.
func serverTub(t *testing.T, listen, host string) furl.FURL {
	t.Helper()
	server := newTub(t)
	l, err := tcp.Listen(t.Context(), net.JoinHostPort(listen, "0"))
	require.NoError(t, err)
	_, err = server.Listen(l)
	require.NoError(t, err)
	f, err := server.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		tub.Method("echo", func(_ context.Context, a struct{ Data []byte }) ([]byte, error) { return a.Data, nil }),
		tub.Method("ask", func(ctx context.Context, a struct{ Ref *tub.Ref }) (string, error) {
			return tub.Call[string](ctx, a.Ref, "name")
		}),
	))
	require.NoError(t, err)
	return f.WithHints(furl.StreamHint("tcp", host, uint16(l.Addr().(*net.TCPAddr).Port)))
}

func newTub(t *testing.T) *tub.Tub {
	t.Helper()
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	tb, err := tub.New(id, &tub.Options{NoHandlers: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tb.Close()) })
	return tb
}

// assertTheyTalk lets a Tub that dials through d have a conversation with the Tub of serverTub.
func assertTheyTalk(t *testing.T, d *socks.Dialer, f furl.FURL) {
	t.Helper()
	client := newTub(t)
	require.NoError(t, client.Handle("tcp", socks.New(d)))
	ref, err := client.Connect(within(t), f)
	require.NoError(t, err)
	defer ref.Close()

	sum, err := tub.Call[int](within(t), ref, "add", 1, 2)
	require.NoError(t, err)
	assert.Equal(t, 3, sum)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i ^ i>>8)
	}
	got, err := tub.Call[[]byte](within(t), ref, "echo", data)
	require.NoError(t, err)
	assert.True(t, string(data) == string(got))
	me := tub.NewObject(tub.Method("name", func(context.Context, tub.None) (string, error) { return "the client", nil }))
	name, err := tub.Call[string](within(t), ref, "ask", me)
	require.NoError(t, err)
	assert.Equal(t, "the client", name)

	info, ok := client.Info(f.TubID)
	require.True(t, ok)
	assert.Equal(t, f.Hints[0], info.Winner)
}

func TestTubsTalkThroughAProxy(t *testing.T) {
	for program, start := range programs {
		for name, test := range map[string]struct {
			proxy, server, host string
			credentials         bool
		}{
			"to an IPv4 address":                  {"127.0.0.1", "127.0.0.1", "127.0.0.1", false},
			"to an IPv6 address":                  {"127.0.0.1", "::1", "::1", false},
			"to a name that only the proxy knows": {"127.0.0.1", "127.0.0.1", "four.test", false},
			"to a name with an IPv6 address":      {"127.0.0.1", "::1", "six.test", false},
			"at an IPv6 address":                  {"::1", "127.0.0.1", "four.test", false},
			"after a login":                       {"127.0.0.1", "127.0.0.1", "four.test", true},
		} {
			t.Run(program+" "+name, func(t *testing.T) {
				p := start(t, proxies.Options{
					Listen:      test.proxy,
					Credentials: test.credentials,
					Hosts:       map[string]string{"four.test": "127.0.0.1", "six.test": "::1"},
				})
				var opts []socks.Option
				if test.credentials {
					opts = append(opts, socks.WithCredentials(proxies.User, proxies.Password))
				}
				assertTheyTalk(t, newDialer(t, p.Addr, opts...), serverTub(t, test.server, test.host))
			})
		}
	}
}

func TestTubsTalkThroughTwoProxies(t *testing.T) {
	second := proxies.Microsocks(t, proxies.Options{Hosts: map[string]string{"target.test": "127.0.0.1"}})
	first := proxies.Dante(t, proxies.Options{})
	chain := newDialer(t, second.Addr, socks.WithForward(newDialer(t, first.Addr)))
	assertTheyTalk(t, chain, serverTub(t, "127.0.0.1", "target.test"))
}

func TestATubHearsWhatTheProxySaid(t *testing.T) {
	p := proxies.Microsocks(t, proxies.Options{})
	client := newTub(t)
	require.NoError(t, client.Handle("tcp", socks.New(newDialer(t, p.Addr))))
	port, err := strconv.ParseUint(deadPort(t), 10, 16)
	require.NoError(t, err)
	f := serverTub(t, "127.0.0.1", "127.0.0.1")
	_, err = client.Connect(within(t), f.WithHints(furl.StreamHint("tcp", "127.0.0.1", uint16(port))))
	var dialErr *tub.DialError
	require.ErrorAs(t, err, &dialErr)
	assert.ErrorIs(t, err, handlers.ErrUnreachable)
	var reply *socks.ReplyError
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, socks.ConnectionRefused, reply.Code)
}

func TestALostProxyIsALostConnection(t *testing.T) {
	p := proxies.Dante(t, proxies.Options{})
	client := newTub(t)
	require.NoError(t, client.Handle("tcp", socks.New(newDialer(t, p.Addr))))
	f := serverTub(t, "127.0.0.1", "127.0.0.1")
	ref, err := client.Connect(within(t), f)
	require.NoError(t, err)
	defer ref.Close()
	p.Kill()
	_, err = tub.Call[int](within(t), ref, "add", 1, 2)
	assert.ErrorIs(t, err, tub.ErrDeadReference)
}
