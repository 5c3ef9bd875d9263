package gen

import (
	"go/token"
	"go/types"
	"reflect"
	"slices"

	"github.com/foolscap-go/foolscap/protocol/schema"
)

// A view shows a type of the source to the derivation of constraints, as
// reflection would show it to a running program.
type view struct {
	t types.Type
	*remotes
}

// remotes are the declared interfaces of a package.
type remotes struct {
	names map[*types.TypeName]string // on the wire
	used  map[*types.TypeName]bool   // those that were met
}

var _ schema.Type = view{}

func (v view) of(t types.Type) schema.Type { return view{t, v.remotes} }

var kinds = map[types.BasicKind]reflect.Kind{
	types.Bool: reflect.Bool, types.String: reflect.String, types.UnsafePointer: reflect.UnsafePointer,
	types.Int: reflect.Int, types.Int8: reflect.Int8, types.Int16: reflect.Int16, types.Int32: reflect.Int32, types.Int64: reflect.Int64,
	types.Uint: reflect.Uint, types.Uint8: reflect.Uint8, types.Uint16: reflect.Uint16, types.Uint32: reflect.Uint32, types.Uint64: reflect.Uint64,
	types.Uintptr: reflect.Uintptr, types.Float32: reflect.Float32, types.Float64: reflect.Float64,
	types.Complex64: reflect.Complex64, types.Complex128: reflect.Complex128,
}

// Kind is reflect.Invalid for what the type checker could not make out.
func (v view) Kind() reflect.Kind {
	switch t := v.t.Underlying().(type) {
	case *types.Basic:
		return kinds[t.Kind()]
	case *types.Array:
		return reflect.Array
	case *types.Chan:
		return reflect.Chan
	case *types.Signature:
		return reflect.Func
	case *types.Interface:
		return reflect.Interface
	case *types.Map:
		return reflect.Map
	case *types.Pointer:
		return reflect.Pointer
	case *types.Slice:
		return reflect.Slice
	case *types.Struct:
		return reflect.Struct
	}
	return reflect.Invalid
}

func (v view) String() string {
	if v.WellKnown() == "struct{}" {
		return "struct {}"
	}
	return types.TypeString(v.t, (*types.Package).Name)
}

func (v view) Elem() schema.Type {
	return v.of(v.t.Underlying().(interface{ Elem() types.Type }).Elem())
}

func (v view) Key() schema.Type { return v.of(v.t.Underlying().(*types.Map).Key()) }
func (v view) Len() int         { return int(v.t.Underlying().(*types.Array).Len()) }
func (v view) NumMethod() int   { return v.t.Underlying().(*types.Interface).NumMethods() }

func (v view) Fields() []schema.TypeField {
	s := v.t.Underlying().(*types.Struct)
	all := make([]schema.TypeField, s.NumFields())
	for i := range all {
		f := s.Field(i)
		all[i] = schema.TypeField{Name: f.Name(), Exported: f.Exported(), Tag: reflect.StructTag(s.Tag(i)), Type: v.of(f.Type())}
	}
	return all
}

func (v view) External() bool { return types.Implements(v.t, bananaExternal) }
func (v view) Reader() bool   { return types.Implements(v.t, ioReader) }

// The interfaces banana.External and io.Reader.
var (
	bananaExternal = interfaceWith("BananaExternal", nil, nil)
	ioReader       = interfaceWith("Read",
		[]types.Type{types.NewSlice(types.Typ[types.Byte])},
		[]types.Type{types.Typ[types.Int], types.Universe.Lookup("error").Type()})
)

func interfaceWith(method string, in, out []types.Type) *types.Interface {
	tuple := func(all []types.Type) *types.Tuple {
		var vars []*types.Var
		for _, t := range all {
			vars = append(vars, types.NewParam(token.NoPos, nil, "", t))
		}
		return types.NewTuple(vars...)
	}
	signature := types.NewSignatureType(nil, nil, nil, tuple(in), tuple(out), false)
	return types.NewInterfaceType([]*types.Func{types.NewFunc(token.NoPos, nil, method, signature)}, nil).Complete()
}

func (v view) WellKnown() string {
	t := types.Unalias(v.t)
	if s, ok := t.(*types.Struct); ok && s.NumFields() == 0 {
		return "struct{}"
	}
	n, ok := t.(*types.Named)
	if !ok || n.Obj().Pkg() == nil {
		return ""
	}
	switch path, name := n.Obj().Pkg().Path(), n.Obj().Name(); path {
	case "math/big":
		if name == "Int" {
			return "math/big.Int"
		}
	case bananaPath:
		switch name {
		case "List", "Tuple", "Dict", "Set", "FrozenSet", "Decimal":
			return "banana." + name
		}
	}
	return ""
}

// Remote is the name of a declared interface on the wire.
func (v view) Remote() string {
	n, ok := types.Unalias(v.t).(*types.Named)
	if !ok || v.names[n.Obj()] == "" {
		return ""
	}
	v.used[n.Obj()] = true
	return v.names[n.Obj()]
}

// extended are the names of the declared interfaces that one embeds, directly or
// not, sorted.
func (v view) extended(obj *types.TypeName) []string {
	var names []string
	seen := map[types.Type]bool{}
	var look func(t types.Type)
	look = func(t types.Type) {
		i, ok := t.Underlying().(*types.Interface)
		if !ok || seen[i] {
			return
		}
		seen[i] = true
		for e := range i.EmbeddedTypes() {
			if n, ok := types.Unalias(e).(*types.Named); ok && v.names[n.Obj()] != "" && !slices.Contains(names, v.names[n.Obj()]) {
				names = append(names, v.names[n.Obj()])
			}
			look(e)
		}
	}
	look(obj.Type())
	slices.Sort(names)
	return names
}
