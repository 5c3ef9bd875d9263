package tub_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// slow is an object whose method takes as long as a test wants.
func slow(g *gate) *tub.Object {
	return tub.NewObject(
		g.method("slow", nil, tub.Concurrent),
		tub.Method("quick", func(context.Context, tub.None) (int, error) { return 1, nil }),
	)
}

func TestShutdownLetsMethodsFinishAndTakesNoNewCalls(t *testing.T) {
	g := newGate()
	server, client := newServer(t, nil), newTub(t, nil)
	hints := server.Hints()
	f := register(t, server, slow(g))
	ref := connect(t, client, f)
	running, err := tub.Start[string](within(t), ref, "slow")
	require.NoError(t, err)
	<-g.begun

	done := make(chan error, 1)
	go func() { done <- server.Shutdown(within(t)) }()
	eventually(t, func() bool {
		_, err := tub.Call[int](within(t), ref, "quick")
		var failure *tub.Failure
		return errors.As(err, &failure) && errors.Is(err, tub.ErrShutdown)
	}, "new calls get an error")
	_, err = newTub(t, nil).Connect(within(t), f)
	assert.Error(t, err, "nor are there new connections")
	_, err = server.Register(calculator())
	assert.ErrorIs(t, err, tub.ErrTubClosed)
	assert.Empty(t, done)

	close(g.proceed)
	v, err := running.Wait(within(t))
	require.NoError(t, err)
	assert.Equal(t, "slow", v, "what ran has been answered")
	require.NoError(t, <-done)
	_, err = net.Dial("tcp", hints[0].String()[len("tcp:"):])
	assert.Error(t, err)
}

func TestShutdownCutsOffWhatTakesLongerThanItsContext(t *testing.T) {
	g := newGate()
	server, client := newServer(t, nil), newTub(t, nil)
	ref := connect(t, client, register(t, server, slow(g)))
	running, err := tub.Start[string](within(t), ref, "slow")
	require.NoError(t, err)
	<-g.begun
	defer close(g.proceed)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded)
	_, err = running.Wait(within(t))
	assert.ErrorIs(t, err, tub.ErrDeadReference)
	assert.Empty(t, server.Peers())
}

func TestCloseIsOfUseFromAnywhereAndAnyNumberOfTimes(t *testing.T) {
	t.Run("from many goroutines", func(t *testing.T) {
		p := newPair(t, nil, nil)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if i%2 == 0 {
					assert.NoError(t, p.server.Close())
				} else {
					p.server.Shutdown(within(t))
				}
			})
		}
		wg.Wait()
		assert.NoError(t, p.server.Close())
		assert.NoError(t, p.server.Shutdown(within(t)))
	})
	t.Run("from a method", func(t *testing.T) {
		server := newServer(t, nil)
		closed := make(chan error, 1)
		ref := connect(t, newTub(t, nil), register(t, server, tub.NewObject(
			tub.Method("close", func(context.Context, tub.None) (tub.None, error) {
				closed <- server.Close()
				return tub.None{}, nil
			}),
		)))
		_, err := tub.Call[tub.None](within(t), ref, "close")
		assert.ErrorIs(t, err, tub.ErrDeadReference)
		assert.NoError(t, <-closed)
	})
	t.Run("from one who is told of the end", func(t *testing.T) {
		p := newPair(t, nil, nil)
		closed := make(chan error, 1)
		p.ref.OnDisconnect(func(error) { closed <- p.client.Close() })
		require.NoError(t, p.server.Close())
		assert.NoError(t, <-closed)
	})
	t.Run("of a Tub that has done nothing", func(t *testing.T) {
		tb, err := tub.New(newIdentity(t), nil)
		require.NoError(t, err)
		assert.NoError(t, tb.Close())
	})
}

func TestAClosedTubIsOfNoUse(t *testing.T) {
	p := newPair(t, nil, nil)
	own := connect(t, p.client, register(t, p.client, calculator()))
	unresolved := p.client.Ref(p.furl)
	require.NoError(t, p.client.Close())
	for _, f := range []furl.FURL{p.furl, p.furl.WithHints(), named(t, p.client.TubID())} {
		_, err := p.client.Connect(within(t), f)
		var failed *tub.DialError
		require.ErrorAs(t, err, &failed)
		assert.ErrorIs(t, err, tub.ErrTubClosed)
		_, err = tub.Call[int](within(t), p.client.Ref(f), "add", 1, 2)
		assert.ErrorIs(t, err, tub.ErrTubClosed)
	}
	_, err := tub.Call[int](within(t), unresolved, "add", 1, 2)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
	_, err = tub.Call[int](within(t), p.ref, "add", 1, 2)
	assertNotSent(t, err, tub.ErrDeadReference, tub.ErrClosed)
	p.ref.Close()
	// Of the two ends of the loopback, one may see the other go first.
	_, err = tub.Call[int](within(t), own, "add", 1, 2)
	assertNotSent(t, err, tub.ErrDeadReference)
	own.Close()
	assert.Empty(t, p.client.Peers())
	assert.Empty(t, p.client.Hints())
	assert.NotEmpty(t, p.client.TubID())
	info, ok := p.client.Info(p.server.TubID())
	require.True(t, ok)
	assert.False(t, info.Connected)
	eventually(t, func() bool { return len(p.server.Peers()) == 0 }, "the peer notices")
}

// descriptors returns how many files and sockets the process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestATubThatIsClosedLeavesNothingOpen(t *testing.T) {
	// What other tests have closed goes away first.
	quiet := silentHint(t)
	eventually(t, func() bool { return len(ourGoroutines()) == 1 }, "only the hint is there")
	before := descriptors(t)
	for range 5 {
		server, err := tub.New(newIdentity(t), nil)
		require.NoError(t, err)
		a, err := tcp.Listen(t.Context(), "127.0.0.1:0")
		require.NoError(t, err)
		_, err = server.Listen(a)
		require.NoError(t, err)
		f := register(t, server, calculator())
		var clients []*tub.Tub
		for i := range 5 {
			client, err := tub.New(newIdentity(t), nil)
			require.NoError(t, err)
			clients = append(clients, client)
			ref := connect(t, client, f)
			call[int](t, ref, "add", 1, 2)
			call[any](t, ref, "echo", calculator())
			connect(t, client, register(t, client, calculator()))
			if i == 0 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				_, err := client.Connect(ctx, named(t, newIdentity(t).TubID(), quiet))
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				cancel()
			}
		}
		open := dialRaw(t, f.Hints[0].String()[len("tcp:"):])
		for i, client := range clients {
			if i%2 == 0 {
				require.NoError(t, client.Close())
			}
		}
		require.NoError(t, server.Close())
		for _, client := range clients {
			require.NoError(t, client.Shutdown(within(t)))
		}
		hungUp(t, open)
		open.Close()
	}
	eventually(t, func() bool { return len(ourGoroutines()) == 1 }, "all has ended")
	eventually(t, func() bool { return descriptors(t) <= before }, "all is closed: there were %d descriptors", before)
}

// On the way up, at every point, a Tub can be told to go.
func TestATubMayEndWhileItConnects(t *testing.T) {
	for name, ending := range map[string]func(server, client *tub.Tub) *tub.Tub{
		"the client": func(_, client *tub.Tub) *tub.Tub { return client },
		"the server": func(server, _ *tub.Tub) *tub.Tub { return server },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			for i := range 60 {
				server, client := newTub(t, nil), newTub(t, nil)
				_, err := server.Listen(m.listen("mem:x"))
				require.NoError(t, err)
				handle(t, client, map[string]dial{"mem": m.dialer()})
				f := register(t, server, calculator())
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := tub.Call[int](within(t), client.Ref(f), "add", 1, 2)
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
				})
				wg.Go(func() {
					// Each time a little later, without a clock.
					for range i * 200 {
						client.Peers()
					}
					assert.NoError(t, ending(server, client).Close())
				})
				wg.Wait()
				require.NoError(t, client.Close())
				require.NoError(t, server.Close())
			}
		})
	}
}

func TestClosingEndsNegotiationsThatComeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server := newTub(t, nil)
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		client := newTub(t, nil)
		toMemory := m.dialer()
		stream, err := toMemory(t.Context(), dialRequest("mem:x"))
		require.NoError(t, err)
		defer stream.Close()
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, server.Close())
		assert.Zero(t, time.Since(begun))
		_, err = stream.Read(make([]byte, 1))
		assert.Error(t, err)
		assert.Empty(t, inBubble())
		require.NoError(t, client.Close())
	})
}

func TestASilentPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, &tub.Options{Keepalive: time.Minute, DisconnectTimeout: 3 * time.Minute})
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		frozen := make(chan struct{})
		toMemory := m.dialer()
		handle(t, client, map[string]dial{"mem": freezing(toMemory, frozen)})
		ref, err := client.Connect(t.Context(), register(t, server, calculator()))
		require.NoError(t, err)
		defer ref.Close()
		time.Sleep(time.Hour)
		assert.Len(t, client.Peers(), 1, "it answers PINGs")
		close(frozen)
		lost := make(chan error, 1)
		ref.OnDisconnect(func(reason error) { lost <- reason })
		begun := time.Now()
		assert.ErrorIs(t, <-lost, tub.ErrSilent)
		assert.LessOrEqual(t, time.Since(begun), 3*time.Minute)
		assert.Greater(t, time.Since(begun), time.Minute)
	})
}

func TestPeersAreAskedBeforeTheyAreGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		keepalive, disconnect time.Duration
		works                 bool
	}{
		"shorter than the default of Keepalive": {0, time.Minute, false},
		"equal":                                 {time.Minute, time.Minute, false},
		"longer":                                {time.Minute, 2 * time.Minute, true},
		"nobody is ever asked":                  {-1, time.Minute, true},
		"nobody is ever given up":               {time.Hour, 0, true},
	} {
		tb, err := tub.New(newIdentity(t), &tub.Options{Keepalive: c.keepalive, DisconnectTimeout: c.disconnect})
		if !c.works {
			assert.ErrorContains(t, err, "option DisconnectTimeout", name)
			continue
		}
		require.NoError(t, err, name)
		assert.NoError(t, tb.Close(), name)
	}
}
