package tub

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"runtime/debug"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
)

// Adapt returns what is sent in the place of something that is not copied: of
// values of the interfaces in Options.Stubs, of functions, and of readers. What is
// declared as of one of these types goes as that, whatever else it is.
func (h *host) Adapt(v any, static reflect.Type) (x banana.External, err error) {
	defer h.recovered(&err)
	f := reflect.ValueOf(v)
	switch f.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Slice, reflect.Chan:
		if f.IsNil() {
			return nil, nil
		}
	}
	r, reads := v.(io.Reader)
	declared := (*Tub)(h).stubs.forInterface(static)
	if declared != nil || !reads || static == nil || !static.Implements(ioReaderType) {
		if x, err := (*Tub)(h).stubs.object(v, declared); x != nil || err != nil {
			return x, err
		}
	}
	if reads {
		return broker.NewSource(r), nil
	}
	if f.Kind() == reflect.Func {
		m, err := broker.MethodOf("", f)
		if err != nil {
			return nil, err
		}
		return function(v, m), nil
	}
	return nil, nil
}

// Adopt makes a value of such a type of a reference, or of an object that has come
// home.
func (h *host) Adopt(x any, to reflect.Type) (_ reflect.Value, err error) {
	defer h.recovered(&err)
	t := (*Tub)(h)
	if to.Kind() == reflect.Func {
		return t.adoptFunction(x, to)
	}
	if stub := t.stubs.forInterface(to); stub != nil {
		return t.adoptStub(stub, x)
	}
	if readerType.AssignableTo(to) {
		return t.adoptReader(x, to)
	}
	return reflect.Value{}, fmt.Errorf("there is no Stub for %s: see Options.Stubs", to)
}

var (
	readerType   = reflect.TypeFor[*broker.Reader]()
	ioReaderType = reflect.TypeFor[io.Reader]()
)

// recovered makes an error of a panic of a Stub: it may run where a connection is
// read, which must not end with a message.
func (h *host) recovered(err *error) {
	if v := recover(); v != nil {
		h.log.Error("a Stub panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		*err = stubPanic{v}
	}
}

type stubPanic struct{ v any }

func (p stubPanic) Error() string { return fmt.Sprintf("panic: %v", p.v) }

// Panicked marks it for discreet.
func (stubPanic) Panicked() bool { return true }

// adoptReader makes a reader of what has come by reference, or returns the program's
// own reader that has come home.
func (t *Tub) adoptReader(x any, to reflect.Type) (reflect.Value, error) {
	switch x := x.(type) {
	case *Object:
		own := x.Reader()
		if own == nil { // whoever holds it may call its methods, and no more
			return reflect.ValueOf(newReader(t.refTo(x))), nil
		}
		if own := reflect.ValueOf(own); own.Type().AssignableTo(to) {
			return own, nil
		}
	case *Ref:
		return reflect.ValueOf(newReader(x)), nil
	}
	return reflect.Value{}, fmt.Errorf("what has come home is no %s", to)
}

// newReader returns a reader of what a reference stands for.
func newReader(r *Ref) *broker.Reader {
	return broker.NewReader(func(ctx context.Context) (*broker.Remote, error) {
		to, err := r.callee(ctx)
		if err != nil {
			return nil, err
		}
		if p, ok := to.(*broker.Promise); ok {
			return p.Wait(ctx)
		}
		return to.(*broker.Remote), nil
	}, r.Close)
}
