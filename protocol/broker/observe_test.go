package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type ctxKey struct{}

func TestInterceptorsStandAroundCallsInTheirOrder(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		var notes ledger
		watch := func(who string) Interceptor {
			return func(ctx context.Context, call *CallInfo, next func(context.Context) (any, error)) (any, error) {
				if call.Method == "getReferenceByName" {
					return next(ctx)
				}
				notes.note("%s before %s %s inbound=%t object=%t", who, call.Interface, call.Method, call.Inbound, call.Object != nil)
				v, err := next(context.WithValue(ctx, ctxKey{}, fmt.Sprint(ctx.Value(ctxKey{}), who)))
				notes.note("%s after %v", who, err != nil)
				return v, err
			}
		}
		root := NewObject("RIRoot", nil,
			method("m", func(ctx context.Context) (string, error) { return ctx.Value(ctxKey{}).(string), nil }),
			method("fail", func(context.Context) (any, error) { return nil, errors.New("no") }),
		)
		noLeaks(t)
		a, b := n.pair(t)
		client := newSide(t, a, nil, func(c *Config) { c.Outbound = []Interceptor{watch("out1"), watch("out2")} })
		newSide(t, b, root, func(c *Config) { c.Inbound = []Interceptor{watch("in1"), watch("in2")} })
		r := client.root(t)
		order := func(failed bool) []string {
			var want []string
			m := "m"
			if failed {
				m = "fail"
			}
			for _, who := range []string{"out1", "out2"} {
				want = append(want, who+" before RIRoot "+m+" inbound=false object=false")
			}
			for _, who := range []string{"in1", "in2"} {
				want = append(want, who+" before RIRoot "+m+" inbound=true object=true")
			}
			for _, who := range []string{"in2", "in1", "out2", "out1"} {
				want = append(want, fmt.Sprintf("%s after %t", who, failed))
			}
			return want
		}
		v, err := call[string](t.Context(), r, "m")
		require.NoError(t, err)
		require.Equal(t, "<nil>in1in2", v, "the method sees what they put into its context")
		require.Equal(t, order(false), notes.all())
		notes.entries = nil
		_, err = call[any](t.Context(), r, "fail")
		require.Error(t, err)
		require.Equal(t, order(true), notes.all())

		notes.entries = nil
		p, w, err := begin[string](t.Context(), r, "m")
		require.NoError(t, err)
		require.NoError(t, p.Wait(t.Context()))
		require.Equal(t, "<nil>in1in2", *w)
		require.Equal(t, order(false), notes.all(), "of Start too")

		notes.entries = nil
		require.NoError(t, r.Send(t.Context(), "m", Args{}))
		eventually(t, "it has run", func() bool { return len(notes.all()) == 8 })
		require.Equal(t, "out1 before RIRoot m inbound=false object=false", notes.all()[0])
		r.Close()
	})
}

func TestInterceptorsSeeArgumentsAndResults(t *testing.T) {
	type args struct {
		A int
		B string `foolscap:",optional"`
	}
	seen := make(chan any, 10)
	c := func(ctx context.Context, call *CallInfo, next func(context.Context) (any, error)) (any, error) {
		if call.Method == "getReferenceByName" {
			return next(ctx)
		}
		assert.Equal(t, ourTub, call.Peer)
		seen <- call.Args
		v, err := next(ctx)
		seen <- v
		if call.Inbound && call.Method == "double" {
			return v.(int) * 10, err // it may change the result
		}
		return v, err
	}
	byReflection, err := MethodOf("reflected", reflect.ValueOf(func(_ context.Context, a args) (int, error) { return a.A, nil }))
	require.NoError(t, err)
	root := NewObject("", nil,
		NewMethod("double", func(_ context.Context, a args) (int, error) { return 2 * a.A, nil }),
		NewMethod("raw", func(_ context.Context, a Args) (int, error) { return len(a.Positional), nil }),
		byReflection,
	)
	noLeaks(t)
	a, b := pipePair(t)
	a.Peer, b.Peer = ourTub, ourTub
	client := newSide(t, a, nil, func(conf *Config) { conf.Outbound = []Interceptor{c} })
	newSide(t, b, root, func(conf *Config) { conf.Inbound = []Interceptor{c} })
	r := client.root(t)
	next := func() any { return within(t, "they see it", seen) }

	v, err := call[int](t.Context(), r, "double", 4, "b")
	require.NoError(t, err)
	require.Equal(t, 80, v)
	require.Equal(t, Args{Positional: []any{4, "b"}}, next())
	require.Equal(t, &args{4, "b"}, next())
	require.Equal(t, 8, next())
	require.Equal(t, 80, *next().(*int))

	_, err = call[int](t.Context(), r, "raw", 4)
	require.NoError(t, err)
	next()
	require.Equal(t, &Args{Positional: []any{int64(4)}}, next())
	next()
	next()
	_, err = call[int](t.Context(), r, "reflected", 4)
	require.NoError(t, err)
	next()
	require.Equal(t, &args{A: 4}, next())
	next()
	next()
	r.Close()
}

func TestAnInterceptorMayRefuse(t *testing.T) {
	refused := errors.New("refused by policy")
	ran := false
	root := NewObject("", nil, method("m", func(context.Context) (any, error) {
		ran = true
		return nil, nil
	}))
	refuse := func(ctx context.Context, call *CallInfo, next func(context.Context) (any, error)) (any, error) {
		if call.Method == "getReferenceByName" {
			return next(ctx)
		}
		return nil, refused
	}
	t.Run("calls that come in", func(t *testing.T) {
		c, s := connect(t, networks[1], nil, root, func(c *Config) { c.Inbound = []Interceptor{refuse} })
		r := c.root(t)
		_, err := call[any](t.Context(), r, "m")
		var f *Failure
		require.ErrorAs(t, err, &f)
		require.Equal(t, refused.Error(), f.Text)
		r.Close()
		eventually(t, "nobody can refuse a release", func() bool { return s.Tables().Exports == 0 })
	})
	t.Run("calls that go out", func(t *testing.T) {
		c, s := connect(t, networks[1], nil, root, func(c *Config) { c.Outbound = []Interceptor{refuse} })
		r := c.root(t)
		_, err := call[any](t.Context(), r, "m")
		require.ErrorIs(t, err, refused)
		require.Equal(t, NotSent, callError(t, err).Sent)
		require.Equal(t, "m", callError(t, err).Method)
		require.ErrorIs(t, r.Send(t.Context(), "m", Args{}), refused)
		p, _, err := begin[any](t.Context(), r, "m")
		require.NoError(t, err)
		require.ErrorIs(t, p.Wait(t.Context()), refused)
		require.Zero(t, s.Tables().Inbound)
	})
	require.False(t, ran)
}

func TestAnInterceptorThatDoesNotReturnFailsItsCall(t *testing.T) {
	root := noneRoot()
	for name, test := range map[string]struct {
		leave func()
		text  string
		sent  Sent
	}{
		"it panics":                {func() { panic("in the way") }, "panic: in the way", NotSent},
		"it ends its goroutine":    {runtime.Goexit, errInterceptorEnded.Error(), NotSent},
		"it fails behind the call": {nil, "too late", Answered},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := connect(t, networks[1], nil, root, func(c *Config) {
				c.Outbound = []Interceptor{func(ctx context.Context, call *CallInfo, next func(context.Context) (any, error)) (any, error) {
					if test.leave != nil {
						test.leave()
					}
					next(ctx)
					return nil, errors.New("too late")
				}}
			})
			r := c.root(t)
			p, _, err := begin[any](t.Context(), r, "none")
			require.NoError(t, err)
			failed := callError(t, p.Wait(t.Context()))
			require.ErrorContains(t, failed, test.text)
			require.Equal(t, test.sent, failed.Sent)
		})
	}
}

func TestInterceptorsDoNotSeeTheNamesOfObjects(t *testing.T) {
	seen := make(chan string, 10)
	c, _ := connect(t, networks[1], nil, noneRoot(), func(c *Config) {
		watch := func(ctx context.Context, call *CallInfo, next func(context.Context) (any, error)) (any, error) {
			seen <- call.Method
			return next(ctx)
		}
		c.Inbound, c.Outbound = []Interceptor{watch}, []Interceptor{watch}
	})
	r := c.root(t)
	_, err := call[any](t.Context(), r, "none")
	require.NoError(t, err)
	require.Equal(t, "none", within(t, "one side sees the call", seen))
	require.Equal(t, "none", within(t, "the other side too", seen))
	require.Empty(t, seen)
}

func TestAStartedCallWithInterceptorsCanBeCancelled(t *testing.T) {
	g := newGate()
	pass := func(ctx context.Context, _ *CallInfo, next func(context.Context) (any, error)) (any, error) {
		return next(ctx)
	}
	c, _ := connect(t, networks[0], nil, NewObject("", nil, method("slow", func(context.Context) (any, error) {
		g.pass("")
		return nil, nil
	})), func(c *Config) { c.Outbound = []Interceptor{pass} })
	r := c.root(t)
	p, _, err := begin[any](t.Context(), r, "slow")
	require.NoError(t, err)
	within(t, "it runs", g.entered)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	requireCancelled(t, p.Wait(ctx), MayHaveRun)
	close(g.open)
	c.Close(nil)
	_, _, err = begin[any](t.Context(), r, "slow")
	require.ErrorIs(t, err, ErrDeadReference)
}

func TestAnInboundInterceptorMayCallThePeer(t *testing.T) {
	// Neither the reader nor the turn waits for it.
	onAll(t, func(t *testing.T, n network) {
		var back *Remote
		ask := func(ctx context.Context, info *CallInfo, next func(context.Context) (any, error)) (any, error) {
			if info.Method == "m" {
				if _, err := call[bool](ctx, back, "allowed"); err != nil {
					return nil, err
				}
			}
			return next(ctx)
		}
		noLeaks(t)
		a, b := n.pair(t)
		client := newSide(t, a, NewObject("", nil, method("allowed", func(context.Context) (bool, error) { return true, nil })))
		server := newSide(t, b, NewObject("", nil, method("m", func(context.Context) (int, error) { return 7, nil })),
			func(c *Config) { c.Inbound = []Interceptor{ask} })
		back = server.root(t)
		r := client.root(t)
		for range 20 {
			v, err := call[int](t.Context(), r, "m")
			require.NoError(t, err)
			require.Equal(t, 7, v)
		}
		r.Close()
		back.Close()
	})
}

// eventLog keeps events, and looks into the broker for each of them: that
// must not be done under a lock.
type eventLog struct {
	mu     sync.Mutex
	events []Event
	look   *side
}

func (l *eventLog) observe(e Event) {
	l.mu.Lock()
	look := l.look
	l.events = append(l.events, e)
	l.mu.Unlock()
	if look != nil {
		look.Tables()
		_ = look.Err()
	}
}

func (l *eventLog) kinds(kind Kind) (found []Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func TestTheObserverIsToldOfWhatHappens(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		var k keeper
		var log eventLog
		noLeaks(t)
		a, b := n.pair(t)
		b.Inbound = true
		c := newSide(t, a, noneRoot())
		conf := func(c *Config) {
			c.Observer = log.observe
			c.Limits.MaxToken = 1 << 20
		}
		s := newSide(t, b, k.object(), conf)
		log.mu.Lock()
		log.look = s
		log.mu.Unlock()

		connects := log.kinds(EventConnect)
		require.Len(t, connects, 1)
		require.True(t, connects[0].Inbound)
		require.Equal(t, theirTub, connects[0].Peer)

		r := c.root(t)
		_, err := call[int](t.Context(), r, "hold", []any{NewObject("", nil)})
		require.NoError(t, err)
		_, err = call[any](t.Context(), r, "drop")
		require.NoError(t, err)
		_, err = call[any](t.Context(), r, "echo", pattern(2<<20, 1))
		require.ErrorContains(t, err, "MaxToken")
		ours := s.root(t)
		_, err = call[any](t.Context(), ours, "nothing_of_that_name")
		require.Error(t, err)
		_, err = call[any](t.Context(), ours, "none", make(chan int))
		require.Error(t, err)
		require.NoError(t, ours.Send(t.Context(), "none", Args{}))
		ours.Close()
		r.Close()
		eventually(t, "all is released", func() bool { return s.Tables() == Tables{} && c.Tables() == Tables{} })
		s.Close(nil)
		within(t, "it is over", s.Done())

		type callEvent struct {
			method  string
			inbound bool
			failed  bool
		}
		var calls []callEvent
		for _, e := range log.kinds(EventCall) {
			calls = append(calls, callEvent{e.Method, e.Inbound, e.Err != nil})
			require.GreaterOrEqual(t, e.Elapsed.Nanoseconds(), int64(0))
		}
		require.ElementsMatch(t, []callEvent{
			{"getReferenceByName", true, false}, {"hold", true, false}, {"drop", true, false}, {"echo", true, true},
			{"getReferenceByName", false, false}, {"nothing_of_that_name", false, true}, {"none", false, true}, {"none", false, false},
		}, calls)
		details := map[string]int{}
		for _, e := range log.kinds(EventReference) {
			details[fmt.Sprint(e.Detail, e.Inbound)]++
		}
		require.Equal(t, map[string]int{"sentfalse": 1, "receivedtrue": 2, "releasedfalse": 2, "releasedtrue": 1}, details)
		limits := log.kinds(EventLimit)
		require.Len(t, limits, 1)
		require.Equal(t, "MaxToken", limits[0].Detail)
		ends := log.kinds(EventDisconnect)
		require.Len(t, ends, 1)
		require.ErrorIs(t, ends[0].Err, ErrClosed)

		ids := map[uint64]bool{}
		for _, e := range log.events {
			require.False(t, ids[e.ID], "every event has a number of its own")
			ids[e.ID] = true
			if e.Kind != EventConnect {
				require.Equal(t, connects[0].ID, e.Parent)
			}
			require.Equal(t, theirTub, e.Peer)
		}
	})
}

func TestIntroductionsAreObserved(t *testing.T) {
	var log eventLog
	_, p := newPeer(t, noneRoot(), func(c *Config) { c.Observer = log.observe })
	p.lookUp()
	p.send(callSeq(2, 1, "none", seq{"their-reference", 5, "pb://" + string(theirTub) + "@/verysecret"}))
	require.Equal(t, "decgift", p.receive().method())
	require.Equal(t, "error", p.receive().kind())
	require.Len(t, log.kinds(EventGift), 1)
}

func TestSecretsAreInNoEventAndNoLog(t *testing.T) {
	const swissnum = "r5yxtkjpyzu5wqkqdofbzbvtcd2aefg3"
	var k keeper
	var log eventLog
	s, p := newPeer(t, k.object(), func(c *Config) { c.Observer = log.observe })
	s.host.names[swissnum] = s.host.names["root"]
	s.publish(1, s.host.names["root"])
	s.host.furls[s.host.names["root"]] = "pb://" + string(ourTub) + "@/" + swissnum
	other := "pb://" + string(theirTub) + "@tcp:127.0.0.1:1/" + swissnum
	p.send(
		callSeq(1, 0, "getReferenceByName", swissnum),
		callSeq(2, 0, "getReferenceByName", swissnum+"x"),
		callSeq(3, 0, "getReferenceByName", textSeq(swissnum)),
		callSeq(3, 0, "getReferenceByName", swissnum, swissnum),
		callSeq(4, 1, "hold", seq{"list", seq{"my-reference", 5, "", other}}),
		callSeq(4, 1, "hold", seq{"my-reference", 5, "", other}),
		callSeq(5, 1, "none", seq{"their-reference", 5, other}),
	)
	var refused []string
	for range 8 { // seven answers, and the acknowledgement of the introduction
		if m := p.receive(); m.kind() == "error" {
			refused = append(refused, m.String())
		}
	}
	require.Len(t, refused, 5)
	_, err := s.GetReference(canceled(), swissnum)
	require.Error(t, err)
	p.send(callSeq(6, 1, "hold", seq{"list", seq{"my-reference", 6, "", "pb://" + string(ourTub) + "@/" + swissnum}}))
	for m := p.receive(); m != nil; m = p.receive() {
		refused = append(refused, m.String())
	}
	within(t, "the FURL of another Tub ends it", s.Done())
	held := k.take()
	require.Len(t, held, 1)
	require.Contains(t, held[0].FURL(), swissnum, "it has to be somewhere")

	everything := strings.Join(s.logs.containing(""), "\n") + strings.Join(refused, "\n") + fmt.Sprint(s.Err())
	for _, e := range log.events {
		everything += fmt.Sprintf("\n%+v %v", e, e.Err)
	}
	require.NotContains(t, everything, swissnum)
	require.NotContains(t, everything, swissnum[:20])
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestAnObserverThatIsSlowHoldsNoLock(t *testing.T) {
	block := make(chan struct{})
	var once sync.Once
	s, p := newPeer(t, noneRoot(), func(c *Config) {
		c.Observer = func(e Event) {
			if e.Kind == EventReference && e.Detail == "released" {
				once.Do(func() { <-block })
			}
		}
	})
	p.lookUp()
	r := p.offer(s, 1)
	go r.Close()
	require.Equal(t, "decref", p.receive().method())
	p.alive()
	require.Equal(t, 1, s.Tables().Imports)
	close(block)
}

func TestFailuresAreLoggedAtTheLevelsOfTheOptions(t *testing.T) {
	const secret = "pb://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@tcp:127.0.0.1:1/swissnum"
	var client, server *side
	root := NewObject("RIRoot", nil,
		method("fail", func(context.Context) (any, error) { return nil, errors.New("no " + secret) }),
		method("panic", func(context.Context) (any, error) { panic("no") }),
		method("relay", func(context.Context) (any, error) {
			return nil, &CallError{Err: &Failure{Type: "builtins.KeyError", Text: secret}}
		}),
		method("works", func(context.Context) (any, error) { return nil, nil }),
	)
	use := func(t *testing.T) {
		r := client.root(t)
		for _, name := range []string{"fail", "panic", "relay", "works", "missing"} {
			_, err := call[any](t.Context(), r, name)
			assert.Equal(t, name == "works", err == nil, "%s: %v", name, err)
		}
		_, err := client.GetReference(t.Context(), "nothing")
		assert.Error(t, err)
	}
	const local, remote = "a method that the peer has called has failed", "a call has failed at the peer"
	t.Run("when they are set", func(t *testing.T) {
		client, server = connect(t, networks[0], nil, root, func(c *Config) {
			c.LogLocalFailures, c.LogRemoteFailures = slog.LevelWarn, slog.LevelInfo
		})
		use(t)
		assert.Equal(t, []string{
			"WARN " + local + " peer=" + server.Peer().Short() + ` interface=RIRoot method=fail error=no ` + secret,
			"WARN " + local + " peer=" + server.Peer().Short() + ` interface=RIRoot method=relay type=builtins.KeyError`,
		}, server.logs.containing(local))
		var want []string
		for _, failed := range [][2]string{
			{"fail", "errors.errorString"}, {"panic", "broker.panicError"}, {"relay", "builtins.KeyError"},
			{"missing", "builtins.AttributeError"}, {"getReferenceByName", "builtins.KeyError"},
		} {
			want = append(want, "INFO "+remote+" peer="+client.Peer().Short()+" method="+failed[0]+" type="+failed[1])
		}
		assert.Equal(t, want, client.logs.containing(remote))
		assert.Empty(t, client.logs.containing(secret), "the caller does not know what is a secret there")
	})
	t.Run("not by default", func(t *testing.T) {
		client, server = connect(t, networks[0], nil, root)
		use(t)
		assert.Empty(t, server.logs.containing(local))
		assert.Empty(t, client.logs.containing(remote))
	})
}

func TestTypesOfRemoteFailuresCanBeHidden(t *testing.T) {
	root := NewObject("RIRoot", nil, method("fail", func(context.Context) (any, error) {
		return nil, &CallError{Err: &Failure{Type: "builtins.KeyError", Text: "no", Parents: []string{"builtins.KeyError"}}}
	}))
	client, _ := connect(t, networks[0], nil, root, func(c *Config) { c.HideRemoteTypes = true })
	r := client.root(t)
	_, err := call[any](t.Context(), r, "fail")
	var failure *Failure
	require.ErrorAs(t, err, &failure)
	assert.False(t, failure.IsType("builtins.KeyError"))
	assert.True(t, failure.IsType(RemoteException))
	assert.Equal(t, RemoteException+": builtins.KeyError: no", failure.Error())

	// What this program passes on is hidden too.
	f := failureOf(err)
	assert.Equal(t, RemoteException, f.Type)
}

func TestACallThatWasNotRunIsKnownWhereTypesAreHidden(t *testing.T) {
	root := NewObject("", nil, method("fail", func(context.Context) (*Object, error) { return nil, errors.New("no") }))
	c, _ := pipelined(t, networks[0], root, true, func(c *Config) { c.HideRemoteTypes = true })
	looked, err := c.LookUp(t.Context(), "root")
	require.NoError(t, err)
	failed := promise(t, looked, "fail")
	_, err = onPromise[any](t, failed, "note")
	require.ErrorIs(t, err, ErrNotRun)
	failure, ok := errors.AsType[*Failure](err)
	require.True(t, ok)
	assert.Equal(t, RemoteException, failure.Type)
}
