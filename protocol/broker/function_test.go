package broker

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

func newTestFunction() *Object {
	m := NewMethod("", func(_ context.Context, a struct{ N int }) (int, error) { return 2 * a.N, nil })
	return NewFunction(nil, func(string) *Method { return m })
}

func TestAFunctionHasANegativeNumber(t *testing.T) {
	f := newTestFunction()
	var back *Object
	s, p := newPeer(t, noneRoot(
		method("give", func(context.Context) (banana.External, error) { return f, nil }),
		NewMethod("take", func(_ context.Context, a struct{ F *Object }) (struct{}, error) {
			back = a.F
			return struct{}{}, nil
		}),
	))
	p.lookUp()
	p.send(callSeq(2, 1, "give"))
	p.expect("OPEN() VOCAB(13=answer) INT(2) OPEN() VOCAB(15=my-reference) NEG(2) STRING(0,b'') CLOSE() CLOSE()")
	p.send(callSeq(3, 1, "give"))
	p.expect("OPEN() VOCAB(13=answer) INT(3) OPEN() VOCAB(15=my-reference) NEG(2) CLOSE() CLOSE()")
	for i, name := range []string{"", "whatever"} {
		p.send(callSeq(4+i, -2, name, keyword{"n", 21}))
		p.expect(fmt.Sprintf("OPEN() VOCAB(13=answer) INT(%d) INT(42) CLOSE()", 4+i)) // whatever the name
	}
	p.send(callSeq(6, 2, "", 21))
	require.Contains(t, p.receive().attribute("value"), "unknown CLID 2")
	p.send(callSeq(7, 1, "take", seq{"your-reference", -2}))
	require.Equal(t, "answer", p.receive().kind())
	require.Same(t, f, back)
	p.send(callSeq(8, 0, "decref", keyword{"clid", -2}, keyword{"count", 2}))
	require.Equal(t, "answer", p.receive().kind())
	require.Equal(t, 1, s.Tables().Exports)
	p.send(callSeq(9, 1, "give"))
	p.expect("OPEN() VOCAB(13=answer) INT(9) OPEN() VOCAB(15=my-reference) NEG(3) STRING(0,b'') CLOSE() CLOSE()")
}

func TestAFunctionOfThePeerHasNoMethods(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, -3)
	require.True(t, r.Function())
	_, err := call[any](t.Context(), r, "m")
	require.ErrorIs(t, err, errFunction)
	require.Equal(t, NotSent, callError(t, err).Sent)
	require.ErrorIs(t, r.Send(t.Context(), "m", Args{}), errFunction)
	_, err = r.Promise(t.Context(), "m", Args{})
	require.ErrorIs(t, err, errFunction)
	require.NoError(t, r.Send(t.Context(), "", Args{}))
	m := p.receive()
	require.Empty(t, m.method())
	require.Equal(t, banana.TypeNeg, m[3].Type)
	require.EqualValues(t, 3, m[3].N)
}

func TestNumbersOfObjectsAndFunctionsDoNotMeet(t *testing.T) {
	var refs refTables
	refs.init()
	refs.exports[1], refs.exports[-2] = &export{}, &export{}
	refs.last = math.MaxInt32
	require.EqualValues(t, 3, refs.nextCLID())
}

func TestObjectsOfAnyMethods(t *testing.T) {
	add := NewMethod("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil })
	var before []string
	o := NewOpenObject("", nil, func(name string) *Method {
		if name != "add" && name != "plus" {
			return nil
		}
		return add.Around(func(ctx context.Context, next func(context.Context) (any, error)) (any, error) {
			before = append(before, name)
			return next(ctx)
		})
	})
	onAll(t, func(t *testing.T, n network) {
		for name, root := range map[string]*Object{"itself": o, "by another object": NewObject("", nil, MethodFrom(o, "add"), MethodFrom(o, "plus"))} {
			before = nil
			c, _ := connect(t, n, nil, root)
			r := c.root(t)
			for _, method := range []string{"add", "plus"} {
				sum, err := call[int](t.Context(), r, method, 1, 2)
				require.NoError(t, err, name)
				require.Equal(t, 3, sum)
			}
			_, err := call[int](t.Context(), r, "minus", 1, 2)
			require.ErrorContains(t, err, "no method", name)
			require.Equal(t, []string{"add", "plus"}, before, name)
			p, err := r.Promise(t.Context(), "add", Args{Positional: []any{1, 2}})
			require.NoError(t, err)
			_, err = p.Wait(t.Context())
			require.Error(t, err, "it is no object")
		}
	})
	require.Panics(t, func() { MethodFrom(o, "minus") })
	require.Panics(t, func() { MethodFrom(newTestFunction(), "") })
}

// Whatever numbers a peer gives its objects, they are called and released by these.
func TestNumbersOfThePeerAreItsOwn(t *testing.T) {
	for _, numbers := range [][2]int{{5, -5}, {1, -1}, {math.MaxInt32, math.MinInt32}, {0, -7}} {
		var k keeper
		s, p := newPeer(t, k.object())
		p.lookUp()
		p.send(callSeq(2, 1, "hold", seq{"list", seq{"my-reference", numbers[0]}, seq{"my-reference", numbers[1]}, seq{"my-reference", numbers[1]}}))
		require.Equal(t, "answer", p.receive().kind())
		require.Equal(t, 2, s.Tables().Imports)
		held := k.take()
		require.Len(t, held, 3)
		released := map[int64]int64{}
		for i, r := range held {
			require.Equal(t, i > 0, r.Function())
			require.Equal(t, i > 0, r.Same(held[1].Remote))
			r.Close()
		}
		for range 2 {
			m := p.receive()
			require.Equal(t, "decref", m.method())
			released[m.number("clid")] += m.number("count")
			p.send(answerSeq(m.request(), noneSeq()))
		}
		require.Equal(t, map[int64]int64{int64(numbers[0]): 1, int64(numbers[1]): 2}, released)
		p.alive()
		require.Zero(t, s.Tables().Imports)
	}
}
