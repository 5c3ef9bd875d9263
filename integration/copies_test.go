package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/schema"
	"github.com/foolscap-go/foolscap/tub"
)

// The Go side of peers/copies.py.

type place struct {
	X, Y   int
	Remark string `foolscap:",optional"`
}

type treeNode struct {
	Name     string
	Children []*treeNode
	Extra    any
}

type moment struct{ Seconds int64 }

// misplaced goes by the name of a place, and is none.
type misplaced struct{ X any }

// stranger is of a class that Python does not know.
type stranger struct{ Ref any }

var copies = []tub.Copy{
	tub.CopyOf[place]("example.Place"),
	tub.CopyOf[treeNode]("example.Node"),
	tub.CopyOf[stranger]("example.Stranger"),
	tub.CopyAs("example.Moment",
		func(t time.Time) (moment, error) { return moment{t.Unix()}, nil },
		func(m moment) (time.Time, error) { return time.Unix(m.Seconds, 0), nil }),
}

// copier is what sends and receives copies in Python.
func (m *meeting) copier(t *testing.T) *tub.Ref {
	t.Helper()
	f := publish(t, m.peer, "copier of "+m.name, pypeer.KindCopier)
	return connect(t, m.tub, f.WithHints())
}

func TestCopiesTravelBothWays(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Copies = copies
	eachRole(t, o, func(t *testing.T, m *meeting) {
		copier := m.copier(t)
		here := &place{X: 1, Y: 2}
		when := time.Unix(7, 0)
		tree := &treeNode{Name: "a", Children: []*treeNode{{Name: "b", Children: []*treeNode{}}}, Extra: banana.Tuple{&place{X: 3, Y: 4}, banana.NewDict("k", banana.NewList(&when))}}
		placeThere := func() any { return banana.Tuple{"Place", banana.NewDict("x", 1, "y", 2)} }
		for _, test := range []struct {
			made      string // in Python
			here      any
			described any // by Python
		}{
			{"place", here, placeThere()},
			{"twice", banana.NewList(here, here), banana.NewList(placeThere(), placeThere())},
			{"moment", &when, banana.Tuple{"datetime", int64(7)}},
			{"nested", tree, banana.Tuple{"Node", banana.NewDict("name", "a",
				"children", banana.NewList(banana.Tuple{"Node", banana.NewDict("name", "b", "children", banana.NewList(), "extra", nil)}),
				"extra", banana.Tuple{banana.Tuple{"Place", banana.NewDict("x", 3, "y", 4)}, banana.NewDict("k", banana.NewList(banana.Tuple{"datetime", int64(7)}))})}},
		} {
			want := notationOf(t, test.described)
			assert.Equal(t, test.here, call[any](t, copier, "make", test.made), test.made)
			assert.Equal(t, test.here, call[any](t, copier, "echo", test.here), "Go, Python, Go: %s", test.made)
			assert.Equal(t, want, notationOf(t, call[any](t, copier, "describe", test.here)), test.made)
			assert.Equal(t, want, notationOf(t, call[any](t, copier, "send", m.desk.object, test.made)), "Python, Go, Python: %s", test.made)
		}
		assert.Equal(t, *here, call[place](t, copier, "make", "place"))
		assert.Equal(t, when, call[time.Time](t, copier, "echo", when))
		assert.True(t, call[bool](t, copier, "same", []*place{here, here}), "one pointer is one object")
		assert.False(t, call[bool](t, copier, "same", []place{*here, *here}))

		own := &treeNode{Name: "own", Extra: &banana.List{}}
		own.Extra.(*banana.List).Items = []any{own}
		assert.True(t, call[bool](t, copier, "within", own))
	})
}

func TestCopiesThatOneSideDoesNotTake(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Copies = copies
	eachRole(t, o, func(t *testing.T, m *meeting) {
		copier := m.copier(t)
		for what, text := range map[string]string{
			"unknown":  `result: copyable of the unknown class "example.Unknown"`,
			"extended": `result(example.Place): unknown attribute "colour"`,
		} {
			_, err := tub.Call[any](within(t), copier, "make", what)
			var v *banana.Violation
			require.ErrorAs(t, err, &v, what)
			assert.Equal(t, text, v.Error())
			_, err = tub.Call[any](within(t), copier, "send", m.desk.object, what)
			assert.ErrorIs(t, err, tub.RemoteType("foolscap.tokens.Violation"), what)
		}
		_, err := tub.Call[time.Time](within(t), copier, "make", "place")
		assert.ErrorContains(t, err, `expected time.Time, got copyable "example.Place"`)

		_, err = tub.Call[any](within(t), copier, "echo", stranger{m.desk.object})
		assert.Contains(t, failed(t, err).Text, "example.Stranger")
		assert.Equal(t, "foolscap.tokens.Violation", failed(t, err).Type)

		// What Foolscap would drop the connection for does not go out.
		father := &treeNode{Name: "father"}
		father.Children = []*treeNode{{Name: "child", Extra: father}}
		unready := banana.Tuple{nil}
		pair := &treeNode{Extra: banana.NewList(banana.NewList(unready), &treeNode{Extra: unready})}
		unready[0] = pair
		for _, v := range []any{father, pair} {
			_, err = tub.Call[any](within(t), copier, "echo", v)
			var e *banana.EncodeError
			require.ErrorAs(t, err, &e)
			assert.ErrorContains(t, err, "a value by copy")
		}
		// What it can complete in time does.
		ready := banana.Tuple{nil}
		ready[0] = &treeNode{Children: []*treeNode{}, Extra: banana.NewList(ready)}
		back := call[[]*treeNode](t, copier, "echo", []any{ready[0], &treeNode{Children: []*treeNode{}, Extra: ready}})
		assert.IsType(t, &treeNode{}, back[1].Extra.(banana.Tuple)[0])

		assert.Equal(t, 1, call[int](t, copier, "echo", 1), "the connection lives")
		assert.Len(t, m.peer.Connections(), 1)
	})
}

func TestPythonsSchemaOfACopyIsObeyed(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Copies = []tub.Copy{tub.CopyOf[misplaced]("example.Place")}
	m := justGo(t, o)
	copier := m.copier(t)
	_, err := tub.Call[any](within(t), copier, "describe", misplaced{"text"})
	assert.Equal(t, "foolscap.tokens.Violation", failed(t, err).Type)
	assert.Equal(t, 1, call[int](t, copier, "echo", 1), "the connection lives")
}

func TestCopiesOfPythonAreHeldToAnInterface(t *testing.T) {
	t.Parallel()
	const text = `copyable("example.Place", x: int(max=%d), y: int, remark: optional(text))`
	o := options{}
	o.tub.Copies = copies
	m := justGo(t, o)
	copier := m.copier(t)
	for max, wrong := range map[int]string{1: "", 0: "(example.Place).x of "} {
		constraint := fmt.Sprintf(text, max)
		i, err := schema.ParseInterface("interface RICopier.foolscap-go\n  make(what: text) -> " + constraint + "\n  same(values: list(" + constraint + ")) -> bool\n")
		require.NoError(t, err)
		copier.Assume(i)
		_, err = tub.Call[place](within(t), copier, "make", "place")
		_, sent := tub.Call[bool](within(t), copier, "same", []*place{{X: 1}, {X: 1}})
		if wrong == "" {
			assert.NoError(t, errors.Join(err, sent))
			here := &place{X: 1}
			assert.True(t, call[bool](t, copier, "same", []*place{here, here}), "one pointer is one object")
		} else {
			refused(t, err, tub.Answered, wrong)
			refused(t, sent, tub.NotSent, wrong)
		}
	}
	_, err := tub.Call[any](within(t), copier, "make", "moment")
	refused(t, err, tub.Answered, `expected copyable "example.Place", got copyable "example.Moment"`)
}

func TestAnIntroductionInACopyIsNotSentToPython(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Copies = copies
	m := justGo(t, o)
	third := startTub(t, identity(t, pypeer.Middling), tub.Options{})
	listen(t, third)
	gift := connect(t, m.tub, register(t, third, newDesk().object))
	copier, given := m.copier(t), banana.Tuple{gift}
	for text, v := range map[string]any{
		"an introduction within a value by copy": &treeNode{Extra: banana.NewList(gift)},
		"before it is complete":                  banana.NewList(given, &treeNode{Extra: given}),
	} {
		_, err := tub.Call[any](within(t), copier, "describe", v)
		var e *banana.EncodeError
		require.ErrorAs(t, err, &e)
		assert.ErrorContains(t, err, text)
	}
	assert.Equal(t, 2, len(call[[]any](t, copier, "describe", banana.NewList(given, &treeNode{Extra: banana.NewList(given)}))))
	assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "the connection lives")
}

func TestFailuresTravelAsValues(t *testing.T) {
	t.Parallel()
	for _, traces := range []bool{true, false} {
		o := options{}
		o.tub.TracesToPeers, o.tub.TracesFromPeers = traces, traces
		m := justGo(t, o)
		copier := m.copier(t)

		list := call[[]any](t, copier, "make", "failure")
		f, ok := list[0].(*tub.Failure)
		require.True(t, ok, "%T", list[0])
		assert.Equal(t, "builtins.ValueError", f.Type)
		assert.Equal(t, "no, é", f.Text)
		assert.True(t, f.IsType("builtins.Exception"))
		if traces {
			assert.Contains(t, f.Traceback, "in failure")
		} else {
			assert.Empty(t, f.Traceback)
		}

		described := func(trace string) any {
			parents := banana.NewList()
			for _, p := range f.Parents {
				parents.Items = append(parents.Items, p)
			}
			return banana.NewList(banana.Tuple{"CopiedFailure", banana.NewDict("value", "no, é", "traceback", trace, "parents", parents)})
		}
		trace := "Traceback unavailable\n"
		if traces {
			trace = f.Traceback
		}
		assert.Equal(t, notationOf(t, described(trace)), notationOf(t, call[any](t, copier, "describe", []any{f})))
		// Python adds nothing of its own to the failure that comes back.
		sent := call[[]any](t, copier, "send", m.desk.object, "failure")
		back, _ := sent[0].(banana.Tuple)[1].(*banana.Dict).Get("traceback")
		assert.Equal(t, traces, back != "Traceback unavailable\n", back)
	}
}

func TestFURLsTravelAsSturdyRefs(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		f := publish(t, m.peer, "another of "+m.name, pypeer.KindRoot)
		there := pypeer.SturdyRef(f.Reveal())

		call[tub.None](t, m.root, "log", f)
		assert.Equal(t, []pypeer.Value{there}, m.peer.TakeLogged(m.name))
		assert.True(t, f.Equal(call[furl.FURL](t, m.root, "echo", f)))
		assert.Equal(t, there, m.ref.MustCall("echo", there))
		m.ref.MustCall("log", pypeer.List(there, pypeer.None))
		got, ok := m.desk.awaitLogged(t, 1)[0].(*banana.List).Items[0].(*furl.FURL)
		require.True(t, ok)
		assert.True(t, f.Equal(*got))
		assert.Equal(t, 3, call[int](t, connect(t, m.tub, got.WithHints()), "add", 1, 2))

		_, err := m.ref.Call("echo", pypeer.SturdyRef(""))
		assert.Equal(t, "foolscap.tokens.Violation", failedThere(t, err).Type, "one that leads nowhere")
	})
}
