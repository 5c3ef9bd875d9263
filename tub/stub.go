package tub

import (
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"weak"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A Stub lets the values of one Go interface type go by reference; see [StubOf]
// and [Options.Stubs].
type Stub struct {
	iface  reflect.Type
	wrap   func(*Ref) any
	object func(any) *Object
}

// StubOf lets parameters, results and fields of the interface type I take local
// values and remote objects alike.
//
// A value whose type implements I is sent as a reference to the object that object
// makes of it, wherever it has not been declared as of that type itself; the same
// object for the same pointer, as long as anybody holds it. A reference that
// arrives for an I is what wrap makes of it. An object of this Tub that comes home
// is its [Object.Value], if that is an I: object is to set it. Otherwise, a
// facet for one, it is wrapped too, and called over a connection of the Tub with
// itself.
//
// What wrap returns should embed the *Ref: then it goes by reference as that does,
// and can be closed. wrap and object run while messages are read and written: they
// must not call, or wait. StubOf panics when I is not an interface with methods.
func StubOf[I any](wrap func(*Ref) I, object func(I) *Object) Stub {
	t := reflect.TypeFor[I]()
	if t.Kind() != reflect.Interface || t.NumMethod() == 0 || wrap == nil || object == nil {
		panic(fmt.Sprintf("foolscap: StubOf[%s]: it needs an interface with methods, and both functions", t))
	}
	return Stub{iface: t, wrap: func(r *Ref) any { return wrap(r) }, object: func(v any) *Object { return object(v.(I)) }}
}

// stubTable knows the Stubs of a Tub, and what was made by them.
type stubTable struct {
	all []Stub
	// of holds the *Stub for a type that a value was sent of, or nil.
	of sync.Map

	mu   sync.Mutex
	made map[localValue]weak.Pointer[Object]
}

// localValue is a pointer that does not keep what it points to.
type localValue struct {
	t reflect.Type
	p uintptr
}

func (s *stubTable) init(all []Stub) error {
	for i, stub := range all {
		if stub.iface == nil {
			return fmt.Errorf("foolscap: a Stub is made by StubOf")
		}
		for _, other := range all[:i] {
			if other.iface == stub.iface {
				return fmt.Errorf("foolscap: there are two Stubs for %s", stub.iface)
			}
		}
	}
	s.all = append([]Stub(nil), all...)
	s.made = make(map[localValue]weak.Pointer[Object])
	return nil
}

// stub returns the one that values of type t go by, or nil: the first, unless a
// later one's interface has all methods of that and more.
func (s *stubTable) stub(t reflect.Type) (found *Stub) {
	if known, ok := s.of.Load(t); ok {
		return known.(*Stub)
	}
	for i := range s.all {
		if one := s.all[i].iface; t.Implements(one) && (found == nil || one.Implements(found.iface) && !found.iface.Implements(one)) {
			found = &s.all[i]
		}
	}
	s.of.Store(t, found)
	return found
}

// object returns the object of a local value, or nil if that goes in another way.
func (s *stubTable) object(v any) (banana.External, error) {
	if len(s.all) == 0 {
		return nil, nil
	}
	t := reflect.TypeOf(v)
	stub := s.stub(t)
	if stub == nil {
		return nil, nil
	}
	var key localValue
	if t.Kind() == reflect.Pointer {
		key = localValue{t, reflect.ValueOf(v).Pointer()}
		s.mu.Lock()
		o := s.made[key].Value()
		s.mu.Unlock()
		if o != nil {
			return o, nil
		}
	}
	o := stub.object(v)
	if o == nil {
		return nil, fmt.Errorf("the Stub for %s has made no object of a %s", stub.iface, t)
	}
	if key.t == nil {
		return o, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.made[key].Value(); first != nil {
		return first, nil
	}
	w := weak.Make(o)
	s.made[key] = w
	runtime.AddCleanup(o, func(key localValue) { s.forget(key, w) }, key)
	return o, nil
}

// forget forgets an object that nobody holds any more, unless another value is at
// the same place by now.
func (s *stubTable) forget(key localValue, w weak.Pointer[Object]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[key] == w {
		delete(s.made, key)
	}
}

// forInterface returns the stub of an interface type, or nil.
func (s *stubTable) forInterface(t reflect.Type) *Stub {
	for i := range s.all {
		if s.all[i].iface == t {
			return &s.all[i]
		}
	}
	return nil
}

// adoptStub makes a value of an interface type of what has come by reference.
func (t *Tub) adoptStub(stub *Stub, x any) (reflect.Value, error) {
	ref, ok := x.(*Ref)
	if o, own := x.(*Object); own {
		if v := reflect.ValueOf(o.Value()); v.IsValid() && v.Type().Implements(stub.iface) {
			return v, nil
		}
		ref, ok = t.refTo(o), true
	}
	if !ok {
		return reflect.Value{}, fmt.Errorf("a %T cannot become a %s", x, stub.iface)
	}
	if v := reflect.ValueOf(stub.wrap(ref)); v.IsValid() {
		return v, nil
	}
	return reflect.Value{}, fmt.Errorf("the Stub for %s has made nothing of a reference", stub.iface)
}
