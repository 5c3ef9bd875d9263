//go:build unix

package tcp_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
)

func TestBothEndsSendAtOnceAndProbeIdleConnections(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	h := tcp.New()
	defer h.Close()
	hints, _ := l.Hints()
	dialled, accepted := connect(t, h, hints[0], l)
	for name, stream := range map[string]handlers.Stream{"dialled": dialled, "accepted": accepted} {
		t.Run(name, func(t *testing.T) {
			raw, err := stream.Conn.(*net.TCPConn).SyscallConn()
			require.NoError(t, err)
			option := func(level, name int) (value int) {
				var optErr error
				require.NoError(t, raw.Control(func(fd uintptr) { value, optErr = syscall.GetsockoptInt(int(fd), level, name) }))
				require.NoError(t, optErr)
				return value
			}
			assert.NotZero(t, option(syscall.IPPROTO_TCP, syscall.TCP_NODELAY))
			assert.NotZero(t, option(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))
		})
	}
}
