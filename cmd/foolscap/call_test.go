package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestCallsOfTheDemonstrationObject(t *testing.T) {
	s := serve(t)
	data := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(data, []byte("\x00\xff text"), 0o600))
	for _, c := range []struct {
		name   string
		args   []string
		result string
	}{
		{"positional arguments", []string{"add", "2", "3"}, `5`},
		{"keyword arguments", []string{"add", "b=-3", "a=2"}, `-1`},
		{"both", []string{"add", "-2", "b=-3"}, `-5`},
		{"integers of any size", []string{"add", "9223372036854775807", "1"}, `9223372036854775808`},
		{"the result of two big ones", []string{"add", "-100000000000000000000", "100000000000000000001"}, `1`},
		{"floats", []string{"add", "1.5", "1.5"}, `3.0`},
		{"an integer and a float", []string{"add", "1", "0.5"}, `1.5`},
		{"a float and an integer", []string{"add", "0.5", "1"}, `1.5`},
		{"booleans", []string{"add", "true", "true"}, `2`},
		{"texts", []string{"add", "text:a b", `"c"`}, `"a bc"`},
		{"bytes", []string{"add", "bytes:a", `{"$hex":"00"}`}, `{"$hex":"6100"}`},
		{"lists", []string{"add", "[1]", "[2]"}, `[1,2]`},
		{"tuples", []string{"add", `{"$tuple":[1]}`, `{"$tuple":[2]}`}, `{"$tuple":[1,2]}`},
		{"none", []string{"echo", "null"}, `null`},
		{"a text that looks like a keyword", []string{"echo", "text:a=b"}, `"a=b"`},
		{"a text that looks like JSON", []string{"echo", "text:[1]"}, `"[1]"`},
		{"a keyword that is a text", []string{"echo", "value=text:x"}, `"x"`},
		{"a deep mixture", []string{"echo", `{"a":[{"$tuple":[1,{"$set":[2]}]}],"b":{"$dict":[[1,{"$bytes":"x"}]]}}`}, `{"a":[{"$tuple":[1,{"$set":[2]}]}],"b":{"$dict":[[1,{"$bytes":"x"}]]}}`},
		{"a cycle", []string{"echo", `{"$def":7,"value":[{"$ref":7}]}`}, `{"$def":1,"value":[{"$ref":1}]}`},
		{"parts shared between arguments", []string{"add", `[{"$def":1,"value":[]}]`, `[{"$ref":1}]`}, `[{"$def":1,"value":[]},{"$ref":1}]`},
		{"a Decimal", []string{"echo", `{"$decimal":"1.50"}`}, `{"$decimal":"1.50"}`},
		{"infinity", []string{"echo", `{"$float":"-inf"}`}, `{"$float":"-inf"}`},
		{"the length of a file", []string{"sink", "file:" + data}, `7`},
		{"the content of a file", []string{"echo", "file:" + data}, `{"$hex":"00ff2074657874"}`},
		{"the length of a text", []string{"sink", "text:héé"}, `3`},
		{"the length of a list", []string{"sink", "[1,2]"}, `2`},
		{"the length of a tuple", []string{"sink", `{"$tuple":[1]}`}, `1`},
		{"the length of a dict", []string{"sink", `{"a":1}`}, `1`},
		{"the length of a set", []string{"sink", `{"$set":[1,2,3]}`}, `3`},
		{"being called back", []string{"call_back", `{"$object":"demo"}`, "text:echo", "[1]"}, `[1]`},
		{"being called back by a name in bytes", []string{"call_back", `{"$object":"demo"}`, "bytes:echo", "1"}, `1`},
		{"getting one's own object back", []string{"echo", `{"$object":"demo"}`}, `{"$object":"demo"}`},
		{"the object calling itself", []string{"call_back", `{"$furl":"@` + s.file + `"}`, "text:echo", "[1]"}, `[1]`},
		{"holding a reference", []string{"hold", `{"$object":"demo"}`}, `null`},
		{"holding what is there anyway", []string{"hold", `{"$furl":"@` + s.file + `"}`}, `null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := foolscap(t, append([]string{"call", "@" + s.file}, c.args...)...)
			assert.Equal(t, result{code: exitOK, stdout: c.result + "\n"}, r)
		})
	}
}

func TestHeldReferencesAreDropped(t *testing.T) {
	s := serve(t)
	require.Equal(t, exitOK, foolscap(t, "call", "@"+s.file, "hold", `{"$object":"demo"}`).code)
	require.Equal(t, exitOK, foolscap(t, "call", "@"+s.file, "hold", `{"$object":"demo"}`).code)
	assert.Equal(t, "2\n", foolscap(t, "call", "@"+s.file, "drop").stdout)
	assert.Equal(t, "0\n", foolscap(t, "call", "@"+s.file, "drop").stdout)
}

func TestAReferenceInAResultShowsNoSecret(t *testing.T) {
	s := serve(t)
	r := foolscap(t, "call", "@"+s.file, "echo", `{"$furl":"@`+s.file+`"}`)
	require.Equal(t, exitOK, r.code, r.stderr)
	f, err := furl.Parse(s.furl)
	require.NoError(t, err)
	var doc map[string]map[string]string
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.Equal(t, map[string]map[string]string{"$reference": {"tub": f.TubID.String(), "interface": demoInterface}}, doc)
}

func TestTheFURLCanComeFromManyPlaces(t *testing.T) {
	s := serve(t)
	commented := filepath.Join(t.TempDir(), "commented.furl")
	require.NoError(t, os.WriteFile(commented, []byte("# the demonstration\n\n  "+s.furl+"\r\n"), 0o600))
	for _, r := range []result{
		foolscap(t, "call", s.furl, "add", "1", "2"),
		foolscap(t, "call", "@"+commented, "add", "1", "2"),
		foolscapWith(t, s.furl+"\n", "call", "-", "add", "1", "2"),
		foolscapWith(t, " [1] ", "call", s.furl, "sink", "-", "--timeout", "1m"),
	} {
		assert.Equal(t, exitOK, r.code, r.stderr)
	}
	r := foolscapWith(t, s.furl, "call", "-", "echo", "-")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "both")
	for _, content := range []string{"", "# nothing\n", s.furl + "\n" + s.furl + "\n"} {
		require.NoError(t, os.WriteFile(commented, []byte(content), 0o600))
		r := foolscap(t, "call", "@"+commented, "echo", "1")
		assert.Equal(t, exitUsage, r.code)
		assert.NotContains(t, r.stderr, s.secret)
	}
	r = foolscap(t, "call", "@"+commented+".not", "echo", "1")
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "no such file")
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		name, arg, says string
	}{
		{"a word", "hello", `"hello" is not JSON; a text is written text:hello, or '"hello"'`},
		{"words", "hello world", "put text: in front"},
		{"nothing", "", "put text: in front"},
		{"a word for a keyword", "value=hello", "argument value:"},
		{"broken JSON", "[1,", "argument 1: it is not JSON"},
		{"an unknown mark", `{"$x":1}`, "no known mark"},
		{"an unknown object", `{"$object":"other"}`, `there is only {"$object": "demo"}`},
		{"a FURL that is none", `{"$furl":"@` + s.file + `/x"}`, ""},
		{"a text that is not UTF-8", "text:\xff", "UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := foolscap(t, "call", "@"+s.file, "echo", c.arg)
			assert.Contains(t, []exitCode{exitUsage, exitFailure}, r.code)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, c.says)
		})
	}
	r := foolscap(t, "call", "@"+s.file, "echo", "value=1", "value=2")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "given twice")
	r = foolscap(t, "call", "@"+s.file, "sink", "file:/does/not/exist")
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "argument 1:")
	// A FURL in the wrong place is not repeated.
	r = foolscap(t, "call", "@"+s.file, s.furl, s.furl)
	assert.Equal(t, exitUsage, r.code)
	assert.NotContains(t, r.stderr, s.secret)
}

func TestRemoteFailuresAreShownSafely(t *testing.T) {
	s := serve(t)
	message := "text:boom \x1b[31m\nfoolscap call: fine " + s.secret
	r := foolscap(t, "call", "@"+s.file, "fail", message)
	assert.Equal(t, exitRemote, r.code)
	assert.Empty(t, r.stdout)
	assert.Equal(t, `foolscap call: the remote side failed with builtins.ValueError: boom \x1b[31m\nfoolscap call: fine [redacted]`+"\n", r.stderr)

	r = foolscap(t, "call", "--verbose", "@"+s.file, "fail", message)
	assert.Contains(t, r.stderr, "\n  | Traceback")

	r = foolscap(t, "call", "--json", "@"+s.file, "fail", message)
	assert.Equal(t, exitRemote, r.code)
	assert.Empty(t, r.stderr)
	assert.NotContains(t, r.stdout, s.secret)
	var doc errorDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.Equal(t, "remote-failure", doc.Error.Kind)
	assert.Equal(t, exitRemote, doc.Error.Code)
	assert.Equal(t, "builtins.ValueError", doc.Error.Remote.Type)
	assert.Equal(t, "boom \x1b[31m\nfoolscap call: fine [redacted]", doc.Error.Remote.Text)
	assert.Contains(t, doc.Error.Remote.Parents, "builtins.Exception")
}

func TestAFailureIsPassedOnAsItIs(t *testing.T) {
	s := serve(t)
	direct := foolscap(t, "call", "@"+s.file, "fail", "text:boom")
	passedOn := foolscap(t, "call", "@"+s.file, "call_back", `{"$object":"demo"}`, "text:fail", "text:boom")
	assert.Equal(t, direct, passedOn)
}

func TestEveryFailureOfTheObjectIsAPythonException(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		class string
		args  []string
	}{
		{"builtins.TypeError", []string{"add", "1", "text:x"}},
		{"builtins.TypeError", []string{"add", "[]", `{"$tuple":[]}`}},
		{"builtins.TypeError", []string{"add", "null", "null"}},
		{"builtins.TypeError", []string{"add", `{"$decimal":"1"}`, "1"}},
		{"builtins.OverflowError", []string{"add", "1.0", "1" + strings.Repeat("0", 400)}},
		{"builtins.TypeError", []string{"sink", "1"}},
		{"builtins.TypeError", []string{"fail", "1"}},
		{"builtins.TypeError", []string{"hold", "1"}},
		{"builtins.TypeError", []string{"call_back", "1", "text:x", "1"}},
		{"builtins.TypeError", []string{"call_back", `{"$object":"demo"}`, "1", "1"}},
		{"builtins.ValueError", []string{"call_back", `{"$object":"demo"}`, "text:fail", "text:passed on"}},
		{"builtins.AttributeError", []string{"call_back", `{"$object":"demo"}`, "text:nothing", "1"}},
		{"builtins.AttributeError", []string{"nothing"}},
		{"foolscap.tokens.Violation", []string{"add", "1"}},
		{"foolscap.tokens.Violation", []string{"add", "1", "2", "3"}},
		{"foolscap.tokens.Violation", []string{"add", "1", "c=2"}},
	} {
		r := foolscap(t, append([]string{"call", "@" + s.file}, c.args...)...)
		assert.Equal(t, exitRemote, r.code, "%q: %s", c.args, r.stderr)
		assert.Contains(t, r.stderr, c.class, "%q", c.args)
	}
}

// published registers an object in a Tub of the test and returns its FURL.
func published(t *testing.T, parts ...tub.Part) furl.FURL { return publishedWith(t, nil, parts...) }

func publishedWith(t *testing.T, opts *tub.Options, parts ...tub.Part) furl.FURL {
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	server, err := tub.New(id, opts)
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	l, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	_, err = server.Listen(l)
	require.NoError(t, err)
	f, err := server.Register(tub.NewObject(parts...))
	require.NoError(t, err)
	return f
}

// closedPort returns a hint of an address on which nobody listens.
func closedPort(t *testing.T) furl.Hint {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	return furl.StreamHint("tcp", "127.0.0.1", uint16(port))
}

func TestExitCodesTellFailuresApart(t *testing.T) {
	entered := make(chan struct{}, 1)
	f := published(t,
		tub.Method("wait", func(ctx context.Context, _ tub.None) (tub.None, error) {
			entered <- struct{}{}
			<-ctx.Done()
			return tub.None{}, ctx.Err()
		}),
		tub.Method("object", func(context.Context, tub.None) (any, error) { return tub.NewObject(), nil }),
	)
	wrongName, err := furl.Parse(f.String()[:strings.LastIndexByte(f.String(), '/')] + "/another-name-of-some-length")
	require.NoError(t, err)

	t.Run("nobody listens", func(t *testing.T) {
		r := foolscap(t, "call", f.WithHints(closedPort(t)).Reveal(), "wait")
		assert.Equal(t, exitUnreachable, r.code)
		assert.NotContains(t, r.stderr, f.Name.Reveal())
		r = foolscap(t, "call", "--json", f.WithHints(closedPort(t), "new:x").Reveal(), "wait")
		assert.Equal(t, exitUnreachable, r.code)
		var doc errorDocument
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
		assert.Equal(t, "unreachable", doc.Error.Kind)
		require.Len(t, doc.Error.Hints, 2)
		for _, h := range doc.Error.Hints {
			phase := "dial"
			if h.Hint == "new:x" {
				phase = "parse"
			}
			assert.Equal(t, phase, h.Phase)
			assert.Contains(t, doc.Error.Message, h.Hint+" failed in "+phase+": "+h.Text)
		}
	})
	t.Run("no hints", func(t *testing.T) {
		assert.Equal(t, exitUnreachable, foolscap(t, "call", f.WithHints().Reveal(), "wait").code)
	})
	t.Run("the wrong name", func(t *testing.T) {
		r := foolscap(t, "call", wrongName.Reveal(), "wait")
		assert.Equal(t, exitRemote, r.code)
		assert.NotContains(t, r.stderr, wrongName.Name.Reveal())
		assert.Contains(t, r.stderr, "the name in the FURL may be out of date")
		r = foolscap(t, "call", "--json", wrongName.Reveal(), "wait")
		assert.Contains(t, r.stdout, "the name in the FURL may be out of date")
	})
	t.Run("a Tub that is not there", func(t *testing.T) {
		stranger := f
		stranger.TubID = someTub
		r := foolscap(t, "call", stranger.Reveal(), "wait")
		assert.Equal(t, exitUnreachable, r.code)
		assert.Contains(t, r.stderr, "failed in plaintext: ")
		assert.Contains(t, r.stderr, "the FURL may be out of date")
	})
	t.Run("a type of hints that nobody knows", func(t *testing.T) {
		r := foolscap(t, "call", f.WithHints("carrier-pigeon:roof").Reveal(), "wait")
		assert.Equal(t, exitUnreachable, r.code)
		assert.Contains(t, r.stderr, "built in, only for "+transportTypes())
		assert.NotContains(t, r.stderr, "register")
	})
	t.Run("a reference that leads nowhere", func(t *testing.T) {
		r := foolscap(t, "call", f.Reveal(), "wait", `{"$furl":"`+f.WithHints(closedPort(t)).Reveal()+`"}`, "--timeout", "1m")
		assert.Equal(t, exitUnreachable, r.code, r.stderr)
		assert.Contains(t, r.stderr, "argument 1:")
	})
	t.Run("no answer in time", func(t *testing.T) {
		r := foolscap(t, "call", "--timeout", "300ms", f.Reveal(), "wait")
		assert.Equal(t, exitNoAnswer, r.code, r.stderr)
		assert.Contains(t, r.stderr, "--timeout")
		<-entered
	})
	t.Run("no time to connect", func(t *testing.T) {
		r := foolscap(t, "call", "--timeout", "1ns", f.Reveal(), "wait")
		assert.Equal(t, exitUnreachable, r.code, r.stderr)
	})
	t.Run("an interrupt", func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		var stderr strings.Builder
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, []string{"call", f.Reveal(), "wait"}, strings.NewReader(""), &stderr, &stderr)
		}()
		<-entered
		interrupt()
		assert.Equal(t, int(exitInterrupted), <-code)
	})
	t.Run("an identity that is not there", func(t *testing.T) {
		r := foolscap(t, "call", "--cert", filepath.Join(t.TempDir(), "none.pem"), f.Reveal(), "wait")
		assert.Equal(t, exitFailure, r.code)
		assert.Contains(t, r.stderr, "none.pem")
	})
	t.Run("success", func(t *testing.T) {
		assert.Equal(t, exitOK, foolscap(t, "call", f.Reveal(), "object").code)
	})
}

func TestLongResultsAreSpreadOverLines(t *testing.T) {
	s := serve(t)
	long := `["` + strings.Repeat("x", lineWidth) + `"]`
	r := foolscap(t, "call", "@"+s.file, "echo", long)
	assert.Equal(t, "[\n  "+long[1:len(long)-1]+"\n]\n", r.stdout)
	r = foolscap(t, "call", "--json", "@"+s.file, "echo", long)
	var doc resultDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.JSONEq(t, long, string(doc.Result))
	assert.Equal(t, 1, strings.Count(r.stdout, "\n"))
	assert.Positive(t, doc.Connect)
	assert.Positive(t, doc.Call)
}

func TestTheCallerCanHaveAnIdentity(t *testing.T) {
	var peer string
	f := published(t, tub.Method("who", func(_ context.Context, a struct{ Me *tub.Ref }) (tub.None, error) {
		peer = a.Me.Peer().String()
		return tub.None{}, nil
	}))
	pem := filepath.Join(t.TempDir(), "tub.pem")
	require.Equal(t, exitOK, foolscap(t, "id", "create", pem).code)
	r := foolscap(t, "call", "--cert", pem, f.Reveal(), "who", `{"$object":"demo"}`)
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Contains(t, foolscap(t, "id", "show", pem).stdout, peer)
	assert.Len(t, peer, 32)
}

func TestATubDoesNotCallItself(t *testing.T) {
	cert := filepath.Join(t.TempDir(), "tub.pem")
	s := serve(t, "--cert", cert)
	r := foolscap(t, "call", "--cert", cert, "@"+s.file, "add", "2", "3")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "the FURL is of the Tub of --cert itself")
}

// Forty nested lists, each shared twice, go there and back and to the screen.
func TestExponentialSharingGoesThroughACall(t *testing.T) {
	s := serve(t)
	text := `[]`
	for label := range 40 {
		text = fmt.Sprintf(`[{"$def":%d,"value":%s},{"$ref":%d}]`, label, text, label)
	}
	r := foolscap(t, "call", "--json", "@"+s.file, "echo", text)
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Less(t, len(r.stdout), 2500)
}
