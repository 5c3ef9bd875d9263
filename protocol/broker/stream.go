package broker

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// A Stream wraps the connection under TLS, so that a goroutine which must not
// wait can write: what the kernel does not take at once is kept, and another
// goroutine sends it. That spares waking one for every message.
//
// Until the Broker takes it over, a Stream is just the connection.
type Stream struct {
	net.Conn
	raw syscall.RawConn

	mu      sync.Mutex
	instant bool   // writes do not wait
	rest    []byte // what the kernel has not taken

	// One write: here, because a closure would be an allocation each time.
	write func(fd uintptr) bool
	p     []byte
	n     int
	err   error
}

// NewStream wraps a connection, or returns nil when it is not one of the
// kernel's: then every write goes through a goroutine of its own.
func NewStream(conn net.Conn) *Stream {
	sc, ok := conn.(syscall.Conn)
	if !ok || !canWriteInstantly {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	s := &Stream{Conn: conn, raw: raw}
	s.write = s.writeInstantly
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

// takeOver makes writes instant from now on.
func (s *Stream) takeOver() {
	s.mu.Lock()
	s.instant = true
	s.mu.Unlock()
}

// Write is called by one goroutine at a time, TLS sees to that.
func (s *Stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	if !s.instant {
		s.mu.Unlock()
		return s.Conn.Write(p)
	}
	defer s.mu.Unlock()
	n := 0
	if len(s.rest) == 0 {
		s.p, s.n, s.err = p, 0, nil
		err := s.raw.Write(s.write)
		n, s.p = s.n, nil
		if s.err != nil {
			err = s.err
		}
		if err != nil {
			return n, err
		}
	}
	s.rest = append(s.rest, p[n:]...)
	return len(p), nil
}

// stalled reports whether the kernel has not taken all.
func (s *Stream) stalled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rest) > 0
}

// flush waits until the kernel has taken all.
func (s *Stream) flush() error {
	s.mu.Lock()
	rest := s.rest
	s.mu.Unlock()
	// Nobody else writes meanwhile: the Broker has one writer. But TLS may
	// append its own, an alert or a key update.
	_, err := s.Conn.Write(rest)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = s.rest[len(rest):]
	if len(s.rest) == 0 {
		s.rest = nil
	}
	return err
}
