package tcp_test

import (
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// blackHole listens on a port of 127.0.0.2 in such a way that further
// connection attempts get no answer at all: its queue is full and nobody
// accepts. The kernel then drops SYNs, as a firewall would.
func blackHole(t *testing.T, port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 2}}))
	require.NoError(t, syscall.Listen(fd, 0))
	for range 16 {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(port)), 500*time.Millisecond)
		if err != nil {
			var netErr net.Error
			require.ErrorAs(t, err, &netErr)
			require.True(t, netErr.Timeout())
			return
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue does not fill up")
}

func TestAnAddressThatSwallowsPacketsDelaysTheNextByTheStagger(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	blackHole(t, l.Addr().(*net.TCPAddr).Port)
	h := tcp.New(tcp.WithResolver(names{"a.example": {"127.0.0.2", "127.0.0.1"}}))
	started := time.Now()
	dialled, _ := connect(t, h, furl.Hint("tcp:a.example:"+port(t, l)), l)
	took := time.Since(started)
	assert.Equal(t, l.Addr().String(), dialled.RemoteAddr().String())
	assert.GreaterOrEqual(t, took, 250*time.Millisecond)
	// The kernel would try the first address for minutes; a busy machine gets
	// what it needs.
	assert.Less(t, took, 5*time.Second)
	require.NoError(t, h.Close())
	assert.Less(t, time.Since(started), 8*time.Second, "the loser was not waited out")
}

func TestAnAddressThatSwallowsPacketsEndsAtTheTimeout(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	blackHole(t, l.Addr().(*net.TCPAddr).Port)
	h := tcp.New(tcp.WithTimeout(300 * time.Millisecond))
	defer h.Close()
	_, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: furl.Hint("tcp:127.0.0.2:" + port(t, l))})
	var dialErr *handlers.Error
	require.ErrorAs(t, err, &dialErr)
	assert.Equal(t, handlers.PhaseDial, dialErr.Phase)
	assert.ErrorIs(t, err, handlers.ErrTimeout)
}

func TestAZoneNamesTheInterface(t *testing.T) {
	l := listen(t, "[::1]:0")
	h := tcp.New()
	defer h.Close()
	dialled, _ := connect(t, h, furl.Hint("tcp:[::1%lo]:"+port(t, l)), l)
	assert.Equal(t, "::1", dialled.Host, "the zone stays here")
}
