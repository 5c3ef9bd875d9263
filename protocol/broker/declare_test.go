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
