//go:build linux && !race

package broker

import (
	"syscall"
	"unsafe"
)

// What does not wait need not tell the scheduler. If it were told, it would take
// the processor away from a write that lasts for more than 20 µs, as one over
// the loopback may, and this goroutine would have to queue for another.

func instantWrite(fd uintptr, p []byte) (int, error) {
	return instant(syscall.SYS_WRITE, fd, p)
}

func instantRead(fd uintptr, p []byte) (int, error) {
	return instant(syscall.SYS_READ, fd, p)
}

// instant makes a call that the kernel does not wait in. p is not empty.
func instant(call, fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
