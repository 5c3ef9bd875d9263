package gen

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/schema"
)

// A problem is a part of a Python schema that means more there than it can
// here.
type problem func(format string, args ...any)

// constraint makes ours of one of Python's.
func (c *pyConstraint) constraint(p problem) schema.Constraint {
	switch c.Kind {
	case "any":
		return schema.Any{}
	case "bytes":
		return schema.Bytes{Min: least(c.Min), Max: most(c.Max)}
	case "text":
		return schema.Text{Min: least(c.Min), Max: most(c.Max), Pattern: c.pattern(p)}
	case "int":
		if c.Bytes != nil && *c.Bytes == -1 {
			return schema.Int{Min: big.NewInt(math.MinInt32), Max: big.NewInt(math.MaxInt32)}
		}
		return schema.Int{Bytes: intBytes(c.Bytes)}
	case "number":
		return schema.Number{Bytes: intBytes(c.Bytes)}
	case "bool":
		if c.Text == "" {
			return schema.Bool{}
		}
		only := c.Text == "true"
		return schema.Bool{Only: &only}
	case "none":
		return schema.None{}
	case "list":
		return schema.List{Item: c.inner(0, p), Min: least(c.Min), Max: most(c.Max)}
	case "tuple":
		return schema.Tuple{Items: c.all(p)}
	case "set":
		kind := schema.EitherSet
		if c.Mutable != nil {
			kind = schema.FrozenSet
			if *c.Mutable {
				kind = schema.MutableSet
			}
		}
		return schema.Set{Item: c.inner(0, p), Max: most(c.Max), Kind: kind}
	case "dict":
		return schema.Dict{Key: c.inner(0, p), Value: c.inner(1, p), Max: most(c.Max)}
	case "choice":
		return schema.Choice{Of: c.all(p)}
	case "attributes":
		d := schema.AttrDict{Unknown: unknown(c.Ignore, c.Accept)}
		for i, name := range c.Names {
			field := c.Of[i].orOptional(p)
			d.Fields = append(d.Fields, schema.Field{Name: name, Constraint: field})
		}
		return d
	case "interface":
		if c.Text == "" {
			return schema.Referenceable{}
		}
		return schema.RemoteInterface{Name: c.Text}
	case "optional":
		p("Optional says nothing within another constraint")
		return schema.Any{}
	}
	p("%s", c.Text)
	return schema.Any{}
}

// orOptional is constraint for what may be absent.
func (c *pyConstraint) orOptional(p problem) schema.Constraint {
	if c.Kind != "optional" {
		return c.constraint(p)
	}
	o := schema.Optional{Of: c.inner(0, p)}
	if c.Default == nil {
		return o
	}
	value, ok := c.Default.value()
	switch {
	case !ok:
		p("its default, %s, is left out", c.Default.Text)
	case value != nil && o.Of.Check(value) != nil: // Python does not look either
		p("its default does not satisfy its own constraint, and is left out")
	default:
		o.Default = value
	}
	return o
}

func (c *pyConstraint) inner(i int, p problem) schema.Constraint { return c.Of[i].constraint(p) }

func (c *pyConstraint) all(p problem) []schema.Constraint {
	all := make([]schema.Constraint, len(c.Of))
	for i := range all {
		all[i] = c.inner(i, p)
	}
	return all
}

func (c *pyConstraint) pattern(p problem) *regexp.Regexp {
	if c.Text == "" {
		return nil
	}
	re, err := regexp.Compile(c.Text)
	if err != nil {
		p("its pattern is left out: %v", err)
		return nil
	}
	return re
}

func least(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func most(n *int) int {
	switch {
	case n == nil:
		return 0
	case *n == 0:
		return schema.Empty
	}
	return *n
}

func intBytes(n *int) int {
	switch {
	case n == nil:
		return schema.Unlimited
	case *n == schema.DefaultIntBytes:
		return 0
	}
	return *n
}

func unknown(ignore, accept bool) schema.Unknown {
	switch {
	case ignore:
		return schema.IgnoreUnknown
	case accept:
		return schema.AcceptUnknown
	}
	return schema.RefuseUnknown
}

// value returns the default as a value, or false if it is none that a schema
// can hold.
func (l *pyLiteral) value() (v any, ok bool) {
	switch l.Kind {
	case "none":
		return nil, true
	case "bool":
		return l.Text == "True", true
	case "int":
		n, ok := new(big.Int).SetString(l.Text, 10)
		if ok && n.IsInt64() {
			return n.Int64(), true
		}
		return n, ok
	case "float":
		x, err := strconv.ParseFloat(l.Text, 64)
		return x, err == nil
	case "text":
		return l.Text, true
	case "bytes":
		b, err := hex.DecodeString(l.Text)
		return b, err == nil
	}
	return nil, false
}

// ignored is for those who have been told already.
func ignored(string, ...any) {}

// interfaces are those of the module as schemas, with the methods that they
// inherit.
func (m *pyModule) interfaces() (all []*schema.Interface, notes []string, err error) {
	for _, i := range m.Interfaces {
		var methods []*schema.Method
		for _, m := range i.Methods {
			place := i.Class + "." + m.Name
			if m.Problem != "" {
				return nil, nil, fmt.Errorf("%s: %s", place, m.Problem)
			}
			note := func(format string, args ...any) {
				notes = append(notes, place+": "+fmt.Sprintf(format, args...))
			}
			method := &schema.Method{Name: m.Name, Unconstrained: m.Unconstrained, Unknown: unknown(m.Ignore, m.Accept)}
			for _, a := range m.Arguments {
				arg := schema.Arg{Name: a.Name, Constraint: a.Constraint.orOptional(note)}
				if o, ok := arg.Constraint.(schema.Optional); ok {
					arg = schema.Arg{Name: a.Name, Constraint: o.Of, Optional: true, Default: o.Default}
				}
				method.Args = append(method.Args, arg)
			}
			if m.Result != nil {
				method.Result = m.Result.constraint(note)
			}
			methods = append(methods, method)
		}
		slices.SortFunc(methods, func(a, b *schema.Method) int { return strings.Compare(a.Name, b.Name) })
		s, err := schema.NewInterface(i.Name, slices.Sorted(slices.Values(i.Extends)), methods...)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", i.Class, err)
		}
		all = append(all, s)
	}
	return all, notes, nil
}
