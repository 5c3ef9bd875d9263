package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/tub"
)

// A desk is the Go Tub's object in a meeting: what the root is on the other side. It keeps what was done to it.
type desk struct {
	object *tub.Object
	same   *tub.Object // get_same returns it

	mu      sync.Mutex
	changed chan struct{} // closed and replaced whenever something below has changed
	broker  *broker.Broker
	held    []any
	logged  []any
	waiting map[string][]chan any
}

func newDesk() *desk {
	d := &desk{changed: make(chan struct{}), waiting: make(map[string][]chan any)}
	type value struct{ Value any }
	type message struct{ Message string }
	d.same = d.child()
	d.object = tub.NewObject(
		// Values.
		tub.Method("echo", func(_ context.Context, a value) (any, error) { return a.Value, nil }),
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		tub.Method("arguments", func(_ context.Context, a tub.Args) (any, error) {
			keywords := banana.NewDict()
			for name, v := range a.Keyword {
				if err := keywords.Set(name, v); err != nil {
					return nil, err
				}
			}
			return banana.Tuple{banana.NewList(a.Positional...), keywords}, nil
		}),
		tub.Method("greet", func(_ context.Context, a struct {
			Name     string
			Greeting string `foolscap:",optional"`
			Mark     string `foolscap:",optional"`
		}) (string, error) {
			if a.Greeting == "" {
				a.Greeting = "Hello"
			}
			if a.Mark == "" {
				a.Mark = "!"
			}
			return a.Greeting + ", " + a.Name + a.Mark, nil
		}),
		tub.Method("none", func(context.Context, tub.None) (tub.None, error) { return tub.None{}, nil }),
		tub.Method("sink", func(_ context.Context, a struct{ Data []byte }) (int, error) { return len(a.Data), nil }),
		tub.Method("get_pattern", func(_ context.Context, a struct{ Length int }) ([]byte, error) {
			return pypeer.PatternBytes(a.Length), nil
		}),

		// Failures.
		tub.Method("fail", func(_ context.Context, a message) (any, error) { return nil, errors.New(a.Message) }),
		tub.Method("fail_typed", func(_ context.Context, a message) (any, error) {
			return nil, fmt.Errorf("while failing: %w", typedError(a.Message))
		}),
		tub.Method("panic", func(_ context.Context, a message) (any, error) { panic(a.Message) }),
		tub.Method("unserialisable", func(context.Context, tub.None) (any, error) {
			return banana.NewList("before", banana.NewDict("text", 1, []byte("bytes"), 2)), nil
		}),

		// Order.
		tub.Method("log", func(_ context.Context, a value) (tub.None, error) {
			d.change(func() { d.logged = append(d.logged, a.Value) })
			return tub.None{}, nil
		}),
		tub.Method("block", func(ctx context.Context, a struct {
			Key string `foolscap:",optional"`
		}) (any, error) {
			released := make(chan any, 1)
			d.change(func() { d.waiting[a.Key] = append(d.waiting[a.Key], released) })
			tub.Yield(ctx)
			select {
			case v := <-released:
				return v, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}),

		// References.
		tub.Method("call_back", func(ctx context.Context, a struct {
			Ref    *tub.Ref
			Method string
			Value  any
		}) (any, error) {
			return tub.Call[any](ctx, a.Ref, a.Method, a.Value)
		}),
		tub.Method("bounce", func(ctx context.Context, a struct {
			Ref   *tub.Ref
			Depth int
		}) (int, error) {
			if a.Depth == 0 {
				return 0, nil
			}
			below, err := tub.Call[int](ctx, a.Ref, "bounce", d.object, a.Depth-1)
			return below + 1, err
		}),
		tub.Method("hold", func(_ context.Context, a struct{ Ref any }) (tub.None, error) {
			d.change(func() { d.held = append(d.held, a.Ref) })
			return tub.None{}, nil
		}),
		tub.Method("hold_many", func(_ context.Context, a struct{ Refs []any }) (tub.None, error) {
			d.change(func() { d.held = append(d.held, a.Refs...) })
			return tub.None{}, nil
		}),
		tub.Method("get_held", func(context.Context, tub.None) ([]any, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return slices.Clone(d.held), nil
		}),
		tub.Method("drop", func(context.Context, tub.None) (tub.None, error) {
			d.drop()
			return tub.None{}, nil
		}),
		tub.Method("get_ref", func(context.Context, tub.None) (*tub.Object, error) { return d.child(), nil }),
		tub.Method("get_same", func(context.Context, tub.None) (*tub.Object, error) { return d.same, nil }),
		tub.Method("get_self", func(context.Context, tub.None) (*tub.Object, error) { return d.object, nil }),
	)
	return d
}

// child makes an object of its own, which lives only as long as somebody refers to it.
func (d *desk) child() *tub.Object {
	return tub.NewObject(
		tub.Method("name", func(context.Context, tub.None) (string, error) { return "child", nil }),
		tub.Method("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
	)
}

// typedError appears in Python as an exception of its own class.
type typedError string

func (e typedError) Error() string { return string(e) }
func (e typedError) RemoteType() (string, []string) {
	return "desk.Refusal", []string{"desk.Refusal", "builtins.ValueError", "builtins.Exception"}
}

// attend remembers the connection that the desk was called over last.
func (d *desk) attend(ctx context.Context, c *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
	d.change(func() { d.broker = broker.FromContext(ctx) })
	return next(ctx)
}

func (d *desk) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
}

// await waits until something is so; it is asked with mu held.
func (d *desk) await(t testing.TB, what string, reached func() bool) {
	t.Helper()
	ctx := within(t)
	for {
		d.mu.Lock()
		ok, changed := reached(), d.changed
		d.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			require.FailNow(t, "the desk waits in vain", what)
		}
	}
}

// awaitBlocked waits until that many calls of block wait for the key.
func (d *desk) awaitBlocked(t testing.TB, key string, count int) {
	t.Helper()
	d.await(t, "for calls of block", func() bool { return len(d.waiting[key]) == count })
}

// awaitLogged waits until that many values have been logged, and returns them.
func (d *desk) awaitLogged(t testing.TB, count int) []any {
	t.Helper()
	d.await(t, "for calls of log", func() bool { return len(d.logged) >= count })
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.logged)
}

// release answers all calls of block that wait for the key.
func (d *desk) release(key string, v any) {
	d.change(func() {
		for _, c := range d.waiting[key] {
			c <- v
		}
		delete(d.waiting, key)
	})
}

// drop lets go of all that is held.
func (d *desk) drop() {
	var held []any
	d.change(func() {
		held, d.held = d.held, nil
		d.logged = nil
	})
	for _, v := range held {
		if ref, ok := v.(*tub.Ref); ok {
			ref.Close()
		}
	}
}

// connection returns the connection that the desk was called over last.
func (d *desk) connection() *broker.Broker {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broker
}
