package tub_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAnObjectKeepsTheNameItWasRegisteredUnder(t *testing.T) {
	tb := newTub(t, nil)
	o, other := calculator(), calculator()
	f := register(t, tb, o)
	assert.Equal(t, tb.TubID(), f.TubID)
	assert.Len(t, f.Name.Reveal(), 32, "160 bits")
	assert.True(t, f.Name.Equal(register(t, tb, o).Name))
	assert.False(t, f.Name.Equal(register(t, tb, other).Name))

	again, err := tb.FURL(o)
	require.NoError(t, err)
	assert.True(t, f.Equal(again))
	_, err = tb.FURL(calculator())
	assert.ErrorIs(t, err, tub.ErrUnknownName)
}

func TestAnObjectCanBeGivenNames(t *testing.T) {
	tb := newTub(t, nil)
	o := calculator()
	f, err := tb.RegisterAs("calculator", o)
	require.NoError(t, err)
	assert.Equal(t, "calculator", f.Name.Reveal())
	_, err = tb.RegisterAs("calculator", o)
	assert.NoError(t, err, "it has the name already")
	second, err := tb.RegisterAs("a/second@name", o)
	require.NoError(t, err)
	assert.Equal(t, "a/second@name", second.Name.Reveal())
	assert.Equal(t, "calculator", register(t, tb, o).Name.Reveal(), "the first one is the one it goes by")

	_, err = tb.RegisterAs("calculator", calculator())
	require.ErrorIs(t, err, tub.ErrNameTaken)
	assert.NotContains(t, err.Error(), "calculator")
	tb.UnregisterName("calculator")
	_, err = tb.RegisterAs("calculator", calculator())
	assert.NoError(t, err, "the name is free again")
	assert.Equal(t, "a/second@name", register(t, tb, o).Name.Reveal())

	for name, bad := range map[string]string{
		"nothing": "", "too much": strings.Repeat("x", furl.MaxNameLength+1), "several lines": "a\nb", "space around it": " a", "what logs show": "[redacted]",
	} {
		_, err := tb.RegisterAs(bad, calculator())
		var invalid *furl.ParseError
		assert.ErrorAs(t, err, &invalid, name)
	}
}

func TestAFURLHasTheHintsOfTheMoment(t *testing.T) {
	tb := newTub(t, nil)
	o := calculator()
	assert.Empty(t, register(t, tb, o).Hints)
	l := listen(t, tb)
	assert.Equal(t, l.Hints(), register(t, tb, o).Hints)
	second := listen(t, tb)
	f, err := tb.FURL(o)
	require.NoError(t, err)
	assert.Equal(t, append(l.Hints(), second.Hints()...), f.Hints)
	require.NoError(t, l.Close())
	f, err = tb.RegisterAs("name", o)
	require.NoError(t, err)
	assert.Equal(t, second.Hints(), f.Hints)
}

func TestAFURLFileKeepsTheNameOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.furl")
	id := newIdentity(t)
	serve := func() (*tub.Tub, furl.FURL) {
		tb := newTubOf(t, id, nil)
		listen(t, tb)
		f, err := tb.RegisterFile(path, calculator())
		require.NoError(t, err)
		return tb, f
	}
	saved := func() string {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode())
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	first, f := serve()
	assert.Equal(t, f.Reveal()+"\n", saved())
	client := newTub(t, nil)
	ref := connect(t, client, f)
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	require.NoError(t, first.Close())

	_, g := serve()
	assert.True(t, f.Name.Equal(g.Name))
	assert.NotEqual(t, f.Hints, g.Hints, "another port")
	assert.Equal(t, g.Reveal()+"\n", saved(), "the new hints")
	assert.Equal(t, 3, call[int](t, connect(t, client, g), "add", 1, 2))

	t.Run("a Python program's file, that others can read", func(t *testing.T) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, []byte("  "+f.Reveal()+"\n\n"), 0o644))
		require.NoError(t, os.Chmod(path, 0o644))
		_, h := serve()
		assert.True(t, f.Name.Equal(h.Name))
		assert.Equal(t, h.Reveal()+"\n", saved())
	})
	t.Run("an object that has a name already", func(t *testing.T) {
		tb, o := newTubOf(t, id, nil), calculator()
		named := register(t, tb, o)
		h, err := tb.RegisterFile(path, o)
		require.NoError(t, err)
		assert.True(t, f.Name.Equal(h.Name))
		assert.True(t, named.Name.Equal(register(t, tb, o).Name))
	})
	t.Run("a name that another object has", func(t *testing.T) {
		tb := newTubOf(t, id, nil)
		_, err := tb.RegisterFile(path, calculator())
		require.NoError(t, err)
		before := saved()
		_, err = tb.RegisterFile(path, calculator())
		assert.ErrorIs(t, err, tub.ErrNameTaken)
		assert.Equal(t, before, saved())
	})
}

func TestAFURLFileThatIsNotOursStaysAsItIs(t *testing.T) {
	tb := newTub(t, nil)
	foreign := register(t, newTub(t, nil), calculator())
	for name, test := range map[string]struct {
		text string
		mode fs.FileMode
		says string
	}{
		"the FURL of another Tub": {foreign.Reveal() + "\n", 0o600, foreign.TubID.Short()},
		"no FURL":                 {"swordfish", 0o600, "pb://"},
		"nothing":                 {"", 0o600, "pb://"},
		"one that was printed":    {foreign.String(), 0o600, "left out"},
		"one that others can write": {
			register(t, tb, calculator()).Reveal(), 0o666, "other users can write",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "server.furl")
			require.NoError(t, os.WriteFile(path, []byte(test.text), 0o600))
			require.NoError(t, os.Chmod(path, test.mode))
			_, err := tb.RegisterFile(path, calculator())
			require.Error(t, err)
			assert.ErrorContains(t, err, path)
			assert.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), foreign.Name.Reveal())
			assert.NotContains(t, err.Error(), "swordfish")
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, test.text, string(left))
		})
	}
	_, err := tb.RegisterFile(filepath.Join(t.TempDir(), "missing", "server.furl"), calculator())
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// A Tub that has ended has no hints: writing those down would lose the ones in
// the file.
func TestAClosedTubWritesNoFURLFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.furl")
	tb := newServer(t, nil)
	o := calculator()
	f, err := tb.RegisterFile(path, o)
	require.NoError(t, err)
	require.NoError(t, tb.Close())
	_, err = tb.RegisterFile(path, o)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
	_, err = tb.Register(o)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
	_, err = tb.RegisterAs("name", o)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
	_, err = tb.FURL(o)
	assert.ErrorIs(t, err, tub.ErrTubClosed)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, f.Reveal()+"\n", string(text))
}

// unknown asserts that a Tub does not give out what a FURL names.
func unknown(t testing.TB, tb *tub.Tub, f furl.FURL) {
	t.Helper()
	_, err := tb.Connect(within(t), f)
	var failed *tub.CallError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, tub.Answered, failed.Sent)
	var failure *tub.Failure
	require.ErrorAs(t, err, &failure)
	assert.True(t, failure.IsType("builtins.KeyError"), failure.Type)
	assert.NotContains(t, err.Error(), f.Name.Reveal())
}

func TestAnUnregisteredObjectCannotBeFoundAndStaysWithWhoHasIt(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	o := calculator()
	f := register(t, server, o)
	second, err := server.RegisterAs("second", o)
	require.NoError(t, err)
	ref := connect(t, client, f)

	server.UnregisterName("second")
	unknown(t, client, second)
	connect(t, client, f).Close()

	server.Unregister(o)
	unknown(t, client, f)
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	server.Unregister(o)
	server.UnregisterName("never existed")

	g := register(t, server, o)
	assert.False(t, f.Name.Equal(g.Name), "a new name")
	connect(t, client, g)
	unknown(t, client, f)
}

func TestNamesThatNobodyHasAreAskedForInOrder(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	base := register(t, server, calculator())
	named := func(name string) furl.FURL {
		f := base
		var err error
		f.Name, err = furl.ParseSwissnum(name)
		require.NoError(t, err)
		return f
	}
	answering := func(answer int) *tub.Object {
		return tub.NewObject(tub.Method("answer", func(context.Context, struct{}) (int, error) { return answer, nil }))
	}
	var asked []string
	stop := server.OnLookup(func(_ context.Context, name string) (*tub.Object, error) {
		asked = append(asked, "first "+name)
		switch name {
		case "one", "both":
			return answering(1), nil
		case "nothing":
			return nil, nil
		case "trouble":
			return nil, errors.New("the disk is on fire")
		case "wrapped":
			return nil, errors.Join(errors.New("no such user"), tub.ErrUnknownName)
		case "panic":
			panic("of a look-up")
		}
		return nil, tub.ErrUnknownName
	})
	server.OnLookup(func(_ context.Context, name string) (*tub.Object, error) {
		asked = append(asked, "second "+name)
		if name == "stranger" {
			return nil, tub.ErrUnknownName
		}
		return answering(2), nil
	})
	ask := func(name string) int {
		asked = nil
		return call[int](t, connect(t, client, named(name)), "answer")
	}
	assert.Equal(t, 1, ask("one"))
	assert.Equal(t, []string{"first one"}, asked)
	assert.Equal(t, 1, ask("both"))
	assert.Equal(t, []string{"first both"}, asked)
	assert.Equal(t, 2, ask("two"))
	assert.Equal(t, []string{"first two", "second two"}, asked)
	assert.Equal(t, 2, ask("nothing"))
	assert.Equal(t, 2, ask("wrapped"))
	unknown(t, client, named("stranger"))

	asked = nil
	_, err := client.Connect(within(t), named("trouble"))
	assert.ErrorContains(t, err, "the disk is on fire")
	assert.Equal(t, []string{"first trouble"}, asked, "an error ends the search")
	_, err = client.Connect(within(t), named("panic"))
	assert.Error(t, err)

	asked = nil
	connect(t, client, base)
	assert.Empty(t, asked, "what is registered is found first")

	stop()
	stop()
	assert.Equal(t, 2, ask("one"))
	assert.Equal(t, []string{"second one"}, asked)
}

// keeper is an object that keeps the last reference that it was given.
func keeper() (o *tub.Object, kept func() *tub.Ref) {
	refs := make(chan *tub.Ref, 1)
	return tub.NewObject(tub.Method("keep", func(_ context.Context, a struct{ Ref *tub.Ref }) (tub.None, error) {
		refs <- a.Ref
		return tub.None{}, nil
	})), func() *tub.Ref { return <-refs }
}

// collect runs the garbage collector until a condition holds.
func collect(t testing.TB, condition func() bool, format string, args ...any) {
	t.Helper()
	eventually(t, func() bool { runtime.GC(); return condition() }, format, args...)
}

func TestAnObjectThatIsSentCanBePassedOnForAsLongAsItLives(t *testing.T) {
	server, client, third := newServer(t, nil), newServer(t, nil), newTub(t, nil)
	box, kept := keeper()
	ref := connect(t, client, register(t, server, box))
	// Nobody but the peers holds it.
	call[tub.None](t, ref, "keep", calculator())
	theirs := kept()
	f, ok := theirs.FURL()
	require.True(t, ok)
	assert.Equal(t, client.TubID(), f.TubID)
	assert.Equal(t, client.Hints(), f.Hints)

	passed := connect(t, third, f)
	assert.Equal(t, 3, call[int](t, passed, "add", 1, 2))
	_, n := client.Names()
	assert.Equal(t, 1, n)
	theirs.Close()
	runtime.GC()
	assert.Equal(t, 3, call[int](t, passed, "add", 1, 2), "the third one holds it")
	connect(t, third, f).Close()

	passed.Close()
	collect(t, func() bool { _, n := client.Names(); return n == 0 }, "the name goes with the object")
	unknown(t, third, f)
}

func TestTheNameOfASentObjectIsOneAndCanBeTakenAway(t *testing.T) {
	server, client := newServer(t, nil), newServer(t, nil)
	box, kept := keeper()
	ref := connect(t, client, register(t, server, box))
	o := calculator()
	send := func() furl.FURL {
		call[tub.None](t, ref, "keep", o)
		r := kept()
		t.Cleanup(r.Close)
		f, ok := r.FURL()
		require.True(t, ok)
		return f
	}
	f := send()
	name, ok := client.PassingName(o)
	require.True(t, ok)
	assert.Equal(t, f.Name.Reveal(), name, "the same on every connection")

	_, err := client.RegisterAs(name, calculator())
	assert.ErrorIs(t, err, tub.ErrNameTaken)
	assert.True(t, f.Name.Equal(register(t, client, o).Name), "who has it may have passed it on")

	client.UnregisterName(name)
	unknown(t, server, f)
	again, ok := client.PassingName(o)
	require.True(t, ok)
	assert.NotEqual(t, name, again)
	client.Unregister(o)
	given, passing := client.Names()
	assert.Zero(t, given)
	assert.Zero(t, passing)
	runtime.KeepAlive(o)
}

func TestARegisteredObjectIsSentUnderItsName(t *testing.T) {
	server, client := newServer(t, nil), newServer(t, nil)
	box, kept := keeper()
	ref := connect(t, client, register(t, server, box))
	o := calculator()
	f := register(t, client, o)
	call[tub.None](t, ref, "keep", o)
	got, ok := kept().FURL()
	require.True(t, ok)
	assert.True(t, f.Equal(got))
	_, passing := client.Names()
	assert.Zero(t, passing)
}

func TestAnObjectOfATubWithoutHintsIsSentWithoutAFURL(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	box, kept := keeper()
	ref := connect(t, client, register(t, server, box))
	o := calculator()
	call[tub.None](t, ref, "keep", o)
	theirs := kept()
	_, ok := theirs.FURL()
	assert.False(t, ok)
	assert.Equal(t, 3, call[int](t, theirs, "add", 1, 2))
}

// What no peer would take as a FURL must not be sent as one: it costs the
// connection.
func TestHintsThatDoNotFitInAFURLAreLeftOut(t *testing.T) {
	long := furl.Hint("tcp:" + strings.Repeat("x", 1000) + ":1")
	many := make([]furl.Hint, 2*furl.MaxHints)
	for i := range many {
		many[i] = furl.StreamHint("tcp", "127.0.0.1", uint16(i+1))
	}
	for name, test := range map[string]struct {
		hints []furl.Hint
		want  int
	}{
		"too many": {many, furl.MaxHints},
		"too long": {[]furl.Hint{long, long + "1", long + "2", long + "3", long + "4", long + "5", long + "6", long + "7", "tcp:a:1"}, 8},
		"twice":    {[]furl.Hint{"tcp:a:1", "tcp:b:1", "tcp:a:1"}, 2},
		"no hints": {[]furl.Hint{"tcp:a:1", "", "tcp:a:1,tcp:b:1", "a/b", "x:" + furl.Hint(strings.Repeat("y", furl.MaxHintLength))}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tb := newTub(t, nil)
			a := newMemory().listen("mem:a")
			a.advertise(test.hints...)
			_, err := tb.Listen(a)
			require.NoError(t, err)
			f, err := tb.RegisterAs(strings.Repeat("n", furl.MaxNameLength), calculator())
			require.NoError(t, err)
			assert.Len(t, f.Hints, test.want)
			again, err := furl.Parse(f.Reveal())
			require.NoError(t, err)
			assert.True(t, f.Equal(again))
		})
	}
}

func TestTheHintsOfAListenerKeepTheirOrder(t *testing.T) {
	tb := newTub(t, nil)
	want := []furl.Hint{"tcp:z.example:1", "tcp:a.example:1"}
	_, err := tb.Listen(newAcceptor(t, tcp.WithLocation(want...)))
	require.NoError(t, err)
	l := listen(t, tb)
	assert.Equal(t, append(want, l.Hints()...), register(t, tb, calculator()).Hints)
}

func TestAFURLIsReadWhole(t *testing.T) {
	f := register(t, newServer(t, nil), calculator())
	g, err := tub.ParseFURL(f.Reveal())
	require.NoError(t, err)
	assert.True(t, f.Equal(g))
	_, err = tub.ParseFURL("swordfish")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "swordfish")
}
