package integration

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A tap is a way between a Go Tub and a Python one, on which what Go sends can be held up for a while.
type tap struct {
	listener net.Listener

	mu      sync.Mutex
	changed *sync.Cond
	target  string
	goDials bool
	passed  int // bytes of Go
	limit   int // on passed; 0 for none
	stopped chan struct{}
	closed  bool
}

// startTap runs a tap until the test ends.
func startTap(t *testing.T) *tap {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	w := &tap{listener: l, stopped: make(chan struct{})}
	w.changed = sync.NewCond(&w.mu)
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		w.change(func() { w.closed = true })
		running.Wait()
	})
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.run(client) })
		}
	})
	return w
}

func (w *tap) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	w.changed.Broadcast()
}

func (w *tap) hint() string { return "tcp:" + w.listener.Addr().String() }

// lead sets where the tap leads to, and who comes to it.
func (w *tap) lead(target string, goDials bool) {
	w.change(func() { w.target, w.goDials = target, goDials })
}

// stopAfter lets n more bytes of Go pass.
func (w *tap) stopAfter(n int) { w.change(func() { w.limit = w.passed + n }) }

// goOn ends stopAfter.
func (w *tap) goOn() { w.change(func() { w.limit = 0 }) }

// awaitStop waits until there is more than may pass.
func (w *tap) awaitStop(t *testing.T) {
	t.Helper()
	select {
	case <-w.stopped:
	case <-within(t).Done():
		require.FailNow(t, "Go sends no more than may pass")
	}
}

func (w *tap) run(client net.Conn) {
	defer client.Close()
	w.mu.Lock()
	target, goDials := w.target, w.goDials
	w.mu.Unlock()
	server, err := net.Dial("tcp4", target)
	if err != nil {
		return
	}
	defer server.Close()
	goSide, pythonSide := client, server
	if !goDials {
		goSide, pythonSide = server, client
	}
	// What the kernel holds on this side is to be little.
	_ = goSide.(*net.TCPConn).SetReadBuffer(64 << 10)
	var both sync.WaitGroup
	both.Go(func() {
		defer pythonSide.Close() // one end takes the other with it
		_, _ = io.Copy(pythonSide, readerFunc(func(p []byte) (int, error) {
			n, err := goSide.Read(p)
			w.pass(n)
			return n, err
		}))
	})
	both.Go(func() {
		defer goSide.Close()
		_, _ = io.Copy(goSide, pythonSide)
	})
	both.Wait()
}

// pass waits until bytes of Go may pass.
func (w *tap) pass(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.closed && w.limit > 0 && w.passed+n > w.limit {
		select {
		case <-w.stopped:
		default:
			close(w.stopped)
		}
		w.changed.Wait()
	}
	w.passed += n
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// meetThrough is meet with a tap between the two.
func meetThrough(t *testing.T, w *tap, peer *pypeer.Peer, r role, o tub.Options) *meeting {
	t.Helper()
	w.lead(peer.Addr(), true)
	return meetAs(t, peer, r, identity(t, r.accept(peer.TubID)), o, func(tb *tub.Tub) {
		w.lead(listen(t, tb, furl.Hint(w.hint())), false)
	})
}
