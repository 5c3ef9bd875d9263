package quic

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func loopbackSocket(t *testing.T) *socket {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &socket{UDPConn: conn}
}

func TestNobodyLooksAfterTheBuffersOfASocket(t *testing.T) {
	// With the descriptor, quic-go would compare what it asked for with what it got, and print its opinion.
	s := loopbackSocket(t)
	_, err := s.SyscallConn()
	require.Error(t, err)
	require.NoError(t, s.SetReadBuffer(1<<30))
	_, err = s.SyscallConn()
	require.Error(t, err)
	require.NoError(t, s.SetWriteBuffer(1<<30))
	_, err = s.SyscallConn()
	require.NoError(t, err)

	used := loopbackSocket(t)
	e := newEndpoint(used.UDPConn, nil, nil)
	_, err = e.transport.WriteTo([]byte("initialise"), used.LocalAddr())
	assert.NoError(t, err)
	assert.True(t, e.socket.sized, "this version of quic-go sets the buffers in another way; see type socket")
	e.leave()
}

func TestWhatTheSystemDoesNotSendIsLostOnceTheConnectionIsSteady(t *testing.T) {
	s := loopbackSocket(t)
	abroad := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9} // not from a socket bound to loopback
	_, _, err := s.WriteMsgUDP([]byte("x"), nil, abroad)
	require.Error(t, err)
	s.steady.Store(true)
	require.NoError(t, s.UDPConn.Close())
	_, _, err = s.WriteMsgUDP([]byte("x"), nil, abroad)
	assert.ErrorIs(t, err, net.ErrClosed)
	for errno, want := range map[syscall.Errno]bool{
		syscall.ENETUNREACH: true, syscall.EADDRNOTAVAIL: true, syscall.EPERM: true,
		syscall.EMSGSIZE: false, syscall.EIO: false, syscall.EBADF: false,
	} {
		err := &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", errno)}
		assert.Equal(t, want, passing(err), "%v", errno)
	}
}
