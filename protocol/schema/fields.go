package schema

import (
	"iter"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A Field is one named part of a Struct or an AttrDict.
type Field struct {
	Name string
	// Constraint is what its value has to be. It may be Optional: then the
	// field may be absent.
	Constraint Constraint
}

// Unknown says what happens to names that nobody has declared.
type Unknown uint8

const (
	RefuseUnknown Unknown = iota // they are an objection
	IgnoreUnknown                // they may be there, and are dropped
	AcceptUnknown                // they may be there, with any value
)

// A Struct accepts dicts with the names of its fields as keys: what a Go
// struct is on the wire. The keys are texts, or bytes as old peers send them.
type Struct struct {
	items
	Fields []Field
}

func (c Struct) Taster() banana.Taster  { return taster(c) }
func (c Struct) Check(v any) error      { return check(c, v) }
func (c Struct) MaxSize() (int64, bool) { return c.size().result() }
func (Struct) kinds() kinds             { return kindDict }
func (c Struct) attrs() AttrDict        { return AttrDict{Fields: c.Fields} }
func (c Struct) next(l *level) (Constraint, error) {
	return nextField(l, c.Fields, RefuseUnknown, false)
}
func (c Struct) name(l *level, b []byte) error { return nameField(l, c.Fields, RefuseUnknown, b) }
func (c Struct) end(l *level) error            { return missingField(c.Fields, l.seen) }
func (c Struct) look(w *walk, v any) error     { return c.attrs().look(w, v) }
func (c Struct) size() size                    { return c.attrs().size() }

// An AttrDict accepts dicts as a Struct does, and can let unknown names pass.
type AttrDict struct {
	items
	Fields []Field
	// Unknown is what happens to other names.
	Unknown Unknown
}

func (c AttrDict) Taster() banana.Taster             { return taster(c) }
func (c AttrDict) Check(v any) error                 { return check(c, v) }
func (c AttrDict) MaxSize() (int64, bool)            { return c.size().result() }
func (AttrDict) kinds() kinds                        { return kindDict }
func (c AttrDict) next(l *level) (Constraint, error) { return nextField(l, c.Fields, c.Unknown, false) }
func (c AttrDict) name(l *level, b []byte) error     { return nameField(l, c.Fields, c.Unknown, b) }
func (c AttrDict) end(l *level) error                { return missingField(c.Fields, l.seen) }

func (c AttrDict) look(w *walk, v any) error {
	return lookFields(w, c.Fields, c.Unknown, func(yield func(string, any) bool, bad func(any)) {
		for k, v := range v.(*banana.Dict).All() {
			switch k := k.(type) {
			case string:
				if !yield(k, v) {
					return
				}
			case []byte:
				if !yield(string(k), v) {
					return
				}
			default:
				bad(k)
				return
			}
		}
	})
}

func (c AttrDict) size() size {
	return sequenceSize("dict", fieldsSize(c.Fields, c.Unknown, true)).shareable()
}

// A Copied is a value of a registered class as Check sees it.
type Copied interface {
	// CopyableClass is the name of the class on the wire.
	CopyableClass() string
	// CopyableState iterates over the attributes.
	CopyableState() iter.Seq2[string, any]
}

// A Copyable accepts values of one registered class, by its name on the wire.
// Its taster sees the class and the names of the attributes as STRINGs, each
// name followed by its value.
type Copyable struct {
	items
	Class string
	State AttrDict
}

func (c Copyable) Taster() banana.Taster  { return taster(c) }
func (c Copyable) Check(v any) error      { return check(c, v) }
func (c Copyable) MaxSize() (int64, bool) { return c.size().result() }
func (Copyable) kinds() kinds             { return kindCopyable }

func (c Copyable) next(l *level) (Constraint, error) {
	if !l.class {
		l.naming, l.longest = true, maxInterfaceName
		return bytesName, nil
	}
	return nextField(l, c.State.Fields, c.State.Unknown, true)
}

func (c Copyable) name(l *level, b []byte) error {
	if !l.class {
		l.class = true
		return c.checkClass(string(b))
	}
	return nameField(l, c.State.Fields, c.State.Unknown, b)
}

func (c Copyable) checkClass(class string) error {
	if class != c.Class {
		return violation("expected copyable %q, got copyable %.100q", c.Class, class)
	}
	return nil
}

func (c Copyable) end(l *level) error {
	if l.n == 0 && l.class { // only its value was shown
		return nil
	}
	return missingField(c.State.Fields, l.seen)
}

func (c Copyable) look(w *walk, v any) error {
	x := v.(Copied)
	if err := c.checkClass(x.CopyableClass()); err != nil {
		return err
	}
	return lookFields(w, c.State.Fields, c.State.Unknown, func(yield func(string, any) bool, _ func(any)) {
		x.CopyableState()(yield)
	})
}

func (c Copyable) size() size {
	return sequenceSize("copyable", stringSize(int64(len(c.Class))).plus(fieldsSize(c.State.Fields, c.State.Unknown, false))).shareable()
}

// nextField returns the constraint of a name or of the value that follows it.
// The first value of a copyable is its class, not a name.
func nextField(l *level, fields []Field, unknown Unknown, copyable bool) (Constraint, error) {
	if (l.n%2 == 0) != copyable {
		l.naming, l.field = true, -1
		l.longest = maxInterfaceName
		if unknown == RefuseUnknown {
			l.longest = 0
			for i := range fields {
				l.longest = max(l.longest, len(fields[i].Name))
			}
		}
		if copyable {
			return bytesName, nil
		}
		return textName, nil
	}
	if l.field < 0 {
		return Any{}, nil
	}
	l.markSeen(len(fields))
	l.seen[l.field] = true
	c, _ := unwrap(fields[l.field].Constraint)
	return c, nil
}

func (l *level) markSeen(n int) {
	for len(l.seen) < n {
		l.seen = append(l.seen, false)
	}
}

// nameField notes which field is named.
func nameField(l *level, fields []Field, unknown Unknown, b []byte) error {
	for i := range fields {
		if fields[i].Name == string(b) {
			if i < len(l.seen) && l.seen[i] {
				return twice(fields[i].Name)
			}
			l.field = i
			return nil
		}
	}
	if unknown == RefuseUnknown {
		return unknownName(string(b))
	}
	return nil
}

func twice(name string) error       { return violation("%.40q is there twice", name) }
func unknownName(name string) error { return violation("unknown name %.40q", name) }

func missingField(fields []Field, seen []bool) error {
	for i := range fields {
		if _, optional := unwrap(fields[i].Constraint); !optional && (i >= len(seen) || !seen[i]) {
			return violation("missing %.40q", fields[i].Name)
		}
	}
	return nil
}

// lookFields judges names and values. all calls bad with a key that is no name.
func lookFields(w *walk, fields []Field, unknown Unknown, all func(yield func(string, any) bool, bad func(any))) error {
	seen := make([]bool, len(fields))
	var objection error
	all(func(name string, v any) bool {
		at := -1
		for i := range fields {
			if fields[i].Name == name {
				at = i
			}
		}
		switch {
		case at < 0 && unknown == RefuseUnknown:
			objection = unknownName(name)
		case at < 0 && len(name) > maxInterfaceName:
			objection = nameTooLong(maxInterfaceName, len(name))
		case at < 0:
		case seen[at]:
			objection = twice(name)
		default:
			seen[at] = true
			c, _ := unwrap(fields[at].Constraint)
			objection = banana.At(w.check(c, v), keyPath(name))
		}
		return objection == nil
	}, func(k any) {
		objection = banana.At(mismatch(textName, kindOfValue(k).String()), "key")
	})
	if objection != nil {
		return objection
	}
	return missingField(fields, seen)
}

func fieldsSize(fields []Field, unknown Unknown, text bool) size {
	if unknown != RefuseUnknown {
		return noSize
	}
	inside := size{}
	for i := range fields {
		name := stringSize(int64(len(fields[i].Name)))
		if text {
			name = sequenceSize("unicode", name)
		}
		inside = inside.plus(name).plus(orAny(fields[i].Constraint).size())
	}
	return inside
}

// name is the constraint on a name, as far as its kinds go: its level judges
// the rest.
type name struct{ text bool }

var bytesName, textName Constraint = name{}, name{text: true}

func (c name) Taster() banana.Taster         { return taster(c) }
func (c name) Check(v any) error             { return check(c, v) }
func (c name) MaxSize() (int64, bool)        { return c.size().result() }
func (name) String() string                  { return "name" }
func (name) size() size                      { return noSize }
func (name) look(*walk, any) error           { return nil }
func (name) token(banana.Token) error        { return nil }
func (name) body(banana.Token, []byte) error { return nil }
func (name) leafToken(banana.Token) error    { return nil }
func (name) leafBody([]byte) error           { return nil }

func (c name) kinds() kinds {
	if c.text {
		return kindText | kindBytes
	}
	return kindBytes
}

func (name) open(self Constraint, t *Tasting, _ kinds, _ string) (banana.Taster, error) {
	return t.level(self, inLeaf), nil
}

func nameTooLong(max, n int) error {
	return violation("expected a name of at most %d bytes, got one of %d", max, n)
}
