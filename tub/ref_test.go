package tub_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestALiveReferenceEndsWithItsConnection(t *testing.T) {
	p := newPair(t, nil, nil)
	ended := make(chan error, 10)
	p.ref.OnDisconnect(func(reason error) { ended <- reason })
	withdrawn := p.ref.OnDisconnect(func(error) { ended <- errors.New("this was withdrawn") })
	withdrawn()
	withdrawn()
	require.NoError(t, p.server.Close())
	assert.ErrorIs(t, <-ended, tub.ErrLost)

	_, err := tub.Call[int](within(t), p.ref, "add", 1, 2)
	assertNotSent(t, err, tub.ErrDeadReference, tub.ErrLost)
	_, err = tub.Start[int](within(t), p.ref, "add", 1, 2)
	assertNotSent(t, err, tub.ErrDeadReference)
	assertNotSent(t, tub.Send(within(t), p.ref, "add", 1, 2), tub.ErrDeadReference)
	assert.Equal(t, p.server.TubID(), p.ref.Peer(), "it still says what it was")

	p.ref.OnDisconnect(func(reason error) { ended <- reason })
	assert.ErrorIs(t, <-ended, tub.ErrLost, "at once")
	p.ref.Close()
	assert.Empty(t, ended)
}

// assertNotSent asserts what a call failed of before it was sent.
func assertNotSent(t testing.TB, err error, causes ...error) {
	t.Helper()
	var failed *tub.CallError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, tub.NotSent, failed.Sent)
	for _, cause := range causes {
		assert.ErrorIs(t, err, cause)
	}
}

func TestAClosedReferenceIsReleasedAndOfNoUse(t *testing.T) {
	var seen events
	p := newPair(t, nil, &tub.Options{Observer: seen.observe})
	another := connect(t, p.client, p.furl)
	unresolved := p.client.Ref(p.furl)
	assert.Equal(t, 3, call[int](t, unresolved, "add", 1, 2))
	never := p.client.Ref(p.furl)
	released := func() (n int) {
		for _, e := range seen.of(tub.EventReference) {
			if e.Detail == "released" {
				n++
			}
		}
		return n
	}
	for _, r := range []*tub.Ref{p.ref, unresolved, never} {
		r.Close()
		r.Close()
		_, err := tub.Call[int](within(t), r, "add", 1, 2)
		assertNotSent(t, err, tub.ErrClosedReference)
		_, err = tub.Start[int](within(t), r, "add", 1, 2)
		assertNotSent(t, err, tub.ErrClosedReference)
		assertNotSent(t, tub.Send(within(t), r, "add", 1, 2), tub.ErrClosedReference)
		_, err = tub.Call[any](within(t), another, "echo", r)
		assertNotSent(t, err, tub.ErrClosedReference)
	}
	assert.Zero(t, released())
	assert.Equal(t, 3, call[int](t, another, "add", 1, 2), "each receipt is a reference of its own")
	another.Close()
	eventually(t, func() bool { return released() == 1 }, "the last one releases the object")
	assert.Equal(t, 3, call[int](t, connect(t, p.client, p.furl), "add", 1, 2))
}

func TestAReferenceThatIsClosedWhileItConnectsIsReleased(t *testing.T) {
	m := newMemory()
	server, client := newTub(t, nil), newTub(t, nil)
	_, err := server.Listen(m.listen("mem:x"))
	require.NoError(t, err)
	o := calculator()
	f := register(t, server, o)
	proceed := make(chan struct{})
	toMemory := m.dialer()
	h := handle(t, client, map[string]dial{"mem": func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		<-proceed
		return toMemory(ctx, req)
	}})
	ref := client.Ref(f)
	failed := make(chan error, 1)
	go func() { _, err := tub.Call[int](within(t), ref, "add", 1, 2); failed <- err }()
	eventually(t, func() bool { return len(h.seen()) == 1 }, "it connects")
	ref.Close()
	close(proceed)
	assertNotSent(t, <-failed, tub.ErrClosedReference)
	eventually(t, func() bool {
		b := server.Broker(client.TubID()) // which may be about to be made
		return b != nil && b.Tables().Exports == 0
	}, "the client holds nothing")
}

func TestAnUnresolvedReferenceConnectsWhenItIsCalled(t *testing.T) {
	var seen events
	server := newServer(t, nil)
	client := newTub(t, &tub.Options{Observer: seen.observe})
	f := register(t, server, calculator())
	ref := client.Ref(f)
	assert.Equal(t, server.TubID(), ref.Peer())
	assert.Empty(t, ref.Interface())
	ref.OnDisconnect(func(error) { t.Error("there was no connection") })()
	got, ok := ref.FURL()
	assert.True(t, ok)
	assert.True(t, f.Equal(got))
	assert.Empty(t, seen.of(tub.EventDial))

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { assert.Equal(t, 3, call[int](t, ref, "add", 1, 2)) })
	}
	wg.Wait()
	eventually(t, func() bool { return len(seen.of(tub.EventDial)) == 1 }, "one dial")
	looked := 0
	for _, e := range seen.of(tub.EventCall) {
		if e.Method == "getReferenceByName" {
			looked++
		}
	}
	assert.Equal(t, 1, looked, "all wait for one look-up")
	assert.Equal(t, "RICalculator.example.org", ref.Interface())
	lost := make(chan error, 1)
	ref.OnDisconnect(func(reason error) { lost <- reason })
	require.NoError(t, server.Close())
	assert.ErrorIs(t, <-lost, tub.ErrLost)
}

func TestWhoWaitsForAnotherToConnectWaitsNoLongerThanHeWants(t *testing.T) {
	client := newTub(t, nil)
	h := handle(t, client, map[string]dial{"x": hang})
	ref := client.Ref(named(t, newIdentity(t).TubID(), "x:y"))
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := tub.Call[int](ctx, ref, "add", 1, 2); first <- err }()
	eventually(t, func() bool { return len(h.seen()) == 1 }, "the first connects")

	cause := errors.New("no time")
	over, end := context.WithCancelCause(t.Context())
	end(cause)
	_, err := tub.Call[int](over, ref, "add", 1, 2)
	var failed *tub.DialError
	require.ErrorAs(t, err, &failed)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, cause)
	cancel()
	assert.ErrorIs(t, <-first, context.Canceled)
}

func TestReferencesAreTheSameIfTheirObjectIs(t *testing.T) {
	p := newPair(t, nil, nil)
	again := connect(t, p.client, p.furl)
	other := connect(t, p.client, register(t, p.server, calculator()))
	third := connect(t, newTub(t, nil), p.furl)
	assert.True(t, tub.Same(p.ref, p.ref))
	assert.True(t, tub.Same(p.ref, again))
	assert.False(t, tub.Same(p.ref, other))
	assert.False(t, tub.Same(p.ref, third), "another connection")
	assert.True(t, tub.Same(nil, nil))
	assert.False(t, tub.Same(p.ref, nil))
	assert.False(t, tub.Same(nil, p.ref))

	a, b := p.client.Ref(p.furl), p.client.Ref(p.furl)
	assert.True(t, tub.Same(a, b))
	assert.False(t, tub.Same(a, p.client.Ref(p.furl.WithHints())))
	assert.False(t, tub.Same(a, p.ref), "nobody knows yet")
	call[int](t, a, "add", 1, 2)
	assert.True(t, tub.Same(a, p.ref))
	assert.True(t, tub.Same(a, b))
}

func TestAReferenceKnowsItsFURL(t *testing.T) {
	p := newPair(t, nil, nil)
	f, ok := p.ref.FURL()
	require.True(t, ok)
	assert.True(t, p.furl.Equal(f), "as the peer announces it")

	// A Tub that does not know its hints announces no FURL: then it is the one that has led here.
	quiet, client := newTub(t, nil), newTub(t, nil)
	l := listen(t, quiet)
	dialled := register(t, quiet, calculator())
	address := l.Hints()[0]
	hidden := newTub(t, nil)
	m := newMemory()
	a := m.listen("mem:x")
	a.advertise()
	_, err := hidden.Listen(a)
	require.NoError(t, err)
	handle(t, client, map[string]dial{"mem": m.dialer()})
	g := register(t, hidden, calculator()).WithHints("mem:x")
	ref := connect(t, client, g)
	f, ok = ref.FURL()
	require.True(t, ok)
	assert.True(t, g.Equal(f))
	assert.Equal(t, address, dialled.Hints[0])
}

func TestAReferenceShowsNoSecret(t *testing.T) {
	p := newPair(t, nil, nil)
	o := calculator()
	tb := newTub(t, nil)
	f, err := tb.RegisterAs("swordfish-swordfish", o)
	require.NoError(t, err)
	for name, v := range map[string]any{
		"a live reference": p.ref, "an unresolved one": p.client.Ref(p.furl), "a FURL": f,
		"its Tub": tb, "what is known of a peer": info(t, p.client, p.server.TubID()),
	} {
		t.Run(name, func(t *testing.T) {
			var text string
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
				text += fmt.Sprintf(verb, v) + fmt.Sprintf(verb, []any{v})
			}
			var log logs
			log.logger().Info("message", "value", v)
			text += log.String()
			assert.NotContains(t, text, p.furl.Name.Reveal())
			assert.NotContains(t, text, "swordfish")
		})
	}
	assert.Equal(t, `reference to "RICalculator.example.org" at Tub `+p.server.TubID().Short(), p.ref.String())
	assert.Equal(t, "reference at Tub "+p.server.TubID().Short(), p.client.Ref(p.furl).String())
	assert.Equal(t, "Tub "+tb.TubID().String(), tb.String())
}

func info(t testing.TB, tb *tub.Tub, peer furl.TubID) tub.ConnInfo {
	t.Helper()
	i, ok := tb.Info(peer)
	require.True(t, ok)
	return i
}

func TestAReferenceComesHomeAsItsObject(t *testing.T) {
	p := newPair(t, nil, nil)
	o := calculator()
	for name, ref := range map[string]*tub.Ref{
		"over a connection": p.ref,
		"over loopback":     connect(t, p.client, register(t, p.client, calculator())),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Same(t, o, call[*tub.Object](t, ref, "echo", o), "ours")
			assert.True(t, tub.Same(ref, call[*tub.Ref](t, ref, "echo", ref)), "theirs")
			assert.Nil(t, call[*tub.Ref](t, ref, "echo", (*tub.Ref)(nil)))
			assert.Nil(t, call[*tub.Object](t, ref, "echo", (*tub.Object)(nil)))
			all := call[map[string]any](t, ref, "echo", map[string]any{"ours": o, "theirs": []any{ref}})
			assert.Same(t, o, all["ours"])
		})
	}
}

func TestATubReachesItsOwnFURLs(t *testing.T) {
	tb := newTub(t, &tub.Options{NoHandlers: true})
	var got []int
	o := tub.NewObject(
		tub.Value("its own"),
		tub.Method("change", func(_ context.Context, a struct{ List []int }) (int, error) {
			got = a.List
			a.List[0] = 99
			return len(a.List), nil
		}),
		tub.Method("whose", func(_ context.Context, a struct{ Object *tub.Object }) (any, error) { return a.Object.Value(), nil }),
	)
	f := register(t, tb, o)
	live, ref := connect(t, tb, f), tb.Ref(f)
	for _, r := range []*tub.Ref{live, ref} {
		list := []int{1, 2, 3}
		assert.Equal(t, 3, call[int](t, r, "change", list))
		assert.Equal(t, []int{1, 2, 3}, list, "the method has a copy")
		assert.Equal(t, []int{99, 2, 3}, got)
		assert.Equal(t, tb.TubID(), r.Peer())
		assert.Equal(t, "its own", call[string](t, r, "whose", r), "it comes home")
	}
	unknown(t, tb, named(t, tb.TubID()))
	assert.Empty(t, tb.Peers())

	tb.EndLoopback()
	_, err := tub.Call[int](within(t), live, "change", []int{1})
	assert.ErrorIs(t, err, tub.ErrDeadReference)
	assert.Equal(t, 1, call[int](t, ref, "change", []int{1}), "a new one is made")
}

func TestAnOwnObjectIsTheSameForAllWhoAreSentIt(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	box, kept := keeper()
	there := connect(t, client, register(t, server, box))
	own, keptHere := keeper()
	here := connect(t, client, register(t, client, own))
	o := calculator()
	mine := connect(t, client, register(t, client, o))

	call[tub.None](t, there, "keep", o)
	first := kept()
	call[tub.None](t, there, "keep", mine)
	second := kept()
	assert.True(t, tub.Same(first, second), "by a reference over loopback")
	assert.Equal(t, 3, call[int](t, second, "add", 1, 2))

	// What a method was given over loopback can be sent out, too.
	call[tub.None](t, here, "keep", o)
	given := keptHere()
	call[tub.None](t, there, "keep", given)
	assert.True(t, tub.Same(first, kept()))

	given.Close()
	_, err := tub.Call[tub.None](within(t), there, "keep", given)
	assertNotSent(t, err, tub.ErrClosedReference)
}

func TestLoopbackIsMadeOnce(t *testing.T) {
	var seen events
	tb := newTub(t, &tub.Options{Observer: func(e tub.Event) { seen.observe(e) }})
	f := register(t, tb, calculator())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { assert.Equal(t, 3, call[int](t, tb.Ref(f), "add", 1, 2)) })
	}
	wg.Wait()
	assert.Len(t, seen.of(tub.EventConnect), 2, "one for each end")
	require.NoError(t, tb.Close())
	_, err := tb.Connect(within(t), f)
	var failed *tub.DialError
	require.ErrorAs(t, err, &failed)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
}

// A connection that is lost when the object is asked for was perhaps lost
// before, and nobody had noticed.
func TestALossThatALookUpMeetsIsMadeGoodOnce(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	connect(t, client, register(t, server, calculator()))
	o, asked, lose := calculator(), 0, 1
	server.OnLookup(func(context.Context, string) (*tub.Object, error) {
		if asked++; asked <= lose {
			server.Broker(client.TubID()).Close(nil)
		}
		return o, nil
	})
	f := named(t, server.TubID(), server.Hints()...)
	assert.Equal(t, 3, call[int](t, connect(t, client, f), "add", 1, 2))
	assert.Equal(t, 2, asked)

	asked, lose = 0, 10
	_, err := client.Connect(within(t), f)
	var failed *tub.CallError
	require.ErrorAs(t, err, &failed)
	assert.ErrorIs(t, err, tub.ErrDeadReference)
	assert.Equal(t, 2, asked, "not for ever")
	// A call that went out together with the look-up is not made again.
	_, err = tub.Call[int](within(t), client.Ref(f), "add", 1, 2)
	require.ErrorAs(t, err, &failed)
	assert.ErrorIs(t, err, tub.ErrDeadReference)
	assert.NotEqual(t, tub.Answered, failed.Sent) // it was sent, unless the loss was noticed before
}
