package negotiate

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAGateBoundsTheNegotiationsOfAListener(t *testing.T) {
	local := newLocal(t, p256(t))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gate := NewGate(2)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			stream, err := listener.Accept()
			if err != nil {
				return
			}
			if !gate.TryEnter() {
				stream.Close()
				continue
			}
			running.Go(func() {
				defer gate.Leave()
				_, err := Server(ctx, stream, ServerConfig{Find: answering(local)})
				assert.Error(t, err)
			})
		}
	}()

	open := func() net.Conn {
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// A stream that is negotiated on gets an answer to its request.
	answered := func(conn net.Conn) bool {
		conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		n, _ := io.Copy(io.Discard, conn)
		return n > 0
	}
	silent := []net.Conn{open(), open()}
	for range 5 {
		assert.False(t, answered(open()), "the silent ones take all the room")
	}
	assert.True(t, answered(silent[0]))
	require.NoError(t, gate.Enter(t.Context()), "whose end makes room")
	gate.Leave()
	assert.True(t, answered(open()))

	cancel()
	listener.Close()
	<-accepting
	running.Wait()
}

func TestEnterWaitsForRoomAsLongAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := NewGate(1)
		require.True(t, gate.TryEnter())
		require.False(t, gate.TryEnter())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, gate.Enter(ctx), context.DeadlineExceeded)

		time.AfterFunc(time.Second, gate.Leave)
		start := time.Now()
		assert.NoError(t, gate.Enter(t.Context()))
		assert.Equal(t, time.Second, time.Since(start))

		gate.Leave()
		assert.NoError(t, gate.Enter(ctx), "room that is there is taken")
		gate.Leave()
		assert.Panics(t, gate.Leave)
	})
}

func TestAGateHas64PlacesByDefault(t *testing.T) {
	gate := NewGate(0)
	for range 64 {
		require.True(t, gate.TryEnter())
	}
	assert.False(t, gate.TryEnter())
}
