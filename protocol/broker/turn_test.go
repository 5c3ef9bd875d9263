package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A ledger records what happens, in order.
type ledger struct {
	mu      sync.Mutex
	entries []string
}

func (l *ledger) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, fmt.Sprintf(format, args...))
}

func (l *ledger) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.entries...)
}

type withRef struct{ Ref *hostRef }

func TestCallsStartInTheOrderInWhichTheyWereSent(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		const calls = 500
		var started ledger
		rng := rand.New(rand.NewPCG(1, 2))
		server := NewObject("", nil,
			NewMethod("quick", func(_ context.Context, a struct{ N int }) (int, error) {
				started.note("%d", a.N)
				return a.N, nil
			}),
			NewMethod("yields", func(ctx context.Context, a struct{ N int }) (int, error) {
				started.note("%d", a.N)
				ReleaseTurn(ctx)
				return a.N, nil
			}),
			NewMethod("asks", func(ctx context.Context, a struct {
				N   int
				Ref *hostRef
			}) (int, error) {
				started.note("%d", a.N)
				defer a.Ref.Close()
				return call[int](ctx, a.Ref.Remote, "same", a.N)
			}),
		)
		client := NewObject("", nil, NewMethod("same", func(_ context.Context, a struct{ N int }) (int, error) { return a.N, nil }))
		c, s := connect(t, n, nil, server)
		r := c.root(t)
		var want []string
		type result struct {
			*Pending
			got  *int
			want int
		}
		var pending []result
		for i := range calls {
			want = append(want, fmt.Sprint(i))
			args, name := []any{i}, []string{"quick", "yields", "asks", "only"}[rng.IntN(4)]
			switch name {
			case "asks":
				args = append(args, client)
			case "only":
				require.NoError(t, r.Send(t.Context(), "quick", Args{Positional: args}))
				continue
			}
			p, v, err := begin[int](t.Context(), r, name, args...)
			require.NoError(t, err)
			pending = append(pending, result{p, v, i})
		}
		for _, p := range pending {
			require.NoError(t, p.Wait(t.Context()))
			require.Equal(t, p.want, *p.got)
		}
		eventually(t, "all have started", func() bool { return len(started.all()) == calls })
		require.Equal(t, want, started.all())
		eventually(t, "all is released", func() bool { return c.Tables().Exports == 0 && s.Tables().Imports == 0 })
	})
}

func TestAMethodThatWaitsForARemoteCallLetsTheNextOneStart(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		ran := make(chan struct{})
		server := NewObject("", nil,
			NewMethod("relay", func(ctx context.Context, a withRef) (string, error) {
				defer a.Ref.Close()
				return call[string](ctx, a.Ref.Remote, "slow")
			}),
			method("next", func(context.Context) (string, error) { return "next", nil }),
		)
		client := NewObject("", nil, method("slow", func(context.Context) (string, error) {
			<-ran
			return "slow", nil
		}))
		c, _ := connect(t, n, nil, server)
		r := c.root(t)
		p, v, err := begin[string](t.Context(), r, "relay", client)
		require.NoError(t, err)
		s, err := call[string](t.Context(), r, "next")
		require.NoError(t, err)
		require.Equal(t, "next", s)
		close(ran)
		require.NoError(t, p.Wait(t.Context()))
		require.Equal(t, "slow", *v)
	})
}

func TestAMethodThatWaitsWithAnotherContextKeepsItsTurn(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		var order ledger
		server := NewObject("", nil,
			NewMethod("relay", func(_ context.Context, a withRef) (any, error) {
				defer a.Ref.Close()
				_, err := call[any](context.Background(), a.Ref.Remote, "slow")
				order.note("relay")
				return nil, err
			}),
			method("next", func(context.Context) (any, error) {
				order.note("next")
				return nil, nil
			}),
		)
		asked, answer := make(chan struct{}), make(chan struct{})
		client := NewObject("", nil, method("slow", func(context.Context) (any, error) {
			close(asked)
			<-answer
			return nil, nil
		}))
		c, s := connect(t, n, nil, server)
		r := c.root(t)
		p, _, err := begin[any](t.Context(), r, "relay", client)
		require.NoError(t, err)
		within(t, "the client is asked", asked)
		q, _, err := begin[any](t.Context(), r, "next")
		require.NoError(t, err)
		eventually(t, "both are there", func() bool { return s.Tables().Inbound == 2 })
		require.Empty(t, order.all())
		close(answer)
		require.NoError(t, p.Wait(t.Context()))
		require.NoError(t, q.Wait(t.Context()))
		require.Equal(t, []string{"relay", "next"}, order.all())
	})
}

func TestYieldLetsTheNextCallStartAndDoesNoHarmTwice(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		g := newGate()
		var inner context.Context
		server := NewObject("", nil,
			method("yields", func(ctx context.Context) (any, error) {
				var cancel context.CancelFunc
				inner, cancel = context.WithCancel(ctx) // a derived context will do
				defer cancel()
				ReleaseTurn(inner)
				ReleaseTurn(ctx)
				g.pass("yields")
				return nil, nil
			}),
			method("holds", func(context.Context) (any, error) {
				g.pass("holds")
				return nil, nil
			}),
			method("third", func(context.Context) (any, error) {
				g.pass("third")
				return nil, nil
			}),
		)
		c, s := connect(t, n, nil, server)
		r := c.root(t)
		var pending []*Pending
		for _, name := range []string{"yields", "holds", "third"} {
			p, _, err := begin[any](t.Context(), r, name)
			require.NoError(t, err)
			pending = append(pending, p)
		}
		require.Equal(t, "yields", within(t, "the first starts", g.entered))
		require.Equal(t, "holds", within(t, "the second starts", g.entered))
		eventually(t, "the third is there", func() bool { return s.Tables().Inbound == 3 })
		ReleaseTurn(inner) // it is not his any more
		require.Empty(t, g.entered)
		close(g.open)
		for _, p := range pending {
			require.NoError(t, p.Wait(t.Context()))
		}
		ReleaseTurn(inner)                // nor anybody's
		ReleaseTurn(context.Background()) // and here there is none
	})
}

func TestConcurrentMethodsRunSideBySide(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		g := newGate()
		server := NewObject("", nil,
			NewMethod("slow", func(_ context.Context, a struct{ N int }) (int, error) {
				g.pass("slow")
				return a.N, nil
			}).Concurrent(),
			method("quick", func(context.Context) (any, error) { return nil, nil }),
		)
		c, _ := connect(t, n, nil, server)
		r := c.root(t)
		var pending []*Pending
		var results []*int
		for i := range 20 {
			p, v, err := begin[int](t.Context(), r, "slow", i)
			require.NoError(t, err)
			pending, results = append(pending, p), append(results, v)
		}
		for range 20 {
			within(t, "all run at once", g.entered)
		}
		_, err := call[any](t.Context(), r, "quick")
		require.NoError(t, err)
		close(g.open)
		for i, p := range pending {
			require.NoError(t, p.Wait(t.Context()))
			require.Equal(t, i, *results[i])
		}
	})
}

func TestTwoSidesThatCallEachOtherDoNotWaitForEachOther(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		// Each side's method calls the other's, with its own context, down
		// to a depth; many of these chains run at once in both directions.
		type bounce struct {
			Back  *hostRef
			Depth int
		}
		object := func() *Object {
			var me *Object
			me = NewObject("", nil, NewMethod("bounce", func(ctx context.Context, a bounce) (int, error) {
				defer a.Back.Close()
				if a.Depth == 0 {
					return 1, nil
				}
				v, err := call[int](ctx, a.Back.Remote, "bounce", me, a.Depth-1)
				return v + 1, err
			}))
			return me
		}
		clientRoot, serverRoot := object(), object()
		c, s := connect(t, n, clientRoot, serverRoot)
		toServer, toClient := c.root(t), s.root(t)
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				r, mine := toServer, clientRoot
				if i%2 == 1 {
					r, mine = toClient, serverRoot
				}
				v, err := call[int](t.Context(), r, "bounce", mine, i)
				assert.NoError(t, err)
				assert.Equal(t, i+1, v)
			})
		}
		wg.Wait()
		toServer.Close()
		toClient.Close()
		eventually(t, "all is released", func() bool { return c.Tables() == Tables{} && s.Tables() == Tables{} })
	})
}

func TestWhatIsNoCallNeverWaitsForATurn(t *testing.T) {
	g := newGate()
	var ours *Remote
	root := noneRoot(
		method("block", func(context.Context) (any, error) {
			g.pass("block")
			return nil, nil
		}),
		method("give", func(context.Context) (banana.External, error) { return NewObject("", nil), nil }),
	)
	s, p := newPeer(t, root)
	p.lookUp()
	ours = p.offer(s, 5)
	p.send(callSeq(2, 1, "give"))
	require.Equal(t, "answer", p.receive().kind())
	require.Equal(t, 2, s.Tables().Exports)
	p.send(callSeq(3, 1, "block"), callSeq(4, 1, "none"))
	within(t, "a method has the turn", g.entered)

	p.send(raw(banana.AppendPing(nil, []byte{9})))
	p.expect("PONG(9)")
	p.send(callSeq(5, 0, "decref", keyword{"clid", 2}, keyword{"count", 1}))
	p.expect("OPEN() VOCAB(13=answer) INT(5) OPEN() VOCAB(0=none) CLOSE() CLOSE()")
	require.Equal(t, 1, s.Tables().Exports)
	result := make(chan error, 1)
	go func() {
		v, err := call[int](context.Background(), ours, "add")
		if err == nil && v != 7 {
			err = fmt.Errorf("%d is not 7", v)
		}
		result <- err
	}()
	p.send(answerSeq(p.receive().request(), 7))
	require.NoError(t, within(t, "our own call is answered", result))

	require.Equal(t, 2, s.Tables().Inbound)
	close(g.open)
	require.EqualValues(t, 3, p.receive().request())
	require.EqualValues(t, 4, p.receive().request())
	ours.Close()
}

func TestAMethodThatPanicsGivesItsTurnUp(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		server := NewObject("", nil,
			method("panics", func(context.Context) (any, error) { panic("oh") }),
			method("next", func(context.Context) (int, error) { return 1, nil }),
		)
		c, s := connect(t, n, nil, server)
		r := c.root(t)
		for range 3 {
			_, err := call[any](t.Context(), r, "panics")
			var f *Failure
			require.ErrorAs(t, err, &f)
			v, err := call[int](t.Context(), r, "next")
			require.NoError(t, err)
			require.Equal(t, 1, v)
		}
		eventually(t, "no call is left", func() bool { return s.Tables().Inbound == 0 })
	})
}

func TestALongQueueOfCallsDoesNotKeepWhatHasRun(t *testing.T) {
	// Two calls always wait, so the queue is never empty.
	s, p := newPeer(t, nil)
	entered, proceed := make(chan struct{}), make(chan struct{})
	s.publish(1, NewObject("", nil, method("step", func(context.Context) (any, error) {
		entered <- struct{}{}
		<-proceed
		return nil, nil
	})))
	p.send(callSeq(0, 1, "step"), callSeq(0, 1, "step"))
	for range 5000 {
		p.send(callSeq(0, 1, "step"))
		within(t, "one runs", entered)
		eventually(t, "two wait", func() bool { return s.Tables().Inbound == 3 })
		proceed <- struct{}{}
	}
	s.mu.Lock()
	room := cap(s.turns.queue)
	s.mu.Unlock()
	require.Less(t, room, 1000)
	for range 2 {
		within(t, "the last ones run", entered)
		proceed <- struct{}{}
	}
	eventually(t, "all have run", func() bool { return s.Tables().Inbound == 0 })
}

func TestATurnThatLastsIsReportedOnce(t *testing.T) {
	const report = "holds its turn"
	for _, test := range []struct {
		name  string
		calls []string // all sent at once
		want  []string // methods that are reported
	}{
		{"a slow method while another call waits", []string{"slow", "quick"}, []string{"slow"}},
		{"a slow method behind a quick one", []string{"quick", "quick", "slow", "quick"}, []string{"slow"}},
		{"two slow methods, each", []string{"slow", "slower", "quick"}, []string{"slow", "slower"}},
		{"a slow method for which nobody waits", []string{"quick", "slow"}, nil},
		{"methods that are quick enough", []string{"almost", "almost", "almost", "quick"}, nil},
		{"a slow method that has given its turn up", []string{"yields", "quick"}, nil},
		{"a slow method that is declared concurrent", []string{"concurrent", "quick"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				takes := func(name string, d time.Duration) *Method {
					return method(name, func(context.Context) (any, error) {
						time.Sleep(d)
						return nil, nil
					})
				}
				s, p := newPeer(t, nil)
				s.publish(1, NewObject("", nil,
					takes("quick", 0), takes("almost", 400*time.Millisecond),
					takes("slow", 3500*time.Millisecond), takes("slower", 10*time.Second),
					takes("concurrent", 5*time.Second).Concurrent(),
					method("yields", func(ctx context.Context) (any, error) {
						ReleaseTurn(ctx)
						time.Sleep(5 * time.Second)
						return nil, nil
					}),
				))
				var all []any
				for i, name := range test.calls {
					all = append(all, callSeq(i+1, 1, name))
				}
				p.send(all...)
				for range test.calls {
					require.Equal(t, "answer", p.receive().kind())
				}
				reports := s.logs.containing(report)
				require.Len(t, reports, len(test.want))
				for i, name := range test.want {
					require.Contains(t, reports[i], "method="+name+" ")
				}
			})
		})
	}
}

func TestAMethodThatEndsItsGoroutineFailsOnlyItsCall(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		root := NewObject("", nil,
			method("exit", func(context.Context) (any, error) { runtime.Goexit(); return nil, nil }),
			method("lives", func(context.Context) (string, error) { return "lives", nil }),
		)
		c, s := connect(t, n, nil, root)
		r := c.root(t)
		var pending []*Pending
		for range 3 { // alone, and with others behind it
			_, err := call[any](t.Context(), r, "exit")
			require.ErrorContains(t, err, errMethodEnded.Error())
			p, _, err := begin[any](t.Context(), r, "exit")
			require.NoError(t, err)
			pending = append(pending, p)
		}
		for _, p := range pending {
			require.ErrorContains(t, p.Wait(t.Context()), errMethodEnded.Error())
		}
		v, err := call[string](t.Context(), r, "lives")
		require.NoError(t, err)
		require.Equal(t, "lives", v)
		require.Zero(t, s.Tables().Inbound)
	})
}
