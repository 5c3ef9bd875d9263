package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func openPipelined(t *testing.T, root *Object, change ...func(*Config)) (*side, *peer) {
	noLeaks(t)
	a, b := pipePair(t)
	a.Pipelines, a.Inbound = true, true
	return peerOf(t, a, b.Conn, root, change...)
}

// A chain of refused calls: only two answers are ever kept, yet each error holds all before it.
func TestChainOfFailuresIsBounded(t *testing.T) {
	_, p := openPipelined(t, noneRoot())
	cost := func(req int) uint64 {
		var a, b runtime.MemStats
		runtime.ReadMemStats(&a)
		name := strings.Repeat("m", 900)
		if req == 1 {
			p.send(pcallSeq(1, 1, 0, name))
		} else {
			p.send(pcallSeq(req, 3, req-1, name), seq{"pdrop", req - 1})
		}
		require.Equal(t, "error", p.receive().kind())
		runtime.ReadMemStats(&b)
		return b.TotalAlloc - a.TotalAlloc
	}
	// The least of some: now and then a pool has no buffer left.
	least := func(from, to int) uint64 {
		n := cost(from)
		for i := from + 1; i <= to; i++ {
			n = min(n, cost(i))
		}
		return n
	}
	first := least(1, 10)
	least(11, 140)
	last := least(141, 150)
	t.Logf("at first %d bytes, in the end %d bytes", first, last)
	require.Less(t, last, 2*first, "bytes allocated for one refused call of a stranger")
}

// A call on its own answer.
func TestCallOnItself(t *testing.T) {
	s, p := openPipelined(t, noneRoot())
	p.send(pcallSeq(5, 3, 5, "height"), seq{"pdrop", 5})
	require.EqualValues(t, 5, p.receive().request())
	p.lookUp()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go io.Copy(io.Discard, p.conn)
	require.NoError(t, s.Shutdown(ctx), "nothing runs, so shutdown has nothing to wait for")
}

// Calls on an answer come before those that its receiver makes once he has it,
// whoever writes meanwhile.
func TestNothingOvertakesWhatHasWaited(t *testing.T) {
	bad := 0
	for range 1 {
		var l ladder
		c, _ := pipelined(t, networks[1], l.rung(0), true)
		root, err := c.LookUp(t.Context(), "root")
		require.NoError(t, err)
		rr, err := root.Wait(t.Context())
		require.NoError(t, err)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 { // other traffic keeps a writer busy
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						call[int](t.Context(), rr, "number")
					}
				}
			})
		}
		for i := range 3000 {
			s := promise(t, root, "step", 1)
			a, err := s.Start(t.Context(), "note", Args{Positional: []any{2 * i}}, nil, nil)
			require.NoError(t, err)
			rem, err := s.Wait(t.Context())
			require.NoError(t, err)
			b, _, err := begin[any](t.Context(), rem, "note", 2*i+1)
			require.NoError(t, err)
			require.NoError(t, a.Wait(t.Context()))
			require.NoError(t, b.Wait(t.Context()))
			s.Close()
		}
		close(stop)
		wg.Wait()
		last := -1
		for _, e := range l.trace.all() {
			var n int
			if _, err := fmt.Sscanf(e, "note %d", &n); err == nil {
				if n < last {
					bad++
				}
				last = n
			}
		}
	}
	require.Zero(t, bad, "calls out of order")
}

// The promised call has failed, as far as the caller was told.
func TestCallsOnAnAnswerThatCouldNotBeSent(t *testing.T) {
	var l ledger
	g := newGate()
	rung := NewObject("", nil, NewMethod("note", func(_ context.Context, a struct{ What int }) (any, error) { l.note("%d", a.What); return nil, nil }))
	root := NewObject("", nil, method("step", func(ctx context.Context) (*Object, error) { g.pass("step"); return rung, nil }))
	_, p := openPipelined(t, root, func(c *Config) { c.Limits.MaxReferences = 1 })
	p.send(pcallSeq(1, 1, 0, "getReferenceByName", []byte("root")))
	require.Equal(t, "answer", p.receive().kind())
	p.send(pcallSeq(2, 3, 1, "step"), pcallSeq(3, 2, 2, "note", 1))
	within(t, "step has begun", g.entered)
	close(g.open)
	m := p.receive()
	require.EqualValues(t, 2, m.request())
	require.Equal(t, "error", m.kind())
	m = p.receive()
	require.EqualValues(t, 3, m.request())
	require.Equal(t, "error", m.kind(), "the request has failed, so there is no target")
	require.Empty(t, l.all())
}

// promiseOnAFailure promises a step on a look-up whose error repeats the name, and
// which fails when fail is called.
func promiseOnAFailure(t *testing.T, name string) (step *Promise, fail func()) {
	t.Helper()
	g := newGate()
	c, s := pipelined(t, networks[0], nil, true)
	s.host.mu.Lock()
	s.host.lookup = func(_ context.Context, n string) (*Object, error) {
		g.pass("x")
		return nil, fmt.Errorf("no volume %s here", n)
	}
	s.host.mu.Unlock()
	look, err := c.LookUp(t.Context(), name)
	require.NoError(t, err)
	return promise(t, look, "step", 1), func() { close(g.open) }
}

// The name of a look-up in errors of what builds on it.
func TestSecretInChain(t *testing.T) {
	const name = "rrw5b3gqnlqyfxk6tjwbwcgtvr5k5v4a"
	step, fail := promiseOnAFailure(t, name)
	fail()
	_, err := step.Wait(t.Context())
	require.Error(t, err)
	require.NotContains(t, err.Error(), name)
}

func TestSecretInCallOnChain(t *testing.T) {
	const name = "rrw5b3gqnlqyfxk6tjwbwcgtvr5k5v4a"
	step, fail := promiseOnAFailure(t, name)
	call, err := step.Start(t.Context(), "height", Args{}, nil, nil)
	require.NoError(t, err)
	fail()
	err = call.Wait(t.Context())
	require.Error(t, err)
	require.NotContains(t, err.Error(), name)
}

// What promises of promises fail with.
func TestPromiseOfAFailedPromiseIsNotRun(t *testing.T) {
	for _, both := range []bool{true, false} {
		t.Run(fmt.Sprint(both), func(t *testing.T) {
			l := ladder{}
			c, _ := pipelined(t, networks[0], l.rung(0), both)
			root, err := c.LookUp(t.Context(), "root")
			require.NoError(t, err)
			down := promise(t, root, "step", -1)
			p2, err := down.Promise(t.Context(), "step", Args{Positional: []any{1}})
			if err == nil {
				var pend *Pending
				pend, err = p2.Start(t.Context(), "note", Args{Positional: []any{1}}, nil, nil)
				_, e := p2.Wait(t.Context())
				t.Log(e)
				require.ErrorIs(t, e, ErrNotRun)
				if err == nil {
					err = pend.Wait(t.Context())
				}
			}
			t.Log(err)
			require.ErrorIs(t, err, ErrNotRun)
			f, ok := errors.AsType[*Failure](err)
			require.True(t, ok)
			require.Contains(t, f.Type, "ValueError")
		})
	}
}

// Interceptors stand around our calls.
func TestInterceptorsSeePromises(t *testing.T) {
	var seen ledger
	var l ladder
	c, _ := pipelined(t, networks[0], l.rung(0), true, func(c *Config) {
		c.Outbound = []Interceptor{func(ctx context.Context, info *CallInfo, next func(context.Context) (any, error)) (any, error) {
			seen.note("%s", info.Method)
			return nil, errors.New("revoked")
		}}
	})
	root, err := c.LookUp(t.Context(), "root")
	require.NoError(t, err)
	p, err := root.Promise(t.Context(), "step", Args{Positional: []any{1}})
	if err == nil {
		_, err = p.Wait(t.Context())
	}
	require.Error(t, err)
	require.Equal(t, []string{"step"}, seen.all())
}

// A hostile answer to a promise: memory that nobody accounts for.
func TestAnswerOfAPromiseIsAccounted(t *testing.T) {
	noLeaks(t)
	a, b := pipePair(t)
	a.Pipelines = true
	s, p := peerOf(t, a, b.Conn, nil)
	type res struct {
		p   *Promise
		err error
	}
	done := make(chan res, 1)
	go func() {
		pr, err := s.LookUp(context.Background(), "root")
		done <- res{pr, err}
	}()
	m := p.receive()
	r := within(t, "sent", done)
	require.NoError(t, r.err)
	p.send(answerSeq(m.request(), pattern(8<<20, 1)))
	require.Equal(t, "pdrop", p.receive().kind())
	_, err := r.p.Wait(t.Context())
	require.Error(t, err)
	held := 0
	if v, ok := r.p.value.([]byte); ok {
		held = len(v)
	}
	require.EqualValues(t, held, s.conf.Account.Used(), "bytes that the promise holds, and that are charged")
}

// References in calls that are not run.
func TestReferencesOfCallsThatAreNotRun(t *testing.T) {
	for _, how := range []string{"not run", "wrong arguments", "no method"} {
		t.Run(how, func(t *testing.T) {
			g := newGate()
			rung := NewObject("", nil, NewMethod("note", func(_ context.Context, a struct{ What int }) (any, error) { return nil, nil }))
			root := NewObject("", nil, method("step", func(ctx context.Context) (*Object, error) {
				g.pass("step")
				if how == "not run" {
					return nil, valueError("no")
				}
				return rung, nil
			}))
			s, p := openPipelined(t, root)
			p.send(pcallSeq(1, 1, 0, "getReferenceByName", []byte("root")))
			require.Equal(t, "answer", p.receive().kind())
			meth := "note"
			if how == "no method" {
				meth = "nothing"
			}
			p.send(pcallSeq(2, 3, 1, "step"), pcallSeq(3, 2, 2, meth, seq{"my-reference", 7, ""}))
			within(t, "step has begun", g.entered)
			eventually(t, "waits", func() bool { return s.Tables().Inbound == 2 })
			close(g.open)
			kinds := map[string]int{}
			got := make(chan message)
			go func() {
				for range 3 {
					got <- p.receive()
				}
			}()
			for range 3 {
				select {
				case m := <-got:
					kinds[m.kind()+m.method()]++
				case <-time.After(3 * time.Second):
					p.conn.Close()
					t.Fatalf("no release: %v, imports %d", kinds, s.Tables().Imports)
				}
			}
			require.Equal(t, 1, kinds["calldecref"])
		})
	}
}

// Arguments that go through Recode are what they were.
