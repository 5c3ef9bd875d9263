//go:build unix

package broker

import (
	"os"
	"syscall"
)

const canWriteInstantly = true

// writeInstantly writes what the kernel takes without waiting. It always
// returns true: the caller is not to wait until it takes more.
func (s *Stream) writeInstantly(fd uintptr) bool {
	for s.n < len(s.p) {
		k, err := syscall.Write(int(fd), s.p[s.n:])
		if k > 0 {
			s.n += k
		}
		switch err {
		case nil, syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			s.err = os.NewSyscallError("write", err)
			return true
		}
	}
	return true
}
