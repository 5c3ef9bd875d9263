package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

type point struct{ X, Y int }

// everything is an object with methods of all shapes.
func everything() *Object {
	type optional struct {
		A int
		B string `foolscap:",optional"`
		C *point `foolscap:"sea,optional"`
	}
	byReflection := func(name string, f any) *Method {
		m, err := MethodOf(name, reflect.ValueOf(f))
		if err != nil {
			panic(err)
		}
		return m
	}
	raw := func(_ context.Context, a Args) (any, error) {
		keys := make(map[string]any, len(a.Keyword))
		for k, v := range a.Keyword {
			keys[k] = v
		}
		return banana.Tuple{banana.NewList(a.Positional...), keys}, nil
	}
	return NewObject("RIEverything", nil,
		NewMethod("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		NewMethod("optional", func(_ context.Context, a optional) (string, error) {
			return fmt.Sprintf("%v %v %v", a.A, a.B, a.C), nil
		}),
		NewMethod("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
		NewMethod("raw", raw),
		byReflection("raw_by_reflection", raw),
		byReflection("add_by_reflection", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		NewMethod("points", func(_ context.Context, a struct{ N int }) ([]point, error) {
			all := make([]point, a.N)
			for i := range all {
				all[i] = point{i, -i}
			}
			return all, nil
		}),
		NewMethod("small", func(_ context.Context, a struct {
			N    int8
			List []uint16
		}) (noArgs, error) {
			return noArgs{}, nil
		}),
		method("nothing", func(context.Context) (noArgs, error) { return noArgs{}, nil }),
	)
}

func TestArgumentsAndResults(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		c, _ := connect(t, n, nil, everything())
		r := c.root(t)
		require.Equal(t, "RIEverything", r.Interface())
		pos := func(v ...any) Args { return Args{Positional: v} }
		kw := func(v map[string]any) Args { return Args{Keyword: v} }
		for _, test := range []struct {
			method string
			args   Args
			want   any
			fails  string // a part of the failure's text
		}{
			{"add", pos(1, 2), int64(3), ""},
			{"add", kw(map[string]any{"b": 2, "a": 1}), int64(3), ""},
			{"add", Args{Positional: []any{1}, Keyword: map[string]any{"b": 2}}, int64(3), ""},
			{"add_by_reflection", pos(1, 2), int64(3), ""},
			{"add", pos(1), nil, `missing argument "b"`},
			{"add", Args{}, nil, `missing argument "a"`},
			{"add", pos(1, 2, 3), nil, "takes 2 arguments, got 3"},
			{"add", Args{Positional: []any{1, 2}, Keyword: map[string]any{"a": 2}}, nil, `"a" is given by position and by name`},
			{"add", kw(map[string]any{"a": 1, "b": 2, "c": 3}), nil, `unknown argument "c"`},
			{"add", pos(1, "two"), nil, `argument "b": expected integer, got text`},
			{"add", pos(1, new(big.Int).Lsh(big.NewInt(1), 80)), nil, `argument "b": the integer does not fit int`},
			{"small", pos(300, []int{}), nil, `argument "n": the integer does not fit int8`},
			{"small", pos(-1, []int{1, 2, -3}), nil, `argument "list"[2]: the integer does not fit uint16`},
			{"small", pos(-128, []int{1}), nil, ""},
			{"optional", pos(1), "1  <nil>", ""},
			{"optional", pos(1, "b"), "1 b <nil>", ""},
			{"optional", kw(map[string]any{"sea": point{1, 2}, "a": 1}), "1  &{1 2}", ""},
			{"optional", kw(map[string]any{"c": point{1, 2}, "a": 1}), nil, `unknown argument "c"`},
			{"raw", Args{}, banana.Tuple{banana.NewList(), banana.NewDict()}, ""},
			{"raw", Args{Positional: []any{1, "x"}, Keyword: map[string]any{"k": []byte("v")}},
				banana.Tuple{banana.NewList(int64(1), "x"), banana.NewDict("k", []byte("v"))}, ""},
			{"raw_by_reflection", Args{Positional: []any{true}, Keyword: map[string]any{"k": nil}},
				banana.Tuple{banana.NewList(true), banana.NewDict("k", nil)}, ""},
			{"nothing", Args{}, nil, ""},
			{"no_such_method", Args{}, nil, `no method "no_such_method"`},
			{"", Args{}, nil, `no method ""`},
			{strings.Repeat("m", maxName+1), Args{}, nil, "1001 bytes"},
		} {
			t.Run(fmt.Sprintf("%.20s%v%v", test.method, test.args.Positional, test.args.Keyword), func(t *testing.T) {
				v := new(any)
				err := r.Call(t.Context(), test.method, test.args, v, codec[any]())
				if test.fails == "" {
					require.NoError(t, err)
					require.Equal(t, test.want, *v)
					return
				}
				var f *Failure
				require.ErrorAs(t, err, &f)
				require.Contains(t, f.Text, test.fails)
				require.Equal(t, Answered, callError(t, err).Sent)
				require.Equal(t, test.method, callError(t, err).Method)
			})
		}
		all, err := call[[]point](t.Context(), r, "points", 3)
		require.NoError(t, err)
		require.Equal(t, []point{{0, 0}, {1, -1}, {2, -2}}, all)
		require.NoError(t, r.Call(t.Context(), "points", pos(3), nil, nil), "a result that nobody wants")
		long := pattern(3<<20, 1)
		back, err := call[[]byte](t.Context(), r, "echo", long)
		require.NoError(t, err)
		requireSame(t, long, back)
		text, err := call[string](t.Context(), r, "echo", strings.Repeat("ä", 1<<20))
		require.NoError(t, err)
		require.Equal(t, 2<<20, len(text))
	})
}

func TestMethodsThatHaveNoFormOnTheWireAreRefused(t *testing.T) {
	for _, f := range []any{
		func() {},
		func(context.Context, int) (int, error) { return 0, nil },
		func(context.Context, struct{}) int { return 0 },
		func(context.Context, struct{}) (chan int, error) { return nil, nil },
		func(context.Context, struct{ F func() }) (int, error) { return 0, nil },
		func(context.Context, *struct{}) (int, error) { return 0, nil },
	} {
		_, err := MethodOf("m", reflect.ValueOf(f))
		require.Error(t, err, "%T", f)
	}
	require.Panics(t, func() { NewMethod("m", func(context.Context, int) (int, error) { return 0, nil }) })
	require.Panics(t, func() { NewMethod("m", func(context.Context, struct{}) (chan int, error) { return nil, nil }) })
	require.Panics(t, func() {
		NewObject("", nil, method("m", func(context.Context) (int, error) { return 0, nil }), method("m", func(context.Context) (int, error) { return 0, nil }))
	})
}

func TestCallsWithoutAnswerRunAndGetNone(t *testing.T) {
	got := make(chan int, 10)
	s, p := newPeer(t, noneRoot(
		NewMethod("note", func(_ context.Context, a struct{ N int }) (int, error) {
			got <- a.N
			return a.N, errors.New("which nobody sees")
		}),
		NewMethod("panic", func(_ context.Context, a struct{ N int }) (int, error) { panic(a.N) }),
	))
	p.lookUp()
	p.send(callSeq(0, 1, "note", 5), callSeq(0, 1, "note", textSeq("wrong")), callSeq(0, 9, "note", 5), callSeq(0, 1, "panic", 1), callSeq(0, 1, "no"))
	p.alive()
	require.Equal(t, 5, within(t, "it runs", got))
	require.Empty(t, got)

	r := p.offer(s, 1)
	require.NoError(t, r.Send(t.Context(), "note", Args{Positional: []any{6}}))
	p.expect("OPEN() VOCAB(11=call) INT(0) INT(1) STRING(4,b'note') OPEN() VOCAB(12=arguments) INT(1) INT(6) CLOSE() CLOSE()")
	require.Zero(t, s.Tables().Outbound)
	r.Close()
}

func TestAThousandCallsAreInFlight(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		const calls = 1000
		g := newGate()
		c, s := connect(t, n, nil, NewObject("", nil,
			NewMethod("same", func(_ context.Context, a struct{ N int }) (int, error) {
				g.pass("")
				return a.N, nil
			}).Concurrent()))
		r := c.root(t)
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				v, err := call[int](t.Context(), r, "same", i)
				assert.NoError(t, err)
				assert.Equal(t, i, v)
			})
		}
		for range calls {
			within(t, "all run", g.entered)
		}
		require.Equal(t, calls, s.Tables().Inbound)
		require.Equal(t, calls, c.Tables().Outbound)
		close(g.open)
		wg.Wait()
		require.Zero(t, c.Tables().Outbound)
		eventually(t, "none is left", func() bool { return s.Tables().Inbound == 0 })
		r.Close()
	})
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, 1)
	var pending []*Pending
	var results []*int
	for range 10 {
		q, v, err := begin[int](t.Context(), r, "m")
		require.NoError(t, err)
		pending, results = append(pending, q), append(results, v)
	}
	var reqs []int64
	for range pending {
		reqs = append(reqs, p.receive().request())
	}
	p.send(answerSeq(12345, 1), errorSeq(54321, "x.Y", "for nobody"), answerSeq(-1, 3)) // ignored
	for i := range reqs {
		i = len(reqs) - 1 - i
		p.send(answerSeq(reqs[i], 100+i))
	}
	for i, q := range pending {
		require.NoError(t, q.Wait(t.Context()))
		require.Equal(t, 100+i, *results[i])
	}
	r.Close()
	require.Equal(t, "decref", p.receive().method())
}

// A failure of ours that tells what it wants to be.
type typedError struct {
	name    string
	parents []string
}

func (e typedError) Error() string                  { return "typed" }
func (e typedError) RemoteType() (string, []string) { return e.name, e.parents }

// A brokenError is often a nil pointer.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

func TestErrorsOfMethodsArriveAsFailures(t *testing.T) {
	failure := &Failure{Type: "far.away.Error", Text: "far", Parents: []string{"far.away.Error", "far.Error"}}
	for _, test := range []struct {
		name   string
		err    error
		typ    string
		text   string
		isType []string
	}{
		{"a plain error goes by its Go type", errors.New("plain"), "errors.errorString", "plain", []string{"builtins.Exception"}},
		{"a typed one by its own", typedError{"my.Error", []string{"my.Error", "my.Base"}}, "my.Error", "typed", []string{"my.Base"}},
		{"even when it is wrapped", fmt.Errorf("within: %w", typedError{"my.Error", nil}), "my.Error", "within: typed", []string{"builtins.Exception"}},
		{"a remote failure keeps its type", fmt.Errorf("passed on: %w", failure), "far.away.Error", "far", []string{"far.Error"}},
		{"a nil pointer that has become an error", error((*brokenError)(nil)), "builtins.RuntimeError", "an error of type *broker.brokenError that cannot be described", nil},
		{"an unknown name", ErrUnknownName, "builtins.KeyError", ErrUnknownName.Error(), []string{"builtins.LookupError"}},
		{"a long text is cut", errors.New(strings.Repeat("x", 5000)), "errors.errorString", strings.Repeat("x", 1000), nil},
		{"within the limit of bytes and not within a letter", errors.New("x" + strings.Repeat("ä", 5000)), "errors.errorString", "x" + strings.Repeat("ä", 499), nil},
		{"what is no UTF-8 is made so", errors.New("a\xffb"), "errors.errorString", "a\uFFFDb", nil},
		{"a type and parents that are no UTF-8", typedError{"t\xff", []string{"p\xff"}}, "t\uFFFD", "typed", []string{"p\uFFFD"}},
		{"an empty text", errors.New(""), "errors.errorString", "", nil},
		{"many parents", typedError{"my.Error", make([]string, 500)}, "my.Error", "typed", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := connect(t, networks[0], nil, NewObject("", nil, method("fail", func(context.Context) (any, error) { return nil, test.err })))
			_, err := call[any](t.Context(), c.root(t), "fail")
			var f *Failure
			require.ErrorAs(t, err, &f)
			require.Equal(t, Answered, callError(t, err).Sent)
			require.Equal(t, test.typ, f.Type)
			require.Equal(t, test.text, f.Text)
			require.True(t, f.IsType(test.typ))
			require.Equal(t, noTraceback, f.Traceback)
			require.LessOrEqual(t, len(f.Parents), maxFailureParents)
			for _, parent := range test.isType {
				require.True(t, f.IsType(parent), parent)
			}
			require.False(t, f.IsType("some.Other"))
		})
	}
}

func TestAFailureIsWithinTheLimitsOfPythonsReceivers(t *testing.T) {
	long := typedError{strings.Repeat("ü", 300), []string{strings.Repeat("ö", 300)}}
	s, p := newPeer(t, nil, func(c *Config) { c.Copies = tracing(t, true) })
	s.publish(1, NewObject("", nil,
		method("panics", func(context.Context) (any, error) { panic(strings.Repeat("ä", 3000)) }),
		method("fails", func(context.Context) (any, error) { return nil, long }),
	))
	for _, name := range []string{"panics", "fails"} {
		p.send(callSeq(7, 1, name))
		m := p.receive()
		require.Equal(t, "error", m.kind())
		for attribute, limit := range map[string]int{"type": 200, "value": 1000, "traceback": 2000} {
			text := m.attribute(attribute)
			require.NotEmpty(t, text)
			require.LessOrEqual(t, len(text), limit, attribute)
			require.True(t, utf8.ValidString(text), attribute)
		}
		for _, tok := range m {
			if tok.Depth == 3 && tok.Type == banana.TypeString { // the parents
				require.LessOrEqual(t, len(tok.Body), 200)
				require.True(t, utf8.Valid(tok.Body))
			}
		}
	}
}

func TestThePeerSeesTheStackOfAPanicOnlyWhenItMay(t *testing.T) {
	for _, traces := range []bool{false, true} {
		t.Run(fmt.Sprint(traces), func(t *testing.T) {
			c, s := connect(t, networks[0], nil, NewObject("", nil, method("panics", func(context.Context) (any, error) { panic("ouch") })),
				func(c *Config) { c.Copies = tracing(t, traces) })
			_, err := call[any](t.Context(), c.root(t), "panics")
			var f *Failure
			require.ErrorAs(t, err, &f)
			require.Equal(t, "panic: ouch", f.Text)
			require.Equal(t, traces, strings.Contains(f.Traceback, "call_test.go"), f.Traceback)
			require.Len(t, s.logs.containing("a method panicked"), 1)
			require.Contains(t, s.logs.containing("a method panicked")[0], "call_test.go")
		})
	}
}

func TestWhatCannotBeEncodedFailsBeforeTheFirstByte(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, 1)
	obj := NewObject("", nil)
	for _, bad := range []any{make(chan int), struct{ F func() }{}, "\xff", banana.NewList(obj, make(chan int))} {
		for name, try := range map[string]func() error{
			"Call":  func() error { return r.Call(t.Context(), "m", Args{Positional: []any{1, bad}}, nil, nil) },
			"Start": func() error { _, _, err := begin[any](t.Context(), r, "m", 1, bad); return err },
			"Send":  func() error { return r.Send(t.Context(), "m", Args{Positional: []any{1, bad}}) },
			"Call with keyword": func() error {
				return r.Call(t.Context(), "m", Args{Keyword: map[string]any{"fine": 1, "bad": bad}}, nil, nil)
			},
		} {
			err := try()
			var e *banana.EncodeError
			require.ErrorAs(t, err, &e, "%s of %T", name, bad)
			require.Equal(t, NotSent, callError(t, err).Sent)
			if name == "Call with keyword" {
				require.Equal(t, "argument bad", e.Path[0])
			} else {
				require.Equal(t, "argument 1", e.Path[0])
			}
		}
	}
	// The look-up took the OPENs 0 and 1: what comes now is as if nothing had
	// been.
	require.NoError(t, r.Send(t.Context(), "m", Args{Positional: []any{obj}}))
	m := p.receive()
	require.EqualValues(t, 2, m[0].N)
	require.Contains(t, m.String(), "OPEN(4) VOCAB(15=my-reference) INT(1)")
	require.Equal(t, Tables{Exports: 1, Imports: 1}, s.Tables())
	r.Close()
}

func TestAResultThatCannotBeEncodedIsAnError(t *testing.T) {
	inner := NewObject("", nil)
	s, p := newPeer(t, nil)
	s.publish(1, noneRoot(
		method("channel", func(context.Context) (any, error) { return []any{inner, make(chan int)}, nil }),
		method("unsortable", func(context.Context) (any, error) { return map[any]any{1: 1, "a": 2}, nil }),
	))
	for _, name := range []string{"channel", "unsortable"} {
		p.send(callSeq(7, 1, name))
		m := p.receive()
		require.Equal(t, "error", m.kind())
		require.Equal(t, "foolscap.tokens.Violation", m.attribute("type"))
		require.Contains(t, m.attribute("value"), "cannot encode")
	}
	require.Len(t, s.logs.containing("a result cannot be sent"), 2)
	require.Equal(t, 1, s.Tables().Exports, "nothing was exported for it")
	m := func() message { p.send(callSeq(9, 1, "none")); return p.receive() }()
	require.EqualValues(t, 6, m[0].N, "two errors of three OPENs are all that has gone out")
}

func TestAResultOfAnotherTypeIsAViolation(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		c, _ := connect(t, n, nil, everything())
		r := c.root(t)
		_, err := call[int](t.Context(), r, "echo", "text")
		var v *banana.Violation
		require.ErrorAs(t, err, &v)
		require.Equal(t, Answered, callError(t, err).Sent)
		require.Contains(t, err.Error(), "result: expected integer, got text")
		_, err = call[[]int](t.Context(), r, "echo", []any{1, 2, []any{}})
		require.ErrorAs(t, err, &v)
		require.Contains(t, err.Error(), "result[2]: expected integer, got list")
		sum, err := call[int](t.Context(), r, "add", 1, 2)
		require.NoError(t, err)
		require.Equal(t, 3, sum)
	})
}

func TestAbortedMessages(t *testing.T) {
	s, p := newPeer(t, nil)
	s.publish(1, noneRoot(NewMethod("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil })))
	r := p.offer(s, 1)

	// Calls: whoever has aborted one knows that it will get no answer.
	p.send(
		seq{"call", 7, 1, "echo", seq{"arguments", 1, seq{"list", 1, abortToken}, abortToken}, abortToken},
		seq{"call", 7, abortToken},
		seq{"call", abortToken},
		seq{abortToken, "call", 7},
		seq{"call", 7, 1, "echo", seq{"arguments", 1, 5}, abortToken},
		abortToken,
	)
	p.alive()

	// Answers: the call fails.
	for _, answer := range []func(req int64) seq{
		func(req int64) seq { return seq{"answer", req, abortToken} },
		func(req int64) seq { return seq{"answer", req, seq{"list", 1, abortToken}, abortToken} },
		func(req int64) seq { return seq{"answer", req, 5, abortToken} },
		func(req int64) seq { return seq{"error", req, seq{"copyable", abortToken}, abortToken} },
	} {
		q, _, err := begin[any](t.Context(), r, "m")
		require.NoError(t, err)
		p.send(answer(p.receive().request()))
		err = q.Wait(t.Context())
		require.ErrorIs(t, err, banana.ErrAborted)
		require.Equal(t, Answered, callError(t, err).Sent)
	}
	p.alive()
	r.Close()
}

func TestTwoCallsWithTheSameNumberAreBothAnswered(t *testing.T) {
	// Python ends the connection; its senders never do this.
	g := newGate()
	s, p := newPeer(t, nil)
	s.publish(1, NewObject("", nil, NewMethod("same", func(_ context.Context, a struct{ N int }) (int, error) {
		g.pass("")
		return a.N, nil
	}).Concurrent()))
	p.send(callSeq(7, 1, "same", 1), callSeq(7, 1, "same", 2))
	within(t, "it runs", g.entered)
	within(t, "it runs", g.entered)
	close(g.open)
	require.ElementsMatch(t, []string{
		"OPEN() VOCAB(13=answer) INT(7) INT(1) CLOSE()",
		"OPEN() VOCAB(13=answer) INT(7) INT(2) CLOSE()",
	}, []string{unnumbered(p.receive().String()), unnumbered(p.receive().String())})
}

func TestRequestNumbersStartAnewAndAreNotUsedTwice(t *testing.T) {
	s, p := newPeer(t, nil)
	r := p.offer(s, 1)
	start := func() *Pending {
		q, _, err := begin[any](t.Context(), r, "m")
		require.NoError(t, err)
		return q
	}
	two := start() // stays
	require.EqualValues(t, 2, p.receive().request())
	s.mu.Lock()
	s.calls.last = math.MaxInt32 - 1
	s.mu.Unlock()
	var got []int64
	var pending []*Pending
	for range 3 {
		pending = append(pending, start())
		got = append(got, p.receive().request())
	}
	require.Equal(t, []int64{math.MaxInt32, 1, 3}, got)
	for i, q := range pending {
		p.send(answerSeq(got[i], noneSeq()))
		require.NoError(t, q.Wait(t.Context()))
	}
	p.send(answerSeq(2, noneSeq()))
	require.NoError(t, two.Wait(t.Context()))
	r.Close()
}

func TestCallsOfThePeerThatCannotBeMade(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	p.lookUp()
	for _, test := range []struct {
		name string
		call seq
		typ  string
		text string
	}{
		{"an unknown object", callSeq(7, 9, "none"), "foolscap.tokens.Violation", "unknown CLID 9"},
		{"a bound method that is none", callSeq(7, -1, ""), "foolscap.tokens.Violation", "unknown CLID -1"},
		{"an unknown method", callSeq(7, 1, "nothere"), "builtins.AttributeError", `no method "nothere"`},
		{"an unknown method of the broker", callSeq(7, 0, "nothere"), "foolscap.tokens.Violation", `no method "nothere"`},
		{"a name that nobody has", callSeq(7, 0, "getReferenceByName", keyword{"name", "secret"}), "builtins.KeyError", ErrUnknownName.Error()},
		{"a copyable", callSeq(7, 1, "none", seq{"copyable", "a.B"}), "foolscap.tokens.Violation", "takes 0 arguments, got 1"},
		{"an introduction that does not exist", callSeq(7, 0, "decgift", keyword{"giftID", 5}, keyword{"count", 1}), "fmt.wrapError", "no introduction 5"},
		{"a release of the broker", callSeq(7, 0, "decref", keyword{"clid", 0}, keyword{"count", 1}), "", "object 0 cannot be released"},
		{"a release of less than nothing", callSeq(7, 0, "decref", keyword{"clid", 1}, keyword{"count", -1}), "", "object 1 cannot be released"},
		{"a release of more than there is", callSeq(7, 0, "decref", keyword{"clid", 1}, keyword{"count", 2}), "", "sent 1 times, it cannot be released 2 times"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.send(test.call)
			m := p.receive()
			require.Equal(t, "error", m.kind(), m)
			require.EqualValues(t, 7, m.request())
			if test.typ != "" && test.typ != "fmt.wrapError" {
				require.Equal(t, test.typ, m.attribute("type"))
			}
			require.Contains(t, m.attribute("value"), test.text)
			require.NotContains(t, m.String(), "secret")
			p.alive()
		})
	}
	require.Equal(t, 1, s.Tables().Exports)
}

func TestTheTextOfAFailedLookUpDoesNotShowTheName(t *testing.T) {
	const secret = "ofbzbvtcd2aefg3v6ycyg3ggqy6wqkqd"
	var events []Event
	var mu sync.Mutex
	s, p := newPeer(t, nil, func(c *Config) {
		c.Observer = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		}
	})
	result := make(chan error, 1)
	go func() {
		_, err := s.GetReference(context.Background(), secret)
		result <- err
	}()
	p.send(errorSeq(p.receive().request(), "builtins.KeyError", "there is no reference for the name '"+secret+"'"))
	err := within(t, "the look-up fails", result)
	var f *Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, "there is no reference for the name '…'", f.Text)
	mu.Lock()
	defer mu.Unlock()
	for _, e := range events {
		require.NotContains(t, fmt.Sprintf("%+v %v", e, e.Err), secret)
	}
}

func TestALookUpThatLeadsToNoReferenceFails(t *testing.T) {
	s, p := newPeer(t, nil)
	for _, answer := range []any{5, noneSeq(), seq{"list", 1}, "bytes"} {
		result := make(chan error, 1)
		go func() {
			_, err := s.GetReference(context.Background(), "root")
			result <- err
		}()
		p.send(answerSeq(p.receive().request(), answer))
		err := within(t, "the look-up fails", result)
		var v *banana.Violation
		require.ErrorAs(t, err, &v)
		require.Equal(t, Answered, callError(t, err).Sent)
	}
}

func TestMessagesOfOtherTypesAreIgnored(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	p.lookUp()
	p.send(seq{"list", 1, 2}, seq{"nonsense", seq{"my-reference", 5}, 1}, seq{"set-vocab", 1, "x"}, seq{5}, seq{strings.Repeat("x", 100)})
	// The reference within was never ours to keep.
	m := p.receive()
	require.Equal(t, "decref", m.method())
	require.EqualValues(t, 5, m.number("clid"))
	p.send(answerSeq(m.request(), noneSeq()))
	p.alive()
	require.Zero(t, s.Tables().Imports)
	require.Len(t, s.logs.containing("unknown type"), 3)
}

func TestBothVocabulariesWork(t *testing.T) {
	for vocab := range 2 {
		t.Run(fmt.Sprint(vocab), func(t *testing.T) {
			noLeaks(t)
			a, b := pipePair(t)
			a.Vocab, b.Vocab = vocab, vocab
			c, s := newSide(t, a, nil), newSide(t, b, everything())
			_ = s
			v, err := call[any](t.Context(), c.root(t), "echo", banana.NewList("list", []byte("list"), nil, true))
			require.NoError(t, err)
			require.Equal(t, banana.NewList("list", []byte("list"), nil, true), v)
		})
	}
}

// tracing is for a side that tells where its methods have failed, or not.
func tracing(t testing.TB, traces bool) *banana.Copies {
	copies, err := banana.NewCopies(CopyFailures(traces, true))
	require.NoError(t, err)
	return copies
}

func TestFailuresThatCannotBeTakenAreViolations(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	s.publish(1, noneRoot())
	r := p.offer(s, 1)
	failure := func(attributes ...any) func(int64) seq {
		for name, v := range map[string]any{"type": "x.Y", "value": "v", "traceback": "t", "parents": seq{"list"}} {
			if !slices.Contains(attributes, any(name)) {
				attributes = append(attributes, name, v)
			}
		}
		return func(req int64) seq {
			return seq{"error", req, append(seq{"copyable", failureClass}, attributes...)}
		}
	}
	many := seq{"list"}
	for range 101 {
		many = append(many, "x.Y")
	}
	for _, test := range []struct {
		name   string
		answer func(req int64) seq
		text   string
	}{
		{"a type that is far too long", failure("type", pattern(lenient*maxFailureType+1, 1)), ").type: 1601 bytes, at most 1600"},
		{"a text that is far too long", failure("value", pattern(lenient*maxFailureValue+1, 1)), ").value: 8001 bytes"},
		{"a traceback that is far too long", failure("traceback", pattern(lenient*maxFailureTraceback+1, 1)), ").traceback: 16001 bytes"},
		{"a parent that is far too long", failure("parents", seq{"list", pattern(lenient*maxFailureType+1, 1)}), ").parents: 1601 bytes"},
		{"far too many parents", failure("parents", many), "more than 100 parents"},
		{"parents that are no list", failure("parents", "x.Y"), "expected list"},
		{"a text that is a number", failure("value", 5), ").value: expected bytes, got integer"},
		{"an attribute that nobody knows", failure("color", "red"), `unknown attribute "color"`},
		{"an attribute that is missing", func(req int64) seq { return seq{"error", req, seq{"copyable", failureClass, "type", "x.Y"}} }, `missing attribute "parents"`},
		{"a copyable of another class", func(req int64) seq { return seq{"error", req, seq{"copyable", "x.Y"}} }, `copyable of the unknown class "x.Y"`},
		{"a list", func(req int64) seq { return seq{"error", req, seq{"list"}} }, "got list"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, _, err := begin[any](t.Context(), r, "m")
			require.NoError(t, err)
			p.send(test.answer(p.receive().request()))
			err = q.Wait(t.Context())
			var v *banana.Violation
			require.ErrorAs(t, err, &v)
			require.Contains(t, err.Error(), test.text)
			require.Equal(t, Answered, callError(t, err).Sent)
			p.alive()
		})
	}

	// What is longer than Python's limits by its own mistake is taken.
	q, _, err := begin[any](t.Context(), r, "m")
	require.NoError(t, err)
	p.send(failure("type", "x.Y", "value", strings.Repeat("ä", 1000), "traceback", strings.Repeat("ä", 2000), "parents", seq{"list"})(p.receive().request()))
	var f *Failure
	require.ErrorAs(t, q.Wait(t.Context()), &f)
	require.Equal(t, strings.Repeat("ä", 1000), f.Text)
	require.Equal(t, 4000, len(f.Traceback))
	require.True(t, f.IsType("x.Y"))
	r.Close()
}

func TestKeysNestedDeeplyCostNoExponentialTime(t *testing.T) {
	nested := func(leaf int) any {
		var v any = leaf
		for range 150 {
			v = seq{"tuple", v}
		}
		return v
	}
	root := noneRoot(NewMethod("echo", func(_ context.Context, a struct{ V any }) (any, error) { return a.V, nil }))
	_, p := newStranger(t, root)
	p.lookUp()
	p.send(callSeq(2, 1, "echo", seq{"dict", nested(2), 0, nested(1), 0}))
	require.Equal(t, "answer", p.receive().kind()) // or the test would not end
}

func TestOfTwoEqualKeywordsTheLastOneCounts(t *testing.T) {
	type part struct {
		X int `foolscap:"x,optional"`
		Y int `foolscap:"y,optional"`
	}
	got := make(chan part, 1)
	root := noneRoot(NewMethod("put", func(_ context.Context, a struct{ P part }) (any, error) { got <- a.P; return nil, nil }))
	_, p := newStranger(t, root)
	p.lookUp()
	p.send(callSeq(2, 1, "put", keyword{"p", seq{"dict", textSeq("x"), 1, textSeq("y"), 2}}, keyword{"p", seq{"dict", textSeq("x"), 3}}))
	p.receive()
	require.Equal(t, part{X: 3}, <-got, "nothing of the first is left")
}

func TestNoErrorOfALookUpShowsTheName(t *testing.T) {
	const name = "swissnumswissnumswissnumswissnum"
	odd := "na'me \\ with ünusual letters"
	failure := func(req int64, typ, text, trace, parent string) seq {
		return seq{"error", req, seq{"copyable", failureClass, "value", text, "type", typ, "traceback", trace, "parents", seq{"list", parent}}}
	}
	for what, test := range map[string]struct {
		name    string
		payload func(req int64) seq
		text    string // what is left
	}{
		"the text":                     {name, func(req int64) seq { return failure(req, "T", "not "+name+" here", "", "P") }, "not … here"},
		"the type":                     {name, func(req int64) seq { return failure(req, "KeyError: "+name, "x", "", "P") }, "KeyError: …"},
		"the parents":                  {name, func(req int64) seq { return failure(req, "T", "x", "", "Unknown_"+name) }, "T: x"},
		"a part":                       {name, func(req int64) seq { return failure(req, "T", "begins with "+name[:12], "", "P") }, "T: …"},
		"in another notation":          {odd, func(req int64) seq { return failure(req, "T", "not 'na\\'me \\\\ with", "", "P") }, "T: …"},
		"the type in another notation": {odd, func(req int64) seq { return failure(req, "KeyError: 'na\\'me'", "x", "", "P") }, "…: x"},
		"a class":                      {name, func(req int64) seq { return answerSeq(req, seq{"dict", "k", seq{"copyable", name}}) }, "neither a reference nor an error"},
		"an attribute": {name, func(req int64) seq {
			return seq{"error", req, seq{"copyable", failureClass, name, "x", "type", "y", "traceback", "z", "parents", seq{"list"}}}
		}, "neither a reference nor an error"},
		"a type of sequence": {name, func(req int64) seq { return answerSeq(req, seq{name[:15]}) }, "neither a reference nor an error"},
	} {
		t.Run(what, func(t *testing.T) {
			s, p := newPeer(t, nil)
			done := make(chan error, 1)
			go func() {
				_, err := s.GetReference(context.Background(), test.name)
				done <- err
			}()
			p.send(test.payload(p.receive().request()))
			err := within(t, "the look-up ends", done)
			require.ErrorContains(t, err, test.text)
			seen := err.Error()
			if f, ok := errors.AsType[*Failure](err); ok {
				seen += f.Traceback + strings.Join(f.Parents, "")
			}
			require.NotContains(t, seen, test.name[:8])
		})
	}
}

func TestASingleMessageCannotSendTooManyObjects(t *testing.T) {
	objects := func(n int) (all []any) {
		for range n {
			all = append(all, NewObject("", nil))
		}
		return all
	}
	c, s := connect(t, networks[0], nil, noneRoot(NewMethod("take", func(_ context.Context, a struct{ All []any }) (int, error) { return len(a.All), nil })),
		func(c *Config) { c.Limits.MaxReferences = 10 })
	r := c.root(t)
	_, err := call[int](t.Context(), r, "take", objects(11))
	require.ErrorContains(t, err, "MaxReferences")
	same := objects(10)
	for range 2 { // also after one that was given back, and for what is known
		n, err := call[int](t.Context(), r, "take", append(same, same...))
		require.NoError(t, err)
		require.Equal(t, 20, n)
	}
	_ = s
}

func TestACallThatIsAnsweredBeforeItIsSentGoesOutAsItIs(t *testing.T) {
	// Its caller is told, and calls again, while the queue still has the rest.
	for name, open := range map[string]func(testing.TB, *Object, ...func(*Config)) (*side, *peer){"pipe": newPeer, "tcp": newStreamPeer} {
		t.Run(name, func(t *testing.T) {
			s, p := open(t, nil)
			r := p.offer(s, 1)
			data := make([]byte, 8<<20)
			callers := make(chan error)
			go func() {
				callers <- r.Call(t.Context(), "first", Args{Positional: []any{data}}, new(any), anyCodec)
				for range 3 {
					callers <- r.Call(t.Context(), "next", Args{}, new(any), anyCodec)
				}
			}()
			waits := func() bool { return s.Tables().Outbound == 1 }
			eventually(t, "the first call is made", waits)
			p.send(answerSeq(2, noneSeq()))
			require.NoError(t, within(t, "the first call ends", callers))
			eventually(t, "the next call is made", waits)
			require.EqualValues(t, 2, p.receive().request())
			for i := range int64(3) {
				require.EqualValues(t, 3+i, p.receive().request())
				p.send(answerSeq(3+i, noneSeq()))
				require.NoError(t, within(t, "the next call ends", callers))
			}
			r.Close()
		})
	}
}
