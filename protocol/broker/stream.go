package broker

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Stream wraps the connection under TLS for two purposes. A goroutine that
// must not wait can write: what the kernel does not take at once is kept, and
// another goroutine sends it; that spares waking one for every message. And
// TLS, which reads and writes record by record, needs fewer system calls:
// what it writes is gathered, and what there is to be read is read at once.
//
// Until the Broker takes it over, a Stream is just the connection. One
// goroutine at a time may read, and one at a time write.
type Stream struct {
	net.Conn
	raw  syscall.RawConn
	ours atomic.Bool // taken over

	mu  sync.Mutex
	out *streamBuffer // what TLS has written and the kernel has not taken

	in *streamBuffer // what the kernel has given and TLS has not read

	// Of one system call: here, because a closure would be an allocation
	// each time.
	readOnce, writeOnce func(fd uintptr) bool
	readErr, writeErr   error
}

// streamBuffer is a buffer from a pool: no connection holds one for longer than
// it has bytes for it.
type streamBuffer struct {
	b   []byte
	off int // what is before it is done
}

func (s *streamBuffer) rest() []byte { return s.b[s.off:] }

var streamBuffers = sync.Pool{New: func() any {
	return &streamBuffer{b: make([]byte, 0, writeSize+4<<10)}
}}

func getStreamBuffer() *streamBuffer { return streamBuffers.Get().(*streamBuffer) }

// put gives a buffer back. One that has grown beyond the usual is dropped.
func (s *streamBuffer) put() {
	if cap(s.b) <= 2*writeSize {
		s.b, s.off = s.b[:0], 0
		streamBuffers.Put(s)
	}
}

// NewStream wraps a connection, or returns nil when it is not one of the
// kernel's: then every write goes through a goroutine of its own.
func NewStream(conn net.Conn) *Stream {
	sc, ok := conn.(syscall.Conn)
	if !ok || !haveInstantIO {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	s := &Stream{Conn: conn, raw: raw}
	s.readOnce, s.writeOnce = s.tryRead, s.tryWrite
	return s
}

// CloseWrite says good-bye in our direction, if the connection can do that:
// a refusal during negotiation ends with it.
func (s *Stream) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// takeOver begins with what the Stream is for: from now on what is written
// waits for push or flush.
func (s *Stream) takeOver() { s.ours.Store(true) }

func (s *Stream) Write(p []byte) (int, error) {
	if !s.ours.Load() {
		return s.Conn.Write(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		s.out = getStreamBuffer()
	}
	if len(s.out.rest()) > maxUnsent {
		return 0, errUnsent
	}
	s.out.b = append(s.out.b, p...)
	return len(p), nil
}

// maxUnsent bounds what TLS has written and the kernel has not taken. A Broker
// leaves no more than a few writes there; beyond that it is TLS itself that
// answers, to a peer who asks for new keys and reads nothing.
const maxUnsent = 1 << 20

var errUnsent = errors.New("the peer does not read what TLS answers")

// push gives the kernel what it takes without waiting, and reports whether
// something is left.
func (s *Stream) push() (left bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return false, nil
	}
	s.writeErr = nil
	if err := s.raw.Write(s.writeOnce); err != nil {
		return true, err
	}
	if s.writeErr != nil {
		return true, s.writeErr
	}
	return s.trim(), nil
}

// trim drops an empty buffer. mu is held.
func (s *Stream) trim() (left bool) {
	if len(s.out.rest()) > 0 {
		return true
	}
	s.out.put()
	s.out = nil
	return false
}

// flush waits until the kernel has taken all.
func (s *Stream) flush() error {
	for {
		s.mu.Lock()
		out := s.out
		s.out = nil // TLS may write on, an alert or a key update
		s.mu.Unlock()
		if out == nil {
			return nil
		}
		_, err := s.Conn.Write(out.rest())
		out.put()
		if err != nil {
			return err
		}
	}
}

// Close sends what it can, TLS's good-bye above all, and closes.
func (s *Stream) Close() error {
	if s.ours.Load() {
		// TLS lets every write fail that comes after its good-bye, which is
		// still here. A flush that is stuck fails as well, a little later.
		s.Conn.SetWriteDeadline(time.Now().Add(closeTime))
		s.push()
	}
	return s.Conn.Close()
}

// closeTime is how long a flush that does not get on may hold up Close.
const closeTime = 50 * time.Millisecond

func (s *Stream) Read(p []byte) (int, error) {
	if !s.ours.Load() {
		return s.Conn.Read(p)
	}
	if s.in == nil {
		s.readErr = nil
		if err := s.raw.Read(s.readOnce); err != nil {
			return 0, err
		}
		switch {
		case s.readErr != nil:
			return 0, s.readErr
		case s.in == nil:
			return 0, io.EOF
		}
	}
	n := copy(p, s.in.rest())
	s.in.off += n
	if s.in.off == len(s.in.b) {
		s.in.put()
		s.in = nil
	}
	return n, nil
}
