package tub

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// InterfaceOf returns the remote interface that the Go interface I stands for,
// under its name on the wire. The methods are as for [MethodsOf], and in the
// order of their names. Package schema says what is derived from the types of
// arguments and results, and which tags of fields say more. "foolscap gen"
// writes the call.
//
// InterfaceOf panics when I is not such an interface, a constraint cannot be
// read, or an option names a method that it does not have.
func InterfaceOf[I any](name string, opts ...InterfaceOption) *schema.Interface {
	t := reflect.TypeFor[I]()
	i, err := interfaceOf(t, name, opts)
	if err != nil {
		panic(fmt.Sprintf("foolscap: InterfaceOf[%s]: %v", t, err))
	}
	return i
}

// An InterfaceOption tells InterfaceOf what Go types do not say: [Names],
// [Results], and what [Refers] and [Extends] return.
type InterfaceOption interface{ describe(*description) }

// Results are constraints on the results of methods, by their Go names, in the
// text form of package schema: where the type does not say enough.
type Results map[string]string

// Refers says that values of the Go interface T in arguments and results are
// references with the remote interface of that name.
func Refers[T any](name string) InterfaceOption { return refers{reflect.TypeFor[T](), name} }

type refers struct {
	t    reflect.Type
	name string
}

// Extends says that the interface extends those of these names, whose methods it has
// too: all of them, directly or not. Objects that have it are then references with
// those interfaces as well.
func Extends(names ...string) InterfaceOption { return extends(names) }

type extends []string

// A description is what options come to.
type description struct {
	names   Names
	results Results
	extends []string
	remote  map[reflect.Type]string
}

func (n Names) describe(d *description)   { d.names = n }
func (r Results) describe(d *description) { d.results = r }
func (e extends) describe(d *description) { d.extends = append(d.extends, e...) }
func (r refers) describe(d *description)  { d.remote[r.t] = r.name }

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
	argsType    = reflect.TypeFor[Args]()
)

func interfaceOf(t reflect.Type, name string, opts []InterfaceOption) (*schema.Interface, error) {
	if t.Kind() != reflect.Interface {
		return nil, fmt.Errorf("it has to be an interface")
	}
	d := description{remote: map[reflect.Type]string{}}
	for _, o := range opts {
		o.describe(&d)
	}
	for _, of := range []map[string]string{d.names, d.results} {
		for method := range of {
			if _, ok := t.MethodByName(method); !ok {
				return nil, fmt.Errorf("it has no method %s", method)
			}
		}
	}
	var methods []*schema.Method
	for i := range t.NumMethod() {
		m, err := d.method(t.Method(i))
		if err != nil {
			return nil, fmt.Errorf("method %s: %w", t.Method(i).Name, err)
		}
		methods = append(methods, m)
	}
	slices.SortFunc(methods, func(a, b *schema.Method) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(d.extends)
	return schema.NewInterface(name, d.extends, methods...)
}

func (d *description) method(m reflect.Method) (*schema.Method, error) {
	f := m.Type
	if f.NumIn() != 2 || f.In(0) != contextType || f.NumOut() != 2 || f.Out(1) != errorType {
		return nil, fmt.Errorf("it has to be func(context.Context, A) (R, error)")
	}
	name, ok := d.names[m.Name]
	if !ok {
		name = banana.SnakeCase(m.Name)
	}
	if f.In(1) == argsType {
		return &schema.Method{Name: name, Unconstrained: true}, nil
	}
	args, err := schema.DeriveArgs(schema.TypeOf(f.In(1), d.remote))
	if err != nil {
		return nil, err
	}
	result, err := schema.Derive(schema.TypeOf(f.Out(0), d.remote), d.results[m.Name])
	if err != nil {
		return nil, fmt.Errorf("its result: %w", err)
	}
	return &schema.Method{Name: name, Args: args, Result: result}, nil
}

// Implements gives an object a remote interface: it is announced with its name,
// and takes and returns what the interface allows, nothing else; what it does not
// allow is refused before a method sees it, with a *banana.Violation that says
// where. NewObject panics unless the object has just the methods of the interface,
// with its arguments.
func Implements(i *schema.Interface) Part {
	if i == nil { // which would be held to nothing
		panic("foolscap: Implements: there is no interface")
	}
	return partFunc(func(s *spec) { s.schema = i })
}

// Assume holds calls by this reference to a remote interface, whatever the object
// was announced with, as those of [Options.Interfaces] are held: calls that it does
// not allow are not sent, and results that it does not allow do not arrive.
func (r *Ref) Assume(i *schema.Interface) {
	r.mu.Lock()
	r.assumed = i
	remote, looking := r.remote, r.looking
	r.mu.Unlock()
	switch {
	case r.live != nil:
		r.live.Assume(i)
	case r.promised != nil:
		r.promised.Assume(i)
	}
	if remote != nil {
		remote.Assume(i)
	}
	if looking != nil {
		looking.Assume(i)
	}
}

// knownInterfaces returns the interfaces of Options by their names.
func knownInterfaces(all []*schema.Interface) (map[string]*schema.Interface, error) {
	if len(all) == 0 {
		return nil, nil
	}
	known := make(map[string]*schema.Interface, len(all))
	for _, i := range all {
		if i == nil || known[i.Name] != nil {
			return nil, fmt.Errorf("foolscap: Options.Interfaces: an interface is nil, or there are two of one name")
		}
		known[i.Name] = i
	}
	return known, nil
}

// Set adds an argument. The zero value is ready for it.
func (k *Keywords) Set(name string, v any) {
	if *k == nil {
		*k = Keywords{}
	}
	(*k)[name] = v
}
