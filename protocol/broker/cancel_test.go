package broker

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

var errEnough = errors.New("the user has had enough")

// requireCancelled makes sure that a call was given up as it should.
func requireCancelled(t *testing.T, err error, sent Sent) {
	t.Helper()
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errEnough)
	require.Equal(t, sent, callError(t, err).Sent, err)
	require.Contains(t, err.Error(), sent.String())
}

func TestACallWhoseContextHasEndedIsNotMade(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	p.lookUp()
	r := p.offer(s, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	requireCancelled(t, r.Call(ctx, "m", Args{}, nil, nil), NotSent)
	_, _, err := begin[any](ctx, r, "m")
	requireCancelled(t, err, NotSent)
	requireCancelled(t, r.Send(ctx, "m", Args{}), NotSent)
	_, err = s.GetReference(ctx, "root")
	requireCancelled(t, err, NotSent)
	require.Zero(t, s.Tables().Outbound)
	p.alive() // and nothing else has been sent
	r.Close()
}

func TestAnUnsentCallIsWithdrawnWhenItIsCancelled(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, 1)
	// The peer does not read, so this is what is being written.
	first, _, err := begin[any](t.Context(), r, "m", pattern(256<<10, 1))
	require.NoError(t, err)

	obj := NewObject("", nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	results := make(chan error, 3)
	go func() { results <- r.Call(ctx, "withdrawn", Args{Positional: []any{obj, pattern(8<<10, 2)}}, nil, nil) }()
	go func() {
		q, _, err := begin[any](ctx, r, "withdrawn", obj, r2(r))
		if err == nil {
			err = q.Wait(ctx)
		}
		results <- err
	}()
	eventually(t, "both are queued", func() bool { return s.Tables().Outbound == 3 })
	queued := s.conf.Account.Used()
	require.NotZero(t, queued, "what Start has queued is charged")
	cancel(errEnough)
	for range 2 {
		requireCancelled(t, within(t, "the caller is released", results), NotSent)
	}
	require.Equal(t, 1, s.Tables().Outbound)
	require.Zero(t, s.Tables().Exports)

	// The peer never hears of them, and OPENs are counted as if they had not
	// been.
	last, _, err := begin[any](t.Context(), r, "last", obj)
	require.NoError(t, err)
	m := p.receive()
	require.Equal(t, "m", m.method())
	next := p.receive()
	require.Equal(t, "last", next.method())
	require.Equal(t, m[0].N+2, next[0].N)
	p.send(answerSeq(m.request(), noneSeq()), answerSeq(next.request(), noneSeq()))
	require.NoError(t, first.Wait(t.Context()))
	require.NoError(t, last.Wait(t.Context()))
	s.mu.Lock()
	require.Zero(t, s.send.calls, "they take no room")
	s.mu.Unlock()
	r.Close()
}

// r2 is a reference as an argument.
func r2(r *Remote) banana.External { return &hostRef{r} }

func TestAHalfSentCallIsFinishedFromACopyWhenItIsCancelled(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(t *testing.T, p *peer, cancel func(error))
		want func(t *testing.T, err error)
	}{
		{"cancelled", func(_ *testing.T, _ *peer, cancel func(error)) { cancel(errEnough) },
			func(t *testing.T, err error) { requireCancelled(t, err, MayHaveRun) }},
		{"refused by the peer before it has seen all", func(_ *testing.T, p *peer, _ func(error)) {
			p.send(errorSeq(2, "foolscap.tokens.Violation", "I do not want that"))
		}, func(t *testing.T, err error) {
			var f *Failure
			require.ErrorAs(t, err, &f)
			require.Equal(t, Answered, callError(t, err).Sent)
		}},
	} {
		both := func(t *testing.T, s *side, p *peer) {
			s.publish(1, noneRoot())
			r := p.offer(s, 1)
			lent, other := pattern(12<<20, 1), pattern(100<<10, 2)
			original, originalOther := append([]byte(nil), lent...), append([]byte(nil), other...)
			ctx, cancel := context.WithCancelCause(t.Context())
			result := make(chan error, 1)
			go func() { result <- r.Call(ctx, "m", Args{Positional: []any{lent, "between", other}}, nil, nil) }()

			// The peer takes a part.
			begun := make([]byte, 300<<10)
			_, err := io.ReadFull(p.conn, begun)
			require.NoError(t, err)
			test.end(t, p, cancel)
			test.want(t, within(t, "the caller is released", result))
			require.Zero(t, s.Tables().Outbound)
			clear(lent) // it is the caller's again
			clear(other)

			// The peer gets all of it, as it was, and the connection goes on.
			d := banana.NewDecoder(p, begun, &banana.DecoderConfig{Vocab: 1})
			opentype, err := d.Begin()
			require.NoError(t, err)
			require.Equal(t, "call", opentype)
			for _, what := range []string{"the number", "the object"} {
				_, err = d.Int(what)
				require.NoError(t, err)
			}
			_, err = d.Name("the method", 10)
			require.NoError(t, err)
			_, _, err = d.NextOpen("arguments")
			require.NoError(t, err)
			n, err := d.Int("how many")
			require.NoError(t, err)
			require.EqualValues(t, 3, n)
			var got [3]any
			for i := range got {
				got[i], err = d.Value(nil)
				require.NoError(t, err)
			}
			requireSame(t, original, got[0].([]byte))
			requireSame(t, originalOther, got[2].([]byte))
			require.NoError(t, d.Close("arguments"))
			require.NoError(t, d.Close("call"))
			require.Zero(t, d.Buffered())
			p.alive()
			r.Close()
		}
		t.Run(test.name+" over a pipe", func(t *testing.T) {
			s, p := newPeer(t, noneRoot())
			both(t, s, p)
		})
		t.Run(test.name+" over a stream", func(t *testing.T) {
			s, p := newStreamPeer(t, noneRoot())
			both(t, s, p)
		})
	}
}

func TestASentCallIsForgottenWhenItIsCancelled(t *testing.T) {
	for name, answer := range map[string]func(req int64) seq{
		"an answer": func(req int64) seq {
			return answerSeq(req, seq{"list", seq{"my-reference", 7, ""}, seq{"my-reference", 7}})
		},
		"an error":             func(req int64) seq { return errorSeq(req, "x.Y", "late") },
		"an error with a gift": func(req int64) seq { return seq{"error", req, seq{"my-reference", 7}} },
		"an answer with an introduction": func(req int64) seq {
			return answerSeq(req, seq{"list", seq{"my-reference", 7, ""}, seq{"their-reference", 3, "pb://"}})
		},
	} {
		t.Run(name+" comes late", func(t *testing.T) {
			s, p := newPeer(t, noneRoot())
			s.publish(1, noneRoot())
			r := p.offer(s, 1)
			ctx, cancel := context.WithCancelCause(t.Context())
			q, _, err := begin[any](ctx, r, "m")
			require.NoError(t, err)
			req := p.receive().request()
			cancel(errEnough)
			requireCancelled(t, q.Wait(ctx), MayHaveRun)
			require.Zero(t, s.Tables().Outbound)

			p.send(answer(req))
			// Its references are released, with the exact count.
			references := 0
			switch name {
			case "an answer":
				references = 2
			case "an error with a gift", "an answer with an introduction":
				references = 1
			}
			for references > 0 {
				m := p.receive()
				if m.method() == "decgift" {
					require.EqualValues(t, 3, m.number("giftID"))
					continue
				}
				require.Equal(t, "decref", m.method())
				require.EqualValues(t, 7, m.number("clid"))
				references -= int(m.number("count"))
				p.send(answerSeq(m.request(), noneSeq()))
			}
			if name == "an answer with an introduction" {
				require.Equal(t, "decgift", p.receive().method())
			}
			p.alive()
			require.Equal(t, 1, s.Tables().Imports, "the target itself")
			require.Zero(t, s.conf.Account.Used())
			r.Close()
		})
	}
}

func TestACallIsCancelledWhileItsAnswerIsBeingRead(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	s.publish(1, noneRoot())
	r := p.offer(s, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	q, _, err := begin[any](ctx, r, "m")
	require.NoError(t, err)
	req := p.receive().request()
	full := p.wire(answerSeq(req, seq{"list", seq{"my-reference", 7, ""}, pattern(100<<10, 3), seq{"my-reference", 7}}))
	p.write(full[:50<<10])
	require.Equal(t, 2, s.Tables().Imports)
	cancel(errEnough)
	requireCancelled(t, q.Wait(ctx), MayHaveRun)
	p.write(full[50<<10:])
	m := p.receive()
	require.Equal(t, "decref", m.method())
	require.EqualValues(t, 7, m.number("clid"))
	first := m.number("count")
	p.send(answerSeq(m.request(), noneSeq()))
	if first == 1 { // one for each of the handles
		m = p.receive()
		require.EqualValues(t, 1, m.number("count"))
		p.send(answerSeq(m.request(), noneSeq()))
	} else {
		require.EqualValues(t, 2, first)
	}
	p.alive()
	require.Equal(t, 1, s.Tables().Imports)
	require.Zero(t, s.conf.Account.Used(), "a connection at rest holds nothing")
	r.Close()
}

func TestACallThatWasAnsweredIsNotCancelled(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	q, v, err := begin[int](ctx, r, "m")
	require.NoError(t, err)
	p.send(answerSeq(p.receive().request(), 5))
	eventually(t, "it is answered", func() bool { return s.Tables().Outbound == 0 })
	within(t, "the answer is there", q.done)
	cancel(errEnough)
	require.NoError(t, q.Wait(ctx))
	require.Equal(t, 5, *v)
	r.Close()
}

func TestADeadlineReleasesTheCaller(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		g := newGate()
		c, _ := connect(t, n, nil, NewObject("", nil, method("slow", func(context.Context) (any, error) {
			g.pass("")
			return nil, nil
		})))
		r := c.root(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := call[any](ctx, r, "slow")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, MayHaveRun, callError(t, err).Sent)
		close(g.open)
		eventually(t, "it is forgotten", func() bool { return c.Tables().Outbound == 0 })
	})
}

func TestCancellingAtAnyMomentLeavesNothingBehind(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		server := NewObject("", nil,
			NewMethod("swap", func(_ context.Context, a struct {
				Data []byte
				Ref  *hostRef
			}) (any, error) {
				a.Ref.Close()
				return []any{a.Data, NewObject("", nil)}, nil
			}))
		c, s := connect(t, n, nil, server)
		r := c.root(t)
		mine := NewObject("", nil)
		data := pattern(64<<10, 5)
		for i := range 300 {
			ctx, cancel := context.WithCancel(t.Context())
			if i%3 == 0 {
				ctx, cancel = context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
			}
			v := new([]any)
			done := make(chan error, 1)
			go func() { done <- r.Call(ctx, "swap", Args{Positional: []any{data, mine}}, v, codec[[]any]()) }()
			if i%3 == 1 {
				cancel()
			}
			if err := within(t, "the call ends", done); err == nil {
				(*v)[1].(*hostRef).Close()
			}
			cancel()
		}
		r.Close()
		eventually(t, "all is released", func() bool {
			return c.Tables() == Tables{} && s.Tables() == Tables{} && c.conf.Account.Used() == 0 && s.conf.Account.Used() == 0
		})
	})
}

func TestWhatWasLentIsTheCallersAgainWhenHisCallEnds(t *testing.T) {
	// The race detector sees it if anybody still reads what was lent.
	sink := NewObject("", nil, NewMethod("sink", func(_ context.Context, a struct{ B []byte }) (int, error) { return len(a.B), nil }))
	lent := pattern(4<<20, 1)
	for _, how := range []string{"cancelled", "closed here", "closed there"} {
		t.Run(how, func(t *testing.T) {
			for i := range 15 {
				c, s := connect(t, networks[1], nil, sink)
				r := c.root(t)
				ctx, cancel := context.WithCancel(t.Context())
				end := time.AfterFunc(time.Duration(i)*time.Millisecond, map[string]func(){
					"cancelled":    cancel,
					"closed here":  func() { c.Close(nil) },
					"closed there": func() { s.Close(nil) },
				}[how])
				for {
					_, err := call[int](ctx, r, "sink", lent)
					for j := 0; j < len(lent); j += 4 << 10 {
						lent[j]++
					}
					if err != nil {
						break
					}
				}
				end.Stop()
				cancel()
				r.Close()
				c.Close(nil)
				s.Close(nil)
			}
		})
	}
}
