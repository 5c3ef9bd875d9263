package gen

import (
	"cmp"
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// tubPath is the package that generated code calls.
const tubPath = "github.com/foolscap-go/foolscap/tub"

// A declaration is a Go interface with the directive that makes it a remote
// one.
type declaration struct {
	name string // in Go
	wire string
	file string
	pos  token.Pos
	obj  *types.TypeName
	// methods are in the order of their Go names, those of embedded
	// interfaces included.
	methods []*method
	schema  *schema.Interface
	// refers are the declarations whose values are arguments or results, or
	// parts of those.
	refers []*declaration
}

type method struct {
	name, wire string
	pos        token.Pos
	// args is nil if the method takes whatever comes.
	args   *types.Struct
	fields []field
	argsOf types.Type // what the source calls args
	result types.Type
	// constraint is that of the result where the type does not say enough.
	constraint string
}

// A field is an argument.
type field struct {
	name, wire string
	optional   bool
	typ        types.Type
	pos        token.Pos
}

// The directives.
const (
	prefix          = "//foolscap:"
	interfaceMarker = "interface" // NAME
	methodMarker    = "method"    // NAME
	resultMarker    = "result"    // CONSTRAINT
)

type directive struct {
	word, text string
	pos        token.Pos
}

func directivesIn(group *ast.CommentGroup) []directive {
	if group == nil {
		return nil
	}
	var all []directive
	for _, c := range group.List {
		if rest, ok := strings.CutPrefix(c.Text, prefix); ok {
			word, text, _ := strings.Cut(rest, " ")
			all = append(all, directive{word, strings.TrimSpace(text), c.Pos()})
		}
	}
	return all
}

// A reader makes declarations of the source, and collects what is wrong.
type reader struct {
	*source
	taken  map[token.Pos]bool // directives that have a place
	named  map[token.Pos][]directive
	errors []error
}

func (r *reader) fail(pos token.Pos, format string, args ...any) {
	r.errors = append(r.errors, r.at(pos, format, args...))
}

// take returns the directives of something, which may have no others than
// these, and each once.
func (r *reader) take(what string, of []directive, words ...string) map[string]directive {
	found := map[string]directive{}
	for _, d := range of {
		r.taken[d.pos] = true
		_, twice := found[d.word]
		switch {
		case !slices.Contains(words, d.word):
			r.fail(d.pos, "foolscap:%s does not belong to %s; what does: foolscap:%s", d.word, what, strings.Join(words, ", foolscap:"))
		case twice:
			r.fail(d.pos, "foolscap:%s is there twice", d.word)
		case d.text == "":
			r.fail(d.pos, "foolscap:%s has to be followed by what it says: see \"foolscap help gen\"", d.word)
		default:
			found[d.word] = d
		}
	}
	return found
}

// declarations are all remote interfaces of the package, in the order of the
// source.
func (s *source) declarations() ([]*declaration, error) {
	r := &reader{source: s, taken: map[token.Pos]bool{}, named: map[token.Pos][]directive{}}
	type marked struct {
		spec *ast.TypeSpec
		obj  *types.TypeName
		wire directive
	}
	var interfaces []marked
	for _, f := range s.files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				spec := spec.(*ast.TypeSpec)
				it, isInterface := spec.Type.(*ast.InterfaceType)
				if isInterface { // maybe one that others embed
					for _, m := range it.Methods.List {
						if len(m.Names) == 1 {
							r.named[m.Names[0].Pos()] = directivesIn(m.Doc)
						}
					}
				}
				doc := spec.Doc
				if doc == nil && len(g.Specs) == 1 {
					doc = g.Doc
				}
				all := directivesIn(doc)
				if len(all) == 0 {
					continue
				}
				wire, ok := r.take("a type", all, interfaceMarker)[interfaceMarker]
				if !ok {
					continue
				}
				if !isInterface || spec.TypeParams != nil || spec.Assign != 0 || spec.Name.Name == "_" {
					r.fail(spec.Pos(), "foolscap:interface belongs to an interface without type parameters; %s is none", spec.Name.Name)
					continue
				}
				obj, ok := r.info.Defs[spec.Name].(*types.TypeName)
				if !ok { // it is declared twice
					r.fail(spec.Pos(), "%s", r.why(spec.Pos()))
					continue
				}
				interfaces = append(interfaces, marked{spec, obj, wire})
			}
		}
	}
	var all []*declaration
	wires := map[string]string{}
	for _, m := range interfaces {
		d := r.declaration(m.spec, m.obj, m.wire.text)
		if other, ok := wires[d.wire]; ok {
			r.fail(m.wire.pos, "%s is the name of %s already", d.wire, other)
		}
		wires[d.wire] = d.name
		all = append(all, d)
	}
	for _, f := range s.files {
		for _, group := range f.Comments {
			for _, d := range directivesIn(group) {
				if !r.taken[d.pos] {
					r.fail(d.pos, "foolscap:%s stands where it says nothing: it belongs directly above an interface, or a method of one that has foolscap:interface", d.word)
				}
			}
		}
	}
	if r.errors == nil {
		r.schemas(all)
	}
	return all, errors.Join(r.errors...)
}

func (r *reader) declaration(spec *ast.TypeSpec, obj *types.TypeName, wire string) *declaration {
	d := &declaration{
		name: obj.Name(), wire: wire, pos: spec.Pos(), obj: obj,
		file: filepath.Base(r.fset.Position(spec.Pos()).Filename),
	}
	t := obj.Type().Underlying().(*types.Interface)
	if !t.IsMethodSet() {
		r.fail(spec.Pos(), "%s is a constraint for types, which no object can be", d.name)
		return d
	}
	for i := range t.NumEmbeddeds() {
		if b, ok := t.EmbeddedType(i).(*types.Basic); ok && b.Kind() == types.Invalid {
			r.fail(spec.Pos(), "%s: what it embeds is not known: %s", d.name, r.why(spec.Pos()))
		}
	}
	if t.NumMethods() == 0 {
		r.fail(spec.Pos(), "%s has no methods, so that every value has them; use *tub.Ref for its values", d.name)
	}
	wires := map[string]string{}
	for i := range t.NumMethods() {
		m := r.method(t.Method(i))
		if m == nil {
			continue
		}
		if other, ok := wires[m.wire]; ok {
			r.fail(m.pos, "%s and %s are both called %q on the wire", other, m.name, m.wire)
		}
		wires[m.wire] = m.name
		d.methods = append(d.methods, m)
	}
	slices.SortFunc(d.methods, func(a, b *method) int { return strings.Compare(a.name, b.name) })
	return d
}

func (r *reader) method(f *types.Func) *method {
	directives := r.take("a method", r.named[f.Pos()], methodMarker, resultMarker)
	m := &method{name: f.Name(), wire: banana.SnakeCase(f.Name()), pos: f.Pos(), constraint: directives[resultMarker].text}
	if d, ok := directives[methodMarker]; ok {
		m.wire = d.text
	}
	if !f.Exported() {
		r.fail(m.pos, "%s is not exported: peers cannot call it", m.name)
		return nil
	}
	if m.name == "Ref" || m.name == "BananaExternal" {
		r.fail(m.pos, "the client has something called %s already; call the method otherwise here, and put above it: %s%s %s",
			m.name, prefix, methodMarker, m.wire)
	}
	sig := f.Signature()
	in, out := sig.Params(), sig.Results()
	if in.Len() != 2 || out.Len() != 2 || sig.Variadic() || !isNamed(in.At(0).Type(), "context", "Context") ||
		!types.Identical(out.At(1).Type(), types.Universe.Lookup("error").Type()) {
		r.fail(m.pos, "%s has to have the form %s(ctx context.Context, a A) (R, error)", m.name, m.name)
		return nil
	}
	m.argsOf, m.result = in.At(1).Type(), out.At(0).Type()
	r.known(m.pos, m.argsOf)
	r.known(m.pos, m.result)
	if isNamed(m.argsOf, "github.com/foolscap-go/foolscap/protocol/broker", "Args") {
		return m
	}
	args, ok := m.argsOf.Underlying().(*types.Struct)
	if !ok {
		if m.argsOf.Underlying() != types.Typ[types.Invalid] {
			r.fail(m.pos, "%s takes %s; its arguments are the fields of a struct, or tub.None if there are none",
				m.name, types.TypeString(m.argsOf, types.RelativeTo(r.pkg)))
		}
		return m
	}
	m.args = args
	m.fields = r.fields(m.name, m.pos, args)
	return m
}

// known complains of a type that the type checker could not make out.
func (r *reader) known(pos token.Pos, t types.Type) {
	if t.Underlying() == types.Typ[types.Invalid] {
		r.fail(pos, "%s", r.why(pos))
	}
}

// fields are the arguments, as banana.FieldsOf finds them.
func (r *reader) fields(method string, pos token.Pos, t *types.Struct) []field {
	var all []field
	names := map[string]bool{}
	for i := range t.NumFields() {
		v := t.Field(i)
		name, option, _ := strings.Cut(reflect.StructTag(t.Tag(i)).Get("foolscap"), ",")
		if name == "-" || !v.Exported() {
			continue
		}
		if v.Pkg() == r.pkg {
			pos = v.Pos()
		}
		f := field{name: v.Name(), wire: name, optional: option == "optional", typ: v.Type(), pos: pos}
		if name == "" {
			f.wire = banana.SnakeCase(v.Name())
		}
		if option != "" && option != "optional" {
			r.fail(pos, "field %s: %q in the foolscap tag says nothing here; it can be \"optional\"", f.name, option)
		}
		if names[f.wire] {
			r.fail(pos, "two arguments of %s are called %q on the wire", method, f.wire)
		}
		names[f.wire] = true
		r.known(pos, f.typ)
		all = append(all, f)
	}
	return all
}

func isNamed(t types.Type, path, name string) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Name() == name && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == path
}

// schemas finds out what the declarations come to on the wire.
func (r *reader) schemas(all []*declaration) {
	v := view{remotes: &remotes{names: map[*types.TypeName]string{}}}
	for _, d := range all {
		v.names[d.obj] = d.wire
	}
	for _, d := range all {
		v.used = map[*types.TypeName]bool{}
		var methods []*schema.Method
		for _, m := range d.methods {
			methods = append(methods, r.methodSchema(m, v))
		}
		slices.SortFunc(methods, func(a, b *schema.Method) int { return strings.Compare(a.Name, b.Name) })
		i, err := schema.NewInterface(d.wire, v.extended(d.obj), methods...)
		if err != nil {
			r.fail(d.pos, "%s", r.reason(d.pos, err.Error()))
		}
		d.schema = i
		for _, other := range all {
			if v.used[other.obj] {
				d.refers = append(d.refers, other)
			}
		}
	}
}

func (r *reader) methodSchema(m *method, v view) *schema.Method {
	found := &schema.Method{Name: m.wire, Unconstrained: m.args == nil}
	if found.Unconstrained {
		if m.constraint != "" {
			r.fail(m.pos, "%s takes whatever comes, so its result has no constraint either", m.name)
		}
		return found
	}
	for i := range m.args.NumFields() { // one by one, for the place of an error
		f := m.args.Field(i)
		pos := m.pos
		if f.Pkg() == r.pkg {
			pos = f.Pos()
		}
		alone := types.NewStruct([]*types.Var{f}, []string{m.args.Tag(i)})
		args, err := schema.DeriveArgs(v.of(alone))
		if err != nil {
			_, text, _ := strings.Cut(err.Error(), "."+f.Name()+": ")
			r.fail(pos, "argument %s of %s: %s", f.Name(), m.name, r.reason(pos, cmp.Or(text, err.Error())))
		}
		found.Args = append(found.Args, args...)
	}
	result, err := schema.Derive(v.of(m.result), m.constraint)
	if err != nil {
		r.fail(m.pos, "the result of %s: %s", m.name, r.reason(m.pos, err.Error()))
	}
	found.Result = result
	return found
}

// reason is what is told of an error of package schema.
func (r *reader) reason(pos token.Pos, text string) string {
	if strings.Contains(text, types.Typ[types.Invalid].String()) {
		return r.why(pos)
	}
	return strings.TrimPrefix(text, "schema: ")
}
