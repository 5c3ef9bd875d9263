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
// that is so, a taster lets it pass; [Tasting.Unsure] has it. An object of this side that comes home is accepted if it
// has the interface, other than in Python, which accepts none.
type RemoteInterface struct {
	sequence
	// Name is the name of the interface on the wire. One that extends it is
	// accepted too, if it is known to the value: by a method
	// Implements(name string) bool.
	Name string
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

func (c RemoteInterface) reference(t *Tasting, opentype string, v any) error {
	if opentype == "their-reference" && interfaceOf(v) == "" {
		t.unsure = append(t.unsure, unsure{Unsure: Unsure{v, c}})
		return nil
	}
	return c.look(nil, v)
}

// An Unsure is an introduction that was let pass. Once it is resolved, Constraint
// decides.
type Unsure struct {
	Value      any
	Constraint Constraint
}

// unsure is an Unsure that matters as long as all alternatives are possible of which
// it is a part.
type unsure struct {
	Unsure
	of []*alternative
}

// Unsure returns the introductions that were let pass since the last Reset, and
// forgets them. Where several alternatives of a choice are possible, it is a choice
// for each introduction.
func (t *Tasting) Unsure() []Unsure {
	var all []Unsure
	for rest := t.unsure; len(rest) > 0; {
		n := 1 // those of one introduction stand together
		for n < len(rest) && rest[n].Value == rest[0].Value {
			n++
		}
		var either Choice
		sure := false
		for _, u := range rest[:n] {
			if slices.ContainsFunc(u.of, func(a *alternative) bool { return a.dead }) {
				continue
			}
			sure = sure || u.Constraint == Any{}
			either.Of = append(either.Of, u.Constraint)
		}
		switch {
		case sure:
		case len(either.Of) == 1:
			all = append(all, Unsure{rest[0].Value, either.Of[0]})
		default:
			all = append(all, Unsure{rest[0].Value, either})
		}
		rest = rest[n:]
	}
	t.unsure = nil
	return all
}

func interfaceOf(v any) string {
	if x, ok := v.(interfaced); ok {
		return x.Interface()
	}
	return ""
}

func (c RemoteInterface) look(_ *walk, v any) error {
	if i, ok := v.(interface{ Implements(name string) bool }); ok && i.Implements(c.Name) {
		return nil
	}
	switch name := interfaceOf(v); name {
	case "":
		return violation("expected a reference with the interface %q, got one without", c.Name)
	case c.Name:
		return nil
	default:
		return violation("expected a reference with the interface %q, got one with %.100q", c.Name, name)
	}
}
