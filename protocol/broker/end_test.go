package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

func TestWhatEndsAConnectionIsItsReason(t *testing.T) {
	late := func(b []byte) (string, bool) {
		_, text, ok := strings.Cut(string(b), "error: ")
		return text, ok
	}
	refusal := "banana-decision-version: 1\r\nerror: You can't handle banana version 3\r\n\r\n"
	for _, test := range []struct {
		name  string
		end   func(p *peer)
		is    error  // errors.Is
		text  string // of the reason
		error bool   // the peer is told
	}{
		{"the peer closes", func(p *peer) { p.conn.Close() }, ErrLost, "", false},
		{"the peer closes within a message", func(p *peer) { p.write([]byte{0, 0x88, 11, 0x87}); p.conn.Close() }, io.ErrUnexpectedEOF, "", false},
		{"the peer closes within a string", func(p *peer) { p.write(callHead(1 << 20)); p.conn.Close() }, io.ErrUnexpectedEOF, "", false},
		{"the peer closes within a header", func(p *peer) { p.write([]byte{0, 0}); p.conn.Close() }, ErrLost, "", false},
		{"the peer sends an ERROR", func(p *peer) { p.write(banana.AppendError(nil, "I do not like you")) }, nil, "I do not like you", false},
		{"the peer sends an ERROR within a message", func(p *peer) { p.write(append([]byte{0, 0x88}, banana.AppendError(nil, "no")...)) }, nil, `"no"`, false},
		{"bytes that are no token", func(p *peer) { p.write([]byte{1, 2, 3, 0xff}) }, nil, "invalid token type 0xff", true},
		{"a token where none may be", func(p *peer) { p.send(5) }, nil, "INT(5) at top level", true},
		{"a call of nothing", func(p *peer) { p.send(seq{"call"}) }, nil, "CLOSE", true},
		{"a negative request number", func(p *peer) { p.send(seq{"call", -1, 1, "x"}) }, nil, "negative request number", true},
		{"a negative number of arguments", func(p *peer) { p.send(seq{"call", 1, 1, "none", seq{"arguments", -1}}) }, nil, "negative number of arguments", true},
		{"a late refusal that is short", func(p *peer) { p.write([]byte("error: no\r\n\r\n")); p.conn.Close() }, ErrLost, "no", false},
		{"a late refusal", func(p *peer) { p.write([]byte(refusal)) }, ErrLost, "You can't handle banana version 3", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			noLeaks(t)
			a, b := pipePair(t)
			a.LateRefusal = late
			s, p := peerOf(t, a, b.Conn, nil)
			s.publish(1, noneRoot())
			reasons := make(chan error, 1)
			s.OnDisconnect(func(reason error) { reasons <- reason })
			test.end(p)
			if test.error {
				require.NotEmpty(t, p.dropped())
			}
			reason := within(t, "the end is told", reasons)
			within(t, "nothing is left of it", s.Done())
			require.Equal(t, s.Err(), reason)
			if test.is != nil {
				require.ErrorIs(t, reason, test.is)
			}
			require.Contains(t, reason.Error(), test.text)
			require.ErrorIs(t, context.Cause(s.Context()), reason)
			require.Len(t, s.logs.containing("connection ended"), 1)
		})
	}
}

// callHead is a call that will bring a string.
func callHead(n int) []byte {
	b := banana.AppendWord(banana.AppendToken(nil, banana.TypeOpen, 0), 1, "call")
	b = banana.AppendString(banana.AppendInt(banana.AppendInt(b, 1), 1), "x")
	b = banana.AppendWord(banana.AppendToken(b, banana.TypeOpen, 1), 1, "arguments")
	return banana.AppendToken(banana.AppendInt(b, 1), banana.TypeString, uint64(n))
}

func TestThePeerIsToldWhyEvenBehindWhatIsBeingSent(t *testing.T) {
	s, p := newPeer(t, nil)
	s.publish(1, noneRoot(method("give", func(context.Context) ([]byte, error) { return pattern(200<<10, 1), nil })))
	p.send(callSeq(1, 1, "give"), callSeq(2, 1, "none"))
	eventually(t, "an answer is being written", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.send.first != nil && s.send.first.m.Started() && s.turns.active == 0
	})
	p.send(5)
	eventually(t, "the fault is seen", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.send.farewell != nil
	})
	require.EqualValues(t, 1, p.receive().request(), "it is not cut short")
	require.NotEmpty(t, p.dropped(), "what waits behind it is not sent any more")
}

func TestAPeerThatDoesNotListenIsNotToldForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newPeer(t, nil)
		r := p.offer(s, 1)
		q, _, err := begin[any](t.Context(), r, "m", pattern(1<<20, 1))
		require.NoError(t, err)
		synctest.Wait()
		began := time.Now()
		p.send(5)
		<-s.Done()
		require.Equal(t, tellTime, time.Since(began))
		var protocol *banana.ProtocolError
		require.ErrorAs(t, s.Err(), &protocol, "not that it could not be told")
		require.ErrorIs(t, q.Wait(t.Context()), ErrDeadReference)
		r.Close()
	})
}

func TestDisconnectIsToldOnce(t *testing.T) {
	s, p := newPeer(t, nil)
	var told, withdrawn atomic.Int32
	for range 10 {
		s.OnDisconnect(func(error) { told.Add(1) })
		s.OnDisconnect(func(error) { withdrawn.Add(1) })()
	}
	p.conn.Close()
	within(t, "all is over", s.Done())
	require.EqualValues(t, 10, told.Load())
	require.Zero(t, withdrawn.Load())
	s.Close(errors.New("another reason"))
	require.ErrorIs(t, s.Err(), ErrLost)
	require.EqualValues(t, 10, told.Load())

	reasons := make(chan error, 1)
	stop := s.OnDisconnect(func(err error) { reasons <- err })
	require.Equal(t, s.Err(), within(t, "who comes late is told at once", reasons))
	stop()
}

func TestDoneWaitsForEverything(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		g := newGate()
		root := NewObject("", nil, method("stubborn", func(context.Context) (any, error) {
			g.pass("method")
			return nil, nil
		}))
		c, s := connect(t, n, nil, root)
		s.OnDisconnect(func(error) { g.pass("watcher") })
		_, _, err := begin[any](t.Context(), c.root(t), "stubborn")
		require.NoError(t, err)
		within(t, "the method runs", g.entered)
		s.Close(nil)
		within(t, "the watcher runs", g.entered)
		select {
		case <-s.Done():
			t.Fatal("a method still runs")
		default:
		}
		close(g.open)
		within(t, "it is done", s.Done())
	})
}

func TestEverythingOutstandingFailsWhenTheConnectionEnds(t *testing.T) {
	why := errors.New("the test wants it")
	for _, test := range []struct {
		name string
		end  func(s *side, p *peer)
		is   error
	}{
		{"closed here", func(s *side, _ *peer) { s.Close(why) }, why},
		{"closed by the peer", func(_ *side, p *peer) { p.conn.Close() }, ErrLost},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, p := newPeer(t, nil)
			r := p.offer(s, 1)
			results := make(chan error, 100)
			wait := func(q *Pending) { results <- q.Wait(context.Background()) }
			sent, _, err := begin[any](t.Context(), r, "sent")
			require.NoError(t, err)
			require.Equal(t, "sent", p.receive().method())
			go wait(sent)
			require.ErrorIs(t, func() error {
				// Its first bytes are taken by the peer.
				go func() {
					results <- r.Call(context.Background(), "half", Args{Positional: []any{pattern(1<<20, 1)}}, nil, nil)
				}()
				_, err := io.ReadFull(p.conn, make([]byte, 100))
				if err == nil {
					err = io.EOF
				}
				return err
			}(), io.EOF)
			unsent := 0
			for range 20 {
				q, _, err := begin[any](t.Context(), r, "unsent", r2(r), NewObject("", nil))
				require.NoError(t, err)
				go wait(q)
				unsent++
			}
			eventually(t, "all is queued", func() bool { return s.Tables().Outbound == 22 })
			test.end(s, p)
			count := map[Sent]int{}
			for range 22 {
				err := within(t, "every call ends", results)
				require.ErrorIs(t, err, ErrDeadReference)
				require.ErrorIs(t, err, test.is)
				count[callError(t, err).Sent]++
			}
			require.Equal(t, map[Sent]int{NotSent: unsent, MayHaveRun: 2}, count)

			// And so does everything from now on.
			for _, err := range []error{
				r.Call(t.Context(), "m", Args{}, nil, nil),
				r.Send(t.Context(), "m", Args{}),
				func() error { _, _, err := begin[any](t.Context(), r, "m"); return err }(),
				func() error { _, err := s.GetReference(t.Context(), "root"); return err }(),
			} {
				require.ErrorIs(t, err, ErrDeadReference)
				require.ErrorIs(t, err, test.is)
				require.Equal(t, NotSent, callError(t, err).Sent)
			}
			r.Close()
			within(t, "nothing is left", s.Done())
		})
	}
}

func TestAReferenceOfADeadConnectionIsNotSentOverAnother(t *testing.T) {
	c, _ := connect(t, networks[0], nil, everything())
	c2, _ := connect(t, networks[0], nil, everything())
	r, other := c.root(t), c2.root(t)
	_, err := call[any](t.Context(), r, "echo", r2(other))
	require.ErrorIs(t, err, ErrNoFURL)
	require.Equal(t, NotSent, callError(t, err).Sent)
	c2.Close(nil)
	_, err = call[any](t.Context(), r, "echo", r2(other))
	require.ErrorIs(t, err, ErrDeadReference)
	require.Equal(t, NotSent, callError(t, err).Sent)
	r.Close()
	other.Close()
}

func TestRunningMethodsLearnOfTheEnd(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		why := errors.New("the test wants it")
		causes := make(chan error, 1)
		running := make(chan struct{})
		c, s := connect(t, n, nil, NewObject("", nil, method("wait", func(ctx context.Context) (any, error) {
			assert.NotNil(t, FromContext(ctx))
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			close(running)
			<-inner.Done()
			causes <- context.Cause(inner)
			return nil, nil
		})))
		require.Nil(t, FromContext(t.Context()))
		_, _, err := begin[any](t.Context(), c.root(t), "wait")
		require.NoError(t, err)
		within(t, "it runs", running)
		s.Close(why)
		require.ErrorIs(t, within(t, "it is told", causes), why)
	})
}

func TestNothingStartsAfterTheEnd(t *testing.T) {
	var started atomic.Int32
	g := newGate()
	s, p := newPeer(t, nil)
	s.publish(1, NewObject("", nil, method("m", func(context.Context) (any, error) {
		started.Add(1)
		g.pass("")
		return nil, nil
	})))
	for i := range 100 {
		p.send(callSeq(i+1, 1, "m"))
	}
	within(t, "one runs", g.entered)
	eventually(t, "all are there", func() bool { return s.Tables().Inbound == 100 })
	s.Close(nil)
	close(g.open)
	within(t, "all is over", s.Done())
	require.EqualValues(t, 1, started.Load())
}

func TestClosingInTheMiddleOfEverythingLeavesNothing(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		var k keeper
		for i := range 20 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				c, s := connect(t, n, k.object(), k.object())
				toServer, toClient := c.root(t), s.root(t)
				var wg sync.WaitGroup
				for w, r := range []*Remote{toServer, toClient, toServer, toClient} {
					wg.Go(func() {
						obj := NewObject("", nil)
						for j := 0; ; j++ {
							var err error
							switch (w + j) % 4 {
							case 0:
								_, err = call[any](context.Background(), r, "echo", pattern(50<<10, 1))
							case 1:
								_, err = call[any](context.Background(), r, "hold", []any{obj, obj})
							case 2:
								err = r.Send(context.Background(), "hold", Args{Positional: []any{[]any{obj}}})
							default:
								var q *Pending
								if q, _, err = begin[any](context.Background(), r, "drop"); err == nil {
									err = q.Wait(context.Background())
								}
							}
							if err != nil {
								var f *Failure // of a side that is shutting down
								if !errors.As(err, &f) || !strings.Contains(f.Text, ErrShutdown.Error()) {
									assert.ErrorIs(t, err, ErrDeadReference)
								}
								return
							}
							if j == 2*i {
								switch i % 4 {
								case 0:
									c.Close(nil)
								case 1:
									s.conn.Close()
								case 2:
									go c.Shutdown(context.Background())
								default:
									c.Close(nil)
									s.Close(nil)
								}
							}
						}
					})
				}
				wg.Wait()
				within(t, "one side ends", c.Done())
				within(t, "and the other", s.Done())
				k.take()
			})
		}
	})
}

func TestShutdownLetsRunningMethodsFinish(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		g := newGate()
		answer := pattern(4<<20, 1)
		c, s := connect(t, n, nil, NewObject("", nil,
			method("slow", func(ctx context.Context) ([]byte, error) {
				g.pass("")
				return answer, ctx.Err()
			}),
			method("quick", func(context.Context) (int, error) { return 1, nil }),
		))
		r := c.root(t)
		slow, v, err := begin[[]byte](t.Context(), r, "slow")
		require.NoError(t, err)
		within(t, "it runs", g.entered)
		queued, w, err := begin[int](t.Context(), r, "quick")
		require.NoError(t, err)
		eventually(t, "both are there", func() bool { return s.Tables().Inbound == 2 })

		down := make(chan error, 2)
		go func() { down <- s.Shutdown(context.Background()) }()
		go func() { down <- s.Shutdown(context.Background()) }() // both wait
		eventually(t, "it takes no new calls", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.closing
		})
		_, err = call[int](t.Context(), r, "quick")
		var f *Failure
		require.ErrorAs(t, err, &f)
		require.Contains(t, f.Text, ErrShutdown.Error())
		require.NoError(t, s.Err())
		close(g.open)
		require.NoError(t, slow.Wait(t.Context()))
		requireSame(t, answer, *v)
		require.NoError(t, queued.Wait(t.Context()), "what has arrived before is run")
		require.Equal(t, 1, *w)
		require.NoError(t, within(t, "it is down", down))
		require.NoError(t, within(t, "it is down", down))
		require.ErrorIs(t, s.Err(), ErrClosed)
		within(t, "the other side sees it", c.Done())
		require.ErrorIs(t, c.Err(), ErrLost)
		require.NoError(t, s.Shutdown(context.Background()), "again")
		r.Close()
	})
}

func TestShutdownSendsWhatIsQueued(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, 1)
	for range 5 {
		require.NoError(t, r.Send(t.Context(), "m", Args{Positional: []any{pattern(100<<10, 1)}}))
	}
	outstanding, _, err := begin[any](t.Context(), r, "outstanding")
	require.NoError(t, err)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	for range 5 {
		require.Equal(t, "m", p.receive().method())
	}
	require.Equal(t, "outstanding", p.receive().method())
	require.Nil(t, p.receive())
	require.NoError(t, within(t, "it is down", down))
	err = outstanding.Wait(t.Context())
	require.ErrorIs(t, err, ErrDeadReference)
	require.ErrorIs(t, err, ErrClosed)
	require.Equal(t, MayHaveRun, callError(t, err).Sent)
	r.Close()
}

func TestShutdownGivesUpWhenItsContextEnds(t *testing.T) {
	for name, stubborn := range map[string]bool{"the method obeys": false, "the method does not": true} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			causes := make(chan error, 1)
			s, p := newPeer(t, nil)
			s.publish(1, NewObject("", nil, method("slow", func(ctx context.Context) (any, error) {
				g.entered <- ""
				if stubborn {
					<-g.open
				}
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return nil, nil
			})))
			p.send(callSeq(1, 1, "slow"))
			within(t, "it runs", g.entered)
			ctx, cancel := context.WithCancel(t.Context())
			down := make(chan error, 1)
			go func() { down <- s.Shutdown(ctx) }()
			cancel()
			require.ErrorIs(t, within(t, "it is down", down), context.Canceled)
			require.ErrorIs(t, s.Err(), ErrClosed)
			close(g.open)
			require.ErrorIs(t, within(t, "the method is told", causes), ErrClosed)
		})
	}
}

func TestAMethodMayStillCallDuringShutdown(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		g := newGate()
		c, s := connect(t, n, nil, NewObject("", nil, NewMethod("relay", func(ctx context.Context, a withRef) (int, error) {
			g.pass("")
			defer a.Ref.Close()
			return call[int](ctx, a.Ref.Remote, "five")
		})))
		five := NewObject("", nil, method("five", func(context.Context) (int, error) { return 5, nil }))
		q, v, err := begin[int](t.Context(), c.root(t), "relay", five)
		require.NoError(t, err)
		within(t, "it runs", g.entered)
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		close(g.open)
		require.NoError(t, q.Wait(t.Context()))
		require.Equal(t, 5, *v)
		require.NoError(t, within(t, "it is down", down))
	})
}

func TestSilence(t *testing.T) {
	for _, test := range []struct {
		name                  string
		keepalive, disconnect time.Duration
		traffic               time.Duration // how often the peer sends something, 0 for never
		pings                 int           // within an hour, or until the end
		ends                  time.Duration // 0 for never
	}{
		{"is nobody's concern by default", 0, 0, 0, 0, 0},
		{"makes us ask", 4 * time.Minute, 0, 0, 14, 0}, // the last in the 56th minute
		{"ends the connection", 0, 10 * time.Minute, 0, 0, 10 * time.Minute},
		{"makes us ask before it ends the connection", 4 * time.Minute, 10 * time.Minute, 0, 2, 10 * time.Minute},
		{"ends the connection before we ask", 20 * time.Minute, 10 * time.Minute, 0, 0, 10 * time.Minute},
		{"that is short does not matter", 4 * time.Minute, 10 * time.Minute, 3 * time.Minute, 0, 0},
		{"that is longer makes us ask and no more", 4 * time.Minute, 10 * time.Minute, 6 * time.Minute, 10, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := newPeer(t, nil, func(c *Config) { c.Keepalive, c.Disconnect = test.keepalive, test.disconnect })
				began := time.Now()
				pings := make(chan int, 1)
				go func() {
					b := make([]byte, 100)
					n := 0
					for {
						k, err := p.conn.Read(b)
						if err != nil {
							pings <- n
							return
						}
						assert.Equal(t, []byte{byte(banana.TypePing)}, b[:k])
						n += k
					}
				}()
				if test.traffic > 0 {
					go func() {
						for time.Since(began) < time.Hour {
							time.Sleep(test.traffic)
							p.send(raw(banana.AppendPong(nil, nil)))
						}
					}()
				}
				select {
				case <-s.Done():
					require.Equal(t, test.ends, time.Since(began))
					require.ErrorIs(t, s.Err(), ErrSilent)
				case <-time.After(time.Hour - time.Second):
					require.Zero(t, test.ends)
					require.NoError(t, s.Err())
				}
				s.Close(nil)
				require.Equal(t, test.pings, <-pings)
				<-s.Done()
				time.Sleep(test.traffic + time.Minute)
			})
		})
	}
}

func TestASilentPeerThatAnswersPingsKeepsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noLeaks(t)
		a, b := pipePair(t)
		slow := func(c *Config) { c.Keepalive, c.Disconnect = time.Minute, 90*time.Second }
		one, other := newSide(t, a, nil, slow), newSide(t, b, noneRoot())
		time.Sleep(24 * time.Hour)
		require.NoError(t, one.Err())
		require.NoError(t, other.Err())
		r := one.root(t)
		_, err := call[any](t.Context(), r, "none")
		require.NoError(t, err)
		r.Close()
		synctest.Wait()
	})
}

// A brokenConn fails to write.
type brokenConn struct{ net.Conn }

var errBroken = errors.New("broken pipe")

func (brokenConn) Write([]byte) (int, error) { return 0, errBroken }

func TestAWriteThatFailsEndsTheConnection(t *testing.T) {
	noLeaks(t)
	a, b := net.Pipe()
	defer b.Close()
	s := newSide(t, Link{Conn: brokenConn{a}, Vocab: 1}, nil)
	_, err := s.GetReference(t.Context(), "root")
	require.ErrorIs(t, err, ErrDeadReference)
	require.ErrorIs(t, err, ErrLost)
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, MayHaveRun, callError(t, err).Sent)
}

func TestABrokerStartsWithWhatWasReadBefore(t *testing.T) {
	noLeaks(t)
	a, b := net.Pipe()
	p := &peer{t: t}
	first := p.wire(callSeq(5, 0, "getReferenceByName", "root"), callSeq(6, 1, "none"))
	s, q := peerOf(t, Link{Conn: a, Vocab: 1, Buffered: first[:len(first)-3]}, b, noneRoot())
	require.EqualValues(t, 5, q.receive().request())
	q.write(first[len(first)-3:])
	require.EqualValues(t, 6, q.receive().request())
	require.Equal(t, theirTub, s.Peer())
	require.False(t, s.Inbound())
}

func TestAReferenceThatIsReadAfterTheEndIsNotKept(t *testing.T) {
	var s *side
	ready := make(chan struct{})
	s, p := newPeer(t, nil, func(c *Config) {
		c.Observer = func(e Event) {
			if e.Kind == EventReference {
				<-ready
				s.Close(nil)
			}
		}
	})
	close(ready)
	s.publish(1, noneRoot())
	p.send(callSeq(1, 1, "none", seq{"list", seq{"my-reference", 5}, seq{"my-reference", 6}, seq{"my-reference", 7}}))
	within(t, "it ends", s.Done())
	require.Equal(t, Tables{}, s.Tables())
}

// A countingConn counts what is read from it.
type countingConn struct {
	net.Conn
	n int
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n += n
	return n, err
}

func TestTLSSaysGoodByeWhenTheConnectionIsClosed(t *testing.T) {
	// Python's side of a connection waits for it.
	noLeaks(t)
	client, server := tcpPair(t)
	cs, counted := NewStream(client), &countingConn{Conn: server}
	c := tls.Client(cs, &tls.Config{InsecureSkipVerify: true})
	s := tls.Server(counted, &tls.Config{Certificates: []tls.Certificate{certificate()}, SessionTicketsDisabled: true})
	defer s.Close()
	shaken := make(chan error, 1)
	go func() { shaken <- s.Handshake() }()
	require.NoError(t, c.Handshake())
	require.NoError(t, within(t, "the handshake ends", shaken))
	b := newSide(t, Link{Conn: c, Stream: cs, Vocab: 1}, nil)
	before := counted.n
	b.Close(nil)
	_, err := s.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.Greater(t, counted.n, before, "an alert")
}

func TestAPeerThatDoesNotReadCannotHoldUpTheEnd(t *testing.T) {
	for name, end := range map[string]func(s *side, p *peer){
		"closed":    func(s *side, _ *peer) { s.Close(nil) },
		"shut down": func(s *side, _ *peer) { _ = s.Shutdown(canceled()) },
		"overflow": func(s *side, p *peer) {
			for s.Err() == nil {
				p.send(callSeq(7, 1, "give"))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			a, b := tlsLinks(t)
			answer := pattern(1<<20, 1)
			s := newSide(t, a, nil, func(c *Config) { c.Limits.AnswerQueue = 8 << 20 })
			s.publish(1, NewObject("", nil, method("give", func(context.Context) ([]byte, error) { return answer, nil })))
			defer b.Conn.Close()
			p := &peer{t: t, conn: b.Conn}
			eventually(t, "answers wait", func() bool {
				p.send(callSeq(7, 1, "give"))
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.send.answers > 2<<20
			})
			end(s, p)
			within(t, "it ends", s.Done())
		})
	}
}
