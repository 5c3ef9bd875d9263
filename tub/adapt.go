package tub

import (
	"fmt"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
)

// Adapt returns what is sent in the place of something that is not copied: of
// values of the interfaces in Options.Stubs, and of functions.
func (h *host) Adapt(v any) (banana.External, error) {
	f := reflect.ValueOf(v)
	switch f.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Slice, reflect.Chan:
		if f.IsNil() {
			return nil, nil
		}
	}
	if x, err := (*Tub)(h).stubs.object(v); x != nil || err != nil {
		return x, err
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
func (h *host) Adopt(x any, to reflect.Type) (reflect.Value, error) {
	switch to.Kind() {
	case reflect.Func:
		return (*Tub)(h).adoptFunction(x, to)
	case reflect.Interface:
		return (*Tub)(h).adoptInterface(x, to)
	}
	return reflect.Value{}, fmt.Errorf("a reference cannot become a %s", to)
}
