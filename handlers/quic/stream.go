package quic

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// Close waits, for this long and four round trips, but not longer than
	// maxFlush, until the peer has taken note.
	minFlush, maxFlush = 250 * time.Millisecond, 2 * time.Second

	// lingerTime is how long after that a peer may take to read the rest, if
	// the handler or listener lives that long.
	lingerTime = 30 * time.Second
)

// A stream is the one stream of a connection, as a net.Conn. Its end, in either
// direction, says that the sender has closed: that it will not read any more
// either. There is no closing of one direction.
type stream struct {
	conn     *quic.Conn
	str      *quic.Stream
	endpoint *endpoint

	reading, writing sync.Mutex // one Read and one Write at a time

	mu     sync.Mutex // of closed, with the deadlines
	closed bool

	wrote      bool        // guarded by writing until closed
	ended      atomic.Bool // we have read to the end
	peerClosed atomic.Bool // the end is known, though perhaps not read

	closing sync.Once
}

var _ net.Conn = (*stream)(nil)

// newStream takes over a user's place at the endpoint. If opened, it was us who
// have opened the stream: that the peer gets to see it, too, is what Close has to
// wait for.
func newStream(conn *quic.Conn, str *quic.Stream, e *endpoint, opened bool) *stream {
	s := &stream{conn: conn, str: str, endpoint: e, wrote: opened}
	str.SetReceiveFinalSizeCallback(func(int64) { s.peerClosed.Store(true) })
	return s
}

func (s *stream) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.isClosed() {
		return 0, s.failed("read", net.ErrClosed)
	}
	n, err := s.str.Read(p)
	if n > 0 || err == nil {
		return n, nil // an error comes again
	}
	if !errors.Is(err, io.EOF) {
		err = s.failed("read", err)
	}
	if errors.Is(err, io.EOF) {
		s.ended.Store(true)
		return 0, io.EOF
	}
	return 0, err
}

func (s *stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	switch {
	case s.isClosed():
		return 0, s.failed("write", net.ErrClosed)
	case s.ended.Load():
		return 0, s.failed("write", io.EOF)
	}
	s.wrote = s.wrote || len(p) > 0
	n, err := s.str.Write(p)
	if err != nil {
		return n, s.failed("write", err)
	}
	return n, nil
}

// failed says what an error of the stream means.
func (s *stream) failed(op string, err error) error {
	switch {
	case s.isClosed():
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded
	default:
		err = translate(err)
		if op == "write" && errors.Is(err, io.EOF) {
			err = syscall.EPIPE
		}
	}
	return &net.OpError{Op: op, Net: "quic", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// Close makes sure that what was written arrives, within a time. Reads and writes
// in progress end at once.
func (s *stream) Close() error {
	s.closing.Do(s.close)
	return nil
}

func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	s.str.SetDeadline(time.Unix(1, 0))
	s.mu.Unlock()
	// Those in progress are over then, and whoever comes later sees closed.
	wait(&s.reading)
	wait(&s.writing)

	if !s.wrote || s.peerClosed.Load() || s.conn.Context().Err() != nil {
		s.end(CloseDone) // nobody waits for anything
		s.endpoint.leave()
		return
	}
	s.str.SetReadDeadline(time.Now().Add(maxFlush + lingerTime))
	s.str.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.end(s.drain())
	}()
	timer := time.NewTimer(min(minFlush+4*s.conn.ConnectionStats().SmoothedRTT, maxFlush))
	defer timer.Stop()
	select {
	case <-done:
		s.endpoint.leave()
	case <-timer.C:
		if !s.endpoint.linger(func() { <-done }) {
			s.end(CloseUnread)
			<-done
			s.endpoint.leave()
		}
	}
}

// wait waits for whoever holds mu.
func wait(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

// drain reads until the peer has closed, too: then it needs nothing any more. It
// returns what there is to say to the peer.
func (s *stream) drain() CloseCode {
	_, err := io.Copy(io.Discard, struct{ io.Reader }{s.str})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return CloseUnread
	}
	return CloseDone
}

// end ends the connection. What has not arrived by now does not.
func (s *stream) end(code CloseCode) {
	s.conn.CloseWithError(quic.ApplicationErrorCode(code), "")
}

func (s *stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// LocalAddr returns the address of the socket. That of one that has dialled is
// the unspecified address.
func (s *stream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the address of the peer, which can change.
func (s *stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

func (s *stream) SetDeadline(t time.Time) error      { return s.set(s.str.SetDeadline, t) }
func (s *stream) SetReadDeadline(t time.Time) error  { return s.set(s.str.SetReadDeadline, t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.set(s.str.SetWriteDeadline, t) }

func (s *stream) set(deadline func(time.Time) error, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return deadline(t)
}
