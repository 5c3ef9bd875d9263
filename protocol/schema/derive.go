package schema

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A Type is a Go type as the derivation sees it. TypeOf returns that of a
// reflect.Type; programs that read source text supply their own.
type Type interface {
	// Kind is the kind of the underlying type.
	Kind() reflect.Kind
	// String names the type, for errors. The same type has the same name.
	String() string
	// Elem is the type of the elements of an array, slice, map or pointer,
	// and Key that of the keys of a map.
	Elem() Type
	Key() Type
	// Len is the length of an array.
	Len() int
	// NumMethod is the number of methods of an interface type.
	NumMethod() int
	// Fields are all fields of a struct in their order.
	Fields() []TypeField
	// External reports whether the type implements banana.External, and
	// Reader whether it implements io.Reader.
	External() bool
	Reader() bool
	// WellKnown is the name of a type that has a form of its own, or "":
	// "math/big.Int", "struct{}", and of the package banana "banana.List",
	// "banana.Tuple", "banana.Dict", "banana.Set", "banana.FrozenSet" and
	// "banana.Decimal".
	WellKnown() string
	// Remote is the name of the remote interface that a Go interface stands
	// for, or "".
	Remote() string
}

// A TypeField is one field of a struct.
type TypeField struct {
	Name     string
	Exported bool
	Tag      reflect.StructTag
	Type     Type
}

// TypeOf returns t as the derivation sees it. remote has the names of remote
// interfaces by the Go interfaces that stand for them; it may be nil.
func TypeOf(t reflect.Type, remote map[reflect.Type]string) Type { return goType{t, remote} }

type goType struct {
	t      reflect.Type
	remote map[reflect.Type]string
}

var (
	externalType = reflect.TypeFor[banana.External]()
	readerType   = reflect.TypeFor[interface{ Read([]byte) (int, error) }]()
	wellKnown    = map[reflect.Type]string{
		reflect.TypeFor[big.Int]():          "math/big.Int",
		reflect.TypeFor[banana.List]():      "banana.List",
		reflect.TypeFor[banana.Tuple]():     "banana.Tuple",
		reflect.TypeFor[banana.Dict]():      "banana.Dict",
		reflect.TypeFor[banana.Set]():       "banana.Set",
		reflect.TypeFor[banana.FrozenSet](): "banana.FrozenSet",
		reflect.TypeFor[banana.Decimal]():   "banana.Decimal",
		reflect.TypeFor[struct{}]():         "struct{}",
	}
)

func (g goType) Kind() reflect.Kind { return g.t.Kind() }
func (g goType) String() string     { return g.t.String() }
func (g goType) Elem() Type         { return goType{g.t.Elem(), g.remote} }
func (g goType) Key() Type          { return goType{g.t.Key(), g.remote} }
func (g goType) Len() int           { return g.t.Len() }
func (g goType) NumMethod() int     { return g.t.NumMethod() }
func (g goType) External() bool     { return g.t.Implements(externalType) }
func (g goType) Reader() bool       { return g.t.Implements(readerType) }
func (g goType) WellKnown() string  { return wellKnown[g.t] }
func (g goType) Remote() string     { return g.remote[g.t] }

func (g goType) Fields() []TypeField {
	all := make([]TypeField, g.t.NumField())
	for i := range all {
		f := g.t.Field(i)
		all[i] = TypeField{Name: f.Name, Exported: f.IsExported(), Tag: f.Tag, Type: goType{f.Type, g.remote}}
	}
	return all
}

// ForType returns the constraint of a Go type: what values of the type can
// hold. A tag that is not empty is the text of a constraint in its place; it
// is an error if no value that it accepts fits the type.
func ForType(t reflect.Type, tag string) (Constraint, error) { return Derive(TypeOf(t, nil), tag) }

// ArgsOf returns the arguments that a struct type stands for: its fields, as
// banana.FieldsOf has them. The tag `schema:"TEXT"` of a field replaces its
// derived constraint, and `default:"TEXT"` is the default of an optional one:
// a number, a text in quotes, b"bytes", true, false or none.
func ArgsOf(t reflect.Type) ([]Arg, error) { return DeriveArgs(TypeOf(t, nil)) }

// Derive is ForType for any view of types.
func Derive(t Type, tag string) (Constraint, error) {
	d := deriver{}
	return d.tagged(t, tag)
}

// DeriveArgs is ArgsOf for any view of types.
func DeriveArgs(t Type) ([]Arg, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("schema: type %s is not a struct", t)
	}
	d := deriver{}
	fields, _, err := d.fields(t)
	if err != nil {
		return nil, err
	}
	args := make([]Arg, len(fields))
	for i, f := range fields {
		a := Arg{Name: f.Name, Constraint: f.Constraint}
		if o, ok := f.Constraint.(Optional); ok {
			a = Arg{Name: f.Name, Constraint: o.Of, Optional: true, Default: o.Default}
		}
		args[i] = a
	}
	return args, nil
}

// A deriver knows the types that it is looking into.
type deriver struct{ above []string }

func (d *deriver) tagged(t Type, tag string) (Constraint, error) {
	if tag == "" {
		return d.derive(t)
	}
	c, err := Parse(tag)
	if err != nil {
		return nil, err
	}
	inner, _ := unwrap(c)
	if !d.fits(inner, t) {
		return nil, fmt.Errorf("schema: %s: no value that %s accepts fits the type", t, c)
	}
	return c, nil
}

func (d *deriver) derive(t Type) (Constraint, error) {
	switch t.WellKnown() {
	case "math/big.Int":
		return Int{}, nil
	case "banana.List":
		return List{}, nil
	case "banana.Tuple": // of any length, which no Tuple is
		return nil, fmt.Errorf("schema: %s has no constraint of its own; give one in a schema tag", t)
	case "banana.Dict":
		return Dict{}, nil
	case "banana.Set":
		return Set{Kind: MutableSet}, nil
	case "banana.FrozenSet":
		return Set{Kind: FrozenSet}, nil
	case "banana.Decimal":
		return Decimal{}, nil
	case "struct{}":
		return None{}, nil
	}
	if t.Kind() == reflect.Interface {
		if t.NumMethod() == 0 {
			return Any{}, nil
		}
		if name := t.Remote(); name != "" {
			return RemoteInterface{Name: name}, nil
		}
	}
	if byReference(t) {
		return Referenceable{}, nil
	}
	switch k := t.Kind(); k {
	case reflect.Bool:
		return Bool{}, nil
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		return intRange(true, intBits(k)), nil
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint, reflect.Uintptr:
		return intRange(false, intBits(k)), nil
	case reflect.Float32, reflect.Float64:
		return Number{}, nil
	case reflect.String:
		return Text{}, nil
	}
	name := t.String()
	for _, above := range d.above {
		if above == name {
			return nil, fmt.Errorf("schema: %s contains itself; a schema tag has to say where that ends", name)
		}
	}
	d.above = append(d.above, name)
	defer func() { d.above = d.above[:len(d.above)-1] }()
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return Bytes{}, nil
		}
		item, err := d.derive(t.Elem())
		return List{Item: item}, err
	case reflect.Array:
		n := t.Len()
		most := n
		if n == 0 {
			most = Empty
		}
		if t.Elem().Kind() == reflect.Uint8 {
			return Bytes{Min: n, Max: most}, nil
		}
		item, err := d.derive(t.Elem())
		return List{Item: item, Min: n, Max: most}, err
	case reflect.Map:
		key, err := d.derive(t.Key())
		if err != nil {
			return nil, err
		}
		if isNone(t.Elem()) {
			return Set{Item: key}, nil
		}
		value, err := d.derive(t.Elem())
		return Dict{Key: key, Value: value}, err
	case reflect.Pointer:
		switch c, err := d.derive(t.Elem()); {
		case err != nil:
			return nil, err
		case c.kinds()&kindNone != 0, t.Elem().WellKnown() != "":
			return c, nil
		default:
			return Choice{Of: []Constraint{c, None{}}}, nil
		}
	case reflect.Struct:
		fields, tuple, err := d.fields(t)
		if err != nil {
			return nil, err
		}
		if tuple {
			c := Tuple{}
			for _, f := range fields {
				inner, _ := unwrap(f.Constraint)
				c.Items = append(c.Items, inner)
			}
			return c, nil
		}
		return Struct{Fields: fields}, nil
	}
	return nil, fmt.Errorf("schema: type %s has no form in Banana", t)
}

// isNone reports whether t is struct{}, which is none on the wire.
func isNone(t Type) bool { return t.WellKnown() == "struct{}" }

// byReference reports whether values of the type go by reference.
func byReference(t Type) bool {
	return t.External() || t.Reader() || t.Kind() == reflect.Func || t.Kind() == reflect.Interface && t.String() != "error"
}

func intBits(k reflect.Kind) uint {
	switch k {
	case reflect.Int8, reflect.Uint8:
		return 8
	case reflect.Int16, reflect.Uint16:
		return 16
	case reflect.Int32, reflect.Uint32:
		return 32
	}
	return 64 // of int too, whatever the machine: it is what the peer may send
}

func intRange(signed bool, bits uint) Int {
	one := big.NewInt(1)
	if signed {
		limit := new(big.Int).Lsh(one, bits-1)
		return Int{Min: new(big.Int).Neg(limit), Max: new(big.Int).Sub(limit, one)}
	}
	limit := new(big.Int).Lsh(one, bits)
	return Int{Min: new(big.Int), Max: limit.Sub(limit, one)}
}

// fields are those that banana.FieldsOf returns, with their constraints.
func (d *deriver) fields(t Type) (fields []Field, tuple bool, err error) {
	for _, f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("foolscap"), ",")
		if f.Name == "_" && options == "tuple" {
			tuple = true
			continue
		}
		if name == "-" || !f.Exported && options == "" {
			continue
		}
		if name == "" {
			name = banana.SnakeCase(f.Name)
		}
		if options != "" && options != "optional" || !f.Exported {
			return nil, false, fmt.Errorf("schema: %s.%s: option %q in the foolscap tag does not apply", t, f.Name, options)
		}
		for _, other := range fields {
			if other.Name == name {
				return nil, false, fmt.Errorf("schema: %s has two fields called %q on the wire", t, name)
			}
		}
		c, err := d.field(f, options == "optional")
		if err != nil {
			return nil, false, fmt.Errorf("schema: %s.%s: %s", t, f.Name, strings.TrimPrefix(err.Error(), "schema: "))
		}
		fields = append(fields, Field{Name: name, Constraint: c})
	}
	return fields, tuple, nil
}

func (d *deriver) field(f TypeField, optional bool) (Constraint, error) {
	c, err := d.tagged(f.Type, f.Tag.Get("schema"))
	if err != nil {
		return nil, err
	}
	o, says := c.(Optional)
	if says && !optional {
		return nil, errors.New(`it is optional in the schema tag, and not in the foolscap tag`)
	}
	if !says {
		o.Of = c
	}
	if text, ok := f.Tag.Lookup("default"); ok {
		if !optional {
			return nil, errors.New("it has a default and is not optional")
		}
		if o.Default, err = parseLiteral(text); err != nil {
			return nil, fmt.Errorf("the default: %w", err)
		}
		if o.Default != nil {
			if err := o.Of.Check(o.Default); err != nil {
				return nil, fmt.Errorf("the default: %w", err)
			}
		}
	}
	if optional {
		return o, nil
	}
	return c, nil
}

func parseLiteral(text string) (any, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	v := p.literal()
	if p.err == nil && p.peek() != 0 {
		p.fail(p.at, "expected the end, got %s", p.got())
	}
	return v, p.err
}

// fits reports whether some value that c accepts can be one of type t, as far
// as that can be told.
func (d *deriver) fits(c Constraint, t Type) bool {
	for n := 0; t.Kind() == reflect.Pointer && !t.External() && !t.Reader(); n++ {
		if c.kinds()&kindNone != 0 {
			return true
		}
		if t = t.Elem(); n == 10 { // as in banana: a pointer to itself
			return false
		}
	}
	if o, ok := c.(Choice); ok {
		for _, a := range o.Of {
			if d.fits(orAny(a), t) {
				return true
			}
		}
		return false
	}
	if c.kinds()&typeKinds(t) == 0 {
		return false
	}
	if i, ok := c.(Int); ok {
		if own, err := d.derive(t); err == nil {
			if r, ok := own.(Int); ok {
				return overlap(i, r)
			}
		}
	}
	switch c := c.(type) {
	case List:
		if t.Kind() == reflect.Array {
			if m, bounded := length(c.Max); c.Min > t.Len() || bounded && m < t.Len() {
				return false
			}
		}
		return t.WellKnown() != "" || t.Kind() != reflect.Slice && t.Kind() != reflect.Array || d.fits(orAny(c.Item), t.Elem()) || c.Min == 0
	case Bytes:
		if t.Kind() == reflect.Array {
			m, bounded := length(c.Max)
			return c.Min <= t.Len() && (!bounded || m >= t.Len())
		}
	}
	return true
}

func overlap(a, b Int) bool {
	return !(a.Max != nil && b.Min != nil && a.Max.Cmp(b.Min) < 0 || a.Min != nil && b.Max != nil && a.Min.Cmp(b.Max) > 0)
}

// typeKinds are the kinds of values that a type can hold.
func typeKinds(t Type) kinds {
	switch t.WellKnown() {
	case "math/big.Int":
		return kindInt
	case "banana.List":
		return kindList
	case "banana.Tuple":
		return kindTuple
	case "banana.Dict":
		return kindDict
	case "banana.Set":
		return kindSet
	case "banana.FrozenSet":
		return kindFrozenSet
	case "banana.Decimal":
		return kindDecimal
	case "struct{}":
		return kindNone
	}
	if t.Kind() == reflect.Interface && t.NumMethod() == 0 {
		return everyKind
	}
	if byReference(t) {
		return kindReference | kindNone | kindCopyable
	}
	switch t.Kind() {
	case reflect.Bool:
		return kindBool
	case reflect.Float32, reflect.Float64:
		return kindFloat | kindInt
	case reflect.String:
		return kindText
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return kindBytes
		}
		return kindList | kindTuple
	case reflect.Map:
		if isNone(t.Elem()) {
			return kindSet | kindFrozenSet
		}
		return kindDict
	case reflect.Struct:
		return kindDict | kindTuple | kindCopyable
	case reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Interface:
		return 0
	}
	return kindInt
}
