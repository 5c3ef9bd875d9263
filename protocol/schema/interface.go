package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Interface is a remote interface: what an object that announces its name
// can be asked to do. Make it with NewInterface or ParseInterface; it must not
// be changed afterwards and is then safe for concurrent use.
type Interface struct {
	// Name is the name on the wire, such as "RICalculator.example.org".
	Name string
	// Extends are the names of all interfaces that it extends, directly or not.
	Extends []string
	// Methods are its methods, those that it has from others included.
	Methods []*Method
}

// A Method is one method of an Interface.
type Method struct {
	Name string
	// Args are the arguments in the order in which they can be given by
	// position.
	Args []Arg
	// Result is what a call returns; nil is Any.
	Result Constraint
	// Unknown is what happens to arguments with other names.
	Unknown Unknown
	// Unconstrained says that the method takes any arguments, by position
	// and by name, and returns anything. The other fields are unset then.
	Unconstrained bool
}

// An Arg is one argument of a method.
type Arg struct {
	Name string
	// Constraint is what it has to be; nil is Any.
	Constraint Constraint
	// Optional says that it may be absent.
	Optional bool
	// Default is what stands for it when it is absent, or nil: a scalar, whose
	// integers are int, int64 or *big.Int.
	Default any
}

// NewInterface returns an interface, or an error if a name is bad or there
// twice.
func NewInterface(name string, extends []string, methods ...*Method) (*Interface, error) {
	if !isInterfaceName(name) {
		return nil, fmt.Errorf("schema: %.100q cannot be the name of an interface", name)
	}
	for i, n := range extends {
		switch {
		case !isInterfaceName(n):
			return nil, fmt.Errorf("schema: %.100q cannot be the name of an interface", n)
		case n == name || slices.Contains(extends[:i], n):
			return nil, fmt.Errorf("schema: %s extends %s twice, or is that itself", name, n)
		}
	}
	seen := make(map[string]bool)
	for _, m := range methods {
		if seen[m.Name] {
			return nil, fmt.Errorf("schema: %s has two methods called %q", name, m.Name)
		}
		seen[m.Name] = true
		if err := m.Validate(); err != nil {
			return nil, fmt.Errorf("schema: %s: %w", name, err)
		}
	}
	return &Interface{Name: name, Extends: extends, Methods: methods}, nil
}

// isInterfaceName reports whether a name is printable and has no blanks, nor
// what separates names in a text.
func isInterfaceName(s string) bool {
	return s != "" && len(s) <= maxInterfaceName && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r) || strings.ContainsRune(`,()"#`+"`", r)
	})
}

// Is reports whether the interface has that name, or extends one that does.
func (i *Interface) Is(name string) bool {
	return i.Name == name || slices.Contains(i.Extends, name)
}

// Method returns the method of that name, or nil.
func (i *Interface) Method(name string) *Method {
	for _, m := range i.Methods {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// Validate returns an error if a name is bad or there twice, or if a default
// is not legal.
func (m *Method) Validate() error {
	if !isName(m.Name) || len(m.Name) > maxInterfaceName {
		return fmt.Errorf("%.100q cannot be the name of a method", m.Name)
	}
	if m.Unconstrained && (len(m.Args) > 0 || m.Unknown != RefuseUnknown || m.Result != nil) {
		return fmt.Errorf("method %q is unconstrained and has constraints", m.Name)
	}
	seen := make(map[string]bool)
	for _, a := range m.Args {
		_, nested := a.Constraint.(Optional)
		switch {
		case !isName(a.Name) || len(a.Name) > maxInterfaceName:
			return fmt.Errorf("method %q: %.100q cannot be the name of an argument", m.Name, a.Name)
		case seen[a.Name]:
			return fmt.Errorf("method %q has two arguments called %q", m.Name, a.Name)
		case nested:
			return fmt.Errorf("method %q: argument %q says Optional in its Constraint, not in the Arg", m.Name, a.Name)
		case a.Default != nil && !a.Optional:
			return fmt.Errorf("method %q: argument %q has a default and is not optional", m.Name, a.Name)
		case literalText(a.Default) == noLiteral:
			return fmt.Errorf("method %q: the default of %q is %T, which is no scalar", m.Name, a.Name, a.Default)
		case a.Default != nil:
			if err := orAny(a.Constraint).Check(a.Default); err != nil {
				return fmt.Errorf("method %q: the default of %q: %w", m.Name, a.Name, err)
			}
		}
		seen[a.Name] = true
	}
	if _, optional := m.Result.(Optional); optional {
		return fmt.Errorf("method %q: a result cannot be optional", m.Name)
	}
	return nil
}

// Arg returns the place of the argument with that name, or -1.
func (m *Method) Arg(name string) int {
	return slices.IndexFunc(m.Args, func(a Arg) bool { return a.Name == name })
}

// MaxArguments returns the size of the largest legal arguments sequence, in
// bytes; it is not ok when there is no bound.
func (m *Method) MaxArguments() (bytes int64, ok bool) {
	if m.Unknown != RefuseUnknown || m.Unconstrained {
		return 0, false
	}
	inside := bytesSize(tokenSize) // their number
	for _, a := range m.Args {
		inside = inside.plus(stringSize(int64(len(a.Name)))).plus(orAny(a.Constraint).size())
	}
	return sequenceSize("arguments", inside).result()
}

// MaxResult returns the size of the largest legal result, in bytes; it is not
// ok when there is no bound.
func (m *Method) MaxResult() (bytes int64, ok bool) { return orAny(m.Result).MaxSize() }

// String returns the text of the interface, which ParseInterface reads.
func (i *Interface) String() string {
	var b strings.Builder
	b.WriteString("interface " + i.Name)
	if len(i.Extends) > 0 {
		b.WriteString(" extends " + strings.Join(i.Extends, ", "))
	}
	b.WriteByte('\n')
	for _, m := range i.Methods {
		b.WriteString("  " + m.String() + "\n")
	}
	return b.String()
}

// String returns the text of the method within that of an interface.
func (m *Method) String() string {
	if m.Unconstrained {
		return m.Name + "(...)"
	}
	b := begin(m.Name)
	for _, a := range m.Args {
		b.add(a.Name + ": " + a.constraint().String())
	}
	return b.unknown(m.Unknown).always() + " -> " + orAny(m.Result).String()
}

// constraint returns the constraint with what the Arg adds to it.
func (a Arg) constraint() Constraint {
	if a.Optional {
		return Optional{Of: a.Constraint, Default: a.Default}
	}
	return orAny(a.Constraint)
}

// ParseInterface reads the text of one interface.
func ParseInterface(text string) (*Interface, error) {
	all, err := ParseInterfaces(text)
	if err == nil && len(all) != 1 {
		err = &SyntaxError{Line: 1, Column: 1, Reason: "expected one interface, got " + strconv.Itoa(len(all))}
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// ParseInterfaces reads the texts of interfaces, one behind the other. What
// follows a "#" in a line is a comment. An error of the text is a *SyntaxError.
func ParseInterfaces(text string) ([]*Interface, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	var all []*Interface
	for p.peek() != 0 && p.err == nil {
		at := p.at
		i, err := p.iface()
		if err != nil {
			p.fail(at, "%s", strings.TrimPrefix(err.Error(), "schema: "))
			break
		}
		if slices.ContainsFunc(all, func(o *Interface) bool { return o.Name == i.Name }) {
			p.fail(at, "a second interface %q", i.Name)
		}
		all = append(all, i)
	}
	if p.err != nil {
		return nil, p.err
	}
	return all, nil
}

// keyword takes a word that does not begin a method.
func (p *parser) keyword(word string) bool {
	p.peek()
	start := p.at
	if p.name() == word && p.peek() != '(' {
		return true
	}
	p.at = start
	return false
}

func (p *parser) interfaceName() string {
	p.peek()
	rest := p.s[p.at:]
	n := strings.IndexAny(rest, " \t\r\n,()\"#`")
	if n < 0 {
		n = len(rest)
	}
	if n == 0 {
		p.fail(p.at, "expected the name of an interface, got %s", p.got())
		return ""
	}
	p.at += n
	return rest[:n]
}

func (p *parser) iface() (*Interface, error) {
	if !p.keyword("interface") {
		p.fail(p.at, "expected an interface, got %s", p.got())
		return nil, p.err
	}
	name := p.interfaceName()
	var extends []string
	if p.keyword("extends") {
		for more := true; more && p.err == nil; more = p.take(',') {
			extends = append(extends, p.interfaceName())
		}
	}
	var methods []*Method
	for p.peek() != 0 && p.err == nil {
		at := p.at
		if p.keyword("interface") {
			p.at = at
			break
		}
		methods = append(methods, p.method())
	}
	if p.err != nil {
		return nil, p.err
	}
	return NewInterface(name, extends, methods...)
}

func (p *parser) method() *Method {
	m := &Method{Name: p.name()}
	if m.Name == "" {
		p.fail(p.at, "expected a method, got %s", p.got())
	}
	p.expect('(')
	if p.peek() == '.' && strings.HasPrefix(p.s[p.at:], "...") {
		p.at += 3
		p.expect(')')
		m.Unconstrained = true
		return m
	}
	ops := &operands{p: p, name: m.Name, at: p.at}
	for first := true; p.err == nil && !p.take(')'); first = false {
		if !first {
			p.expect(',')
			if p.take(')') {
				break
			}
		}
		ops.all = append(ops.all, p.operand(0))
	}
	for _, f := range ops.fields() {
		a := Arg{Name: f.Name, Constraint: f.Constraint}
		if o, ok := f.Constraint.(Optional); ok {
			a = Arg{Name: f.Name, Constraint: o.Of, Optional: true, Default: o.Default}
		}
		m.Args = append(m.Args, a)
	}
	m.Unknown = ops.unknown()
	for _, o := range ops.all {
		p.fail(o.at, "expected NAME: CONSTRAINT")
	}
	p.expect('-')
	p.expect('>')
	m.Result = p.constraint(0)
	return m
}
