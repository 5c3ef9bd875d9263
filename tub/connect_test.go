package tub_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAllWhoConnectToATubShareOneConnection(t *testing.T) {
	var seen, dialled events
	server := newServer(t, &tub.Options{Observer: seen.observe})
	client := newTub(t, &tub.Options{Observer: dialled.observe})
	f, g := register(t, server, calculator()), register(t, server, calculator())
	refs := make([]*tub.Ref, 40)
	var wg sync.WaitGroup
	for i := range refs {
		wg.Go(func() {
			var err error
			switch i % 4 {
			case 0:
				refs[i], err = client.Connect(within(t), f)
			case 1:
				refs[i], err = client.Connect(within(t), g)
			default:
				refs[i] = client.Ref(f)
				_, err = tub.Call[int](within(t), refs[i], "add", i, i)
			}
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	for i, r := range refs {
		assert.Equal(t, 2*i, call[int](t, r, "add", i, i))
	}
	assert.Equal(t, []furl.TubID{server.TubID()}, client.Peers())
	assert.Equal(t, []furl.TubID{client.TubID()}, server.Peers())
	assert.Len(t, seen.of(tub.EventConnect), 1)
	eventually(t, func() bool { return len(dialled.of(tub.EventDial)) == 1 }, "one dial")
}

func TestAConnectionIsForBothSides(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	connect(t, client, register(t, server, calculator()))
	// The client has no listener: nobody could dial it.
	f := register(t, client, calculator())
	assert.Empty(t, f.Hints)
	assert.Equal(t, 3, call[int](t, connect(t, server, f), "add", 1, 2))
	assert.Equal(t, 3, call[int](t, server.Ref(f), "add", 1, 2))

	info, ok := server.Info(client.TubID())
	require.True(t, ok)
	assert.True(t, info.Connected)
	assert.True(t, info.Inbound)
	there, ok := client.Info(server.TubID())
	require.True(t, ok)
	assert.True(t, there.Connected)
	assert.False(t, there.Inbound)
	assert.NotEqual(t, info.Master, there.Master)
	assert.Equal(t, server.TubID() > client.TubID(), info.Master)
}

func TestDialsThatCrossLeaveOneConnection(t *testing.T) {
	for range 15 {
		a, b := newServer(t, nil), newServer(t, nil)
		fa, fb := register(t, a, calculator()), register(t, b, calculator())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { assert.Equal(t, 3, call[int](t, a.Ref(fb), "add", 1, 2)) })
			wg.Go(func() { assert.Equal(t, 5, call[int](t, b.Ref(fa), "add", 2, 3)) })
		}
		wg.Wait()
		assert.Equal(t, []furl.TubID{b.TubID()}, a.Peers())
		assert.Equal(t, []furl.TubID{a.TubID()}, b.Peers())
	}
}

// hint returns what became of a hint.
func hint(t testing.TB, info tub.ConnInfo, h furl.Hint) tub.HintStatus {
	t.Helper()
	for _, s := range info.Hints {
		if s.Hint == h {
			return s
		}
	}
	require.FailNow(t, "there is no such hint", "%s", h)
	return tub.HintStatus{}
}

func TestAllHintsAreTriedSideBySide(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	f := register(t, server, calculator())
	dead, silent, live, odd := deadHint(t), silentHint(t), f.Hints[0], furl.Hint("carrier-pigeon:roof")
	f = f.WithHints(silent, odd, dead, live)
	// The good one comes last.
	require.NoError(t, client.Handle("tcp", tcp.New(tcp.WithDialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		if "tcp:"+address == string(live) {
			eventually(t, func() bool {
				info, _ := client.Info(server.TubID())
				return hint(t, info, dead).Err != nil && hint(t, info, odd).Err != nil && hint(t, info, silent).Text == "plaintext"
			}, "the others are where they will be")
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}))))
	begun := time.Now()
	ref := connect(t, client, f)
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))

	info, ok := client.Info(server.TubID())
	require.True(t, ok)
	assert.True(t, info.Connected)
	assert.Equal(t, live, info.Winner)
	assert.NoError(t, info.Err)
	assert.NoError(t, info.Reason)
	assert.Zero(t, info.Lost)
	assert.WithinRange(t, info.Established, begun, time.Now())
	require.Len(t, info.Hints, 4)

	won := hint(t, info, live)
	assert.True(t, won.Won)
	assert.NoError(t, won.Err)
	assert.Equal(t, "tcp", won.Handler)
	assert.Equal(t, handlers.PhaseNegotiate, won.Phase)
	assert.WithinRange(t, won.Started, begun, info.Established)
	assert.Positive(t, won.Dialled)
	assert.Greater(t, won.Elapsed, won.Dialled)
	assert.Positive(t, won.Timings[negotiate.PhaseTLS])
	assert.Positive(t, won.Timings[negotiate.PhaseDecision])

	lost := hint(t, info, silent)
	assert.False(t, lost.Won)
	assert.NoError(t, lost.Err, "given up for the one that won")
	assert.Equal(t, handlers.PhaseNegotiate, lost.Phase)
	assert.Equal(t, "plaintext", lost.Text)

	refused := hint(t, info, dead)
	assert.ErrorIs(t, refused.Err, handlers.ErrUnreachable)
	assert.Equal(t, handlers.PhaseDial, refused.Phase)
	unhandled := hint(t, info, odd)
	assert.ErrorIs(t, unhandled.Err, handlers.ErrNoHandler)
	assert.Empty(t, unhandled.Handler)

	// A snapshot is the caller's.
	info.Hints[0] = tub.HintStatus{}
	again, _ := client.Info(server.TubID())
	assert.NotEmpty(t, again.Hints[0].Hint)

	require.NoError(t, server.Close())
	eventually(t, func() bool { i, _ := client.Info(server.TubID()); return !i.Lost.IsZero() }, "the loss is noticed")
	after, ok := client.Info(server.TubID())
	require.True(t, ok)
	assert.False(t, after.Connected)
	assert.ErrorIs(t, after.Reason, tub.ErrLost)
	assert.Equal(t, live, after.Winner)
	assert.Equal(t, info.Established, after.Established)
	assert.True(t, again.Connected, "what was seen before does not change")
	assert.Zero(t, again.Lost)
}

func TestAnErrorHasTheFateOfEveryHint(t *testing.T) {
	server, other, client := newServer(t, nil), newServer(t, nil), newTub(t, nil)
	f := register(t, server, calculator())
	dead, odd, elsewhere := deadHint(t), furl.Hint("carrier-pigeon:roof"), other.Hints()[0]
	f = f.WithHints(dead, odd, elsewhere)
	_, err := client.Connect(within(t), f)
	var failed *tub.DialError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, server.TubID(), failed.Peer)
	assert.NoError(t, failed.Err)
	require.Len(t, failed.Hints, 3)
	for i, want := range []error{handlers.ErrUnreachable, handlers.ErrNoHandler, negotiate.ErrUnknownTub} {
		assert.ErrorIs(t, failed.Hints[i].Err, want)
		assert.ErrorIs(t, err, want)
		var one *handlers.Error
		require.ErrorAs(t, failed.Hints[i].Err, &one)
		assert.Equal(t, f.Hints[i], one.Hint)
		assert.Equal(t, failed.Hints[i].Phase, one.Phase)
		assert.Contains(t, err.Error(), string(f.Hints[i]))
	}
	assert.NotErrorIs(t, err, handlers.ErrWrongTub)
	assert.Contains(t, err.Error(), server.TubID().Short())
	assert.NotContains(t, err.Error(), f.Name.Reveal())
	assert.NotContains(t, err.Error(), "\n")

	info, ok := client.Info(server.TubID())
	require.True(t, ok)
	assert.Equal(t, err, info.Err)
	assert.False(t, info.Connected)
	// The error is its owner's, too.
	failed.Hints[0].Err = nil
	assert.Error(t, info.Hints[0].Err)
	again, _ := client.Info(server.TubID())
	assert.Error(t, again.Hints[0].Err)

	_, err = tub.Call[int](within(t), client.Ref(f), "add", 1, 2)
	assert.ErrorAs(t, err, &failed)
}

func TestTheTubAtAHintMustBeTheOneOfTheFURL(t *testing.T) {
	expected, impostor, client := newTub(t, nil), newIdentity(t), newTub(t, nil)
	local, err := negotiate.NewLocal(negotiate.LocalConfig{
		Certificate: impostor.Certificate(),
		Ledger:      negotiate.NewLedger(negotiate.LedgerConfig{}),
	})
	require.NoError(t, err)
	a := newAcceptor(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		s, err := a.Accept()
		if !assert.NoError(t, err) {
			return
		}
		_, err = negotiate.Server(within(t), s.Conn, negotiate.ServerConfig{Find: func(furl.TubID) *negotiate.Local { return local }})
		assert.Error(t, err)
	})
	hints, _ := a.Hints()
	_, err = client.Connect(within(t), register(t, expected, calculator()).WithHints(hints...))
	wg.Wait()
	require.ErrorIs(t, err, handlers.ErrWrongTub)
	assert.ErrorIs(t, err, negotiate.ErrWrongTub)
	assert.ErrorContains(t, err, impostor.TubID().String())
	assert.NotContains(t, err.Error(), "\n")
}

func TestAFURLWithoutHintsNeedsAConnection(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	f := register(t, server, calculator())
	_, err := client.Connect(within(t), f.WithHints())
	var failed *tub.DialError
	require.ErrorAs(t, err, &failed)
	assert.Empty(t, failed.Hints)
	assert.ErrorContains(t, err, "no hints")

	connect(t, client, f)
	assert.Equal(t, 3, call[int](t, connect(t, client, f.WithHints()), "add", 1, 2))
	connect(t, client, f.WithHints(deadHint(t)))
}

func TestAFURLMustBeWhole(t *testing.T) {
	f := register(t, newTub(t, nil), calculator())
	client := newTub(t, nil)
	for name, bad := range map[string]furl.FURL{
		"nothing":   {},
		"no name":   {TubID: f.TubID, Hints: []furl.Hint{"tcp:127.0.0.1:1"}},
		"no TubID":  {Name: f.Name},
		"bad TubID": {TubID: "x", Name: f.Name},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Connect(within(t), bad)
			var failed *tub.DialError
			require.ErrorAs(t, err, &failed)
			assert.ErrorContains(t, err, "furl.Parse")
			_, err = tub.Call[any](within(t), client.Ref(bad), "add")
			assert.ErrorAs(t, err, &failed)
		})
	}
}

func TestNothingIsDialledForAContextThatIsOver(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	h := handle(t, client, map[string]dial{"tcp": hang})
	cause := errors.New("too late")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := client.Connect(ctx, register(t, server, calculator()))
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, cause)
	var failed *tub.DialError
	assert.ErrorAs(t, err, &failed)
	assert.Empty(t, h.seen())
}

// Whoever gives up must not take others with him.
func TestWhoJoinsAnAttemptIsNotHarmedByWhoLeavesIt(t *testing.T) {
	for name, first := range map[string]string{
		"whose dial stalls": "hang:x",
		"whose dial fails":  "fail:x",
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			server := newTub(t, nil)
			_, err := server.Listen(m.listen("mem:x"))
			require.NoError(t, err)
			f := register(t, server, calculator())
			for range 100 {
				client := newTub(t, nil)
				handle(t, client, map[string]dial{
					"mem":  m.dialer(),
					"hang": hang,
					"fail": func(context.Context, handlers.DialRequest) (handlers.Stream, error) {
						return handlers.Stream{}, errors.New("no way")
					},
				})
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := client.Connect(ctx, f.WithHints(furl.Hint(first)))
					assert.True(t, err == nil || errors.Is(err, context.Canceled) || errors.As(err, new(*tub.DialError)), "%v", err)
				})
				eventually(t, func() bool {
					_, begun := client.Info(server.TubID())
					return begun
				}, "the first has begun")
				wg.Go(cancel)
				wg.Go(func() {
					_, err := client.Connect(within(t), f)
					assert.NoError(t, err)
				})
				wg.Wait()
				require.NoError(t, client.Close())
			}
		})
	}
}

func TestAnAttemptTakesUpTheHintsOfWhoJoins(t *testing.T) {
	m := newMemory()
	server, client := newTub(t, nil), newTub(t, nil)
	_, err := server.Listen(m.listen("mem:x"))
	require.NoError(t, err)
	f := register(t, server, calculator())
	h := handle(t, client, map[string]dial{"mem": m.dialer(), "hang": hang})

	first := make(chan error, 1)
	go func() { _, err := client.Connect(within(t), f.WithHints("hang:x")); first <- err }()
	eventually(t, func() bool { return len(h.seen()) == 1 }, "the first hint is dialled")
	info, ok := client.Info(server.TubID())
	require.True(t, ok)
	require.Len(t, info.Hints, 1, "what is going on can be seen")
	assert.NoError(t, info.Hints[0].Err)

	ref := connect(t, client, f.WithHints("hang:x", "mem:x"))
	assert.NoError(t, <-first, "the connection is for both")
	assert.Len(t, h.seen(), 2, "no hint is dialled twice")
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	info, _ = client.Info(server.TubID())
	assert.Equal(t, furl.Hint("mem:x"), info.Winner)
	assert.Len(t, info.Hints, 2)
	assert.Equal(t, -1, client.Waiting(server.TubID()))
}

func TestAnAttemptTakesAConnectionThatThePeerOpens(t *testing.T) {
	m := newMemory()
	a, b := newTub(t, nil), newTub(t, nil)
	_, err := a.Listen(m.listen("mem:a"))
	require.NoError(t, err)
	h := handle(t, a, map[string]dial{"hang": hang})
	handle(t, b, map[string]dial{"mem": m.dialer()})
	done := make(chan int, 1)
	fb := register(t, b, calculator()).WithHints("hang:x")
	go func() { done <- call[int](t, a.Ref(fb), "add", 1, 2) }()
	eventually(t, func() bool { return len(h.seen()) == 1 }, "a dials in vain")
	connect(t, b, register(t, a, calculator()))
	assert.Equal(t, 3, <-done)
	info, _ := a.Info(b.TubID())
	assert.True(t, info.Connected)
	assert.True(t, info.Inbound)
	assert.Empty(t, info.Winner)
	require.Len(t, info.Hints, 1)
	assert.False(t, info.Hints[0].Won)
	assert.NoError(t, info.Hints[0].Err)
}

func TestOfALostConnectionANewOneIsMade(t *testing.T) {
	id := newIdentity(t)
	serve := func(address string) (*tub.Tub, furl.FURL) {
		tb := newTubOf(t, id, nil)
		a, err := tcp.Listen(t.Context(), address)
		require.NoError(t, err)
		_, err = tb.Listen(a)
		require.NoError(t, err)
		f, err := tb.RegisterAs("calculator", calculator())
		require.NoError(t, err)
		return tb, f
	}
	server, f := serve("127.0.0.1:0")
	client := newTub(t, nil)
	ref, live := client.Ref(f), connect(t, client, f)
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	info, _ := client.Info(f.TubID)

	require.NoError(t, server.Close())
	eventually(t, func() bool { return len(client.Peers()) == 0 }, "the loss is noticed")
	_, err := tub.Call[int](within(t), ref, "add", 1, 2)
	assert.ErrorIs(t, err, handlers.ErrUnreachable)
	serve(f.Hints[0].String()[len("tcp:"):])
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	_, err = tub.Call[int](within(t), live, "add", 1, 2)
	assert.ErrorIs(t, err, tub.ErrDeadReference)
	assert.ErrorIs(t, err, tub.ErrLost)
	var failed *tub.CallError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, tub.NotSent, failed.Sent)
	assert.Equal(t, 3, call[int](t, connect(t, client, f), "add", 1, 2))

	// The end of the old connection is not taken for that of the new one.
	again, _ := client.Info(f.TubID)
	assert.True(t, again.Connected)
	assert.Greater(t, again.Established, info.Established)
	assert.Zero(t, again.Lost)
}

func TestOnlyTheEndOfTheLastConnectionIsKept(t *testing.T) {
	tb, peer := newTub(t, nil), newIdentity(t).TubID()
	first, second := time.Now(), time.Now().Add(time.Second)
	tb.InfoRecorded(peer, "tcp:a:1", first)
	tb.InfoRecorded(peer, "tcp:b:1", second)
	tb.InfoLost(peer, first, tub.ErrReplaced)
	info, ok := tb.Info(peer)
	require.True(t, ok)
	assert.Zero(t, info.Lost)
	assert.NoError(t, info.Reason)
	tb.InfoLost(peer, second, tub.ErrLost)
	info, _ = tb.Info(peer)
	assert.NotZero(t, info.Lost)
	assert.Equal(t, tub.ErrLost, info.Reason)
}

func TestATubRemembersABoundedNumberOfOthers(t *testing.T) {
	tb := newTub(t, nil)
	id := func(i int) furl.TubID { return furl.TubIDOf([]byte{byte(i), byte(i >> 8)}) }
	for i := range tub.MaxInfos {
		tb.InfoRecorded(id(i), "tcp:a:1", time.Now())
	}
	tb.InfoRecorded(id(0), "tcp:a:1", time.Now())
	tb.InfoRecorded(id(tub.MaxInfos), "tcp:a:1", time.Now())
	_, ok := tb.Info(id(0))
	assert.True(t, ok, "the last used are kept")
	_, ok = tb.Info(id(1))
	assert.False(t, ok)
	_, ok = tb.Info(id(tub.MaxInfos))
	assert.True(t, ok)
	tb.InfoLost(id(1), time.Now(), tub.ErrLost)
	_, ok = tb.Info(id(1))
	assert.False(t, ok, "what is forgotten does not come back")
}

func TestNothingIsKnownOfATubThatWasNeverDialled(t *testing.T) {
	_, ok := newTub(t, nil).Info(newIdentity(t).TubID())
	assert.False(t, ok)
}

// shyConn hides that it is a connection of the kernel in the way in which
// transports do: it embeds one, and changes what is written.
type shyConn struct {
	*net.TCPConn
	written func(n int)
}

func (c *shyConn) Write(p []byte) (int, error) {
	c.written(len(p))
	return c.TCPConn.Write(p)
}

func TestWhatATransportPutsAroundASocketIsNotBypassed(t *testing.T) {
	server := newServer(t, nil)
	client := newTub(t, nil)
	var mu sync.Mutex
	written := 0
	require.NoError(t, client.Handle("tcp", tcp.New(tcp.WithDialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &shyConn{conn.(*net.TCPConn), func(n int) { mu.Lock(); written += n; mu.Unlock() }}, nil
	}))))
	ref := connect(t, client, register(t, server, calculator()))
	mu.Lock()
	before := written
	mu.Unlock()
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	mu.Lock()
	defer mu.Unlock()
	assert.Greater(t, written, before, "the call was written by the transport")
}
