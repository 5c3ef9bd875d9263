package negotiate

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A door is a listener with a gate.
type door struct {
	t       *testing.T
	address string
	spoken  chan struct{} // has one for each peer that has asked for a Tub
	errs    chan error    // of the negotiations that have ended; closed by close
	close   func()
}

func openDoor(t *testing.T, limit int, local *Local) *door {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &door{t: t, address: listener.Addr().String(), spoken: make(chan struct{}, 100), errs: make(chan error, 100)}
	gate := NewGate(limit)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			stream, err := listener.Accept()
			if err != nil {
				return
			}
			ctx, place := gate.TryEnter(ctx)
			if place == nil {
				stream.Close()
				continue
			}
			running.Go(func() {
				_, err := Server(ctx, stream, ServerConfig{Find: answering(local), Progress: func(p Phase) {
					if place.Progress(p); p == PhaseTLS {
						d.spoken <- struct{}{}
					}
				}})
				place.Leave()
				assert.Error(t, err)
				d.errs <- err
			})
		}
	})
	d.close = sync.OnceFunc(func() {
		cancel()
		listener.Close()
		running.Wait()
		close(d.errs)
		assert.Zero(t, gate.inside)
		assert.Zero(t, gate.silent.Len())
	})
	t.Cleanup(d.close)
	return d
}

func (d *door) knock() net.Conn {
	conn, err := net.Dial("tcp", d.address)
	require.NoError(d.t, err)
	d.t.Cleanup(func() { conn.Close() })
	return conn
}

// answered reports whether a request gets an answer.
func answered(conn net.Conn) bool {
	conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	n, _ := io.Copy(io.Discard, conn)
	conn.Close()
	return n > 0
}

func TestSilentPeersDoNotShutOthersOut(t *testing.T) {
	d := openDoor(t, 2, newLocal(t, p256(t)))
	var silent []net.Conn
	for range 10 {
		silent = append(silent, d.knock())
	}
	for range 5 {
		assert.True(t, answered(d.knock()))
	}
	// Each silent one but the last two has made way for another.
	for _, conn := range silent[:8] {
		_, err := conn.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
	}
	d.close()
	shed := 0
	for err := range d.errs {
		if errors.Is(err, ErrShed) {
			shed++
		}
	}
	assert.GreaterOrEqual(t, shed, 8)
	assert.LessOrEqual(t, shed, 10, "and nobody else has")
}

func TestWhoHasSaidWhichTubItWantsKeepsItsPlace(t *testing.T) {
	local := newLocal(t, p256(t))
	d := openDoor(t, 2, local)
	serious := []net.Conn{d.knock(), d.knock()}
	for _, conn := range serious {
		_, err := conn.Write(appendRequest(nil, local.tubID, ""))
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, len(response)))
		require.NoError(t, err)
		<-d.spoken
	}
	for range 5 {
		assert.False(t, answered(d.knock()), "they take all the room")
	}
	for _, conn := range serious {
		conn.SetReadDeadline(time.Now())
		_, err := conn.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "and were not shed")
	}
	serious[0].Close()
	<-d.errs
	assert.True(t, answered(d.knock()), "whose end makes room")
}

func TestAPlaceIsGivenUpOnce(t *testing.T) {
	gate := NewGate(2)
	oldest, shed := gate.TryEnter(t.Context())
	speaking, second := gate.TryEnter(t.Context())
	second.Progress(PhasePlaintext)
	second.Progress(PhaseTLS)
	_, third := gate.TryEnter(t.Context())
	require.NotNil(t, third)
	assert.ErrorIs(t, context.Cause(oldest), ErrShed)
	assert.NoError(t, speaking.Err())
	third.Progress(PhaseHello)

	shed.Progress(PhaseTLS) // too late
	shed.Leave()
	shed.Leave()
	ctx, none := gate.TryEnter(t.Context())
	assert.Nil(t, none)
	assert.Nil(t, ctx)

	second.Leave()
	second.Leave()
	assert.ErrorIs(t, context.Cause(speaking), context.Canceled)
	_, fourth := gate.TryEnter(t.Context())
	require.NotNil(t, fourth)
	fourth.Progress(PhaseTLS)
	_, none = gate.TryEnter(t.Context())
	assert.Nil(t, none)
}

func TestAGateHas64PlacesByDefault(t *testing.T) {
	gate := NewGate(0)
	for range 64 {
		_, place := gate.TryEnter(t.Context())
		require.NotNil(t, place)
		place.Progress(PhaseTLS)
	}
	_, place := gate.TryEnter(t.Context())
	assert.Nil(t, place)
}
