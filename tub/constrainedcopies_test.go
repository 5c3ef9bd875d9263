package tub_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
	"github.com/foolscap-go/foolscap/tub"
)

// label is held to its tags wherever it travels; looseLabel is the same class without them.
type label struct {
	Name  string   `schema:"text(min=1, max=5)"`
	Size  int64    `schema:"int(min=0, max=9)"`
	Parts []string `foolscap:",optional" schema:"list(text(max=3), max=2)"`
	Other any      `foolscap:",optional"`
	Next  *label   `foolscap:",optional"`
}

type looseLabel struct {
	Name  any
	Size  any
	Parts any         `foolscap:",optional"`
	Other any         `foolscap:",optional"`
	Next  *looseLabel `foolscap:",optional"`
}

func TestValuesByCopyAreHeldToTheTagsOfTheirType(t *testing.T) {
	var calls int
	strict := newServer(t, &tub.Options{Copies: []tub.Copy{tub.CopyOf[label]("example.Label")}})
	loose := newTub(t, &tub.Options{Copies: []tub.Copy{tub.CopyOf[looseLabel]("example.Label")}})
	i := parseInterface(t, "interface RITaker.example.org\n  take(v: copyable(\"example.Label\", name: any, size: int(max=5), parts: optional(any), other: optional(any), next: optional(any))) -> none\n")
	o := tub.NewObject(
		tub.Method("typed", func(_ context.Context, a struct{ V *label }) (any, error) { calls++; return a.V.Name, nil }),
		tub.Method("any", func(_ context.Context, a struct{ V any }) (any, error) { calls++; return nil, nil }),
		tub.Method("many", func(_ context.Context, a struct{ V []label }) (any, error) { calls++; return nil, nil }),
		tub.Method("give", func(_ context.Context, a struct{ Size int64 }) (*label, error) {
			return &label{Name: "n", Size: a.Size}, nil
		}),
	)
	ref := connect(t, loose, register(t, strict, o))
	taker := connect(t, loose, register(t, strict, tub.NewObject(tub.Implements(i),
		tub.Method("take", func(_ context.Context, a struct{ V *label }) (tub.None, error) { return tub.None{}, nil }))))

	shared := banana.NewList("abc")
	good := &looseLabel{Name: "n", Size: 5, Parts: shared, Other: shared, Next: &looseLabel{Name: "m", Size: 0, Parts: shared}}
	assert.Equal(t, "n", call[string](t, ref, "typed", good))
	call[any](t, ref, "any", good)
	call[any](t, ref, "many", []*looseLabel{good, good, {Name: "x", Size: 9}})
	call[tub.None](t, taker, "take", good)
	assert.Equal(t, 3, calls)
	for text, bad := range map[string]*looseLabel{
		"at most 5 characters": {Name: "too long", Size: 1},
		"got 10":               {Name: "n", Size: 10},
		"at most 2 items":      {Name: "n", Size: 1, Parts: banana.NewList("a", "b", "c")},
		"at most 3 characters": {Name: "n", Size: 1, Next: &looseLabel{Name: "n", Size: 1, Parts: banana.NewList("long")}},
	} {
		for _, method := range []string{"typed", "any", "many"} {
			var v any = bad
			if method == "many" {
				v = []*looseLabel{good, bad}
			}
			_, err := tub.Call[any](within(t), ref, method, v)
			assert.ErrorContains(t, err, text, method)
			assert.ErrorContains(t, err, "(example.Label)", method)
		}
	}
	assert.Equal(t, 3, calls, "what is refused reaches no method")
	_, err := tub.Call[any](within(t), taker, "take", &looseLabel{Name: "n", Size: 6})
	assert.ErrorContains(t, err, "got 6", "the interface's constraint, beside that of the type")
	_, err = tub.Call[any](within(t), taker, "take", &looseLabel{Name: "too long", Size: 1})
	assert.ErrorContains(t, err, "at most 5 characters")

	// What goes out is held to them too.
	assert.EqualValues(t, 9, call[*looseLabel](t, ref, "give", 9).Size)
	_, err = tub.Call[any](within(t), ref, "give", 10)
	assert.ErrorContains(t, err, "got 10")

	_, err = tub.New(newIdentity(t), &tub.Options{Copies: []tub.Copy{tub.CopyOf[mislabel]("example.Mislabel")}})
	var syntax *schema.SyntaxError
	require.ErrorAs(t, err, &syntax)
	assert.ErrorContains(t, err, `attribute "name"`)
}

type mislabel struct {
	Name string `schema:"text(max"`
}
