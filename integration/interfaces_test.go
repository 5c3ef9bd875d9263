package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
	"github.com/foolscap-go/foolscap/tub"
)

// What peers/objects.py declares as RIVisitor and RIPeer.
const pythonsInterfaces = `
interface RIVisitor.foolscap-go
  meet(name: text) -> text

interface RIPeer.foolscap-go
  add(a: int, b: int) -> int
  greet(name: text) -> text
  short(data: bytes(max=10)) -> int
  int32(value: int(min=-2147483648, max=2147483647)) -> int(min=-2147483648, max=2147483647)
  names(ages: dict(text, int)) -> list(text)
  welcome(visitor: interface("RIVisitor.foolscap-go"), name: text) -> text
  visitor() -> interface("RIVisitor.foolscap-go")
  wrong_result() -> int
  anything(value: any) -> any
  repeat(text: text, end: optional(text, default="."), times: optional(int, default=1)) -> text
`

func interfaces(t testing.TB) (visitor, peer *schema.Interface) {
	t.Helper()
	all, err := schema.ParseInterfaces(pythonsInterfaces)
	require.NoError(t, err)
	return all[0], all[1]
}

// goVisitor is an RIVisitor, if it says so.
func goVisitor(announced tub.Part) *tub.Object {
	return tub.NewObject(announced, tub.Method("meet", func(_ context.Context, a struct{ Name string }) (string, error) {
		return "Go met " + a.Name, nil
	}))
}

// goPeer is an RIPeer: it enforces that if announced is tub.Implements.
func goPeer(announced tub.Part, visitor *tub.Object) *tub.Object {
	type none = tub.None
	return tub.NewObject(announced,
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		tub.Method("greet", func(_ context.Context, a struct{ Name string }) (string, error) { return "Hello, " + a.Name + "!", nil }),
		tub.Method("short", func(_ context.Context, a struct{ Data []byte }) (int, error) { return len(a.Data), nil }),
		tub.Method("int32", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
		tub.Method("names", func(_ context.Context, a struct{ Ages map[string]int }) ([]string, error) {
			return []string{"one"}, nil
		}),
		tub.Method("welcome", func(ctx context.Context, a struct {
			Visitor *tub.Ref
			Name    string
		}) (string, error) {
			return tub.Call[string](ctx, a.Visitor, "meet", a.Name)
		}),
		tub.Method("visitor", func(context.Context, none) (*tub.Object, error) { return visitor, nil }),
		tub.Method("wrong_result", func(context.Context, none) (any, error) { return "not an int", nil }),
		tub.Method("repeat", func(_ context.Context, a struct {
			Text  string
			End   string `foolscap:",optional"`
			Times int    `foolscap:",optional"`
		}) (string, error) {
			return strings.Repeat(a.Text, a.Times) + a.End, nil
		}),
		tub.Method("anything", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
	)
}

// refused asserts that a call was refused by a constraint, here or there.
func refused(t testing.TB, err error, sent tub.Sent, text string) {
	t.Helper()
	var call *tub.CallError
	require.ErrorAs(t, err, &call)
	assert.Equal(t, sent, call.Sent, "%v", err)
	assert.ErrorContains(t, err, text)
	if sent == tub.NotSent {
		var v *banana.Violation
		assert.ErrorAs(t, err, &v)
	}
}

func TestGoIsHeldToPythonsInterfaces(t *testing.T) {
	t.Parallel()
	visitor, peer := interfaces(t)
	for _, knows := range []bool{false, true} {
		name, o, sent := "by Python alone", options{}, tub.Answered
		if knows {
			name, sent = "by Go before it sends", tub.NotSent
			o.tub.Interfaces = []*schema.Interface{visitor, peer}
		}
		t.Run(name, func(t *testing.T) {
			eachRole(t, o, func(t *testing.T, m *meeting) {
				ref := connect(t, m.tub, publish(t, m.peer, "peer of "+m.name, pypeer.KindPeer).WithHints())
				require.True(t, ref.Implements(peer.Name))
				assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
				assert.Equal(t, 10, call[int](t, ref, "short", make([]byte, 10)))
				assert.Equal(t, []string{"a", "b"}, call[[]string](t, ref, "names", map[string]int{"b": 1, "a": 2}))
				assert.Equal(t, "Go met Python", call[string](t, ref, "welcome", goVisitor(tub.Implements(visitor)), "Python"))
				assert.Contains(t, call[string](t, call[*tub.Ref](t, ref, "visitor"), "meet", "Go"), "met Go")
				for want, args := range map[string][]any{
					"a.": {"a"}, "a!": {"a", "!"}, "aa.": {"a", tub.Keywords{"times": 2}}, "aaa?": {tub.Keywords{"times": 3, "text": "a", "end": "?"}},
				} {
					assert.Equal(t, want, call[string](t, ref, "repeat", args...))
				}
				for _, c := range []struct {
					method string
					args   []any
				}{
					{"repeat", []any{"a", tub.Keywords{"times": "2"}}},
					{"repeat", []any{"a", ".", 1, 2}},
					{"repeat", []any{"a", tub.Keywords{"text": "b"}}},
					{"repeat", []any{tub.Keywords{"times": 2}}},
					{"short", []any{make([]byte, 11)}},
					{"short", []any{make([]byte, 200_000)}},
					{"short", []any{"text"}},
					{"int32", []any{int64(1) << 40}},
					{"names", []any{map[string]string{"a": "x"}}},
					{"welcome", []any{tub.NewObject(), "nobody"}},
					{"welcome", []any{goVisitor(tub.Interface("RIStranger.foolscap-go")), "nobody"}},
				} {
					_, err := tub.Call[any](within(t), ref, c.method, c.args...)
					refused(t, err, sent, "")
				}
				_, err := tub.Call[any](within(t), ref, "wrong_result")
				refused(t, err, tub.Answered, "Violation")
				assert.Equal(t, 3, call[int](t, ref, "add", 1, 2), "the connection lives")
			})
		})
	}
}

// An interface that only Go knows: results of Python that it does not allow do not arrive.
func TestPythonsResultsAreHeldToWhatGoAssumes(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		i, err := schema.ParseInterface("interface RIAssumed.foolscap-go\n  echo(value: any) -> list(text(max=3), max=2)\n  get_ref() -> interface(\"RIVisitor.foolscap-go\")\n")
		require.NoError(t, err)
		m.root.Assume(i)
		assert.Equal(t, []string{"a", "b"}, call[[]string](t, m.root, "echo", []string{"a", "b"}))
		for _, wrong := range []any{[]string{"a", "b", "c"}, []string{"long"}, 1, map[string]int{}} {
			_, err := tub.Call[any](within(t), m.root, "echo", wrong)
			refused(t, err, tub.Answered, "of echo")
		}
		// The reference that is refused is released all the same.
		_, err = tub.Call[any](within(t), m.root, "get_ref")
		refused(t, err, tub.Answered, `expected a reference with the interface "RIVisitor.foolscap-go"`)
		assert.Equal(t, []string{"a"}, call[[]string](t, m.root, "echo", []string{"a"}))
	})
}

func TestPythonIsHeldToGosInterfaces(t *testing.T) {
	t.Parallel()
	visitor, peer := interfaces(t)
	// Python does not know it: nothing but Go objects to what Python sends.
	foreign, err := schema.ParseInterface("interface RIForeign.foolscap-go\n" +
		"  short(data: bytes(max=10)) -> int(min=0, max=5)\n  welcome(visitor: interface(\"RIVisitor.foolscap-go\")) -> text\n")
	require.NoError(t, err)
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		offer := func(o *tub.Object) pypeer.Ref {
			return m.peer.MustGetReference(register(t, m.tub, o).WithHints(m.tub.Hints()...).Reveal())
		}
		known := offer(goPeer(tub.Implements(peer), goVisitor(tub.Implements(visitor))))
		assert.Equal(t, pypeer.Int(3), known.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		assert.Equal(t, pypeer.Int(10), known.MustCall("short", pypeer.Pattern(10)))
		assert.Equal(t, pypeer.Text("Hello, Python!"), known.MustCall("greet", pypeer.Text("Python")))
		for want, args := range map[string][]pypeer.Value{"a.": {pypeer.Text("a")}, "a!": {pypeer.Text("a"), pypeer.Text("!")}} {
			assert.Equal(t, pypeer.Text(want), known.MustCall("repeat", args...))
		}
		v, err := known.CallKeywords("repeat", map[string]pypeer.Value{"times": pypeer.Int(2)}, pypeer.Text("a"))
		require.NoError(t, err)
		assert.Equal(t, pypeer.Text("aa."), v)
		_, err = known.Call("short", pypeer.Pattern(11)) // Python refuses by itself
		assert.ErrorContains(t, err, "Violation")
		_, err = known.Call("wrong_result") // Go does
		assert.ErrorContains(t, err, "result of wrong_result")

		// Announced, and not enforced: Python refuses the result.
		lying := offer(goPeer(tub.Interface(peer.Name), nil))
		_, err = lying.Call("wrong_result")
		assert.ErrorContains(t, err, "Violation")
		assert.Equal(t, pypeer.Int(3), lying.MustCall("add", pypeer.Int(1), pypeer.Int(2)))

		var seen int
		ref := offer(tub.NewObject(tub.Implements(foreign),
			tub.Method("short", func(_ context.Context, a struct{ Data []byte }) (int, error) { seen++; return len(a.Data), nil }),
			tub.Method("welcome", func(context.Context, struct{ Visitor *tub.Ref }) (string, error) { seen++; return "", nil })))
		assert.Equal(t, pypeer.Int(5), ref.MustCall("short", pypeer.Pattern(5)))
		for _, data := range []pypeer.Value{pypeer.Pattern(11), pypeer.Pattern(200_000), pypeer.Text("text"), pypeer.None} {
			_, err := ref.Call("short", data)
			assert.ErrorContains(t, err, `argument "data" of short`)
		}
		assert.Equal(t, 1, seen, "what is refused never reaches the method")
		_, err = ref.Call("short", pypeer.Pattern(6))
		assert.ErrorContains(t, err, "result of short")
		assert.Equal(t, pypeer.Int(5), ref.MustCall("short", pypeer.Pattern(5)), "the connection lives")
	})
}
