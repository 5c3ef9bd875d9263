package quic_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// dialError dials and returns the error, of which there must be one.
func dialError(t *testing.T, h handlers.Handler, req handlers.DialRequest) *handlers.Error {
	t.Helper()
	_, err := handlers.Dial(t.Context(), h, req)
	var dialErr *handlers.Error
	require.ErrorAs(t, err, &dialErr)
	assert.Equal(t, "quic", dialErr.Handler)
	return dialErr
}

func TestHintsThatAreOfNoUse(t *testing.T) {
	h := newHandler(t, quic.WithResolver(names{}))
	for _, hint := range []furl.Hint{
		"tcp:127.0.0.1:1", "127.0.0.1:1", "quic", "quic:", "quic:127.0.0.1", "quic:127.0.0.1:0", "quic:127.0.0.1:65536",
		"quic:127.0.0.1:x", "quic:127.1:1", "quic:::1:1", "quic:[::1]", "quic:a_b.example:1", "quic:a.example:1:2",
		"quic:x.onion:1", "quic:ONION.:1", "quic:x.i2p:1",
	} {
		t.Run(hint.String(), func(t *testing.T) {
			err := dialError(t, h, toBob(hint))
			assert.Equal(t, handlers.PhaseParse, err.Phase)
			assert.ErrorIs(t, err, handlers.ErrInvalidHint)
		})
	}
}

func TestADialNeedsAnIdentity(t *testing.T) {
	err := dialError(t, newHandler(t), handlers.DialRequest{Hint: "quic:127.0.0.1:1", Target: idOf(bob())})
	assert.Equal(t, handlers.PhaseParse, err.Phase)
	assert.ErrorContains(t, err, "certificate and key")
}

func TestANameThatHasNoAddress(t *testing.T) {
	for name, resolver := range map[string]names{"is unknown": {}, "is empty": {"a.example": {}}} {
		t.Run(name, func(t *testing.T) {
			err := dialError(t, newHandler(t, quic.WithResolver(resolver)), toBob("quic:a.example:1"))
			assert.Equal(t, handlers.PhaseResolve, err.Phase)
			assert.ErrorIs(t, err, handlers.ErrNameNotResolved)
		})
	}
}

func TestANetworkThatLetsNoUDPThrough(t *testing.T) {
	silent := hintOf(udp(t).LocalAddr())
	t.Run("ends the dial at the handler's limit", func(t *testing.T) {
		h := newHandler(t, quic.WithTimeout(100*time.Millisecond))
		err := dialError(t, h, toBob(silent))
		assert.Equal(t, handlers.PhaseDial, err.Phase)
		assert.ErrorIs(t, err, handlers.ErrTimeout)
		assert.ErrorContains(t, err, "no answer yet")
	})
	t.Run("also if the context has no deadline", func(t *testing.T) {
		_, err := newHandler(t, quic.WithTimeout(100*time.Millisecond)).Dial(t.Context(), toBob(silent))
		assert.ErrorIs(t, err, handlers.ErrTimeout)
		assert.ErrorContains(t, err, "lets no UDP through")
	})
}

func TestTheAddressesOfANameAreTriedOneBesideTheOther(t *testing.T) {
	// The other addresses of the name have sockets at the same port, which are silent.
	l := listen(t, "127.0.0.3:0")
	addrs := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	for _, addr := range addrs[:2] {
		conn, err := net.ListenPacket("udp4", net.JoinHostPort(addr, port(t, l)))
		require.NoError(t, err)
		defer conn.Close()
	}
	h := newHandler(t, quic.WithResolver(names{"a.example": addrs}))
	began := time.Now()
	var told []string
	req := toBob(furl.Hint("quic:a.example:" + port(t, l)))
	req.Progress = func(s handlers.Status) { told = append(told, s.Text) }
	greet(t, l)
	stream, err := handlers.Dial(t.Context(), h, req)
	require.NoError(t, err)
	took := time.Since(began)
	assert.Equal(t, "127.0.0.3", stream.RemoteAddr().(*net.UDPAddr).IP.String())
	assert.GreaterOrEqual(t, took, 500*time.Millisecond)
	assert.Less(t, took, 900*time.Millisecond)
	p := port(t, l)
	assert.Equal(t, []string{
		"looking up a.example",
		"connecting to 127.0.0.1:" + p + " (address 1 of 3)",
		"connecting to 127.0.0.2:" + p + " (address 2 of 3)",
		"connecting to 127.0.0.3:" + p + " (address 3 of 3)",
	}, told)
	require.NoError(t, stream.Close())
}

func TestADialEnds(t *testing.T) {
	silent := toBob(hintOf(udp(t).LocalAddr()))
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		silent.Progress = func(handlers.Status) { cancel() }
		_, err := newHandler(t).Dial(ctx, silent)
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("with a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newHandler(t).Dial(ctx, silent)
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("with its handler", func(t *testing.T) {
		h := newHandler(t)
		begun := make(chan struct{})
		silent.Progress = func(handlers.Status) { close(begun) }
		var dialling sync.WaitGroup
		dialling.Go(func() {
			_, err := h.Dial(t.Context(), silent)
			assert.ErrorIs(t, err, net.ErrClosed)
			assert.NotErrorIs(t, err, context.Canceled)
		})
		<-begun
		require.NoError(t, h.Close())
		dialling.Wait()
		_, err := h.Dial(t.Context(), silent)
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.NoError(t, h.Close())
	})
}
