package quic_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestWhatAListenerAdvertises(t *testing.T) {
	for name, test := range map[string]struct {
		addr string
		opts []quic.ListenOption
		want []furl.Hint
	}{
		"an IPv4 address":           {"127.0.0.1:0", nil, []furl.Hint{"quic:127.0.0.1:PORT"}},
		"an IPv6 address":           {"[::1]:0", nil, []furl.Hint{"quic:[::1]:PORT"}},
		"a mapped IPv4 address":     {"[::ffff:127.0.0.1]:0", nil, []furl.Hint{"quic:127.0.0.1:PORT"}},
		"nothing for all addresses": {":0", nil, nil},
		"nothing for all of IPv4":   {"0.0.0.0:0", nil, nil},
		"nothing for all of IPv6":   {"[::]:0", nil, nil},
		"a location for all addresses": {":0", []quic.ListenOption{quic.WithLocation("quic:a.example:7", "odd:thing=1")},
			[]furl.Hint{"quic:a.example:7", "odd:thing=1"}},
		"a location in place of the address": {"127.0.0.1:0", []quic.ListenOption{quic.WithLocation("quic:b.example:7")},
			[]furl.Hint{"quic:b.example:7"}},
		"nothing by request": {"127.0.0.1:0", []quic.ListenOption{quic.WithLocation()}, nil},
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
	l := listen(t, ":0", quic.WithLocation("quic:a.example:7"))
	hints, _ := l.Hints()
	hints[0] = "changed:1:2"
	hints, _ = l.Hints()
	assert.Equal(t, []furl.Hint{"quic:a.example:7"}, hints)
}

func TestAddressesThatCannotBeListenedOn(t *testing.T) {
	for addr, reason := range map[string]string{
		"":                  "missing port",
		"127.0.0.1":         "missing port",
		"server.example:80": "must be an IP address",
		"127.1:0":           "must be an IP address",
		"127.0.0.1:http":    "number in 0..65535",
		"127.0.0.1:65536":   "number in 0..65535",
		"::1:0":             "too many colons",
	} {
		t.Run(addr, func(t *testing.T) {
			_, err := quic.Listen(t.Context(), addr, bob())
			assert.ErrorContains(t, err, reason)
		})
	}
	t.Run("an address in use", func(t *testing.T) {
		_, err := quic.Listen(t.Context(), listen(t, "127.0.0.1:0").Addr().String(), bob())
		var opErr *net.OpError
		assert.ErrorAs(t, err, &opErr)
	})
	t.Run("a location that is no hint", func(t *testing.T) {
		_, err := quic.Listen(t.Context(), "127.0.0.1:0", bob(), quic.WithLocation("quic:a:1,quic:b:2"))
		assert.ErrorIs(t, err, furl.ErrInvalid)
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := quic.Listen(ctx, "127.0.0.1:0", bob())
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

func TestStreamsOutliveTheirListenerAndHandler(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	h := quic.New()
	dialled, accepted := connect(t, h, hintOf(l.Addr()), l)
	require.NoError(t, l.Close())
	require.NoError(t, h.Close())
	_, err := dialled.Write([]byte("x"))
	require.NoError(t, err)
	_, err = accepted.Read(make([]byte, 1))
	require.NoError(t, err)
}

func TestManyDialsAtOnce(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	h := newHandler(t, quic.WithResolver(names{"a.example": {"::1", "127.0.0.1"}}))
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
			stream, err := h.Dial(t.Context(), toBob(furl.Hint("quic:a.example:"+port(t, l))))
			if assert.NoError(t, err) {
				stream.Close()
			}
		})
	}
	both.Wait()
}
