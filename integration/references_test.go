package integration

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// noTables are those of a connection over which nothing is known and nothing is asked.
var noTables = pypeer.Params{"mine": 0, "mine_sent": 0, "yours": 0, "yours_received": 0, "gifts": 0, "waiting": 0, "active": 0, "queued": 0}

// awaitTables waits until the tables of a Go connection have these sizes. The garbage collector runs meanwhile: it is
// what finds references that nobody has closed.
func awaitTables(t testing.TB, b *broker.Broker, want broker.Tables) {
	t.Helper()
	reached := func() bool {
		runtime.GC()
		return b.Tables() == want
	}
	if !assert.Eventually(t, reached, patience, time.Millisecond) {
		require.Equal(t, want, b.Tables(), "the tables of the Go side")
	}
}

// assertNothingIsLeft lets both sides forget everything, and waits until nothing is in their tables any more.
func (m *meeting) assertNothingIsLeft(t testing.TB) {
	t.Helper()
	call[tub.None](t, m.root, "drop")
	m.desk.drop()
	b := m.desk.connection()
	m.root.Close()
	m.peer.DropAll()
	// Each side needs the garbage collector of the other.
	there := m.peer.Begin("wait_tables", noTables)
	awaitTables(t, b, broker.Tables{})
	require.NoError(t, there.Result(nil), "the tables of the Python side")
}

func TestReferencesToPythonsObjects(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		first, second := call[*tub.Ref](t, m.root, "get_ref"), call[*tub.Ref](t, m.root, "get_ref")
		same, again := call[*tub.Ref](t, m.root, "get_same"), call[any](t, m.root, "get_same").(*tub.Ref)

		assert.Equal(t, m.name+".1", call[string](t, first, "name"))
		assert.Equal(t, m.name+".2", call[string](t, second, "name"))
		assert.False(t, tub.Same(first, second))
		assert.True(t, tub.Same(same, again))
		assert.True(t, tub.Same(m.root, call[*tub.Ref](t, m.root, "get_self")))
		assert.EqualValues(t, m.peer.TubID, first.Peer())
		assertKeepsSecrets(t, first.String())

		// Its FURL leads to the same object.
		f, ok := first.FURL()
		require.True(t, ok)
		secret(f)
		byFURL := connect(t, m.tub, f.WithHints())
		assert.True(t, tub.Same(first, byFURL))
		unresolved := m.tub.Ref(f.WithHints())
		assert.Equal(t, m.name+".1", call[string](t, unresolved, "name"))
		assert.True(t, tub.Same(unresolved, byFURL))

		// Each receipt is closed by itself.
		same.Close()
		_, err := tub.Call[any](within(t), same, "name")
		assert.ErrorIs(t, err, tub.ErrClosedReference)
		assert.ErrorIs(t, tub.Send(within(t), same, "name"), tub.ErrClosedReference)
		_, err = tub.Call[any](within(t), m.root, "echo", same)
		assert.ErrorIs(t, err, tub.ErrClosedReference)
		assert.Equal(t, m.name+".same", call[string](t, again, "name"))

		// They go home as they are, at any depth, and in several places.
		call[tub.None](t, m.root, "log", banana.Tuple{first, banana.NewList(again, banana.NewDict("root", m.root)), first})
		assert.Equal(t, []pypeer.Value{pypeer.Tuple(
			pypeer.Object(m.name+".1"),
			pypeer.List(pypeer.Object(m.name+".same"), pypeer.Dict(pypeer.Text("root"), pypeer.Object(m.name))),
			pypeer.Object(m.name+".1"),
		)}, m.peer.TakeLogged(m.name))
		assert.True(t, call[bool](t, m.root, "same", again, again))
		assert.True(t, tub.Same(first, call[*tub.Ref](t, m.root, "echo", first)))
		assert.True(t, tub.Same(first, call[[]*tub.Ref](t, m.root, "echo", []*tub.Ref{second, first})[1]))
		byKey := call[*banana.Dict](t, m.root, "echo", banana.NewDict(first, "value"))
		require.Equal(t, 1, byKey.Len())
		for key := range byKey.All() {
			assert.True(t, tub.Same(first, key.(*tub.Ref)))
		}

		for _, ref := range []*tub.Ref{first, second, again, byFURL, unresolved} {
			ref.Close()
		}
		m.assertNothingIsLeft(t)
	})
}

func TestReferencesToGosObjects(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		// They come home as what they are.
		assert.Same(t, m.desk.object, call[any](t, m.root, "echo", m.desk.object))
		assert.Same(t, m.desk.object, call[*tub.Object](t, m.root, "echo", m.desk.object))
		child := m.desk.child()
		deep := call[any](t, m.root, "echo", banana.NewList(banana.NewDict("a", child), banana.Tuple{child, m.desk.object}))
		items := deep.(*banana.List).Items
		inDict, _ := items[0].(*banana.Dict).Get("a")
		assert.Same(t, child, inDict)
		assert.Equal(t, banana.Tuple{child, m.desk.object}, items[1])

		// Python holds them and calls them.
		assert.EqualValues(t, 7, call[int](t, m.root, "call_back", m.desk.object, "echo", 7))
		assert.Equal(t, []int{1, 2, 3}, call[[]int](t, m.root, "call_back_each", child, "echo", []int{1, 2, 3}))
		call[tub.None](t, m.root, "call_back_only", m.desk.object, "log", "only")
		assert.Equal(t, []any{"only"}, m.desk.awaitLogged(t, 1))
		call[tub.None](t, m.root, "hold", child)
		call[tub.None](t, m.root, "hold_many", []any{child, m.desk.object, child})
		assert.Equal(t, 4, call[int](t, m.root, "held"))
		assert.Equal(t, []*tub.Object{child, child, m.desk.object, child}, call[[]*tub.Object](t, m.root, "get_held"))
		assert.True(t, call[bool](t, m.root, "same", child, child))
		assert.False(t, call[bool](t, m.root, "same", child, m.desk.object))

		// Python knows them again.
		assert.Equal(t, m.ref.MustCall("get_same"), m.ref.MustCall("get_same"))
		assert.NotEqual(t, m.ref.MustCall("get_ref"), m.ref.MustCall("get_ref"))
		assert.Equal(t, m.ref.Value(), m.ref.MustCall("get_self"))
		description := m.ref.Describe()
		assert.EqualValues(t, m.tub.TubID(), description.TubID)
		assert.Positive(t, description.CLID)

		// Whether it can pass them on depends on whether we can be reached.
		given := m.peer.Ref(m.ref.MustCall("get_ref").Handle())
		if m.dials {
			assert.Empty(t, given.Describe().FURL, "nobody could connect to us")
		} else {
			f, err := furl.Parse(given.Describe().FURL)
			require.NoError(t, err)
			secret(f)
			found, err := m.peer.GetReference(f.Reveal())
			require.NoError(t, err)
			assert.Equal(t, given.Value(), found.Value())
		}

		// Python's own objects come home to it.
		assert.Equal(t, pypeer.Object(m.name), m.ref.MustCall("echo", pypeer.Object(m.name)))
		m.ref.MustCall("hold", pypeer.Object(m.name))
		assert.Equal(t, pypeer.List(pypeer.Object(m.name)), m.ref.MustCall("get_held"))
		assert.Equal(t, pypeer.Int(5), m.ref.MustCall("call_back", pypeer.Object(m.name), pypeer.Text("echo"), pypeer.Int(5)))

		m.assertNothingIsLeft(t)
	})
}

func TestCallsGoToAndFroAsDeepAsTheyLike(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		assert.Equal(t, 30, call[int](t, m.root, "bounce", m.desk.object, 30))
		assert.Equal(t, pypeer.Int(30), m.ref.MustCall("bounce", pypeer.Object(m.name), pypeer.Int(30)))
		m.assertNothingIsLeft(t)
	})
}

func TestBoundMethodsAreReferences(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		method := call[*tub.Ref](t, m.root, "get_method")
		assert.Equal(t, 4, call[int](t, method, "", tub.Keywords{"value": 4}))
		assert.Equal(t, "x", call[string](t, method, "", tub.Keywords{"value": "x"}))

		// As an argument that a method in Go calls.
		use := tub.NewObject(tub.Method("use", func(ctx context.Context, a struct {
			Method *tub.Ref
			Value  any
		}) (any, error) {
			return tub.Call[any](ctx, a.Method, "", tub.Keywords{"value": a.Value})
		}))
		user := m.peer.MustGetReference(register(t, m.tub, use).WithHints().Reveal())
		assert.Equal(t, pypeer.Int(5), user.MustCall("use", pypeer.Method(m.name, "echo"), pypeer.Int(5)))
		_, err := user.Call("use", pypeer.Method(m.name, "fail_later"), pypeer.Int(5))
		assert.Equal(t, "builtins.TypeError", failedThere(t, err).Type)

		// Foolscap gives its connection up when such a reference comes home, so we must not send it.
		_, err = tub.Call[any](within(t), m.root, "echo", method)
		var refused *banana.EncodeError
		assert.ErrorAs(t, err, &refused)
		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "the connection lives")

		method.Close()
		m.assertNothingIsLeft(t)
	})
}

func TestReferencesAreReleasedWhenNobodyHoldsThem(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		// Here: by Close, and by the garbage collector.
		closed, forgotten := call[*tub.Ref](t, m.root, "get_ref"), call[*tub.Ref](t, m.root, "get_ref")
		m.peer.WaitTables(pypeer.Params{"mine": 3, "mine_sent": 3})
		closed.Close()
		m.peer.WaitTables(pypeer.Params{"mine": 2})
		runtime.KeepAlive(forgotten)
		forgotten = nil
		awaitTables(t, m.desk.connection(), broker.Tables{Exports: 1, Imports: 1})
		m.peer.WaitTables(pypeer.Params{"mine": 1})

		// What arrives in between counts too.
		for range 20 {
			for range 5 {
				ref := call[*tub.Ref](t, m.root, "get_same")
				ref.Close()
			}
			again := call[*tub.Ref](t, m.root, "get_same")
			assert.Equal(t, m.name+".same", call[string](t, again, "name"))
			again.Close()
		}
		m.peer.WaitTables(pypeer.Params{"mine": 1, "mine_sent": 1})

		// There: by Python's garbage collector, with the right counts.
		for range 3 {
			call[tub.None](t, m.root, "hold", m.desk.child())
			call[tub.None](t, m.root, "hold", m.desk.same)
		}
		m.peer.WaitTables(pypeer.Params{"yours": 5, "yours_received": 7})
		assert.Equal(t, 5, m.desk.connection().Tables().Exports)
		call[tub.None](t, m.root, "drop")
		m.peer.WaitTables(pypeer.Params{"yours": 1, "yours_received": 1, "waiting": 0})
		awaitTables(t, m.desk.connection(), broker.Tables{Exports: 1, Imports: 1})

		// An object that was released gets a new number, and is told of anew.
		call[tub.None](t, m.root, "hold", m.desk.same)
		call[tub.None](t, m.root, "drop")
		m.assertNothingIsLeft(t)
	})
}

func TestReferencesInWhatIsRefusedOrDroppedAreReleasedToo(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Limits.MaxTokens = 1000
	eachRole(t, o, func(t *testing.T, m *meeting) {
		object := pypeer.Object(m.name)
		children := make([]pypeer.Value, 10)
		for i := range children {
			children[i] = m.peer.Make(fmt.Sprint(m.name, " child ", i), pypeer.KindChild)
		}
		tooMuch := make([]pypeer.Value, 1000)
		for i := range tooMuch {
			tooMuch[i] = pypeer.Int(int64(i))
		}

		// Calls: a wrong argument before and after, no such method, too much.
		for name, test := range map[string]struct {
			method string
			args   []pypeer.Value
		}{
			"before the fault": {"add", []pypeer.Value{pypeer.Int(1), pypeer.List(children...)}},
			"behind the fault": {"add", []pypeer.Value{pypeer.Text("x"), pypeer.List(children...)}},
			"no such method":   {"dance", children},
			"too much":         {"echo", []pypeer.Value{pypeer.List(pypeer.List(children...), pypeer.List(tooMuch...), pypeer.List(children...))}},
			"deep in it":       {"dance", []pypeer.Value{pypeer.Tuple(object, pypeer.List(object))}},
		} {
			_, err := m.ref.Call(test.method, test.args...)
			assert.Error(t, err, name)
		}
		// Answers: to a cancelled call, and of a wrong type.
		ctx, cancel := context.WithCancel(within(t))
		late, err := tub.Start[any](ctx, m.root, "block", "late")
		require.NoError(t, err)
		m.peer.WaitState(m.name, pypeer.State{Waiting: 1})
		cancel()
		_, err = late.Wait(ctx)
		assert.ErrorIs(t, err, context.Canceled)
		m.peer.Release(m.name, "late", pypeer.List(children...))
		wrong, err := tub.Start[[]int](within(t), m.root, "block", "wrong")
		require.NoError(t, err)
		m.peer.WaitState(m.name, pypeer.State{Waiting: 1})
		m.peer.Release(m.name, "wrong", pypeer.List(append(children, pypeer.Int(1))...))
		_, err = wrong.Wait(within(t))
		assert.ErrorContains(t, err, "[0]")

		m.assertNothingIsLeft(t)
	})
}

func TestAnIntroductionIsRefusedAndAcknowledged(t *testing.T) {
	t.Parallel()
	eachRole(t, options{tub: tub.Options{Introductions: tub.IntroductionsRefused}}, func(t *testing.T, m *meeting) {
		third := startTub(t, identity(t, pypeer.Middling), tub.Options{})
		listen(t, third)
		gift := m.peer.MustGetReference(register(t, third, newDesk().object).Reveal())
		ours := pypeer.Params{"connection": m.number}
		with := func(p pypeer.Params) pypeer.Params {
			all := pypeer.Params{}
			for _, p := range []pypeer.Params{p, ours} {
				for k, v := range p {
					all[k] = v
				}
			}
			return all
		}

		for name, args := range map[string][]pypeer.Value{
			"as the argument":   {gift.Value()},
			"deep in it":        {pypeer.List(pypeer.Tuple(gift.Value()), pypeer.Dict(pypeer.Text("a"), gift.Value()))},
			"beside references": {pypeer.List(pypeer.Object(m.name), gift.Value(), pypeer.Object(m.name))},
		} {
			_, err := m.ref.Call("echo", args...)
			failure := failedThere(t, err)
			assert.Equal(t, "foolscap.tokens.Violation", failure.Type, name)
			assert.Contains(t, failure.Text, "introductions", name)
			m.peer.WaitTables(with(pypeer.Params{"gifts": 0}))
		}
		m.ref.CallOnly("echo", gift.Value())
		// In a call that is refused for another reason, and in an answer.
		_, err := m.ref.Call("dance", gift.Value())
		assert.Equal(t, "builtins.AttributeError", failedThere(t, err).Type)
		answer, err := tub.Start[any](within(t), m.root, "block")
		require.NoError(t, err)
		m.peer.WaitState(m.name, pypeer.State{Waiting: 1})
		m.peer.Release(m.name, "", pypeer.List(gift.Value()))
		_, err = answer.Wait(within(t))
		assert.ErrorIs(t, err, tub.ErrIntroduction)

		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "the connection lives")
		m.peer.WaitTables(with(pypeer.Params{"gifts": 0}))

		assert.NoError(t, third.Close())
		m.peer.WaitConnections(1)
		m.assertNothingIsLeft(t)
	})
}
