package quic_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestHandlerAndListenerMeet(t *testing.T) {
	for name, test := range map[string]struct{ listen, hint, host string }{
		"over IPv4":                             {"127.0.0.1:0", "quic:127.0.0.1:PORT", "127.0.0.1"},
		"over IPv6":                             {"[::1]:0", "quic:[::1]:PORT", "::1"},
		"by a name":                             {"127.0.0.1:0", "quic:server.example:PORT", "server.example"},
		"by a name whose first address refuses": {"127.0.0.1:0", "quic:both.example:PORT", "both.example"},
		"on all addresses, over IPv4":           {":0", "quic:127.0.0.1:PORT", "127.0.0.1"},
		"on all addresses, over IPv6":           {"[::]:0", "quic:[::1]:PORT", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, test.listen)
			h := newHandler(t, quic.WithResolver(names{
				"server.example": {"127.0.0.1"},
				"both.example":   {"127.0.0.1", "::1"},
			}))
			hint := furl.Hint(strings.ReplaceAll(test.hint, "PORT", port(t, l)))
			dialled, accepted := connect(t, h, hint, l)
			assert.Equal(t, test.host, dialled.Host)
			assert.Equal(t, "", accepted.Host)
			assert.Equal(t, bob().Certificate[0], dialled.Peer.Raw)
			assert.Equal(t, alice().Certificate[0], accepted.Peer.Raw)

			for _, ends := range [][2]handlers.Stream{{dialled, accepted}, {accepted, dialled}} {
				_, err := ends[0].Write([]byte("hello"))
				require.NoError(t, err)
				got := make([]byte, 5)
				_, err = io.ReadFull(ends[1], got)
				require.NoError(t, err)
				assert.Equal(t, "hello", string(got))
			}
			var closing sync.WaitGroup
			closing.Go(func() { assert.NoError(t, dialled.Close()) })
			_, err := accepted.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
			require.NoError(t, accepted.Close())
			closing.Wait()
		})
	}
}

func TestEitherEndMayHaveAnRSAKey(t *testing.T) {
	rsa := tubs()[2]
	l, err := quic.Listen(t.Context(), "127.0.0.1:0", rsa)
	require.NoError(t, err)
	defer l.Close()
	greet(t, l)
	stream, err := newHandler(t).Dial(t.Context(), handlers.DialRequest{Hint: hintOf(l.Addr()), Target: idOf(rsa), Identity: rsa})
	require.NoError(t, err)
	require.NoError(t, stream.Close())
}

func TestTheStreamIsANetConn(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	h := newHandler(t)
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		dialled, accepted := connect(t, h, hintOf(l.Addr()), l)
		return dialled, accepted, func() { closeBoth(dialled, accepted) }, nil
	})
}

// bothWays runs a test from either end.
func bothWays(t *testing.T, test func(t *testing.T, here, there handlers.Stream)) {
	t.Run("from the side that has dialled", func(t *testing.T) {
		here, there := pair(t)
		test(t, here, there)
	})
	t.Run("from the side that has accepted", func(t *testing.T) {
		there, here := pair(t)
		test(t, here, there)
	})
}

func TestWhatWasWrittenBeforeCloseArrives(t *testing.T) {
	// Less than the first window, or Write would wait.
	message := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	bothWays(t, func(t *testing.T, here, there handlers.Stream) {
		_, err := here.Write(message)
		require.NoError(t, err)
		require.NoError(t, here.Close())
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(message, got))
		began := time.Now()
		require.NoError(t, there.Close())
		assert.Less(t, time.Since(began), 200*time.Millisecond, "there is nothing to wait for")
	})
}

func TestTheHandlerDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	h := quic.New()
	dialled, accepted := connect(t, h, hintOf(l.Addr()), l)
	_, err := dialled.Write([]byte("read me later"))
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, dialled.Close())
	require.NoError(t, h.Close())
	assert.Less(t, time.Since(began), 2*time.Second)
	got, err := io.ReadAll(accepted)
	require.NoError(t, err)
	assert.Equal(t, "read me later", string(got))
}

func TestTheListenerDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	dialled, accepted := connect(t, newHandler(t), hintOf(l.Addr()), l)
	_, err := accepted.Write([]byte("read me later"))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	began := time.Now()
	require.NoError(t, accepted.Close())
	assert.Less(t, time.Since(began), 2*time.Second)
	again, err := net.ListenUDP("udp4", l.Addr().(*net.UDPAddr))
	require.NoError(t, err, "nothing is left of it")
	again.Close()
	got, err := io.ReadAll(dialled)
	require.NoError(t, err)
	assert.Equal(t, "read me later", string(got))
}

func TestTheSideThatAcceptsCanRefuseAtOnce(t *testing.T) {
	dialled, accepted := pair(t)
	began := time.Now()
	require.NoError(t, accepted.Close())
	assert.Less(t, time.Since(began), 200*time.Millisecond, "nobody can hold it up")
	_, err := dialled.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
}

func TestCloseEndsWhatWaits(t *testing.T) {
	bothWays(t, func(t *testing.T, here, there handlers.Stream) {
		var waiting sync.WaitGroup
		for range 2 { // one of them waits for the other
			waiting.Go(func() {
				_, err := here.Read(make([]byte, 1))
				assert.ErrorIs(t, err, net.ErrClosed)
			})
			waiting.Go(func() {
				_, err := here.Write(make([]byte, 16<<20))
				assert.ErrorIs(t, err, net.ErrClosed)
			})
		}
		_, err := there.Read(make([]byte, 1)) // so they have begun
		require.NoError(t, err)
		require.NoError(t, here.Close())
		waiting.Wait()
		for _, err := range []error{here.SetDeadline(time.Time{}), here.SetReadDeadline(time.Now()), here.SetWriteDeadline(time.Now())} {
			assert.ErrorIs(t, err, net.ErrClosed)
		}
		assert.NoError(t, here.Close())
	})
}

func TestNobodyHearsWhatIsWrittenAfterTheEnd(t *testing.T) {
	bothWays(t, func(t *testing.T, here, there handlers.Stream) {
		_, err := here.Write([]byte("x"))
		require.NoError(t, err)
		var closing sync.WaitGroup
		closing.Go(func() { here.Close() })
		_, err = there.Write([]byte("it may be that nobody reads this, but it is no error"))
		assert.NoError(t, err)
		_, err = io.ReadAll(there)
		require.NoError(t, err)
		_, err = there.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.EPIPE)
		assert.NotErrorIs(t, err, net.ErrClosed, "we have not closed it")
		there.Close()
		closing.Wait()
	})
}

func TestADeadlineIsNoEnd(t *testing.T) {
	bothWays(t, func(t *testing.T, here, there handlers.Stream) {
		require.NoError(t, here.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err := here.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, here.SetReadDeadline(time.Time{}))
		_, err = there.Write([]byte("x"))
		require.NoError(t, err)
		_, err = here.Read(make([]byte, 1))
		assert.NoError(t, err)
	})
}

func TestAConnectionOnWhichNothingIsSaidLives(t *testing.T) {
	t.Cleanup(quic.SetTimes(500*time.Millisecond, 100*time.Millisecond))
	bothWays(t, func(t *testing.T, here, there handlers.Stream) {
		require.NoError(t, here.SetReadDeadline(time.Now().Add(2*time.Second)))
		_, err := here.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

func TestAPeerThatIsGoneIsNoticed(t *testing.T) {
	t.Cleanup(quic.SetTimes(500*time.Millisecond, 100*time.Millisecond))
	l := listen(t, "127.0.0.1:0")
	dialled, _ := connect(t, newHandler(t), hintOf(l.Addr()), l)
	quic.Crash(l)
	require.NoError(t, dialled.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := dialled.Read(make([]byte, 1))
	assert.ErrorIs(t, err, quic.ErrSilent)
	_, err = dialled.Write(make([]byte, 1))
	assert.ErrorIs(t, err, quic.ErrSilent)
	assert.NotErrorIs(t, err, net.ErrClosed)
}

func TestAListenerThatWasRestartedTellsItsPeers(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	dialled, accepted := connect(t, newHandler(t), hintOf(l.Addr()), l)
	quic.Crash(l)
	listen(t, l.Addr().String())
	_, err := dialled.Write(make([]byte, 1000)) // what is very small gets no answer
	require.NoError(t, err)
	require.NoError(t, dialled.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = dialled.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "restarted")
	_, err = accepted.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "socket is gone")
}
