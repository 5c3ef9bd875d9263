package tcp_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestWhatAListenerAdvertises(t *testing.T) {
	for name, test := range map[string]struct {
		addr string
		opts []tcp.ListenOption
		want []furl.Hint
	}{
		"an IPv4 address":           {"127.0.0.1:0", nil, []furl.Hint{"tcp:127.0.0.1:PORT"}},
		"an IPv6 address":           {"[::1]:0", nil, []furl.Hint{"tcp:[::1]:PORT"}},
		"a mapped IPv4 address":     {"[::ffff:127.0.0.1]:0", nil, []furl.Hint{"tcp:127.0.0.1:PORT"}},
		"nothing for all addresses": {":0", nil, nil},
		"nothing for all of IPv4":   {"0.0.0.0:0", nil, nil},
		"nothing for all of IPv6":   {"[::]:0", nil, nil},
		"a location for all addresses": {":0", []tcp.ListenOption{tcp.WithLocation("tcp:a.example:7", "odd:thing=1")},
			[]furl.Hint{"tcp:a.example:7", "odd:thing=1"}},
		"a location in place of the address": {"127.0.0.1:0", []tcp.ListenOption{tcp.WithLocation("b.example:7")},
			[]furl.Hint{"b.example:7"}},
		"nothing by request": {"127.0.0.1:0", []tcp.ListenOption{tcp.WithLocation()}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, test.addr, test.opts...)
			var want []furl.Hint
			for _, hint := range test.want {
				want = append(want, furl.Hint(strings.ReplaceAll(hint.String(), "PORT", port(t, l))))
			}
			hints, changed := l.Hints()
			assert.ElementsMatch(t, want, hints)
			assert.Equal(t, handlers.Exposure{}, l.Exposure(), "everything is revealed")
			select {
			case <-changed:
				t.Fatal("the hints changed by themselves")
			default:
			}

			require.NoError(t, l.Close())
			<-changed
			hints, changed = l.Hints()
			assert.Empty(t, hints)
			assert.Nil(t, changed)
		})
	}
}

func TestTheHintsBelongToWhoAskedForThem(t *testing.T) {
	l := listen(t, ":0", tcp.WithLocation("tcp:a.example:7"))
	hints, _ := l.Hints()
	hints[0] = "changed:1:2"
	hints, _ = l.Hints()
	assert.Equal(t, []furl.Hint{"tcp:a.example:7"}, hints)
}

func TestAllOfIPv4IsNotIPv6(t *testing.T) {
	l := listen(t, "0.0.0.0:0")
	assert.Equal(t, "0.0.0.0", l.Addr().(*net.TCPAddr).IP.String())
	h := tcp.New()
	defer h.Close()
	connect(t, h, furl.Hint("tcp:127.0.0.1:"+port(t, l)), l)
	_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: furl.Hint("tcp:[::1]:" + port(t, l))})
	assert.ErrorIs(t, err, handlers.ErrUnreachable)
}

func TestAddressesThatCannotBeListenedOn(t *testing.T) {
	for addr, reason := range map[string]string{
		"":                  "missing port",
		"127.0.0.1":         "missing port",
		"localhost:0":       "must be an IP address",
		"server.example:80": "must be an IP address",
		"127.1:0":           "must be an IP address",
		"127.0.0.1:http":    "number in 0..65535",
		"127.0.0.1:65536":   "number in 0..65535",
		"127.0.0.1:-1":      "number in 0..65535",
		"::1:0":             "too many colons",
	} {
		t.Run(addr, func(t *testing.T) {
			_, err := tcp.Listen(t.Context(), addr)
			assert.ErrorContains(t, err, reason)
		})
	}
	t.Run("an address in use", func(t *testing.T) {
		_, err := tcp.Listen(t.Context(), listen(t, "127.0.0.1:0").Addr().String())
		var opErr *net.OpError
		assert.ErrorAs(t, err, &opErr)
	})
	t.Run("a location that is no hint", func(t *testing.T) {
		_, err := tcp.Listen(t.Context(), "127.0.0.1:0", tcp.WithLocation("tcp:a:1,tcp:b:2"))
		assert.ErrorIs(t, err, furl.ErrInvalid)
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := tcp.Listen(ctx, "127.0.0.1:0")
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestCloseEndsEveryAccept(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	var accepting sync.WaitGroup
	for range 3 {
		accepting.Go(func() {
			_, err := l.Accept()
			assert.ErrorIs(t, err, net.ErrClosed)
		})
	}
	require.NoError(t, l.Close())
	accepting.Wait()
	require.NoError(t, l.Close())
	_, err := l.Accept()
	assert.ErrorIs(t, err, net.ErrClosed)
}
