package handlertest

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// station is an acceptor of the server with somebody who accepts. Each client
// begins with a token, by which its two ends find each other whatever else
// arrives; who has none is closed.
type station struct {
	acceptor handlers.Acceptor
	hint     furl.Hint // the first that is advertised
	lookups  int64     // how many names were looked up meanwhile
	timeout  time.Duration

	accepting sync.WaitGroup
	mu        sync.Mutex
	waiting   map[token]chan handlers.Stream
	open      map[*handlers.Stream]struct{} // those that have shown no token yet
	closed    bool
	err       error // of Accept, before Close
}

type token [16]byte

// newStation makes a station that is closed with the test.
func (k *kit) newStation(t *testing.T) *station {
	t.Helper()
	before := k.lookups.count.Load()
	s := &station{
		acceptor: k.cfg.NewAcceptor(t, k.server.cert),
		timeout:  k.cfg.Timeout,
		waiting:  make(map[token]chan handlers.Stream),
		open:     make(map[*handlers.Stream]struct{}),
	}
	t.Cleanup(func() { s.close(t) })
	s.hint = k.advertised(t, s.acceptor)[0]
	s.lookups = k.lookups.count.Load() - before
	s.accepting.Go(s.accept)
	return s
}

// advertised waits until an acceptor has hints, in the way a Tub does.
func (k *kit) advertised(t *testing.T, a handlers.Acceptor) []furl.Hint {
	t.Helper()
	timer := time.NewTimer(k.cfg.Timeout)
	defer timer.Stop()
	for {
		hints, changed := a.Hints()
		if len(hints) > 0 {
			return hints
		}
		require.NotNil(t, changed, "the acceptor advertises nothing and never will")
		select {
		case <-changed:
		case <-timer.C:
			require.FailNow(t, "the acceptor does not advertise anything within "+k.cfg.Timeout.String())
		}
	}
}

func (s *station) accept() {
	for {
		stream, err := s.acceptor.Accept()
		s.mu.Lock()
		if err != nil || s.closed {
			if !s.closed {
				s.err = err
			}
			s.mu.Unlock()
			if err == nil {
				stream.Close()
			}
			return
		}
		s.open[&stream] = struct{}{}
		s.mu.Unlock()
		s.accepting.Go(func() { s.receive(&stream) })
	}
}

func (s *station) receive(stream *handlers.Stream) {
	var shown token
	_, err := io.ReadFull(stream, shown[:])
	s.mu.Lock()
	delete(s.open, stream)
	whose := s.waiting[shown]
	delete(s.waiting, shown)
	s.mu.Unlock()
	if err != nil || whose == nil {
		stream.Close()
		return
	}
	whose <- *stream
}

// pair dials the station through h and returns both ends, which are closed with
// the test.
func (s *station) pair(t *testing.T, k *kit, h handlers.Handler) (dialled, accepted handlers.Stream) {
	t.Helper()
	req := k.request()
	req.Hint = s.hint
	o := k.dial(t.Context(), t, h, req)
	require.NoError(t, o.err, "dialling an acceptor that is there")
	accepted = s.meet(t, o.stream)
	return o.stream, accepted
}

// meet returns the other end of a stream that was just dialled. Both are closed
// with the test.
func (s *station) meet(t *testing.T, dialled handlers.Stream) (accepted handlers.Stream) {
	t.Helper()
	accepted, err := s.find(dialled)
	if err != nil {
		dialled.Close()
		require.FailNow(t, "the stream does not reach the acceptor", "%v; Accept: %v", err, s.acceptErr())
	}
	t.Cleanup(func() { closeBoth(t, dialled, accepted) })
	return accepted
}

// find is meet for any goroutine. The streams are the caller's to close.
func (s *station) find(dialled handlers.Stream) (handlers.Stream, error) {
	var mine token
	rand.Read(mine[:])
	found := make(chan handlers.Stream, 1)
	s.mu.Lock()
	s.waiting[mine] = found
	s.mu.Unlock()
	_, err := dialled.Write(mine[:])
	if err == nil {
		timer := time.NewTimer(s.timeout)
		defer timer.Stop()
		select {
		case accepted := <-found:
			return accepted, nil
		case <-timer.C:
			err = context.DeadlineExceeded
		}
	}
	s.mu.Lock()
	delete(s.waiting, mine)
	s.mu.Unlock()
	select { // it may have come just now
	case accepted := <-found:
		return accepted, nil
	default:
		return handlers.Stream{}, err
	}
}

func (s *station) acceptErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *station) close(t *testing.T) {
	s.mu.Lock()
	early := s.err
	s.closed = true
	s.mu.Unlock()
	assert.NoError(t, early, "Accept returned an error before Close")
	closeIt(t, "the acceptor", s.acceptor.Close)
	s.mu.Lock()
	for stream := range s.open {
		go stream.Close()
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { s.accepting.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * atOnce):
		t.Error("Close of the acceptor does not end Accept, or that of a stream does not end Read")
	}
}

// closeBoth closes both ends at a time, so that none has to wait for the other.
func closeBoth(t *testing.T, a, b net.Conn) {
	t.Helper()
	var both sync.WaitGroup
	for _, end := range []net.Conn{a, b} {
		both.Go(func() {
			done := make(chan struct{})
			go func() { end.Close(); close(done) }()
			select {
			case <-done:
			case <-time.After(2 * atOnce):
				t.Errorf("Close of a stream has not returned after %v", 2*atOnce)
			}
		})
	}
	both.Wait()
}

// assertTheyTalk sends something both ways.
func assertTheyTalk(t *testing.T, k *kit, a, b net.Conn, when string) {
	t.Helper()
	deadline := time.Now().Add(k.cfg.Timeout)
	for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		const text = "Is anybody there?"
		assert.NoError(t, ends[0].SetWriteDeadline(deadline), when)
		assert.NoError(t, ends[1].SetReadDeadline(deadline), when)
		_, err := io.WriteString(ends[0], text)
		if !assert.NoError(t, err, when) {
			return
		}
		got := make([]byte, len(text))
		_, err = io.ReadFull(ends[1], got)
		if !assert.NoError(t, err, when) || !assert.Equal(t, text, string(got), when) {
			return
		}
		assert.NoError(t, ends[0].SetWriteDeadline(time.Time{}), when)
		assert.NoError(t, ends[1].SetReadDeadline(time.Time{}), when)
	}
}
