package tub_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/tub"
)

type twice struct {
	N    int
	Plus int `foolscap:",optional"`
}

type twiceFunc = func(context.Context, twice) (int, error)

func double(_ context.Context, a twice) (int, error) {
	if a.N < 0 {
		return 0, errors.New("negative")
	}
	return 2*a.N + a.Plus, nil
}

// users is an object that takes and returns functions.
func users() *tub.Object {
	return tub.NewObject(
		tub.Method("use", func(ctx context.Context, a struct{ F twiceFunc }) (int, error) { return a.F(ctx, twice{N: 21}) }),
		tub.Method("plus", func(ctx context.Context, a struct{ F twiceFunc }) (int, error) { return a.F(ctx, twice{21, 1}) }),
		tub.Method("fail", func(ctx context.Context, a struct{ F twiceFunc }) (int, error) { return a.F(ctx, twice{N: -1}) }),
		tub.Method("by_position", func(ctx context.Context, a struct{ F *tub.Ref }) (int, error) {
			return tub.Call[int](ctx, a.F, "", 21, 2)
		}),
		tub.Method("by_args", func(ctx context.Context, a struct {
			F func(context.Context, tub.Args) (any, error)
		}) (any, error) {
			return a.F(ctx, tub.Args{Keyword: map[string]any{"n": 21, "plus": 3}})
		}),
		tub.Method("is_function", func(_ context.Context, a struct{ F *tub.Ref }) (bool, error) { return a.F.Function(), nil }),
		tub.Method("misname", func(ctx context.Context, a struct{ F *tub.Ref }) (any, error) {
			return tub.Call[any](ctx, a.F, "apply", 21)
		}),
		tub.Method("deep", func(ctx context.Context, a struct{ All map[string][]twiceFunc }) (int, error) {
			return a.All["here"][1](ctx, twice{N: 21})
		}),
		tub.Method("back", func(_ context.Context, a struct{ F twiceFunc }) (twiceFunc, error) { return a.F, nil }),
		tub.Method("back_as_it_is", func(_ context.Context, a struct{ F any }) (any, error) { return a.F, nil }),
		tub.Method("give", func(context.Context, tub.None) (twiceFunc, error) { return double, nil }),
		tub.Method("nothing", func(_ context.Context, a struct{ F twiceFunc }) (bool, error) { return a.F == nil, nil }),
	)
}

func TestFunctionsArePassedAndCalled(t *testing.T) {
	t.Parallel()
	server, client := newServer(t, nil), newTub(t, nil)
	f := register(t, server, users())
	for name, r := range map[string]*tub.Ref{"of another Tub": connect(t, client, f), "of the same Tub": connect(t, server, f)} {
		t.Run(name, func(t *testing.T) {
			for method, want := range map[string]any{
				"use": int64(42), "plus": int64(43), "by_position": int64(44), "by_args": int64(45), "is_function": true, "nothing": false,
			} {
				assert.Equal(t, want, call[any](t, r, method, double), method)
				assert.Equal(t, want, call[any](t, r, method, tub.Func(double)), "%s of a Func", method)
			}
			assert.Equal(t, 42, call[int](t, r, "deep", map[string]any{"here": []any{tub.Func(double), double}}))
			assert.True(t, call[bool](t, r, "nothing", nil))
			assert.True(t, call[bool](t, r, "nothing", twiceFunc(nil)))

			given := call[twiceFunc](t, r, "give")
			n, err := given(within(t), twice{21, 4})
			require.NoError(t, err)
			assert.Equal(t, 46, n)
			back := call[twiceFunc](t, r, "back", double)
			n, err = back(within(t), twice{N: 3})
			require.NoError(t, err, "it goes to and fro")
			assert.Equal(t, 6, n)

			_, err = tub.Call[int](within(t), r, "fail", double)
			var failure *tub.Failure
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "negative", failure.Text)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			n, err = given(ctx, twice{N: 1})
			assert.ErrorIs(t, err, context.Canceled)
			assert.Zero(t, n)
		})
	}
}

func TestFunctionsAreRefusedWhereTheyMakeNoSense(t *testing.T) {
	t.Parallel()
	server, client := newServer(t, nil), newTub(t, nil)
	r := connect(t, client, register(t, server, users()))
	for name, c := range map[string]struct {
		method string
		arg    any
		want   string
	}{
		"an object in place of a function": {"use", calculator(), "expected a function, got an object with methods"},
		"a text in place of a function":    {"use", "text", "expected reference, got text"},
		"a function of another kind":       {"give", func() {}, "cannot"},
		"a method of a function":           {"misname", double, "has no methods"},
		"a function that goes home":        {"back_as_it_is", double, "cannot be sent back to its owner"},
	} {
		_, err := tub.Call[any](within(t), r, c.method, c.arg)
		assert.ErrorContains(t, err, c.want, name)
	}
	assert.Panics(t, func() {
		tub.Method("takes", func(context.Context, struct {
			F func(context.Context, int) (int, error)
		}) (any, error) {
			return nil, nil
		})
	}, "a function whose argument is no struct")
	_, err := tub.Call[twiceFunc](within(t), r, "back_as_it_is", calculator())
	assert.ErrorContains(t, err, "expected a function", "an object of ours")
	assert.Equal(t, 42, call[int](t, r, "use", double), "the connection lives")
}

func TestAReferenceToAFunctionGoesToThirdTubsAndNotHome(t *testing.T) {
	t.Parallel()
	server, third := newServer(t, nil), newServer(t, nil)
	furl := register(t, server, tub.NewObject(
		tub.Method("give", func(context.Context, tub.None) (any, error) {
			return tub.Func(double), nil
		}),
		tub.Method("own", func(ctx context.Context, a struct{ F twiceFunc }) (int, error) { return a.F(ctx, twice{N: 4}) }),
	))
	// By way of a third Tub, which is introduced to it.
	client := newTub(t, nil)
	r := connect(t, client, furl)
	ref := call[*tub.Ref](t, r, "give")
	assert.True(t, ref.Function())
	_, err := tub.Call[int](within(t), r, "own", ref)
	assert.ErrorIs(t, err, tub.ErrBoundMethod)
	via := connect(t, client, register(t, third, users()))
	assert.Equal(t, 42, call[int](t, via, "use", ref))
	f, ok := ref.FURL()
	require.True(t, ok)
	assert.Equal(t, 10, call[int](t, connect(t, client, f), "", tub.Keywords{"n": 5}))
	assert.Equal(t, 12, call[int](t, client.Ref(f), "", 6))
}

func TestFunctionsAreReleasedWhenTheyAreNotReachable(t *testing.T) {
	t.Parallel()
	var connection *broker.Broker
	server := newServer(t, &tub.Options{Inbound: []tub.Interceptor{func(ctx context.Context, _ *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
		connection = broker.FromContext(ctx)
		return next(ctx)
	}}})
	var kept []twiceFunc
	client := newTub(t, nil)
	r := connect(t, client, register(t, server, tub.NewObject(
		tub.Method("keep", func(_ context.Context, a struct{ F twiceFunc }) (tub.None, error) {
			kept = append(kept, a.F)
			return tub.None{}, nil
		}),
	)))
	one := tub.Func(double)
	for range 3 {
		call[tub.None](t, r, "keep", one)
	}
	call[tub.None](t, r, "keep", double)
	assert.Equal(t, 2, connection.Tables().Imports, "a Func is one, however often it is sent")
	for range 3 {
		runtime.GC()
		n, err := kept[0](within(t), twice{N: 1})
		require.NoError(t, err, "what is reachable is not released")
		assert.Equal(t, 2, n)
	}
	kept = nil
	eventually(t, func() bool { runtime.GC(); return connection.Tables().Imports == 0 }, "the functions are released")
	call[tub.None](t, r, "keep", one)
	assert.Equal(t, 1, connection.Tables().Imports)
}

func TestAPromisedFunctionIsCalledAtOnce(t *testing.T) {
	t.Parallel()
	server, client := newServer(t, nil), newTub(t, nil)
	r := connect(t, client, register(t, server, users()))
	p, err := tub.Promise(within(t), r, "give")
	require.NoError(t, err)
	assert.Equal(t, 42, call[int](t, p, "", 21))
	// And what is called on a promise takes functions.
	self := connect(t, client, register(t, server, tub.NewObject(
		tub.Method("users", func(ctx context.Context, _ tub.None) (*tub.Object, error) { return users(), nil }),
	)))
	p, err = tub.Promise(within(t), self, "users")
	require.NoError(t, err)
	assert.Equal(t, 42, call[int](t, p, "use", double))
}

func TestAFunctionCanBeRegistered(t *testing.T) {
	t.Parallel()
	o := tub.Func(func(_ context.Context, a struct{ V *banana.List }) (int, error) { return len(a.V.Items), nil }, tub.Concurrent)
	server, client := newServer(t, nil), newTub(t, nil)
	r := connect(t, client, register(t, server, o))
	assert.True(t, r.Function())
	assert.Equal(t, 2, call[int](t, r, "", banana.NewList(1, 2)))
	assert.Panics(t, func() { tub.NewObject(tub.Facet(o, "")) }, "a function has no methods to be picked")
}
