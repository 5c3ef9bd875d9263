package gen

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/cmd/foolscap/internal/gen/testdata/shapes"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// An echo returns what it gets, as far as it can.
type echo struct{}

func (*echo) None(context.Context, tub.None) (tub.None, error) { return tub.None{}, nil }
func (*echo) Raw(_ context.Context, a tub.Args) (any, error) {
	return fmt.Sprint(a.Positional, a.Keyword), nil
}
func (*echo) Any(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }
func (*echo) Inner(context.Context, tub.None) (*tub.Ref, error)         { return nil, nil }

func (*echo) Scalars(_ context.Context, a shapes.Scalars) (shapes.Scalars, error) { return a, nil }

func (*echo) Optionals(_ context.Context, a shapes.Optionals) (shapes.Optionals, error) {
	return a, nil
}

func (*echo) Last(_ context.Context, a struct {
	First bool `foolscap:",optional"`
	Last  any
}) (any, error) {
	return banana.Tuple{a.First, a.Last}, nil
}

func (*echo) References(ctx context.Context, a shapes.References) (shapes.Nested, error) {
	if len(a.Shapes) != 1 {
		return a.Nested, nil
	}
	if x, err := a.Shapes[0].Any(ctx, struct{ Value any }{"through"}); err != nil || x != "through" {
		return nil, fmt.Errorf("%v, %w", x, err)
	}
	return nestedEcho{}, nil
}

func (*echo) Callback(ctx context.Context, a struct {
	F func(context.Context, shapes.Scalars) (int, error)
}) (func(context.Context, tub.None) (tub.None, error), error) {
	n, err := a.F(ctx, shapes.Scalars{A: 7, G: big.NewInt(1), E: "x"})
	return func(context.Context, tub.None) (tub.None, error) { return tub.None{}, fmt.Errorf("got %d", n) }, err
}

func (*echo) Maps(_ context.Context, a struct {
	M map[string]int `schema:"dict(text(max=5), int, max=7)"`
	S map[int8]struct{}
}) ([]map[string]int64, error) {
	return []map[string]int64{{"m": int64(a.M["x"]), "s": int64(len(a.S))}}, nil
}

func (*echo) Imported(_ context.Context, a struct{ D banana.Decimal }) (time.Duration, error) {
	return time.ParseDuration(string(a.D) + "s")
}

// A nestedEcho is a Nested.
type nestedEcho struct{}

func (nestedEcho) Self(context.Context, struct{ Other shapes.Nested }) (shapes.Shapes, error) {
	return &echo{}, nil
}

func newTub(t testing.TB) *tub.Tub {
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	tb, err := tub.New(id, &tub.Options{Stubs: []tub.Stub{shapes.ShapesStub, shapes.NestedStub}})
	require.NoError(t, err)
	t.Cleanup(func() { tb.Close() })
	return tb
}

func TestGeneratedCallsBringEverythingThere(t *testing.T) {
	ctx := t.Context()
	server, client := newTub(t), newTub(t)
	l, err := tcp.Listen(ctx, "127.0.0.1:0")
	require.NoError(t, err)
	_, err = server.Listen(l)
	require.NoError(t, err)
	furl, err := server.Register(shapes.NewShapesObject(&echo{}))
	require.NoError(t, err)
	ref, err := client.Connect(ctx, furl)
	require.NoError(t, err)
	assert.Equal(t, "RIShapes.example.org", ref.Interface())
	c := shapes.NewShapesClient(ref)

	_, err = c.None(ctx, tub.None{})
	require.NoError(t, err)
	text, err := c.Raw(ctx, tub.Args{Positional: []any{1, "a"}, Keyword: map[string]any{"k": true}})
	require.NoError(t, err)
	assert.Equal(t, "[1 a]map[k:true]", strings.ReplaceAll(text.(string), "] map", "]map"))
	for _, v := range []any{nil, "x", int64(1), tub.Keywords{"a": int64(1)}} { // the last one is a value here
		got, err := c.Any(ctx, struct{ Value any }{v})
		require.NoError(t, err)
		if k, ok := v.(tub.Keywords); ok {
			a, _ := got.(*banana.Dict).Get("a")
			assert.Equal(t, k["a"], a)
			continue
		}
		assert.Equal(t, v, got)
	}
	s := shapes.Scalars{A: -1, B: 2, C: 0.5, D: true, E: "text", F: []byte("f"), G: big.NewInt(99), H: [2]byte{1, 2}, I: []string{"i"}}
	gotS, err := c.Scalars(ctx, s)
	require.NoError(t, err)
	assert.Equal(t, s, gotS)
	for _, o := range []shapes.Optionals{
		{},
		{
			Bool: true, Int: 1, Float: 0.5, Text: "t", Bytes: []byte{1}, List: []int64{2}, Map: map[string]struct{}{"m": {}}, Pointer: new(true),
			Array: [2]int8{3, 4}, Struct: shapes.Pair{A: 5, B: 6}, Any: "any",
		},
		{Bytes: []byte{}, Pointer: new(false), Array: [2]int8{0, 1}},
	} {
		got, err := c.Optionals(ctx, o)
		require.NoError(t, err)
		if o.Int == 0 { // it is left out, and has a default
			o.Int = 7
		}
		assert.Equal(t, o, got)
	}
	last, err := c.Last(ctx, struct {
		First bool `foolscap:",optional"`
		Last  any
	}{Last: "l"})
	require.NoError(t, err)
	assert.Equal(t, banana.Tuple{false, "l"}, last)
	maps, err := c.Maps(ctx, struct {
		M map[string]int `schema:"dict(text(max=5), int, max=7)"`
		S map[int8]struct{}
	}{map[string]int{"x": 3}, map[int8]struct{}{1: {}}})
	require.NoError(t, err)
	assert.Equal(t, []map[string]int64{{"m": 3, "s": 1}}, maps)
	d, err := c.Imported(ctx, struct{ D banana.Decimal }{"1.5"})
	require.NoError(t, err)
	assert.Equal(t, 1500*time.Millisecond, d)

	back, err := c.Callback(ctx, struct {
		F func(context.Context, shapes.Scalars) (int, error)
	}{func(_ context.Context, s shapes.Scalars) (int, error) { return int(s.A), nil }})
	require.NoError(t, err)
	_, err = back(ctx, tub.None{})
	assert.ErrorContains(t, err, "got 7")

	nested, err := c.References(ctx, shapes.References{Shapes: []shapes.Shapes{&echo{}}})
	require.NoError(t, err)
	again, err := nested.Self(ctx, struct{ Other shapes.Nested }{nested})
	require.NoError(t, err)
	got, err := again.Any(ctx, struct{ Value any }{"at the end"})
	require.NoError(t, err)
	assert.Equal(t, "at the end", got)
	c.Close()
	_, err = c.None(ctx, tub.None{})
	assert.ErrorIs(t, err, tub.ErrClosedReference)
}
