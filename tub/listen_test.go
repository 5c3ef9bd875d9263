package tub_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// newListener returns a Listener that several Tubs can share, and its address.
func newListener(t testing.TB, opts *tub.ListenerOptions) (*tub.Listener, string) {
	t.Helper()
	a := newAcceptor(t)
	l := tub.NewListener(a, opts)
	t.Cleanup(func() { l.Close() })
	return l, a.Addr().String()
}

// dialRaw connects without saying anything.
func dialRaw(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// request is what a client says first.
func request(id furl.TubID) string {
	return fmt.Sprintf("GET /id/%s HTTP/1.1\r\nHost: x\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n", id)
}

// consent is how a listener answers to a request that it grants.
const consent = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.0, PB/1.0\r\nConnection: Upgrade\r\n\r\n"

// reply returns all that a listener has to say about a Tub. TLS that nobody
// begins is not waited for.
func reply(t testing.TB, address string, id furl.TubID) string {
	t.Helper()
	conn := dialRaw(t, address)
	_, err := io.WriteString(conn, request(id))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	text, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(text)
}

// hungUp asserts that the other side ends a connection on which it has said
// nothing.
func hungUp(t testing.TB, conn net.Conn) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	var timeout net.Error
	assert.False(t, errors.As(err, &timeout) && timeout.Timeout(), "it is still open")
}

func TestTubsShareAListener(t *testing.T) {
	l, address := newListener(t, nil)
	a, b, client := newTub(t, nil), newTub(t, nil), newTub(t, nil)
	require.NoError(t, a.Attach(l))
	require.NoError(t, b.Attach(l))
	assert.Equal(t, l.Hints(), a.Hints())
	assert.Equal(t, l.Hints(), b.Hints())
	fa, fb := register(t, a, calculator()), register(t, b, calculator())
	ra, rb := connect(t, client, fa), connect(t, client, fb)
	assert.Equal(t, 3, call[int](t, ra, "add", 1, 2))
	assert.Equal(t, 7, call[int](t, rb, "add", 3, 4))
	assert.ElementsMatch(t, []furl.TubID{a.TubID(), b.TubID()}, client.Peers())

	a.Detach(l)
	assert.Empty(t, a.Hints())
	assert.Equal(t, 3, call[int](t, ra, "add", 1, 2), "what is open stays")
	_, err := newTub(t, nil).Connect(within(t), fa)
	assert.ErrorContains(t, err, "unknown TubID")
	connect(t, newTub(t, nil), fb)
	a.Detach(l)

	require.NoError(t, a.Attach(l))
	require.NoError(t, a.Attach(l), "once more changes nothing")
	assert.Len(t, a.Hints(), 1)
	connect(t, newTub(t, nil), fa)

	require.NoError(t, b.Close())
	assert.Contains(t, reply(t, address, a.TubID()), "101 ", "the others go on")
	require.NoError(t, a.Close())
	dialRaw(t, address) // it was not theirs to close
}

func TestNobodyLearnsWhetherATubWasEverHere(t *testing.T) {
	l, address := newListener(t, nil)
	resident, detached, stopped := newTub(t, nil), newTub(t, nil), newTub(t, nil)
	for _, tb := range []*tub.Tub{resident, detached, stopped} {
		require.NoError(t, tb.Attach(l))
		require.Contains(t, reply(t, address, tb.TubID()), "101 ")
	}
	detached.Detach(l)
	require.NoError(t, stopped.Close())
	never := newIdentity(t).TubID()
	anonymous := func(id furl.TubID) string {
		return strings.ReplaceAll(reply(t, address, id), string(id), strings.Repeat("x", len(id)))
	}
	want := anonymous(never)
	assert.Contains(t, want, "unknown TubID")
	assert.Equal(t, want, anonymous(detached.TubID()))
	assert.Equal(t, want, anonymous(stopped.TubID()))
	assert.Contains(t, reply(t, address, resident.TubID()), "101 ")
	eventually(t, func() bool { return l.Open() == 0 }, "no connection is counted any more")
}

// A Tub that ends while it is being attached must not stay behind.
func TestATubThatEndsIsNotAttachedAnyMore(t *testing.T) {
	l, address := newListener(t, nil)
	for range 50 {
		tb := newTub(t, nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := tb.Attach(l); err != nil {
				assert.ErrorIs(t, err, tub.ErrTubClosed)
			}
		})
		wg.Go(func() { tb.Close() })
		wg.Wait()
		require.Contains(t, reply(t, address, tb.TubID()), "unknown TubID")
	}
}

func TestOfTooManyNegotiationsTheSilentOnesGo(t *testing.T) {
	l, address := newListener(t, &tub.ListenerOptions{MaxNegotiations: 2})
	tb := newTub(t, nil)
	require.NoError(t, tb.Attach(l))
	f := register(t, tb, calculator())

	first, second := dialRaw(t, address), dialRaw(t, address)
	eventually(t, func() bool { return l.Open() == 2 }, "both are in negotiation")
	third := dialRaw(t, address)
	hungUp(t, first)
	eventually(t, func() bool { return l.Open() == 2 }, "the third has the place of the first")

	// Who has asked for a Tub keeps his place.
	for _, conn := range []net.Conn{second, third} {
		_, err := io.WriteString(conn, request(tb.TubID()))
		require.NoError(t, err)
		answer := make([]byte, len(consent))
		_, err = io.ReadFull(conn, answer)
		require.NoError(t, err)
		require.Equal(t, consent, string(answer))
		// The Tub's hello shows that it has gone on.
		secure := tls.Client(conn, &tls.Config{
			Certificates:       []tls.Certificate{*newIdentity(t).Certificate()},
			InsecureSkipVerify: true,
		})
		_, err = secure.Read(make([]byte, 1))
		require.NoError(t, err)
	}
	fourth := dialRaw(t, address)
	hungUp(t, fourth)
	_, err := newTub(t, nil).Connect(within(t), f)
	require.Error(t, err)

	second.Close()
	eventually(t, func() bool { return l.Open() == 1 }, "a place is free")
	connect(t, newTub(t, nil), f)
}

func TestTooManyConnectionsAreClosedAtOnce(t *testing.T) {
	l, address := newListener(t, &tub.ListenerOptions{MaxConnections: 2})
	tb := newTub(t, nil)
	require.NoError(t, tb.Attach(l))
	f := register(t, tb, calculator())
	a, b := newTub(t, nil), newTub(t, nil)
	ref := connect(t, a, f)
	connect(t, b, f)
	assert.Equal(t, 2, l.Open())
	hungUp(t, dialRaw(t, address))
	_, err := newTub(t, nil).Connect(within(t), f)
	require.Error(t, err)
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))

	require.NoError(t, b.Close())
	eventually(t, func() bool { return l.Open() == 1 }, "there is room")
	connect(t, newTub(t, nil), f)
}

// However a connection ends, it makes room once.
func TestEveryConnectionIsCountedOnce(t *testing.T) {
	none := func(t *testing.T, l *tub.Listener) {
		t.Helper()
		eventually(t, func() bool { return l.Open() == 0 }, "%d connections are counted", l.Open())
	}
	t.Run("which is used and closed", func(t *testing.T) {
		l, _ := newListener(t, nil)
		tb, client := newTub(t, nil), newTub(t, nil)
		require.NoError(t, tb.Attach(l))
		connect(t, client, register(t, tb, calculator()))
		assert.Equal(t, 1, l.Open())
		client.Close()
		none(t, l)
	})
	t.Run("whose peer says nothing of use", func(t *testing.T) {
		l, address := newListener(t, nil)
		tb := newTub(t, nil)
		require.NoError(t, tb.Attach(l))
		for _, said := range []string{"", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", request(tb.TubID()), request(tb.TubID()) + "junk"} {
			conn := dialRaw(t, address)
			_, err := io.WriteString(conn, said)
			require.NoError(t, err)
			conn.Close()
		}
		none(t, l)
	})
	t.Run("which a newer one replaces", func(t *testing.T) {
		l, _ := newListener(t, nil)
		tb := newTub(t, nil)
		require.NoError(t, tb.Attach(l))
		f := register(t, tb, calculator())
		id := newIdentity(t)
		connect(t, newTubOf(t, id, nil), f)
		again := newTubOf(t, id, nil) // restarted, as far as the peer can tell
		connect(t, again, f)
		eventually(t, func() bool { return l.Open() == 1 }, "only the newer one is left")
		again.Close()
		none(t, l)
	})
	t.Run("whose Tub ends meanwhile", func(t *testing.T) {
		l, _ := newListener(t, nil)
		for range 20 {
			come := make(chan struct{}, 100)
			tb := newTub(t, &tub.Options{Observer: func(e tub.Event) {
				if e.Kind == tub.EventNegotiate {
					come <- struct{}{}
				}
			}})
			require.NoError(t, tb.Attach(l))
			f := register(t, tb, calculator())
			var wg sync.WaitGroup
			for range 3 {
				client := newTub(t, nil)
				wg.Go(func() {
					_, err := client.Connect(within(t), f) // or not
					assert.NotErrorIs(t, err, context.DeadlineExceeded, "a connection that comes and goes is no reason to wait")
					client.Close()
				})
			}
			wg.Go(func() {
				<-come
				tb.Close()
			})
			wg.Wait()
		}
		none(t, l)
	})
	t.Run("which is authenticated and could be for several Tubs", func(t *testing.T) {
		m := newMemory()
		a, b, client := newTub(t, nil), newTub(t, nil), newTub(t, nil)
		l := tub.NewListener(m.authenticating("mem:x", newIdentity(t)), nil)
		t.Cleanup(func() { l.Close() })
		require.NoError(t, a.Attach(l))
		require.NoError(t, b.Attach(l))
		handle(t, client, map[string]dial{"mem": m.dialer()})
		_, err := client.Connect(within(t), register(t, a, calculator()))
		require.Error(t, err)
		none(t, l)
	})
}

func TestAListenerThatIsClosedTakesNobody(t *testing.T) {
	l, address := newListener(t, nil)
	tb := newTub(t, nil)
	require.NoError(t, tb.Attach(l))
	ref := connect(t, newTub(t, nil), register(t, tb, calculator()))
	waiting := dialRaw(t, address)
	eventually(t, func() bool { return l.Open() == 2 }, "one is in negotiation")

	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	hungUp(t, waiting)
	assert.Empty(t, tb.Hints())
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2), "connections stay")
	assert.ErrorIs(t, tb.Attach(l), net.ErrClosed)
	assert.Empty(t, tb.Hints())
	_, err := net.Dial("tcp", address)
	assert.Error(t, err)
}

func TestATubClosesTheListenersItHasMade(t *testing.T) {
	m := newMemory()
	a, b, c := m.listen("mem:a"), m.listen("mem:b"), m.listen("mem:c")
	tb := newTub(t, nil)
	own, err := tb.Listen(a)
	require.NoError(t, err)
	detached, err := tb.Listen(b)
	require.NoError(t, err)
	shared := tub.NewListener(c, nil)
	t.Cleanup(func() { shared.Close() })
	require.NoError(t, tb.Attach(shared))
	require.NoError(t, tb.Attach(own), "it stays the Tub's own")
	tb.Detach(detached)
	assert.Equal(t, []furl.Hint{"mem:a", "mem:c"}, tb.Hints())

	gone, err := tb.Listen(m.listen("mem:d"))
	require.NoError(t, err)
	assert.Equal(t, 3, tb.Owned())
	require.NoError(t, gone.Close())
	assert.Equal(t, 2, tb.Owned(), "nothing is kept of one that was closed")

	require.NoError(t, tb.Close())
	assert.Equal(t, 1, a.closed)
	assert.Equal(t, 1, b.closed)
	assert.Equal(t, 0, c.closed)
	assert.Zero(t, tb.Owned())

	late := m.listen("mem:late")
	_, err = tb.Listen(late)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
	assert.Equal(t, 1, late.closed, "who calls Listen has given it away")
	assert.ErrorIs(t, tb.Attach(shared), tub.ErrTubClosed)
}

// brokenAcceptor breaks.
type brokenAcceptor struct{ *memoryAcceptor }

func (brokenAcceptor) Accept() (handlers.Stream, error) {
	return handlers.Stream{}, errors.New("the cable was cut")
}

func TestAnAcceptorThatFailsIsReported(t *testing.T) {
	var log logs
	tb := newTub(t, &tub.Options{Logger: log.logger()})
	_, err := tb.Listen(brokenAcceptor{newMemory().listen("mem:a")})
	require.NoError(t, err)
	eventually(t, func() bool { return strings.Contains(log.String(), "the cable was cut") }, "it is in the log")
	assert.Contains(t, log.String(), "level=ERROR")
}

func TestHintsThatComeLaterAreWaitedFor(t *testing.T) {
	m := newMemory()
	a := m.listen("mem:a")
	a.advertise()
	tb := newTub(t, nil)
	o := calculator()
	_, err := tb.Listen(a)
	require.NoError(t, err)
	assert.Empty(t, register(t, tb, o).Hints)

	advertised := make(chan []furl.Hint, 1)
	go func() {
		hints, err := tb.WaitAdvertised(within(t))
		assert.NoError(t, err)
		advertised <- hints
	}()
	a.advertise() // changed, and nothing gained
	a.advertise("mem:a", "mem:b")
	assert.Equal(t, []furl.Hint{"mem:a", "mem:b"}, <-advertised)
	assert.Equal(t, []furl.Hint{"mem:a", "mem:b"}, register(t, tb, o).Hints)

	a.advertise("mem:c")
	f, err := tb.FURL(o)
	require.NoError(t, err)
	assert.Equal(t, []furl.Hint{"mem:c"}, f.Hints)
	hints, err := tb.WaitAdvertised(within(t))
	require.NoError(t, err)
	assert.Equal(t, f.Hints, hints)
}

func TestWaitingForHintsEnds(t *testing.T) {
	t.Run("with a listener", func(t *testing.T) {
		tb := newTub(t, nil)
		done := make(chan []furl.Hint, 1)
		go func() {
			hints, err := tb.WaitAdvertised(within(t))
			assert.NoError(t, err)
			done <- hints
		}()
		l := listen(t, tb)
		assert.Equal(t, l.Hints(), <-done)
	})
	t.Run("with the context", func(t *testing.T) {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		tb := newTub(t, nil)
		_, err := tb.WaitAdvertised(ctx)
		assert.ErrorIs(t, err, cause)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "the Tub has no listener")
		a, err := tcp.Listen(t.Context(), "0.0.0.0:0") // which advertises nothing
		require.NoError(t, err)
		_, err = tb.Listen(a)
		require.NoError(t, err)
		_, err = tb.WaitAdvertised(ctx)
		assert.ErrorIs(t, err, cause)
		assert.ErrorContains(t, err, "by any of the Tub's listeners (1)")
	})
	t.Run("with the Tub", func(t *testing.T) {
		tb := newTub(t, nil)
		done := make(chan error, 1)
		go func() { _, err := tb.WaitAdvertised(within(t)); done <- err }()
		require.NoError(t, tb.Close())
		assert.ErrorIs(t, <-done, tub.ErrTubClosed)
		_, err := tb.WaitAdvertised(within(t))
		assert.ErrorIs(t, err, tub.ErrTubClosed)
	})
}

func TestAWildcardAddressAdvertisesOnlyALocation(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0"} {
		tb := newTub(t, nil)
		a, err := tcp.Listen(t.Context(), address)
		require.NoError(t, err)
		_, err = tb.Listen(a)
		require.NoError(t, err)
		assert.Empty(t, tb.Hints())

		located, err := tcp.Listen(t.Context(), address, tcp.WithLocation("tcp:server.example:9900"))
		require.NoError(t, err)
		_, err = tb.Listen(located)
		require.NoError(t, err)
		assert.Equal(t, []furl.Hint{"tcp:server.example:9900"}, tb.Hints())
	}
}

// Peers may be waiting for a Tub to come back: the first thing that they hear
// must not be that it is not there.
func TestATubIsThereFromTheFirstMoment(t *testing.T) {
	m := newMemory()
	for range 100 {
		tb := newTub(t, nil)
		a := m.listen("mem:x")
		answer := make(chan string, 1)
		go func() {
			s, err := m.dialer()(within(t), dialRequest("mem:x"))
			if !assert.NoError(t, err) {
				return
			}
			defer s.Close()
			_, err = io.WriteString(s, request(tb.TubID()))
			assert.NoError(t, err)
			buf := make([]byte, len("HTTP/1.1 101"))
			_, err = io.ReadFull(s, buf)
			assert.NoError(t, err)
			answer <- string(buf)
		}()
		_, err := tb.Listen(a)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 101", <-answer)
		require.NoError(t, tb.Close())
	}
}

func TestTheLowestVersionOfTLSIsAnOption(t *testing.T) {
	for _, test := range []struct {
		lowest, offered uint16
		taken           bool
	}{
		{0, tls.VersionTLS13, true},
		{0, tls.VersionTLS12, true},
		{0, tls.VersionTLS11, false},
		{tls.VersionTLS13, tls.VersionTLS12, false},
		{tls.VersionTLS10, tls.VersionTLS10, true},
	} {
		t.Run(tls.VersionName(test.lowest)+" and "+tls.VersionName(test.offered), func(t *testing.T) {
			server := newServer(t, &tub.Options{MinTLS: test.lowest})
			conn := dialRaw(t, server.Hints()[0].String()[len("tcp:"):])
			_, err := io.WriteString(conn, request(server.TubID()))
			require.NoError(t, err)
			_, err = io.ReadFull(conn, make([]byte, len(consent)))
			require.NoError(t, err)
			err = tls.Client(conn, &tls.Config{
				Certificates:       []tls.Certificate{*newIdentity(t).Certificate()},
				InsecureSkipVerify: true,
				MinVersion:         test.offered,
				MaxVersion:         test.offered,
			}).Handshake()
			assert.Equal(t, test.taken, err == nil, "%v", err)
		})
	}
}

// badAcceptor returns neither a stream nor an error.
type badAcceptor struct{ *memoryAcceptor }

func (badAcceptor) Accept() (handlers.Stream, error) { return handlers.Stream{}, nil }

// lines is where a log goes.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestAnAcceptorThatReturnsNothingIsNotAskedAgain(t *testing.T) {
	log := make(lines, 100)
	tb := newTub(t, &tub.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	_, err := tb.Listen(badAcceptor{newMemory().listen("mem:bad")})
	require.NoError(t, err)
	select {
	case line := <-log:
		assert.Contains(t, line, "no stream, and no error")
	case <-within(t).Done():
		t.Fatal("nothing is logged")
	}
	require.NoError(t, tb.Close())
	assert.Empty(t, log, "it has ended with that")
}
