package broker

import (
	"context"
	"fmt"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// Args are arguments as they come over the wire, for methods and callers that
// do not know them beforehand.
type Args struct {
	Positional []any
	Keyword    map[string]any
}

// An Object is what can be called over a connection: a table of methods. It
// does not change after it was made, and is safe for concurrent use as far as
// its methods are. Its identity is the pointer: as long as a peer holds it, it
// is the same object for that peer each time it is sent.
type Object struct {
	iface    string
	declared *schema.Interface // what is enforced, or nil
	methods  map[string]*Method
	others   func(name string) *Method
	function bool
	value    any
	source   *source // that it stands for, or nil
}

// NewObject returns an object with the methods. iface is the name of the
// remote interface that it is announced with, or empty. value is what
// [Object.Value] returns, for programs that want to find their own data again
// when the object comes home. It panics when two methods have the same name.
func NewObject(iface string, value any, methods ...*Method) *Object {
	o := &Object{iface: iface, value: value, methods: make(map[string]*Method, len(methods))}
	for _, m := range methods {
		if o.methods[m.name] != nil {
			panic(fmt.Sprintf("foolscap: two methods are called %q", m.name))
		}
		o.methods[m.name] = m
	}
	return o
}

// NewOpenObject returns an object whose methods find returns, nil for a name that
// is not one. It is called once for each call, maybe with locks held, and must
// not wait. For iface and value see NewObject.
func NewOpenObject(iface string, value any, find func(name string) *Method) *Object {
	return &Object{iface: iface, value: value, others: find}
}

// NewFunction returns an object that is called without the name of a method: a
// function, which Foolscap calls a bound method. find is called with "".
func NewFunction(value any, find func(name string) *Method) *Object {
	return &Object{value: value, others: find, function: true}
}

// Function reports whether the object is a function.
func (o *Object) Function() bool { return o.function }

// Method returns the method that a call with that name runs, or nil. For a
// function every name is the same.
func (o *Object) Method(name string) *Method {
	if o.function {
		name = ""
	}
	if o.others != nil {
		return o.others(name)
	}
	m := o.methods[name]
	if m != nil && m.of != nil {
		return m.of.Method(name)
	}
	return m
}

// BananaExternal marks an Object as something that goes by reference.
func (*Object) BananaExternal() {}

// Interface returns the name of the remote interface, or "".
func (o *Object) Interface() string { return o.iface }

// Value returns what NewObject was given.
func (o *Object) Value() any { return o.value }

// A Method is one entry of an Object's table. Make it with NewMethod or
// MethodOf.
type Method struct {
	name       string
	concurrent bool
	// onReader says that the reader itself runs it, in place of a turn: for
	// the protocol's own methods that never wait.
	onReader bool
	// of is the object whose method of that name it stands for.
	of      *Object
	plan    *plan
	result  reflect.Type // as declared
	newArgs func() (ptr any, v reflect.Value)
	invoke  func(ctx context.Context, ptr any) (any, error)
}

// NewMethod returns a method. A is a struct: its exported fields are the
// arguments, by their order and by their names as [banana.FieldsOf] gives
// them; or Args. It panics when A or R has no form on the wire.
func NewMethod[A, R any](name string, f func(context.Context, A) (R, error)) *Method {
	t := reflect.TypeFor[A]()
	checkResult(name, reflect.TypeFor[R]())
	return &Method{
		name:   name,
		plan:   planOf(name, t),
		result: reflect.TypeFor[R](),
		newArgs: func() (any, reflect.Value) {
			p := new(A)
			return p, reflect.ValueOf(p).Elem()
		},
		invoke: func(ctx context.Context, p any) (any, error) { return f(ctx, *p.(*A)) },
	}
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
	argsType    = reflect.TypeFor[Args]()
)

// MethodOf is NewMethod for a function that is known only when the program
// runs: func(context.Context, A) (R, error).
func MethodOf(name string, f reflect.Value) (*Method, error) {
	t := f.Type()
	if t.Kind() != reflect.Func || t.NumIn() != 2 || t.In(0) != contextType || t.NumOut() != 2 || t.Out(1) != errorType {
		return nil, fmt.Errorf("foolscap: method %q is %s, it has to be func(context.Context, A) (R, error)", name, t)
	}
	a := t.In(1)
	if err := checkArgs(a); err != nil {
		return nil, fmt.Errorf("foolscap: method %q: %w", name, err)
	}
	if _, err := banana.CodecOf(t.Out(0)); err != nil {
		return nil, fmt.Errorf("foolscap: method %q: %w", name, err)
	}
	return &Method{
		name:   name,
		plan:   planOf(name, a),
		result: t.Out(0),
		newArgs: func() (any, reflect.Value) {
			p := reflect.New(a)
			return p.Interface(), p.Elem()
		},
		invoke: func(ctx context.Context, p any) (any, error) {
			out := f.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(p).Elem()})
			err, _ := out[1].Interface().(error)
			return out[0].Interface(), err
		},
	}, nil
}

// Name returns the name of the method on the wire.
func (m *Method) Name() string { return m.name }

// Concurrent makes the method give up its turn at once, and returns it.
func (m *Method) Concurrent() *Method {
	m.concurrent = true
	return m
}

// MethodFrom returns a method of another object, which runs there. It panics when o
// has no such method.
func MethodFrom(o *Object, name string) *Method {
	if o.function || o.Method(name) == nil {
		panic(fmt.Sprintf("foolscap: there is no method %q to be had from the object", name))
	}
	return &Method{name: name, of: o}
}

// declaredResult returns the interface type that the method was declared to return,
// or nil if it says nothing of what the peer is to get.
func (m *Method) declaredResult() reflect.Type {
	if m == nil || m.result == nil || m.result.Kind() != reflect.Interface {
		return nil
	}
	return m.result
}

// Around returns a method that takes and returns what m does, and runs around in
// place of it, which may call next to run m, once.
func (m *Method) Around(around func(ctx context.Context, next func(context.Context) (any, error)) (any, error)) *Method {
	outer := *m
	outer.invoke = func(ctx context.Context, ptr any) (any, error) {
		return around(ctx, func(ctx context.Context) (any, error) { return m.invoke(ctx, ptr) })
	}
	return &outer
}

func checkArgs(t reflect.Type) error {
	if t == argsType {
		return nil
	}
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("its arguments are %s, they have to be a struct", t)
	}
	_, _, err := banana.FieldsOf(t)
	return err
}

func checkResult(name string, t reflect.Type) {
	if _, err := banana.CodecOf(t); err != nil {
		panic(fmt.Sprintf("foolscap: method %q: %v", name, err))
	}
}
