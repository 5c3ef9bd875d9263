package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// demoInterface is the remote interface that the demonstration object is
// announced with.
const demoInterface = "RIDemo.foolscap-go"

// maxHeld bounds how many references strangers can make a demonstration
// object keep.
const maxHeld = 1000

// A demo is the demonstration object: the command serve publishes it, and the
// command call passes it where {"$object": "demo"} stands.
type demo struct {
	t      *tub.Tub
	object *tub.Object

	mu   sync.Mutex
	held []*tub.Ref
}

// newDemo makes a demonstration object that lives in t.
func newDemo(t *tub.Tub) *demo {
	d := &demo{t: t}
	d.object = tub.NewObject(
		tub.Interface(demoInterface),
		tub.Value(d),
		tub.Method("add", d.add),
		tub.Method("echo", d.echo),
		tub.Method("sink", d.sink),
		tub.Method("fail", d.fail),
		tub.Method("call_back", d.callBack),
		tub.Method("hold", d.hold),
		tub.Method("drop", d.drop),
	)
	return d
}

func (d *demo) add(_ context.Context, a struct{ A, B any }) (any, error) { return add(a.A, a.B) }

func (d *demo) echo(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }

// sink returns the length of whatever has one.
func (d *demo) sink(_ context.Context, a struct{ Data any }) (int, error) {
	switch v := a.Data.(type) {
	case []byte:
		return len(v), nil
	case string:
		return utf8.RuneCountInString(v), nil
	case *banana.List:
		return len(v.Items), nil
	case banana.Tuple:
		return len(v), nil
	case interface{ Len() int }: // dict, set, frozenset
		return v.Len(), nil
	}
	return 0, typeError("%s has no length", pythonType(a.Data))
}

func (d *demo) fail(_ context.Context, a struct{ Message any }) (tub.None, error) {
	text, err := textOf(a.Message)
	if err != nil {
		return tub.None{}, err
	}
	return tub.None{}, &pythonError{"ValueError", text}
}

// callBack calls a method of the reference that it was given.
func (d *demo) callBack(ctx context.Context, a struct {
	Ref    any
	Method any
	Value  any
}) (any, error) {
	method, err := textOf(a.Method)
	if err != nil {
		return nil, err
	}
	switch ref := a.Ref.(type) {
	case *tub.Ref:
		return relay(ctx, ref, method, a.Value)
	case *tub.Object: // one of ours that has come home
		f, err := d.t.FURL(ref)
		if err != nil {
			return nil, err
		}
		home, err := d.t.Connect(ctx, f)
		if err != nil {
			return nil, err
		}
		defer home.Close()
		return relay(ctx, home, method, a.Value)
	}
	return nil, typeError("%s cannot be called back, a reference can", pythonType(a.Ref))
}

// relay calls a method, and passes on what that fails with as if it were our
// own failure.
func relay(ctx context.Context, ref *tub.Ref, method string, value any) (any, error) {
	result, err := tub.Call[any](ctx, ref, method, value)
	var failure *tub.Failure
	if errors.As(err, &failure) {
		err = &relayed{failure}
	}
	return result, err
}

// relayed is the failure of somebody else.
type relayed struct{ failure *tub.Failure }

func (e *relayed) Error() string { return e.failure.Text }

func (e *relayed) RemoteType() (string, []string) { return e.failure.Type, e.failure.Parents }

// hold keeps a reference until drop.
func (d *demo) hold(_ context.Context, a struct{ Ref any }) (tub.None, error) {
	ref, ok := a.Ref.(*tub.Ref)
	if !ok {
		if _, ours := a.Ref.(*tub.Object); ours {
			return tub.None{}, nil // it is held anyway
		}
		return tub.None{}, typeError("%s cannot be held, a reference can", pythonType(a.Ref))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.held) >= maxHeld {
		ref.Close()
		return tub.None{}, &pythonError{"ValueError", fmt.Sprintf("%d references are held already, call drop first", maxHeld)}
	}
	d.held = append(d.held, ref)
	return tub.None{}, nil
}

// drop releases what hold has kept, and returns how many there were.
func (d *demo) drop(context.Context, tub.None) (int, error) {
	d.mu.Lock()
	held := d.held
	d.held = nil
	d.mu.Unlock()
	for _, ref := range held {
		ref.Close()
	}
	return len(held), nil
}

// textOf takes both of Foolscap's kinds of strings: programs for Python 2 send
// bytes where those for Python 3 send text.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		if utf8.Valid(v) {
			return string(v), nil
		}
	}
	return "", typeError("expected a text, got %s", pythonType(v))
}
