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
// arrives for an I is what wrap makes of it. An object that object has made and that
// comes home is its [Object.Value], if that is an I: object is to set it. Any other
// one of this Tub, a facet or a registered one for example, is wrapped too, and
// called over a connection of the Tub with itself: who holds it may not have the
// right to all that its value can do.
//
// A value of several such interfaces is sent as what it is declared as: as a result, a
// field, or an element. Where it stands in an any, or is an argument of [Call], it is
// sent as the first one of [Options.Stubs], unless [As] says otherwise.
//
// What wrap returns should embed the *Ref: then it goes by reference as that does,
// and can be closed. wrap and object run while messages are read and written: they
// must not call, or wait. A panic of theirs is logged, and fails the call. StubOf panics when I is not an interface with methods.
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
	// by has who has made what is in made, and objects of values that are no
	// pointers.
	by map[maker]struct{}
}

// localValue is a pointer that does not keep what it points to, and differs from
// that to whatever comes to be in the same place.
type localValue struct {
	stub *Stub
	t    reflect.Type
	p    weak.Pointer[byte]
}

// A maker is a Stub that has made an object.
type maker struct {
	stub *Stub
	o    weak.Pointer[Object]
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
	s.by = make(map[maker]struct{})
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
// declared is the stub of the interface that it is declared as, or nil.
func (s *stubTable) object(v any, declared *Stub) (banana.External, error) {
	if len(s.all) == 0 {
		return nil, nil
	}
	t := reflect.TypeOf(v)
	stub := declared
	if stub == nil || !t.Implements(stub.iface) {
		stub = s.stub(t)
	}
	if stub == nil {
		return nil, nil
	}
	var key localValue
	if t.Kind() == reflect.Pointer {
		key = localValue{stub, t, weak.Make((*byte)(reflect.ValueOf(v).UnsafePointer()))}
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
	w := weak.Make(o)
	by := maker{stub, w}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.by[by]
	if key.stub != nil {
		if first := s.made[key].Value(); first != nil {
			return first, nil
		}
		s.made[key] = w
		known = false
	}
	if !known {
		s.by[by] = struct{}{}
		runtime.AddCleanup(o, func(key localValue) { s.forget(key, by) }, key)
	}
	return o, nil
}

// forget forgets an object that nobody holds any more, unless another one stands
// for its value by now.
func (s *stubTable) forget(key localValue, by maker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[key] == by.o {
		delete(s.made, key)
	}
	delete(s.by, by)
}

// whole reports whether who holds an object has all that a value of the stub's
// interface can do: it was made by that stub, or that of an interface with more.
func (s *stubTable) whole(o *Object, stub *Stub) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.all {
		if _, ok := s.by[maker{&s.all[i], weak.Make(o)}]; ok && s.all[i].iface.Implements(stub.iface) {
			return true
		}
	}
	return false
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
		if v := reflect.ValueOf(o.Value()); v.IsValid() && v.Type().Implements(stub.iface) && t.stubs.whole(o, stub) {
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
