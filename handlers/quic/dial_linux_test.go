package quic_test

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
)

func TestAPortWhereNobodyListens(t *testing.T) {
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		t.Run(network, func(t *testing.T) {
			conn, err := net.ListenPacket(network, address)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			began := time.Now()
			dialErr := dialError(t, newHandler(t), toBob(hintOf(conn.LocalAddr())))
			assert.Less(t, time.Since(began), time.Second, "the system knows at once")
			assert.Equal(t, handlers.PhaseDial, dialErr.Phase)
			assert.ErrorIs(t, dialErr, handlers.ErrUnreachable)
			assert.ErrorIs(t, dialErr, syscall.ECONNREFUSED)
			assert.NotErrorIs(t, dialErr, net.ErrClosed)
		})
	}
}

func TestNoSocketIsLeft(t *testing.T) {
	sockets := func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		for _, entry := range entries {
			if link, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(link, "socket:") {
				n++
			}
		}
		return n
	}
	before := sockets()
	l := listen(t, "127.0.0.1:0")
	failing := quic.New(quic.WithTimeout(100 * time.Millisecond))
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	dialError(t, failing, toBob(hintOf(silent.LocalAddr())))
	silent.Close()
	require.NoError(t, failing.Close())
	h := quic.New()
	dialled, accepted := connect(t, h, hintOf(l.Addr()), l)
	assert.Equal(t, before+2, sockets(), "one for the listener, one for the dial")
	closeBoth(dialled, accepted)
	assert.Equal(t, before+1, sockets(), "that of the dial ends with its stream")
	require.NoError(t, l.Close())
	assert.Equal(t, before, sockets())
	assert.NoError(t, h.Close())
}
