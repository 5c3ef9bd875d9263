package banana

import (
	"context"
	"io"
	"reflect"
)

// Functions, readers and whatever else a Go program has behind an interface
// have no form of their own in Banana: something that goes by reference stands
// for them. What that is, the connection knows: EncoderConfig.Adapt and
// DecoderConfig.Adapt.

var (
	readerType  = reflect.TypeFor[io.Reader]()
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// adapted reports whether something else stands for the values of type t: of
// functions that a peer could call, func(context.Context, A) (R, error) with a
// struct A.
func adapted(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Func:
		if t.NumIn() == 2 && t.In(0) == contextType && t.In(1).Kind() == reflect.Struct && t.NumOut() == 2 && t.Out(1) == errorType {
			return true
		}
	case reflect.Interface: // any and External have been sorted out
		return t != errorType
	}
	return t.Implements(readerType)
}

// encAdapted appends what stands for v.
func encAdapted(e *Encoder, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Func, reflect.Map, reflect.Slice:
		if v.IsNil() {
			return e.none()
		}
	}
	if v.Kind() == reflect.Interface { // what it holds may have a form of its own
		return e.ValueAs(v.Interface(), v.Type())
	}
	if done, err := e.adapt(v.Interface(), nil); done {
		return err
	}
	return e.fail(cannotEncode("a %s cannot be sent here", v.Type()))
}

// adapt appends what stands for v, if anything does.
func (e *Encoder) adapt(v any, static reflect.Type) (done bool, err error) {
	if e.cfg.Adapt == nil {
		return false, nil
	}
	x, err := e.cfg.Adapt(v, static)
	switch {
	case err != nil:
		return true, e.fail(&EncodeError{Err: err})
	case x == nil:
		return false, nil
	}
	return true, e.external(x)
}

// adaptedCost is what a function, a reader, or what a Stub makes is charged for
// besides the reference that it is made of, in bytes.
const adaptedCost = 512

// decAdapted makes of what has arrived by reference a value of v's type.
func decAdapted(d *Decoder, h *head, v reflect.Value, t Taster) error {
	x, done, err := d.byReference(h, v)
	if done || err != nil {
		return err
	}
	if d.cfg.Adapt == nil {
		return mismatch(v.Type().String(), kindName(x))
	}
	if err := d.charge(adaptedCost); err != nil {
		return err
	}
	rv, err := d.cfg.Adapt(x, v.Type())
	if err != nil {
		return objection(err)
	}
	v.Set(rv)
	return nil
}
