package broker

import (
	"context"
	"fmt"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
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
	iface   string
	methods map[string]*Method
	value   any
	source  *source // that it stands for, or nil
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
	plan     *plan
	newArgs  func() (ptr any, v reflect.Value)
	invoke   func(ctx context.Context, ptr any) (any, error)
}

// NewMethod returns a method. A is a struct: its exported fields are the
// arguments, by their order and by their names as [banana.FieldsOf] gives
// them; or Args. It panics when A or R has no form on the wire.
func NewMethod[A, R any](name string, f func(context.Context, A) (R, error)) *Method {
	t := reflect.TypeFor[A]()
	checkResult(name, reflect.TypeFor[R]())
	return &Method{
		name: name,
		plan: planOf(name, t),
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
		name: name,
		plan: planOf(name, a),
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

// plan is how the arguments of a method are read.
type plan struct {
	raw    bool // into Args
	fields []banana.Field
	byName map[string]int
}

func planOf(method string, t reflect.Type) *plan {
	if err := checkArgs(t); err != nil {
		panic(fmt.Sprintf("foolscap: method %q: %v", method, err))
	}
	if t == argsType {
		return &plan{raw: true}
	}
	fields, _, _ := banana.FieldsOf(t)
	p := &plan{fields: fields, byName: make(map[string]int, len(fields))}
	for i := range fields {
		p.byName[fields[i].Name] = i
	}
	return p
}

// maxName is the longest name of a method or a keyword, in bytes.
const maxName = 1000

// read reads an arguments sequence, up to and including its CLOSE.
func (p *plan) read(d *banana.Decoder, ptr any, v reflect.Value) error {
	opentype, end, err := d.NextOpen("arguments")
	switch {
	case err != nil:
		if v, ok := err.(*banana.Violation); ok && v.Err == nil { // a token where a sequence must be
			return &banana.ProtocolError{Reason: v.Reason}
		}
		return err
	case end:
		return &banana.ProtocolError{Reason: "a call without arguments"}
	case opentype != "arguments":
		return &banana.ProtocolError{Reason: "a call with " + opentype + " in place of arguments"}
	}
	n, err := d.Int("the number of positional arguments")
	if err != nil {
		return err
	}
	if n < 0 {
		return &banana.ProtocolError{Reason: "a negative number of arguments"}
	}
	if p.raw {
		return p.readRaw(d, ptr.(*Args), n)
	}
	if n > int64(len(p.fields)) {
		return &banana.Violation{Reason: fmt.Sprintf("takes %d arguments, got %d", len(p.fields), n)}
	}
	// Which ones were given; methods have few arguments.
	var few [16]bool
	given := few[:]
	if len(p.fields) > len(few) {
		given = make([]bool, len(p.fields))
	}
	for i := range int(n) {
		f := &p.fields[i]
		if err := f.Codec.Decode(d, f.In(v), nil); err != nil {
			return argumentAt(err, f.Name)
		}
		given[i] = true
	}
	for {
		name, end, err := d.NextName("the name of an argument", maxName)
		if err != nil {
			return err
		}
		if end {
			break
		}
		i, ok := p.byName[string(name)]
		if !ok {
			return &banana.Violation{Reason: fmt.Sprintf("unknown argument %.40q", name)}
		}
		if int64(i) < n {
			return &banana.Violation{Reason: fmt.Sprintf("argument %q is given by position and by name", p.fields[i].Name)}
		}
		f := &p.fields[i]
		if given[i] { // the last one counts, as a whole
			f.In(v).SetZero()
		}
		if err := f.Codec.Decode(d, f.In(v), nil); err != nil {
			return argumentAt(err, f.Name)
		}
		given[i] = true
	}
	for i := range p.fields {
		if !given[i] && !p.fields[i].Optional {
			return &banana.Violation{Reason: fmt.Sprintf("missing argument %q", p.fields[i].Name)}
		}
	}
	return nil
}

func argumentAt(err error, name string) error {
	return banana.At(err, fmt.Sprintf("argument %.40q", name))
}

func (p *plan) readRaw(d *banana.Decoder, a *Args, n int64) error {
	for i := range n {
		v, err := d.Value(nil)
		if err != nil {
			return banana.At(err, fmt.Sprintf("argument %d", i))
		}
		if err := d.Charge(32); err != nil {
			return err
		}
		a.Positional = append(a.Positional, v)
	}
	for {
		b, end, err := d.NextName("the name of an argument", maxName)
		if err != nil || end {
			return err
		}
		name := string(b)
		v, err := d.Value(nil)
		if err != nil {
			return argumentAt(err, name)
		}
		if err := d.Charge(128 + len(name)); err != nil {
			return err
		}
		if a.Keyword == nil {
			a.Keyword = make(map[string]any)
		}
		a.Keyword[name] = v
	}
}
