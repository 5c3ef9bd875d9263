//go:build !linux

package quic

import "net"

// reportRefusals does nothing: here a port where nobody listens is silent.
func reportRefusals(*net.UDPConn, bool) {}

func growBuffer(conn *net.UDPConn, bytes int, receive bool) {
	if receive {
		conn.SetReadBuffer(bytes)
	} else {
		conn.SetWriteBuffer(bytes)
	}
}
