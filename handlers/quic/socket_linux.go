package quic

import (
	"net"
	"syscall"
)

// reportRefusals lets a port where nobody listens end a dial at once, as it does
// with TCP: the socket then fails with what ICMP says about the packets that it
// sent. While a connection lives, ICMP has no say, since anybody can send it.
func reportRefusals(conn *net.UDPConn, on bool) {
	value := 0
	if on {
		value = 1
	}
	control(conn, func(fd int) {
		// That of the other family fails, and matters as little as the rest.
		syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_RECVERR, value)
		syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_RECVERR, value)
	})
}

// growBuffer asks for a buffer, beyond the limit for all if we may.
func growBuffer(conn *net.UDPConn, bytes int, receive bool) {
	ordinary, forced := syscall.SO_SNDBUF, syscall.SO_SNDBUFFORCE
	if receive {
		ordinary, forced = syscall.SO_RCVBUF, syscall.SO_RCVBUFFORCE
	}
	control(conn, func(fd int) {
		if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, forced, bytes) != nil {
			syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, ordinary, bytes)
		}
	})
}

func control(conn *net.UDPConn, f func(fd int)) {
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
