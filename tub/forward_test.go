package tub_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// refusal is an error with a type of its own on the wire.
type refusal string

func (e refusal) Error() string                { return string(e) }
func (refusal) RemoteType() (string, []string) { return "test.Refusal", nil }

// file is an object to be handed out in parts.
func file() *tub.Object {
	text := "text"
	return tub.NewObject(
		tub.Interface("RIFile.example.org"),
		tub.Value("the file"),
		tub.Method("read", func(context.Context, tub.None) (string, error) { return text, nil }),
		tub.Method("stat", func(context.Context, tub.None) (int, error) { return len(text), nil }),
		tub.Method("write", func(_ context.Context, a struct {
			Text  string
			Twice bool `foolscap:",optional"`
		}) (tub.None, error) {
			text = a.Text
			return tub.None{}, nil
		}),
		tub.Method("fail", func(context.Context, tub.None) (any, error) { return nil, refusal("no") }),
		tub.Method("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
	)
}

func assertRevoked(t testing.TB, err error) {
	t.Helper()
	assert.ErrorIs(t, err, tub.ErrRevoked)
	var failure *tub.Failure
	if assert.ErrorAs(t, err, &failure) {
		assert.Equal(t, "foolscap.go.Revoked", failure.Type)
	}
}

func TestAFacetHasFewerMethods(t *testing.T) {
	t.Parallel()
	server, client := newServer(t, nil), newTub(t, nil)
	o := file()
	reader := tub.NewObject(tub.Interface("RIReader.example.org"), tub.Facet(o, "read", "stat"))
	r := connect(t, client, register(t, server, reader))
	assert.Equal(t, "text", call[string](t, r, "read"))
	assert.Equal(t, 4, call[int](t, r, "stat"))
	for _, method := range []string{"write", "echo", "nothing", ""} {
		_, err := tub.Call[any](within(t), r, method, "other")
		var failure *tub.Failure
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, "builtins.AttributeError", failure.Type)
	}
	assert.Nil(t, reader.Value(), "who gets it home does not take it for the file")
	for name, f := range map[string]func(){
		"what it does not have": func() { tub.NewObject(tub.Facet(o, "delete")) },
		"one twice":             func() { tub.NewObject(tub.Facet(o, "read", "read")) },
	} {
		assert.Panics(t, f, name)
	}

	// Of a remote object, and of another facet.
	p := newPair(t, nil, nil)
	remote, revoke := tub.Forward(r, tub.ForwardOptions{})
	f := register(t, p.server, tub.NewObject(tub.Facet(tub.NewObject(tub.Facet(remote, "read", "write")), "read")))
	r = connect(t, p.client, f)
	assert.Equal(t, "text", call[string](t, r, "read"))
	_, err := tub.Call[any](within(t), r, "write", "other")
	assert.ErrorContains(t, err, "no method")
	revoke()
	_, err = tub.Call[any](within(t), r, "read")
	assertRevoked(t, err)
}

// targets are what a forwarder can stand before.
func targets(t *testing.T) map[string]func(tub.ForwardOptions) (*tub.Object, func()) {
	server, middle := newServer(t, nil), newServer(t, nil)
	f := register(t, server, file())
	return map[string]func(o tub.ForwardOptions) (*tub.Object, func()){
		"a local object":          func(o tub.ForwardOptions) (*tub.Object, func()) { return tub.Forward(file(), o) },
		"a remote object":         func(o tub.ForwardOptions) (*tub.Object, func()) { return tub.Forward(connect(t, middle, f), o) },
		"an unresolved reference": func(o tub.ForwardOptions) (*tub.Object, func()) { return tub.Forward(middle.Ref(f), o) },
		"another forwarder": func(o tub.ForwardOptions) (*tub.Object, func()) {
			inner, _ := tub.Forward(file(), tub.ForwardOptions{})
			return tub.Forward(inner, o)
		},
		"one that is revoked with it": func(o tub.ForwardOptions) (*tub.Object, func()) {
			inner, revoke := tub.Forward(file(), o)
			outer, _ := tub.Forward(inner, tub.ForwardOptions{})
			return outer, revoke
		},
	}
}

func TestAForwarderPassesEverythingOn(t *testing.T) {
	t.Parallel()
	for name, forward := range targets(t) {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, nil, nil)
			o, revoke := forward(tub.ForwardOptions{})
			if name != "an unresolved reference" {
				assert.Equal(t, "RIFile.example.org", o.Interface())
			}
			r := connect(t, p.client, register(t, p.server, o))
			call[tub.None](t, r, "write", tub.Keywords{"text": "new"})
			assert.Equal(t, "new", call[string](t, r, "read"))
			deep := banana.Tuple{banana.NewList(int64(1), banana.NewDict("a", []byte{1})), nil, 1.5}
			assert.Equal(t, any(deep), call[any](t, r, "echo", deep))
			mine := calculator()
			back := call[any](t, r, "echo", banana.NewList(p.ref, 1)).(*banana.List)
			assert.Equal(t, 3, call[int](t, back.Items[0].(*tub.Ref), "add", 1, 2), "references go to and fro")
			if name != "a remote object" && name != "an unresolved reference" { // where the client cannot be introduced
				assert.Same(t, mine, call[*tub.Object](t, r, "echo", mine))
			}
			_, err := tub.Call[any](within(t), r, "fail")
			var failure *tub.Failure
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, tub.Failure{Type: "test.Refusal", Text: "no", Traceback: failure.Traceback, Parents: failure.Parents}, *failure)
			_, err = tub.Call[any](within(t), r, "nothing")
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "builtins.AttributeError", failure.Type)

			revoke()
			revoke()
			for _, method := range []string{"read", "echo", "nothing"} {
				_, err := tub.Call[any](within(t), r, method)
				assertRevoked(t, err)
			}
			assert.Equal(t, 3, call[int](t, p.ref, "add", 1, 2))
		})
	}
}

func TestAForwarderEndsByItself(t *testing.T) {
	t.Parallel()
	for name, forward := range targets(t) {
		t.Run("after so many calls, for "+name, func(t *testing.T) {
			p := newPair(t, nil, nil)
			var seen events
			o, revoke := forward(tub.ForwardOptions{Calls: 3, Observer: seen.observe})
			r := connect(t, p.client, register(t, p.server, o))
			var wg sync.WaitGroup
			var mu sync.Mutex
			failed := 0
			for range 10 {
				wg.Go(func() {
					if _, err := tub.Call[string](within(t), r, "read"); errors.Is(err, tub.ErrRevoked) {
						mu.Lock()
						failed++
						mu.Unlock()
					} else {
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
			assert.Equal(t, 7, failed)
			revoke()
			require.Len(t, seen.of(tub.EventRevoke), 1)
			assert.Equal(t, "spent", seen.of(tub.EventRevoke)[0].Detail)
		})
	}
	t.Run("when nothing is left of its bounds", func(t *testing.T) {
		p := newPair(t, nil, nil)
		for want, o := range map[string]tub.ForwardOptions{"spent": {Calls: -1}, "expired": {Lifetime: -1}} {
			var seen events
			o.Observer = seen.observe
			forwarder, _ := tub.Forward(file(), o)
			_, err := tub.Call[string](within(t), connect(t, p.client, register(t, p.server, forwarder)), "read")
			assertRevoked(t, err)
			require.Len(t, seen.of(tub.EventRevoke), 1)
			assert.Equal(t, want, seen.of(tub.EventRevoke)[0].Detail)
		}
	})
	t.Run("after a time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var seen events
			o, _ := tub.Forward(file(), tub.ForwardOptions{Lifetime: time.Hour, Observer: seen.observe})
			earlier, revoke := tub.Forward(file(), tub.ForwardOptions{Lifetime: time.Hour, Calls: 5, Observer: seen.observe})
			id, err := tub.NewIdentity()
			require.NoError(t, err)
			tb, err := tub.New(id, &tub.Options{Keepalive: -1})
			require.NoError(t, err)
			defer tb.Close()
			f, err := tb.Register(o)
			require.NoError(t, err)
			r := tb.Ref(f)
			time.Sleep(time.Hour - time.Nanosecond)
			text, err := tub.Call[string](t.Context(), r, "read")
			require.NoError(t, err)
			assert.Equal(t, "text", text)
			revoke()
			time.Sleep(time.Nanosecond)
			_, err = tub.Call[string](t.Context(), r, "read")
			assertRevoked(t, err)
			synctest.Wait()
			var ends []string
			for _, e := range seen.of(tub.EventRevoke) {
				ends = append(ends, fmt.Sprint(e.Detail, e.Object == o, e.Object == earlier))
			}
			assert.Equal(t, []string{"revokedfalse true", "expiredtrue false"}, ends)
		})
	})
}

func TestRevocationLetsCallsFinishAndTheTargetGo(t *testing.T) {
	t.Parallel()
	var seen events
	server := newServer(t, &tub.Options{Observer: seen.observe})
	begun, proceed := make(chan bool, 2), make(chan bool)
	target := tub.NewObject(tub.Method("wait", func(ctx context.Context, a struct{ Text string }) (string, error) {
		begun <- true
		<-proceed
		return a.Text, nil
	}))
	owner := connect(t, newTub(t, nil), register(t, server, tub.NewObject(
		tub.Method("target", func(context.Context, tub.None) (*tub.Object, error) { return target, nil }),
	)))
	p := newPair(t, nil, nil)
	o, revoke := tub.Forward(call[*tub.Ref](t, owner, "target"), tub.ForwardOptions{})
	r := connect(t, p.client, register(t, p.server, o))
	first, err := tub.Start[string](within(t), r, "wait", "first")
	require.NoError(t, err)
	<-begun
	second, err := tub.Start[string](within(t), r, "wait", "second")
	require.NoError(t, err)
	call[int](t, p.ref, "add", 1, 2) // the second is on its way to the target
	revoke()
	_, err = tub.Call[string](within(t), r, "wait", "third")
	assertRevoked(t, err)
	close(proceed)
	for want, call := range map[string]*tub.Pending[string]{"first": first, "second": second} {
		text, err := call.Wait(within(t))
		require.NoError(t, err, "what has begun finishes")
		assert.Equal(t, want, text)
	}
	eventually(t, func() bool {
		runtime.GC()
		return slices.ContainsFunc(seen.of(tub.EventReference), func(e tub.Event) bool {
			return e.Inbound && e.Detail == "released" && e.Object == target
		})
	}, "the target is released")
}

// What was read before the revocation, and waits for its turn or for its target, does
// not run after it.
func TestRevocationStopsCallsThatWait(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil, nil)
	begun, proceed := make(chan bool), make(chan bool)
	ran := make(chan string, 10)
	target := tub.NewObject(tub.Method("run", func(_ context.Context, a struct{ Name string }) (tub.None, error) {
		ran <- a.Name
		return tub.None{}, nil
	}))
	o, revoke := tub.Forward(target, tub.ForwardOptions{})
	desk := connect(t, p.client, register(t, p.server, tub.NewObject(
		tub.Method("hold", func(context.Context, tub.None) (*tub.Object, error) {
			begun <- true
			<-proceed
			return o, nil
		}),
		tub.Facet(o, "run"),
	)))
	promised, err := tub.Promise(within(t), desk, "hold")
	require.NoError(t, err)
	<-begun
	var waiting []*tub.Pending[tub.None]
	for _, r := range []*tub.Ref{desk, promised} {
		w, err := tub.Start[tub.None](within(t), r, "run", "late")
		require.NoError(t, err)
		waiting = append(waiting, w)
	}
	other := connect(t, newTub(t, nil), register(t, p.server, o))
	call[tub.None](t, other, "run", "in time")
	revoke()
	close(proceed)
	for _, w := range waiting {
		_, err := w.Wait(within(t))
		assertRevoked(t, err)
	}
	assert.Equal(t, "in time", <-ran)
	assert.Empty(t, ran)
}

func TestWhatAForwarderTellsOfATargetThatCannotBeReached(t *testing.T) {
	t.Parallel()
	hint := deadHint(t)
	for name, hidden := range map[string]bool{"of an ordinary Tub": false, "of a hidden Tub": true} {
		t.Run(name, func(t *testing.T) {
			middle := newTub(t, &tub.Options{Hidden: hidden})
			fails := func(target *tub.Ref, method string) *tub.Failure {
				o, _ := tub.Forward(target, tub.ForwardOptions{})
				_, err := tub.Call[any](within(t), connect(t, middle, register(t, middle, o)), method)
				var failure *tub.Failure
				require.ErrorAs(t, err, &failure)
				return failure
			}
			lost := fails(middle.Ref(named(t, newIdentity(t).TubID(), hint)), "read")
			assert.Equal(t, "foolscap.go.ForwardFailed", lost.Type)
			assert.Equal(t, "the target of the forwarder cannot be reached: the call was not sent", lost.Text)
			assert.Equal(t, "test.Refusal", fails(middle.Ref(register(t, middle, file())), "fail").Type)
		})
	}
}

func TestForwardersOfFunctions(t *testing.T) {
	t.Parallel()
	server, client := newServer(t, nil), newTub(t, nil)
	r := connect(t, client, register(t, server, users()))
	remote := call[*tub.Ref](t, r, "give")
	local, revoke := tub.Forward(tub.Func(double), tub.ForwardOptions{})
	assert.Equal(t, 42, call[int](t, r, "use", local))
	revoke()
	_, err := tub.Call[any](within(t), r, "use", local)
	assertRevoked(t, err)
	there, revoke := tub.Forward(remote, tub.ForwardOptions{})
	assert.Equal(t, 42, call[int](t, r, "use", there))
	revoke()
	_, err = tub.Call[any](within(t), r, "use", there)
	assertRevoked(t, err)
}

// What happens to a facet is told by what tells of everything else: the
// interceptors of calls, and the observer.
func TestTheAuditTrailOfAFacet(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var trail []string
	names := map[*tub.Object]string{}
	note := func(o *tub.Object, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if name := names[o]; name != "" {
			trail = append(trail, name+" "+fmt.Sprintf(format, args...))
		}
	}
	observer := func(e tub.Event) {
		switch {
		case e.Object == nil:
		case e.Kind == tub.EventReference && e.Detail == "sent":
			note(e.Object, "passed to %s", e.Peer.Short())
		case e.Kind == tub.EventReference:
			note(e.Object, "released by %s", e.Peer.Short())
		case e.Kind == tub.EventRevoke:
			note(e.Object, "%s", e.Detail)
		}
	}
	server := newServer(t, &tub.Options{Observer: observer, Inbound: []tub.Interceptor{
		func(ctx context.Context, c *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
			v, err := next(ctx)
			note(c.Object, "%s called by %s: %v", c.Method, c.Peer.Short(), err)
			return v, err
		},
	}})
	alice, bob := newServer(t, nil), newServer(t, nil)

	o, revoke := tub.Forward(tub.NewObject(tub.Facet(file(), "read")), tub.ForwardOptions{Observer: observer})
	names[o] = "reader"
	desk := connect(t, alice, register(t, server, tub.NewObject(
		tub.Method("reader", func(context.Context, tub.None) (*tub.Object, error) { return o, nil }),
	)))
	r := call[*tub.Ref](t, desk, "reader")
	call[string](t, r, "read")
	friend := connect(t, alice, register(t, bob, tub.NewObject(
		tub.Method("use", func(ctx context.Context, a struct{ R *tub.Ref }) (string, error) {
			defer a.R.Close()
			return tub.Call[string](ctx, a.R, "read")
		}),
	)))
	call[string](t, friend, "use", r)
	eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(trail) == 5 }, "bob releases it")
	revoke()
	_, err := tub.Call[string](within(t), r, "read")
	assertRevoked(t, err)
	a, b := alice.TubID().Short(), bob.TubID().Short()
	assert.Equal(t, []string{
		"reader passed to " + a,
		"reader read called by " + a + ": <nil>",
		"reader passed to " + b,
		"reader read called by " + b + ": <nil>",
		"reader released by " + b,
		"reader revoked",
		"reader read called by " + a + ": " + tub.ErrRevoked.Error(),
	}, trail)
}
