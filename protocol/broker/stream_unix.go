//go:build unix

package broker

import (
	"os"
	"syscall"
)

const haveInstantIO = true

// tryWrite writes what the kernel takes without waiting. It always returns
// true: nobody is to wait until the kernel takes more. mu is held.
func (s *Stream) tryWrite(fd uintptr) bool {
	for len(s.out.rest()) > 0 {
		n, err := instantWrite(fd, s.out.rest())
		if n > 0 {
			s.out.off += n
		}
		switch err {
		case nil, syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			s.writeErr = os.NewSyscallError("write", err)
			return true
		}
	}
	return true
}

// tryRead reads what there is, into a buffer that is taken only then. It
// returns false when there is nothing: then the runtime waits.
func (s *Stream) tryRead(fd uintptr) bool {
	b := getStreamBuffer()
	for {
		n, err := instantRead(fd, b.b[:cap(b.b)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == nil && n > 0:
			b.b = b.b[:n]
			s.in = b
			return true
		}
		b.put()
		if err == syscall.EAGAIN {
			return false
		}
		if err != nil {
			s.readErr = os.NewSyscallError("read", err)
		}
		return true
	}
}
