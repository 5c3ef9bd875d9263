package handlertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
		stream, err := accept(s.acceptor)
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

// accept is Accept, with an error of the kit's if the contract is broken.
func accept(a handlers.Acceptor) (handlers.Stream, error) {
	s, err := a.Accept()
	switch {
	case err == nil && s.Conn == nil:
		return handlers.Stream{}, errors.New("Accept returned neither a stream nor an error")
	case err != nil && s.Conn != nil:
		s.Close()
		return handlers.Stream{}, fmt.Errorf("Accept returned a stream beside the error %q: exactly one may be set", err)
	}
	return s, err
}

// checked is an acceptor for somebody who relies on the contract.
type checked struct{ handlers.Acceptor }

func (c checked) Accept() (handlers.Stream, error) { return accept(c.Acceptor) }

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
	wrote := make(chan error, 1)
	go func() { // it may wait for the other end to read
		_, err := dialled.Write(mine[:])
		wrote <- err
	}()
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	var err error
	select {
	case err = <-wrote:
	case <-timer.C:
		err = context.DeadlineExceeded
	}
	if err == nil {
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
		accepted.Close()
	default:
	}
	return handlers.Stream{}, err
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

// assertTheyTalk sends something both ways. It sets no deadlines: one that was left
// on the stream has to show.
func assertTheyTalk(t *testing.T, k *kit, a, b net.Conn, when string) {
	t.Helper()
	talked := make(chan error, 1)
	go func() {
		err := tell(a, b)
		if err == nil {
			err = tell(b, a)
		}
		talked <- err
	}()
	select {
	case err := <-talked:
		assert.NoError(t, err, when)
	case <-time.After(k.cfg.Timeout):
		t.Errorf("nothing has arrived after %v, %s", k.cfg.Timeout, when)
		go a.Close()
		go b.Close()
	}
}

// tell sends something one way. A Write may wait until it is read.
func tell(from, to net.Conn) error {
	const text = "Is anybody there?"
	done := make(chan error, 2)
	go func() {
		_, err := io.WriteString(from, text)
		done <- err
	}()
	go func() {
		got := make([]byte, len(text))
		_, err := io.ReadFull(to, got)
		if err == nil && string(got) != text {
			err = fmt.Errorf("what arrives is not what was sent, but %q", got)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return err
	}
	return <-done
}
