package tor_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// onion is a valid address that nobody has.
const onion = "il52si66xubbmd3fhh45v66wi7lxj4ay6lwdemts2x5khicbuermjyqd.onion"

func newHandler(t *testing.T, via *tor.Tor, opts ...tor.Option) *tor.Handler {
	t.Helper()
	h, err := tor.New(via, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.Close()) })
	return h
}

// unused returns an address where nobody listens.
func unused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func requireEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Write([]byte("hello"))
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}

// dialError dials, which must fail.
func dialError(t *testing.T, ctx context.Context, h handlers.Handler, hint furl.Hint) *handlers.Error {
	t.Helper()
	stream, err := handlers.Dial(ctx, h, handlers.DialRequest{Hint: hint})
	require.Nil(t, stream.Conn)
	var dialErr *handlers.Error
	require.ErrorAs(t, err, &dialErr)
	return dialErr
}

func TestAHintIsHandedToTor(t *testing.T) {
	for hint, want := range map[furl.Hint]request{
		"tor:server.example:80":                 {target: "server.example:80"},
		"tcp:server.example:80":                 {target: "server.example:80"},
		"server.example:80":                     {target: "server.example:80"},
		"tor:8.8.8.8:53":                        {target: "8.8.8.8:53"},
		furl.StreamHint("tor", onion, 1):        {target: onion + ":1"},
		furl.StreamHint("tcp", "www."+onion, 1): {target: "www." + onion + ":1"},
		// Tor would ask an exit for these as they are.
		furl.StreamHint("tor", onion+".", 1):                         {target: onion + ":1"},
		furl.StreamHint("tcp", "WWW."+strings.ToUpper(onion)+".", 1): {target: "www." + onion + ":1"},
	} {
		t.Run(hint.String(), func(t *testing.T) {
			server := startSOCKS(t, "tcp", 0)
			h := newHandler(t, tor.SOCKS(server.Address))
			stream, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: hint})
			require.NoError(t, err)
			defer stream.Close()
			host, _, _ := strings.Cut(want.target, ":")
			assert.Equal(t, host, stream.Host)
			assert.Nil(t, stream.Peer)
			assert.IsType(t, &net.TCPConn{}, stream.Conn, "with nothing in between")
			requireEcho(t, stream)
			assert.Equal(t, want.target, (<-server.requests).target)
		})
	}
}

func TestHintsThatTorCannotOrMustNotDial(t *testing.T) {
	server := startSOCKS(t, "tcp", 0)
	h := newHandler(t, tor.SOCKS(server.Address))
	for _, hint := range []furl.Hint{
		"", "foo", "tor:", "tor:a:0", "tor:a:65536", "tor:a b:1", "tor:under_score:1", "quic:server.example:80", "i2p:server.example:80",
		"tor:127.0.0.1:80", "tcp:127.0.0.1:80", "127.0.0.1:80", "tor:10.1.2.3:80", "tor:192.168.1.1:80", "tor:172.31.0.1:80",
		"tor:169.254.1.1:80", "tor:0.0.0.0:80", "tor:255.255.255.255:80", "tor:224.0.0.1:80", "tor:240.0.0.1:80", "tor:203.0.113.5:80",
		"tor:198.51.100.1:80", "tor:192.0.2.1:80", "tor:192.0.0.255:80", "tor:198.18.0.1:80", "tor:100.64.0.1:80", "tor:127.1:80",
		"tor:[::1]:80", "tor:[2001:db8::1]:80", "tor:[2606:4700::1]:80", "tor:[::ffff:8.8.8.8]:80", "tor:[fe80::1%eth0]:80",
		"tor:expyuzz4wqqyqhjn.onion:80", "tor:foo.onion:80", furl.StreamHint("tor", "a"+onion[1:], 80), furl.StreamHint("tor", onion[1:], 80),
	} {
		t.Run(hint.String(), func(t *testing.T) {
			err := dialError(t, t.Context(), h, hint)
			assert.Equal(t, handlers.PhaseParse, err.Phase)
			assert.ErrorIs(t, err, handlers.ErrInvalidHint)
		})
	}
	assert.Empty(t, server.requests)
}

func TestWhatTorAnswersIsUnderstood(t *testing.T) {
	const toOnion, toName = furl.Hint("tor:" + onion + ":80"), furl.Hint("tor:server.example:80")
	for _, test := range []struct {
		hint furl.Hint
		code socks.ReplyCode
		is   []error
		says string
	}{
		{toOnion, 0xF0, []error{tor.ErrNotPublished, handlers.ErrUnreachable}, "the onion service is not published"},
		{toOnion, 0xF1, []error{tor.ErrDescriptorInvalid, handlers.ErrUnreachable}, "cannot be read"},
		{toOnion, 0xF2, []error{tor.ErrIntroductionFailed, handlers.ErrUnreachable}, "introduction points"},
		{toOnion, 0xF3, []error{tor.ErrRendezvousFailed, handlers.ErrUnreachable}, "no circuit to it came about"},
		{toOnion, 0xF4, []error{tor.ErrClientKeyMissing, handlers.ErrProxyRefused}, "authorised clients only"},
		{toOnion, 0xF5, []error{tor.ErrClientKeyWrong, handlers.ErrProxyRefused}, "does not admit our key"},
		{toOnion, 0xF6, []error{handlers.ErrInvalidHint}, "onion address"},
		{toOnion, 0xF7, []error{tor.ErrIntroductionFailed, handlers.ErrUnreachable}, "introduction points"},
		{toOnion, 1, []error{handlers.ErrUnreachable}, "the program behind it may be down"},
		{toOnion, 4, []error{tor.ErrNotPublished, handlers.ErrUnreachable}, "the onion service is not published"},
		{toOnion, 5, []error{handlers.ErrUnreachable}, "not on this port"},
		{toOnion, 6, []error{handlers.ErrUnreachable}, "nothing answered"},
		{toName, 1, []error{handlers.ErrUnreachable}, "the exit of Tor could not connect"},
		{toName, 2, []error{handlers.ErrProxyRefused}, "does not allow such targets"},
		{toName, 3, []error{handlers.ErrUnreachable}, "no way to its address"},
		{toName, 4, []error{handlers.ErrUnreachable}, "does not know the name"},
		{toName, 5, []error{handlers.ErrUnreachable}, "the exit of Tor could not connect"},
		{toName, 7, []error{handlers.ErrProxyRefused}, "command not supported"},
		{toName, 0x42, []error{handlers.ErrProxyRefused}, "0x42"},
	} {
		t.Run(fmt.Sprintf("%s and 0x%02X", test.hint, byte(test.code)), func(t *testing.T) {
			h := newHandler(t, tor.SOCKS(startSOCKS(t, "tcp", byte(test.code)).Address))
			err := dialError(t, t.Context(), h, test.hint)
			assert.Equal(t, handlers.PhaseProxy, err.Phase)
			var reply *tor.ReplyError
			require.ErrorAs(t, err, &reply)
			assert.Equal(t, tor.ReplyError{Code: test.code, Onion: test.hint == toOnion}, *reply)
			assert.ErrorContains(t, err, test.says)
			for _, sentinel := range test.is {
				assert.ErrorIs(t, err, sentinel)
			}
			if len(test.is) == 2 {
				assert.NotErrorIs(t, err, map[error]error{
					handlers.ErrUnreachable:  handlers.ErrProxyRefused,
					handlers.ErrProxyRefused: handlers.ErrUnreachable,
				}[test.is[1]])
			}
		})
	}
}

func TestCircuitsAreSharedOnlyWithinOneIsolationAndTub(t *testing.T) {
	const a, b = furl.TubID("a234567a234567a234567a234567a2345"), furl.TubID("b234567a234567a234567a234567a2345")
	server := startSOCKS(t, "tcp", 0)
	one, two := newHandler(t, tor.SOCKS(server.Address)), newHandler(t, tor.SOCKS(server.Address))
	shared := newHandler(t, tor.SOCKS(server.Address), tor.WithoutIsolation())
	shown := func(h *tor.Handler, isolation string, target furl.TubID) request {
		stream, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tor:x.example:1", Isolation: isolation, Target: target})
		require.NoError(t, err)
		stream.Close()
		r := <-server.requests
		assert.NotContains(t, r.user+r.password, "iso")
		assert.NotContains(t, r.user+r.password, "a2345")
		return r
	}
	first := shown(one, "iso", a)
	assert.NotEmpty(t, first.user)
	assert.Equal(t, first, shown(one, "iso", a))
	assert.NotEqual(t, first, shown(one, "iso2", a))
	assert.NotEqual(t, first, shown(one, "iso", b))
	assert.NotEqual(t, shown(one, "x", "yz"), shown(one, "xy", "z"))
	assert.NotEqual(t, first, shown(two, "iso", a), "two Tubs of one program")
	assert.Equal(t, request{target: "x.example:1"}, shown(shared, "iso", a))
}

func TestADialThatWaitedInVainIsFollowedByOneOnNewCircuits(t *testing.T) {
	for name, test := range map[string]struct {
		stall time.Duration
		fresh bool
	}{
		"when it has waited for long":  {0, true},
		"but not when it was given up": {time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			defer tor.SetStallTime(test.stall)()
			server := startSOCKS(t, "tcp", noAnswer)
			h := newHandler(t, tor.SOCKS(server.Address))
			var shown []request
			for range 2 {
				ctx, cancel := context.WithCancel(t.Context())
				var dialling sync.WaitGroup
				dialling.Go(func() {
					err := dialError(t, ctx, h, "tor:x.example:1")
					assert.ErrorIs(t, err, context.Canceled)
					assert.Equal(t, handlers.PhaseProxy, err.Phase)
				})
				shown = append(shown, <-server.requests)
				cancel()
				dialling.Wait()
			}
			assert.Equal(t, test.fresh, shown[0] != shown[1])
		})
	}
}

func TestTheHandlerIsADialerForOtherTransports(t *testing.T) {
	server := startSOCKS(t, "tcp", 0)
	h := newHandler(t, tor.SOCKS(server.Address))
	var dialer handlers.ContextDialer = h
	var shown []request
	for _, isolation := range []string{"a", "b"} {
		conn, err := dialer.DialContext(handlers.ContextWithIsolation(t.Context(), isolation), "tcp", "x.example:80")
		require.NoError(t, err)
		requireEcho(t, conn)
		conn.Close()
		shown = append(shown, <-server.requests)
	}
	assert.Equal(t, "x.example:80", shown[0].target)
	assert.NotEqual(t, shown[0].password, shown[1].password)
	_, err := dialer.DialContext(t.Context(), "udp", "x.example:80")
	assert.ErrorIs(t, err, net.UnknownNetworkError("udp"))
	for _, at := range []string{"x.example", "x.example:0", "x.example:http", "[::1]:80", "10.0.0.1:80"} {
		conn, err := dialer.DialContext(t.Context(), "tcp", at)
		assert.Nil(t, conn)
		assert.ErrorIs(t, err, handlers.ErrInvalidHint, at)
	}
}

func TestTheUsualPorts(t *testing.T) {
	dead := unused(t)
	t.Run("the second, when nothing is at the first", func(t *testing.T) {
		server := startSOCKS(t, "tcp", 0)
		defer tor.SetUsualSOCKS(dead, server.Address)()
		stream, err := handlers.Dial(t.Context(), newHandler(t, tor.SOCKS("")), handlers.DialRequest{Hint: "tor:x.example:1"})
		require.NoError(t, err)
		stream.Close()
	})
	t.Run("not the second, when the first says no", func(t *testing.T) {
		server := startSOCKS(t, "tcp", 0)
		defer tor.SetUsualSOCKS(startSOCKS(t, "tcp", 4).Address, server.Address)()
		err := dialError(t, t.Context(), newHandler(t, tor.SOCKS("")), "tor:x.example:1")
		assert.ErrorIs(t, err, handlers.ErrUnreachable)
		assert.Empty(t, server.requests)
	})
	t.Run("neither", func(t *testing.T) {
		other := unused(t)
		defer tor.SetUsualSOCKS(dead, other)()
		err := dialError(t, t.Context(), newHandler(t, tor.SOCKS("")), "tor:x.example:1")
		assert.Equal(t, handlers.PhaseDial, err.Phase)
		assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
		assert.ErrorContains(t, err, dead)
		assert.ErrorContains(t, err, other)
	})
}

func TestASOCKSPortOnASocket(t *testing.T) {
	server := startSOCKS(t, "unix", 0)
	stream, err := handlers.Dial(t.Context(), newHandler(t, tor.SOCKS("unix:"+server.Address)), handlers.DialRequest{Hint: "tor:x.example:1"})
	require.NoError(t, err)
	requireEcho(t, stream)
	stream.Close()
}

func TestAddressesOfPortsThatMakeNoSense(t *testing.T) {
	for _, at := range []string{"localhost:9050", "tor.example:9050", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:socks", "127.0.0.1:70000", "unix:", ":9050"} {
		t.Run(at, func(t *testing.T) {
			for _, via := range []*tor.Tor{tor.SOCKS(at), tor.Control(tor.ControlConfig{Address: at}), tor.Control(tor.ControlConfig{SOCKS: at})} {
				_, err := tor.New(via)
				assert.ErrorContains(t, err, fmt.Sprintf("%q", at))
				_, err = tor.Listen(t.Context(), via, 80)
				assert.ErrorContains(t, err, fmt.Sprintf("%q", at))
			}
		})
	}
}

func TestWhatTheHandlerDeclares(t *testing.T) {
	h := newHandler(t, tor.SOCKS(""))
	assert.Equal(t, "tor", h.Description())
	assert.Equal(t, 90*time.Second, h.DialTimeout())
	assert.True(t, h.Exposure().Hidden())
	assert.Equal(t, time.Second, newHandler(t, tor.SOCKS(""), tor.WithTimeout(time.Second)).DialTimeout())
	assert.Equal(t, "tor via unix:/run/tor/socks", newHandler(t, tor.SOCKS("unix:/run/tor/socks")).Description())
	assert.Equal(t, "tor via control port 127.0.0.1:9051", newHandler(t, tor.Control(tor.ControlConfig{})).Description())
	assert.Equal(t, "tor (launched)", newHandler(t, tor.Launch(tor.LaunchConfig{})).Description())
}

func TestADialEndsWithItsContextAndWithItsHandler(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in its queue for ever
	require.NoError(t, err)
	defer silent.Close()
	for name, via := range map[string]*tor.Tor{
		"at a SOCKS port":   tor.SOCKS(silent.Addr().String()),
		"at a control port": tor.Control(tor.ControlConfig{Address: silent.Addr().String()}),
	} {
		t.Run(name+" when it is cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			h := newHandler(t, via)
			var dialling sync.WaitGroup
			dialling.Go(func() {
				err := dialError(t, ctx, h, "tor:x.example:1")
				assert.ErrorIs(t, err, context.Canceled)
			})
			_, err := silent.Accept() // the dial has begun
			require.NoError(t, err)
			cancel()
			dialling.Wait()
		})
		t.Run(name+" when its time is up", func(t *testing.T) {
			h := newHandler(t, via, tor.WithTimeout(50*time.Millisecond))
			err := dialError(t, t.Context(), h, "tor:x.example:1")
			assert.ErrorIs(t, err, handlers.ErrTimeout)
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			assert.Equal(t, handlers.PhaseDial, err.Phase)
		})
		t.Run(name+" when the handler is closed", func(t *testing.T) {
			h := newHandler(t, via)
			var dialling sync.WaitGroup
			begun := make(chan struct{})
			var once sync.Once
			dialling.Go(func() {
				_, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tor:x.example:1", Progress: func(handlers.Status) { once.Do(func() { close(begun) }) }})
				assert.ErrorIs(t, err, net.ErrClosed)
				assert.NotErrorIs(t, err, context.Canceled)
			})
			<-begun
			require.NoError(t, h.Close())
			dialling.Wait()
			err := dialError(t, t.Context(), h, "tor:x.example:1")
			assert.ErrorIs(t, err, net.ErrClosed)
		})
	}
}
