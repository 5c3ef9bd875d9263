package tub_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/tub"
)

// A counter is an interface that goes by reference.
type counter interface {
	Add(ctx context.Context, a addend) (int, error)
}

type addend struct{ N int }

// localCounter is one in memory, remoteCounter one elsewhere.
type localCounter struct{ sum int }

func (c *localCounter) Add(_ context.Context, a addend) (int, error) {
	c.sum += a.N
	return c.sum, nil
}

type remoteCounter struct{ *tub.Ref }

func (c remoteCounter) Add(ctx context.Context, a addend) (int, error) {
	return tub.Call[int](ctx, c.Ref, "add", a.N)
}

func newCounterStub() tub.Stub {
	return tub.StubOf(
		func(r *tub.Ref) counter { return remoteCounter{r} },
		func(c counter) *tub.Object {
			return tub.NewObject(tub.Interface("RICounter.example.org"), tub.Value(c), tub.MethodsOf(c, nil))
		},
	)
}

func counters() *tub.Options { return &tub.Options{Stubs: []tub.Stub{newCounterStub()}} }

func TestLocalAndRemoteValuesOfAnInterfaceAreUsedAlike(t *testing.T) {
	t.Parallel()
	server, client := newServer(t, counters()), newServer(t, counters())
	own := &localCounter{sum: 1000}
	var held counter
	desk := tub.NewObject(
		tub.Method("use", func(ctx context.Context, a struct{ C counter }) (string, error) {
			n, err := a.C.Add(ctx, addend{1})
			return fmt.Sprintf("%T %d", a.C, n), err
		}),
		tub.Method("deep", func(ctx context.Context, a struct{ All map[string][]counter }) (int, error) {
			return a.All["here"][0].Add(ctx, addend{1})
		}),
		tub.Method("own", func(context.Context, tub.None) (counter, error) { return own, nil }),
		tub.Method("own_facet", func(context.Context, tub.None) (*tub.Object, error) {
			o, _ := tub.Forward(tub.NewObject(tub.Value(own), tub.MethodsOf[counter](own, nil)), tub.ForwardOptions{})
			return o, nil
		}),
		tub.Method("hold", func(_ context.Context, a struct{ C counter }) (tub.None, error) {
			held = a.C
			return tub.None{}, nil
		}),
		tub.Method("held", func(context.Context, tub.None) (counter, error) { return held, nil }),
		tub.Method("name", func(_ context.Context, a struct{ C *tub.Ref }) (string, error) { return a.C.Interface(), nil }),
	)
	r := connect(t, client, register(t, server, desk))

	mine := &localCounter{}
	assert.Equal(t, "tub_test.remoteCounter 1", call[string](t, r, "use", mine))
	assert.Equal(t, "RICounter.example.org", call[string](t, r, "name", mine))
	assert.Equal(t, 2, call[int](t, r, "deep", map[string][]counter{"here": {mine}}))
	assert.Equal(t, 3, call[int](t, r, "deep", map[string]any{"here": []any{mine}}))

	theirs := call[counter](t, r, "own")
	n, err := theirs.Add(within(t), addend{1})
	require.NoError(t, err)
	assert.Equal(t, 1001, n)
	assert.Equal(t, "*tub_test.localCounter 1002", call[string](t, r, "use", theirs), "at home it is itself")
	assert.True(t, tub.Same(theirs.(remoteCounter).Ref, call[counter](t, r, "own").(remoteCounter).Ref), "it is the same each time")
	assert.Equal(t, "tub_test.remoteCounter 1003", call[string](t, r, "use", call[*tub.Ref](t, r, "own_facet")),
		"what only forwards to it is not itself")

	call[tub.None](t, r, "hold", mine)
	assert.Same(t, mine, call[counter](t, r, "held"))
	call[tub.None](t, r, "hold", counter(nil))
	assert.Nil(t, call[counter](t, r, "held"))

	// A third Tub is introduced by its stub.
	third := newServer(t, counters())
	other := connect(t, client, register(t, third, desk))
	assert.Equal(t, "tub_test.remoteCounter 1004", call[string](t, other, "use", theirs))
}

func TestTheObjectOfALocalValueLastsAsLongAsSomebodyHoldsIt(t *testing.T) {
	t.Parallel()
	made := 0
	stub := tub.StubOf(
		func(r *tub.Ref) counter { return remoteCounter{r} },
		func(c counter) *tub.Object {
			made++
			return tub.NewObject(tub.Value(c), tub.MethodsOf(c, nil))
		},
	)
	var connection *broker.Broker
	there := counters()
	there.Inbound = []tub.Interceptor{func(ctx context.Context, _ *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
		connection = broker.FromContext(ctx)
		return next(ctx)
	}}
	p := newPair(t, there, &tub.Options{Stubs: []tub.Stub{stub}})
	mine := &localCounter{}
	hold := connect(t, p.client, register(t, p.server, tub.NewObject(
		tub.Method("hold", func(_ context.Context, a struct{ C, D counter }) (bool, error) {
			return tub.Same(a.C.(remoteCounter).Ref, a.D.(remoteCounter).Ref), nil
		}),
	)))
	assert.True(t, call[bool](t, hold, "hold", mine, mine))
	assert.False(t, call[bool](t, hold, "hold", mine, &localCounter{}))
	assert.Equal(t, 2, made)
	eventually(t, func() bool { runtime.GC(); return connection.Tables().Imports == 0 }, "the other side has released them")
	runtime.GC()
	call[bool](t, hold, "hold", mine, mine)
	assert.Equal(t, 3, made)
}

func TestStubsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	wrap := func(r *tub.Ref) counter { return remoteCounter{r} }
	object := func(counter) *tub.Object { return nil }
	assert.Panics(t, func() { tub.StubOf(wrap, nil) })
	assert.Panics(t, func() { tub.StubOf(func(*tub.Ref) int { return 0 }, func(int) *tub.Object { return nil }) })
	assert.Panics(t, func() { tub.StubOf(func(*tub.Ref) any { return nil }, func(any) *tub.Object { return nil }) })
	for name, stubs := range map[string][]tub.Stub{"two": {newCounterStub(), newCounterStub()}, "an empty one": {{}}} {
		_, err := tub.New(newIdentity(t), &tub.Options{Stubs: stubs})
		assert.ErrorContains(t, err, "Stub", name)
	}

	p := newPair(t, nil, &tub.Options{Stubs: []tub.Stub{tub.StubOf(wrap, object)}})
	_, err := tub.Call[any](within(t), p.ref, "echo", &localCounter{})
	assert.ErrorContains(t, err, "has made no object")
	_, err = tub.Call[counter](within(t), p.ref, "echo", 1)
	assert.ErrorContains(t, err, "expected reference, got int")
	_, err = tub.Call[interface{ Sub() }](within(t), p.ref, "echo", calculator())
	assert.ErrorContains(t, err, "there is no Stub for interface { Sub() }")
	assert.Equal(t, 3, call[int](t, p.ref, "add", 1, 2), "the connection lives")
}
