package tub_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// resurrecting is a server that can go and come back as the same Tub, with an
// object under the same name, at "mem:x".
type resurrecting struct {
	network *memory
	id      *tub.Identity
	tub     *tub.Tub
	furl    furl.FURL
}

func newResurrecting(t testing.TB) *resurrecting {
	t.Helper()
	s := &resurrecting{network: newMemory(), id: newIdentity(t)}
	s.furl = named(t, s.id.TubID(), "mem:x")
	return s
}

func (s *resurrecting) rise(t testing.TB) {
	t.Helper()
	s.tub = newTubOf(t, s.id, nil)
	_, err := s.tub.RegisterAs(s.furl.Name.Reveal(), calculator())
	require.NoError(t, err)
	_, err = s.tub.Listen(s.network.listen("mem:x"))
	require.NoError(t, err)
}

func (s *resurrecting) die(t testing.TB) {
	t.Helper()
	require.NoError(t, s.tub.Close())
	synctest.Wait() // the other side has noticed
}

// client returns a Tub that can reach the server.
func (s *resurrecting) client(t testing.TB) (*tub.Tub, *memoryHandler) {
	t.Helper()
	tb := newTub(t, nil)
	return tb, handle(t, tb, map[string]dial{"mem": s.network.dialer()})
}

// reunion is what a Reconnector calls back with.
type reunion struct {
	ctx context.Context
	ref *tub.Ref
	at  time.Time
}

// reunions is a callback of a Reconnector, which returns at once.
type reunions chan reunion

func newReunions() reunions { return make(chan reunion, 100) }

func (r reunions) connected(ctx context.Context, ref *tub.Ref) { r <- reunion{ctx, ref, time.Now()} }

func reconnect(t testing.TB, tb *tub.Tub, f furl.FURL, connected func(context.Context, *tub.Ref), opts *tub.ReconnectOptions) *tub.Reconnector {
	t.Helper()
	r, err := tb.Reconnect(f, connected, opts)
	require.NoError(t, err)
	t.Cleanup(r.Stop)
	return r
}

// add calls an object that has to answer.
func add(t testing.TB, ref *tub.Ref) {
	t.Helper()
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
}

func TestAReconnectorConnectsAndConnectsAgainAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, got := newResurrecting(t), newReunions()
		server.rise(t)
		client, _ := server.client(t)
		begun := time.Now()
		r := reconnect(t, client, server.furl, got.connected, nil)
		for life := range 3 {
			g := <-got
			assert.Zero(t, g.at.Sub(begun), "it connects at once, or a second after the loss")
			assert.NoError(t, g.ctx.Err())
			add(t, g.ref)
			assert.Equal(t, tub.ReconnectorState{Connected: true, Attempts: 1, Last: begun}, r.State())

			time.Sleep(time.Hour)
			server.die(t)
			lost := time.Now()
			assert.ErrorIs(t, context.Cause(g.ctx), tub.ErrLost, "the context of the callback ends with the connection")
			_, err := tub.Call[int](within(t), g.ref, "add", 1, 2)
			assert.ErrorIs(t, err, tub.ErrDeadReference)
			begun = lost.Add(time.Second)
			state := r.State()
			assert.ErrorIs(t, state.Err, tub.ErrLost)
			state.Err = nil
			assert.Equal(t, tub.ReconnectorState{Last: state.Last, Next: begun}, state)
			server.rise(t)
			assert.Empty(t, got, life)
		}
	})
}

func TestTheBackOffIsThatOfFoolscap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const longest = 10 * time.Minute
		server, got := newResurrecting(t), newReunions()
		client, handler := server.client(t)
		begun := time.Now()
		r := reconnect(t, client, server.furl, got.connected, &tub.ReconnectOptions{MaxDelay: longest})
		for life := range 3 {
			delay := time.Second
			for attempt := 1; attempt <= 20; attempt++ {
				synctest.Wait()
				state := r.State()
				require.Len(t, handler.seen(), 21*life+attempt, "there is an attempt when it is said")
				assert.False(t, state.Connected)
				assert.Equal(t, attempt, state.Attempts)
				assert.Equal(t, begun, state.Last)
				assert.ErrorIs(t, state.Err, handlers.ErrUnreachable)
				next := state.Next.Sub(begun)
				if middle := min(time.Duration(float64(delay)*math.E), longest); next != longest {
					assert.InDelta(t, 1, float64(next)/float64(middle), 6*0.12)
				}
				require.LessOrEqual(t, next, longest)
				delay, begun = next, state.Next
				if attempt == 20 {
					assert.Greater(t, delay, longest/4)
					server.rise(t)
				}
				time.Sleep(time.Until(state.Next))
			}
			add(t, (<-got).ref)
			server.die(t)
			begun = r.State().Next
			assert.Equal(t, time.Second, time.Until(begun), "after a loss it begins anew")
			time.Sleep(time.Second)
		}
	})
}

func TestTheDelaysOfManyReconnectorsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 400
		server := newResurrecting(t)
		client, _ := server.client(t)
		all := make([]*tub.Reconnector, count)
		for i := range all {
			all[i] = reconnect(t, client, server.furl, nil, nil)
		}
		synctest.Wait()
		var sum, squares float64
		for _, r := range all {
			delay := time.Until(r.State().Next).Seconds()
			sum += delay
			squares += delay * delay
		}
		mean := sum / count
		// Each is six standard errors wide.
		assert.InDelta(t, math.E, mean, 6*0.12*math.E/math.Sqrt(count))
		assert.InDelta(t, 0.12, math.Sqrt(squares/count-mean*mean)/math.E, 6*0.12/math.Sqrt(2*count))
	})
}

func TestTheLongestDelayIsTheUsers(t *testing.T) {
	for name, test := range map[string]struct{ given, want time.Duration }{
		"five minutes if not given":     {0, 5 * time.Minute},
		"longer":                        {time.Hour, time.Hour},
		"shorter than the first delay":  {time.Millisecond, time.Millisecond},
		"five minutes if it is no time": {-1, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newResurrecting(t)
				client, _ := server.client(t)
				r := reconnect(t, client, server.furl, nil, &tub.ReconnectOptions{MaxDelay: test.given})
				var longest time.Duration
				for range 60 {
					synctest.Wait()
					delay := time.Until(r.State().Next)
					longest = max(longest, delay)
					time.Sleep(delay)
				}
				assert.Equal(t, test.want, longest)

				server.rise(t)
				time.Sleep(test.want)
				synctest.Wait()
				require.True(t, r.State().Connected)
				server.die(t)
				assert.Equal(t, min(time.Second, test.want), time.Until(r.State().Next), "after a loss")
			})
		})
	}
}

func TestResetDialsNow(t *testing.T) {
	// waiting returns a Reconnector with a long time to wait, and its handler.
	waiting := func(t *testing.T, d dial) (*tub.Reconnector, *memoryHandler) {
		client := newTub(t, nil)
		h := handle(t, client, map[string]dial{"x": d})
		r := reconnect(t, client, named(t, newIdentity(t).TubID(), "x:y"), nil, nil)
		for synctest.Wait(); time.Until(r.State().Next) < time.Minute; synctest.Wait() {
			time.Sleep(time.Second)
		}
		return r, h
	}
	refuse := func(context.Context, handlers.DialRequest) (handlers.Stream, error) {
		return handlers.Stream{}, errors.New("not today")
	}
	t.Run("and begins the back-off anew", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, h := waiting(t, refuse)
			for range 10 {
				before := len(h.seen())
				r.Reset()
				synctest.Wait()
				assert.Len(t, h.seen(), before+1)
				assert.Equal(t, time.Now(), r.State().Last)
				assert.Less(t, time.Until(r.State().Next), 5*time.Second)
			}
		})
	})
	t.Run("or when the attempt in progress has failed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fail := make(chan struct{})
			client := newTub(t, nil)
			h := handle(t, client, map[string]dial{"x": func(context.Context, handlers.DialRequest) (handlers.Stream, error) {
				<-fail
				return handlers.Stream{}, errors.New("not today")
			}})
			r := reconnect(t, client, named(t, newIdentity(t).TubID(), "x:y"), nil, nil)
			synctest.Wait()
			for range 3 { // all of them are one
				r.Reset()
			}
			synctest.Wait()
			assert.Len(t, h.seen(), 1)
			assert.Equal(t, tub.ReconnectorState{Attempts: 1, Last: time.Now()}, r.State())
			fail <- struct{}{}
			synctest.Wait()
			assert.Len(t, h.seen(), 2)
			fail <- struct{}{}
			synctest.Wait()
			assert.Len(t, h.seen(), 2)
			assert.Less(t, time.Until(r.State().Next), 5*time.Second, "it has waited for nothing")
		})
	})
	t.Run("but has no effect while connected", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server, got := newResurrecting(t), newReunions()
			server.rise(t)
			client, h := server.client(t)
			r := reconnect(t, client, server.furl, got.connected, nil)
			r.Reset() // while it connects, maybe
			g := <-got
			for range 3 {
				r.Reset()
				synctest.Wait()
			}
			add(t, g.ref)
			server.die(t)
			assert.Len(t, h.seen(), 1)
			assert.Equal(t, time.Second, time.Until(r.State().Next))
		})
	})
	t.Run("as soon as a connection is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server := newResurrecting(t)
			server.rise(t)
			client, _ := server.client(t)
			began, reset := make(chan time.Time, 100), make(chan func(), 1)
			r := reconnect(t, client, server.furl, func(ctx context.Context, _ *tub.Ref) {
				began <- time.Now()
				<-ctx.Done()
				f := <-reset
				f()
				reset <- f
			}, nil)
			reset <- r.Reset
			begun := time.Now()
			for range 50 { // the callback may be faster than the Reconnector
				assert.Equal(t, begun, <-began)
				client.Broker(server.id.TubID()).Close(tub.ErrLost)
			}
		})
	})
}

func TestAChangeOfTheNetworkResets(t *testing.T) {
	for name, end := range map[string]func(client *tub.Tub, r *tub.Reconnector){
		"until the Reconnector is stopped": func(_ *tub.Tub, r *tub.Reconnector) { r.Stop() },
		"until the Tub is closed":          func(client *tub.Tub, _ *tub.Reconnector) { client.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newResurrecting(t)
				client, h := server.client(t)
				var network []func()
				stopped := 0
				r := reconnect(t, client, server.furl, nil, &tub.ReconnectOptions{OnNetworkChange: func(changed func()) func() {
					network = append(network, changed)
					return func() { stopped++ }
				}})
				synctest.Wait()
				require.Len(t, network, 1)
				network[0]()
				synctest.Wait()
				assert.Len(t, h.seen(), 2)
				assert.Zero(t, stopped)
				end(client, r)
				assert.Equal(t, 1, stopped)
				network[0]()
				assert.Empty(t, inBubble())
				assert.Len(t, h.seen(), 2)
				assert.Len(t, network, 1)
			})
		})
	}
	t.Run("even if nobody wants to know of the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server := newResurrecting(t)
			client, h := server.client(t)
			r := reconnect(t, client, server.furl, nil, &tub.ReconnectOptions{OnNetworkChange: func(changed func()) func() {
				time.AfterFunc(time.Second, changed)
				return nil
			}})
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Len(t, h.seen(), 2)
			r.Stop()
		})
	})
}

func TestWhatFailsMayPass(t *testing.T) {
	elsewhere := newIdentity(t)
	for name, test := range map[string]struct {
		err   error
		first func(t *testing.T, s *resurrecting, client *tub.Tub)
		then  func(t *testing.T, s *resurrecting, client *tub.Tub)
	}{
		"no handler": {
			handlers.ErrNoHandler,
			func(_ *testing.T, _ *resurrecting, client *tub.Tub) { client.RemoveHandler("mem") },
			func(t *testing.T, s *resurrecting, client *tub.Tub) {
				handle(t, client, map[string]dial{"mem": s.network.dialer()})
			},
		},
		"another Tub at its place": {
			handlers.ErrWrongTub,
			func(t *testing.T, s *resurrecting, _ *tub.Tub) {
				other := newTubOf(t, elsewhere, nil)
				_, err := other.Listen(s.network.authenticating("mem:x", elsewhere))
				require.NoError(t, err)
			},
			func(t *testing.T, s *resurrecting, _ *tub.Tub) {
				_, err := s.tub.Listen(s.network.listen("mem:x"))
				require.NoError(t, err)
			},
		},
		"an object that is not there yet": {
			tub.ErrUnknownName,
			func(_ *testing.T, s *resurrecting, _ *tub.Tub) { s.tub.UnregisterName(s.furl.Name.Reveal()) },
			func(t *testing.T, s *resurrecting, _ *tub.Tub) {
				_, err := s.tub.RegisterAs(s.furl.Name.Reveal(), calculator())
				require.NoError(t, err)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, got := newResurrecting(t), newReunions()
				server.rise(t)
				client, _ := server.client(t)
				test.first(t, server, client)
				r := reconnect(t, client, server.furl, got.connected, nil)
				time.Sleep(time.Hour)
				state := r.State()
				assert.False(t, state.Connected || state.Stopped)
				if errors.Is(test.err, tub.ErrUnknownName) {
					var failure *tub.Failure
					assert.ErrorAs(t, state.Err, &failure, "the other side has said so")
					assert.Len(t, client.Peers(), 1)
				} else {
					assert.ErrorIs(t, state.Err, test.err)
				}
				assert.Greater(t, state.Attempts, 12)
				assert.Less(t, state.Attempts, 25, "waiting in between")
				test.then(t, server, client)
				add(t, (<-got).ref)
				assert.Equal(t, state.Next, time.Now())
			})
		})
	}
}

func TestAConnectionThatThePeerMakesEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, got := newResurrecting(t), newReunions()
		server.rise(t)
		client, _ := server.client(t)
		own := register(t, client, calculator()) // without a hint: nobody can dial it
		require.Empty(t, own.Hints)
		r := reconnect(t, server.tub, own, got.connected, nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		attempts := r.State().Attempts
		require.Positive(t, time.Until(r.State().Next))
		connected := time.Now()
		connect(t, client, server.furl)
		g := <-got
		assert.Equal(t, connected, g.at)
		assert.Equal(t, attempts+1, r.State().Attempts)
		add(t, g.ref)
	})
}

func TestAnAttemptIsBounded(t *testing.T) {
	for name, test := range map[string]struct{ given, want time.Duration }{
		"by five minutes": {0, 5 * time.Minute},
		"as one wants":    {7 * time.Second, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newResurrecting(t)
				server.rise(t)
				server.tub.OnLookup(func(ctx context.Context, _ string) (*tub.Object, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
				client, _ := server.client(t)
				r := reconnect(t, client, named(t, server.id.TubID(), "mem:x"), nil, &tub.ReconnectOptions{Timeout: test.given})
				time.Sleep(test.want - time.Nanosecond)
				synctest.Wait()
				assert.NoError(t, r.State().Err)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				assert.ErrorIs(t, r.State().Err, context.DeadlineExceeded)
				assert.ErrorIs(t, r.State().Err, handlers.ErrTimeout)
				assert.Positive(t, time.Until(r.State().Next))
			})
		})
	}
}

func TestCallbacksRunOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newResurrecting(t)
		server.rise(t)
		client, handler := server.client(t)
		proceed := make(chan struct{})
		var mu sync.Mutex
		var running int
		var met []*tub.Ref
		r := reconnect(t, client, server.furl, func(ctx context.Context, ref *tub.Ref) {
			mu.Lock()
			running++
			assert.Equal(t, 1, running)
			met = append(met, ref)
			mu.Unlock()
			assert.NoError(t, ctx.Err())
			<-proceed // whatever becomes of ctx
			mu.Lock()
			running--
			mu.Unlock()
		}, nil)
		const lives = 4
		for life := range lives {
			time.Sleep(time.Second)
			synctest.Wait()
			assert.True(t, r.State().Connected, "a callback does not hold up the connection")
			assert.Len(t, handler.seen(), life+1)
			if life < lives-1 {
				server.die(t)
				server.rise(t)
			}
		}
		mu.Lock()
		assert.Len(t, met, 1)
		mu.Unlock()
		proceed <- struct{}{}
		synctest.Wait()
		mu.Lock()
		require.Len(t, met, 2, "of what was lost meanwhile it is not told")
		add(t, met[1])
		mu.Unlock()
		close(proceed)
	})
}

// phases are the times at which a Reconnector may be stopped.
var phases = map[string]func(t *testing.T, server *resurrecting, client *tub.Tub){
	"before it has begun": func(*testing.T, *resurrecting, *tub.Tub) {},
	"while it dials": func(t *testing.T, _ *resurrecting, client *tub.Tub) {
		handle(t, client, map[string]dial{"mem": hang})
	},
	"while it looks the object up": func(t *testing.T, server *resurrecting, _ *tub.Tub) {
		server.rise(t)
		server.tub.UnregisterName(server.furl.Name.Reveal())
		server.tub.OnLookup(func(ctx context.Context, _ string) (*tub.Object, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	},
	"while it waits": func(*testing.T, *resurrecting, *tub.Tub) {},
	"while it waits for an object": func(t *testing.T, server *resurrecting, _ *tub.Tub) {
		server.rise(t)
		server.tub.UnregisterName(server.furl.Name.Reveal())
	},
	"while it is connected": func(t *testing.T, server *resurrecting, _ *tub.Tub) { server.rise(t) },
}

func TestAReconnectorThatIsStoppedLeavesNothingRunning(t *testing.T) {
	for ending, end := range map[string]struct {
		end func(t *testing.T, client *tub.Tub, r *tub.Reconnector)
		err error
	}{
		"stopped": {func(_ *testing.T, _ *tub.Tub, r *tub.Reconnector) { r.Stop() }, nil},
		"ended by Close": {func(t *testing.T, client *tub.Tub, _ *tub.Reconnector) {
			assert.NoError(t, client.Close())
		}, tub.ErrTubClosed},
		"ended by Shutdown": {func(t *testing.T, client *tub.Tub, _ *tub.Reconnector) {
			assert.NoError(t, client.Shutdown(within(t)))
		}, tub.ErrTubClosed},
	} {
		for phase, prepare := range phases {
			t.Run(ending+" "+phase, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server := newResurrecting(t)
					client, handler := server.client(t)
					prepare(t, server, client)
					var mu sync.Mutex
					var met []*tub.Ref
					returned := 0
					r := reconnect(t, client, server.furl, func(ctx context.Context, ref *tub.Ref) {
						mu.Lock()
						met = append(met, ref)
						mu.Unlock()
						<-ctx.Done()
						mu.Lock()
						returned++
						mu.Unlock()
					}, nil)
					if phase != "before it has begun" {
						time.Sleep(time.Second)
						synctest.Wait()
					}
					begun := time.Now()
					end.end(t, client, r)
					r.Stop()
					mu.Lock()
					assert.Len(t, met, returned, "Stop waits for the callback")
					mu.Unlock()
					assert.Zero(t, time.Since(begun))
					state := r.State()
					assert.True(t, state.Stopped)
					assert.False(t, state.Connected)
					assert.Zero(t, state.Next)
					if end.err != nil {
						assert.ErrorIs(t, state.Err, end.err)
					} else {
						assert.NotErrorIs(t, state.Err, context.Canceled)
					}
					dials := len(handler.seen())

					if phase == "while it is connected" {
						require.Len(t, met, 1)
						if end.err == nil {
							add(t, met[0])
							assert.Len(t, client.Peers(), 1, "the connection stays")
						}
						server.die(t)
					}
					r.Reset()
					time.Sleep(time.Hour)
					mu.Lock()
					assert.Len(t, met, returned)
					mu.Unlock()
					assert.Len(t, handler.seen(), dials)
					if server.tub != nil {
						require.NoError(t, server.tub.Close())
					}
					require.NoError(t, client.Close())
					assert.Empty(t, inBubble())
				})
			})
		}
	}
}

func TestStopWaitsForTheCallbackAndCloseDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newResurrecting(t)
		server.rise(t)
		client, _ := server.client(t)
		proceed, begun := make(chan struct{}), make(chan struct{})
		r := reconnect(t, client, server.furl, func(context.Context, *tub.Ref) {
			close(begun)
			<-proceed
		}, nil)
		<-begun
		stopped := make(chan struct{})
		go func() {
			r.Stop()
			close(stopped)
		}()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("Stop has not waited")
		default:
		}
		require.NoError(t, client.Close())
		close(proceed)
		<-stopped
	})
}

func TestACallbackMayEndEverything(t *testing.T) {
	for name, end := range map[string]func(client *tub.Tub, r *tub.Reconnector){
		"the Tub":         func(client *tub.Tub, _ *tub.Reconnector) { client.Close() },
		"the Reconnector": func(_ *tub.Tub, r *tub.Reconnector) { go r.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newResurrecting(t)
				server.rise(t)
				client, _ := server.client(t)
				made, done := make(chan *tub.Reconnector, 1), make(chan struct{})
				r := reconnect(t, client, server.furl, func(ctx context.Context, _ *tub.Ref) {
					end(client, <-made)
					<-ctx.Done()
					close(done)
				}, nil)
				made <- r
				<-done
				r.Stop()
				assert.True(t, r.State().Stopped)
			})
		})
	}
}

func TestWithoutACallbackTheConnectionIsKeptAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newResurrecting(t)
		client, _ := server.client(t)
		r := reconnect(t, client, server.furl, nil, nil)
		for range 2 {
			server.rise(t)
			time.Sleep(time.Minute)
			assert.True(t, r.State().Connected)
			b := client.Broker(server.id.TubID())
			require.NotNil(t, b)
			assert.Zero(t, b.Tables().Imports, "nobody needs the reference")
			server.die(t)
			assert.False(t, r.State().Connected)
		}
	})
}

func TestAReferenceToAnObjectOfOnesOwnIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, got := newTub(t, nil), newReunions()
		r := reconnect(t, client, register(t, client, calculator()), got.connected, nil)
		for range 2 {
			g := <-got
			add(t, g.ref)
			client.EndLoopback()
			synctest.Wait()
			assert.ErrorIs(t, r.State().Err, tub.ErrLost)
		}
	})
}

func TestAReconnectorMayBeUsedByMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, got := newResurrecting(t), newReunions()
		server.rise(t)
		client, _ := server.client(t)
		r := reconnect(t, client, server.furl, got.connected, nil)
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if i < 20 {
					r.Reset()
				} else {
					r.Stop()
				}
				r.State()
			})
		}
		wg.Wait()
		assert.True(t, r.State().Stopped)
	})
}

func TestAReconnectorDoesNotShowTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newResurrecting(t)
		server.rise(t)
		server.tub.UnregisterName(server.furl.Name.Reveal())
		var log logs
		client := newTub(t, &tub.Options{Logger: log.logger()})
		handle(t, client, map[string]dial{"mem": server.network.dialer()})
		r := reconnect(t, client, server.furl, nil, nil)
		synctest.Wait()
		require.Error(t, r.State().Err)
		assert.Contains(t, r.String(), server.furl.TubID.Short())
		assert.Contains(t, log.String(), server.furl.TubID.Short())
		shown := fmt.Sprintf("%v %+v %#v %+v", r, r, r, r.State())
		assert.NotContains(t, shown+log.String(), server.furl.Name.Reveal())
	})
}

func TestWhatCannotBeReconnected(t *testing.T) {
	client := newTub(t, nil)
	whole := named(t, newIdentity(t).TubID(), "x:y")
	for name, f := range map[string]furl.FURL{
		"nothing":             {},
		"a FURL with no name": {TubID: whole.TubID, Hints: whole.Hints},
		"a FURL with no Tub":  {Name: whole.Name, Hints: whole.Hints},
	} {
		_, err := client.Reconnect(f, nil, nil)
		var failed *tub.DialError
		assert.ErrorAs(t, err, &failed, name)
	}
	require.NoError(t, client.Close())
	_, err := client.Reconnect(whole, nil, nil)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
}
