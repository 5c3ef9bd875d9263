package gen

import (
	"context"
	"fmt"
	"go/token"
	"go/types"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

const bananaPath = "github.com/foolscap-go/foolscap/protocol/banana"

// FromPython makes Go interfaces of those of a Python module, which is given by
// its name or its file, and imported. pkg is the package that they are for, and
// python the program that imports; both have defaults.
func FromPython(ctx context.Context, python, module, pkg string) (*Output, error) {
	m, err := readPython(ctx, python, module)
	if err != nil {
		return nil, err
	}
	return m.translate(pkg)
}

func (m *pyModule) translate(pkg string) (*Output, error) {
	if pkg == "" {
		pkg = packageName(m.Module)
	}
	if !token.IsIdentifier(pkg) {
		return nil, fmt.Errorf("%q cannot be the name of a package", pkg)
	}
	if _, _, err := m.interfaces(); err != nil { // a name that nothing could have on the wire
		return nil, err
	}
	t := &translator{
		writer: newWriter(types.NewPackage(pkg, pkg)),
		module: m, taken: map[string]bool{}, byWire: map[string]string{}, written: map[string]*translated{}, output: &Output{},
	}
	for i := range m.Interfaces {
		// One without methods is nothing that a Go value could do.
		if py := &m.Interfaces[i]; len(py.Methods) > 0 {
			if !token.IsIdentifier(py.Class) {
				return nil, fmt.Errorf("%q cannot be the name of a type in Go", py.Class)
			}
			t.byWire[py.Name] = t.declared(interfaceName(py.Class))
		}
	}
	t.use("context", "context")
	t.printf("\n//go:generate go tool foolscap gen $GOFILE\n")
	for i := range m.Interfaces {
		t.declare(&m.Interfaces[i])
	}
	var err error
	t.output.Source, err = t.file(strings.TrimSpace(comment("The remote interfaces of the Python module %s, as \"foolscap gen --from-python\" has read them.", m.Module)))
	return t.output, err
}

// A translator writes Go declarations.
type translator struct {
	*writer
	module *pyModule
	taken  map[string]bool   // names of types
	byWire map[string]string // interfaces with methods of the module
	later  []string          // types that belong behind the interface
	// written are the interfaces that are there already, by their names on the wire.
	written map[string]*translated
	output  *Output
}

// A translated interface has its methods by their names on the wire, and is what
// others embed who extend it.
type translated struct {
	extends []string // that can be seen in Go
	methods map[string]translatedMethod
}

type translatedMethod struct {
	name  string // in Go
	owner string // the interface that declares it
	py    *pyMethod
}

// declared returns the name, or one like it, and takes it with those of what is
// generated for it.
func (t *translator) declared(name string) string {
	d := declaration{name: name}
	for n := 2; slices.ContainsFunc(append(d.generated(), d.name), func(s string) bool { return t.taken[s] }); n++ {
		d.name = name + strconv.Itoa(n)
	}
	for _, s := range append(d.generated(), d.name) {
		t.taken[s] = true
	}
	return d.name
}

// declare writes an interface, and the structs that it needs.
func (t *translator) declare(i *pyInterface) {
	name := t.byWire[i.Name]
	if name == "" {
		t.note("%s has no methods: references to it are *tub.Ref", i.Class)
		return
	}
	t.output.Interfaces = append(t.output.Interfaces, i.Name)
	t.printf("\n%s//\n%s%s %s\ntype %s interface {\n", comment("%s is %s of %s.", name, i.Class, t.module.Module), prefix, interfaceMarker, i.Name, name)
	self := &translated{methods: map[string]translatedMethod{}}
	taken := map[string]bool{"Ref": true, "BananaExternal": true}
	for _, base := range i.Bases {
		if t.embeds(i, self, base) {
			t.printf("%s\n", t.byWire[base])
		}
	}
	for _, m := range self.methods {
		taken[m.name] = true
	}
	for _, extended := range i.Extends {
		if !slices.Contains(self.extends, extended) {
			t.note("%s extends %s, which its Go interface does not: that is not of the module, has no methods, or other ones", i.Class, extended)
		}
	}
	for k := range i.Methods {
		m := &i.Methods[k]
		if _, inherited := self.methods[m.Name]; inherited {
			continue
		}
		found := translatedMethod{unique(goName(m.Name), taken), name, m}
		self.methods[m.Name] = found
		t.method(i, m, name, found.name)
	}
	t.written[i.Name] = self
	t.printf("}\n")
	for _, text := range t.later {
		t.printf("\n%s", text)
	}
	t.later = nil
}

// embeds reports whether an interface can embed a base, all of whose methods it
// has then.
func (t *translator) embeds(i *pyInterface, self *translated, base string) bool {
	b := t.written[base]
	if b == nil {
		return false
	}
	goNames := map[string]string{}
	for wire, m := range self.methods {
		goNames[m.name] = wire
	}
	for wire, m := range b.methods {
		own := slices.IndexFunc(i.Methods, func(m pyMethod) bool { return m.Name == wire })
		other, taken := self.methods[wire]
		if own < 0 || !reflect.DeepEqual(&i.Methods[own], m.py) || taken && other.owner != m.owner || !taken && goNames[m.name] != "" {
			return false
		}
	}
	maps.Copy(self.methods, b.methods)
	self.extends = append(append(self.extends, base), b.extends...)
	return true
}

// note tells of what could not be expressed.
func (t *translator) note(format string, args ...any) {
	t.output.Notes = append(t.output.Notes, fmt.Sprintf(format, args...))
}

// comment is a line of a comment, whatever the text of others in it.
func comment(format string, args ...any) string {
	return "// " + strings.Join(strings.FieldsFunc(fmt.Sprintf(format, args...), func(r rune) bool { return !unicode.IsPrint(r) }), " ") + "\n"
}

func (t *translator) method(i *pyInterface, m *pyMethod, iface, name string) {
	var comments, markers strings.Builder
	note := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		comments.WriteString(comment("%s: %s.", name, text))
		t.note("%s.%s: %s", i.Class, m.Name, text)
	}
	if m.Name != banana.SnakeCase(name) {
		fmt.Fprintf(&markers, "%s%s %s\n", prefix, methodMarker, m.Name)
	}
	args := t.use(tubPath, "tub") + ".None"
	switch {
	case m.Unconstrained:
		args = "tub.Args"
	case m.Ignore || m.Accept:
		note("it takes arguments that are not declared, so it takes any")
		args = "tub.Args"
	case len(m.Arguments) > 0:
		args = t.arguments(i, m, iface, name)
	}
	result := "any"
	if m.Result != nil {
		var derived schema.Constraint
		result, derived = t.typed(m.Result, iface+name+"Result")
		if want := m.Result.constraint(note); args != "tub.Args" && !same(want, derived) {
			fmt.Fprintf(&markers, "%s%s %s\n", prefix, resultMarker, want)
		}
	}
	if comments.Len() > 0 && markers.Len() > 0 {
		comments.WriteString("//\n")
	}
	t.printf("%s%s%s(ctx context.Context, a %s) (%s, error)\n", &comments, &markers, name, args, result)
}

// same reports whether what a type stands for is what is wanted. A derived nil
// never is.
func same(want, derived schema.Constraint) bool {
	return derived != nil && want.String() == derived.String()
}

// arguments writes the struct of a method's arguments, and returns its name.
func (t *translator) arguments(i *pyInterface, m *pyMethod, iface, name string) string {
	self := unique(iface+name+"Args", t.taken)
	var b strings.Builder
	fmt.Fprintf(&b, "// %s are the arguments of [%s.%s].\ntype %s struct {\n", self, iface, name, self)
	taken := map[string]bool{}
	for k := range m.Arguments {
		a := &m.Arguments[k]
		field := unique(goName(a.Name), taken)
		b.WriteString(t.field(field, a.Name, &a.Constraint, self+field, func(format string, args ...any) {
			text := fmt.Sprintf(format, args...)
			b.WriteString(comment("%s: %s.", field, text))
			t.note("%s.%s, argument %s: %s", i.Class, m.Name, a.Name, text)
		}))
	}
	b.WriteString("}\n")
	t.later = append(t.later, b.String())
	return self
}

// field is a field of a struct. within is the name of a type that it may need.
func (t *translator) field(name, wire string, c *pyConstraint, within string, note problem) string {
	want := c.orOptional(note)
	o, optional := want.(schema.Optional)
	if optional {
		c, want = &c.Of[0], o.Of
	}
	typ, derived := t.typed(c, within)
	if optional && !nilable(typ, c) && !isZero(o.Default) {
		// Its zero value is not what is meant when it is left out.
		typ, derived = "*"+typ, nil
	}
	key := ""
	if wire != banana.SnakeCase(name) {
		key = wire
	}
	if optional {
		key += ",optional"
	}
	var tags []string
	if key != "" {
		tags = append(tags, tag("foolscap", key))
	}
	if !same(want, derived) {
		tags = append(tags, tag("schema", want.String()))
	}
	if o.Default != nil {
		_, text, _ := strings.Cut(schema.Optional{Default: o.Default}.String(), "default=")
		tags = append(tags, tag("default", strings.TrimSuffix(text, ")")))
	}
	return fmt.Sprintf("%s %s %s\n", name, typ, literal(strings.Join(tags, " ")))
}

// nilable reports whether the type for a constraint has a nil, which is left
// out of a call when it is optional.
func nilable(typ string, c *pyConstraint) bool {
	switch c.Kind {
	case "interface", "none":
		return true
	}
	return typ == "any" || strings.HasPrefix(typ, "*") || strings.HasPrefix(typ, "[]") || strings.HasPrefix(typ, "map[")
}

// isZero reports whether a default is the zero value of the Go type for it.
func isZero(v any) bool {
	switch v {
	case false, int64(0), 0.0, "":
		return true
	}
	return false
}

func tag(key, value string) string { return key + ":" + strconv.Quote(value) }

// literal is the literal of a tag.
func literal(tags string) string {
	switch {
	case tags == "":
		return ""
	case strings.Contains(tags, "`"):
		return strconv.Quote(tags)
	}
	return "`" + tags + "`"
}

// typed chooses a Go type for a constraint, and returns what the type alone
// stands for, or nil if that is less. within is the name of a struct that it may
// need.
func (t *translator) typed(c *pyConstraint, within string) (string, schema.Constraint) {
	switch c.Kind {
	case "bytes":
		return "[]byte", schema.Bytes{}
	case "text":
		return "string", schema.Text{}
	case "int":
		if c.Bytes != nil && *c.Bytes == -1 {
			return "int32", c.constraint(ignored)
		}
		return "int64", nil
	case "number":
		return "float64", schema.Number{}
	case "bool":
		return "bool", schema.Bool{}
	case "none":
		return t.use(tubPath, "tub") + ".None", schema.None{}
	case "list":
		item, derived := t.typed(&c.Of[0], within+"Item")
		if derived == nil {
			return "[]" + item, nil
		}
		return "[]" + item, schema.List{Item: derived}
	case "tuple":
		return t.tuple(c, within)
	case "set":
		return t.set(c, within)
	case "dict":
		key, derivedKey := t.key(&c.Of[0], within)
		if key == "" {
			return "*" + t.use(bananaPath, "banana") + ".Dict", schema.Dict{}
		}
		value, derived := t.typed(&c.Of[1], within+"Value")
		if derivedKey == nil || derived == nil {
			return "map[" + key + "]" + value, nil
		}
		return "map[" + key + "]" + value, schema.Dict{Key: derivedKey, Value: derived}
	case "choice":
		return t.choice(c, within)
	case "attributes":
		return "map[string]any", nil
	case "interface":
		if name := t.byWire[c.Text]; name != "" {
			return name, schema.RemoteInterface{Name: c.Text}
		}
		return "*" + t.use(tubPath, "tub") + ".Ref", schema.Referenceable{}
	}
	return "any", schema.Any{}
}

// key is typed for what is to be a key of a Go map; no type if it cannot be.
func (t *translator) key(c *pyConstraint, within string) (string, schema.Constraint) {
	switch c.Kind {
	case "text", "int", "bool":
		return t.typed(c, within)
	}
	return "", nil
}

func (t *translator) set(c *pyConstraint, within string) (string, schema.Constraint) {
	item, derived := t.key(&c.Of[0], within)
	switch {
	case item != "" && derived != nil:
		return "map[" + item + "]struct{}", schema.Set{Item: derived}
	case item != "":
		return "map[" + item + "]struct{}", nil
	case c.Mutable == nil: // *banana.Set and *banana.FrozenSet hold one kind each
		return "any", nil
	case *c.Mutable:
		return "*" + t.use(bananaPath, "banana") + ".Set", nil
	}
	return "*" + t.use(bananaPath, "banana") + ".FrozenSet", nil
}

// tuple declares a struct for a tuple.
func (t *translator) tuple(c *pyConstraint, within string) (string, schema.Constraint) {
	self := unique(within, t.taken)
	items := schema.Tuple{}
	var b strings.Builder
	fmt.Fprintf(&b, "// %s is a tuple.\ntype %s struct {\n_ struct{} `foolscap:\",tuple\"`\n", self, self)
	for i := range c.Of {
		name := fmt.Sprintf("Item%d", i)
		b.WriteString(t.field(name, banana.SnakeCase(name), &c.Of[i], self+name, ignored))
		items.Items = append(items.Items, c.Of[i].constraint(ignored))
	}
	b.WriteString("}\n")
	t.later = append(t.later, b.String())
	return self, items
}

// choice finds a type for None and something else.
func (t *translator) choice(c *pyConstraint, within string) (string, schema.Constraint) {
	if len(c.Of) != 2 {
		return "any", nil
	}
	for i := range c.Of {
		if c.Of[i].Kind != "none" || c.Of[1-i].Kind == "none" {
			continue
		}
		typ, derived := t.typed(&c.Of[1-i], within)
		switch {
		case typ == "any":
			return typ, nil
		case strings.HasPrefix(typ, "*") || c.Of[1-i].Kind == "interface": // nil stands for None
			return typ, nil
		case derived == nil:
			return "*" + typ, nil
		}
		return "*" + typ, schema.Choice{Of: []schema.Constraint{derived, schema.None{}}}
	}
	return "any", nil
}

// goName makes a Go name of a Python one.
func goName(python string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(python, func(r rune) bool { return r == '_' }) {
		if initialisms[word] {
			b.WriteString(strings.ToUpper(word))
			continue
		}
		r := []rune(word)
		b.WriteRune(unicode.ToUpper(r[0]))
		b.WriteString(string(r[1:]))
	}
	name := b.String()
	if !token.IsExported(name) {
		name = "X" + name
	}
	return name
}

var initialisms = map[string]bool{"furl": true, "id": true, "ip": true, "json": true, "tls": true, "tcp": true, "url": true}

// interfaceName is goName for a RemoteInterface, without the customary RI.
func interfaceName(class string) string {
	if rest, ok := strings.CutPrefix(class, "RI"); ok && rest != "" && unicode.IsUpper([]rune(rest)[0]) {
		class = rest
	}
	return goName(class)
}

// unique returns the name, with a number behind it if it is taken, and takes it.
func unique(name string, taken map[string]bool) string {
	found := name
	for n := 2; taken[found]; n++ {
		found = name + strconv.Itoa(n)
	}
	taken[found] = true
	return found
}

// packageName makes the name of a package of that of a module.
func packageName(module string) string {
	last := module[strings.LastIndexByte(module, '.')+1:]
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, last)
	if !token.IsIdentifier(name) {
		name = "remote" + name
	}
	return name
}
