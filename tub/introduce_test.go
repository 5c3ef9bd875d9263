package tub_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A shelf keeps references, and gives them out.
type shelf struct {
	kept chan *tub.Ref
	gift *tub.Ref // what "give" returns
}

func (s *shelf) object() *tub.Object {
	return tub.NewObject(
		tub.Method("keep", func(_ context.Context, a struct{ Value any }) (any, error) {
			for _, r := range refsIn(a.Value) {
				s.kept <- r
			}
			return nil, nil
		}),
		tub.Method("take", func(_ context.Context, a struct{ Ref *tub.Ref }) (any, error) { s.kept <- a.Ref; return nil, nil }),
		tub.Method("give", func(context.Context, tub.None) (any, error) { return s.gift, nil }),
		tub.Method("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
		tub.Method("ping", func(context.Context, tub.None) (any, error) { return "pong", nil }),
	)
}

func refsIn(v any) (all []*tub.Ref) {
	switch v := v.(type) {
	case *tub.Ref:
		return []*tub.Ref{v}
	case *banana.List:
		for _, x := range v.Items {
			all = append(all, refsIn(x)...)
		}
	case *banana.Dict:
		for _, x := range v.All() {
			all = append(all, refsIn(x)...)
		}
	}
	return all
}

// A party of three: the giver has references to an object of the owner and to the
// shelf of the receiver.
type party struct {
	giver, receiver, owner *tub.Tub
	shelf                  *shelf
	toShelf                *tub.Ref
	toOwner                *tub.Ref
	object                 furl.FURL
}

func newParty(t testing.TB, receiver *tub.Options) *party {
	t.Helper()
	p := &party{giver: newServer(t, nil), receiver: newServer(t, receiver), owner: newServer(t, nil), shelf: &shelf{kept: make(chan *tub.Ref, 100)}}
	p.object = register(t, p.owner, calculator())
	p.toShelf = connect(t, p.giver, register(t, p.receiver, p.shelf.object()))
	p.toOwner = connect(t, p.giver, p.object)
	return p
}

// next returns the next reference that the receiver has got.
func (p *party) next(t testing.TB) *tub.Ref {
	t.Helper()
	select {
	case r := <-p.shelf.kept:
		return r
	case <-within(t).Done():
		t.Fatal("no reference has arrived")
		return nil
	}
}

// settled waits until the giver keeps nothing for the receiver any more.
func (p *party) settled(t testing.TB) {
	t.Helper()
	eventually(t, func() bool { return p.giver.Broker(p.receiver.TubID()).Tables().Given == 0 }, "everything is acknowledged")
}

func TestAReferenceToAThirdTubArrivesAlive(t *testing.T) {
	p := newParty(t, nil)
	call[any](t, p.toShelf, "keep", []any{p.toOwner, map[string]any{"deep": []any{p.toOwner}}})
	first, second := p.next(t), p.next(t)
	assert.Equal(t, 3, call[int](t, first, "add", 1, 2))
	assert.True(t, tub.Same(first, second))
	assert.True(t, tub.Same(first, connect(t, p.receiver, p.object)), "by whatever way it came")
	f, ok := first.FURL()
	assert.True(t, ok)
	assert.True(t, f.Equal(p.object))
	p.settled(t)

	// As a result, and back to where it is known.
	p.shelf.gift = first
	back := call[*tub.Ref](t, p.toShelf, "give")
	assert.True(t, tub.Same(p.toOwner, back))
	assert.True(t, tub.Same(p.toOwner, call[*tub.Ref](t, p.toShelf, "echo", p.toOwner)))
	// It goes home as itself.
	assert.True(t, tub.Same(first, call[*tub.Ref](t, first, "echo", first)))

	// A reference that was never connected is handed on as well, and a fourth Tub gets it in turn.
	fourth := &shelf{kept: make(chan *tub.Ref, 1)}
	toFourth := connect(t, p.receiver, register(t, newServer(t, nil), fourth.object()))
	call[any](t, p.toShelf, "take", p.giver.Ref(p.object))
	call[any](t, toFourth, "take", p.next(t))
	assert.Equal(t, 5, call[int](t, <-fourth.kept, "add", 2, 3))
	// One of the receiver's own objects is reached like any other.
	own := call[*tub.Ref](t, p.toShelf, "echo", p.giver.Ref(p.object))
	assert.Equal(t, 7, call[int](t, own, "add", 3, 4))
	p.settled(t)
}

func TestTheGiverKeepsWhatItHasGivenUntilItIsAcknowledged(t *testing.T) {
	p := newParty(t, &tub.Options{Introductions: tub.IntroductionsLazy})
	// An object that nobody has registered lives as long as somebody holds it.
	maker := connect(t, p.giver, register(t, p.owner, tub.NewObject(tub.Method("make", func(context.Context, tub.None) (any, error) {
		return calculator(), nil
	}))))
	made := call[*tub.Ref](t, maker, "make")
	held := func() int { return p.owner.Broker(p.giver.TubID()).Tables().Exports }
	before := held()
	call[any](t, p.toShelf, "keep", []any{made, made})
	made.Close()
	first, second := p.next(t), p.next(t)
	call[string](t, p.toShelf, "ping")
	require.Equal(t, 2, p.giver.Broker(p.receiver.TubID()).Tables().Given, "nothing was dialled, so nothing is acknowledged")
	require.Nil(t, p.receiver.Broker(p.owner.TubID()))
	assert.Equal(t, before, held())

	assert.Equal(t, 3, call[int](t, first, "add", 1, 2))
	eventually(t, func() bool { return p.giver.Broker(p.receiver.TubID()).Tables().Given == 1 }, "the one that was used is acknowledged")
	second.Close()
	p.settled(t)
	eventually(t, func() bool { return held() == before-1 }, "the giver has let go of it")
	assert.Equal(t, 5, call[int](t, first, "add", 2, 3), "the receiver holds it now")
	runtime.KeepAlive(maker)

	// One that is forgotten is acknowledged by the collector.
	call[any](t, p.toShelf, "take", p.toOwner)
	func() { p.next(t) }()
	eventually(t, func() bool {
		runtime.GC()
		return p.giver.Broker(p.receiver.TubID()).Tables().Given == 0
	}, "it is acknowledged")
}

func TestIntroductionsCanBeRefused(t *testing.T) {
	p := newParty(t, &tub.Options{Introductions: tub.IntroductionsRefused})
	_, err := tub.Call[any](within(t), p.toShelf, "take", p.toOwner)
	var failed *tub.Failure
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, "foolscap.tokens.Violation", failed.Type)
	assert.Contains(t, failed.Text, "introductions are not accepted here")
	p.settled(t)
	assert.Nil(t, p.receiver.Broker(p.owner.TubID()))

	// And as a result, by who has asked.
	q := newParty(t, nil)
	asker := newTub(t, &tub.Options{Introductions: tub.IntroductionsRefused})
	q.shelf.gift = connect(t, q.receiver, q.object)
	_, err = tub.Call[*tub.Ref](within(t), connect(t, asker, register(t, q.receiver, q.shelf.object())), "give")
	require.ErrorIs(t, err, tub.ErrIntroduction)
	assert.Nil(t, asker.Broker(q.owner.TubID()))
}

func TestTheProgramIsAskedAboutIntroductions(t *testing.T) {
	var decision atomic.Int64
	asked := make(chan tub.Introduction, 10)
	p := newParty(t, &tub.Options{
		Introductions: tub.IntroductionsRefused,
		AskIntroduction: func(_ context.Context, i tub.Introduction) tub.Introductions {
			asked <- i
			return tub.Introductions(decision.Load())
		},
	})
	for _, d := range []tub.Introductions{tub.IntroductionsByDefault, tub.IntroductionsRefused, tub.IntroductionsLazy, tub.IntroductionsAccepted} {
		decision.Store(int64(d))
		_, err := tub.Call[any](within(t), p.toShelf, "take", p.toOwner)
		assert.Equal(t, tub.Introduction{Giver: p.giver.TubID(), Target: p.owner.TubID(), Hints: p.object.Hints}, <-asked)
		connected := p.receiver.Broker(p.owner.TubID()) != nil
		assert.Equal(t, d == tub.IntroductionsAccepted, connected, "%d", d)
		if d == tub.IntroductionsLazy || d == tub.IntroductionsAccepted {
			require.NoError(t, err)
			ref := p.next(t)
			if d == tub.IntroductionsLazy {
				ref.Close()
			}
		} else {
			assert.ErrorContains(t, err, "introductions are not accepted here")
		}
		p.settled(t)
	}
}

func TestAnIntroductionThatFailsFailsItsCallAlone(t *testing.T) {
	p := newParty(t, nil)
	gone := p.object.WithHints(deadHint(t))
	unknown := p.object
	unknown.Name = furl.NewSwissnum()
	for what, test := range map[string]struct {
		f    furl.FURL
		text string
	}{
		"a Tub that cannot be reached": {gone, "the introduction to Tub " + p.owner.TubID().Short() + " has failed: that cannot be reached from here"},
		"an object that is not there":  {unknown, "has failed: that does not give the object out"},
		"an object of the Tub that is not there": {func() furl.FURL {
			f := unknown
			f.TubID, f.Hints = p.receiver.TubID(), nil
			return f
		}(), "has failed: that does not give the object out"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := tub.Call[any](within(t), p.toShelf, "keep", []any{p.giver.Ref(test.f)})
			var failed *tub.Failure
			require.ErrorAs(t, err, &failed)
			assert.Contains(t, failed.Text, test.text)
			assert.NotContains(t, failed.Text, "127.0.0.1", "how we have tried is nobody's business")
			assert.Equal(t, "foolscap.IntroductionFailed", failed.Type)
			assert.Empty(t, p.shelf.kept)
			assert.Equal(t, "pong", call[string](t, p.toShelf, "ping"))
			p.settled(t)
		})
		if b := p.receiver.Broker(p.owner.TubID()); b != nil {
			b.Close(nil)
		}
	}
}

func TestAnIntroductionThatStallsHoldsUpOthersForALimitedTime(t *testing.T) {
	p := newParty(t, &tub.Options{IntroductionTimeout: 300 * time.Millisecond})
	stalls := p.giver.Ref(p.object.WithHints(silentHint(t)))
	begun := time.Now()
	stalled, err := tub.Start[any](within(t), p.toShelf, "take", stalls)
	require.NoError(t, err)
	behind, err := tub.Start[string](within(t), p.toShelf, "ping")
	require.NoError(t, err)
	v, err := behind.Wait(within(t))
	require.NoError(t, err)
	assert.Equal(t, "pong", v)
	assert.GreaterOrEqual(t, time.Since(begun), 250*time.Millisecond, "the order is kept")
	_, err = stalled.Wait(within(t))
	assert.ErrorContains(t, err, "has failed")
	p.settled(t)

	// A caller whose answer brings one is released when he wants it.
	p.shelf.gift = p.receiver.Ref(p.object.WithHints(silentHint(t)))
	asker := newTub(t, nil)
	ref := connect(t, asker, register(t, p.receiver, p.shelf.object()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = tub.Call[*tub.Ref](ctx, ref, "give")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, "pong", call[string](t, ref, "ping"), "nothing of the connection waits for it")
	require.NoError(t, asker.Close())
}

func TestTheGiverMayLeaveAtOnce(t *testing.T) {
	p := newParty(t, nil)
	leaver := newServer(t, nil)
	given := connect(t, leaver, p.object)
	f := register(t, leaver, tub.NewObject(tub.Method("give", func(ctx context.Context, _ tub.None) (any, error) { return given, nil })))
	ref := connect(t, p.receiver, f)
	// As soon as the answer has been read: nothing of it is needed from here on.
	p.receiver.Broker(p.owner.TubID())
	got, err := tub.Call[*tub.Ref](within(t), ref, "give")
	require.NoError(t, err)
	require.NoError(t, leaver.Close())
	assert.Equal(t, 3, call[int](t, got, "add", 1, 2))
}

func TestAReferenceWithoutAFURLCannotBeHandedOn(t *testing.T) {
	p := newParty(t, nil)
	quiet := newTub(t, nil) // listens nowhere
	var mine *tub.Ref
	f := register(t, p.giver, tub.NewObject(tub.Method("register", func(_ context.Context, a struct{ Ref *tub.Ref }) (any, error) { mine = a.Ref; return nil, nil })))
	call[any](t, connect(t, quiet, f), "register", calculator())
	_, err := tub.Call[any](within(t), p.toShelf, "take", mine)
	assertNotSent(t, err, tub.ErrNoFURL)
	mine.Close()
	_, err = tub.Call[any](within(t), p.toShelf, "take", mine)
	assertNotSent(t, err, tub.ErrClosedReference)
	_, err = tub.Promise(within(t), p.toShelf, "ping")
	require.NoError(t, err)
}

func TestManyIntroductionsAreResolvedAFewAtATime(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	full := make(chan struct{}, 1000)
	p := newParty(t, &tub.Options{AskIntroduction: func(ctx context.Context, _ tub.Introduction) tub.Introductions {
		most.Store(max(most.Load(), running.Add(1)))
		full <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		running.Add(-1)
		return tub.IntroductionsLazy
	}})
	var all []any
	for i := range 40 {
		all = append(all, p.giver.Ref(p.object.WithHints(furl.Hint(fmt.Sprintf("tcp:127.0.0.1:%d", i+1)))))
	}
	done := make(chan error)
	go func() {
		_, err := tub.Call[any](within(t), p.toShelf, "keep", all)
		done <- err
	}()
	for range 16 {
		<-full
	}
	assert.EqualValues(t, 16, running.Load())
	close(release)
	require.NoError(t, <-done)
	assert.LessOrEqual(t, most.Load(), int64(16))
	for range 40 {
		p.next(t).Close()
	}
	p.settled(t)
}

func TestIntroductionsOfAStrangerAreNotDialled(t *testing.T) {
	// A call behind a look-up that fails: its arguments are never resolved.
	p := newParty(t, &tub.Options{AskIntroduction: func(context.Context, tub.Introduction) tub.Introductions {
		t.Error("asked")
		return tub.IntroductionsRefused
	}})
	stranger := newTub(t, nil)
	wrong := register(t, p.receiver, calculator())
	wrong.Name = furl.NewSwissnum()
	ref := stranger.Ref(wrong)
	_, err := tub.Call[any](within(t), ref, "take", stranger.Ref(p.object))
	require.Error(t, err)
	eventually(t, func() bool {
		b := stranger.Broker(p.receiver.TubID())
		return b == nil || b.Tables().Given == 0
	}, "it is acknowledged")
}

func TestAViolationBesideAnIntroductionDropsIt(t *testing.T) {
	p := newParty(t, nil)
	_, err := tub.Call[any](within(t), p.toShelf, "keep", p.toOwner, 1, 2, 3)
	var failed *tub.Failure
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, "foolscap.tokens.Violation", failed.Type)
	p.settled(t)
	_, err = tub.Call[int](within(t), p.toShelf, "echo", p.toOwner)
	var v *banana.Violation
	require.ErrorAs(t, err, &v)
	p.settled(t)
}

func TestWhoeverIsAskedMayPanicAndTheTubMayEnd(t *testing.T) {
	entered := make(chan struct{}, 100)
	var how atomic.Int64
	p := newParty(t, &tub.Options{AskIntroduction: func(ctx context.Context, _ tub.Introduction) tub.Introductions {
		switch how.Load() {
		case 0:
			panic("asked too much")
		case 1:
			runtime.Goexit()
		}
		entered <- struct{}{}
		<-ctx.Done()
		return tub.IntroductionsAccepted
	}})
	for range 20 { // more than there are places
		_, err := tub.Call[any](within(t), p.toShelf, "take", p.toOwner)
		require.ErrorContains(t, err, "has failed")
		how.Store(1 - how.Load())
	}
	how.Store(2)
	for range 2 {
		_, err := tub.Start[any](within(t), p.toShelf, "take", p.toOwner)
		require.NoError(t, err)
		<-entered
	}
	begun := time.Now()
	require.NoError(t, p.receiver.Close())
	assert.Less(t, time.Since(begun), 10*time.Second, "nobody waits for the time of an introduction")
}

func TestACallBehindStalledIntroductionsHasItsOwnTime(t *testing.T) {
	p := newParty(t, &tub.Options{IntroductionTimeout: 500 * time.Millisecond})
	silent := silentHint(t)
	var stalled []any
	for range 16 {
		f := p.object.WithHints(silent)
		f.TubID = newIdentity(t).TubID()
		stalled = append(stalled, p.giver.Ref(f))
	}
	first, err := tub.Start[any](within(t), p.toShelf, "keep", stalled)
	require.NoError(t, err)
	call[any](t, p.toShelf, "take", p.toOwner)
	assert.Equal(t, 3, call[int](t, p.next(t), "add", 1, 2))
	_, err = first.Wait(within(t))
	assert.Error(t, err)
	p.settled(t)
}

func TestATubIntroducesItselfWhateverItsPolicy(t *testing.T) {
	owner := newServer(t, nil)
	tb := newTub(t, &tub.Options{Introductions: tub.IntroductionsRefused})
	s := &shelf{kept: make(chan *tub.Ref, 1)}
	own := connect(t, tb, register(t, tb, s.object()))
	third := connect(t, tb, register(t, owner, calculator()))
	call[any](t, own, "take", third)
	assert.True(t, tub.Same(third, <-s.kept))
}

func TestAReferenceWhoseConnectionIsGoneIsHandedOnByItsFURL(t *testing.T) {
	p := newParty(t, nil)
	p.giver.Broker(p.owner.TubID()).Close(nil)
	call[any](t, p.toShelf, "take", p.toOwner)
	assert.Equal(t, 3, call[int](t, p.next(t), "add", 1, 2))
	p.settled(t)
}

func TestAnIntroductionInAnAnswerThatFails(t *testing.T) {
	p := newParty(t, nil)
	gone := p.object.WithHints(deadHint(t))
	gone.TubID = newIdentity(t).TubID()
	p.shelf.gift = p.receiver.Ref(gone)
	_, err := tub.Call[*tub.Ref](within(t), p.toShelf, "give")
	var call *tub.CallError
	require.ErrorAs(t, err, &call)
	assert.Equal(t, tub.Answered, call.Sent)
	var failed *tub.IntroductionError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, gone.TubID, failed.Tub)
	var dial *tub.DialError
	require.ErrorAs(t, err, &dial)
}

// The interface of a lazy reference is not asked for, whether or not its call came before it was known what is called.
func TestALazyIntroductionInAPipelinedCallHasNoInterfaceYet(t *testing.T) {
	for policy, wrong := range map[tub.Introductions]string{
		tub.IntroductionsLazy: "", tub.IntroductionsAccepted: `expected a reference with the interface "RIOther.example.org"`,
	} {
		p := newParty(t, &tub.Options{Introductions: policy})
		known := make(chan struct{})
		taker := tub.NewObject(
			tub.Implements(parseInterface(t, "interface RITaker.example.org\n  take(ref: interface(\"RIOther.example.org\")) -> none\n")),
			tub.Method("take", func(context.Context, struct{ Ref *tub.Ref }) (tub.None, error) { return tub.None{}, nil }))
		ref := connect(t, p.giver, register(t, p.receiver, tub.NewObject(
			tub.Method("get", func(ctx context.Context, _ tub.None) (*tub.Object, error) {
				tub.Yield(ctx)
				<-known
				return taker, nil
			}),
			tub.Method("go_on", func(context.Context, tub.None) (tub.None, error) {
				close(known)
				return tub.None{}, nil
			}))))
		promised, err := tub.Promise(within(t), ref, "get")
		require.NoError(t, err)
		taken, err := tub.Start[any](within(t), promised, "take", p.toOwner)
		require.NoError(t, err)
		call[tub.None](t, ref, "go_on")
		_, err = taken.Wait(within(t))
		if wrong == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, wrong)
		}
	}
}
