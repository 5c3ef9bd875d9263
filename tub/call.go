package tub

import (
	"context"
	"errors"
	"reflect"
	"runtime"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
)

// Keywords are arguments by name, as the last argument of a call.
type Keywords map[string]any

// As returns a value as an argument of [Call] that is sent as of the interface type I,
// where its own type has several: see [StubOf].
func As[I any](v I) any {
	if _, ok := any(v).(banana.External); ok {
		return v // as itself anyway
	}
	return banana.As{Value: v, Type: reflect.TypeFor[I]()}
}

// argsOf sorts positional and keyword arguments.
func argsOf(args []any) Args {
	n := len(args)
	if n == 0 {
		return Args{}
	}
	switch last := args[n-1].(type) {
	case Keywords:
		return Args{Positional: args[:n-1], Keyword: last}
	case Args:
		if n == 1 {
			return last
		}
	}
	return Args{Positional: args}
}

// Call calls a method of a remote object and waits for its result. Arguments
// are positional; [Keywords] as the last one gives some by name, and an [Args]
// as the only one gives all. T is the type of the result: the value is decoded
// directly into it, and one that does not fit is an error; use any to take
// whatever comes, and [None] for methods that return nothing.
//
// When ctx ends, Call returns at once, with an error that says whether the
// call may have run. Every error is a *[CallError], or a *[DialError] of a
// reference that could not be resolved.
func Call[T any](ctx context.Context, r *Ref, method string, args ...any) (T, error) {
	var zero T
	codec, err := banana.CodecOf(reflect.TypeFor[T]())
	if err != nil {
		return zero, r.notSent(method, err)
	}
	// The reader may still write to result when the call is cancelled, so it
	// is looked at only when it is known to be complete.
	result := new(T)
	if err := r.call(ctx, method, args, result, codec); err != nil {
		return zero, err
	}
	return *result, nil
}

// call is Call for a result of codec's type, which ptr points to.
func (r *Ref) call(ctx context.Context, method string, args []any, ptr any, codec *banana.Codec) error {
	to, err := r.calleeFor(ctx, args)
	if err != nil {
		return r.unresolved(method, err)
	}
	err = to.Call(ctx, method, argsOf(args), ptr, codec)
	runtime.KeepAlive(r)
	return err
}

// A Pending is a call that was started and not waited for.
type Pending[T any] struct {
	p      *broker.Pending
	result *T
}

// Start is Call without waiting for the result. The arguments may be changed
// once it has returned. Calls that one goroutine starts on one reference, or on
// live references of one connection, are sent, and start to run, in that order;
// those on a reference that is being resolved wait at the peer for that.
func Start[T any](ctx context.Context, r *Ref, method string, args ...any) (*Pending[T], error) {
	codec, err := banana.CodecOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, r.notSent(method, err)
	}
	to, err := r.calleeFor(ctx, args)
	if err != nil {
		return nil, r.unresolved(method, err)
	}
	result := new(T)
	p, err := to.Start(ctx, method, argsOf(args), result, codec)
	runtime.KeepAlive(r)
	if err != nil {
		return nil, err
	}
	return &Pending[T]{p: p, result: result}, nil
}

// Wait waits for the result of a call. It is to be called once; when ctx ends,
// the call is given up.
func (p *Pending[T]) Wait(ctx context.Context) (T, error) {
	var zero T
	if err := p.p.Wait(ctx); err != nil {
		return zero, err
	}
	return *p.result, nil
}

// Send calls a method without asking for an answer: what becomes of it stays
// unknown. It waits, under ctx, when much is waiting to be sent already.
func Send(ctx context.Context, r *Ref, method string, args ...any) error {
	to, err := r.calleeFor(ctx, args)
	if err != nil {
		return r.unresolved(method, err)
	}
	err = to.Send(ctx, method, argsOf(args))
	runtime.KeepAlive(r)
	return err
}

// Promise calls a method that returns a reference to an object of the same Tub,
// and returns at once a reference that stands for it. Calls on that, and
// promises of it in turn, are sent without waiting: a chain of them takes the
// time of one call. They run in their order once the answer is there; if the
// call fails, they are not run, and fail with an error that wraps [ErrNotRun]
// and that of the call. With peers that cannot do this, Python programs for
// one, they wait for the answer here.
func Promise(ctx context.Context, r *Ref, method string, args ...any) (*Ref, error) {
	to, err := r.calleeFor(ctx, args)
	if err != nil {
		return nil, r.unresolved(method, err)
	}
	p, err := to.Promise(ctx, method, argsOf(args))
	runtime.KeepAlive(r)
	if err != nil {
		return nil, err
	}
	return &Ref{t: r.t, promised: p}, nil
}

// notSent is the error of a call that could not be made.
func (r *Ref) notSent(method string, err error) error {
	return &CallError{Peer: r.Peer(), Method: method, Sent: NotSent, Err: err}
}

// unresolved is the error of a call whose reference could not be resolved: the
// call itself was not sent in any case.
func (r *Ref) unresolved(method string, err error) error {
	var dial *DialError
	if errors.As(err, &dial) {
		return err
	}
	return r.notSent(method, err)
}
