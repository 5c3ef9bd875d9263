package relay

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// soon is how long a test watches for something that must not happen.
	soon = 50 * time.Millisecond
	// patience is how long it waits for what has to happen.
	patience = 30 * time.Second
)

// target is the far end of a relay.
type target struct {
	t        *testing.T
	listener *net.TCPListener
}

func newTarget(t *testing.T) *target {
	t.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return &target{t, listener}
}

func (g *target) addr() string { return g.listener.Addr().String() }

func (g *target) accept() *net.TCPConn {
	g.t.Helper()
	require.NoError(g.t, g.listener.SetDeadline(time.Now().Add(patience)))
	conn, err := g.listener.AcceptTCP()
	require.NoError(g.t, err)
	return patient(g.t, conn)
}

func (g *target) assertNobodyComes() {
	g.t.Helper()
	require.NoError(g.t, g.listener.SetDeadline(time.Now().Add(soon)))
	_, err := g.listener.Accept()
	assert.ErrorIs(g.t, err, os.ErrDeadlineExceeded)
}

func patient(t *testing.T, conn *net.TCPConn) *net.TCPConn {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

func dial(t *testing.T, r *Relay) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", r.Addr())
	require.NoError(t, err)
	return patient(t, conn.(*net.TCPConn))
}

// connected returns both ends of a new connection through a new relay without a delay.
func connected(t *testing.T) (r *Relay, client, server *net.TCPConn) {
	t.Helper()
	g := newTarget(t)
	r = Start(t, g.addr())
	client = dial(t, r)
	return r, client, g.accept()
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := conn.Write([]byte(text))
	require.NoError(t, err)
}

func assertReceives(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	received := make([]byte, len(text))
	_, err := io.ReadFull(conn, received)
	require.NoError(t, err)
	assert.Equal(t, text, string(received))
}

func assertSilent(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(soon)))
	_, err := conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func assertReset(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestBothDirectionsAreCarriedAndCounted(t *testing.T) {
	r, client, server := connected(t)

	send(t, client, "hello")
	assertReceives(t, server, "hello")
	send(t, server, "you")
	assertReceives(t, client, "you")

	assert.Equal(t, Stats{ToTarget: 5, ToClient: 3, Flights: 2}, r.WaitConn(t, 1).Stats())
}

func TestAnEndThatHasClosedCanStillReceive(t *testing.T) {
	r, client, server := connected(t)

	send(t, client, "question")
	require.NoError(t, client.CloseWrite())
	question, err := io.ReadAll(server)
	require.NoError(t, err)
	assert.Equal(t, "question", string(question))
	send(t, server, "answer")
	require.NoError(t, server.Close())

	answer, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, "answer", string(answer))
	<-r.WaitConn(t, 1).Done()
}

func TestMuchIsCarriedInOrderInSpiteOfADelay(t *testing.T) {
	g := newTarget(t)
	r := Start(t, g.addr())
	r.SetDelay(time.Millisecond, time.Millisecond)
	client := dial(t, r)
	server := g.accept()
	data := bytes.Repeat([]byte("0123456789abcde"), 300_000)
	go func() { // echoes
		_, _ = io.Copy(server, server)
		_ = server.CloseWrite()
	}()
	go func() {
		_, _ = client.Write(data)
		_ = client.CloseWrite()
	}()

	received, err := io.ReadAll(client)

	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, received))
	stats := r.WaitConn(t, 1).Stats()
	assert.EqualValues(t, len(data), stats.ToTarget)
	assert.EqualValues(t, len(data), stats.ToClient)
}

func TestADelayIsThatOfItsDirection(t *testing.T) {
	const short, long = time.Millisecond, 60 * time.Millisecond
	for name, test := range map[string]struct{ toTarget, toClient time.Duration }{
		"to the target": {long, short},
		"to the client": {short, long},
	} {
		t.Run(name, func(t *testing.T) {
			g := newTarget(t)
			r := Start(t, g.addr())
			r.SetDelay(test.toTarget, test.toClient)
			client := dial(t, r)
			server := g.accept()

			begin := time.Now()
			send(t, client, "a")
			assertReceives(t, server, "a")
			assert.GreaterOrEqual(t, time.Since(begin), test.toTarget)

			begin = time.Now()
			send(t, server, "b")
			assertReceives(t, client, "b")
			assert.GreaterOrEqual(t, time.Since(begin), test.toClient)
		})
	}
}

func TestTimeFromTheStartOfADialIncludesTheHandshake(t *testing.T) {
	const oneWay = 20 * time.Millisecond
	for name, test := range map[string]struct {
		talk   func(t *testing.T, client net.Conn, accept func() *net.TCPConn)
		oneWay time.Duration
	}{
		"for the target to hear the client": {func(t *testing.T, client net.Conn, accept func() *net.TCPConn) {
			send(t, client, "a")
			assertReceives(t, accept(), "a")
		}, 3 * oneWay},
		"for a target that speaks first": {func(t *testing.T, client net.Conn, accept func() *net.TCPConn) {
			send(t, accept(), "a")
			assertReceives(t, client, "a")
		}, 4 * oneWay},
		"for two round trips": {func(t *testing.T, client net.Conn, accept func() *net.TCPConn) {
			send(t, client, "a")
			server := accept()
			assertReceives(t, server, "a")
			send(t, server, "b")
			assertReceives(t, client, "b")
			send(t, client, "c")
			assertReceives(t, server, "c")
			send(t, server, "d")
			assertReceives(t, client, "d")
		}, 6 * oneWay},
	} {
		t.Run(name, func(t *testing.T) {
			g := newTarget(t)
			r := Start(t, g.addr())
			r.SetDelay(oneWay, oneWay)

			begin := time.Now()
			test.talk(t, dial(t, r), g.accept)

			elapsed := time.Since(begin)
			assert.GreaterOrEqual(t, elapsed, test.oneWay)
			t.Logf("%v, at least %v", elapsed, test.oneWay)
		})
	}
}

func TestFlightsCountAnswersAndNotPieces(t *testing.T) {
	r, client, server := connected(t)
	const rounds = 5
	for range rounds {
		for range 3 {
			send(t, client, "ask")
			assertReceives(t, server, "ask")
		}
		for range 2 {
			send(t, server, "tell")
			assertReceives(t, client, "tell")
		}
	}
	assert.Equal(t, Stats{ToTarget: rounds * 9, ToClient: rounds * 8, Flights: 2 * rounds}, r.WaitConn(t, 1).Stats())
}

func TestAFrozenConnectionSaysNothingMoreToEitherEnd(t *testing.T) {
	for name, act := range map[string]func(t *testing.T, end *net.TCPConn){
		"when the other one sends":  func(t *testing.T, end *net.TCPConn) { send(t, end, "lost") },
		"when the other one closes": func(t *testing.T, end *net.TCPConn) { require.NoError(t, end.Close()) },
		"when the other one resets": func(_ *testing.T, end *net.TCPConn) { reset(end) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("client", func(t *testing.T) {
				r, client, server := connected(t)
				r.WaitConn(t, 1).Freeze()
				act(t, server)
				assertSilent(t, client)
			})
			t.Run("server", func(t *testing.T) {
				r, client, server := connected(t)
				r.Freeze()
				act(t, client)
				assertSilent(t, server)
			})
		})
	}
}

func TestWhatIsOnItsWayIsLostWithAFrozenConnection(t *testing.T) {
	g := newTarget(t)
	r := Start(t, g.addr())
	r.SetDelay(0, soon/5)
	client := dial(t, r)
	server := g.accept()
	send(t, server, "lost")
	r.Freeze()
	assertSilent(t, client)
}

func TestLaterConnectionsAreNotFrozen(t *testing.T) {
	g := newTarget(t)
	r := Start(t, g.addr())
	dial(t, r)
	g.accept()
	r.Freeze()

	client := dial(t, r)
	server := g.accept()
	send(t, client, "hello")
	assertReceives(t, server, "hello")
	assert.Len(t, r.Conns(), 2)
	assert.Equal(t, Stats{}, r.WaitConn(t, 1).Stats())
	assert.EqualValues(t, 5, r.WaitConn(t, 2).Stats().ToTarget)
}

func TestWhatIsHeldArrivesWhenItIsReleased(t *testing.T) {
	r, client, server := connected(t)
	hold := r.HoldToClient()
	send(t, client, "question")
	assertReceives(t, server, "question")
	send(t, server, "answer")
	<-hold.Held()
	assertSilent(t, client)
	hold.Release()
	hold.Release()
	require.NoError(t, client.SetReadDeadline(time.Now().Add(patience)))
	assertReceives(t, client, "answer")
	send(t, server, "more")
	assertReceives(t, client, "more")

	toTarget := r.HoldToTarget()
	send(t, client, "lost")
	<-toTarget.Held()
	r.Cut()
	assertReset(t, server)
}

func TestACutIsAResetAtBothEnds(t *testing.T) {
	for name, frozen := range map[string]bool{"of a live connection": false, "of a frozen one": true} {
		t.Run(name, func(t *testing.T) {
			r, client, server := connected(t)
			if frozen {
				r.Freeze()
			}

			r.Cut()

			assertReset(t, client)
			assertReset(t, server)
			<-r.WaitConn(t, 1).Done()
			r.Cut() // once more does no harm
			r.Freeze()
		})
	}
}

func TestAConnectionIsCutAfterAGivenNumberOfBytes(t *testing.T) {
	for name, test := range map[string]struct {
		toTarget, toClient int64
		want               Stats
	}{
		"to the target": {7, 0, Stats{ToTarget: 7, ToClient: 3, Flights: 3}},
		"to the client": {0, 3, Stats{ToTarget: 5, ToClient: 3, Flights: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newTarget(t)
			r := Start(t, g.addr())
			r.SetCutAfter(test.toTarget, test.toClient)
			client := dial(t, r)
			server := g.accept()

			send(t, client, "hello")
			assertReceives(t, server, "hello")
			send(t, server, "you")
			if test.toTarget > 0 {
				assertReceives(t, client, "you")
				send(t, client, "again")
			}

			<-r.WaitConn(t, 1).Done()
			assert.Equal(t, test.want, r.WaitConn(t, 1).Stats())
			_, err := io.ReadAll(client)
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			_, err = io.ReadAll(server)
			assert.ErrorIs(t, err, syscall.ECONNRESET)

			r.SetCutAfter(0, 0)
			client = dial(t, r)
			send(t, client, "hello again")
			assertReceives(t, g.accept(), "hello again")
		})
	}
}

func TestAResetIsPassedOn(t *testing.T) {
	r, client, server := connected(t)
	reset(server)
	assertReset(t, client)
	<-r.WaitConn(t, 1).Done()
}

func TestAConnectionEndsWhenThereIsNoTarget(t *testing.T) {
	g := newTarget(t)
	r := Start(t, g.addr())
	require.NoError(t, g.listener.Close())

	conn, err := net.Dial("tcp", r.Addr())
	if err == nil { // otherwise the relay was quicker
		_, err = patient(t, conn.(*net.TCPConn)).Read(make([]byte, 1))
	}

	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestTheTargetCanChange(t *testing.T) {
	first, second := newTarget(t), newTarget(t)
	r := Start(t, "")

	r.SetTarget(first.addr())
	dial(t, r)
	first.accept()
	r.SetTarget(second.addr())
	dial(t, r)
	second.accept()
}

func TestASwallowedConnectionIsNeverHeardOf(t *testing.T) {
	g := newTarget(t)
	r := Start(t, g.addr())

	r.SetSwallow(true)
	client := dial(t, r)
	send(t, client, "hello")
	assertSilent(t, client)
	g.assertNobodyComes()

	r.SetSwallow(false)
	dial(t, r)
	g.accept()
}

func TestASenderIsHeldUpByAReceiverThatDoesNotRead(t *testing.T) {
	const tooMuch = 64 << 20
	_, client, _ := connected(t)
	require.NoError(t, client.SetWriteDeadline(time.Now().Add(time.Second)))

	n, err := client.Write(make([]byte, tooMuch))

	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Less(t, n, tooMuch)
}

func TestCloseEndsEverything(t *testing.T) {
	g := newTarget(t)
	r, err := Listen(g.addr())
	require.NoError(t, err)
	client := dial(t, r)
	server := g.accept()
	frozen := dial(t, r)
	g.accept()
	r.WaitConn(t, 2).Freeze()
	r.SetDelay(time.Hour, time.Hour)
	waiting := dial(t, r)
	r.WaitConn(t, 3)

	require.NoError(t, r.Close())

	for _, conn := range []net.Conn{client, server, frozen, waiting} {
		assertReset(t, conn)
	}
	for _, conn := range r.Conns() {
		<-conn.Done()
	}
	_, err = net.Dial("tcp", r.Addr())
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestAddressesOfARelay(t *testing.T) {
	r := Start(t, "")
	host, _, err := net.SplitHostPort(r.Addr())
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1", host)
	assert.NotZero(t, r.Port())
	assert.Equal(t, "tcp:"+r.Addr(), r.Hint())
}
