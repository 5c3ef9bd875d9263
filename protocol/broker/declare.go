package broker

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// Remote interfaces are enforced at four places: the arguments of a call before
// it is sent and while it arrives, its result before it is sent and while it
// arrives.

// NewDeclaredObject returns an object that has a remote interface: it is
// announced with its name, takes no arguments and returns no results that the
// interface does not allow, and has its methods and no others, with the same
// arguments in the same order. For value see NewObject.
func NewDeclaredObject(i *schema.Interface, value any, methods ...*Method) (*Object, error) {
	o := NewObject(i.Name, value, methods...)
	o.declared = i
	for name, m := range o.methods {
		s := i.Method(name)
		if s == nil {
			return nil, fmt.Errorf("foolscap: %s has no method %q", i.Name, name)
		}
		declared, err := m.declare(s)
		if err != nil {
			return nil, fmt.Errorf("foolscap: method %q of %s: %w", name, i.Name, err)
		}
		o.methods[name] = declared
	}
	for _, s := range i.Methods {
		if o.methods[s.Name] == nil {
			return nil, fmt.Errorf("foolscap: method %q of %s is missing", s.Name, i.Name)
		}
	}
	return o, nil
}

// Implements reports whether the object has the interface of that name, or one
// that extends it.
func (o *Object) Implements(name string) bool {
	return name == o.iface || o.declared != nil && o.declared.Is(name)
}

// declare returns the method bound to what an interface says of it.
func (m *Method) declare(s *schema.Method) (*Method, error) {
	if m.of != nil {
		return nil, errors.New("it is a method of another object, whose interface is enforced")
	}
	declared := *m
	if s.Unconstrained {
		return &declared, nil
	}
	p := *m.plan
	p.schema = s
	declared.plan = &p
	if p.raw {
		return &declared, nil
	}
	if len(p.fields) != len(s.Args) {
		return nil, fmt.Errorf("it takes %d arguments, and %d in the interface", len(p.fields), len(s.Args))
	}
	p.defaults = make([]reflect.Value, len(p.fields))
	for i, a := range s.Args {
		f := &p.fields[i]
		if f.Name != a.Name {
			return nil, fmt.Errorf("argument %d is %q, and %q in the interface", i, f.Name, a.Name)
		}
		if a.Default == nil {
			continue
		}
		var err error
		if p.defaults[i], err = f.Recoded(a.Default); err != nil {
			return nil, fmt.Errorf("the default of argument %q: %w", a.Name, err)
		}
	}
	return &declared, nil
}

// tastings are for what goes out.
var tastings = sync.Pool{New: func() any { return new(schema.Tasting) }}

// declaredCall returns what an interface says of a method that is to be called,
// or nil if it says nothing.
func declaredCall(i *schema.Interface, name string) (*schema.Method, error) {
	if i == nil {
		return nil, nil
	}
	m := i.Method(name)
	switch {
	case m == nil:
		return nil, &banana.Violation{Reason: fmt.Sprintf("%s has no method %.40q", i.Name, name)}
	case m.Unconstrained:
		return nil, nil
	}
	return m, nil
}

// checkGiven objects to arguments that a method of an interface does not have, and
// to those that lack.
func checkGiven(args Args, s *schema.Method) error {
	if n := len(args.Positional); n > len(s.Args) {
		return tooMany(len(s.Args), int64(n))
	}
	for i, a := range s.Args {
		_, named := args.Keyword[a.Name]
		switch positional := i < len(args.Positional); {
		case positional && named:
			return givenTwice(a.Name)
		case !positional && !named && !a.Optional:
			return missingArgument(a.Name)
		}
	}
	if s.Unknown != schema.RefuseUnknown {
		return nil
	}
	for name := range args.Keyword {
		if s.Arg(name) < 0 {
			return unknownArgument([]byte(name))
		}
	}
	return nil
}

// writeDeclared is writeArguments for a method of an interface.
func writeDeclared(e *banana.Encoder, args Args, s *schema.Method) error {
	t := tastings.Get().(*schema.Tasting)
	defer func() {
		t.Reset()
		tastings.Put(t)
	}()
	value := func(name string, c schema.Constraint, v any) error {
		from := e.Mark()
		where := fmt.Sprintf("argument %.40q", name)
		if err := e.Value(v); err != nil {
			return encodeAt(err, where)
		}
		return place(e.Taste(from, t.Taster(c)), where, s)
	}
	e.Open("arguments")
	defer e.Close()
	e.Int(int64(len(args.Positional)))
	for i, v := range args.Positional {
		if err := value(s.Args[i].Name, s.Args[i].Constraint, v); err != nil {
			return err
		}
	}
	if len(args.Keyword) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(args.Keyword)) {
		c := schema.Constraint(schema.Any{})
		if i := s.Arg(name); i >= 0 {
			c = s.Args[i].Constraint
		}
		e.Name(name)
		if err := value(name, c, args.Keyword[name]); err != nil {
			return err
		}
	}
	return nil
}

// writeResult appends the result of a method.
func writeResult(e *banana.Encoder, result any, m *Method) {
	from := e.Mark()
	if e.ValueAs(result, m.declaredResult()) != nil || m == nil || m.plan.schema == nil {
		return
	}
	t := tastings.Get().(*schema.Tasting)
	place(e.Taste(from, t.Taster(m.plan.schema.Result)), "result", m.plan.schema)
	t.Reset()
	tastings.Put(t)
}
