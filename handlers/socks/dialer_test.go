package socks_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestTheProxyGetsTheTargetUnresolved(t *testing.T) {
	longest := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "b.c" // 255 bytes
	for address, want := range map[string][]byte{
		"a.example:80":          toExample,
		"A.Example.:80":         request("A.Example.", 80),
		longest + ":65535":      request(longest, 65535),
		"under_score:1":         request("under_score", 1),
		"192.0.2.9:258":         {5, 1, 0, 1, 192, 0, 2, 9, 1, 2},
		"[::ffff:192.0.2.9]:80": {5, 1, 0, 1, 192, 0, 2, 9, 0, 80},
		"[2001:db8::1]:80":      {5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80},
	} {
		t.Run(address, func(t *testing.T) {
			way := proxyThat(t, gets(greeting), says(noPassword), gets(want), says(done))
			conn, err := newDialer(t, way).DialContext(t.Context(), "tcp", address)
			require.NoError(t, err)
			way.wait()
			require.NoError(t, conn.Close())
		})
	}
}

func TestTheStreamIsTheConnectionToTheProxyItself(t *testing.T) {
	domainReply := append([]byte{5, 0, 0, 3, 255}, make([]byte, 255+2)...)
	for name, test := range map[string]struct {
		opts   []socks.Option
		script []step
	}{
		"without a password": {nil, []step{gets(greeting), says(noPassword), gets(toExample), says(done)}},
		"byte by byte":       {nil, []step{gets(greeting), dribbles(noPassword), gets(toExample), dribbles(done)}},
		"with a password": {
			[]socks.Option{socks.WithCredentials("me", "secret")},
			[]step{gets(passwordGreeting), dribbles(wantsPassword), gets(credentials("me", "secret")), dribbles(passwordRight), gets(toExample), says(done)},
		},
		"with a password that it does not want": {
			[]socks.Option{socks.WithCredentials("me", "")},
			[]step{gets(passwordGreeting), says(noPassword), gets(toExample), says(done)},
		},
		"bound to an IPv6 address": {nil, []step{gets(greeting), says(noPassword), gets(toExample), says(append([]byte{5, 0, 0, 4}, make([]byte, 18)...))}},
		"bound to a name":          {nil, []step{gets(greeting), says(noPassword), gets(toExample), dribbles(domainReply)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				echo := func(c net.Conn) error { _, err := io.CopyN(c, c, 4); return err }
				way := proxyThat(t, append(test.script, says([]byte("early")), echo)...)
				h := socks.New(newDialer(t, way, test.opts...))
				stream, err := h.Dial(ctx, handlers.DialRequest{Hint: "tcp:a.example:80"})
				require.NoError(t, err)
				require.NoError(t, h.Close())
				time.Sleep(2 * time.Second) // past the deadline of the dial
				assert.True(t, stream.Conn == way.only(t), "nothing is in between")
				assert.Equal(t, "a.example", stream.Host)
				assert.Nil(t, stream.Peer)

				got := make([]byte, 5)
				_, err = io.ReadFull(stream, got)
				require.NoError(t, err)
				assert.Equal(t, "early", string(got))
				_, err = stream.Write([]byte("ping"))
				require.NoError(t, err)
				_, err = io.ReadFull(stream, got[:4])
				require.NoError(t, err)
				assert.Equal(t, "ping", string(got[:4]))
				require.NoError(t, stream.Close())
			})
		})
	}
}

func TestEveryReplyIsATypedError(t *testing.T) {
	unreachable := map[socks.ReplyCode]bool{3: true, 4: true, 5: true, 6: true}
	var codes []socks.ReplyCode
	for code := 1; code <= 0xff; code++ {
		codes = append(codes, socks.ReplyCode(code))
	}
	auth := []socks.Option{socks.WithCredentials("me", "secret")}
	withPassword := []step{gets(passwordGreeting), says(wantsPassword), gets(credentials("me", "secret")), says(passwordRight), gets(toExample)}
	without := []step{gets(greeting), says(noPassword), gets(toExample)}
	type failed struct {
		opts   []socks.Option
		script func(code byte) []step
	}
	for name, test := range map[string]failed{
		"whole":           {nil, func(c byte) []step { return append(without, says([]byte{5, c, 0, 1, 0, 0, 0, 0, 0, 0}), isLeft) }},
		"byte by byte":    {nil, func(c byte) []step { return append(without, dribbles([]byte{5, c, 0, 1, 0, 0, 0, 0, 0, 0})) }},
		"cut short":       {nil, func(c byte) []step { return append(without, says([]byte{5, c}), hangsUp) }},
		"behind a login":  {auth, func(c byte) []step { return append(withPassword, says([]byte{5, c, 0, 1, 0, 0, 0, 0, 0, 0})) }},
		"cut after login": {auth, func(c byte) []step { return append(withPassword, says([]byte{5, c}), hangsUp) }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, code := range codes {
				synctest.Test(t, func(t *testing.T) {
					way := proxyThat(t, test.script(byte(code))...)
					h := socks.New(newDialer(t, way, test.opts...))
					_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80"})
					var reply *socks.ReplyError
					require.ErrorAs(t, err, &reply)
					assert.Equal(t, socks.ReplyError{Proxy: "192.0.2.1:1080", Code: code}, *reply)
					assert.Equal(t, unreachable[code], errors.Is(err, handlers.ErrUnreachable), code)
					assert.Equal(t, !unreachable[code], errors.Is(err, handlers.ErrProxyRefused), code)
					assert.NotErrorIs(t, err, handlers.ErrProxyUnreachable)
					assert.Equal(t, handlers.PhaseProxy, phaseOf(t, err))
					assert.True(t, way.only(t).isClosed())
				})
			}
		})
	}
	assert.Equal(t, "the proxy 192.0.2.1:1080 answered: connection refused (reply 5)", (&socks.ReplyError{Proxy: "192.0.2.1:1080", Code: socks.ConnectionRefused}).Error())
	for code := socks.Succeeded; code <= socks.AddressTypeNotSupported; code++ {
		assert.NotContains(t, code.String(), "unknown")
	}
	assert.Equal(t, "the proxy p answered: unknown code 0xF0 (reply 240)", (&socks.ReplyError{Proxy: "p", Code: 0xf0}).Error())
}

func phaseOf(t *testing.T, err error) handlers.Phase {
	t.Helper()
	var dialErr *handlers.Error
	require.ErrorAs(t, err, &dialErr)
	assert.Equal(t, "socks via 192.0.2.1:1080", dialErr.Handler)
	return dialErr.Phase
}

func TestAProxyThatDoesNotSpeakTheProtocol(t *testing.T) {
	auth := []socks.Option{socks.WithCredentials("me", "secret")}
	asked := []step{gets(greeting), says(noPassword), gets(toExample)}
	endless := func(c net.Conn) error {
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return err
			}
		}
	}
	for name, test := range map[string]struct {
		opts   []socks.Option
		script []step
		phase  handlers.Phase
		text   string
	}{
		"hangs up at once":              {nil, []step{hangsUp}, handlers.PhaseDial, "the handshake"},
		"hangs up after the greeting":   {nil, []step{gets(greeting), hangsUp}, handlers.PhaseDial, "hung up"},
		"hangs up in its first answer":  {nil, []step{gets(greeting), says([]byte{5}), hangsUp}, handlers.PhaseDial, "hung up"},
		"hangs up after the password":   {auth, []step{gets(passwordGreeting), says(wantsPassword), gets(credentials("me", "secret")), hangsUp}, handlers.PhaseDial, "hung up"},
		"hangs up after the request":    {nil, append(asked, hangsUp), handlers.PhaseProxy, "hung up"},
		"hangs up in its reply":         {nil, append(asked, says([]byte{5}), hangsUp), handlers.PhaseProxy, "hung up"},
		"hangs up within success":       {nil, append(asked, says(done[:9]), hangsUp), handlers.PhaseProxy, "hung up"},
		"is a web server":               {nil, []step{gets(greeting), says([]byte("HTTP/1.1 400 Bad Request\r\n"))}, handlers.PhaseDial, "first byte is 0x48"},
		"is a SOCKS4 proxy":             {nil, []step{gets(greeting), says([]byte{0, 91, 0, 0, 0, 0, 0, 0})}, handlers.PhaseDial, "first byte is 0x00"},
		"sends zeroes for ever":         {nil, []step{gets(greeting), endless}, handlers.PhaseDial, "first byte is 0x00"},
		"wants GSSAPI":                  {nil, []step{gets(greeting), says([]byte{5, 1}), isLeft}, handlers.PhaseDial, "not offered"},
		"wants GSSAPI for all the same": {auth, []step{gets(passwordGreeting), says([]byte{5, 1}), isLeft}, handlers.PhaseDial, "not offered"},
		"sends zeroes after the offer":  {auth, []step{gets(passwordGreeting), says(wantsPassword), gets(credentials("me", "secret")), endless}, handlers.PhaseDial, "version"},
		"replies in another version":    {nil, append(asked, says([]byte{4, 5, 0, 1, 0, 0, 0, 0, 0, 0})), handlers.PhaseProxy, "version"},
		"replies with zeroes for ever":  {nil, append(asked, endless), handlers.PhaseProxy, "version"},
		"has an unknown address type":   {nil, append(asked, says([]byte{5, 0, 0, 2, 0, 0, 0, 0, 0, 0})), handlers.PhaseProxy, "address type"},
	} {
		t.Run("that "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				way := proxyThat(t, test.script...)
				h := socks.New(newDialer(t, way, test.opts...))
				_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80"})
				assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
				assert.NotErrorIs(t, err, handlers.ErrProxyRefused)
				assert.NotErrorIs(t, err, handlers.ErrUnreachable)
				assert.False(t, errors.As(err, new(*socks.ReplyError)))
				assert.ErrorContains(t, err, test.text)
				assert.NotContains(t, err.Error(), "secret")
				assert.Equal(t, test.phase, phaseOf(t, err))
				assert.True(t, way.only(t).isClosed())
			})
		})
	}
}

func TestAProxyThatDoesNotLetUsIn(t *testing.T) {
	auth := []socks.Option{socks.WithCredentials("me", "secret")}
	isolated := []socks.Option{socks.WithIsolation()}
	for name, test := range map[string]struct {
		opts   []socks.Option
		script []step
		want   error
	}{
		"wants a password":                {nil, []step{gets(greeting), says([]byte{5, 0xff}), isLeft}, socks.ErrCredentials},
		"asks for one that was not given": {nil, []step{gets(greeting), says(wantsPassword), isLeft}, socks.ErrCredentials},
		"accepts no method":               {auth, []step{gets(passwordGreeting), says([]byte{5, 0xff}), isLeft}, socks.ErrCredentials},
		"refuses the password":            {auth, []step{gets(passwordGreeting), says(wantsPassword), gets(credentials("me", "secret")), says([]byte{1, 1}), isLeft}, socks.ErrCredentials},
		"refuses it byte by byte":         {auth, []step{gets(passwordGreeting), dribbles(wantsPassword), gets(credentials("me", "secret")), dribbles([]byte{1, 0xff})}, socks.ErrCredentials},
		"cannot keep connections apart":   {isolated, []step{gets(passwordGreeting), says(noPassword), isLeft}, socks.ErrNotIsolated},
	} {
		t.Run("that "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				way := proxyThat(t, test.script...)
				h := socks.New(newDialer(t, way, test.opts...))
				_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80"})
				assert.ErrorIs(t, err, test.want)
				assert.ErrorIs(t, err, handlers.ErrProxyRefused)
				assert.NotErrorIs(t, err, handlers.ErrProxyUnreachable)
				assert.NotContains(t, err.Error(), "secret")
				assert.Equal(t, handlers.PhaseDial, phaseOf(t, err))
				assert.True(t, way.only(t).isClosed())
			})
		})
	}
}

// login lets everybody in and notes the user name and password.
func login(got *[]string) []step {
	return []step{gets(passwordGreeting), says(wantsPassword), func(c net.Conn) error {
		field := func(prefix int) string {
			head := make([]byte, prefix)
			io.ReadFull(c, head)
			text := make([]byte, head[prefix-1])
			io.ReadFull(c, text)
			return string(text)
		}
		*got = append(*got, field(2)+" "+field(1))
		return nil
	}, says(passwordRight), gets(toExample), says(done)}
}

func TestEachIsolationHasCredentialsOfItsOwn(t *testing.T) {
	var got []string
	way := proxyThat(t, login(&got)...)
	dial := func(d *socks.Dialer, isolation string) string {
		stream, err := d.DialHint(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80", Isolation: isolation})
		require.NoError(t, err)
		way.wait()
		stream.Close()
		return got[len(got)-1]
	}
	d := newDialer(t, way, socks.WithIsolation())
	alice, bob, none := dial(d, "alice"), dial(d, "bob"), dial(d, "")
	assert.Len(t, map[string]bool{alice: true, bob: true, none: true}, 3)
	assert.Equal(t, alice, dial(d, "alice"))
	assert.Equal(t, none, dial(d, ""))
	assert.NotContains(t, alice, "alice")
	assert.Regexp(t, "^[0-9a-f]{32} [0-9a-f]{32}$", alice)
	assert.NotEqual(t, alice, dial(newDialer(t, way, socks.WithIsolation()), "alice"), "nobody can find out the isolation by trying some")

	conn, err := d.DialContext(handlers.ContextWithIsolation(t.Context(), "bob"), "tcp", "a.example:80")
	require.NoError(t, err)
	way.wait()
	conn.Close()
	assert.Equal(t, bob, got[len(got)-1])
}

func TestIsolationReachesTheWayToTheProxy(t *testing.T) {
	var seen string
	way := handlers.DialerWithExposure(dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
		seen = handlers.IsolationFromContext(ctx)
		return nil, syscall.ECONNREFUSED
	}), handlers.Exposure{})
	_, err := newDialer(t, way).DialHint(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80", Isolation: "alice"})
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.Equal(t, "alice", seen)
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

func TestAProxyThatCannotBeReached(t *testing.T) {
	for name, cause := range map[string]error{
		"refuses connections":              syscall.ECONNREFUSED,
		"is refused by another proxy":      &socks.ReplyError{Proxy: "192.0.2.2:1080", Code: socks.ConnectionRefused},
		"has a name that nobody knows":     handlers.ErrNameNotResolved,
		"another handler calls unusable":   handlers.ErrInvalidHint,
		"is behind another that is not up": handlers.ErrProxyUnreachable,
	} {
		t.Run("because it "+name, func(t *testing.T) {
			way := handlers.DialerWithExposure(dialFunc(func(context.Context, string, string) (net.Conn, error) { return nil, cause }), handlers.Exposure{})
			_, err := socks.New(newDialer(t, way)).Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80"})
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			for _, aboutThePeer := range []error{handlers.ErrUnreachable, handlers.ErrInvalidHint, handlers.ErrNameNotResolved, handlers.ErrProxyRefused} {
				assert.NotErrorIs(t, err, aboutThePeer)
			}
			assert.Equal(t, handlers.PhaseDial, phaseOf(t, err))
			assert.ErrorContains(t, err, cause.Error())
			var reply *socks.ReplyError
			if errors.As(err, &reply) {
				assert.Equal(t, "192.0.2.2:1080", reply.Proxy)
			}
			var errno syscall.Errno
			if errors.As(cause, &errno) {
				assert.ErrorIs(t, err, errno)
			}
		})
	}
}

func TestExposureIsThatOfTheWayAndOfTheProxy(t *testing.T) {
	var (
		everything = handlers.Exposure{}
		hidden     = handlers.Exposure{HidesAddress: true, HidesLookups: true}
		addressOf  = handlers.Exposure{HidesLookups: true}
		lookupsOf  = handlers.Exposure{HidesAddress: true}
	)
	for name, test := range map[string]struct {
		network, proxy      string
		way, declared, want handlers.Exposure
	}{
		"nothing is known of a proxy":                        {"tcp", "192.0.2.1:1080", everything, everything, everything},
		"nor of one on a Unix socket":                        {"unix", "/run/proxy", everything, everything, everything},
		"the caller answers for the proxy":                   {"tcp", "[::1]:9050", everything, hidden, hidden},
		"and for one on a Unix socket":                       {"unix", "/run/proxy", everything, hidden, hidden},
		"the proxy resolves elsewhere":                       {"tcp", "192.0.2.1:1080", everything, addressOf, addressOf},
		"the proxy resolves here":                            {"tcp", "127.0.0.1:9050", everything, lookupsOf, lookupsOf},
		"the way to an unknown proxy hides us":               {"tcp", "192.0.2.1:1080", hidden, everything, hidden},
		"and resolves the name of the proxy":                 {"tcp", "proxy.example:1080", hidden, everything, hidden},
		"the name of a hiding proxy is looked up":            {"tcp", "proxy.example:1080", everything, hidden, lookupsOf},
		"localhost is a name":                                {"tcp", "localhost:9050", everything, hidden, lookupsOf},
		"the way hides only what it is asked for":            {"tcp", "proxy.example:1080", addressOf, everything, everything},
		"the way looks up names, of which there are none":    {"tcp", "192.0.2.1:1080", lookupsOf, everything, hidden},
		"the way looks up names, of which the proxy has one": {"tcp", "proxy.example:1080", lookupsOf, hidden, lookupsOf},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := socks.NewDialer(test.network, test.proxy, socks.WithForward(&scripted{exposure: test.way}), socks.WithExposure(test.declared))
			require.NoError(t, err)
			assert.Equal(t, test.want, d.Exposure())
			assert.Equal(t, test.want, socks.New(d).Exposure())
		})
	}
	d, err := socks.NewDialer("unix", "/run/proxy")
	require.NoError(t, err)
	assert.Equal(t, handlers.Exposure{}, d.Exposure(), "by default everything is revealed")
}

func TestDialersThatCannotBe(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, test := range map[string]struct {
		network, address string
		opts             []socks.Option
	}{
		"an unknown network":              {network: "udp", address: "192.0.2.1:1080"},
		"no port":                         {network: "tcp", address: "192.0.2.1"},
		"a port by name":                  {network: "tcp", address: "192.0.2.1:socks"},
		"port 0":                          {network: "tcp", address: "192.0.2.1:0"},
		"no host":                         {network: "tcp", address: ":1080"},
		"no path":                         {network: "unix", address: ""},
		"no user name":                    {"tcp", "192.0.2.1:1080", []socks.Option{socks.WithCredentials("", "secret")}},
		"a long user name":                {"tcp", "192.0.2.1:1080", []socks.Option{socks.WithCredentials(long, "secret")}},
		"a long password":                 {"tcp", "192.0.2.1:1080", []socks.Option{socks.WithCredentials("me", long)}},
		"a password and isolation by one": {"tcp", "192.0.2.1:1080", []socks.Option{socks.WithCredentials("me", "secret"), socks.WithIsolation()}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := socks.NewDialer(test.network, test.address, test.opts...)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestTargetsThatAreNotHandedOver(t *testing.T) {
	for _, address := range []string{
		"a.example", "a.example:http", "a.example:0", ":80", strings.Repeat("a", 256) + ":80",
		"[fe80::1%eth0]:80", "abc.onion:80", "ABC.Onion.:80", "abc.onion..:80", "onion:80", "x.b32.i2p:80",
	} {
		t.Run(address, func(t *testing.T) {
			way := proxyThat(t)
			_, err := newDialer(t, way).DialContext(t.Context(), "tcp", address)
			assert.ErrorIs(t, err, handlers.ErrInvalidHint)
			assert.Empty(t, way.dialled)
		})
	}
	_, err := newDialer(t, proxyThat(t)).DialContext(t.Context(), "udp", "a.example:80")
	assert.ErrorAs(t, err, new(net.UnknownNetworkError))
}

func TestAHidingProxyGetsOnionNames(t *testing.T) {
	for _, hint := range []furl.Hint{"tcp:abc.onion:80", "tcp:ABC.Onion.:80"} {
		t.Run(hint.String(), func(t *testing.T) {
			way := proxyThat(t, gets(greeting), says(noPassword), gets(request("abc.onion", 80)), says(done))
			d := newDialer(t, way, socks.WithExposure(handlers.Exposure{HidesLookups: true}))
			stream, err := socks.New(d).Dial(t.Context(), handlers.DialRequest{Hint: hint})
			require.NoError(t, err)
			way.wait()
			stream.Close()
		})
	}
}

func TestHintsThatAreNotDialled(t *testing.T) {
	for _, hint := range []furl.Hint{
		"", "foo", "tor:x.example:80", "quic:a.example:80", "tcp:", "tcp:a:0", "tcp:a:65536", "tcp:a b:1",
		"tcp:under_score:1", "tcp:::1:1", "tcp:127.1:1", "tcp:[fe80::1%eth0]:1", "abc.onion:80",
	} {
		t.Run(hint.String(), func(t *testing.T) {
			way := proxyThat(t)
			_, err := handlers.Dial(t.Context(), socks.New(newDialer(t, way)), handlers.DialRequest{Hint: hint})
			assert.Equal(t, handlers.PhaseParse, phaseOf(t, err))
			assert.ErrorIs(t, err, handlers.ErrInvalidHint)
			assert.Empty(t, way.dialled)
		})
	}
}

func TestOtherHintTypesCanBeTaken(t *testing.T) {
	way := proxyThat(t, gets(greeting), says(noPassword), gets(toExample), says(done))
	h := socks.New(newDialer(t, way), socks.WithHintTypes("web", "tcp"))
	for _, hint := range []furl.Hint{"web:a.example:80", "tcp:a.example:80", "a.example:80"} {
		stream, err := h.Dial(t.Context(), handlers.DialRequest{Hint: hint})
		require.NoError(t, err)
		stream.Close()
	}
	_, err := socks.New(newDialer(t, way), socks.WithHintTypes("web")).Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80"})
	assert.ErrorIs(t, err, handlers.ErrInvalidHint)
	way.wait()
	assert.Equal(t, []string{"tcp 192.0.2.1:1080", "tcp 192.0.2.1:1080", "tcp 192.0.2.1:1080"}, way.dialled)
}
