package tub

import (
	"context"
	"fmt"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// An Object is what peers can call: a table of methods. Its identity is the
// pointer. Make one with [NewObject], and send it as an argument or result, or
// [Tub.Register] it.
type Object = broker.Object

// Args are arguments as they come over the wire, the Positional ones and those by
// Keyword, for methods that do not know them beforehand: a method with Args as
// its second parameter takes anything.
type Args = broker.Args

// None is the result of methods that return nothing, and the arguments of
// those that take none.
type None = struct{}

// A Part is what NewObject makes an object of.
type Part interface{ part(*spec) }

type spec struct {
	iface   string
	schema  *schema.Interface // of Implements
	value   any
	methods []*broker.Method
}

type partFunc func(*spec)

func (f partFunc) part(s *spec) { f(s) }

// NewObject makes an object. It panics when two methods have the same name, or
// are not those of the interface that it Implements.
func NewObject(parts ...Part) *Object {
	var s spec
	for _, p := range parts {
		p.part(&s)
	}
	if s.schema == nil {
		return broker.NewObject(s.iface, s.value, s.methods...)
	}
	o, err := broker.NewDeclaredObject(s.schema, s.value, s.methods...)
	if err != nil {
		panic(err.Error())
	}
	return o
}

// Interface is the name of the remote interface that an object is announced
// with, for example "RICalculator.example.org".
func Interface(name string) Part { return partFunc(func(s *spec) { s.iface = name }) }

// Value is something of the program's own that goes with an object:
// [Object.Value] returns it when the object comes home.
func Value(v any) Part { return partFunc(func(s *spec) { s.value = v }) }

// A MethodOption changes how a method is run.
type MethodOption func(*broker.Method)

// Concurrent lets a method run beside all others: it gives up its turn before
// it starts.
func Concurrent(m *broker.Method) { m.Concurrent() }

// Method is one method of an object. A is a struct whose exported fields are
// the arguments: their order gives the positions, their names in snake case
// or in a `foolscap:"name"` tag the keywords; an argument with the option
// `foolscap:",optional"` may be left out. Or A is [Args]. R is the result;
// [None] means Python's None. Errors go to the caller, see [CallError].
//
// Method panics when A or R has no form on the wire.
func Method[A, R any](name string, f func(context.Context, A) (R, error), opts ...MethodOption) Part {
	m := broker.NewMethod(name, f)
	for _, o := range opts {
		o(m)
	}
	return partFunc(func(s *spec) { s.methods = append(s.methods, m) })
}

// Names gives methods of a Go interface other names than their own in snake
// case.
type Names map[string]string

// MethodsOf makes the methods of the interface I, and of no more of what impl
// can do, methods of an object. Each has the form
//
//	Name(ctx context.Context, a A) (R, error)
//
// with A and R as for [Method]. names may be nil. MethodsOf panics when I is
// not such an interface, or names a method that it does not have.
func MethodsOf[I any](impl I, names Names, opts ...MethodOption) Part {
	t := reflect.TypeFor[I]()
	if t.Kind() != reflect.Interface {
		panic(fmt.Sprintf("foolscap: MethodsOf[%s]: it has to be an interface", t))
	}
	v := reflect.ValueOf(&impl).Elem()
	if v.IsNil() {
		panic(fmt.Sprintf("foolscap: MethodsOf[%s]: there is no implementation", t))
	}
	for name := range names {
		if _, ok := t.MethodByName(name); !ok {
			panic(fmt.Sprintf("foolscap: MethodsOf[%s]: it has no method %s to be given another name", t, name))
		}
	}
	var methods []*broker.Method
	for i := range t.NumMethod() {
		if !t.Method(i).IsExported() {
			panic(fmt.Sprintf("foolscap: MethodsOf[%s]: its method %s is not exported", t, t.Method(i).Name))
		}
		name, ok := names[t.Method(i).Name]
		if !ok {
			name = banana.SnakeCase(t.Method(i).Name)
		}
		m, err := broker.MethodOf(name, v.Method(i))
		if err != nil {
			panic(err.Error())
		}
		for _, o := range opts {
			o(m)
		}
		methods = append(methods, m)
	}
	return partFunc(func(s *spec) { s.methods = append(s.methods, methods...) })
}

// Yield lets the next call of the connection start, when ctx is the context
// of a running method that still keeps the others waiting. Elsewhere it does
// nothing.
func Yield(ctx context.Context) { broker.ReleaseTurn(ctx) }
