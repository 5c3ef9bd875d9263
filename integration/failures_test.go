package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// failed returns the failure of a call to Python that has to fail there.
func failed(t *testing.T, err error) *tub.Failure {
	t.Helper()
	var call *tub.CallError
	require.ErrorAs(t, err, &call)
	assert.Equal(t, tub.Answered, call.Sent)
	var failure *tub.Failure
	require.ErrorAs(t, err, &failure)
	return failure
}

// failedThere returns the failure of a call from Python that has to fail here.
func failedThere(t *testing.T, err error) *pypeer.Error {
	t.Helper()
	var failure *pypeer.Error
	require.ErrorAs(t, err, &failure)
	assert.True(t, failure.Remote, "%v", failure)
	return failure
}

func TestFailuresOfPythonArriveWithAllThatPythonTells(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.TracesFromPeers = true
	eachRole(t, o, func(t *testing.T, m *meeting) {
		for name, test := range map[string]struct {
			method   string
			args     []any
			kind     string
			text     string
			ancestor string
		}{
			"a built-in exception":       {"fail", []any{"é"}, "builtins.ValueError", "é", "builtins.Exception"},
			"one with a base class":      {"fail_type", []any{"ZeroDivisionError", "x"}, "builtins.ZeroDivisionError", "x", "builtins.ArithmeticError"},
			"one of the program's own":   {"fail_type", []any{"PeerError", "x"}, "objects.PeerError", "x", "builtins.Exception"},
			"one that comes later":       {"fail_later", []any{"x"}, "objects.PeerError", "x", "builtins.Exception"},
			"a violation":                {"fail_type", []any{"Violation", "x"}, "foolscap.tokens.Violation", "x", "builtins.Exception"},
			"a method that is not there": {"dance", nil, "builtins.AttributeError", "remote_dance", "builtins.Exception"},
			"a wrong argument":           {"add", []any{1, "x"}, "builtins.TypeError", "unsupported operand", "builtins.Exception"},
		} {
			_, err := tub.Call[any](within(t), m.root, test.method, test.args...)
			failure := failed(t, err)
			assert.Equal(t, test.kind, failure.Type, name)
			assert.Contains(t, failure.Text, test.text, name)
			assert.True(t, failure.IsType(test.kind), name)
			assert.True(t, failure.IsType(test.ancestor), name)
			assert.ErrorIs(t, err, tub.RemoteType(test.kind), name)
			assert.ErrorIs(t, err, tub.RemoteType(test.ancestor), name)
			assert.NotErrorIs(t, err, tub.RemoteType("builtins.KeyError"), name)
			assert.Contains(t, failure.Traceback, "Traceback (most recent call last)", name)
			assert.ErrorContains(t, err, test.method, name)
			assert.ErrorContains(t, err, test.text, name)
		}

		t.Run("a result that cannot be sent", func(t *testing.T) {
			for _, method := range []string{"unserialisable", "unserialisable_inside"} {
				_, err := tub.Call[any](within(t), m.root, method)
				assert.ErrorIs(t, err, banana.ErrAborted, method)
				var violation *banana.Violation
				assert.ErrorAs(t, err, &violation, method)
			}
		})
		t.Run("an argument that cannot be sent", func(t *testing.T) {
			_, err := m.ref.Call("echo", pypeer.List(pypeer.Unserialisable))
			assert.ErrorContains(t, err, "cannot serialize")
			assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		})
		t.Run("very long texts", func(t *testing.T) {
			// Python cuts by characters, so that what comes is longer than its own limits in bytes.
			_, err := tub.Call[any](within(t), m.root, "fail", strings.Repeat("€", 3000))
			failure := failed(t, err)
			assert.Equal(t, "builtins.ValueError", failure.Type)
			assert.Greater(t, len(failure.Text), 2000)
			assert.True(t, utf8.ValidString(failure.Text))
		})
		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "the connection lives")
	})
}

func TestFailuresOfGoArriveInPythonWithinItsLimits(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		text := func(s string) []pypeer.Value { return []pypeer.Value{pypeer.Text(s)} }
		for name, test := range map[string]struct {
			method string
			args   []pypeer.Value
			kind   string
			text   string
		}{
			"an error":                     {"fail", text("é"), "errors.errorString", "é"},
			"an empty error":               {"fail", text(""), "errors.errorString", ""},
			"a panic":                      {"panic", text("ouch"), "broker.panicError", "panic: ouch"},
			"a method that is not there":   {"dance", nil, "builtins.AttributeError", `"dance"`},
			"a private method":             {"__class__", nil, "builtins.AttributeError", `"__class__"`},
			"a method without a name":      {"", nil, "builtins.AttributeError", `""`},
			"a result that cannot be sent": {"unserialisable", nil, "foolscap.tokens.Violation", "cannot sort"},
			"an argument that is missing":  {"fail", nil, "foolscap.tokens.Violation", `missing argument "message"`},
		} {
			_, err := m.ref.Call(test.method, test.args...)
			failure := failedThere(t, err)
			assert.Equal(t, test.kind, failure.Type, name)
			assert.Contains(t, failure.Text, test.text, name)
			assert.Contains(t, failure.Parents, test.kind, name)
			assert.Equal(t, "Traceback unavailable\n", failure.Traceback, name)
		}

		t.Run("an error that chooses its type", func(t *testing.T) {
			_, err := m.ref.Call("fail_typed", pypeer.Text("no"))
			failure := failedThere(t, err)
			assert.Equal(t, "desk.Refusal", failure.Type)
			assert.Equal(t, []string{"desk.Refusal", "builtins.ValueError", "builtins.Exception"}, failure.Parents)
			assert.Equal(t, "while failing: no", failure.Text)
		})
		t.Run("texts that are too long", func(t *testing.T) {
			for _, shift := range []string{"", "a", "ab"} {
				long := shift + strings.Repeat("€", 3000)
				_, err := m.ref.Call("fail", pypeer.Text(long))
				failure := failedThere(t, err)
				assert.Equal(t, "errors.errorString", failure.Type)
				assert.LessOrEqual(t, len(failure.Text), 1000)
				assert.Greater(t, len(failure.Text), 990)
				assert.True(t, strings.HasPrefix(long, failure.Text), "it is cut between characters")
			}
		})
		t.Run("a failure of Python's that is passed on", func(t *testing.T) {
			back := m.ref.Begin("call_back", m.peer.Make(m.name+" child", pypeer.KindChild), pypeer.Text("fail"), pypeer.Text("there"))
			failure := failedThere(t, back.Result(nil))
			assert.Equal(t, "builtins.ValueError", failure.Type)
			assert.Contains(t, failure.Text, "there")
		})
		t.Run("a failure of Go's that is passed on", func(t *testing.T) {
			_, err := tub.Call[any](within(t), m.root, "call_back", m.desk.object, "fail_typed", "here")
			failure := failed(t, err)
			assert.Equal(t, "desk.Refusal", failure.Type)
			assert.True(t, failure.IsType("builtins.ValueError"))
			assert.Contains(t, failure.Text, "here")
		})
		assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)), "the connection lives")
	})
}

// verbose has a type with long names.
type verbose struct{}

func (verbose) Error() string { return strings.Repeat("x", 5000) + "\xff" }
func (verbose) RemoteType() (string, []string) {
	parents := make([]string, 200)
	for i := range parents {
		parents[i] = fmt.Sprint("module.Parent", i, strings.Repeat("ä", 300))
	}
	return strings.Repeat("module.", 100), parents
}

func TestWhateverAnErrorIsLikePythonTakesIt(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.TracesToPeers = true
	m := justGo(t, o)
	errs := map[string]error{
		"long in all its parts": verbose{},
		"not UTF-8":             errors.New("\xff\xfe"),
		"a joined one":          errors.Join(errors.New("a"), errors.New("b")),
		"a context's":           context.Canceled,
		"of a call":             &tub.CallError{Peer: m.tub.TubID(), Method: "m", Err: tub.ErrDeadReference},
		"a failure":             &tub.Failure{},
		"words":                 errors.New("list"),
		"a pointer to nothing":  (*tub.DialError)(nil),
	}
	raised := tub.Raise("desk.Überfüllt", errors.New("日本"), "desk.Refusal", "builtins.OSError")
	raisedAs := []string{"desk.Überfüllt", "desk.Refusal", "builtins.OSError", "builtins.Exception"}
	chains := map[string]error{
		"raised":            raised,
		"raised and joined": errors.Join(errors.New("a"), fmt.Errorf("b: %w", raised)),
	}
	maps.Copy(errs, chains)
	var parts []tub.Part
	for name, err := range errs {
		parts = append(parts, tub.Method(name, func(context.Context, tub.None) (any, error) { return nil, err }))
	}
	deep := tub.Method("deep", func(context.Context, tub.None) (any, error) { return nil, dig(100) })
	ref := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(append(parts, deep)...)).Reveal())
	for name := range errs {
		t.Run(name, func(t *testing.T) {
			_, err := ref.Call(name)
			failure := failedThere(t, err)
			assert.NotEqual(t, "foolscap.tokens.Violation", failure.Type, "Python would say so of a failure that it does not take")
			if chains[name] != nil {
				assert.Equal(t, raisedAs, failure.Parents)
				assert.Equal(t, chains[name].Error(), failure.Text)
			}
		})
	}
	t.Run("a trace, where that is allowed", func(t *testing.T) {
		_, err := ref.Call("deep")
		failure := failedThere(t, err)
		assert.Contains(t, failure.Text, "panic: too deep")
		assert.Contains(t, failure.Traceback, "goroutine ")
		assert.LessOrEqual(t, len(failure.Traceback), 2000)
	})
	assert.Len(t, m.peer.Connections(), 1)
}

func dig(depth int) error {
	if depth == 0 {
		panic("too deep")
	}
	return fmt.Errorf("%w", dig(depth-1))
}

func TestPythonsOptionsOnFailures(t *testing.T) {
	t.Parallel()
	o := options{}
	o.python = pypeer.Options{SafeTracebacks: true, HideRemoteExceptionTypes: true}
	o.tub.TracesFromPeers = true
	m := justGo(t, o)

	_, err := tub.Call[any](within(t), m.root, "fail", "no")
	assert.Equal(t, "Traceback unavailable\n", failed(t, err).Traceback)

	_, err = m.ref.Call("fail", pypeer.Text("no"))
	var failure *pypeer.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "foolscap.tokens.RemoteException", failure.Type)
	require.NotNil(t, failure.Cause)
	assert.Equal(t, "errors.errorString", failure.Cause.Type)
}

func TestNamesThatNobodyHas(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		for name, swissnum := range map[string]string{
			"random":            furl.NewSwissnum().Reveal(),
			"a vocabulary word": "list",
			"with slashes":      "a/b@c?d",
			"not ASCII":         "ärger",
		} {
			t.Run(name, func(t *testing.T) {
				unknown, err := furl.ParseSwissnum(swissnum)
				require.NoError(t, err)
				_, err = m.tub.Connect(within(t), furl.FURL{TubID: furl.TubID(m.peer.TubID), Name: unknown})
				failure := failed(t, err)
				assert.Equal(t, "builtins.KeyError", failure.Type)

				_, err = m.peer.GetReference(furl.FURL{TubID: m.tub.TubID(), Name: unknown}.Reveal())
				there := failedThere(t, err)
				assert.Equal(t, "builtins.KeyError", there.Type)
				assert.NotContains(t, there.Text, swissnum)
			})
		}
	})
}

func TestNamesCanBeAnythingAndAreLookedUp(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	for _, name := range []string{"a/b@c?d,e", "ärger", "list", "x y"} {
		f, err := m.tub.RegisterAs(name, m.desk.object)
		require.NoError(t, err)
		assert.Equal(t, pypeer.Int(3), m.peer.MustGetReference(f.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)), name)

		var there string
		m.peer.Do("register", pypeer.Params{"name": m.name, "swissnum": name}, &there)
		parsed, err := furl.Parse(there)
		require.NoError(t, err)
		assert.Equal(t, 3, call[int](t, connect(t, m.tub, parsed), "add", 1, 2), name)
	}

	asked := make(chan string, 10)
	stop := m.tub.OnLookup(func(_ context.Context, name string) (*tub.Object, error) {
		asked <- name
		if strings.HasPrefix(name, "made ") {
			return m.desk.child(), nil
		}
		return nil, tub.ErrUnknownName
	})
	made := func(name string) (pypeer.Ref, error) {
		n, err := furl.ParseSwissnum(name)
		require.NoError(t, err)
		return m.peer.GetReference(furl.FURL{TubID: m.tub.TubID(), Name: n}.Reveal())
	}
	ref, err := made("made on demand")
	require.NoError(t, err)
	assert.Equal(t, pypeer.Text("child"), ref.MustCall("name"))
	_, err = made("other")
	assert.Equal(t, "builtins.KeyError", failedThere(t, err).Type)
	stop()
	_, err = made("made once more")
	assert.Equal(t, "builtins.KeyError", failedThere(t, err).Type)
	assert.Equal(t, "made on demand", <-asked)
	assert.Equal(t, "other", <-asked)
	assert.Empty(t, asked)

	m.tub.Unregister(m.desk.object)
	assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)), "who holds a reference keeps it")
	_, err = made("list")
	assert.Equal(t, "builtins.KeyError", failedThere(t, err).Type)
}
