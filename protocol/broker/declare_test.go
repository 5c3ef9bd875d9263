package broker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/schema"
)

// Where there is an interface, nothing but Python's own senders keep a peer from giving an argument again and again: if
// the last one counted, the largest legal call would have no bound.
func TestAnArgumentThatIsGivenTwiceByNameIsRefusedByAnInterface(t *testing.T) {
	i, err := schema.ParseInterface("interface RITwice.example.org\n  f(a: int) -> int\n  raw(a: int) -> int\n")
	require.NoError(t, err)
	f := NewMethod("f", func(_ context.Context, a struct{ A int }) (int, error) { return a.A, nil })
	raw := NewMethod("raw", func(_ context.Context, a Args) (int64, error) { return a.Keyword["a"].(int64), nil })
	root, err := NewDeclaredObject(i, nil, f, raw)
	require.NoError(t, err)
	_, p := newPeer(t, root)
	p.send(callSeq(1, 0, "getReferenceByName", keyword{"name", "root"}))
	require.Equal(t, "answer", p.receive().kind())
	for _, method := range []string{"f", "raw"} {
		p.send(callSeq(2, 1, method, keyword{"a", 1}, keyword{"a", 2}))
		got := p.receive()
		require.Equal(t, "error", got.kind(), method)
		require.Contains(t, got.attribute("value"), `argument "a" is given twice`, method)
		p.send(callSeq(3, 1, method, keyword{"a", 1}))
		require.Equal(t, "answer", p.receive().kind(), method)
	}
}

// An argument that was sent once and is looked at again for another one takes memory, which counts.
func TestWhatLookingAtSharedArgumentsTakesCounts(t *testing.T) {
	i, err := schema.ParseInterface("interface RIShared.example.org\n  f(a: any, b: list(list(int)), c: list(list(text)), d: list(list(bool))) -> none\n")
	require.NoError(t, err)
	o, err := NewDeclaredObject(i, nil, NewMethod("f", func(context.Context, struct{ A, B, C, D any }) (struct{}, error) { return struct{}{}, nil }))
	require.NoError(t, err)
	const lists = 2000
	many := seq{"list"}
	for range lists {
		many = append(many, seq{"list"})
	}
	answers := func(limit int) string {
		_, p := newPeer(t, o, func(c *Config) { c.Limits.MaxMessage = limit })
		p.send(callSeq(1, 0, "getReferenceByName", keyword{"name", "root"}))
		p.receive()
		call := callSeq(2, 1, "f", many, seq{"reference", 0}, seq{"reference", 0}, seq{"reference", 0})
		first := int(p.opens) + 2 // behind the call and its arguments
		for k := range 3 {
			call[4].(seq)[3+k].(seq)[1] = first
		}
		p.send(call)
		return p.receive().String()
	}
	require.Contains(t, answers(2<<20), "answer")
	require.Contains(t, answers(800<<10), "MaxMessage")
}
