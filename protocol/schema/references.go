package schema

import (
	"slices"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// An interfaced value says which remote interface it has, or "".
type interfaced interface{ Interface() string }

// Referenceable accepts everything that goes by reference: objects of this
// side and of the other, and those of third Tubs that are introduced.
type Referenceable struct{ sequence }

func (c Referenceable) Taster() banana.Taster  { return taster(c) }
func (c Referenceable) Check(v any) error      { return check(c, v) }
func (c Referenceable) MaxSize() (int64, bool) { return c.size().result() }
func (Referenceable) kinds() kinds             { return kindReference }
func (Referenceable) look(*walk, any) error    { return nil }
func (Referenceable) size() size               { return referenceSize() }

func (Referenceable) open(Constraint, *Tasting, kinds, string) (banana.Taster, error) {
	return nil, nil
}

// RemoteInterface accepts what goes by reference and has the interface: the
// value says so by a method Interface() string.
//
// Of an introduction nobody knows the interface until it is resolved. While
// that is so, a taster lets it pass; Check, which is to be called once it is
// resolved, decides. An object of this side that comes home is accepted if it
// has the interface, other than in Python, which accepts none.
type RemoteInterface struct {
	sequence
	// Name is the name of the interface on the wire.
	Name string
	// Extensions are the names of interfaces that extend it: they are
	// accepted too.
	Extensions []string
}

func (c RemoteInterface) Taster() banana.Taster  { return taster(c) }
func (c RemoteInterface) Check(v any) error      { return check(c, v) }
func (c RemoteInterface) MaxSize() (int64, bool) { return c.size().result() }
func (RemoteInterface) kinds() kinds             { return kindReference }
func (RemoteInterface) size() size               { return referenceSize() }

func (c RemoteInterface) open(self Constraint, t *Tasting, _ kinds, opentype string) (banana.Taster, error) {
	l := t.level(self, inReference)
	l.opentype = opentype
	return l, nil
}

func (c RemoteInterface) reference(opentype string, v any) error {
	if opentype == "their-reference" && interfaceOf(v) == "" {
		return nil
	}
	return c.look(nil, v)
}

func interfaceOf(v any) string {
	if x, ok := v.(interfaced); ok {
		return x.Interface()
	}
	return ""
}

func (c RemoteInterface) look(_ *walk, v any) error {
	switch name := interfaceOf(v); {
	case name == "":
		return violation("expected a reference with the interface %q, got one without", c.Name)
	case name != c.Name && !slices.Contains(c.Extensions, name):
		return violation("expected a reference with the interface %q, got one with %.100q", c.Name, name)
	}
	return nil
}
