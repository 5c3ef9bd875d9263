package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

const seen = `Ada has written: I was here.
that was entry 1
Grace has written: I was here.
that was entry 2
the last one of 2 is by Grace
`

func TestAGuestbookIsTheSameHereAndElsewhere(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, visit(t.Context(), &book{}, &out))
	assert.Equal(t, seen, out.String())
	out.Reset()
	require.NoError(t, run(t.Context(), &out))
	assert.Equal(t, seen, out.String())
}

// connected returns a client of a guestbook over loopback.
func connected(t testing.TB) GuestbookClient {
	owner, err := newTub()
	require.NoError(t, err)
	t.Cleanup(func() { owner.Close() })
	l, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	_, err = owner.Listen(l)
	require.NoError(t, err)
	furl, err := owner.Register(NewGuestbookObject(quiet{}))
	require.NoError(t, err)
	visitor, err := newTub()
	require.NoError(t, err)
	t.Cleanup(func() { visitor.Close() })
	ref, err := visitor.Connect(t.Context(), furl)
	require.NoError(t, err)
	return NewGuestbookClient(ref)
}

// quiet is a guestbook that does nothing, for the measurement of calls.
type quiet struct{ Guestbook }

func (quiet) Sign(context.Context, Entry) (int64, error)            { return 1, nil }
func (quiet) Entries(context.Context, EntriesArgs) ([]Entry, error) { return nil, nil }

// A generated call costs what one costs that is written by hand.
func BenchmarkCalls(b *testing.B) {
	g := connected(b)
	e, a := Entry{Name: "Ada", Text: "I was here."}, EntriesArgs{First: 1, Max: 10}
	for _, c := range []struct {
		name              string
		generated, byHand func(ctx context.Context) error
	}{
		{"positional",
			func(ctx context.Context) error { _, err := g.Sign(ctx, e); return err },
			func(ctx context.Context) error {
				_, err := tub.Call[int64](ctx, g.Ref, "sign", e.Name, e.Text)
				return err
			}},
		{"optional left out",
			func(ctx context.Context) error { _, err := g.Entries(ctx, EntriesArgs{First: 1}); return err },
			func(ctx context.Context) error {
				_, err := tub.Call[[]Entry](ctx, g.Ref, "entries", a.First)
				return err
			}},
		{"optional given",
			func(ctx context.Context) error { _, err := g.Entries(ctx, a); return err },
			func(ctx context.Context) error {
				_, err := tub.Call[[]Entry](ctx, g.Ref, "entries", a.First, tub.Keywords{"max": a.Max})
				return err
			}},
	} {
		for name, call := range map[string]func(context.Context) error{"generated": c.generated, "by hand": c.byHand} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := call(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
