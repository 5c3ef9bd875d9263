package tub_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

// What takes time runs on the clock of synctest: it stands still while
// anything is going on.

// inBubble returns the stacks of the goroutines that the packages under test
// have going in the bubble of the test, but for the peers that the test plays.
func inBubble() (stacks []string) {
	synctest.Wait()
	for _, stack := range ourGoroutines() {
		if strings.Contains(stack, "synctest bubble") && !strings.Contains(stack, "tub_test.speaking") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

func silent(net.Conn) {}

// agreeToTLS answers as a Foolscap server does before TLS.
func agreeToTLS(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == "\r\n" {
			break
		}
	}
	io.WriteString(conn, consent)
}

// stallingConn lets so many writes through.
type stallingConn struct {
	net.Conn
	mu     sync.Mutex
	writes int
	closed chan struct{}
}

func (c *stallingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.writes--
	stall := c.writes < 0
	c.mu.Unlock()
	if stall {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *stallingConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.Conn.Close()
}

// negotiator is a peer that speaks the protocol as far as a test wants.
func negotiator(t testing.TB, id *tub.Identity) *negotiate.Local {
	t.Helper()
	local, err := negotiate.NewLocal(negotiate.LocalConfig{
		Certificate: id.Certificate(),
		Ledger:      negotiate.NewLedger(negotiate.LedgerConfig{}),
	})
	require.NoError(t, err)
	return local
}

// named returns the FURL of something that a Tub may have.
func named(t testing.TB, id furl.TubID, hints ...furl.Hint) furl.FURL {
	t.Helper()
	return furl.FURL{TubID: id, Hints: hints, Name: furl.NewSwissnum()}
}

func TestADialEndsWithItsContextInEveryPhase(t *testing.T) {
	for _, test := range []struct {
		name  string
		phase handlers.Phase
		text  string
		dial  func(t *testing.T, server, client *tub.Identity) dial
	}{
		{"in the handler", handlers.PhaseProxy, "waiting for nobody", func(*testing.T, *tub.Identity, *tub.Identity) dial { return hang }},
		{"before the answer to the request", handlers.PhaseNegotiate, "plaintext", func(t *testing.T, _, _ *tub.Identity) dial {
			return speaking(t, nil, silent)
		}},
		{"in TLS", handlers.PhaseNegotiate, "TLS", func(t *testing.T, _, _ *tub.Identity) dial {
			return speaking(t, nil, agreeToTLS)
		}},
		{"before the peer's hello", handlers.PhaseNegotiate, "hello", func(t *testing.T, server, _ *tub.Identity) dial {
			return speaking(t, server.Certificate().Leaf, silent)
		}},
		{"before the decision", handlers.PhaseNegotiate, "decision", func(t *testing.T, server, client *tub.Identity) dial {
			local := negotiator(t, server)
			return speaking(t, server.Certificate().Leaf, func(conn net.Conn) {
				stalling := &stallingConn{Conn: conn, writes: 1, closed: make(chan struct{})}
				_, err := negotiate.Server(t.Context(), stalling, negotiate.ServerConfig{Local: local, Peer: client.Certificate().Leaf})
				assert.Error(t, err)
			})
		}},
	} {
		for name, end := range map[string]func(ctx context.Context) (_ context.Context, want []error, after time.Duration){
			"cancelled": func(ctx context.Context) (context.Context, []error, time.Duration) {
				cause := errors.New("changed my mind")
				ctx, cancel := context.WithCancelCause(ctx)
				time.AfterFunc(2*time.Second, func() { cancel(cause) })
				return ctx, []error{context.Canceled, cause}, 2 * time.Second
			},
			"timed out": func(ctx context.Context) (context.Context, []error, time.Duration) {
				cause := errors.New("not that long")
				ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Second, cause)
				context.AfterFunc(ctx, cancel)
				return ctx, []error{context.DeadlineExceeded, cause}, 3 * time.Second
			},
		} {
			t.Run(test.name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					serverID, clientID := newIdentities(t) // the server is the master
					client := newTubOf(t, clientID, nil)
					handle(t, client, map[string]dial{"x": test.dial(t, serverID, clientID)})
					ctx, want, after := end(t.Context())
					begun := time.Now()
					_, err := client.Connect(ctx, named(t, serverID.TubID(), "x:y"))
					assert.Equal(t, after, time.Since(begun))
					var failed *tub.DialError
					require.ErrorAs(t, err, &failed)
					for _, e := range want {
						assert.ErrorIs(t, err, e)
					}
					require.Len(t, failed.Hints, 1)
					assert.Equal(t, test.phase, failed.Hints[0].Phase)
					assert.Equal(t, test.text, failed.Hints[0].Text)
					assert.Contains(t, err.Error(), "x:y: still in phase "+string(test.phase)+" ("+test.text+")")
					assert.Empty(t, inBubble(), "the dial has ended")
					assert.Equal(t, -1, client.Waiting(serverID.TubID()))
				})
			})
		}
	}
}

func TestALookUpEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, nil)
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		server.OnLookup(func(ctx context.Context, _ string) (*tub.Object, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		handle(t, client, map[string]dial{"mem": m.dialer()})
		f := named(t, server.TubID(), "mem:x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		_, err = client.Connect(ctx, f)
		assert.Equal(t, time.Minute, time.Since(begun))
		var failed *tub.CallError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, tub.MayHaveRun, failed.Sent)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotContains(t, err.Error(), f.Name.Reveal())
	})
}

func TestClosingTheTubEndsItsDials(t *testing.T) {
	for name, d := range map[string]func(t *testing.T) dial{
		"in the handler": func(*testing.T) dial { return hang },
		"in negotiation": func(t *testing.T) dial { return speaking(t, nil, silent) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newTub(t, nil)
				h := handle(t, client, map[string]dial{"x": d(t)})
				time.AfterFunc(time.Second, func() { client.Close() })
				begun := time.Now()
				f := named(t, newIdentity(t).TubID(), "x:y")
				_, err := client.Connect(t.Context(), f)
				assert.ErrorIs(t, err, tub.ErrTubClosed)
				var failed *tub.DialError
				assert.ErrorAs(t, err, &failed)
				assert.Equal(t, time.Second, time.Since(begun))
				assert.Empty(t, inBubble())
				assert.Equal(t, 1, h.closes())

				_, err = client.Connect(t.Context(), f)
				assert.ErrorIs(t, err, tub.ErrTubClosed)
				assert.Len(t, h.seen(), 1)
			})
		})
	}
}

func TestPhasesThatLastTooLongEndTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newTub(t, &tub.Options{Stagger: time.Nanosecond, NegotiationTimeouts: negotiate.Timeouts{Plaintext: 7 * time.Second}})
		handle(t, client, map[string]dial{"hang": hang, "x": speaking(t, nil, silent)})
		begun := time.Now()
		_, err := client.Connect(t.Context(), named(t, newIdentity(t).TubID(), "x:y", "hang:y"))
		assert.Equal(t, time.Minute, time.Since(begun).Truncate(time.Microsecond), "as long as the handler allows")
		assert.ErrorIs(t, err, negotiate.ErrTimeout)
		assert.ErrorIs(t, err, handlers.ErrTimeout)
		var failed *tub.DialError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, 7*time.Second, failed.Hints[0].Elapsed)
		assert.Equal(t, time.Minute, failed.Hints[1].Elapsed)
		assert.Equal(t, 7*time.Second, failed.Hints[0].Timings[negotiate.PhasePlaintext])
		assert.Equal(t, "plaintext", failed.Hints[0].Text)
		assert.NoError(t, failed.Err)
	})
}

// A hint that leads to the Tub and then stalls has the slot in which it may
// say hello, but not for ever.
func TestAHintThatStallsAfterTLSDoesNotStopAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, &tub.Options{Stagger: time.Nanosecond})
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		f := register(t, server, calculator())
		toMemory := m.dialer()
		late := func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			time.Sleep(time.Second) // on the clock of the bubble: the other has the slot by now
			return toMemory(ctx, req)
		}
		stall := speaking(t, server.Leaf(), silent)
		handle(t, client, map[string]dial{"mem": late, "stall": stall})
		begun := time.Now()
		ref, err := client.Connect(t.Context(), f.WithHints("stall:x", "mem:x"))
		require.NoError(t, err)
		defer ref.Close()
		assert.Equal(t, tub.SlotTime, time.Since(begun).Truncate(time.Microsecond))
		info, _ := client.Info(server.TubID())
		assert.Equal(t, furl.Hint("mem:x"), info.Winner)
		won := hint(t, info, "mem:x")
		assert.Equal(t, tub.SlotTime-time.Second, won.Timings[negotiate.PhaseSlot].Round(time.Microsecond))
		assert.Equal(t, tub.SlotTime, won.Elapsed.Round(time.Microsecond))
		stalled := hint(t, info, "stall:x")
		assert.Equal(t, "hello", stalled.Text)
		assert.NoError(t, stalled.Err)
		v, err := tub.Call[int](t.Context(), ref, "add", 1, 2)
		require.NoError(t, err)
		assert.Equal(t, 3, v)
	})
}

// The slot is handed on at once when its owner fails.
func TestAHintThatFailsAfterTLSHandsOnItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, nil)
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		f := register(t, server, calculator())
		toMemory := m.dialer()
		handle(t, client, map[string]dial{
			"mem": func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
				time.Sleep(time.Second)
				return toMemory(ctx, req)
			},
			"fail": speaking(t, server.Leaf(), func(conn net.Conn) {
				time.Sleep(2 * time.Second)
				conn.Close()
			}),
		})
		begun := time.Now()
		ref, err := client.Connect(t.Context(), f.WithHints("fail:x", "mem:x"))
		require.NoError(t, err)
		defer ref.Close()
		assert.Equal(t, 2*time.Second, time.Since(begun))
	})
}

// What a server observes of several hints that lead to it: one offer.
func TestThePeerSeesOneHelloOfManyHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var seen events
		server, client := newTub(t, &tub.Options{Observer: seen.observe}), newTub(t, nil)
		hints := []furl.Hint{"mem:a", "mem:b", "mem:c"}
		for _, h := range hints {
			_, err := server.Listen(m.listen(h))
			require.NoError(t, err)
		}
		handle(t, client, map[string]dial{"mem": m.dialer()})
		ref, err := client.Connect(t.Context(), register(t, server, calculator()))
		require.NoError(t, err)
		defer ref.Close()
		synctest.Wait()
		assert.Len(t, seen.of(tub.EventConnect), 1)
		for _, e := range seen.of(tub.EventNegotiate) {
			assert.NotErrorIs(t, e.Err, negotiate.ErrDuplicate)
		}
	})
}

// duplicate is a dial to a master that believes in another connection.
func duplicate(t testing.TB, master *tub.Identity) dial {
	return speaking(t, master.Certificate().Leaf, func(conn net.Conn) {
		// Nobody reads yet: what is written is taken while our hello comes in.
		go io.WriteString(conn, "banana-decision-version: 1\r\nerror: Duplicate connection\r\n\r\n")
	})
}

// When the master refuses a dial because there is another connection, that one
// is waited for.
func TestAfterARefusalTheOtherConnectionIsWaitedFor(t *testing.T) {
	t.Run("and comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			masterID, slaveID := newIdentities(t)
			master, slave := newTubOf(t, masterID, nil), newTubOf(t, slaveID, nil)
			_, err := slave.Listen(m.listen("mem:slave"))
			require.NoError(t, err)
			handle(t, master, map[string]dial{"mem": m.dialer()})
			handle(t, slave, map[string]dial{"dup": duplicate(t, masterID)})
			begun := time.Now()
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				time.Sleep(10 * time.Second)
				r, err := master.Connect(t.Context(), register(t, slave, calculator()))
				if assert.NoError(t, err) {
					r.Close()
				}
			})
			ref := slave.Ref(register(t, master, calculator()).WithHints("dup:x"))
			defer ref.Close()
			sum, err := tub.Call[int](t.Context(), ref, "add", 1, 2)
			require.NoError(t, err)
			assert.Equal(t, 3, sum)
			assert.Equal(t, 10*time.Second, time.Since(begun))
		})
	})
	t.Run("and does not come", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			masterID, slaveID := newIdentities(t)
			slave := newTubOf(t, slaveID, nil)
			handle(t, slave, map[string]dial{"dup": duplicate(t, masterID)})
			begun := time.Now()
			_, err := slave.Connect(t.Context(), named(t, masterID.TubID(), "dup:x"))
			assert.Equal(t, tub.DuplicateWait, time.Since(begun))
			assert.ErrorIs(t, err, negotiate.ErrDuplicate)
			var failed *tub.DialError
			require.ErrorAs(t, err, &failed)
			assert.ErrorIs(t, failed.Err, negotiate.ErrDuplicate)
			assert.Empty(t, inBubble())
		})
	})
	t.Run("and whoever comes meanwhile with another hint is not disappointed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			masterID, slaveID := newIdentities(t)
			slave := newTubOf(t, slaveID, nil)
			handle(t, slave, map[string]dial{"dup": duplicate(t, masterID), "hang": hang})
			f := named(t, masterID.TubID(), "dup:x")
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				time.Sleep(tub.DuplicateWait - time.Second)
				begun := time.Now()
				_, err := slave.Connect(t.Context(), f.WithHints("hang:x"))
				assert.ErrorIs(t, err, handlers.ErrTimeout)
				assert.GreaterOrEqual(t, time.Since(begun), time.Minute, "its own hint has had its time")
			})
			_, err := slave.Connect(t.Context(), f)
			assert.ErrorIs(t, err, negotiate.ErrDuplicate)
		})
	})
}

// The old connection of a peer that has vanished and come back may take its
// time to end. Its successor does not wait for that.
func TestAConnectionThatIsReplacedHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		serverID, clientID := newIdentities(t) // the server decides
		server := newTubOf(t, serverID, nil)
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		f := register(t, server, calculator())
		stuck := make(chan struct{})
		toMemory := m.dialer()
		vanished, again := newTubOf(t, clientID, nil), newTubOf(t, clientID, nil)
		handle(t, vanished, map[string]dial{"mem": func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			s, err := toMemory(ctx, req)
			s.Conn = &stuckConn{Conn: s.Conn, stuck: stuck, closed: make(chan struct{})}
			return s, err
		}})
		handle(t, again, map[string]dial{"mem": toMemory})
		first, err := vanished.Connect(t.Context(), f)
		require.NoError(t, err)
		defer first.Close()
		close(stuck)
		_, err = tub.Start[int](t.Context(), first, "add", 1, 2)
		require.NoError(t, err) // its answer is the last that goes out
		synctest.Wait()
		begun := time.Now()
		second, err := again.Connect(t.Context(), f)
		require.NoError(t, err)
		defer second.Close()
		assert.Zero(t, time.Since(begun))
		assert.Equal(t, []furl.TubID{clientID.TubID()}, server.Peers())
	})
}
