package broker

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A vector is what real Python Foolscap has sent or has been sent.
type vector struct {
	Name          string
	Hex           string
	Tokens        string
	Outcome       string
	Reply         string
	RequestResult []string `json:"request_result"`
}

func (v vector) bytes(t *testing.T) []byte {
	b, err := hex.DecodeString(v.Hex)
	require.NoError(t, err)
	return b
}

// vectors returns those of a group, in the order of their recording.
func vectors(t *testing.T, group string) (found []vector) {
	b, err := os.ReadFile("../banana/testdata/vectors.json")
	require.NoError(t, err)
	var all []vector
	require.NoError(t, json.Unmarshal(b, &all))
	for _, v := range all {
		if strings.HasPrefix(v.Name, group+"/") {
			found = append(found, v)
		}
	}
	require.NotEmpty(t, found)
	return found
}

// vector1 returns the vector of that name.
func vector1(t *testing.T, name string) vector {
	group, _, _ := strings.Cut(name, "/")
	for _, v := range vectors(t, group) {
		if v.Name == name {
			return v
		}
	}
	t.Fatal("there is no vector ", name)
	return vector{}
}

// pythonRoot offers what the recorded Python object offers.
func pythonRoot() *Object {
	var mu sync.Mutex
	var held []*hostRef
	keep := func(x any) {
		if r, ok := x.(*hostRef); ok {
			mu.Lock()
			held = append(held, r)
			mu.Unlock()
		}
	}
	root := NewObject("", nil,
		NewMethod("add", func(_ context.Context, a struct{ A, B any }) (any, error) {
			x, ok := a.A.(int64)
			y, ok2 := a.B.(int64)
			if ok && ok2 {
				return x + y, nil
			}
			// The same list twice, as Python concatenates it.
			l := append([]any{}, a.A.(*banana.List).Items...)
			return banana.NewList(append(l, a.B.(*banana.List).Items...)...), nil
		}),
		NewMethod("echo", func(_ context.Context, a struct{ O any }) (any, error) {
			keep(a.O)
			return a.O, nil
		}),
		NewMethod("typename", func(_ context.Context, a struct{ O any }) ([]byte, error) {
			return []byte(pythonRepr(a.O, nil)), nil
		}),
		NewMethod("hold", func(_ context.Context, a struct{ O any }) (any, error) {
			keep(a.O)
			return nil, nil
		}),
		method("drop", func(context.Context) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range held {
				r.Close()
			}
			held = nil
			return nil, nil
		}),
		method("none", func(context.Context) (any, error) { return nil, nil }),
		method("fail", func(context.Context) (any, error) { return nil, valueError("boom") }),
		method("unser", func(context.Context) (any, error) { return make(chan int), nil }),
	)
	return root
}

// A valueError is what Python calls so.
type valueError string

func (e valueError) Error() string { return string(e) }
func (e valueError) RemoteType() (string, []string) {
	return "builtins.ValueError", []string{"builtins.ValueError", "builtins.Exception"}
}

// pythonRepr is Python's repr, as far as the vectors need it.
func pythonRepr(v any, within any) string {
	if v != nil && v == within {
		return "[...]"
	}
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return "'" + v + "'"
	case []byte:
		return "b'" + string(v) + "'"
	case *banana.List:
		var items []string
		for _, item := range v.Items {
			items = append(items, pythonRepr(item, v))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case *banana.Dict:
		var items []string
		for k, x := range v.All() {
			items = append(items, pythonRepr(k, nil)+": "+pythonRepr(x, nil))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case *hostRef:
		return "<RemoteReference>"
	}
	return fmt.Sprint(v)
}

// publish makes the peer hold the object without a word on the wire, because
// the vectors count OPENs from 0.
func (s *side) publish(clid int64, o *Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &export{clid: clid, obj: o, sent: 1}
	s.refs.exports[clid], s.refs.byObj[o] = e, e
	s.refs.last = clid
	s.refs.holdSource(o)
}

// Where we do not do what Python does with bytes that no Foolscap sends.
var deliberate = map[string]struct{ outcome, why string }{
	"malformed/tuple-direct-self":           {"VIOLATION", "Python never runs the call nor any later one; ours fails it and goes on"},
	"malformed/ok-yourref-0":                {"DROP", "nobody gets at the broker itself, which has no number that was given out"},
	"malformed/theirref-empty-furl":         {"VIOLATION", "introductions are not resolved yet: the error is another one, the acknowledgement is the same"},
	"malformed/args-kwarg-no-value":         {"VIOLATION", "the name of the argument is refused before it is seen that its value is missing"},
	"malformed-answer/error-type-201":       {"OK", "Python's senders cut by characters, so more bytes than its receivers take may come"},
	"malformed-answer/error-traceback-2001": {"OK", "likewise"},
	"malformed-answer/error-empty-state":    {"VIOLATION", "an attribute that is missing is no reason to drop the connection"},
	"malformed-answer/error-parents-tuple":  {"OK", "a tuple of names does as well as a list"},
}

var remoteType = regexp.MustCompile(`STRING\(4,b'type'\) STRING\(\d+,b'([^']*)'\)`)

func TestMalformedMessagesHaveTheOutcomeThatTheyHaveAtAPythonPeer(t *testing.T) {
	for _, v := range vectors(t, "malformed") {
		t.Run(v.Name, func(t *testing.T) {
			s, p := newPeer(t, nil)
			s.publish(1, pythonRoot())
			var replies []message
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					m := p.receive()
					if m == nil {
						return
					}
					replies = append(replies, m)
					if m.kind() == "answer" && m.request() == 999 {
						return
					}
				}
			}()
			p.write(v.bytes(t))
			p.opens = 100 // nothing depends on them
			p.send(callSeq(999, 1, "none"))
			within(t, "the replies are there", ended)

			last := "the end"
			if len(replies) > 0 {
				last = replies[len(replies)-1].kind()
			}
			outcome, want := "OK", strings.Fields(v.Outcome)[0]
			switch {
			case last != "answer":
				outcome = "DROP"
				if v.Name == "malformed/ERROR-1000" {
					require.Equal(t, "the end", last, "an ERROR is not answered")
					var remote *banana.RemoteError
					require.ErrorAs(t, s.Err(), &remote)
				} else {
					require.Equal(t, "ERROR", last)
				}
				replies = nil
			case len(replies) < 2:
				outcome = "VIOLATION" // of something that nobody waits for
			case replies[0].kind() == "error", replies[1].kind() == "error":
				outcome = "VIOLATION"
			}
			d, differs := deliberate[v.Name]
			if differs {
				if v.Name != "malformed/theirref-empty-furl" { // there it is the error that differs
					require.NotEqual(t, want, d.outcome, "no difference any more: %s", d.why)
				}
				want = d.outcome
			}
			require.Equal(t, want, outcome)
			if outcome == "DROP" {
				return
			}
			compareReplies(t, v, replies[:len(replies)-1], differs)
		})
	}
}

// compareReplies compares what the broker has sent with what Python has.
func compareReplies(t *testing.T, v vector, replies []message, differs bool) {
	var all []string
	for _, m := range replies {
		all = append(all, unnumbered(m.String()))
	}
	ours := strings.Join(all, " ")
	switch {
	case v.Name == "malformed/tuple-direct-self":
		require.Len(t, replies, 2, "the error, and the answer to the call behind it")
		require.Contains(t, replies[0].attribute("value"), "tuple")
		require.Equal(t, "answer", replies[1].kind())
	case v.Name == "malformed/args-kwarg-no-value":
		require.Contains(t, replies[0].attribute("value"), "unknown argument")
	case strings.Contains(v.Reply, "VOCAB(14=error)"):
		require.Contains(t, ours, "VOCAB(14=error) INT(7) OPEN() VOCAB(18=copyable) STRING(30,b'twisted.python.failure.Failure')")
		if theirs := remoteType.FindStringSubmatch(v.Reply); theirs != nil && !differs {
			require.Equal(t, theirs[1], replies[len(replies)-1].attribute("type"))
		}
		if differs { // the acknowledgement is in front of the error
			ack, _, _ := strings.Cut(unnumbered(v.Reply), "OPEN() VOCAB(14=error)")
			require.Equal(t, strings.TrimSpace(ack), all[0])
		}
	case strings.Contains(v.Reply, "RemoteReference"):
		require.Contains(t, ours, "VOCAB(13=answer) INT(7) STRING(")
	default:
		require.Equal(t, unnumbered(v.Reply), ours)
	}
}

func TestMalformedAnswersHaveTheOutcomeThatTheyHaveAtAPythonPeer(t *testing.T) {
	for _, v := range vectors(t, "malformed-answer") {
		t.Run(v.Name, func(t *testing.T) {
			s, p := newPeer(t, nil)
			s.publish(1, pythonRoot())
			s.mu.Lock()
			target, err := &proxy{clid: 1, handles: 1}, error(nil)
			s.refs.imports[1] = target
			s.mu.Unlock()
			r := &Remote{b: s.Broker, p: target} // no cleanup: the peer never gave it
			result := make(chan error, 1)
			value := new(any)
			go func() { result <- r.Call(context.Background(), "add", Args{}, value, codec[any]()) }()
			require.EqualValues(t, 1, p.receive().request())
			p.write(v.bytes(t))
			p.opens = 100
			go p.send(callSeq(999, 1, "none"))
			m := p.receive()
			err = within(t, "the call ends", result)

			want := strings.Fields(v.Outcome)[0]
			if d, ok := deliberate[v.Name]; ok {
				require.NotEqual(t, want, d.outcome, "no difference any more: %s", d.why)
				want = d.outcome
			}
			var violation *banana.Violation
			var failure *Failure
			switch want {
			case "DROP":
				require.Equal(t, "ERROR", m.kind())
				require.ErrorIs(t, err, ErrDeadReference)
				require.Equal(t, MayHaveRun, callError(t, err).Sent)
				return
			case "VIOLATION":
				require.ErrorAs(t, err, &violation)
				require.Equal(t, Answered, callError(t, err).Sent)
			default:
				if v.Name == "malformed-answer/ok" {
					require.NoError(t, err)
					require.EqualValues(t, 5, *value)
				} else {
					require.ErrorAs(t, err, &failure)
					require.Equal(t, Answered, callError(t, err).Sent)
				}
			}
			require.Equal(t, "answer", m.kind(), "the connection lives")
		})
	}
}

// TestCallsOfPythonAreAnsweredAsPythonAnswersThem plays the recorded calls of
// one connection and compares the answers with the recorded ones.
func TestCallsOfPythonAreAnsweredAsPythonAnswersThem(t *testing.T) {
	answers, compared := map[string]vector{}, map[string]bool{}
	for _, v := range vectors(t, "answer") {
		answers[v.Name] = v
	}
	root := pythonRoot()
	noLeaks(t)
	a, b := pipePair(t)
	s, p := peerOf(t, a, b.Conn, root)
	s.host.furls[root] = recordedFURL
	for _, v := range vectors(t, "call") {
		name := strings.TrimPrefix(v.Name, "call/")
		sent, ack, _ := bytes.Cut(v.bytes(t), []byte("\x25\x88\x0d\x87")) // the answer to our decref
		p.write(sent)
		want, ok := answers["answer/"+name]
		if name == "getReferenceByName" {
			want, ok = answers["answer/my-reference-first"], true
		}
		compared[want.Name] = ok
		switch {
		case name == "callRemoteOnly", name == "abort-unserializable-arg":
			continue // no answer: what comes next is the answer to another call
		case !ok:
			require.Contains(t, []string{}, v.Name, "an answer that was not recorded")
		}
		got := p.receive()
		switch {
		case name == "unserializable-result": // we know before the first byte, so we can say why
			require.Equal(t, "error", got.kind())
			require.Equal(t, "foolscap.tokens.Violation", got.attribute("type"))
		case got.kind() == "error":
			require.Contains(t, want.Tokens, "VOCAB(14=error) INT("+fmt.Sprint(got.request())+")")
			theirs := remoteType.FindStringSubmatch(want.Tokens)
			require.NotNil(t, theirs)
			if name == "error-typeerror" || name == "error-unknown-name-first-letter" {
				// Here arguments are declared, as with a schema in Python.
				require.Equal(t, "builtins.TypeError", theirs[1])
				require.Equal(t, "foolscap.tokens.Violation", got.attribute("type"))
			} else {
				require.Equal(t, theirs[1], got.attribute("type"), v.Name)
			}
		case name == "drop-decref":
			// The release comes before the answer, because it is queued
			// within the method.
			both := unnumbered(p.receive().String() + " " + got.String())
			require.Equal(t, unnumbered(want.Tokens), both)
			require.NotEmpty(t, ack)
			p.write(append([]byte("\x25\x88\x0d\x87"), ack...))
		default:
			require.Equal(t, unnumbered(want.Tokens), unnumbered(got.String()), v.Name)
		}
	}
	delete(compared, "") // that of calls without an answer
	require.Len(t, compared, len(answers), "every answer has been compared")
	require.Equal(t, 2, s.Tables().Imports, "an object with an interface, and a bound method")

	// Python gives an introduction, and does so again; we acknowledge it as
	// Python would.
	reply := unnumbered(vector1(t, "gift/B-to-A").Tokens)
	for _, name := range []string{"gift/A-to-B-call", "gift/A-to-B-second"} {
		v := vector1(t, name)
		p.write(v.bytes(t))
		ack := p.receive()
		require.EqualValues(t, 1, ack.number("count"))
		if name == "gift/A-to-B-call" {
			require.Contains(t, reply, unnumbered(ack.String()))
		} else {
			require.EqualValues(t, 2, ack.number("giftID"))
		}
		refused := p.receive()
		require.Equal(t, "error", refused.kind())
		require.Equal(t, "foolscap.tokens.Violation", refused.attribute("type"))
	}

	// The bound method is released by its negative number.
	p.opens = 1000
	p.send(callSeq(99, 1, "drop"))
	var released []string
	for range 3 {
		released = append(released, requestNumber.ReplaceAllString(unnumbered(p.receive().String()), "$1 INT(3) INT(0)"))
	}
	const boundMethod = "OPEN() VOCAB(11=call) INT(3) INT(0) STRING(6,b'decref') OPEN() VOCAB(12=arguments) INT(0) " +
		"STRING(4,b'clid') NEG(3) STRING(5,b'count') INT(1) CLOSE() CLOSE()"
	require.Contains(t, reply, boundMethod)
	require.Contains(t, released, boundMethod)
}

var requestNumber = regexp.MustCompile(`(VOCAB\(11=call\)) INT\(\d+\) INT\(0\)`)

// recordedFURL is that of the recorded root.
const recordedFURL = "pb://twyn6rswatofu4ozza76hsckj2llijqc@tcp:127.0.0.1:9999/root"

// TestOurCallsAreThoseOfPython makes the recorded calls and compares the bytes,
// and takes the recorded answers.
func TestOurCallsAreThoseOfPython(t *testing.T) {
	answers, calls := map[string][]byte{}, map[string]vector{}
	for _, v := range vectors(t, "answer") {
		answers[strings.TrimPrefix(v.Name, "answer/")] = v.bytes(t)
	}
	answers["getReferenceByName"] = answers["my-reference-first"]
	for _, v := range vectors(t, "call") {
		calls[strings.TrimPrefix(v.Name, "call/")] = v
	}
	noLeaks(t)
	a, b := pipePair(t)
	a.Peer = furl.TubID("twyn6rswatofu4ozza76hsckj2llijqc")
	s, p := peerOf(t, a, b.Conn, nil)

	exchange := func(name string, do func() (any, error)) (any, error) {
		t.Helper()
		type result struct {
			v   any
			err error
		}
		done := make(chan result, 1)
		go func() {
			v, err := do()
			done <- result{v, err}
		}()
		require.Equal(t, calls[name].Tokens, p.receive().String(), name)
		p.write(answers[name])
		r := within(t, "it is answered", done)
		return r.v, r.err
	}
	x, err := exchange("getReferenceByName", func() (any, error) { return s.GetReference(context.Background(), "root") })
	require.NoError(t, err)
	root := x.(*hostRef)
	require.Equal(t, recordedFURL, root.FURL())

	shared := banana.NewList(7)
	mine := noneRoot()
	do := func(name, method string, args Args) (any, error) {
		return exchange(name, func() (any, error) {
			v := new(any)
			err := root.Call(context.Background(), method, args, v, codec[any]())
			return *v, err
		})
	}
	pos := func(v ...any) Args { return Args{Positional: v} }
	for _, test := range []struct {
		name, method string
		args         Args
		want         any
		fails        string
	}{
		{"add-positional", "add", pos(1, 2), int64(3), ""},
		{"add-keyword", "add", Args{Keyword: map[string]any{"b": 4, "a": 3}}, int64(7), ""},
		{"add-mixed", "add", Args{Positional: []any{1}, Keyword: map[string]any{"b": 2}}, int64(3), ""},
		{"noargs", "none", Args{}, nil, ""},
		{"shared-across-args", "add", pos(shared, shared), banana.NewList(int64(7), int64(7)), ""},
		{"error-ValueError", "fail", Args{}, nil, "builtins.ValueError"},
		{"error-nosuchmethod", "nosuch", Args{}, nil, "builtins.AttributeError"},
		{"error-typeerror", "add", pos(1), nil, "builtins.TypeError"},
		{"error-unknown-name-first-letter", "none", Args{Keyword: map[string]any{"list": 1}}, nil, "builtins.TypeError"},
	} {
		got, err := do(test.name, test.method, test.args)
		if test.fails != "" {
			var f *Failure
			require.ErrorAs(t, err, &f, test.name)
			require.True(t, f.IsType(test.fails), test.name)
			require.True(t, f.IsType("builtins.Exception"), test.name)
			require.Equal(t, Answered, callError(t, err).Sent)
			continue
		}
		require.NoError(t, err, test.name)
		require.Equal(t, test.want, got, test.name)
	}
	_, err = do("unserializable-result", "unser", Args{})
	require.ErrorIs(t, err, banana.ErrAborted)
	_, err = do("error-no-traceback", "fail", Args{})
	var f *Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, "boom", f.Text)
	require.Equal(t, noTraceback, f.Traceback)

	for _, name := range []string{"arg-my-reference-first", "arg-my-reference-second"} {
		_, err = do(name, "hold", pos(mine))
		require.NoError(t, err, name)
	}
	got, err := do("echo-my-reference", "echo", pos(mine))
	require.NoError(t, err)
	require.Same(t, mine, got, "it comes home")
	require.Equal(t, 1, s.Tables().Exports)
	// Python answers, and then releases what it held with the exact count;
	// the recorded call has our acknowledgement behind it.
	_, err = do2(t, s, p, calls["drop-decref"], answers["drop-decref"], root, "drop")
	require.NoError(t, err)
	require.Zero(t, s.Tables().Exports)
	got, err = do("arg-my-reference-interface", "hold", pos(NewObject("RIFoo.example.org", nil)))
	require.NoError(t, err)
	require.Nil(t, got)
	require.Equal(t, 1, s.Tables().Exports)
	got, err = do("echo-root-your-reference", "echo", pos(root))
	require.NoError(t, err)
	require.True(t, got.(*hostRef).Same(root.Remote))
	got.(*hostRef).Close()
	require.Equal(t, 1, s.Tables().Imports, "another handle is left")
	require.NoError(t, root.Send(t.Context(), "add", pos(1, 2)))
	only, want := p.receive(), calls["callRemoteOnly"].Tokens
	require.Equal(t, unnumbered(want), unnumbered(only.String()))
	runtime.KeepAlive(root)
}

// do2 is an exchange whose capture holds two messages in each direction.
func do2(t *testing.T, s *side, p *peer, call vector, answer []byte, root *hostRef, method string) (any, error) {
	t.Helper()
	v := new(any)
	done := make(chan error, 1)
	go func() { done <- root.Call(context.Background(), method, Args{}, v, codec[any]()) }()
	sent := p.receive().String()
	p.write(answer)
	err := within(t, "it is answered", done)
	ack := p.receive().String()
	require.Equal(t, call.Tokens, sent+" "+ack)
	return *v, err
}
