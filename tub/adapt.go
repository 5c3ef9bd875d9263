package tub

import (
	"context"
	"fmt"
	"io"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
)

// adapt returns what stands for a value that has no form of its own on the wire.
func adapt(v any) (banana.External, error) {
	switch v := v.(type) {
	case io.Reader:
		return broker.NewSource(v), nil
	}
	return nil, fmt.Errorf("a %T cannot be sent", v)
}

// adaptTo makes of an object or reference that has arrived a value of another type.
func (t *Tub) adaptTo(v any, target reflect.Type) (reflect.Value, error) {
	switch v := v.(type) {
	case *Object: // which has come home
		if own := reflect.ValueOf(v.Value()); own.IsValid() && own.Type().AssignableTo(target) {
			return own, nil
		}
	case *Ref:
		if r := reflect.ValueOf(newReader(v)); r.Type().AssignableTo(target) {
			return r, nil
		}
	}
	return reflect.Value{}, fmt.Errorf("what goes by reference cannot become a %s", target)
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
