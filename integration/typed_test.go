package integration

import (
	"context"
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

type point struct {
	_    struct{} `foolscap:",tuple"`
	X, Y int
}

type person struct {
	FullName string
	Age      uint8
	Nick     string `foolscap:"called,optional"`
	Secret   string `foolscap:"-"`
}

// typedCheck is one value of a Go type: Python has to see it as another value, and Go to get it back from that, as an
// answer and as an argument.
type typedCheck struct {
	name   string
	method tub.Part // takes and returns the type
	run    func(t *testing.T, m *meeting, taker pypeer.Ref)
}

func typed[T any](name string, here T, there pypeer.Value) typedCheck {
	taken := make(chan T, 1)
	return typedCheck{
		name: name,
		method: tub.Method(name, func(_ context.Context, a struct{ V T }) (T, error) {
			taken <- a.V
			return a.V, nil
		}),
		run: func(t *testing.T, m *meeting, taker pypeer.Ref) {
			call[tub.None](t, m.root, "log", here)
			assert.Equal(t, []pypeer.Value{there}, m.peer.TakeLogged(m.name))
			assert.Equal(t, here, call[T](t, m.root, "echo", here))

			got, err := taker.CallKeywords(name, map[string]pypeer.Value{"v": there})
			require.NoError(t, err)
			assert.Equal(t, there, got)
			assert.Equal(t, here, <-taken)
		},
	}
}

func typedChecks() []typedCheck {
	one, two := pypeer.Int(1), pypeer.Int(2)
	nested := [][]byte{[]byte("a"), []byte("list"), {}}
	f := 2.5
	return []typedCheck{
		typed("int8", int8(math.MinInt8), pypeer.Int(math.MinInt8)),
		typed("uint64", uint64(math.MaxUint64), pypeer.BigInt(new(big.Int).SetUint64(math.MaxUint64))),
		typed("float32", float32(1.5), pypeer.Float(1.5)),
		typed("big", power(-7, 101), pypeer.BigInt(power(-7, 101))),
		typed("decimal", banana.Decimal("0.10"), pypeer.Decimal("0.10")),
		typed("text", "none", pypeer.Text("none")),
		typed("bytes", []byte("none"), pypeer.Bytes("none")),
		typed("array of bytes", [3]byte{1, 2, 3}, pypeer.Bytes([]byte{1, 2, 3})),
		typed("list", []int{1, 2}, pypeer.List(one, two)),
		typed("empty list", []int{}, pypeer.List()),
		typed("array", [2]bool{true, false}, pypeer.List(pypeer.True, pypeer.False)),
		typed("list of bytes", nested, pypeer.List(pypeer.Bytes("a"), pypeer.Bytes("list"), pypeer.Bytes(""))),
		typed("dict", map[string]int{"b": 1, "a": 2}, pypeer.Dict(pypeer.Text("a"), two, pypeer.Text("b"), one)),
		typed("dict of lists", map[int][]string{1: {"x"}, -1: {}}, pypeer.Dict(pypeer.Int(-1), pypeer.List(), one, pypeer.List(pypeer.Text("x")))),
		typed("set", map[string]struct{}{"a": {}, "b": {}}, pypeer.Set(pypeer.Text("a"), pypeer.Text("b"))),
		typed("struct", person{FullName: "Ada", Age: 36}, pypeer.Dict(pypeer.Text("age"), pypeer.Int(36), pypeer.Text("full_name"), pypeer.Text("Ada"))),
		typed("struct with all fields", person{FullName: "Ada", Age: 36, Nick: "A"}, pypeer.Dict(pypeer.Text("age"), pypeer.Int(36), pypeer.Text("called"), pypeer.Text("A"), pypeer.Text("full_name"), pypeer.Text("Ada"))),
		typed("tuple", point{X: 1, Y: 2}, pypeer.Tuple(one, two)),
		typed("pointer", &f, pypeer.Float(2.5)),
		typed("nil pointer", (*float64)(nil), pypeer.None),
		typed("any in a typed list", []any{int64(1), "a", nil}, pypeer.List(one, pypeer.Text("a"), pypeer.None)),
		typed("tuple of anything", banana.Tuple{int64(1), []byte("a")}, pypeer.Tuple(one, pypeer.Bytes("a"))),
	}
}

// justGo connects a Go Tub that dials with a Python one that has an identity as Foolscap makes them, for tests of what
// does not depend on who has dialled and who decides.
func justGo(t *testing.T, o options) *meeting {
	t.Helper()
	peer := pypeer.Start(t, o.python)
	return meet(t, peer, role{dials: true, master: peer.TubID < "m"}, o.tub)
}

func TestTypedTargetsTakeWhatPythonSends(t *testing.T) {
	t.Parallel()
	checks := typedChecks()
	var parts []tub.Part
	for _, c := range checks {
		parts = append(parts, c.method)
	}
	m := justGo(t, options{})
	taker := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(parts...)).Reveal())
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, m, taker) })
	}
}

// misfit is a value from Python that does not fit a Go type.
type misfit struct {
	name  string
	value any // which Python echoes
	there pypeer.Value
	path  []string // below the result or argument
	part  tub.Part
	call  func(ctx context.Context, ref *tub.Ref, v any) error
}

func misfits[T any](name string, value any, there pypeer.Value, path ...string) misfit {
	return misfit{
		name: name, value: value, there: there, path: path,
		part: tub.Method(name, func(context.Context, struct{ V T }) (tub.None, error) { return tub.None{}, nil }),
		call: func(ctx context.Context, ref *tub.Ref, v any) error {
			_, err := tub.Call[T](ctx, ref, "echo", v)
			return err
		},
	}
}

func TestWhatDoesNotFitAGoTypeIsAViolationThatSaysWhere(t *testing.T) {
	t.Parallel()
	one, text := pypeer.Int(1), pypeer.Text("x")
	all := []misfit{
		misfits[int]("text for an int", "x", text),
		misfits[int8]("a number that is too big", 200, pypeer.Int(200)),
		misfits[uint]("a negative number for an unsigned", -1, pypeer.Int(-1)),
		misfits[int64]("a very big number", power(2, 63), pypeer.BigInt(power(2, 63))),
		misfits[string]("bytes for text", []byte("x"), pypeer.Bytes("x")),
		misfits[[]byte]("text for bytes", "x", text),
		misfits[bool]("an int for a boolean", 1, one),
		misfits[string]("none for text", nil, pypeer.None),
		misfits[[]int]("text in a list", []any{1, "x"}, pypeer.List(one, text), "[1]"),
		misfits[[][]int]("text in a list in a list", []any{[]int{1}, []any{1, 2, "x"}}, pypeer.List(pypeer.List(one), pypeer.List(one, one, text)), "[1]", "[2]"),
		misfits[[2]int]("a list that is too long", []int{1, 2, 3}, pypeer.List(one, one, one)),
		misfits[map[string]int]("text in a dict", map[string]any{"a": "x"}, pypeer.Dict(pypeer.Text("a"), text), `["a"]`),
		misfits[map[string]int]("an int as a key", map[int]int{1: 1}, pypeer.Dict(one, one), "key"),
		misfits[person]("a struct without a field", map[string]any{"age": 1}, pypeer.Dict(pypeer.Text("age"), one)),
		misfits[point]("a tuple that is too short", banana.Tuple{1}, pypeer.Tuple(one)),
		misfits[point]("a list for a tuple", []int{1, 2}, pypeer.List(one, one)),
		misfits[*tub.Ref]("an int for a reference", 1, one),
	}
	var parts []tub.Part
	for _, c := range all {
		parts = append(parts, c.part)
	}
	m := justGo(t, options{})
	taker := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(parts...)).Reveal())
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(within(t), m.root, c.value)
			var failed *tub.CallError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, tub.Answered, failed.Sent)
			var violation *banana.Violation
			require.ErrorAs(t, err, &violation)
			assert.Equal(t, append([]string{"result"}, c.path...), violation.Path)
			assert.NotEmpty(t, violation.Reason)

			_, err = taker.Call(c.name, c.there)
			var failure *pypeer.Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "foolscap.tokens.Violation", failure.Type)
			assert.True(t, failure.Remote)
			for _, where := range append([]string{`argument "v"`}, c.path...) {
				assert.Contains(t, failure.Text, where)
			}
		})
	}
	assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "the connection lives")
	assert.Len(t, m.peer.Connections(), 1)
}

func TestDictsThatPythonCouldNotSendBackAreRefused(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	refused := map[string]*banana.Dict{
		"text and bytes":                     banana.NewDict("a", 1, []byte("a"), 2),
		"text and int":                       banana.NewDict("a", 1, 1, 2),
		"none and int":                       banana.NewDict(nil, 1, 1, 2),
		"none and text":                      banana.NewDict(nil, 1, "a", 2),
		"tuple and text":                     banana.NewDict(banana.Tuple{}, 1, "a", 2),
		"tuples that differ in kind":         banana.NewDict(banana.Tuple{1}, 1, banana.Tuple{"a"}, 2),
		"tuples that differ deep inside":     banana.NewDict(banana.Tuple{1, banana.Tuple{"a"}}, 1, banana.Tuple{1, banana.Tuple{nil}}, 2),
		"frozenset and tuple":                banana.NewDict(banana.NewFrozenSet(), 1, banana.Tuple{}, 2),
		"a decimal that is no number, a one": banana.NewDict(banana.Decimal("NaN"), 1, 1, 2),
	}
	for name, d := range refused {
		for where, v := range map[string]any{"alone": d, "deep in a list": banana.NewList(banana.Tuple{d})} {
			t.Run(name+" "+where, func(t *testing.T) {
				_, err := tub.Call[any](within(t), m.root, "echo", v)
				var failed *tub.CallError
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, tub.NotSent, failed.Sent)
				var encoding *banana.EncodeError
				require.ErrorAs(t, err, &encoding)
				assert.NotEmpty(t, encoding.Path)
				assert.ErrorAs(t, tub.Send(within(t), m.root, "log", v), &encoding)
			})
		}
	}
	assert.Empty(t, m.peer.Logged(m.name))
	assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "the connection lives")
}

func TestWhatIsTooMuchFailsTheCallAndNotTheConnection(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Limits.MaxToken = 20_000
	o.tub.Limits.MaxMessage = 80_000
	o.tub.Limits.MaxDepth = 20
	o.tub.Limits.MaxTokens = 500
	m := justGo(t, o)
	deep := pypeer.List()
	for range 50 {
		deep = pypeer.List(deep)
	}
	many := make([]pypeer.Value, 1000)
	for i := range many {
		many[i] = pypeer.Int(int64(i))
	}
	for name, test := range map[string]struct {
		there pypeer.Value
		limit string
	}{
		"a long string":        {pypeer.Pattern(20_001), "MaxToken"},
		"a long integer":       {pypeer.BigInt(new(big.Int).Lsh(big.NewInt(1), 200_000)), "MaxToken"},
		"many strings":         {pypeer.List(pypeer.Pattern(19_000), pypeer.Pattern(19_001), pypeer.Pattern(19_002), pypeer.Pattern(19_003), pypeer.Pattern(19_004)), "MaxMessage"},
		"a value that is deep": {deep, "MaxDepth"},
		"a value that is wide": {pypeer.List(many...), "MaxTokens"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.ref.Call("echo", test.there)
			var failure *pypeer.Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "foolscap.tokens.Violation", failure.Type)
			assert.Contains(t, failure.Text, test.limit)

			// The same as an answer.
			blocked, err := tub.Start[any](within(t), m.root, "block")
			require.NoError(t, err)
			m.peer.WaitState(m.name, pypeer.State{Waiting: 1})
			m.peer.Release(m.name, "", test.there)
			_, err = blocked.Wait(within(t))
			var limit *banana.LimitError
			require.ErrorAs(t, err, &limit)
			assert.Equal(t, test.limit, limit.Limit)

			assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)), "the connection lives")
		})
	}
}

// link is of a recursive type: what is shared and what contains itself survives in it.
type link struct {
	Name string
	Next *link
}

func TestPointersOfARecursiveTypeKeepTheirIdentity(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	ring := &link{Name: "a"}
	ring.Next = &link{Name: "b", Next: ring}
	there := canonical(t, pypeer.Def(1, pypeer.Dict(
		pypeer.Text("name"), pypeer.Text("a"),
		pypeer.Text("next"), pypeer.Dict(pypeer.Text("name"), pypeer.Text("b"), pypeer.Text("next"), pypeer.Same(1)),
	)))

	call[tub.None](t, m.root, "log", ring)
	assert.Equal(t, []pypeer.Value{there}, m.peer.TakeLogged(m.name))

	back := call[*link](t, m.root, "echo", ring)
	require.NotNil(t, back.Next)
	assert.Equal(t, "b", back.Next.Name)
	assert.Same(t, back, back.Next.Next)
}

func TestMuchSharingInASmallMessageStaysSmall(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	// Each list holds the one before twice: as a tree it would have 2^60 leaves.
	here, there := any(banana.NewList()), pypeer.List()
	for i := range 60 {
		here = banana.NewList(here, here)
		there = pypeer.List(pypeer.Def(i+1, there), pypeer.Same(i+1))
	}

	assert.Equal(t, 2, len(call[*banana.List](t, m.root, "echo", here).Items))
	got, err := m.ref.Call("echo", there)
	require.NoError(t, err)
	assert.Len(t, got.Members(), 2)

	// A typed target cannot share: the copies are counted.
	type nested = [][][][][][][][][][][][][][][][][][][][][][][][][][][][][][]int
	_, err = tub.Call[nested](within(t), m.root, "echo", here)
	assert.Error(t, err)
	assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "the connection lives")
}
