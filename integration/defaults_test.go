package integration

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A doorway is an Acceptor whose streams are made by the test.
type doorway struct {
	streams chan net.Conn
	closed  chan struct{}
	close   func()
}

func newDoorway() *doorway {
	d := &doorway{streams: make(chan net.Conn), closed: make(chan struct{})}
	d.close = sync.OnceFunc(func() { close(d.closed) })
	return d
}

func (d *doorway) Accept() (handlers.Stream, error) {
	select {
	case conn := <-d.streams:
		return handlers.Stream{Conn: conn}, nil
	case <-d.closed:
		return handlers.Stream{}, net.ErrClosed
	}
}

func (d *doorway) Hints() ([]furl.Hint, <-chan struct{}) { return nil, nil }
func (d *doorway) Exposure() handlers.Exposure           { return handlers.Exposure{} }
func (d *doorway) Close() error                          { d.close(); return nil }

// enter opens a connection on which nothing is said.
func (d *doorway) enter(t *testing.T) (client net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { _ = client.Close() })
	select {
	case d.streams <- server:
	case <-within(t).Done():
		require.FailNow(t, "the listener accepts nothing")
	}
	return client
}

// awaitClosed waits until the other side has closed a connection.
func awaitClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience)) // which fails when it is closed already
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func assertOpen(t *testing.T, conns []net.Conn) {
	t.Helper()
	for i, conn := range conns {
		require.NoError(t, conn.SetReadDeadline(time.Unix(1, 0)))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, i)
	}
}

func TestAListenerNegotiatesWith64PeersAtATime(t *testing.T) {
	t.Parallel()
	door := newDoorway()
	l := tub.NewListener(door, nil)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	var all []net.Conn
	for range 64 {
		all = append(all, door.enter(t))
	}
	assertOpen(t, all)
	all = append(all, door.enter(t))
	awaitClosed(t, all[0]) // it has said nothing for the longest time
	assertOpen(t, all[1:])
}

func TestAListenerHas4096Connections(t *testing.T) {
	t.Parallel()
	door := newDoorway()
	l := tub.NewListener(door, &tub.ListenerOptions{MaxNegotiations: 10_000})
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	var all []net.Conn
	for range 4096 {
		all = append(all, door.enter(t))
	}
	awaitClosed(t, door.enter(t))
	awaitClosed(t, door.enter(t))
	assertOpen(t, all)
}

func TestATubHolds256MiB(t *testing.T) {
	t.Parallel()
	const memory = 256 << 20
	var o tub.Options
	o.Limits.MaxMessage, o.Limits.SendQueue, o.Limits.Connection = 2*memory, 2*memory, 2*memory
	tb := startTub(t, identity(t, func(string) bool { return true }), o)
	self := connect(t, tb, register(t, tb, newDesk().object))
	_, err := tub.Start[int](within(t), self, "sink", make([]byte, memory))
	var limit *banana.LimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "Memory", limit.Limit)
	assert.EqualValues(t, memory, limit.Max)
	assert.Zero(t, tb.MemoryUsed())
	var failed *tub.CallError
	require.True(t, errors.As(err, &failed))
	assert.Equal(t, tub.NotSent, failed.Sent)
}
