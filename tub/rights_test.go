package tub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/tub"
)

// A notebook can be read and written, a page of it only one of them.
type notebook struct{ text string }

type page interface {
	Look(ctx context.Context, _ tub.None) (string, error)
}

type pen interface {
	Write(ctx context.Context, a written) (tub.None, error)
}

type written struct{ Text string }

func (n *notebook) Look(context.Context, tub.None) (string, error) { return n.text, nil }

func (n *notebook) Write(_ context.Context, a written) (tub.None, error) {
	n.text = a.Text
	return tub.None{}, nil
}

type remotePage struct{ *tub.Ref }

func (p remotePage) Look(ctx context.Context, _ tub.None) (string, error) {
	return tub.Call[string](ctx, p.Ref, "look")
}

type remotePen struct{ *tub.Ref }

func (p remotePen) Write(ctx context.Context, a written) (tub.None, error) {
	return tub.Call[tub.None](ctx, p.Ref, "write", a.Text)
}

func pensAndPages() *tub.Options {
	return &tub.Options{Stubs: []tub.Stub{
		tub.StubOf(func(r *tub.Ref) pen { return remotePen{r} }, func(p pen) *tub.Object {
			return tub.NewObject(tub.Interface("RIPen"), tub.Value(p), tub.MethodsOf(p, nil))
		}),
		tub.StubOf(func(r *tub.Ref) page { return remotePage{r} }, func(p page) *tub.Object {
			return tub.NewObject(tub.Interface("RIPage"), tub.Value(p), tub.MethodsOf(p, nil))
		}),
	}}
}

func TestAValueGoesAsTheInterfaceThatItIsDeclaredAs(t *testing.T) {
	t.Parallel()
	n := &notebook{"a diary"}
	var kept page = n
	desk := tub.NewObject(
		tub.Method("page", func(context.Context, tub.None) (page, error) { return n, nil }),
		tub.Method("pen", func(context.Context, tub.None) (pen, error) { return n, nil }),
		tub.Method("pages", func(context.Context, tub.None) ([]page, error) { return []page{n}, nil }),
		tub.Method("any", func(context.Context, tub.None) (any, error) { return n, nil }),
		tub.Method("interface", func(_ context.Context, a struct{ X *tub.Ref }) (string, error) { return a.X.Interface(), nil }),
		tub.Method("apply", func(ctx context.Context, a struct {
			F func(context.Context, struct{ X page }) (string, error)
		}) (string, error) {
			return a.F(ctx, struct{ X page }{kept})
		}),
	)
	p := newPair(t, pensAndPages(), pensAndPages())
	r := connect(t, p.client, register(t, p.server, desk))
	is := func(r *tub.Ref) string { return r.Interface() }
	assert.Equal(t, "RIPage", is(call[*tub.Ref](t, r, "page")))
	assert.Equal(t, "RIPen", is(call[*tub.Ref](t, r, "pen")))
	assert.Equal(t, "RIPage", is(call[[]*tub.Ref](t, r, "pages")[0]))
	assert.Equal(t, "RIPen", is(call[*tub.Ref](t, r, "any")), "the first one")
	assert.True(t, tub.Same(call[*tub.Ref](t, r, "page"), call[[]*tub.Ref](t, r, "pages")[0]))
	assert.False(t, tub.Same(call[*tub.Ref](t, r, "page"), call[*tub.Ref](t, r, "pen")))

	assert.Equal(t, "RIPen", call[string](t, r, "interface", n))
	assert.Equal(t, "RIPage", call[string](t, r, "interface", tub.As[page](n)))
	assert.Equal(t, "RIPage", call[string](t, r, "interface", tub.Keywords{"x": tub.As[page](n)}))
	assert.Equal(t, "RIPage", call[string](t, r, "apply", func(_ context.Context, a struct{ X *tub.Ref }) (string, error) {
		return a.X.Interface(), nil
	}))

	// Also where the answer is kept for calls on it.
	promised, err := tub.Promise(within(t), r, "page")
	require.NoError(t, err)
	assert.Equal(t, "a diary", call[string](t, promised, "look"))
	_, err = tub.Call[tub.None](within(t), promised, "write", "graffiti")
	assert.ErrorContains(t, err, `no method "write"`)
	// And through a forwarder.
	o, _ := tub.Forward(desk, tub.ForwardOptions{})
	assert.Equal(t, "RIPage", is(call[*tub.Ref](t, connect(t, p.client, register(t, p.server, o)), "page")))
}

func TestWhatComesHomeGivesNoMoreRightsThanItsHolderHas(t *testing.T) {
	t.Parallel()
	n := &notebook{"a diary"}
	file := &bytes.Buffer{}
	drain := func(r io.Reader) (string, error) {
		b, err := io.ReadAll(r)
		return string(b), err
	}
	desk := tub.NewObject(
		tub.Method("page", func(context.Context, tub.None) (page, error) { return n, nil }),
		tub.Method("pen", func(context.Context, tub.None) (pen, error) { return n, nil }),
		tub.Method("file", func(context.Context, tub.None) (*tub.Object, error) {
			return tub.NewObject(tub.Value(file), tub.Method("size", func(context.Context, tub.None) (int, error) { return file.Len(), nil })), nil
		}),
		tub.Method("copy", func(ctx context.Context, a struct {
			From page
			To   pen
		}) (bool, error) {
			_, own := a.To.(*notebook)
			text, err := a.From.Look(ctx, tub.None{})
			if err == nil {
				_, err = a.To.Write(ctx, written{text + " twice"})
			}
			return own, err
		}),
		tub.Method("drain", func(_ context.Context, a struct{ R io.Reader }) (string, error) { return drain(a.R) }),
	)
	p := newPair(t, pensAndPages(), pensAndPages())
	r := connect(t, p.client, register(t, p.server, desk))
	onlyRead, onlyWrite := call[*tub.Ref](t, r, "page"), call[*tub.Ref](t, r, "pen")
	_, err := tub.Call[bool](within(t), r, "copy", onlyRead, onlyRead)
	assert.ErrorContains(t, err, `no method "write"`)
	assert.Equal(t, "a diary", n.text)
	assert.True(t, call[bool](t, r, "copy", onlyRead, onlyWrite), "it comes home as itself")
	assert.Equal(t, "a diary twice", n.text)

	file.WriteString("a secret")
	_, err = tub.Call[string](within(t), r, "drain", call[*tub.Ref](t, r, "file"))
	assert.ErrorContains(t, err, `no method "read"`)
	assert.Equal(t, "a secret", file.String())
}

// Who reads a connection must not end with what a Stub does.
func TestAStubThatPanicsFailsItsCallOnly(t *testing.T) {
	t.Parallel()
	log := &logs{}
	server := pensAndPages()
	server.Logger = log.logger()
	server.Stubs = append(server.Stubs, tub.StubOf(func(*tub.Ref) counter { panic("no wrap") }, func(counter) *tub.Object { panic("no object") }))
	p := newPair(t, server, counters())
	r := connect(t, p.client, register(t, p.server, tub.NewObject(
		tub.Method("take", func(context.Context, struct{ C counter }) (tub.None, error) { return tub.None{}, nil }),
		tub.Method("give", func(context.Context, tub.None) (counter, error) { return &localCounter{}, nil }),
		tub.Method("fine", func(context.Context, tub.None) (int, error) { return 1, nil }),
	)))
	_, err := tub.Call[tub.None](within(t), r, "take", &localCounter{})
	assert.ErrorContains(t, err, "no wrap")
	_, err = tub.Call[*tub.Ref](within(t), r, "give")
	assert.ErrorContains(t, err, "no object")
	_, err = tub.Promise(within(t), r, "give")
	require.NoError(t, err)
	assert.Equal(t, 1, call[int](t, r, "fine"))
	assert.Contains(t, log.String(), "a Stub panicked")
	assert.Contains(t, log.String(), "stack=")
}

// What an object of a Stub does not hold may go, and others come to be in its
// place.
func TestAnotherValueInTheSamePlaceIsAnotherObject(t *testing.T) {
	t.Parallel()
	var made []*tub.Object // they live, their values do not
	opts := &tub.Options{Stubs: []tub.Stub{tub.StubOf(func(r *tub.Ref) page { return remotePage{r} }, func(p page) *tub.Object {
		text, _ := p.Look(context.Background(), tub.None{})
		made = append(made, tub.NewObject(tub.Method("look", func(context.Context, tub.None) (string, error) { return text, nil })))
		return made[len(made)-1]
	})}}
	p := newPair(t, nil, opts)
	for i := range 300 {
		want := string(rune('a' + i))
		o := call[*tub.Object](t, p.ref, "echo", &notebook{want})
		if i%10 == 0 {
			runtime.GC()
		}
		assert.Same(t, made[len(made)-1], o)
		assert.Len(t, made, i+1)
	}
	nothing := &mute{} // it has the address of all that have no size
	assert.Same(t, call[*tub.Object](t, p.ref, "echo", nothing), call[*tub.Object](t, p.ref, "echo", nothing))
}

type mute struct{}

func (*mute) Look(context.Context, tub.None) (string, error) { return "", errors.New("mute") }

// The reference that a Stub wraps need not be resolved yet.
func TestWhatAStubAssumesHoldsForAnIntroduction(t *testing.T) {
	t.Parallel()
	assuming := &tub.Options{Stubs: []tub.Stub{tub.StubOf(func(r *tub.Ref) page {
		r.Assume(tub.InterfaceOf[page]("RIPage"))
		return remotePage{r}
	}, func(page) *tub.Object { return nil })}}
	receiver, giver, owner := newServer(t, assuming), newServer(t, nil), newServer(t, nil)
	theirs := connect(t, giver, register(t, owner, calculator()))
	r := connect(t, giver, register(t, receiver, tub.NewObject(
		tub.Method("use", func(ctx context.Context, a struct{ P page }) (string, error) {
			_, err := tub.Call[any](ctx, a.P.(remotePage).Ref, "echo", 1)
			return fmt.Sprint(err), nil
		}),
	)))
	assert.Contains(t, call[string](t, r, "use", theirs), `RIPage has no method "echo"`)
}

// A reference that comes home is a few bytes long; what is made of it is not.
func TestWhatIsMadeOfReferencesIsCharged(t *testing.T) {
	t.Parallel()
	server := pensAndPages()
	server.Limits.MaxMessage = 64 << 10
	p := newPair(t, server, nil)
	n := &notebook{"a diary"}
	r := connect(t, p.client, register(t, p.server, tub.NewObject(
		tub.Method("facet", func(context.Context, tub.None) (*tub.Object, error) {
			return tub.NewObject(tub.MethodsOf[page](n, nil)), nil
		}),
		tub.Method("count", func(_ context.Context, a struct{ All []page }) (int, error) { return len(a.All), nil }),
	)))
	all := slices.Repeat([]any{call[*tub.Ref](t, r, "facet")}, 300)
	assert.Equal(t, 30, call[int](t, r, "count", all[:30]))
	_, err := tub.Call[int](within(t), r, "count", all)
	assert.ErrorContains(t, err, "MaxMessage")
}

func TestAValueThatManySendAtOnceIsOneObject(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil, pensAndPages())
	n := &notebook{}
	got := make([]*tub.Object, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			r := p.client.Ref(p.furl)
			for range 20 {
				o, err := tub.Call[*tub.Object](within(t), r, "echo", tub.As[page](n))
				if !assert.NoError(t, err) {
					return
				}
				got[i] = o
				runtime.GC()
				r.Assume(nil)
			}
		})
	}
	wg.Wait()
	for _, o := range got {
		assert.Same(t, n, o.Value())
		assert.Equal(t, "RIPage", o.Interface())
	}
	kept := call[*tub.Object](t, p.ref, "echo", tub.As[page](n))
	assert.Same(t, kept, call[*tub.Object](t, p.ref, "echo", tub.As[page](n)))
}

func TestAHiddenTubDoesNotTellOfPanics(t *testing.T) {
	t.Parallel()
	tb := newTub(t, &tub.Options{
		Hidden: true,
		Stubs:  []tub.Stub{tub.StubOf(func(*tub.Ref) page { panic("of my own") }, func(page) *tub.Object { panic("of my own") })},
		Copies: []tub.Copy{tub.CopyAs("test.Written",
			func(w written) (struct{ Text string }, error) { return struct{ Text string }(w), nil },
			func(struct{ Text string }) (written, error) { panic("of my own") })},
	})
	r := connect(t, tb, register(t, tb, tub.NewObject(
		tub.Method("take_page", func(context.Context, struct{ P page }) (tub.None, error) { return tub.None{}, nil }),
		tub.Method("take_copy", func(context.Context, struct{ W written }) (tub.None, error) { return tub.None{}, nil }),
		tub.Method("give", func(context.Context, tub.None) (any, error) { return &notebook{}, nil }),
	)))
	for method, args := range map[string][]any{"take_page": {tub.NewObject()}, "take_copy": {written{"text"}}, "give": nil} {
		_, err := tub.Call[any](within(t), r, method, args...)
		assert.ErrorContains(t, err, "the method panicked", method)
		assert.NotContains(t, err.Error(), "of my own", method)
	}
}

// A nil pointer that has become an error panics when it is asked anything.
func TestAnErrorThatPanicsFailsItsCallOnly(t *testing.T) {
	t.Parallel()
	for _, hidden := range []bool{false, true} {
		log := &logs{}
		tb := newTub(t, &tub.Options{Hidden: hidden, Logger: log.logger(), LogLocalFailures: slog.LevelWarn})
		r := connect(t, tb, register(t, tb, tub.NewObject(
			tub.Method("fail", func(context.Context, tub.None) (*tub.Object, error) { return nil, (*fs.PathError)(nil) }),
			tub.Method("fine", func(context.Context, tub.None) (int, error) { return 1, nil }),
		)))
		_, err := tub.Call[any](within(t), r, "fail")
		assert.ErrorContains(t, err, "an error of type *fs.PathError that cannot be described")
		p, err := tub.Promise(within(t), r, "fail")
		require.NoError(t, err)
		_, err = tub.Call[any](within(t), p, "fine")
		assert.ErrorIs(t, err, tub.ErrNotRun)
		assert.Equal(t, 1, call[int](t, r, "fine"))
		assert.Contains(t, log.String(), "cannot be described")
	}
}
