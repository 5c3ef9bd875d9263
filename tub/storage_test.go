package tub_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func serialize(t testing.TB, tb *tub.Tub, v any) []byte {
	t.Helper()
	data, err := tb.Serialize(v)
	require.NoError(t, err)
	return data
}

func unserialize[T any](t testing.TB, tb *tub.Tub, data []byte) T {
	t.Helper()
	v, err := tub.Unserialize[T](t.Context(), tb, data)
	require.NoError(t, err)
	return v
}

func TestStoredValuesAreThoseOfFoolscap(t *testing.T) {
	tb := newTub(t, nil)
	for _, c := range []struct {
		name, hex string
		value     any
	}{
		{"an integer alone", "0181", int64(1)},
		{"none", "008804826e6f6e650089", nil},
		{"a text", "00880782756e69636f64650582636166c3a90089", "café"},
		{"a list in a list", "008804826c6973740181018804826c697374028101890089", banana.NewList(int64(1), banana.NewList(int64(2)))},
		{"a dict", "0088048264696374018261028101826201810089", banana.NewDict([]byte("a"), int64(2), []byte("b"), int64(1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.hex, hex.EncodeToString(serialize(t, tb, c.value)))
			data, err := hex.DecodeString(c.hex)
			require.NoError(t, err)
			assert.Equal(t, c.value, unserialize[any](t, tb, data))
		})
	}
}

func TestStoredGraphsKeepTheirShape(t *testing.T) {
	tb := newTub(t, nil)
	shared := banana.NewSet("a", []byte("a"))
	list := &banana.List{}
	tuple := banana.Tuple{list, shared, banana.Decimal("1.50"), new(big.Int).Lsh(big.NewInt(1), 70), banana.NewFrozenSet(1.5)}
	list.Items = []any{tuple, list, shared}

	got := unserialize[any](t, tb, serialize(t, tb, tuple)).(banana.Tuple)
	inner := got[0].(*banana.List)
	assert.Same(t, inner, inner.Items[1])
	assert.Same(t, got[1], inner.Items[2])
	assert.Same(t, &got[0], &inner.Items[0].(banana.Tuple)[0])
	assert.True(t, got[1].(*banana.Set).Has("a"))
	assert.Equal(t, tuple[2:4], got[2:4])
	assert.True(t, got[4].(*banana.FrozenSet).Has(1.5))
}

// A saved is what a program may keep.
type saved struct {
	Name  string
	Size  int `foolscap:",optional"`
	Peers []*tub.Ref
	Own   *tub.Object
	Data  []byte
}

func TestStoredReferencesAreFURLs(t *testing.T) {
	p := newPair(t, nil, nil)
	listen(t, p.client)
	own := calculator()
	unresolved := p.client.Ref(p.furl)
	data := serialize(t, p.client, saved{Name: "s", Peers: []*tub.Ref{p.ref, unresolved}, Own: own, Data: make([]byte, 100_000)})
	assert.Contains(t, string(data), p.furl.Reveal())

	got := unserialize[saved](t, p.client, data)
	assert.Equal(t, "s", got.Name)
	assert.Same(t, own, got.Own)
	assert.Len(t, got.Data, 100_000)
	require.Len(t, got.Peers, 2)
	assert.True(t, tub.Same(got.Peers[0], got.Peers[1]))
	assert.Equal(t, 3, call[int](t, got.Peers[0], "add", 1, 2))

	// Elsewhere our own object is a reference like the other ones.
	other := newTub(t, nil)
	theirs := unserialize[struct {
		Own   *tub.Ref
		Peers []*tub.Ref
		Name  string
		Size  int `foolscap:",optional"`
		Data  any
	}](t, other, data)
	assert.Empty(t, other.Peers(), "nothing has been dialled")
	assert.Equal(t, 3, call[int](t, theirs.Own, "add", 1, 2))
	assert.Equal(t, 3, call[int](t, theirs.Peers[1], "add", 1, 2))
	runtime.KeepAlive(own) // its name lasts as long
}

func TestStoredReferencesOutliveTheirConnection(t *testing.T) {
	p := newPair(t, nil, nil)
	require.NoError(t, p.server.Close())
	data := serialize(t, p.client, p.ref)
	f, ok := unserialize[*tub.Ref](t, p.client, data).FURL()
	require.True(t, ok)
	assert.True(t, f.Equal(p.furl))
}

func TestAnObjectThatIsNotThereYetIsStoredAsAReference(t *testing.T) {
	tb := newServer(t, nil)
	f := register(t, tb, calculator())
	data := serialize(t, tb, tb.Ref(f))
	assert.IsType(t, calculator(), unserialize[any](t, tb, data))

	tb.UnregisterName(f.Name.Reveal())
	ref := unserialize[*tub.Ref](t, tb, data)
	_, err := tub.Call[int](within(t), ref, "add", 1, 2)
	assert.True(t, err != nil && strings.Contains(err.Error(), "KeyError"), "%v", err)
	_, err = tub.Unserialize[*tub.Object](t.Context(), tb, data)
	var violation *banana.Violation
	assert.ErrorAs(t, err, &violation)

	again := calculator()
	stop := tb.OnLookup(func(ctx context.Context, name string) (*tub.Object, error) {
		if name != f.Name.Reveal() {
			return nil, tub.ErrUnknownName
		}
		return again, ctx.Err()
	})
	assert.Same(t, again, unserialize[*tub.Object](t, tb, data))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tub.Unserialize[any](ended, tb, data)
	assert.ErrorIs(t, err, context.Canceled)
	stop()
	_, err = tb.RegisterAs(f.Name.Reveal(), again)
	require.NoError(t, err)
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
}

func TestWhatHasNoFURLIsNotStored(t *testing.T) {
	p := newPair(t, nil, counters())
	listening := newServer(t, counters())
	closed := p.client.Ref(p.furl)
	closed.Close()
	for _, c := range []struct {
		name     string
		value    any
		want     error
		fleeting bool
	}{
		{"an object of a Tub that cannot be reached", calculator(), tub.ErrNoFURL, false},
		{"a reference that was made of nothing", p.client.Ref(furl.FURL{}), tub.ErrNoFURL, false},
		{"a reference that was closed", closed, tub.ErrClosedReference, false},
		{"what is no function to be called", func() {}, nil, false},
		{"an object deep in a list", banana.NewList(1, banana.NewList(calculator())), tub.ErrNoFURL, false},
		{"a function", double, tub.ErrNoFURL, true},
		{"a reader", strings.NewReader("text"), tub.ErrNoFURL, true},
		{"a value by a Stub", &localCounter{}, tub.ErrNoFURL, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := p.client.Serialize(c.value)
			if c.fleeting {
				_, err = listening.Serialize(c.value)
			}
			var cannot *banana.EncodeError
			require.ErrorAs(t, err, &cannot)
			if c.want != nil {
				assert.ErrorIs(t, err, c.want)
			}
		})
	}
}

func TestStoredDataThatIsNotSoundIsRefused(t *testing.T) {
	tb := newServer(t, &tub.Options{Limits: tub.Limits{Limits: banana.Limits{MaxToken: 1000, MaxMessage: 20_000, MaxDepth: 5}}})
	f := register(t, tb, calculator())
	their := func(text string) string {
		return "\x00\x88" + string(banana.AppendString(nil, "their-reference")) + "\x00\x81" + string(banana.AppendString(nil, text)) + "\x00\x89"
	}
	good := string(serialize(t, tb, "text"))
	var violation *banana.Violation
	var protocol *banana.ProtocolError
	var limit *banana.LimitError
	for _, c := range []struct {
		name, data string
		want       any
	}{
		{"nothing", "", io.ErrUnexpectedEOF},
		{"half a value", good[:len(good)-2], io.ErrUnexpectedEOF},
		{"more than one value", good + good, &protocol},
		{"no banana at all", "{\"name\": 1}\xff", &protocol},
		{"a CLOSE", "\x00\x89", &protocol},
		{"a reference without a FURL", their(""), tub.ErrNoFURL},
		{"a reference with something else", their("http://example.org/" + f.Name.Reveal()), &violation},
		{"a reference of a connection", "\x00\x88" + string(banana.AppendString(nil, "my-reference")) + "\x01\x81\x00\x89", &violation},
		{"a long string", string(banana.AppendString(nil, strings.Repeat("x", 1001))), &limit},
		{"many references", "\x00\x88\x04\x82list" + strings.Repeat(their(f.Reveal()), 20) + "\x00\x89", &limit},
		{"many levels", strings.Repeat("\x00\x88\x04\x82list", 6), &limit},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := tub.Unserialize[any](t.Context(), tb, []byte(c.data))
			require.Error(t, err)
			if want, ok := c.want.(error); ok {
				assert.ErrorIs(t, err, want)
			} else {
				assert.ErrorAs(t, err, c.want)
			}
			assert.NotContains(t, err.Error(), f.Name.Reveal())
			assert.Zero(t, tb.MemoryUsed())
		})
	}
	_, err := tb.Serialize(strings.Repeat("x", 30_000))
	assert.ErrorAs(t, err, &limit)
}

// adopting is made of references.
type adopting struct {
	C counter                                                 `foolscap:",optional"`
	F func(context.Context, struct{ C counter }) (int, error) `foolscap:",optional"`
	R io.Reader                                               `foolscap:",optional"`
	S []counter                                               `foolscap:",optional"`
	P *adopting                                               `foolscap:",optional"`
}

func TestReferencesAreReadAsWhatTheyStandFor(t *testing.T) {
	tb := newServer(t, counters())
	fn := register(t, tb, tub.Func(double))
	sum := register(t, tb, tub.NewObject(tub.MethodsOf[counter](&localCounter{}, nil)))
	data := serialize(t, tb, map[string]any{"f": tb.Ref(fn), "c": tb.Ref(sum), "s": []any{tb.Ref(sum)}, "r": tb.Ref(sum)})
	got := unserialize[struct {
		F twiceFunc
		C counter
		S []counter
		R io.Reader
	}](t, tb, data)
	n, err := got.F(t.Context(), twice{N: 21})
	require.NoError(t, err)
	assert.Equal(t, 42, n)
	n, err = got.C.Add(t.Context(), addend{3})
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.IsType(t, remoteCounter{}, got.S[0], "it is no value of a Stub")
	_, err = got.R.Read(make([]byte, 1))
	assert.ErrorContains(t, err, `no method "read"`)
}

func FuzzUnserialize(f *testing.F) {
	id, err := tub.NewIdentity()
	require.NoError(f, err)
	tb := newTubOf(f, id, &tub.Options{Limits: tub.Limits{Limits: banana.Limits{MaxMessage: 1 << 20}}, Stubs: counters().Stubs})
	listen(f, tb)
	own := calculator()
	at := register(f, tb, own)
	cyclic := &banana.List{}
	cyclic.Items = []any{cyclic, banana.Tuple{cyclic, own}, tb.Ref(at), banana.NewDict("key", banana.NewSet(1, 2.5))}
	f.Add(serialize(f, tb, cyclic))
	f.Add(serialize(f, tb, saved{Name: "name", Own: own, Peers: []*tub.Ref{tb.Ref(at)}}))
	f.Add([]byte("\x01\x81"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := tub.Unserialize[saved](t.Context(), tb, data)
		if err != nil && strings.Contains(err.Error(), at.Name.Reveal()) {
			t.Fatalf("the error shows a secret: %v", err)
		}
		tub.Unserialize[adopting](t.Context(), tb, data)
		v, err := tub.Unserialize[any](t.Context(), tb, data)
		if used := tb.MemoryUsed(); used != 0 {
			t.Fatalf("%d bytes are still charged", used)
		}
		if err != nil {
			return
		}
		again, err := tb.Serialize(v)
		var cannot *banana.EncodeError
		if errors.As(err, &cannot) {
			return // keys, say, that Python could not sort
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tub.Unserialize[any](t.Context(), tb, again); err != nil && !errors.As(err, new(*banana.LimitError)) {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
