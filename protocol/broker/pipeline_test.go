package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A ladder is an object whose step is another one.
type ladder struct {
	gate  *gate // that each step passes, unless nil
	trace ledger
}

func (l *ladder) rung(n int) *Object {
	return NewObject("", nil,
		NewMethod("step", func(ctx context.Context, a struct{ By int }) (*Object, error) {
			l.trace.note("step %d", n)
			if l.gate != nil {
				l.gate.pass("step")
			}
			if a.By < 0 {
				return nil, valueError("a step down")
			}
			return l.rung(n + a.By), nil
		}),
		NewMethod("height", func(_ context.Context, a struct {
			Plus int `foolscap:",optional"`
		}) (int, error) {
			l.trace.note("height %d", n)
			return n + a.Plus, nil
		}),
		NewMethod("note", func(_ context.Context, a struct{ What any }) (any, error) {
			l.trace.note("note %v", a.What)
			return nil, nil
		}),
		NewMethod("all", func(_ context.Context, a Args) (int, error) { return len(a.Positional) + len(a.Keyword), nil }),
		NewMethod("same", func(_ context.Context, a struct{ Refs []*hostRef }) (int, error) {
			defer func() {
				for _, r := range a.Refs {
					r.Close()
				}
			}()
			return len(a.Refs), nil
		}),
		method("number", func(context.Context) (int, error) { return 7, nil }),
		NewMethod("back", func(_ context.Context, a struct{ Ref *hostRef }) (*hostRef, error) { return a.Ref, nil }),
	)
}

// pipelined connects two sides that know the extension, or do not.
func pipelined(t *testing.T, n network, root *Object, both bool, change ...func(*Config)) (c, s *side) {
	noLeaks(t)
	a, b := n.pair(t)
	b.Inbound = true
	a.Pipelines, b.Pipelines = both, both
	return newSide(t, a, nil, change...), newSide(t, b, root, change...)
}

func promise(t *testing.T, of interface {
	Promise(context.Context, string, Args) (*Promise, error)
}, method string, args ...any) *Promise {
	p, err := of.Promise(t.Context(), method, Args{Positional: args})
	require.NoError(t, err)
	return p
}

func onPromise[T any](t *testing.T, p *Promise, method string, args ...any) (T, error) {
	var v T
	err := p.Call(t.Context(), method, Args{Positional: args}, &v, codec[T]())
	return v, err
}

func TestCallsOnAnswersThatAreNotThereYet(t *testing.T) {
	for _, both := range []bool{true, false} {
		t.Run(map[bool]string{true: "with the extension", false: "without it"}[both], func(t *testing.T) {
			onAll(t, func(t *testing.T, n network) {
				var l ladder
				c, s := pipelined(t, n, l.rung(0), both)
				root, err := c.LookUp(t.Context(), "root")
				require.NoError(t, err)
				at, want := root, 0
				for i := range 20 {
					next := promise(t, at, "step", i)
					defer at.Close()
					at, want = next, want+i
				}
				v, err := onPromise[int](t, at, "height")
				require.NoError(t, err)
				require.Equal(t, want, v)

				// All kinds of arguments, and of calls.
				v, err = onPromise[int](t, at, "all", 1, "two", []byte("three"), []any{nil, 4.5})
				require.NoError(t, err)
				require.Equal(t, 4, v)
				mine := NewObject("", nil)
				v, err = onPromise[int](t, promise(t, at, "step", 1), "same", []any{mine, mine, NewObject("", nil)})
				require.NoError(t, err)
				require.Equal(t, 3, v)
				require.NoError(t, promise(t, at, "step", 1).Call(t.Context(), "height", Args{Keyword: map[string]any{"plus": 1000}}, &v, codec[int]()))
				require.Equal(t, want+1001, v)
				last := promise(t, at, "step", 2)
				require.NoError(t, last.Send(t.Context(), "note", Args{Positional: []any{"sent"}}))
				var other int
				p, err := last.Start(t.Context(), "height", Args{}, &other, codec[int]())
				require.NoError(t, err)
				require.NoError(t, p.Wait(t.Context()))
				require.Equal(t, want+2, other)
				require.Contains(t, l.trace.all(), "note sent")

				remote, err := last.Wait(t.Context())
				require.NoError(t, err)
				v, err = call[int](t.Context(), remote, "height")
				require.NoError(t, err)
				require.Equal(t, want+2, v)
				last.Close()
				at.Close()
				_, err = onPromise[int](t, last, "height")
				require.ErrorIs(t, err, ErrClosedReference)
				eventually(t, "no answer is kept any more", func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return len(s.kept) == 0
				})
				require.Zero(t, s.Tables().Inbound)
			})
		})
	}
}

func TestCallsOnAPromiseRunInTheirOrder(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		l := ladder{gate: newGate()}
		c, _ := pipelined(t, n, l.rung(0), true)
		root, err := c.LookUp(t.Context(), "root")
		require.NoError(t, err)
		step := promise(t, root, "step", 1)
		within(t, "the step has begun", l.gate.entered)
		var pending []*Pending
		var want []string
		for i := range 50 {
			p, err := step.Start(t.Context(), "note", Args{Positional: []any{i}}, nil, nil)
			require.NoError(t, err)
			pending = append(pending, p)
			want = append(want, fmt.Sprint("note ", i))
		}
		require.Equal(t, []string{"step 0"}, l.trace.all(), "they wait for the step")
		close(l.gate.open)
		remote, err := step.Wait(t.Context())
		require.NoError(t, err)
		_, err = call[any](t.Context(), remote, "note", "direct")
		require.NoError(t, err)
		for _, p := range pending {
			require.NoError(t, p.Wait(t.Context()))
		}
		require.Equal(t, append(append([]string{"step 0"}, want...), "note direct"), l.trace.all())
	})
}

func TestWhatBuildsOnAFailureIsNotRun(t *testing.T) {
	for _, both := range []bool{true, false} {
		t.Run(map[bool]string{true: "with the extension", false: "without it"}[both], func(t *testing.T) {
			onAll(t, func(t *testing.T, n network) {
				var l ladder
				if both {
					l.gate = newGate()
				}
				c, s := pipelined(t, n, l.rung(0), both)
				nobody, err := c.LookUp(t.Context(), "nobody_s_name")
				require.NoError(t, err)
				_, err = onPromise[int](t, nobody, "height")
				require.ErrorIs(t, err, ErrNotRun)
				require.ErrorContains(t, err, ErrUnknownName.Error())
				require.NotContains(t, err.Error(), "nobody_s_name")

				root, err := c.LookUp(t.Context(), "root")
				require.NoError(t, err)
				down := promise(t, root, "step", -1)
				if both {
					within(t, "the step has begun", l.gate.entered)
				}
				var pending []*Pending
				early := func(p *Promise, method string, args ...any) {
					started, err := p.Start(t.Context(), method, Args{Positional: args}, nil, nil)
					if !both { // the error is known at once
						require.ErrorIs(t, err, ErrNotRun)
						return
					}
					require.NoError(t, err)
					pending = append(pending, started)
				}
				early(down, "note", 1)
				if both {
					deeper := promise(t, promise(t, down, "step", 1), "step", 1)
					early(deeper, "note", 2)
					close(l.gate.open)
				}
				for _, p := range pending {
					err := p.Wait(t.Context())
					require.ErrorIs(t, err, ErrNotRun)
					require.ErrorContains(t, err, "a step down")
					f, ok := errors.AsType[*Failure](err)
					require.True(t, ok)
					require.NotEmpty(t, f.Type)
				}
				require.Equal(t, []string{"step 0"}, l.trace.all())

				for _, bad := range []*Promise{promise(t, root, "number"), promise(t, root, "back", NewObject("", nil)), promise(t, root, "nothing")} {
					_, err := onPromise[any](t, bad, "note", 1)
					require.ErrorIs(t, err, ErrNotRun)
					_, err = bad.Wait(t.Context())
					require.Error(t, err)
				}
				_, err = onPromise[any](t, promise(t, root, "step", 1), "no_such_method")
				require.ErrorContains(t, err, "no method")
				_, err = onPromise[any](t, promise(t, root, "step", 1), "height", "a text for a number")
				require.ErrorContains(t, err, "argument")
				eventually(t, "nothing is left", func() bool {
					return s.Tables().Inbound == 0 && s.conf.Account.Used() == 0
				})
			})
		})
	}
}

func TestALongCallWaitsForTheLookUp(t *testing.T) {
	var l ladder
	c, _ := pipelined(t, networks[0], l.rung(0), true)
	root, err := c.LookUp(t.Context(), "root")
	require.NoError(t, err)
	_, err = onPromise[any](t, root, "note", pattern(100_000, 1)) // as that of a stranger it would be refused
	require.NoError(t, err)
}

func TestPromisesEndWithTheirConnection(t *testing.T) {
	l := ladder{gate: newGate()}
	defer close(l.gate.open)
	c, s := pipelined(t, networks[0], l.rung(0), true)
	root, err := c.LookUp(t.Context(), "root")
	require.NoError(t, err)
	step := promise(t, root, "step", 1)
	within(t, "the step has begun", l.gate.entered)
	p, err := step.Start(t.Context(), "note", Args{Positional: []any{pattern(1000, 1)}}, nil, nil)
	require.NoError(t, err)
	eventually(t, "it waits there", func() bool { return s.Tables().Inbound == 2 })
	c.Close(nil)
	require.ErrorIs(t, p.Wait(t.Context()), ErrDeadReference)
	_, err = onPromise[any](t, step, "note", 1)
	require.ErrorIs(t, err, ErrDeadReference)
	_, err = step.Wait(t.Context())
	require.ErrorIs(t, err, ErrDeadReference)
}

func pcallSeq(req, flags, target int, method string, args ...any) seq {
	call := callSeq(req, target, method, args...)
	return append(seq{"pcall", req, flags}, call[2:]...)
}

func TestPipelinedCallsOnTheWire(t *testing.T) {
	open := func(t *testing.T, change ...func(*Config)) (*side, *peer, *ladder) {
		l := &ladder{}
		noLeaks(t)
		a, b := pipePair(t)
		a.Pipelines, a.Inbound = true, true
		s, p := peerOf(t, a, b.Conn, l.rung(0), change...)
		return s, p, l
	}
	lookUp := func(req, flags int) seq { return pcallSeq(req, flags, 0, "getReferenceByName", []byte("root")) }
	answers := func(p *peer, req int) string {
		m := p.receive()
		require.EqualValues(t, req, m.request())
		if m.kind() == "error" {
			return m.attribute("type") + ": " + m.attribute("value")
		}
		return m.kind()
	}
	t.Run("a look-up, a step and a call in one go", func(t *testing.T) {
		_, p, l := open(t)
		p.send(lookUp(1, 1), pcallSeq(2, 3, 1, "step", 5), pcallSeq(3, 2, 2, "height"), seq{"pdrop", 1}, seq{"pdrop", 2})
		require.Equal(t, "answer", answers(p, 1))
		require.Equal(t, "answer", answers(p, 2))
		p.expect("OPEN() VOCAB(13=answer) INT(3) INT(5) CLOSE()")
		require.Equal(t, []string{"step 0", "height 5"}, l.trace.all())
	})
	t.Run("after it was dropped", func(t *testing.T) {
		_, p, _ := open(t)
		p.send(lookUp(1, 1))
		require.Equal(t, "answer", answers(p, 1))
		p.send(seq{"pdrop", 1}, pcallSeq(2, 2, 1, "height"))
		require.Contains(t, answers(p, 2), "foolscap.go.NotRun: not run, because request 1 failed")
	})
	t.Run("on a request that was not kept", func(t *testing.T) {
		_, p, _ := open(t)
		p.send(lookUp(1, 0))
		require.Equal(t, "answer", answers(p, 1))
		for req, target := range map[int]int{2: 1, 3: 77} {
			p.send(pcallSeq(req, 2, target, "height"))
			require.Contains(t, answers(p, req), "foolscap.go.NotRun")
		}
	})
	t.Run("on a request that was refused", func(t *testing.T) {
		_, p, _ := open(t)
		p.send(lookUp(1, 1), pcallSeq(2, 3, 1, "no_such_method"), pcallSeq(3, 2, 2, "height"), seq{"pdrop", 2}, seq{"pdrop", 1})
		got := map[int64]string{}
		for range 3 {
			m := p.receive()
			got[m.request()] = m.attribute("value")
		}
		require.Contains(t, got[3], "not run, because no_such_method failed: the object has no method")
	})
	t.Run("flags that nobody knows", func(t *testing.T) {
		_, p, _ := open(t)
		p.send(pcallSeq(1, 4, 0, "getReferenceByName", []byte("root")))
		require.Contains(t, answers(p, 1), "unknown flags 4")
	})
	t.Run("an answer to be kept that nobody wants", func(t *testing.T) {
		s, p, _ := open(t)
		p.send(pcallSeq(0, 1, 0, "getReferenceByName", []byte("root")))
		p.lookUp()
		require.Empty(t, s.kept)
	})
	t.Run("more than a stranger may have", func(t *testing.T) {
		_, p, _ := open(t, func(c *Config) { c.Limits.StrangerReferences = 2 })
		for i := range 3 {
			p.send(pcallSeq(i+1, 1, 0, "getReferenceByName", []byte("nobody")))
		}
		refused := 0
		for range 3 {
			if m := p.receive(); strings.Contains(m.attribute("value"), "limit StrangerReferences is 2") {
				refused++
			}
		}
		require.Equal(t, 1, refused)
	})
	t.Run("the same number twice", func(t *testing.T) {
		_, p, _ := open(t)
		p.send(lookUp(1, 1), lookUp(1, 1), pcallSeq(2, 2, 1, "height"))
		got := map[string]int{}
		for range 3 {
			m := p.receive()
			got[fmt.Sprint(m.kind(), m.request())]++
		}
		require.Equal(t, map[string]int{"answer1": 1, "error1": 1, "answer2": 1}, got, "the first one counts")
	})
	t.Run("unless it was agreed on", func(t *testing.T) {
		_, p := newPeer(t, noneRoot())
		p.send(lookUp(1, 1))
		p.lookUp() // it is a message of an unknown type
	})
}

func TestArgumentsReadEarlyAreTheSame(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		values := []any{nil, true, 1.5, int64(1) << 40, []byte("b"), "t", banana.NewList(int64(1), banana.Tuple{int64(2)}), banana.NewDict("k", int64(1))}
		got := make(chan any, 1)
		g := newGate()
		root := NewObject("", nil, method("slow", func(context.Context) (*Object, error) {
			g.pass("slow")
			return NewObject("", nil, NewMethod("take", func(_ context.Context, a struct{ V any }) (any, error) { got <- a.V; return nil, nil })), nil
		}))
		c, _ := pipelined(t, n, root, true)
		r, err := c.LookUp(t.Context(), "root")
		require.NoError(t, err)
		for i, v := range values {
			slow := promise(t, r, "slow")
			within(t, "it has begun", g.entered)
			p, err := slow.Start(t.Context(), "take", Args{Positional: []any{v}}, nil, nil)
			require.NoError(t, err)
			if i == 0 {
				close(g.open)
			}
			require.NoError(t, p.Wait(t.Context()))
			require.Equal(t, v, <-got)
		}
	})
}
