package gen

import (
	"bytes"
	"fmt"
	"go/format"
	"go/types"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A writer collects the text of a generated file, and what it imports.
type writer struct {
	pkg     *types.Package
	imports map[string]string // path → name in the file
	names   map[string]bool   // those names
	body    bytes.Buffer
	// What the client's methods call their receiver, parameters and the
	// arguments by name.
	c, ctx, a, named string
}

func newWriter(pkg *types.Package) *writer {
	w := &writer{pkg: pkg, imports: map[string]string{}, names: map[string]bool{}}
	for name, local := range map[string]*string{"c": &w.c, "ctx": &w.ctx, "a": &w.a, "named": &w.named} {
		*local = name
		for pkg.Scope().Lookup(*local) != nil { // it may be the result
			*local += "_"
		}
		w.names[*local] = true
	}
	return w
}

func (w *writer) printf(format string, args ...any) { fmt.Fprintf(&w.body, format, args...) }

// use returns the name of an imported package, one that is not taken.
func (w *writer) use(path, name string) string {
	if got, ok := w.imports[path]; ok {
		return got
	}
	unique := name
	for n := 2; w.names[unique] || w.pkg.Scope().Lookup(unique) != nil; n++ {
		unique = name + strconv.Itoa(n)
	}
	w.imports[path], w.names[unique] = unique, true
	return unique
}

// typeText is a type as the file calls it.
func (w *writer) typeText(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == w.pkg {
			return ""
		}
		return w.use(p.Path(), p.Name())
	})
}

// file is the whole of it, formatted.
func (w *writer) file(heading string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\npackage %s\n\nimport (\n", heading, w.pkg.Name())
	paths := slices.Sorted(maps.Keys(w.imports))
	for _, standard := range []bool{true, false} {
		for _, path := range paths {
			first, _, _ := strings.Cut(path, "/")
			if strings.Contains(first, ".") == standard {
				continue
			}
			name := w.imports[path]
			if path == name || strings.HasSuffix(path, "/"+name) {
				name = ""
			}
			fmt.Fprintf(&b, "%s %q\n", name, path)
		}
		b.WriteByte('\n')
	}
	b.WriteString(")\n")
	b.Write(w.body.Bytes())
	return format.Source(b.Bytes())
}

// made is the name of something that is generated: New and Client around
// Calculator make NewCalculatorClient, or newCalculatorClient if calculator
// is not exported.
func (d *declaration) made(before, after string) string {
	first, size := utf8.DecodeRuneInString(d.name)
	if before == "" {
		return d.name + after
	}
	if unicode.IsLower(first) {
		before = strings.ToLower(before)
	}
	return before + string(unicode.ToUpper(first)) + d.name[size:] + after
}

// generated are the names of what is generated for it.
func (d *declaration) generated() []string {
	return []string{d.made("", "Interface"), d.made("", "Client"), d.made("New", "Client"), d.made("New", "Object"), d.made("", "Stub")}
}

// stubs writes what is generated for one interface.
func (w *writer) stubs(d *declaration) {
	tub, ctx := w.use(tubPath, "tub"), w.use("context", "context")
	names := d.generated()
	iface, client, newClient, newObject, stub := names[0], names[1], names[2], names[3], names[4]

	w.printf("\n// %s is %s as it goes over the wire:\n//\n", iface, d.wire)
	for line := range strings.Lines(d.schema.String()) {
		w.printf("//\t%s", line)
	}
	w.printf("var %s = %s.InterfaceOf[%s](%q%s)\n", iface, tub, d.name, d.wire, w.overrides(d, tub))

	w.printf("\n// %s is a [%s] in another Tub: calls on the reference.\ntype %s struct{ *%s.Ref }\n", client, d.name, client, tub)
	w.printf("\nvar _ %s = %s{}\n", d.name, client)
	w.printf("\n// %s returns the %s that ref stands for. Calls on ref keep to [%s] from now on.\n", newClient, d.name, iface)
	w.printf("func %s(ref *%s.Ref) %s {\nref.Assume(%s)\nreturn %s{ref}\n}\n", newClient, tub, client, iface, client)
	for _, m := range d.methods {
		w.printf("\n// %s calls %s.\n", m.name, m.wire)
		w.printf("func (%s %s) %s(%s %s.Context, %s %s) (%s, error) {\n", w.c, client, m.name, w.ctx, ctx, w.a, w.typeText(m.argsOf), w.typeText(m.result))
		w.call(m, tub)
		w.printf("}\n")
	}

	w.printf("\n// %s makes an object of impl, which is its [tub.Value] too; parts come on top.\n", newObject)
	w.printf("func %s(impl %s, parts ...%s.Part) *%s.Object {\n", newObject, d.name, tub, tub)
	w.printf("return %s.NewObject(append([]%s.Part{\n%s.Implements(%s),\n%s.Value(impl),\n", tub, tub, tub, iface, tub)
	for _, m := range d.methods {
		w.printf("%s.Method(%q, impl.%s),\n", tub, m.wire, m.name)
	}
	w.printf("}, parts...)...)\n}\n")

	w.printf("\n// %s lets every %s be an argument, a result or a part of one: see [%s.Options].\n", stub, d.name, tub)
	w.printf("var %s = %s.StubOf(\nfunc(ref *%s.Ref) %s { return %s(ref) },\nfunc(impl %s) *%s.Object { return %s(impl) },\n)\n",
		stub, tub, tub, d.name, newClient, d.name, tub, newObject)
}

// overrides are the further arguments of InterfaceOf.
func (w *writer) overrides(d *declaration, tub string) string {
	var names, results strings.Builder
	for _, m := range d.methods {
		if m.wire != banana.SnakeCase(m.name) {
			fmt.Fprintf(&names, "%q: %q,\n", m.name, m.wire)
		}
		if m.constraint != "" {
			fmt.Fprintf(&results, "%q: %q,\n", m.name, m.constraint)
		}
	}
	var all string
	if len(d.schema.Extends) > 0 {
		all = fmt.Sprintf(",\n%s.Extends(%s)", tub, quoted(d.schema.Extends))
	}
	for _, other := range d.refers {
		all += fmt.Sprintf(",\n%s.Refers[%s](%q)", tub, other.name, other.wire)
	}
	if names.Len() > 0 {
		all += fmt.Sprintf(",\n%s.Names{\n%s}", tub, &names)
	}
	if results.Len() > 0 {
		all += fmt.Sprintf(",\n%s.Results{\n%s}", tub, &results)
	}
	if all != "" {
		all += ",\n"
	}
	return all
}

func quoted(all []string) string {
	text := make([]string, len(all))
	for i, s := range all {
		text[i] = strconv.Quote(s)
	}
	return strings.Join(text, ", ")
}

// call writes the body of a method of the client.
func (w *writer) call(m *method, tub string) {
	args := []string{w.ctx, w.c + ".Ref", strconv.Quote(m.wire)}
	positional := []string{}
	rest := 0
	for rest < len(m.fields) && !m.fields[rest].optional {
		positional = append(positional, w.argument(m.fields[rest].name, m.fields[rest].typ, tub))
		rest++
	}
	switch {
	case m.args == nil:
		args = append(args, w.a)
	case rest < len(m.fields):
		w.printf("var %s %s.Keywords\n", w.named, tub)
		for _, f := range m.fields[rest:] {
			value := w.a + "." + f.name
			set := fmt.Sprintf("%s.Set(%q, %s)\n", w.named, f.wire, w.argument(f.name, f.typ, tub))
			if f.optional {
				set = fmt.Sprintf("if %s {\n%s}\n", w.given(value, f.typ), set)
			}
			w.printf("%s", set)
		}
		args = append(append(args, positional...), w.named)
	case rest > 0 && couldBeTaken(m.fields[rest-1].typ):
		args = append(append(args, positional...), tub+".Keywords(nil)")
	default:
		args = append(args, positional...)
	}
	w.printf("return %s.Call[%s](%s)\n", tub, w.typeText(m.result), strings.Join(args, ", "))
}

// argument is a field as an argument of Call, which would not see that it is
// declared as of an interface type.
func (w *writer) argument(name string, t types.Type, tub string) string {
	value := w.a + "." + name
	if i, ok := t.Underlying().(*types.Interface); ok && !i.Empty() {
		return tub + ".As(" + value + ")"
	}
	return value
}

// couldBeTaken reports whether the last argument could hold tub.Keywords or
// tub.Args, which tub.Call takes for something else than an argument.
func couldBeTaken(t types.Type) bool {
	i, ok := t.Underlying().(*types.Interface)
	return ok && i.Empty() || isNamed(t, tubPath, "Keywords")
}

// given is the condition that an optional argument is not zero.
func (w *writer) given(x string, t types.Type) string {
	switch t := t.Underlying().(type) {
	case *types.Basic:
		switch {
		case t.Info()&types.IsBoolean != 0:
			return x
		case t.Info()&types.IsString != 0:
			return x + ` != ""`
		default:
			return x + " != 0"
		}
	case *types.Struct, *types.Array:
		return "!" + w.use("reflect", "reflect") + ".ValueOf(" + x + ").IsZero()"
	}
	return x + " != nil"
}
