package integration

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

type one struct{ Value int }

type function = func(context.Context, one) (int, error)

func triple(_ context.Context, a one) (int, error) {
	if a.Value < 0 {
		return 0, errors.New("negative")
	}
	return 3 * a.Value, nil
}

func TestPythonCallsGosFunctions(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		same := tub.Func(triple)
		assert.Equal(t, 6, call[int](t, m.root, "call_function", triple, 2))
		assert.Equal(t, 6, call[int](t, m.root, "call_function", same, 2))
		_, err := tub.Call[int](within(t), m.root, "call_function", triple, -1)
		var failure *tub.Failure
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, "negative", failure.Text)
		_, err = tub.Call[int](within(t), m.root, "call_function", triple, "text")
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, "foolscap.tokens.Violation", failure.Type)

		// Stored callbacks are called later, and counted.
		call[tub.None](t, m.root, "drop")
		awaitTables(t, m.desk.connection(), broker.Tables{Exports: 1, Imports: 1})
		for range 3 {
			call[tub.None](t, m.root, "hold", same)
		}
		call[tub.None](t, m.root, "hold_many", []any{triple, same})
		m.peer.WaitTables(pypeer.Params{"yours": 3, "yours_received": 6})
		assert.Equal(t, 3, m.desk.connection().Tables().Exports)
		assert.Equal(t, []int{12, 12, 12, 12, 12}, call[[]int](t, m.root, "call_held", 4))
		assert.Same(t, same, call[[]any](t, m.root, "get_held")[0], "home comes what was sent")
		own := call[[]function](t, m.root, "get_held")
		n, err := own[3](t.Context(), one{5})
		require.NoError(t, err)
		assert.Equal(t, 15, n)
		call[tub.None](t, m.root, "drop")
		awaitTables(t, m.desk.connection(), broker.Tables{Exports: 1, Imports: 1})

		// As an answer.
		giver := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(
			tub.Method("give", func(context.Context, tub.None) (function, error) { return triple, nil }),
		)).WithHints().Reveal())
		given := m.peer.Ref(giver.MustCall("give").Handle())
		assert.Negative(t, given.Describe().CLID)
		v, err := given.CallKeywords("", map[string]pypeer.Value{"value": pypeer.Int(7)})
		require.NoError(t, err)
		assert.Equal(t, pypeer.Int(21), v)

		// Revoked.
		forwarder, revoke := tub.Forward(same, tub.ForwardOptions{})
		assert.Equal(t, 6, call[int](t, m.root, "call_function", forwarder, 2))
		revoke()
		_, err = tub.Call[int](within(t), m.root, "call_function", forwarder, 2)
		assert.ErrorIs(t, err, tub.ErrRevoked)
		m.assertNothingIsLeft(t)
	})
}

func TestGoCallsPythonsBoundMethodsAsFunctions(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		method := call[function](t, m.root, "get_method")
		n, err := method(within(t), one{4})
		require.NoError(t, err)
		assert.Equal(t, 4, n)
		ref := call[*tub.Ref](t, m.root, "get_method")
		assert.True(t, ref.Function())
		assert.Equal(t, 5, call[int](t, ref, "", 5), "Python takes arguments by position")
		_, err = tub.Call[int](within(t), ref, "echo", 5)
		assert.ErrorContains(t, err, "has no methods")
		_, err = tub.Call[function](within(t), m.root, "get_ref")
		assert.ErrorContains(t, err, "expected a function")

		// As an argument, called while the caller waits, and stored.
		var stored function
		user := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(
			tub.Method("use", func(ctx context.Context, a struct {
				F     function
				Value int
			}) (int, error) {
				stored = a.F
				return a.F(ctx, one{a.Value})
			}),
		)).WithHints().Reveal())
		assert.Equal(t, pypeer.Int(5), user.MustCall("use", pypeer.Method(m.name, "echo"), pypeer.Int(5)))
		_, err = user.Call("use", pypeer.Method(m.name, "fail_later"), pypeer.Int(5))
		assert.Equal(t, "builtins.TypeError", failedThere(t, err).Type)
		user.MustCall("use", pypeer.Method(m.name, "echo"), pypeer.Int(5))
		n, err = stored(within(t), one{6})
		require.NoError(t, err)
		assert.Equal(t, 6, n)

		// Sent back, it is a function of ours that goes by way of us.
		assert.Equal(t, 8, call[int](t, m.root, "call_function", method, 8))
		method, stored = nil, nil
		ref.Close()
		m.assertNothingIsLeft(t)
	})
}

func TestForwardersStandBeforePythonsObjects(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		forwarder, revoke := tub.Forward(m.root, tub.ForwardOptions{})
		ref := m.peer.MustGetReference(register(t, m.tub, forwarder).WithHints().Reveal())
		assert.Equal(t, pypeer.Int(3), ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		v, err := ref.CallKeywords("greet", map[string]pypeer.Value{"mark": pypeer.Text("?")}, pypeer.Text("you"))
		require.NoError(t, err)
		assert.Equal(t, pypeer.Text("Hello, you?"), v)
		deep := pypeer.Tuple(pypeer.List(pypeer.Int(1), pypeer.Bytes("b")), pypeer.Object(m.name))
		assert.Equal(t, deep, ref.MustCall("echo", deep))
		_, err = ref.Call("fail", pypeer.Text("no"))
		assert.Equal(t, "builtins.ValueError", failedThere(t, err).Type)
		revoke()
		_, err = ref.Call("add", pypeer.Int(1), pypeer.Int(2))
		assert.Equal(t, "foolscap.go.Revoked", failedThere(t, err).Type)
		m.tub.Unregister(forwarder)
		m.assertNothingIsLeft(t)
	})
}

// What a reference says of its FURL is what Foolscap's getSturdyRef says, and whoever
// is introduced gets the same one.
func TestReferencesHaveTheFURLsThatTheirOwnersGive(t *testing.T) {
	t.Parallel()
	for name, reachable := range map[string]bool{"with a location": true, "without one": false} {
		t.Run("of Python, "+name, func(t *testing.T) {
			t.Parallel()
			hub, third := newGoMember(t, tub.Options{}), newGoMember(t, tub.Options{})
			p := pypeer.Start(t, pypeer.Options{NoListen: !reachable})
			held := make(chan *tub.Ref, 2)
			drop := tub.NewObject(tub.Method("take", func(_ context.Context, a struct{ Ref *tub.Ref }) (tub.None, error) {
				held <- a.Ref
				return tub.None{}, nil
			}))
			at := p.MustGetReference(register(t, hub.tub, drop).Reveal())
			p.Make("root", pypeer.KindRoot)
			for what, v := range map[string]pypeer.Value{"an object": pypeer.Object("root"), "a method": pypeer.Method("root", "echo")} {
				at.MustCall("take", v)
				ref := <-held
				f, ok := ref.FURL()
				require.Equal(t, reachable, ok, what)
				there := connect(t, hub.tub, third.furl())
				_, err := tub.Call[any](within(t), there, "hold", ref)
				if !reachable {
					assert.ErrorIs(t, err, tub.ErrNoFURL, what)
					continue
				}
				require.NoError(t, err, what)
				assertSameFURL(t, f, third.desk, what)
				back := call[*tub.Ref](t, there, "echo", ref)
				again, ok := back.FURL()
				assert.True(t, ok && again.Equal(f), "%s that comes back", what)
			}
		})
		t.Run("of Go, "+name, func(t *testing.T) {
			t.Parallel()
			owner := startTub(t, identity(t, pypeer.Middling), tub.Options{})
			if reachable {
				listen(t, owner)
			}
			p, third := pypeer.Start(t, pypeer.Options{}), newGoMember(t, tub.Options{})
			root := connect(t, owner, publish(t, p, "root", pypeer.KindRoot))
			there := p.MustGetReference(third.furl().Reveal())
			for what, v := range map[string]any{"an object": newDesk().object, "a function": triple} {
				call[tub.None](t, root, "log", v)
				ref := p.Ref(p.TakeLogged("root")[0].Handle())
				text := ref.Describe().FURL
				if !reachable {
					assert.Empty(t, text, what)
					_, err := there.Call("hold", ref.Value())
					assert.Error(t, err, what)
					continue
				}
				f, err := furl.Parse(text)
				require.NoError(t, err, what)
				secret(f)
				there.MustCall("hold", ref.Value())
				assertSameFURL(t, f, third.desk, what)
			}
		})
	}
}

// assertSameFURL makes sure that what a desk has got last has that FURL.
func assertSameFURL(t *testing.T, want furl.FURL, d *desk, what string) {
	t.Helper()
	d.mu.Lock()
	ref := d.held[len(d.held)-1].(*tub.Ref)
	d.mu.Unlock()
	got, ok := ref.FURL()
	assert.True(t, ok && got.Equal(want), what)
}
