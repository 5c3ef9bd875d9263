package tcp_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// listen listens on addr until the test ends.
func listen(t *testing.T, addr string, opts ...tcp.ListenOption) *tcp.Listener {
	t.Helper()
	l, err := tcp.Listen(t.Context(), addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// port returns the port of l as text.
func port(t *testing.T, l *tcp.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// connect dials hint and accepts at l, and returns both ends.
func connect(t *testing.T, h handlers.Handler, hint furl.Hint, l *tcp.Listener) (dialled, accepted handlers.Stream) {
	t.Helper()
	var acceptErr error
	var accepting sync.WaitGroup
	accepting.Go(func() { accepted, acceptErr = l.Accept() })
	dialled, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: hint})
	if err != nil {
		l.Close() // or Accept would wait for ever
	}
	accepting.Wait()
	require.NoError(t, err)
	require.NoError(t, acceptErr)
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

func TestHandlerAndListenerMeet(t *testing.T) {
	for name, test := range map[string]struct{ listen, hint, host string }{
		"over IPv4":                             {"127.0.0.1:0", "tcp:127.0.0.1:PORT", "127.0.0.1"},
		"over IPv4 by a legacy hint":            {"127.0.0.1:0", "127.0.0.1:PORT", "127.0.0.1"},
		"over IPv6":                             {"[::1]:0", "tcp:[::1]:PORT", "::1"},
		"by a name":                             {"127.0.0.1:0", "tcp:server.example:PORT", "server.example"},
		"by a name whose first address refuses": {"127.0.0.1:0", "tcp:both.example:PORT", "both.example"},
		"on all addresses, over IPv4":           {":0", "tcp:127.0.0.1:PORT", "127.0.0.1"},
		"on all addresses, over IPv6":           {"[::]:0", "tcp:[::1]:PORT", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, test.listen)
			h := tcp.New(tcp.WithResolver(names{
				"server.example": {"127.0.0.1"},
				"both.example":   {"127.0.0.1", "::1"},
			}))
			defer h.Close()
			hint := furl.Hint(strings.ReplaceAll(test.hint, "PORT", port(t, l)))
			dialled, accepted := connect(t, h, hint, l)
			assert.Equal(t, test.host, dialled.Host)
			assert.Equal(t, "", accepted.Host)
			assert.Nil(t, dialled.Peer)
			assert.Nil(t, accepted.Peer)

			for _, ends := range [][2]handlers.Stream{{dialled, accepted}, {accepted, dialled}} {
				_, err := ends[0].Write([]byte("hello"))
				require.NoError(t, err)
				got := make([]byte, 5)
				_, err = io.ReadFull(ends[1], got)
				require.NoError(t, err)
				assert.Equal(t, "hello", string(got))
			}
			require.NoError(t, dialled.Close())
			_, err := accepted.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
		})
	}
}

func TestAPortWhereNobodyListens(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	hints, _ := l.Hints()
	require.NoError(t, l.Close())
	h := tcp.New()
	defer h.Close()
	_, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: hints[0]})
	var dialErr *handlers.Error
	require.ErrorAs(t, err, &dialErr)
	assert.Equal(t, handlers.PhaseDial, dialErr.Phase)
	assert.ErrorIs(t, err, handlers.ErrUnreachable)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestADialWhoseContextHasEndedOpensNothing(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	hints, _ := l.Hints()
	h := tcp.New()
	defer h.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // either of two events may be seen first
		_, err := h.Dial(ctx, handlers.DialRequest{Hint: hints[0]})
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, handlers.ErrUnreachable)
	}
}

func TestManyDialsAtOnce(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	h := tcp.New(tcp.WithResolver(names{"a.example": {"::1", "127.0.0.1"}}))
	hint := furl.Hint("tcp:a.example:" + port(t, l))
	const count = 32
	var both sync.WaitGroup
	both.Go(func() {
		for range count {
			stream, err := l.Accept()
			if !assert.NoError(t, err) {
				return
			}
			stream.Close()
		}
	})
	for range count {
		both.Go(func() {
			stream, err := h.Dial(t.Context(), handlers.DialRequest{Hint: hint})
			if assert.NoError(t, err) {
				stream.Close()
			}
		})
	}
	both.Wait()
	require.NoError(t, h.Close())
}
