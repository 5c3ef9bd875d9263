package tub

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
)

// Func makes an object of a function, for which [Method] says what A and R may be.
// It arrives as a function in Go, and in Python as a reference to a bound method,
// whose callRemote takes keywords only.
//
// A function func(context.Context, A) (R, error) that is sent as it is becomes
// such an object, each time a new one. One of Func is the same for a peer each
// time, can be registered, and [Object.Value] returns f.
//
// A parameter or result of a function type takes a reference to a function. What
// it then is calls the peer, with the fields of A as keywords. It holds the
// reference, which is released after the garbage collector has found the function
// unreachable; who wants to Close the reference takes a *[Ref], and calls it with
// an empty name. Sent, it is a new function that goes by way of this Tub; such a
// *Ref can be sent to third Tubs, but not to its own: that fails with
// [ErrBoundMethod].
func Func[A, R any](f func(context.Context, A) (R, error), opts ...MethodOption) *Object {
	m := broker.NewMethod("", f)
	for _, o := range opts {
		o(m)
	}
	return function(f, m)
}

func function(f any, m *broker.Method) *Object {
	return broker.NewFunction(f, func(string) *broker.Method { return m })
}

var errNoFunction = errors.New("expected a function, got an object with methods")

// adoptFunction makes a Go function of what has come by reference.
func (t *Tub) adoptFunction(x any, to reflect.Type) (reflect.Value, error) {
	var ref *Ref
	switch x := x.(type) {
	case *Object:
		if !x.Function() {
			return reflect.Value{}, errNoFunction
		}
		if f := reflect.ValueOf(x.Value()); f.IsValid() && f.CanConvert(to) {
			return f.Convert(to), nil
		}
		ref = t.refTo(x)
	case *Ref:
		// What an introduction leads to may not be known yet.
		if remote := x.current(); remote != nil && !remote.Function() {
			return reflect.Value{}, errNoFunction
		}
		ref = x
	default:
		return reflect.Value{}, errNoFunction
	}
	calls, err := callsOf(to)
	if err != nil {
		return reflect.Value{}, err
	}
	return reflect.MakeFunc(to, func(in []reflect.Value) []reflect.Value { return calls(ref, in) }), nil
}

// functionCalls holds what callsOf has made of function types.
var functionCalls sync.Map

// A functionCall calls a reference as a function of one type is called.
type functionCall = func(ref *Ref, in []reflect.Value) (out []reflect.Value)

func callsOf(t reflect.Type) (functionCall, error) {
	if known, ok := functionCalls.Load(t); ok {
		return known.(functionCall), nil
	}
	arguments, err := argumentsOf(t.In(1))
	if err != nil {
		return nil, err
	}
	codec, err := banana.CodecOf(t.Out(0))
	if err != nil {
		return nil, err
	}
	calls := func(ref *Ref, in []reflect.Value) []reflect.Value {
		result := reflect.New(t.Out(0))
		err := ref.call(in[0].Interface().(context.Context), "", []any{arguments(in[1])}, result.Interface(), codec)
		if err != nil { // then the result may still be written to
			return []reflect.Value{reflect.Zero(t.Out(0)), reflect.ValueOf(&err).Elem()}
		}
		return []reflect.Value{result.Elem(), reflect.Zero(t.Out(1))}
	}
	functionCalls.Store(t, calls)
	return calls, nil
}

// argumentsOf returns what makes the last argument of Call of a struct of type t.
func argumentsOf(t reflect.Type) (func(reflect.Value) any, error) {
	if t == reflect.TypeFor[Args]() {
		return reflect.Value.Interface, nil
	}
	fields, _, err := banana.FieldsOf(t)
	if err != nil {
		return nil, fmt.Errorf("the arguments of a function are no struct of arguments: %w", err)
	}
	return func(v reflect.Value) any {
		all := make(Keywords, len(fields))
		for i := range fields {
			if f := fields[i].In(v); !fields[i].Optional || !f.IsZero() {
				all[fields[i].Name] = f.Interface()
				if f.Kind() == reflect.Interface && f.NumMethod() > 0 {
					all[fields[i].Name] = banana.As{Value: f.Interface(), Type: f.Type()}
				}
			}
		}
		return all
	}, nil
}
