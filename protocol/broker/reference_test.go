package broker

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A keeper keeps references for a peer: "hold" keeps what it is given, "drop"
// closes all of it.
type keeper struct {
	mu   sync.Mutex
	held []*hostRef
}

func (k *keeper) object(methods ...*Method) *Object {
	return noneRoot(append(methods,
		NewMethod("hold", func(_ context.Context, a struct{ What []*hostRef }) (int, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.held = append(k.held, a.What...)
			return len(k.held), nil
		}),
		method("drop", func(context.Context) (any, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			for _, r := range k.held {
				r.Close()
			}
			k.held = nil
			return nil, nil
		}),
		NewMethod("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
	)...)
}

func (k *keeper) take() (all []*hostRef) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all, k.held = k.held, nil
	return all
}

func TestReferencesAreCountedAndReleasedWithTheExactCount(t *testing.T) {
	var k keeper
	s, p := newPeer(t, k.object())
	p.lookUp()
	first := seq{"my-reference", 5, "RIThing", "pb://" + string(theirTub) + "@/secret"}
	again := seq{"my-reference", 5}
	p.send(callSeq(2, 1, "hold", seq{"list", first, again, again}), callSeq(3, 1, "hold", seq{"list", again, seq{"my-reference", -6}}))
	require.Equal(t, "answer", p.receive().kind())
	require.Equal(t, "answer", p.receive().kind())
	held := k.take()
	require.Len(t, held, 5)
	require.Equal(t, 2, s.Tables().Imports)
	for _, r := range held[:4] {
		require.True(t, r.Same(held[0].Remote))
		require.Equal(t, "RIThing", r.Interface())
		require.Equal(t, "pb://"+string(theirTub)+"@/secret", r.FURL())
		require.Same(t, s.Broker, r.Broker())
	}
	require.False(t, held[0].Same(held[4].Remote))
	require.Empty(t, held[4].FURL())

	for _, r := range held[:3] {
		r.Close()
		r.Close() // does nothing
	}
	p.alive() // no release has gone out
	held[3].Close()
	p.expect("OPEN() VOCAB(11=call) INT(1) INT(0) STRING(6,b'decref') OPEN() VOCAB(12=arguments) INT(0) " +
		"STRING(4,b'clid') INT(5) STRING(5,b'count') INT(4) CLOSE() CLOSE()")

	// Before the release is acknowledged, the same object comes again.
	p.send(callSeq(4, 1, "hold", seq{"list", again}))
	require.Equal(t, "answer", p.receive().kind())
	p.send(answerSeq(1, noneSeq()))
	p.alive()
	anew := k.take()[0]
	require.True(t, anew.Same(held[0].Remote))
	require.Equal(t, "RIThing", anew.Interface(), "what was said in the beginning still holds")
	require.Equal(t, 2, s.Tables().Imports)
	anew.Close()
	m := p.receive()
	require.EqualValues(t, 1, m.number("count"))
	p.send(answerSeq(m.request(), noneSeq()))
	p.alive()
	require.Equal(t, 1, s.Tables().Imports)
	held[4].Close()
	m = p.receive()
	require.EqualValues(t, -6, m.number("clid"))
	require.Equal(t, 1, s.Tables().Imports, "it is not forgotten before the peer acknowledges")
	p.send(errorSeq(m.request(), "x.Y", "never mind"))
	p.alive()
	require.Zero(t, s.Tables().Imports)
}

func TestAClosedReferenceCannotBeUsed(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		c, s := connect(t, n, nil, everything())
		r, other := c.root(t), c.root(t)
		r.Close()
		require.ErrorIs(t, r.Call(t.Context(), "add", Args{}, nil, nil), ErrClosedReference)
		_, _, err := begin[any](t.Context(), r, "add")
		require.ErrorIs(t, err, ErrClosedReference)
		err = r.Send(t.Context(), "add", Args{})
		require.ErrorIs(t, err, ErrClosedReference)
		require.Equal(t, NotSent, callError(t, err).Sent)
		_, err = call[any](t.Context(), other, "echo", r2(r))
		require.ErrorIs(t, err, ErrClosedReference, "nor sent home")
		sum, err := call[int](t.Context(), other, "add", 1, 2)
		require.NoError(t, err, "other handles live")
		require.Equal(t, 3, sum)
		other.Close()
		eventually(t, "it is released", func() bool { return s.Tables().Exports == 0 && c.Tables().Imports == 0 })
	})
}

func TestAReferenceThatIsUnreachableIsReleased(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		c, s := connect(t, n, nil, everything())
		func() {
			r := c.root(t)
			for range 3 {
				_, err := call[any](t.Context(), r, "echo", r2(r))
				require.NoError(t, err)
			}
			p, _, err := begin[any](t.Context(), r, "echo", r2(r), NewObject("", nil))
			require.NoError(t, err)
			require.Error(t, p.Wait(t.Context()), "echo takes one argument")
		}()
		eventually(t, "the garbage collector finds them", func() bool {
			runtime.GC()
			return s.Tables() == Tables{} && c.Tables() == Tables{}
		})
	})
}

func TestATargetStaysAliveWhileItsCallIsOnItsWay(t *testing.T) {
	// All that is left of the reference is the call.
	s, p := newPeer(t, nil)
	q, err := func() (*Pending, error) {
		blocking, _, err := begin[any](t.Context(), p.offer(s, 1), "m", pattern(1<<20, 1))
		return blocking, err
	}()
	require.NoError(t, err)
	for range 5 {
		runtime.GC()
	}
	m := p.receive()
	require.Equal(t, "m", m.method())
	require.EqualValues(t, 1, m[3].N)
	p.send(answerSeq(m.request(), noneSeq()))
	require.NoError(t, q.Wait(t.Context()))
	m = p.receive()
	require.Equal(t, "decref", m.method(), "behind it")
	p.send(answerSeq(m.request(), noneSeq()))
}

func TestClosingAReferenceDoesNotStopACallThatWaitsForRoom(t *testing.T) {
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.SendQueue = 1 })
	r := p.offer(s, 1)
	require.NoError(t, r.Send(t.Context(), "first", Args{Positional: []any{pattern(256<<10, 1)}}))
	sent := make(chan error, 1)
	go func() { sent <- r.Send(context.Background(), "second", Args{}) }()
	eventually(t, "it waits", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.send.room) == 1
	})
	r.Close()
	require.Equal(t, "first", p.receive().method())
	require.Equal(t, "second", p.receive().method())
	require.NoError(t, within(t, "it is sent", sent))
	m := p.receive()
	require.Equal(t, "decref", m.method())
	p.send(answerSeq(m.request(), noneSeq()))
}

func TestReferencesComeHome(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		var k keeper
		c, s := connect(t, n, nil, k.object())
		r := c.root(t)
		mine := NewObject("RIMine", "my data")
		back, err := call[any](t.Context(), r, "echo", mine)
		require.NoError(t, err)
		require.Same(t, mine, back)
		require.Equal(t, "my data", back.(*Object).Value())
		theirs, err := call[*hostRef](t.Context(), r, "echo", r2(r))
		require.NoError(t, err)
		require.True(t, theirs.Same(r))
		theirs.Close()

		// In any depth, and typed.
		deep := banana.NewList(banana.Tuple{mine, banana.NewDict("k", mine)}, r2(r))
		back, err = call[any](t.Context(), r, "echo", deep)
		require.NoError(t, err)
		l := back.(*banana.List)
		require.Same(t, mine, l.Items[0].(banana.Tuple)[0])
		in, _ := l.Items[0].(banana.Tuple)[1].(*banana.Dict).Get("k")
		require.Same(t, mine, in)
		l.Items[1].(*hostRef).Close()
		obj, err := call[*Object](t.Context(), r, "echo", mine)
		require.NoError(t, err)
		require.Same(t, mine, obj)
		none, err := call[*hostRef](t.Context(), r, "echo", nil)
		require.NoError(t, err)
		require.Nil(t, none)
		_, err = call[*hostRef](t.Context(), r, "echo", mine)
		require.Error(t, err, "it is no reference to somebody else's object")

		// A wrong type does not keep what came with it.
		_, err = call[int](t.Context(), r, "echo", r2(r))
		require.Error(t, err)
		r.Close()
		eventually(t, "all is released", func() bool {
			runtime.GC() // echo leaves its handles to it
			return c.Tables() == Tables{} && s.Tables() == Tables{}
		})
	})
}

func TestAnObjectIsAnnouncedInFullEachTimeThePeerDoesNotHoldIt(t *testing.T) {
	const furl = "pb://twyn6rswatofu4ozza76hsckj2llijqc@/swissnum"
	obj := NewObject("RIThing", nil)
	s, p := newPeer(t, noneRoot(
		method("give", func(context.Context) (banana.External, error) { return obj, nil }),
		method("long", func(context.Context) ([]byte, error) { return pattern(8<<20, 1), nil }), // more than buffers take
	))
	s.host.furls[obj] = furl
	p.lookUp()
	give := func() message {
		p.send(callSeq(2, 1, "give"))
		return p.receive()
	}
	full := "OPEN() VOCAB(13=answer) INT(2) OPEN() VOCAB(15=my-reference) INT(%d) STRING(7,b'RIThing') STRING(47,b'" + furl + "') CLOSE() CLOSE()"
	short := "OPEN() VOCAB(13=answer) INT(2) OPEN() VOCAB(15=my-reference) INT(2) CLOSE() CLOSE()"
	require.Equal(t, fmt.Sprintf(full, 2), unnumbered(give().String()))
	require.Equal(t, short, unnumbered(give().String()))
	p.send(callSeq(3, 0, "decref", keyword{"clid", 2}, keyword{"count", 1}))
	require.Equal(t, "answer", p.receive().kind())
	require.Equal(t, short, unnumbered(give().String()))
	p.send(callSeq(3, 0, "decref", 2, 2))
	require.Equal(t, "answer", p.receive().kind())
	require.Equal(t, 1, s.Tables().Exports)
	p.send(callSeq(3, 0, "decref", 2, 2), callSeq(3, 1, "none", seq{"list"}))
	require.Equal(t, "answer", p.receive().kind(), "releasing what one does not hold is no error")
	require.Equal(t, "error", p.receive().kind())
	require.Equal(t, fmt.Sprintf(full, 3), unnumbered(give().String()), "the old number does not come again")

	// It is released while an answer that holds it waits behind a long one.
	p.send(callSeq(4, 1, "long"), callSeq(2, 1, "give"))
	eventually(t, "both answers wait", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.send.first != nil && s.send.first.next != nil
	})
	p.send(callSeq(3, 0, "decref", 3, 1))
	require.EqualValues(t, 4, p.receive().request())
	require.Equal(t, fmt.Sprintf(full, 4), unnumbered(p.receive().String()))
	require.EqualValues(t, 3, p.receive().request())
}

func TestWhatIsRefusedHasItsReferencesReleased(t *testing.T) {
	ref, again, gift := seq{"my-reference", 5, "RIFoo"}, seq{"my-reference", 5}, seq{"their-reference", 3, "pb://x@/y"}
	bad := seq{"nonsense", 1}
	for _, test := range []struct {
		name  string
		send  []any
		count int64 // of references to object 5
		gifts int
		quiet bool // without an answer
	}{
		{"an argument after it is wrong", []any{callSeq(2, 1, "hold", seq{"list", ref, again, bad})}, 2, 0, false},
		{"an argument before it is wrong", []any{callSeq(2, 1, "hold", seq{"list", bad, ref, again})}, 2, 0, false},
		{"around the fault", []any{callSeq(2, 1, "hold", seq{"list", ref, bad, again})}, 2, 0, false},
		{"within the fault", []any{callSeq(2, 1, "hold", seq{"list", seq{"nonsense", 1, seq{"x", ref}, again}})}, 2, 0, false},
		{"of another type than is wanted", []any{callSeq(2, 1, "echo", ref, again)}, 2, 0, false},
		{"in the place of a number", []any{callSeq(2, 1, "hold", ref)}, 1, 0, false},
		{"to an unknown object", []any{callSeq(2, 77, "hold", seq{"list", ref, again})}, 2, 0, false},
		{"to an unknown method", []any{callSeq(2, 1, "what", seq{"list", ref, again})}, 2, 0, false},
		{"without an answer", []any{callSeq(0, 77, "hold", seq{"list", ref, again})}, 2, 0, true},
		{"aborted behind it", []any{seq{"call", 2, 1, "hold", seq{"arguments", 1, seq{"list", ref, again, abortToken}, abortToken}, abortToken}}, 2, 0, true},
		{"aborted before it", []any{seq{"call", 2, 1, "hold", seq{"arguments", 1, seq{"list", abortToken, ref, again}, abortToken}, abortToken}}, 2, 0, true},
		{"with too many parts", []any{callSeq(2, 1, "hold", seq{"list", seq{"my-reference", 5, "RIFoo", "pb://" + string(theirTub) + "@/x", "more"}})}, 1, 0, false},
		{"with an interface that is too long", []any{callSeq(2, 1, "hold", seq{"list", seq{"my-reference", 5, strings.Repeat("x", 2000)}})}, 1, 0, false},
		{"an introduction", []any{callSeq(2, 1, "hold", seq{"list", gift})}, 0, 1, false},
		{"an introduction among references", []any{callSeq(2, 1, "hold", seq{"list", ref, gift, again})}, 2, 1, false},
		{"introductions in what is skipped", []any{callSeq(2, 77, "hold", seq{"list", gift, ref, gift})}, 1, 2, false},
		{"an introduction that wants no acknowledgement", []any{callSeq(2, 1, "hold", seq{"list", seq{"their-reference", 0, ""}})}, 0, 0, false},
		{"an answer that nobody waits for", []any{answerSeq(50, seq{"list", ref, gift, again})}, 2, 1, true},
		{"an error that nobody waits for", []any{seq{"error", 50, seq{"list", ref, gift, again}}}, 2, 1, true},
		{"a key of a dict", []any{callSeq(2, 77, "hold", seq{"dict", ref, again})}, 2, 0, false},
		{"too deep", []any{callSeq(2, 1, "echo", deepSeq(300, seq{"list", ref, again}))}, 2, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var k keeper
			s, p := newPeer(t, k.object())
			p.lookUp()
			p.send(test.send...)
			counted, gifts, answered := int64(0), 0, test.quiet
			for counted < test.count || gifts < test.gifts || !answered {
				m := p.receive()
				switch {
				case m.kind() == "error":
					require.False(t, answered)
					answered = true
				case m.kind() == "call" && m.method() == "decref":
					require.EqualValues(t, 5, m.number("clid"))
					counted += m.number("count")
					p.send(answerSeq(m.request(), noneSeq()))
				case m.kind() == "call" && m.method() == "decgift":
					require.Zero(t, m.request())
					require.EqualValues(t, 3, m.number("giftID"))
					require.EqualValues(t, 1, m.number("count"))
					gifts++
				default:
					t.Fatal(m)
				}
			}
			p.alive() // and nothing more
			require.Equal(t, test.count, counted)
			require.Equal(t, test.gifts, gifts)
			require.Zero(t, s.Tables().Imports)
			require.Zero(t, s.Tables().Outbound)
			require.Empty(t, k.take())
			require.Zero(t, s.conf.Account.Used())
		})
	}
}

// deepSeq puts v into n lists.
func deepSeq(n int, v any) any {
	for range n {
		v = seq{"list", v}
	}
	return v
}

func TestWhatACallerOfOursGetsIsReleasedWhenHeCannotUseIt(t *testing.T) {
	ref, again := seq{"my-reference", 5, ""}, seq{"my-reference", 5}
	for name, test := range map[string]struct {
		answer func(req int64) seq
		start  func(t *testing.T, r *Remote) *Pending
		count  int64
	}{
		"an answer of another type": {
			func(req int64) seq { return answerSeq(req, seq{"list", ref, 3, again}) },
			func(t *testing.T, r *Remote) *Pending {
				q, _, err := begin[[]*hostRef](t.Context(), r, "m")
				require.NoError(t, err)
				return q
			}, 2,
		},
		"an answer in which nobody is interested": {
			func(req int64) seq { return answerSeq(req, seq{"list", ref, 3, again}) },
			func(t *testing.T, r *Remote) *Pending {
				q, err := r.Start(t.Context(), "m", Args{}, nil, nil)
				require.NoError(t, err)
				return q
			}, 2,
		},
		"an aborted answer": {
			func(req int64) seq { return seq{"answer", req, seq{"list", ref, again, abortToken}, abortToken} },
			func(t *testing.T, r *Remote) *Pending {
				q, _, err := begin[any](t.Context(), r, "m")
				require.NoError(t, err)
				return q
			}, 2,
		},
		"a failure that holds some": {
			func(req int64) seq {
				return seq{"error", req, seq{"copyable", failureClass, "value", seq{"list", ref, again}, "type", "x.Y"}}
			},
			func(t *testing.T, r *Remote) *Pending {
				q, _, err := begin[any](t.Context(), r, "m")
				require.NoError(t, err)
				return q
			}, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, p := newPeer(t, noneRoot())
			s.publish(1, noneRoot())
			r := p.offer(s, 1)
			q := test.start(t, r)
			p.send(test.answer(p.receive().request()))
			for counted := int64(0); counted < test.count; {
				m := p.receive()
				require.Equal(t, "decref", m.method())
				counted += m.number("count")
				p.send(answerSeq(m.request(), noneSeq()))
			}
			err := q.Wait(t.Context())
			require.Equal(t, name == "an answer in which nobody is interested", err == nil)
			p.alive()
			require.Equal(t, 1, s.Tables().Imports)
			require.Zero(t, s.conf.Account.Used())
			r.Close()
		})
	}
}

func TestReferencesThatEndTheConnection(t *testing.T) {
	for name, arg := range map[string]any{
		"home to an object that was never given":  seq{"your-reference", 55},
		"home to the broker itself":               seq{"your-reference", 0},
		"home to a number below zero":             seq{"your-reference", -1},
		"home with more than a number":            seq{"your-reference", 1, 2},
		"with a number that is a string":          seq{"my-reference", "5"},
		"with the FURL of another Tub":            seq{"my-reference", 5, "", "pb://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@/x"},
		"with a FURL that is empty":               seq{"my-reference", 5, "", ""},
		"an introduction with a string as number": seq{"their-reference", "3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var k keeper
			s, p := newPeer(t, k.object())
			p.lookUp()
			p.send(callSeq(2, 1, "echo", arg))
			text := p.dropped()
			require.NotEmpty(t, text)
			var protocol *banana.ProtocolError
			within(t, "it ends", s.Done())
			require.ErrorAs(t, s.Err(), &protocol)
			require.Equal(t, text, protocol.Reason)
		})
	}
}

func TestThereIsABoundToTheReferencesThatAreHeld(t *testing.T) {
	var k keeper
	s, p := newPeer(t, k.object(method("give", func(context.Context) (banana.External, error) { return NewObject("", nil), nil })),
		func(c *Config) { c.Limits.MaxReferences = 10 })
	p.lookUp()
	var list seq = seq{"list"}
	for i := range 10 {
		list = append(list, seq{"my-reference", 100 + i})
	}
	p.send(callSeq(2, 1, "hold", list))
	require.Equal(t, "answer", p.receive().kind())
	p.send(callSeq(2, 1, "hold", seq{"list", seq{"my-reference", 100}, seq{"my-reference", 200}}))
	var released []int64
	for answered := false; !answered || len(released) < 1; {
		m := p.receive()
		if m.kind() == "error" {
			require.Contains(t, m.attribute("value"), "limit MaxReferences is 10, this would need 11")
			answered = true
			continue
		}
		require.Equal(t, "decref", m.method())
		released = append(released, m.number("clid"))
		p.send(answerSeq(m.request(), noneSeq()))
	}
	require.Equal(t, []int64{200}, released, "the other one is still held")
	p.alive()
	require.Equal(t, 10, s.Tables().Imports)
	for _, r := range k.take() {
		r.Close()
	}
	for range 10 {
		m := p.receive()
		want := int64(1)
		if m.number("clid") == 100 {
			want = 2
		}
		require.Equal(t, want, m.number("count"))
		p.send(answerSeq(m.request(), noneSeq()))
	}

	// Ours that the peer holds and never releases.
	for range 9 {
		p.send(callSeq(2, 1, "give"))
		require.Equal(t, "answer", p.receive().kind())
	}
	p.send(callSeq(2, 1, "give"))
	m := p.receive()
	require.Equal(t, "error", m.kind())
	require.Contains(t, m.attribute("value"), "MaxReferences")
	require.Equal(t, 10, s.Tables().Exports)
	p.alive()
}

func TestAStrangerGetsLittleUntilHeKnowsAName(t *testing.T) {
	var k keeper
	s, p := newStranger(t, k.object(), func(c *Config) { c.Limits.StrangerReferences = 3 })
	s.publish(1, s.host.names["root"])
	hold := func(n, length int) message {
		list := seq{"list"}
		for i := range n {
			list = append(list, seq{"my-reference", 100 + i})
		}
		args := []any{list}
		if length > 0 {
			args = append(args, keyword{"x", pattern(length, 1)})
		}
		p.send(callSeq(2, 1, "hold", args...))
		for {
			m := p.receive()
			if m.kind() != "call" {
				return m
			}
			require.Equal(t, "decref", m.method())
			p.send(answerSeq(m.request(), noneSeq()))
		}
	}
	require.Equal(t, "answer", hold(3, 0).kind())
	m := hold(1, 0)
	require.Contains(t, m.attribute("value"), "limit StrangerReferences is 3, this would need 4")
	p.send(callSeq(3, 1, "echo", pattern(17<<10, 1)))
	for m = p.receive(); m.kind() == "call"; m = p.receive() {
		p.send(answerSeq(m.request(), noneSeq()))
	}
	require.Contains(t, m.attribute("value"), "limit StrangerMessage is 16384, this would need 17408")
	p.send(callSeq(3, 1, "echo", seq{"list", pattern(9<<10, 1), pattern(9<<10, 1)}))
	require.Contains(t, p.receive().attribute("value"), "limit StrangerMessage is 16384")
	p.send(callSeq(3, 1, "echo", pattern(15<<10, 1)))
	require.Equal(t, "answer", p.receive().kind())

	// A wrong name changes nothing.
	p.send(callSeq(4, 0, "getReferenceByName", "wrong"))
	require.Equal(t, "error", p.receive().kind())
	require.Contains(t, hold(1, 0).attribute("value"), "StrangerReferences")

	// His answers to our own calls have the ordinary limits.
	r := p.offer2(s, 9)
	q, v, err := begin[[]byte](t.Context(), r, "m")
	require.NoError(t, err)
	m = p.receive()
	for m.method() == "decref" {
		p.send(answerSeq(m.request(), noneSeq()))
		m = p.receive()
	}
	p.send(answerSeq(m.request(), pattern(1<<20, 2)))
	require.NoError(t, q.Wait(t.Context()))
	requireSame(t, pattern(1<<20, 2), *v)

	p.send(callSeq(4, 0, "getReferenceByName", "root"))
	require.Equal(t, "answer", p.receive().kind())
	require.Equal(t, "answer", hold(50, 0).kind())
	p.send(callSeq(3, 1, "echo", pattern(1<<20, 1)))
	require.Equal(t, "answer", p.receive().kind())
	for _, r := range k.take() {
		r.Close()
	}
	r.Close()
}

// offer2 is offer to a broker for which the peer is a stranger that has used
// up his references.
func (p *peer) offer2(s *side, clid int64) *Remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	target := &proxy{clid: clid, handles: 1, received: 1}
	s.refs.imports[clid] = target
	return &Remote{b: s.Broker, p: target}
}

func TestRandomExchangesOfReferencesLeaveNothingBehind(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		const workers, rounds = 8, 60
		var clientKeeper, serverKeeper keeper
		clientRoot, serverRoot := clientKeeper.object(), serverKeeper.object()
		c, s := connect(t, n, clientRoot, serverRoot, func(c *Config) { c.Limits.StrangerReferences = 1000 })
		toServer, toClient := c.root(t), s.root(t)
		// The objects that are passed around are few, so the same ones meet.
		objects := make([]*Object, 12)
		for i := range objects {
			objects[i] = NewObject(fmt.Sprintf("RI%d", i), i)
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(7, uint64(w)))
				r, mine, theirs := toServer, objects[:6], &clientKeeper
				if w%2 == 1 {
					r, mine, theirs = toClient, objects[6:], &serverKeeper
				}
				for range rounds {
					what := make([]any, rng.IntN(5))
					for i := range what {
						what[i] = mine[rng.IntN(len(mine))]
					}
					ctx, cancel := context.WithCancel(context.Background())
					var err error
					switch rng.IntN(8) {
					case 0, 1:
						_, err = call[int](ctx, r, "hold", what)
					case 2:
						_, err = call[any](ctx, r, "drop")
					case 3:
						// What comes home is ours again.
						var back []any
						if back, err = call[[]any](ctx, r, "echo", what); err == nil {
							for i := range back {
								assert.Same(t, what[i], back[i])
							}
						}
					case 4:
						// What the other side has given us goes home.
						held := theirs.take()
						home := make([]any, len(held))
						for i := range held {
							home[i] = held[i]
						}
						var back []*hostRef
						back, err = call[[]*hostRef](ctx, r, "echo", home)
						for _, h := range append(held, back...) {
							h.Close()
						}
					case 5: // it fails, there or here
						_, err2 := call[int](ctx, r, "hold", append(what, 5))
						assert.Error(t, err2)
						_, err2 = call[int](ctx, r, "echo", what)
						assert.Error(t, err2)
					case 6: // it may be cancelled at any moment
						q, _, err2 := begin[[]any](ctx, r, "echo", what)
						assert.NoError(t, err2)
						if rng.IntN(2) == 0 {
							cancel()
						}
						_ = q.Wait(ctx)
					case 7:
						err = r.Send(ctx, "hold", Args{Positional: []any{what}})
					}
					assert.NoError(t, err)
					cancel()
				}
			})
		}
		wg.Wait()
		// Whatever was sent without an answer has arrived before this.
		for _, r := range []*Remote{toServer, toClient} {
			_, err := call[any](t.Context(), r, "none")
			require.NoError(t, err)
			_, err = call[any](t.Context(), r, "drop")
			require.NoError(t, err)
		}
		toServer.Close()
		toClient.Close()
		eventually(t, "the tables are empty on both sides", func() bool {
			runtime.GC() // echo leaves its handles to it
			return c.Tables() == Tables{} && s.Tables() == Tables{}
		})
		require.Zero(t, c.conf.Account.Used())
		require.Zero(t, s.conf.Account.Used())
	})
}

func TestNumbersOfObjectsStartAnewAndAreNotUsedTwice(t *testing.T) {
	s, p := newPeer(t, noneRoot(method("give", func(context.Context) (banana.External, error) { return NewObject("", nil), nil })))
	p.lookUp()
	s.mu.Lock()
	s.refs.last = math.MaxInt32 - 1
	s.mu.Unlock()
	for _, want := range []int{math.MaxInt32, 2, 3} { // 1 is the root
		p.send(callSeq(2, 1, "give"))
		p.expect(fmt.Sprintf("OPEN() VOCAB(13=answer) INT(2) OPEN() VOCAB(15=my-reference) INT(%d) STRING(0,b'') CLOSE() CLOSE()", want))
	}
}

func TestTheOtherEndKnowsWhatAReferenceStandsFor(t *testing.T) {
	root := everything()
	c, s := connect(t, networks[0], nil, root)
	r := c.root(t)
	require.Same(t, root, s.Exported(r))
	r.Close()
	eventually(t, "it is released", func() bool { return s.Tables().Exports == 0 })
	require.Nil(t, s.Exported(r))
}

// foreign is a reference to an object of a third Tub.
type foreign struct{ furl string }

func (foreign) BananaExternal() {}

func TestGiftsGoOutAsPythonsDo(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	p.lookUp()
	r := p.offer(s, 1)
	const carol = "pb://u6nbjrti2cqe3ps7pj3p2igu5elhrl7z@tcp:127.0.0.1:9998/croot"
	give := func(f string) error {
		return r.Send(t.Context(), "hold", Args{Positional: []any{foreign{f}}})
	}
	expect := func(id int) {
		p.expect(fmt.Sprintf("OPEN() VOCAB(11=call) INT(0) INT(1) STRING(4,b'hold') OPEN() VOCAB(12=arguments) INT(1) "+
			"OPEN() VOCAB(17=their-reference) INT(%d) STRING(62,b'%s') CLOSE() CLOSE() CLOSE()", id, carol))
	}
	acknowledge := func(id, count int) message {
		p.send(callSeq(7, 0, "decgift", keyword{"count", count}, keyword{"giftID", id}))
		return p.receive()
	}
	require.NoError(t, give(carol))
	expect(1)
	require.NoError(t, give(carol))
	expect(1) // as long as it is not acknowledged
	require.Equal(t, 2, s.Tables().Given)
	require.Equal(t, "answer", acknowledge(1, 1).kind())
	require.Equal(t, 1, s.Tables().Given)
	require.Equal(t, "error", acknowledge(1, 2).kind(), "more than was given")
	require.Equal(t, "error", acknowledge(1, -1).kind())
	require.Equal(t, "error", acknowledge(9, 1).kind())
	require.Equal(t, "answer", acknowledge(1, 1).kind())
	require.Zero(t, s.Tables().Given)
	require.NoError(t, give(carol))
	expect(2)
	err := give("")
	require.ErrorIs(t, err, ErrNoFURL)
	require.Equal(t, NotSent, callError(t, err).Sent)
	r.Close()
}

func TestSoManyGiftsAreOnTheWay(t *testing.T) {
	s, p := newPeer(t, noneRoot(), func(c *Config) { c.Limits.MaxReferences = 3 })
	p.lookUp()
	r := p.offer(s, 1)
	for range 3 {
		require.NoError(t, r.Send(t.Context(), "hold", Args{Positional: []any{foreign{"pb://x@y/z"}}}))
		p.receive()
	}
	err := r.Send(t.Context(), "hold", Args{Positional: []any{foreign{"pb://x@y/z"}}})
	var limit *banana.LimitError
	require.ErrorAs(t, err, &limit)
	require.Equal(t, "MaxReferences", limit.Limit)
	r.Close()
}

func TestALookUpIsNotAnsweredByAnIntroduction(t *testing.T) {
	s, p := newPeer(t, nil)
	s.host.introduce = func(*Introduction) (banana.External, error) {
		t.Error("it is followed")
		return nil, ErrIntroduction
	}
	for _, look := range []func() error{
		func() error { _, err := s.GetReference(t.Context(), "root"); return err },
		func() error {
			l, err := s.LookUp(t.Context(), "root")
			if err == nil {
				_, err = l.Wait(t.Context())
			}
			return err
		},
	} {
		done := make(chan error, 1)
		go func() { done <- look() }()
		p.send(answerSeq(p.receive().request(), seq{"their-reference", 4, "pb://u6nbjrti2cqe3ps7pj3p2igu5elhrl7z@tcp:127.0.0.1:9998/croot"}))
		ack := p.receive()
		require.Equal(t, "decgift", ack.method())
		require.EqualValues(t, 4, ack.number("giftID"))
		require.ErrorContains(t, within(t, "the look-up ends", done), "the answer to the look-up is neither a reference nor an error")
	}
}

func TestAnAnswerWithAnIntroductionIsReadOnce(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, 1)
	resolve := make(chan error)
	s.host.introduce = func(i *Introduction) (banana.External, error) {
		i.Drop = func() {}
		i.Resolve = func(ctx context.Context) error {
			select {
			case err := <-resolve:
				i.Receipt.Acknowledge()
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return foreign{"pb://x@y/z"}, nil
	}
	gift := seq{"their-reference", 4, "pb://u6nbjrti2cqe3ps7pj3p2igu5elhrl7z@tcp:127.0.0.1:9998/croot"}
	for range 50 {
		done := make(chan error, 1)
		go func() { done <- r.Call(t.Context(), "m", Args{}, new(any), anyCodec) }()
		req := p.receive().request()
		p.send(answerSeq(req, gift))
		go func() { resolve <- nil }()
		p.send(answerSeq(req, gift), answerSeq(req, "again"))
		require.NoError(t, within(t, "the call ends", done))
		for range 2 { // one was skipped
			require.Equal(t, "decgift", p.receive().method())
		}
	}
	// Who does not want to wait does not.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Call(ctx, "m", Args{}, new(any), anyCodec) }()
	p.send(answerSeq(p.receive().request(), gift))
	eventually(t, "it is being resolved", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, q := range s.calls.waiting {
			return q.answered
		}
		return false
	})
	cancel()
	require.ErrorIs(t, within(t, "the call ends", done), context.Canceled)
	require.Equal(t, "decgift", p.receive().method())
	eventually(t, "what came is forgotten", func() bool { return s.account.Used() == 0 })
	r.Close()
}

func TestWhatWasGivenIsHeldOncePerIntroductionOnTheWay(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	p.lookUp()
	r := p.offer(s, 1)
	s2, p2 := newPeer(t, nil)
	held := p2.offer(s2, 1)
	s.host.hold = held
	for range 5 {
		require.NoError(t, r.Send(t.Context(), "hold", Args{Positional: []any{foreign{"pb://x@y/z"}}}))
		p.receive()
	}
	handles := func() int {
		s2.mu.Lock()
		defer s2.mu.Unlock()
		return held.p.handles
	}
	require.Equal(t, 6, handles())
	p.send(callSeq(7, 0, "decgift", keyword{"count", 4}, keyword{"giftID", 1}))
	p.receive()
	require.Equal(t, 2, handles())
	s.Close(nil)
	require.Equal(t, 1, handles())
	held.Close()
	r.Close()
}
