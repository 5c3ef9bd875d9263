package tub_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// serve publishes an object in one Tub and returns another one's reference.
func serve(t testing.TB, o *tub.Object) *tub.Ref {
	t.Helper()
	return connect(t, newTub(t, nil), register(t, newServer(t, nil), o))
}

func TestArgumentsAreGivenByPositionAndByName(t *testing.T) {
	type order struct {
		Item     string
		MaxPrice int
		Note     string `foolscap:"remark,optional"`
	}
	ref := serve(t, tub.NewObject(
		tub.Method("order", func(_ context.Context, a order) (string, error) {
			return fmt.Sprintf("%s for %d (%s)", a.Item, a.MaxPrice, a.Note), nil
		}),
		tub.Method("raw", func(_ context.Context, a tub.Args) (string, error) {
			return fmt.Sprintf("%d %d %v", len(a.Positional), len(a.Keyword), a.Keyword["k"]), nil
		}),
		tub.Method("nothing", func(context.Context, tub.None) (tub.None, error) { return tub.None{}, nil }),
	))
	for _, test := range []struct {
		name string
		args []any
		want string
	}{
		{"all by position", []any{"tea", 3, "green"}, "tea for 3 (green)"},
		{"without the optional one", []any{"tea", 3}, "tea for 3 ()"},
		{"all by name", []any{tub.Keywords{"remark": "green", "max_price": 3, "item": "tea"}}, "tea for 3 (green)"},
		{"some by name", []any{"tea", tub.Keywords{"max_price": 3}}, "tea for 3 ()"},
		{"none by name", []any{"tea", 3, tub.Keywords{}}, "tea for 3 ()"},
		{"sorted already", []any{tub.Args{Positional: []any{"tea"}, Keyword: map[string]any{"max_price": 3}}}, "tea for 3 ()"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, call[string](t, ref, "order", test.args...))
		})
	}
	for _, test := range []struct {
		name, says string
		args       []any
	}{
		{"too few", `missing argument "max_price"`, []any{"tea"}},
		{"none", `missing argument "item"`, nil},
		{"too many", "takes 3 arguments, got 4", []any{"tea", 3, "green", "hot"}},
		{"an unknown name", `unknown argument "price"`, []any{"tea", 3, tub.Keywords{"price": 3}}},
		{"one given twice", `"item" is given by position and by name`, []any{"tea", tub.Keywords{"item": "tea", "max_price": 3}}},
		{"one of another type", `argument "max_price": expected int`, []any{"tea", "3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := tub.Call[string](within(t), ref, "order", test.args...)
			var failure *tub.Failure
			require.ErrorAs(t, err, &failure)
			assert.True(t, failure.IsType("foolscap.tokens.Violation"), failure.Type)
			assert.ErrorContains(t, err, test.says)
		})
	}
	assert.Equal(t, "2 1 v", call[string](t, ref, "raw", 1, nil, tub.Keywords{"k": "v"}))
	assert.Equal(t, "0 0 <nil>", call[string](t, ref, "raw"))
	assert.Equal(t, tub.None{}, call[tub.None](t, ref, "nothing"))
	assert.Nil(t, call[any](t, ref, "nothing"))
}

func TestResultsComeInTheTypeThatIsAskedFor(t *testing.T) {
	ref := serve(t, calculator())
	type point struct{ X, Y int }
	assert.Equal(t, 7, call[int](t, ref, "echo", 7))
	assert.Equal(t, uint8(7), call[uint8](t, ref, "echo", 7))
	assert.Equal(t, 7.0, call[float64](t, ref, "echo", 7))
	assert.Equal(t, 7, *call[*int](t, ref, "echo", 7))
	assert.Equal(t, big.NewInt(7), call[*big.Int](t, ref, "echo", 7))
	assert.Equal(t, int64(7), call[any](t, ref, "echo", 7))
	assert.Equal(t, "7", call[string](t, ref, "echo", "7"))
	assert.Equal(t, []byte("7"), call[[]byte](t, ref, "echo", []byte("7")))
	assert.Equal(t, []int{1, 2}, call[[]int](t, ref, "echo", []any{1, 2}))
	assert.Equal(t, map[string]int{"a": 1}, call[map[string]int](t, ref, "echo", map[string]any{"a": 1}))
	assert.Equal(t, point{1, 2}, call[point](t, ref, "echo", map[string]int{"x": 1, "y": 2}))
	assert.Equal(t, map[string]int{"x": 1, "y": 2}, call[map[string]int](t, ref, "echo", point{1, 2}))
	assert.Equal(t, banana.Tuple{int64(1), "x"}, call[any](t, ref, "echo", banana.Tuple{1, "x"}))
	assert.Equal(t, tub.None{}, call[tub.None](t, ref, "echo", nil))
	assert.Nil(t, call[*int](t, ref, "echo", nil))
}

func TestAResultOfAnotherTypeIsAViolationThatSaysWhere(t *testing.T) {
	ref := serve(t, calculator())
	bad := func(err error, places ...string) {
		t.Helper()
		var failed *tub.CallError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, tub.Answered, failed.Sent)
		var violation *banana.Violation
		require.ErrorAs(t, err, &violation)
		for _, place := range append(places, "result", "echo") {
			assert.ErrorContains(t, err, place)
		}
	}
	_, err := tub.Call[int](within(t), ref, "echo", "seven")
	bad(err, "expected int")
	_, err = tub.Call[int8](within(t), ref, "echo", 300)
	bad(err, "int8")
	_, err = tub.Call[[]int](within(t), ref, "echo", []any{1, "two"})
	bad(err, "[1]", "expected int")
	_, err = tub.Call[map[string][]int](within(t), ref, "echo", map[string]any{"a": []any{1, nil}})
	bad(err, `["a"]`, "[1]")
	_, err = tub.Call[tub.None](within(t), ref, "echo", 1)
	bad(err, "none")
	_, err = tub.Call[*tub.Ref](within(t), ref, "echo", 1)
	bad(err, "reference")
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2), "the connection lives")
}

func TestWhatHasNoFormOnTheWireIsNotSent(t *testing.T) {
	ref := serve(t, calculator())
	_, err := tub.Call[chan int](within(t), ref, "echo", 1)
	assertNotSent(t, err)
	_, err = tub.Start[func()](within(t), ref, "echo", 1)
	assertNotSent(t, err)
	for name, bad := range map[string]any{
		"a function": func() {}, "a channel": make(chan int), "one within": []any{1, func() {}}, "keywords that are not the last": tub.Keywords{"f": func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tub.Call[any](within(t), ref, "echo", 1, bad, 1)
			assertNotSent(t, err)
			var encoding *banana.EncodeError
			assert.ErrorAs(t, err, &encoding)
			assert.ErrorContains(t, err, "argument 1")
			assertNotSent(t, tub.Send(within(t), ref, "echo", 1, bad, 1))
			_, err = tub.Start[any](within(t), ref, "echo", 1, bad, 1)
			assertNotSent(t, err)
		})
	}
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
}

func TestStartedCallsRunInTheirOrderAndAreWaitedForInAny(t *testing.T) {
	var order []int
	ref := serve(t, tub.NewObject(tub.Method("note", func(_ context.Context, a struct{ Values []int }) (int, error) {
		order = append(order, a.Values[0])
		return a.Values[0] * 2, nil
	})))
	const n = 200
	pending := make([]*tub.Pending[int], n)
	values := []int{0}
	for i := range pending {
		values[0] = i
		var err error
		pending[i], err = tub.Start[int](within(t), ref, "note", values)
		require.NoError(t, err)
		values[0] = -1 // it has been taken
	}
	for i := n - 1; i >= 0; i-- {
		v, err := pending[i].Wait(within(t))
		require.NoError(t, err)
		assert.Equal(t, 2*i, v)
	}
	require.Len(t, order, n)
	for i := range order {
		assert.Equal(t, i, order[i])
	}
}

func TestACallThatIsGivenUpReturnsAtOnce(t *testing.T) {
	release := make(chan struct{})
	ref := serve(t, tub.NewObject(
		tub.Method("block", func(ctx context.Context, _ tub.None) (tub.None, error) { <-release; return tub.None{}, nil }, tub.Concurrent),
	))
	defer close(release)
	cause := errors.New("enough")
	given := func(err error) {
		t.Helper()
		var failed *tub.CallError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, tub.MayHaveRun, failed.Sent)
		assert.Equal(t, "block", failed.Method)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, cause)
	}
	p, err := tub.Start[tub.None](within(t), ref, "block")
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err = p.Wait(ctx)
	given(err)
	_, err = tub.Call[tub.None](ctx, ref, "block")
	assertNotSent(t, err, context.Canceled, cause)
	assertNotSent(t, tub.Send(ctx, ref, "block"), context.Canceled)

	running, stop := context.WithCancelCause(t.Context())
	go stop(cause)
	for err = nil; err == nil || isNotSent(err); {
		_, err = tub.Call[tub.None](running, ref, "block")
		if isNotSent(err) { // it was cancelled even before it was sent
			running, stop = context.WithCancelCause(t.Context())
			go stop(cause)
		}
	}
	given(err)
}

func isNotSent(err error) bool {
	var failed *tub.CallError
	return errors.As(err, &failed) && failed.Sent == tub.NotSent
}

func TestACallWithoutAnswerRunsInItsTurn(t *testing.T) {
	got := make(chan string, 3)
	ref := serve(t, tub.NewObject(tub.Method("note", func(_ context.Context, a struct{ Text string }) (tub.None, error) {
		got <- a.Text
		return tub.None{}, errors.New("nobody hears of this")
	})))
	require.NoError(t, tub.Send(within(t), ref, "note", "first"))
	require.NoError(t, tub.Send(within(t), ref, "no such method"))
	require.NoError(t, tub.Send(within(t), ref, "note", tub.Keywords{"text": "second"}))
	_, err := tub.Call[any](within(t), ref, "note", "third")
	assert.ErrorContains(t, err, "nobody hears of this")
	assert.Equal(t, []string{"first", "second", "third"}, []string{<-got, <-got, <-got})
}

type fullError struct{ free int }

func (e *fullError) Error() string { return fmt.Sprintf("only %d left", e.free) }
func (e *fullError) RemoteType() (string, []string) {
	return "example.Full", []string{"example.Full", "builtins.OSError"}
}

func TestErrorsOfMethodsCrossTheWire(t *testing.T) {
	var log logs
	server := newServer(t, &tub.Options{Logger: log.logger()})
	ref := connect(t, newTub(t, nil), register(t, server, tub.NewObject(
		tub.Method("plain", func(context.Context, tub.None) (int, error) { return 0, errors.New("just so") }),
		tub.Method("typed", func(context.Context, tub.None) (int, error) { return 0, fmt.Errorf("storing: %w", &fullError{3}) }),
		tub.Method("panic", func(context.Context, tub.None) (int, error) { panic("oh no") }),
		tub.Method("unsendable", func(context.Context, tub.None) (any, error) { return func() {}, nil }),
	)))
	failure := func(method string) *tub.Failure {
		t.Helper()
		_, err := tub.Call[int](within(t), ref, method)
		var failed *tub.CallError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, tub.Answered, failed.Sent)
		assert.Equal(t, method, failed.Method)
		assert.Equal(t, server.TubID(), failed.Peer)
		var f *tub.Failure
		require.ErrorAs(t, err, &f)
		return f
	}
	assert.Equal(t, "just so", failure("plain").Text)
	typed := failure("typed")
	assert.Equal(t, "example.Full", typed.Type)
	assert.Equal(t, "storing: only 3 left", typed.Text)
	assert.True(t, typed.IsType("builtins.OSError"))
	assert.False(t, typed.IsType("builtins.KeyError"))
	panicked := failure("panic")
	assert.Contains(t, panicked.Text, "oh no")
	assert.NotContains(t, panicked.Traceback, "call_test.go", "stacks stay at home")
	assert.Contains(t, log.String(), "call_test.go", "where they are logged")
	assert.True(t, failure("unsendable").IsType("foolscap.tokens.Violation"))
	assert.True(t, failure("missing").IsType("builtins.AttributeError"))
}

func TestTracesTravelWhereBothSidesWantThat(t *testing.T) {
	for _, test := range []struct{ sends, keeps bool }{{true, true}, {true, false}, {false, true}} {
		server, client := newServer(t, &tub.Options{TracesToPeers: test.sends}), newTub(t, &tub.Options{TracesFromPeers: test.keeps})
		ref := connect(t, client, register(t, server, tub.NewObject(
			tub.Method("panic", func(context.Context, tub.None) (int, error) { panic("oh no") }),
			tub.Method("pass_on", func(context.Context, tub.None) (int, error) {
				return 0, fmt.Errorf("there: %w", &tub.Failure{Type: "a.B", Traceback: "goroutine of another"})
			}),
			tub.Method("tell", func(context.Context, tub.None) (any, error) {
				return &tub.Failure{Type: "a.B", Traceback: "goroutine of another"}, nil
			}),
		)))
		value := call[*tub.Failure](t, ref, "tell")
		for _, method := range []string{"panic", "pass_on", "tell"} {
			f := value
			if method != "tell" {
				_, err := tub.Call[int](within(t), ref, method)
				require.ErrorAs(t, err, &f)
			}
			assert.Equal(t, test.sends && test.keeps, strings.Contains(f.Traceback, "goroutine"), "%v %s", test, method)
			if !test.keeps {
				assert.Empty(t, f.Traceback)
			}
		}
	}
}

func TestErrorsAreMatchedByTheNameOfTheirClass(t *testing.T) {
	const full, busy = tub.RemoteType("example.Full"), tub.RemoteType("example.Busy")
	cause := errors.New("no room")
	assert.NoError(t, tub.Raise(full, nil))
	raised := tub.Raise(full, cause, "builtins.OSError")
	ref := connect(t, newTub(t, nil), register(t, newServer(t, nil), tub.NewObject(
		tub.Method("fail", func(_ context.Context, a struct{ N int }) (int, error) {
			return 0, []error{raised, fmt.Errorf("here: %w", raised), errors.Join(cause, raised)}[a.N]
		}),
	)))
	for n, text := range []string{"no room", "here: no room", "no room\nno room"} {
		_, err := tub.Call[int](within(t), ref, "fail", n)
		var f *tub.Failure
		require.ErrorAs(t, err, &f)
		assert.Equal(t, &tub.Failure{Type: "example.Full", Text: text, Parents: []string{"example.Full", "builtins.OSError", "builtins.Exception"}}, f)
		for _, err := range []error{err, raised} { // the same there and here
			assert.ErrorIs(t, err, full)
			assert.ErrorIs(t, err, tub.RemoteType("builtins.OSError"))
			assert.ErrorIs(t, err, tub.RemoteType("builtins.Exception"))
			assert.NotErrorIs(t, err, busy)
			assert.NotErrorIs(t, err, errors.New("example.Full"))
		}
	}
	assert.ErrorIs(t, raised, cause)
}

// interface of an object, as a program may have it anyway.
type store interface {
	GetVersion(ctx context.Context, a struct{}) (string, error)
	PutHTTPValue(ctx context.Context, a struct{ Key string }) (int, error)
}

type memoryStore struct{}

func (memoryStore) GetVersion(context.Context, struct{}) (string, error) { return "1.0", nil }
func (memoryStore) PutHTTPValue(_ context.Context, a struct{ Key string }) (int, error) {
	return len(a.Key), nil
}
func (memoryStore) Destroy(context.Context, struct{}) (tub.None, error) {
	panic("this is not in the interface")
}

func TestTheMethodsOfAnInterfaceAndNoOthersAreExposed(t *testing.T) {
	ref := serve(t, tub.NewObject(tub.MethodsOf[store](memoryStore{}, nil)))
	assert.Equal(t, "1.0", call[string](t, ref, "get_version"))
	assert.Equal(t, 3, call[int](t, ref, "put_http_value", tub.Keywords{"key": "abc"}))
	for _, name := range []string{"destroy", "Destroy", "GetVersion", "getReferenceByName", "decref"} {
		_, err := tub.Call[any](within(t), ref, name)
		assert.ErrorContains(t, err, "no method", name)
	}

	ref = serve(t, tub.NewObject(
		tub.Interface("RIStore.example.org"),
		tub.MethodsOf[store](memoryStore{}, tub.Names{"GetVersion": "remoteVersion"}, tub.Concurrent),
		tub.Method("more", func(context.Context, tub.None) (int, error) { return 1, nil }),
	))
	assert.Equal(t, "1.0", call[string](t, ref, "remoteVersion"))
	assert.Equal(t, 3, call[int](t, ref, "put_http_value", "abc"))
	assert.Equal(t, 1, call[int](t, ref, "more"))
	assert.Equal(t, "RIStore.example.org", ref.Interface())
	_, err := tub.Call[any](within(t), ref, "get_version")
	assert.ErrorContains(t, err, "no method")
}

type (
	oddInterface    interface{ Odd(a int) int }
	hiddenInterface interface {
		hidden(context.Context, struct{}) (int, error)
	}
	unsendableResult interface {
		Get(context.Context, struct{}) (chan int, error)
	}
)

type oddities struct{}

func (oddities) Odd(a int) int                                   { return a }
func (oddities) hidden(context.Context, struct{}) (int, error)   { return 0, nil }
func (oddities) Get(context.Context, struct{}) (chan int, error) { return nil, nil }

func TestMistakesInObjectsShowWhenTheyAreMade(t *testing.T) {
	add := func(context.Context, struct{ A int }) (int, error) { return 0, nil }
	for name, test := range map[string]struct {
		says string
		make func()
	}{
		"arguments that are no struct": {"have to be a struct", func() {
			tub.Method("x", func(context.Context, int) (int, error) { return 0, nil })
		}},
		"an argument without a form": {"x", func() {
			tub.Method("x", func(context.Context, struct{ F func() }) (int, error) { return 0, nil })
		}},
		"a result without a form": {"x", func() {
			tub.Method("x", func(context.Context, struct{}) (chan int, error) { return nil, nil })
		}},
		"two methods of a name":        {`"x"`, func() { tub.NewObject(tub.Method("x", add), tub.Method("x", add)) }},
		"a type that is no interface":  {"interface", func() { tub.MethodsOf(memoryStore{}, nil) }},
		"no implementation":            {"no implementation", func() { tub.MethodsOf[store](nil, nil) }},
		"another form of method":       {"Odd", func() { tub.MethodsOf[oddInterface](oddities{}, tub.Names{"Odd": "Odd"}) }},
		"a method that nobody may see": {"hidden", func() { tub.MethodsOf[hiddenInterface](oddities{}, nil) }},
		"a result that cannot be sent": {"get", func() { tub.MethodsOf[unsendableResult](oddities{}, nil) }},
		"a name for what is not there": {"GetVersoin", func() { tub.MethodsOf[store](memoryStore{}, tub.Names{"GetVersoin": "v"}) }},
		"a name that is given twice": {`"v"`, func() {
			tub.NewObject(tub.MethodsOf[store](memoryStore{}, tub.Names{"GetVersion": "v", "PutHTTPValue": "v"}))
		}},
		"an argument that cannot be read": {"x", func() { tub.Method("x", func(context.Context, struct{ C chan int }) (int, error) { return 0, nil }) }},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				r := recover()
				require.NotNil(t, r)
				assert.Contains(t, fmt.Sprint(r), test.says)
				assert.Contains(t, fmt.Sprint(r), "foolscap: ")
			}()
			test.make()
		})
	}
}

func TestAnObjectCarriesWhatTheProgramGivesIt(t *testing.T) {
	o := tub.NewObject(tub.Value(42), tub.Interface("RI"))
	assert.Equal(t, 42, o.Value())
	assert.Equal(t, "RI", o.Interface())
	assert.Nil(t, tub.NewObject().Value())
}

// gate is a method that says when it has begun and waits.
type gate struct {
	begun, proceed chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}), make(chan struct{})} }

func (g *gate) method(name string, first func(ctx context.Context), opts ...tub.MethodOption) tub.Part {
	return tub.Method(name, func(ctx context.Context, _ tub.None) (string, error) {
		if first != nil {
			first(ctx)
		}
		close(g.begun)
		<-g.proceed
		return name, nil
	}, opts...)
}

func TestAMethodKeepsItsTurnUnlessItGivesItUp(t *testing.T) {
	for name, test := range map[string]struct {
		part func(g *gate) tub.Part
		keep bool
	}{
		"one like any other": {func(g *gate) tub.Part { return g.method("slow", nil) }, true},
		"one that yields":    {func(g *gate) tub.Part { return g.method("slow", tub.Yield) }, false},
		"one that is concurrent": {func(g *gate) tub.Part {
			return g.method("slow", nil, tub.Concurrent)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			ran := make(chan struct{})
			ref := serve(t, tub.NewObject(test.part(g), tub.Method("quick", func(context.Context, tub.None) (string, error) {
				close(ran)
				return "quick", nil
			})))
			slow, err := tub.Start[string](within(t), ref, "slow")
			require.NoError(t, err)
			quick, err := tub.Start[string](within(t), ref, "quick")
			require.NoError(t, err)
			<-g.begun
			if test.keep {
				_, err := tub.Call[any](within(t), ref, "missing")
				require.Error(t, err, "this is answered out of turn, so the other one has arrived")
				select {
				case <-ran:
					t.Error("it ran out of its turn")
				default:
				}
				close(g.proceed)
				_, err = slow.Wait(within(t))
				require.NoError(t, err)
				_, err = quick.Wait(within(t))
				require.NoError(t, err)
				return
			}
			_, err = quick.Wait(within(t))
			require.NoError(t, err)
			close(g.proceed)
			_, err = slow.Wait(within(t))
			require.NoError(t, err)
		})
	}
	tub.Yield(t.Context()) // elsewhere it does nothing
}

// A method that waits for somebody else does not keep others waiting, whatever
// it waits for.
func TestAMethodThatConnectsGivesUpItsTurn(t *testing.T) {
	for name, wait := range map[string]func(ctx context.Context, server *tub.Tub, f furl.FURL){
		"by Connect": func(ctx context.Context, server *tub.Tub, f furl.FURL) { server.Connect(ctx, f) },
		"by a Ref":   func(ctx context.Context, server *tub.Tub, f furl.FURL) { tub.Call[any](ctx, server.Ref(f), "x") },
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, nil)
			h := handle(t, server, map[string]dial{"x": hang})
			f := named(t, newIdentity(t).TubID(), "x:y")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ref := connect(t, newTub(t, nil), register(t, server, tub.NewObject(
				tub.Method("wait", func(call context.Context, _ tub.None) (tub.None, error) {
					call, stop := context.WithCancel(call)
					defer stop()
					defer context.AfterFunc(ctx, stop)()
					wait(call, server, f)
					return tub.None{}, nil
				}),
				tub.Method("quick", func(context.Context, tub.None) (int, error) { return len(h.seen()), nil }),
			)))
			waiting, err := tub.Start[tub.None](within(t), ref, "wait")
			require.NoError(t, err)
			eventually(t, func() bool { return len(h.seen()) == 1 }, "it dials")
			assert.Equal(t, 1, call[int](t, ref, "quick"))
			cancel()
			_, err = waiting.Wait(within(t))
			require.NoError(t, err)
		})
	}
}

func TestWhoWaitsForAnotherToConnectGivesUpHisTurn(t *testing.T) {
	server := newServer(t, nil)
	h := handle(t, server, map[string]dial{"x": hang})
	shared := server.Ref(named(t, newIdentity(t).TubID(), "x:y"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var first sync.WaitGroup
	first.Go(func() { tub.Call[any](ctx, shared, "x") })
	eventually(t, func() bool { return len(h.seen()) == 1 }, "somebody connects")
	begun := make(chan struct{})
	ref := connect(t, newTub(t, nil), register(t, server, tub.NewObject(
		tub.Method("wait", func(call context.Context, _ tub.None) (tub.None, error) {
			call, stop := context.WithCancel(call)
			defer stop()
			defer context.AfterFunc(ctx, stop)()
			close(begun)
			tub.Call[any](call, shared, "x")
			return tub.None{}, nil
		}),
		tub.Method("quick", func(context.Context, tub.None) (int, error) { return 1, nil }),
	)))
	waiting, err := tub.Start[tub.None](within(t), ref, "wait")
	require.NoError(t, err)
	<-begun
	assert.Equal(t, 1, call[int](t, ref, "quick"))
	cancel()
	_, err = waiting.Wait(within(t))
	require.NoError(t, err)
	first.Wait()
}

func TestTubsCallBackWithinACall(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	ref := connect(t, client, register(t, server, tub.NewObject(
		tub.Method("fold", func(ctx context.Context, a struct {
			F      *tub.Ref
			Values []int
		}) (int, error) {
			sum := 0
			for _, v := range a.Values {
				var err error
				if sum, err = tub.Call[int](ctx, a.F, "step", sum, v); err != nil {
					return 0, err
				}
			}
			return sum, nil
		}),
	)))
	step := tub.NewObject(tub.Method("step", func(ctx context.Context, a struct{ Sum, Value int }) (int, error) {
		if a.Value < 0 {
			return 0, errors.New("only gains, please")
		}
		if a.Value == 100 { // and back again
			return tub.Call[int](ctx, ref, "fold", tub.NewObject(
				tub.Method("step", func(_ context.Context, a struct{ Sum, Value int }) (int, error) { return a.Sum + a.Value, nil }),
			), []int{a.Sum, 1000})
		}
		return a.Sum + a.Value, nil
	}))
	assert.Equal(t, 6, call[int](t, ref, "fold", step, []int{1, 2, 3}))
	assert.Equal(t, 1003, call[int](t, ref, "fold", step, []int{1, 2, 100}))
	_, err := tub.Call[int](within(t), ref, "fold", step, []int{1, -1})
	assert.ErrorContains(t, err, "only gains, please")
}

func TestTheContextOfAMethodEndsWithItsConnection(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	server, client := newServer(t, nil), newTub(t, nil)
	ref := connect(t, client, register(t, server, tub.NewObject(
		tub.Method("wait", func(ctx context.Context, _ tub.None) (tub.None, error) {
			close(begun)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return tub.None{}, nil
		}),
	)))
	p, err := tub.Start[tub.None](within(t), ref, "wait")
	require.NoError(t, err)
	<-begun
	require.NoError(t, client.Close())
	assert.ErrorIs(t, <-ended, tub.ErrLost)
	_, err = p.Wait(within(t))
	assert.ErrorIs(t, err, tub.ErrDeadReference)
	assert.ErrorIs(t, err, tub.ErrClosed)
	var failed *tub.CallError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, tub.MayHaveRun, failed.Sent)
}

func TestLongValuesGoThrough(t *testing.T) {
	ref := serve(t, calculator())
	data := []byte(strings.Repeat("0123456789abcdef", 1<<16))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { assert.Equal(t, len(data), len(call[[]byte](t, ref, "echo", data))) })
	}
	wg.Wait()
}
