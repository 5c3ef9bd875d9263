package integration

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

func TestArgumentsArriveByPositionAndByName(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		everyWord := tub.Keywords{}
		wordsThere := map[string]pypeer.Value{}
		var pairs []pypeer.Value
		for _, w := range words {
			everyWord[w] = w
			wordsThere[w] = pypeer.Text(w)
			pairs = append(pairs, pypeer.Text(w), pypeer.Text(w))
		}
		list := banana.NewList(int64(1))
		for name, test := range map[string]struct {
			args     []any
			keywords map[string]pypeer.Value // and what the same call is from Python
			there    []pypeer.Value
			want     pypeer.Value
		}{
			"nothing": {want: pypeer.Tuple(pypeer.List(), pypeer.Dict())},
			"by position": {
				args:  []any{1, "b"},
				there: []pypeer.Value{pypeer.Int(1), pypeer.Text("b")},
				want:  pypeer.Tuple(pypeer.List(pypeer.Int(1), pypeer.Text("b")), pypeer.Dict()),
			},
			"by name": {
				args:     []any{tub.Keywords{"b": 2, "a": nil}},
				keywords: map[string]pypeer.Value{"b": pypeer.Int(2), "a": pypeer.None},
				want:     pypeer.Tuple(pypeer.List(), pypeer.Dict(pypeer.Text("a"), pypeer.None, pypeer.Text("b"), pypeer.Int(2))),
			},
			"by both": {
				args:     []any{[]byte("list"), tub.Keywords{"größe": 2}},
				there:    []pypeer.Value{pypeer.Bytes("list")},
				keywords: map[string]pypeer.Value{"größe": pypeer.Int(2)},
				want:     pypeer.Tuple(pypeer.List(pypeer.Bytes("list")), pypeer.Dict(pypeer.Text("größe"), pypeer.Int(2))),
			},
			"a dict by position": {
				args:  []any{map[string]int{"a": 1}},
				there: []pypeer.Value{pypeer.Dict(pypeer.Text("a"), pypeer.Int(1))},
				want:  pypeer.Tuple(pypeer.List(pypeer.Dict(pypeer.Text("a"), pypeer.Int(1))), pypeer.Dict()),
			},
			"one list as several arguments": {
				args:     []any{list, list, tub.Keywords{"again": list}},
				there:    []pypeer.Value{pypeer.Def(1, pypeer.List(pypeer.Int(1))), pypeer.Same(1)},
				keywords: map[string]pypeer.Value{"again": pypeer.Same(1)},
				want: pypeer.Tuple(pypeer.List(pypeer.Def(1, pypeer.List(pypeer.Int(1))), pypeer.Same(1)),
					pypeer.Dict(pypeer.Text("again"), pypeer.Same(1))),
			},
			"names that are words of the vocabulary": {
				args: []any{everyWord}, keywords: wordsThere, want: pypeer.Tuple(pypeer.List(), pypeer.Dict(pairs...)),
			},
		} {
			t.Run(name, func(t *testing.T) {
				want := canonical(t, test.want)
				assert.Equal(t, want, notationOf(t, call[any](t, m.root, "arguments", test.args...)))
				got, err := m.ref.CallKeywords("arguments", test.keywords, test.there...)
				require.NoError(t, err)
				assert.Equal(t, want, got)
			})
		}

		t.Run("with defaults", func(t *testing.T) {
			assert.Equal(t, "Hello, you!", call[string](t, m.root, "greet", "you"))
			assert.Equal(t, "Hello, you?", call[string](t, m.root, "greet", "you", tub.Keywords{"mark": "?"}))
			assert.Equal(t, "Hi, you!", call[string](t, m.root, "greet", tub.Keywords{"name": "you", "greeting": []byte("Hi")}))
			assert.Equal(t, pypeer.Text("Hello, you!"), m.ref.MustCall("greet", pypeer.Text("you")))
			got, err := m.ref.CallKeywords("greet", map[string]pypeer.Value{"mark": pypeer.Text("?")}, pypeer.Text("you"))
			require.NoError(t, err)
			assert.Equal(t, pypeer.Text("Hello, you?"), got)
		})

		t.Run("that are wrong", func(t *testing.T) {
			for name, there := range map[string]struct {
				args     []pypeer.Value
				keywords map[string]pypeer.Value
				text     string
			}{
				"too many":         {args: []pypeer.Value{pypeer.Int(1), pypeer.Int(2), pypeer.Int(3)}, text: "takes 2 arguments, got 3"},
				"one is missing":   {args: []pypeer.Value{pypeer.Int(1)}, text: `missing argument "b"`},
				"given twice":      {args: []pypeer.Value{pypeer.Int(1), pypeer.Int(2)}, keywords: map[string]pypeer.Value{"a": pypeer.Int(3)}, text: `argument "a"`},
				"one that is none": {args: []pypeer.Value{pypeer.Int(1)}, keywords: map[string]pypeer.Value{"c": pypeer.Int(3)}, text: `unknown argument "c"`},
			} {
				_, err := m.ref.CallKeywords("add", there.keywords, there.args...)
				var failure *pypeer.Error
				require.ErrorAs(t, err, &failure, name)
				assert.Contains(t, failure.Text, there.text, name)
			}
			for name, args := range map[string][]any{
				"too many":         {1, 2, 3},
				"one is missing":   {1},
				"given twice":      {1, 2, tub.Keywords{"a": 3}},
				"one that is none": {1, tub.Keywords{"c": 3}},
			} {
				_, err := tub.Call[any](within(t), m.root, "add", args...)
				var failure *tub.Failure
				require.ErrorAs(t, err, &failure, name)
				assert.Equal(t, "builtins.TypeError", failure.Type, name)
			}
		})
	})
}

func TestMethodsMayHaveTheNamesOfVocabularyWords(t *testing.T) {
	t.Parallel()
	var parts []tub.Part
	for _, w := range words {
		parts = append(parts, tub.Method(w, func(context.Context, tub.None) (string, error) { return w, nil }))
	}
	m := justGo(t, options{})
	wordy := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(parts...)).Reveal())
	var calls []*pypeer.Pending
	for _, w := range words {
		calls = append(calls, wordy.Begin(w))
	}
	for i, w := range words {
		got, err := calls[i].Value()
		require.NoError(t, err)
		assert.Equal(t, pypeer.Text(w), got)
	}

	assert.Nil(t, call[any](t, m.root, "none"))
	for _, w := range words {
		if w == "none" || w == "arguments" { // Python has methods of these names
			continue
		}
		_, err := tub.Call[any](within(t), m.root, w)
		var failure *tub.Failure
		require.ErrorAs(t, err, &failure)
		assert.Contains(t, failure.Text, "'remote_"+w+"'", "Python knows which method was meant")
	}
}

func TestObjectsCanBeMadeOfGoInterfaces(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	o := tub.NewObject(tub.Interface("RICalculator.example.org"),
		tub.MethodsOf[calculator](abacus{}, tub.Names{"AddAll": "remoteAdd"}))
	ref := m.peer.MustGetReference(register(t, m.tub, o).Reveal())

	assert.Equal(t, "RICalculator.example.org", ref.Describe().Interface)
	got, err := ref.CallKeywords("remoteAdd", map[string]pypeer.Value{"numbers": pypeer.List(pypeer.Int(1), pypeer.Int(2))})
	require.NoError(t, err)
	assert.Equal(t, pypeer.Int(3), got)
	got, err = ref.Call("get_version")
	require.NoError(t, err)
	assert.Equal(t, pypeer.Dict(pypeer.Bytes("http://example.org/v1"), pypeer.Dict()), got)
	_, err = ref.Call("hidden")
	assert.ErrorContains(t, err, "hidden")
}

type calculator interface {
	AddAll(ctx context.Context, a struct{ Numbers []int }) (int, error)
	GetVersion(ctx context.Context, a tub.None) (*banana.Dict, error)
}

type abacus struct{}

func (abacus) AddAll(_ context.Context, a struct{ Numbers []int }) (int, error) {
	sum := 0
	for _, n := range a.Numbers {
		sum += n
	}
	return sum, nil
}

func (abacus) GetVersion(context.Context, tub.None) (*banana.Dict, error) {
	return banana.NewDict([]byte("http://example.org/v1"), banana.NewDict()), nil
}

// Hidden is not in the interface, so nobody can call it.
func (abacus) Hidden(context.Context, tub.None) (int, error) { return 0, nil }

func TestPythonsInterfacesAreKnownAndEnforcedByPython(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	peer := connect(t, m.tub, publish(t, m.peer, "peer", pypeer.KindPeer))

	assert.Equal(t, "RIPeer.foolscap-go", peer.Interface())
	assert.Equal(t, 3, call[int](t, peer, "add", 1, 2))
	assert.Equal(t, "Hello, you!", call[string](t, peer, "greet", tub.Keywords{"name": "you"}))
	assert.Equal(t, []string{"a", "b"}, call[[]string](t, peer, "names", map[string]int{"b": 1, "a": 2}))
	visitor := tub.NewObject(tub.Interface("RIVisitor.foolscap-go"),
		tub.Method("meet", func(_ context.Context, a struct{ Name string }) (string, error) { return "Go met " + a.Name, nil }))
	assert.Equal(t, "Go met me", call[string](t, peer, "welcome", visitor, "me"))
	host := call[*tub.Ref](t, peer, "visitor")
	assert.Equal(t, "RIVisitor.foolscap-go", host.Interface())
	assert.Equal(t, "peer.visitor met Go", call[string](t, host, "meet", "Go"))

	for name, args := range map[string][]any{
		"add":     {1, "2"},
		"short":   {pypeer.PatternBytes(100_000)}, // skipped from its header on
		"int32":   {1 << 31},
		"welcome": {m.desk.object, "me"}, // has no interface
	} {
		_, err := tub.Call[any](within(t), peer, name, args...)
		var failure *tub.Failure
		require.ErrorAs(t, err, &failure, name)
		assert.True(t, failure.IsType("foolscap.tokens.Violation"), "%s: %v", name, failure)
	}
	_, err := tub.Call[any](within(t), peer, "wrong_result")
	var failure *tub.Failure
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "foolscap.tokens.Violation", failure.Type)
	assert.Equal(t, 3, call[int](t, peer, "add", 1, 2), "the connection lives")

	// What Python knows of an interface it enforces on our answers too: one of another type costs the connection.
	liar := tub.NewObject(tub.Interface("RIVisitor.foolscap-go"),
		tub.Method("meet", func(context.Context, struct{ Name string }) (int, error) { return 1, nil }))
	_, err = tub.Call[any](within(t), peer, "welcome", liar, "me")
	var failed *tub.CallError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, tub.MayHaveRun, failed.Sent)
	assert.ErrorIs(t, err, tub.ErrDeadReference)
	var reported *banana.RemoteError
	require.ErrorAs(t, err, &reported)
	assert.Contains(t, reported.Text, "invalid token type: INT")
}
