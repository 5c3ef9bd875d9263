package quic_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// Peers who do not read what they are owed cannot make us keep many connections.
func TestLingeringStreamsAreBounded(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	transport := &quicgo.Transport{Conn: udp(t)}
	defer transport.Close()
	before := runtime.NumGoroutine()
	const many = 300
	var conns []*quicgo.Conn
	var closing sync.WaitGroup
	for range many {
		conn, err := transport.Dial(t.Context(), l.Addr(), bareConfig(alice()), nil)
		require.NoError(t, err)
		conns = append(conns, conn)
		str, err := conn.OpenStream()
		require.NoError(t, err)
		_, err = str.Write([]byte{0})
		require.NoError(t, err)
		s, err := l.Accept()
		require.NoError(t, err)
		closing.Go(func() { // what a Tub does when a negotiation fails
			s.Write([]byte("an error"))
			s.Close()
		})
	}
	begun := time.Now()
	closing.Wait()
	t.Logf("all closed after %v", time.Since(begun))
	alive := 0
	for _, c := range conns {
		if c.Context().Err() == nil {
			alive++
		}
	}
	t.Logf("goroutines %d before, %d after; %d connections live", before, runtime.NumGoroutine(), alive)
	// The limit is looked at before it is used, so a few may be more.
	require.Less(t, alive, 2*64, "connections that nobody has any more")
}
