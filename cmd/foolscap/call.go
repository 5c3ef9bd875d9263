package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

func callCommand() *command {
	return &command{
		name:    "call",
		args:    "FURL METHOD [ARGUMENT | NAME=ARGUMENT]...",
		summary: "call a method of a remote object and print the result",
		about: `Connects to the Tub of a FURL, calls a method of its object and prints what the
method returns, as JSON.

The FURL is a secret: give it as @FILE, or as - to read it from standard input,
and it does not show in the list of processes or in the history of the shell.

An ARGUMENT is JSON; NAME=ARGUMENT is a keyword argument. Or it is one of
  text:WORDS    the text WORDS: no quotes are needed inside those of the shell
  bytes:WORDS   the same as bytes, as programs for Python 2 often want them
  file:FILE     the content of FILE as bytes
  -             JSON from standard input
None of these could be JSON, and a negative number is not taken for a flag.

JSON has fewer types than Foolscap. Arguments and results write the others as
  {"$bytes": "text"}, {"$hex": "00ff"}    bytes
  {"$tuple": [1]}, {"$set": [1]}, {"$frozenset": [1]}
  {"$dict": [[1, "one"], [2, "two"]]}     a dict whose keys are not plain texts
  {"$decimal": "1.50"}                    a Decimal; 1 is an int, 1.0 a float
  {"$float": "nan"}, or "inf", "-inf"     the floats that JSON lacks
  {"$int": "0x1f"}                        a very long integer
  {"$def": 1, "value": []}, {"$ref": 1}   one list in two places, or in itself
  {"$object": "demo"}                     an object of this program (see serve)
  {"$furl": "@FILE"}                      a reference, to the object of a FURL
  {"$reference": {…}}                     in results only: an object of the peer
docs/cli.md has the whole of it.`,
		examples: `foolscap call @demo.furl add 2 3
foolscap call @demo.furl add b=-3 a=2
foolscap call @demo.furl echo text:"no quotes within quotes"
foolscap call @demo.furl echo '{"$tuple": [1, {"$bytes": "abc"}, 2.5]}'
foolscap call @demo.furl sink file:picture.png
# Be called back.
foolscap call @demo.furl call_back '{"$object": "demo"}' text:echo '[1, 2]'
# The result alone, for a script; what went wrong is told by the exit code.
foolscap call --json @demo.furl add 2 3 | jq .result
# By a tor of its own, and by nothing else.
foolscap call --hidden --tor launch @onion.furl add 2 3
# At an onion service that admits the key which foolscap clientkey has made.
foolscap call --tor control --client-key service.key @onion.furl add 2 3`,
		codes: []exitCode{exitUnreachable, exitRemote, exitNoAnswer, exitInterrupted},
		setup: setupCall,
	}
}

type callFlags struct{ dialFlags }

func setupCall(fs *flag.FlagSet) runFunc {
	f := new(callFlags)
	f.define(fs, "give up after this `DURATION`, connecting included; 0 for never (default 1m, or 3m with --tor or --hidden)")
	verbose := fs.Bool("verbose", false, "show the remote traceback of a failure, and log what happens")
	return func(ctx context.Context, e *env, args []string) error {
		e.verbose = *verbose
		if err := want(args, 2, -1, "FURL METHOD [ARGUMENT...]"); err != nil {
			return err
		}
		return f.run(ctx, e, args[0], args[1], args[2:])
	}
}

func (f *callFlags) run(ctx context.Context, e *env, target, method string, words []string) error {
	d, err := f.prepare(ctx, e, target)
	if err != nil {
		return err
	}
	defer d.close()
	t, limited := d.tub, d.limited
	stop := d.progress(e)
	defer func() { stop() }()
	c := &caller{e: e, t: t, demo: newDemo(t)}
	args, err := e.readArguments(ctx, words, newNotationReader(func(mark, text string) (any, error) {
		return c.external(ctx, limited, mark, text)
	}))
	if err != nil {
		return err
	}
	begun := time.Now()
	ref, err := t.Connect(limited, d.address)
	if err != nil {
		return err
	}
	connected := time.Since(begun)
	stop()
	stop = e.progress(func() string { return "waiting for the answer of " + method })
	begun = time.Now()
	result, err := tub.Call[any](limited, ref, method, args)
	elapsed := time.Since(begun)
	if err != nil {
		return err
	}
	stop()
	text, err := writeNotation(result, c.describe)
	if err != nil {
		return err
	}
	if err := e.writeResult(text, d.address.TubID.String(), connected, elapsed); err != nil {
		return err
	}
	d.finish(ctx)
	return nil
}

// A caller knows the references of one call.
type caller struct {
	e    *env
	t    *tub.Tub
	demo *demo
}

// external makes what $object and $furl in an argument stand for. limited is
// ctx with the time limit of the call.
func (c *caller) external(ctx, limited context.Context, mark, text string) (any, error) {
	if mark == markObject {
		if text != "demo" {
			return nil, fmt.Errorf(`%s %s: there is only {%q: "demo"}`, mark, quote(text), markObject)
		}
		return c.demo.object, nil
	}
	f, err := c.e.furl(ctx, text)
	if err != nil {
		return nil, err
	}
	return c.t.Connect(limited, f)
}

// describe writes what goes by reference in a result.
func (c *caller) describe(x banana.External) ([]byte, error) {
	switch x := x.(type) {
	case *tub.Object:
		if x == c.demo.object {
			return []byte(`{"` + markObject + `":"demo"}`), nil
		}
	case *tub.Ref:
		text := []byte(`{"` + markReference + `":{"tub":`)
		text = appendString(text, x.Peer().String())
		if name := x.Interface(); name != "" {
			text = appendString(append(text, `,"interface":`...), name)
		}
		return append(text, "}}"...), nil
	}
	return nil, fmt.Errorf("a value of type %T has no notation", x)
}

// resultDocument is what --json writes for a call that has returned.
type resultDocument struct {
	Result  json.RawMessage `json:"result"`
	TubID   string          `json:"tub"`
	Connect float64         `json:"connect_ms"`
	Call    float64         `json:"call_ms"`
}

func (e *env) writeResult(text []byte, tubID string, connect, call time.Duration) error {
	if e.json {
		return e.writeJSON(resultDocument{text, tubID, milliseconds(connect), milliseconds(call)})
	}
	_, err := e.stdout.Write(append(layOut(text), '\n'))
	return err
}
