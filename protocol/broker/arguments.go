package broker

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// plan is how the arguments of a method are read.
type plan struct {
	raw    bool // into Args
	fields []banana.Field
	byName map[string]int
	// schema is what an interface says of the method, or nil. Its arguments are
	// the fields; defaults has those that it gives, or invalid Values.
	schema   *schema.Method
	defaults []reflect.Value
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

// read reads an arguments sequence, up to and including its CLOSE. t is for the
// constraints of an interface.
func (p *plan) read(d *banana.Decoder, ptr any, v reflect.Value, t *schema.Tasting) error {
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
		return p.readRaw(d, ptr.(*Args), n, t)
	}
	if n > int64(len(p.fields)) {
		return tooMany(len(p.fields), n)
	}
	// Which ones were given; methods have few arguments.
	var few [16]bool
	given := few[:]
	if len(p.fields) > len(few) {
		given = make([]bool, len(p.fields))
	}
	for i := range int(n) {
		f := &p.fields[i]
		if err := f.Codec.Decode(d, f.In(v), p.taster(t, i)); err != nil {
			return p.at(err, f.Name)
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
			if p.schema == nil || p.schema.Unknown == schema.RefuseUnknown {
				return unknownArgument(name)
			}
			if _, err := d.Value(nil); err != nil {
				return err
			}
			continue
		}
		f := &p.fields[i]
		if int64(i) < n {
			return givenTwice(f.Name)
		}
		if given[i] {
			if p.schema != nil { // or no bound on the arguments would hold
				return givenAgain(f.Name)
			}
			f.In(v).SetZero() // the last one counts, as a whole
		}
		if err := f.Codec.Decode(d, f.In(v), p.taster(t, i)); err != nil {
			return p.at(err, f.Name)
		}
		given[i] = true
	}
	for i := range p.fields {
		switch {
		case given[i]:
		case !p.optional(i):
			return missingArgument(p.fields[i].Name)
		case p.defaults != nil && p.defaults[i].IsValid():
			if err := p.setDefault(i, v); err != nil {
				return p.at(err, p.fields[i].Name)
			}
		}
	}
	return nil
}

// setDefault gives an argument its default: one of its own, if it can be changed.
func (p *plan) setDefault(i int, v reflect.Value) (err error) {
	f, value := &p.fields[i], p.defaults[i]
	switch value.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
	default:
		value, err = f.Recoded(p.schema.Args[i].Default)
	}
	if err == nil {
		f.In(v).Set(value)
	}
	return err
}

// ownDefault returns a default that nobody else can change.
func ownDefault(v any) any {
	switch v := v.(type) {
	case []byte:
		return bytes.Clone(v)
	case *big.Int:
		return new(big.Int).Set(v)
	}
	return v
}

// readRaw reads what follows the number of positional arguments into Args.
func (p *plan) readRaw(d *banana.Decoder, a *Args, n int64, t *schema.Tasting) error {
	var known []schema.Arg
	if p.schema != nil {
		if known = p.schema.Args; n > int64(len(known)) {
			return tooMany(len(known), n)
		}
	}
	given := make([]bool, len(known))
	for i := range n {
		var taster banana.Taster
		if known != nil {
			given[i] = true
			taster = t.Taster(known[i].Constraint)
		}
		v, err := d.Value(taster)
		switch {
		case err == nil:
		case known != nil:
			return p.at(err, known[i].Name)
		default:
			return banana.At(err, fmt.Sprintf("argument %d", i))
		}
		if err := d.Charge(32); err != nil {
			return err
		}
		a.Positional = append(a.Positional, v)
	}
	for {
		b, end, err := d.NextName("the name of an argument", maxName)
		if err != nil {
			return err
		}
		if end {
			break
		}
		name := string(b)
		var taster banana.Taster
		drop := false
		if p.schema != nil {
			switch i := p.schema.Arg(name); {
			case i < 0 && p.schema.Unknown == schema.RefuseUnknown:
				return unknownArgument(b)
			case i < 0:
				drop = p.schema.Unknown == schema.IgnoreUnknown
			case int64(i) < n:
				return givenTwice(name)
			case given[i]:
				return givenAgain(name)
			default:
				given[i] = true
				taster = t.Taster(known[i].Constraint)
			}
		}
		v, err := d.Value(taster)
		if err != nil {
			return p.at(err, name)
		}
		if drop {
			continue
		}
		if err := d.Charge(128 + len(name)); err != nil {
			return err
		}
		a.set(name, v)
	}
	for i, arg := range known {
		switch {
		case given[i]:
		case !arg.Optional:
			return missingArgument(arg.Name)
		case arg.Default != nil:
			a.set(arg.Name, ownDefault(arg.Default))
		}
	}
	return nil
}

func (a *Args) set(name string, v any) {
	if a.Keyword == nil {
		a.Keyword = make(map[string]any)
	}
	a.Keyword[name] = v
}

// optional reports whether an argument may be left out.
func (p *plan) optional(i int) bool {
	if p.schema != nil {
		return p.schema.Args[i].Optional
	}
	return p.fields[i].Optional
}

// taster returns the taster of an argument, or nil.
func (p *plan) taster(t *schema.Tasting, i int) banana.Taster {
	if p.schema == nil {
		return nil
	}
	return t.Taster(p.schema.Args[i].Constraint)
}

// at says that a Violation is about an argument.
func (p *plan) at(err error, name string) error {
	return place(err, fmt.Sprintf("argument %.40q", name), p.schema)
}

// place says where in a message an objection was made: what is the argument or
// the result, of a method that an interface has, if one has it.
func place(err error, what string, of *schema.Method) error {
	err = banana.At(err, what)
	if of != nil {
		if v, ok := errors.AsType[*banana.Violation](err); ok {
			v.Path = append(v.Path, fmt.Sprintf(" of %.40s", of.Name))
		}
	}
	return err
}

func tooMany(takes int, n int64) error {
	return &banana.Violation{Reason: fmt.Sprintf("takes %d arguments, got %d", takes, n)}
}

func unknownArgument(name []byte) error {
	return &banana.Violation{Reason: fmt.Sprintf("unknown argument %.40q", name)}
}

func givenTwice(name string) error {
	return &banana.Violation{Reason: fmt.Sprintf("argument %.40q is given by position and by name", name)}
}

func givenAgain(name string) error {
	return &banana.Violation{Reason: fmt.Sprintf("argument %.40q is given twice", name)}
}

func missingArgument(name string) error {
	return &banana.Violation{Reason: fmt.Sprintf("missing argument %.40q", name)}
}
