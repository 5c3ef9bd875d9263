package tub_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
	"github.com/foolscap-go/foolscap/tub"
)

func parseInterface(t testing.TB, text string) *schema.Interface {
	t.Helper()
	i, err := schema.ParseInterface(text)
	require.NoError(t, err)
	return i
}

const libraryText = `interface RILibrary.example.org
  read(name: text(max=5), size: optional(int(min=1, max=100), default=7)) -> bytes(max=10)
  shelf(books: list(text(max=3), max=2)) -> int
  lend(to: interface("RIReader.example.org"), rest: any) -> none
  misprint(length: int) -> bytes(max=10)
`

// library returns the methods of an object that does what libraryText says; nobody holds it to that yet. What the
// methods were called with goes to calls.
func library(calls *[]any) []tub.Part {
	note := func(v ...any) { *calls = append(*calls, v...) }
	return []tub.Part{
		tub.Method("read", func(_ context.Context, a struct {
			Name string
			Size int `foolscap:",optional"`
		}) ([]byte, error) {
			note(a.Name, a.Size)
			return []byte(a.Name), nil
		}),
		tub.Method("shelf", func(_ context.Context, a struct{ Books []string }) (int, error) {
			note(a.Books)
			return len(a.Books), nil
		}),
		tub.Method("lend", func(_ context.Context, a struct {
			To   *tub.Ref
			Rest any
		}) (tub.None, error) {
			note(a.To.Interface())
			return tub.None{}, nil
		}),
		tub.Method("misprint", func(_ context.Context, a struct{ Length int }) ([]byte, error) {
			note(a.Length)
			return make([]byte, a.Length), nil
		}),
	}
}

// libraryCalls are calls with what is wrong with them.
var libraryCalls = []struct {
	name   string
	method string
	args   func() []any
	wrong  string // "" if nothing is
	seen   []any  // by the method
}{
	{"a legal call", "read", func() []any { return []any{"book", 50} }, "", []any{"book", 50}},
	{"an argument that is left out gets its default", "read", func() []any { return []any{"book"} }, "", []any{"book", 7}},
	{"a text that is too long", "read", func() []any { return []any{strings.Repeat("x", 1000)} }, `argument "name" of read`, nil},
	{"an integer beyond its range", "read", func() []any { return []any{"book", 101} }, `argument "size" of read`, nil},
	{"a wrong type", "read", func() []any { return []any{[]byte("book")} }, `argument "name" of read`, nil},
	{"by keyword", "read", func() []any { return []any{tub.Keywords{"name": "book", "size": 0}} }, `argument "size" of read`, nil},
	{"an argument that is missing", "read", func() []any { return nil }, `missing argument "name"`, nil},
	{"an argument too many", "read", func() []any { return []any{"book", 1, 2} }, "takes 2 arguments, got 3", nil},
	{"an argument of another name", "read", func() []any { return []any{"book", tub.Keywords{"colour": 1}} }, `unknown argument "colour"`, nil},
	{"an argument twice", "read", func() []any { return []any{"book", tub.Keywords{"name": "b"}} }, `argument "name" is given by position and by name`, nil},
	{"one element too many", "shelf", func() []any { return []any{[]string{"a", "b", "c"}} }, `argument "books"[2] of shelf`, nil},
	{"an element that is too long", "shelf", func() []any { return []any{[]string{"a", "long"}} }, `argument "books"[1] of shelf`, nil},
	{"a legal list", "shelf", func() []any { return []any{[]string{"a", "b"}} }, "", []any{[]string{"a", "b"}}},
	{"the right interface", "lend", func() []any { return []any{tub.NewObject(tub.Interface("RIReader.example.org")), nil} }, "", []any{"RIReader.example.org"}},
	{"another interface", "lend", func() []any {
		return []any{tub.NewObject(tub.Interface("RIWriter.example.org")), banana.NewList(tub.NewObject())}
	}, `argument "to" of lend`, nil},
	{"a method that there is not", "burn", func() []any { return nil }, "burn", nil},
	{"a result that is too long", "misprint", func() []any { return []any{11} }, "result of misprint", []any{11}},
}

// Each of the four places objects by itself: a caller who knows the interface before it sends, a callee who enforces it
// while it reads; a callee before it answers, and a caller while it reads the answer.
func TestARemoteInterfaceIsEnforcedAtEachOfFourPlaces(t *testing.T) {
	i := parseInterface(t, libraryText)
	for _, test := range []struct {
		name           string
		caller, callee bool // who enforces
	}{{"the callee", false, true}, {"the caller", true, false}, {"both", true, true}} {
		t.Run(test.name, func(t *testing.T) {
			var calls []any
			parts := library(&calls)
			if test.callee {
				parts = append(parts, tub.Implements(i))
			} else {
				parts = append(parts, tub.Interface(i.Name))
			}
			server := newServer(t, nil)
			var opts tub.Options
			if test.caller {
				opts.Interfaces = []*schema.Interface{i}
			}
			ref := connect(t, newTub(t, &opts), register(t, server, tub.NewObject(parts...)))
			assert.True(t, ref.Implements(i.Name))
			for _, c := range libraryCalls {
				calls = nil
				_, err := tub.Call[any](within(t), ref, c.method, c.args()...)
				if c.wrong == "" {
					require.NoError(t, err, c.name)
					if c.seen[0] == "book" && len(c.seen) == 2 && c.seen[1] == 7 && !test.callee {
						c.seen = []any{"book", 0} // the default is the callee's to know
					}
					assert.Equal(t, c.seen, calls, c.name)
					continue
				}
				require.Error(t, err, c.name)
				assert.ErrorContains(t, err, c.wrong, c.name)
				assert.Equal(t, c.seen, calls, "%s: what the method sees", c.name)
				var call *tub.CallError
				require.ErrorAs(t, err, &call, c.name)
				if test.caller && c.seen == nil {
					assert.Equal(t, tub.NotSent, call.Sent, c.name)
					var v *banana.Violation
					assert.ErrorAs(t, err, &v, c.name)
				} else {
					assert.Equal(t, tub.Answered, call.Sent, c.name)
				}
			}
			assert.Equal(t, "book", string(call[[]byte](t, ref, "read", "book")), "the connection lives")
		})
	}
}

func TestAReferenceCanBeHeldToAnInterfaceByItsHolder(t *testing.T) {
	i := parseInterface(t, libraryText)
	server, client := newServer(t, nil), newTub(t, nil)
	var calls []any
	f := register(t, server, tub.NewObject(library(&calls)...))
	giver := register(t, server, tub.NewObject(tub.Method("get", func(context.Context, tub.None) (*tub.Object, error) {
		return tub.NewObject(library(&calls)...), nil
	})))
	promised := func() *tub.Ref {
		r, err := tub.Promise(within(t), connect(t, client, giver), "get")
		require.NoError(t, err)
		return r
	}
	for name, ref := range map[string]*tub.Ref{"live": connect(t, client, f), "unresolved": client.Ref(f), "promised": promised()} {
		t.Run(name, func(t *testing.T) {
			ref.Assume(i)
			for range 2 { // resolved the second time
				_, err := tub.Call[any](within(t), ref, "read", "a long name")
				assert.ErrorContains(t, err, `argument "name" of read`)
				_, err = tub.Call[any](within(t), ref, "misprint", 11)
				assert.ErrorContains(t, err, "result of misprint")
				assert.ErrorContains(t, tub.Send(within(t), ref, "shelf", []string{"a", "b", "c"}), `argument "books"`)
				pending, err := tub.Start[any](within(t), ref, "misprint", 10)
				require.NoError(t, err)
				_, err = pending.Wait(within(t))
				assert.NoError(t, err)
			}
			assert.True(t, ref.Implements(i.Name))
			assert.False(t, ref.Implements("RIOther.example.org"))
		})
	}
}

func TestWhatForwardsToADeclaredObjectIsHeldToItsInterface(t *testing.T) {
	var calls []any
	o := tub.NewObject(append(library(&calls), tub.Implements(parseInterface(t, libraryText)))...)
	forwarder, _ := tub.Forward(o, tub.ForwardOptions{})
	server, client := newServer(t, nil), newTub(t, nil)
	for name, o := range map[string]*tub.Object{"a facet": tub.NewObject(tub.Facet(o, "read", "misprint")), "a forwarder": forwarder} {
		ref := connect(t, client, register(t, server, o))
		_, err := tub.Call[any](within(t), ref, "read", "a long name")
		assert.ErrorContains(t, err, `argument "name" of read`, name)
		_, err = tub.Call[any](within(t), ref, "misprint", 11)
		assert.ErrorContains(t, err, "result of misprint", name)
	}
}

// A pipelined call whose object was not known when its arguments came is held to the interface all the same.
func TestPipelinedCallsAreHeldToTheInterface(t *testing.T) {
	i := parseInterface(t, libraryText)
	var calls []any
	server, client := newServer(t, nil), newTub(t, nil)
	ref := connect(t, client, register(t, server, tub.NewObject(tub.Method("get", func(context.Context, tub.None) (*tub.Object, error) {
		return tub.NewObject(append(library(&calls), tub.Implements(i))...), nil
	}))))
	for range 20 {
		p, err := tub.Promise(within(t), ref, "get")
		require.NoError(t, err)
		_, err = tub.Call[any](within(t), p, "read", "a long name")
		assert.ErrorContains(t, err, `argument "name" of read`)
		assert.Equal(t, "book", string(call[[]byte](t, p, "read", "book")))
		p.Close()
	}
	assert.NotContains(t, calls, "a long name")
}

// Methods with Args take what the interface has, and get its defaults.
func TestMethodsThatTakeAnythingAreHeldToTheInterface(t *testing.T) {
	i := parseInterface(t, `interface RILoose.example.org
  strict(a: int, b: optional(int, default=2)) -> any
  ignoring(a: int, unknown=ignore) -> any
  accepting(a: int, unknown=accept) -> any
  anything(...)
`)
	show := func(_ context.Context, a tub.Args) (any, error) {
		keywords := banana.NewDict()
		for name, v := range a.Keyword {
			if err := keywords.Set(name, v); err != nil {
				return nil, err
			}
		}
		return banana.NewList(banana.NewList(a.Positional...), keywords), nil
	}
	type one struct{ A int }
	parts := []tub.Part{tub.Implements(i)}
	for _, name := range []string{"strict", "ignoring", "accepting", "anything"} {
		parts = append(parts, tub.Method(name, show))
	}
	server, client := newServer(t, nil), newTub(t, nil)
	ref := connect(t, client, register(t, server, tub.NewObject(parts...)))
	list, dict := banana.NewList, banana.NewDict
	assert.Equal(t, list(list(int64(1)), dict("b", int64(2))), call[any](t, ref, "strict", 1))
	assert.Equal(t, list(list(), dict("a", int64(1), "b", int64(3))), call[any](t, ref, "strict", tub.Keywords{"a": 1, "b": 3}))
	assert.Equal(t, list(list(int64(1)), dict()), call[any](t, ref, "ignoring", 1, tub.Keywords{"x": "y"}))
	assert.Equal(t, list(list(int64(1)), dict("x", "y")), call[any](t, ref, "accepting", 1, tub.Keywords{"x": "y"}))
	assert.Equal(t, list(list("x", "y"), dict()), call[any](t, ref, "anything", "x", "y"))
	for _, wrong := range [][]any{{"x"}, {1, 2, 3}, {}, {tub.Keywords{"a": "x"}}, {1, tub.Keywords{"c": 1}}} {
		_, err := tub.Call[any](within(t), ref, "strict", wrong...)
		assert.ErrorContains(t, err, "foolscap.tokens.Violation", "%v", wrong)
	}

	// With a struct unknown ones are dropped.
	loose := parseInterface(t, "interface RILoose.example.org\n  f(a: int, unknown=accept) -> int\n")
	ref = connect(t, client, register(t, server, tub.NewObject(tub.Implements(loose),
		tub.Method("f", func(_ context.Context, a one) (int, error) { return a.A, nil }))))
	assert.Equal(t, 1, call[int](t, ref, "f", 1, tub.Keywords{"x": banana.NewList("y")}))
}

func TestAnObjectHasJustTheMethodsOfItsInterface(t *testing.T) {
	i := parseInterface(t, "interface RIOne.example.org\n  f(a: int, b: text) -> none\n")
	none := func(context.Context, tub.None) (tub.None, error) { return tub.None{}, nil }
	f := tub.Method("f", func(context.Context, struct {
		A int
		B string
	}) (tub.None, error) {
		return tub.None{}, nil
	})
	for _, test := range []struct {
		wrong string
		parts []tub.Part
	}{
		{`method "f" of RIOne.example.org is missing`, nil},
		{`RIOne.example.org has no method "g"`, []tub.Part{f, tub.Method("g", none)}},
		{"it takes 0 arguments, and 2 in the interface", []tub.Part{tub.Method("f", none)}},
		{`argument 0 is "b", and "a" in the interface`, []tub.Part{tub.Method("f", func(context.Context, struct {
			B string
			A int
		}) (tub.None, error) {
			return tub.None{}, nil
		})}},
	} {
		func() {
			defer func() { assert.Contains(t, recover(), test.wrong) }()
			tub.NewObject(append(test.parts, tub.Implements(i))...)
		}()
	}
	o := tub.NewObject(f, tub.Implements(i))
	assert.Equal(t, i.Name, o.Interface())
	assert.True(t, o.Implements(i.Name))
	_, err := tub.New(newIdentity(t), &tub.Options{Interfaces: []*schema.Interface{i, i}})
	assert.ErrorContains(t, err, "two of one name")
}

// An interface that extends another one satisfies those who ask for that one.
func TestAnInterfaceThatExtendsAnotherIsOneToo(t *testing.T) {
	base := parseInterface(t, "interface RIBase.example.org\n  f() -> none\n")
	sub, err := schema.NewInterface("RISub.example.org", []string{base.Name}, base.Methods...)
	require.NoError(t, err)
	taker := parseInterface(t, `interface RITaker.example.org
  take(o: interface("RIBase.example.org")) -> none
`)
	take := tub.Method("take", func(context.Context, struct{ O any }) (tub.None, error) { return tub.None{}, nil })
	f := tub.Method("f", func(context.Context, tub.None) (tub.None, error) { return tub.None{}, nil })
	server := newServer(t, &tub.Options{Interfaces: []*schema.Interface{sub}})
	ignorant := newServer(t, nil)
	client := newTub(t, nil)
	object := tub.NewObject(tub.Implements(sub), f)
	ref := connect(t, client, register(t, server, tub.NewObject(tub.Implements(taker), take)))
	ref.Assume(taker)
	call[tub.None](t, ref, "take", object)
	ref = connect(t, client, register(t, ignorant, tub.NewObject(tub.Implements(taker), take)))
	_, err = tub.Call[any](within(t), ref, "take", object)
	assert.ErrorContains(t, err, `expected a reference with the interface "RIBase.example.org"`)
}

// A method with Args is given what was read before anybody knew that it is called: that is held to the interface too.
func TestPipelinedCallsOfMethodsThatTakeAnythingAreHeldToTheInterface(t *testing.T) {
	loose := tub.NewObject(
		tub.Implements(parseInterface(t, "interface RILoose.example.org\n  f(a: int, b: optional(int, default=2)) -> any\n")),
		tub.Method("f", func(_ context.Context, a tub.Args) (any, error) { return a.Keyword["b"], nil }))
	known := make(chan struct{})
	server, client := newServer(t, nil), newTub(t, nil)
	ref := connect(t, client, register(t, server, tub.NewObject(
		tub.Method("get", func(ctx context.Context, _ tub.None) (*tub.Object, error) {
			tub.Yield(ctx)
			<-known
			return loose, nil
		}),
		tub.Method("go_on", func(context.Context, tub.None) (tub.None, error) {
			close(known)
			return tub.None{}, nil
		}))))
	p, err := tub.Promise(within(t), ref, "get")
	require.NoError(t, err)
	wrong, err := tub.Start[any](within(t), p, "f", "text")
	require.NoError(t, err)
	right, err := tub.Start[any](within(t), p, "f", 1)
	require.NoError(t, err)
	call[tub.None](t, ref, "go_on") // read after the two
	_, err = wrong.Wait(within(t))
	assert.ErrorContains(t, err, `argument "a" of f`)
	b, err := right.Wait(within(t))
	require.NoError(t, err)
	assert.Equal(t, int64(2), b)
}

func TestWhatAMethodDoesToADefaultIsNotSeenByOtherCalls(t *testing.T) {
	i := parseInterface(t, `interface RIDefaults.example.org
  f(a: optional(bytes, default=b"abc")) -> bytes
  raw(a: optional(bytes, default=b"abc")) -> bytes
`)
	spoil := func(b []byte) ([]byte, error) {
		was := string(b)
		b[0] = 'x'
		return []byte(was), nil
	}
	ref := connect(t, newTub(t, nil), register(t, newServer(t, nil), tub.NewObject(tub.Implements(i),
		tub.Method("f", func(_ context.Context, a struct {
			A []byte `foolscap:",optional"`
		}) ([]byte, error) {
			return spoil(a.A)
		}),
		tub.Method("raw", func(_ context.Context, a tub.Args) ([]byte, error) { return spoil(a.Keyword["a"].([]byte)) }))))
	for range 2 {
		assert.Equal(t, "abc", string(call[[]byte](t, ref, "f")))
		assert.Equal(t, "abc", string(call[[]byte](t, ref, "raw")))
	}
}
