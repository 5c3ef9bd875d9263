package schema

import (
	"iter"
	"math"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// List accepts lists.
type List struct {
	items
	// Item is what each item has to be.
	Item Constraint
	// Min and Max bound the number of items. A Max of 0 is no bound.
	Min, Max int
}

func (c List) Taster() banana.Taster  { return taster(c) }
func (c List) Check(v any) error      { return check(c, v) }
func (c List) MaxSize() (int64, bool) { return c.size().result() }
func (List) kinds() kinds             { return kindList }

func (c List) open(self Constraint, t *Tasting, _ kinds, _ string) (banana.Taster, error) {
	l := t.level(self, inItems)
	l.cur, l.same = orAny(c.Item), math.MaxInt
	if m, bounded := length(c.Max); bounded {
		l.same = m
	}
	return l, nil
}

func (c List) next(l *level) (Constraint, error) { return nextItem(c.Item, l, c.Max, "items") }
func (c List) end(l *level) error                { return checkLength(l.n, c.Min, 0, "items") }

// nextItem objects to the first item too many.
func nextItem(item Constraint, l *level, max int, unit string) (Constraint, error) {
	if m, bounded := length(max); bounded && l.n >= m {
		return nil, violation("expected at most %d %s, got more", m, unit)
	}
	return orAny(item), nil
}

func (c List) look(w *walk, v any) error {
	all := v.(*banana.List).Items
	if err := checkLength(len(all), c.Min, c.Max, "items"); err != nil {
		return err
	}
	item := orAny(c.Item)
	for i, v := range all {
		if err := w.check(item, v); err != nil {
			return banana.At(err, index(i))
		}
	}
	return nil
}

func (c List) size() size {
	return manySize("list", orAny(c.Item).size(), c.Max)
}

func manySize(opentype string, item size, max int) size {
	n, bounded := length(max)
	if !bounded {
		return noSize
	}
	return sequenceSize(opentype, item.times(n)).shareable()
}

// Tuple accepts tuples of exactly these items.
type Tuple struct {
	items
	Items []Constraint
}

func (c Tuple) Taster() banana.Taster  { return taster(c) }
func (c Tuple) Check(v any) error      { return check(c, v) }
func (c Tuple) MaxSize() (int64, bool) { return c.size().result() }
func (Tuple) kinds() kinds             { return kindTuple }

func (c Tuple) next(l *level) (Constraint, error) {
	if l.n >= len(c.Items) {
		return nil, violation("expected %d items, got more", len(c.Items))
	}
	return orAny(c.Items[l.n]), nil
}

func (c Tuple) end(l *level) error { return c.checkLength(l.n) }

func (c Tuple) checkLength(n int) error {
	if n != len(c.Items) {
		return violation("expected %d items, got %d", len(c.Items), n)
	}
	return nil
}

func (c Tuple) look(w *walk, v any) error {
	all := v.(banana.Tuple)
	if err := c.checkLength(len(all)); err != nil {
		return err
	}
	for i, v := range all {
		if err := w.check(orAny(c.Items[i]), v); err != nil {
			return banana.At(err, index(i))
		}
	}
	return nil
}

func (c Tuple) size() size {
	inside := size{}
	for _, item := range c.Items {
		inside = inside.plus(orAny(item).size())
	}
	return sequenceSize("tuple", inside).shareable()
}

// A SetKind says which of Python's sets a Set accepts.
type SetKind uint8

const (
	EitherSet   SetKind = iota // set or frozenset
	MutableSet                 // set
	FrozenSet                  // frozenset
	unknownKind                // the first that is none
)

// Set accepts sets.
type Set struct {
	items
	// Item is what each member has to be.
	Item Constraint
	// Max bounds the number of members; 0 is no bound. On the wire a member
	// that is there twice counts twice.
	Max int
	// Kind is the kind of set.
	Kind SetKind
}

func (c Set) Taster() banana.Taster  { return taster(c) }
func (c Set) Check(v any) error      { return check(c, v) }
func (c Set) MaxSize() (int64, bool) { return c.size().result() }

func (c Set) kinds() kinds {
	switch c.Kind {
	case MutableSet:
		return kindSet
	case FrozenSet:
		return kindFrozenSet
	}
	return kindSet | kindFrozenSet
}

func (c Set) next(l *level) (Constraint, error) { return nextItem(c.Item, l, c.Max, "members") }
func (c Set) end(*level) error                  { return nil }

func (c Set) look(w *walk, v any) error {
	s := v.(interface {
		Len() int
		All() iter.Seq[any]
	})
	if err := checkMax(s.Len(), c.Max, "members"); err != nil {
		return err
	}
	item := orAny(c.Item)
	for v := range s.All() {
		if err := w.check(item, v); err != nil {
			return banana.At(err, "{}")
		}
	}
	return nil
}

func (c Set) size() size {
	opentype := "set"
	if c.Kind != MutableSet {
		opentype = "immutable-set"
	}
	return manySize(opentype, orAny(c.Item).size(), c.Max)
}

// Dict accepts dicts.
type Dict struct {
	items
	// Key and Value are what each key and value has to be.
	Key, Value Constraint
	// Max bounds the number of keys. A Max of 0 is no bound.
	Max int
}

func (c Dict) Taster() banana.Taster  { return taster(c) }
func (c Dict) Check(v any) error      { return check(c, v) }
func (c Dict) MaxSize() (int64, bool) { return c.size().result() }
func (Dict) kinds() kinds             { return kindDict }

func (c Dict) next(l *level) (Constraint, error) {
	if l.n%2 == 1 {
		return orAny(c.Value), nil
	}
	if m, bounded := length(c.Max); bounded && l.n/2 >= m {
		return nil, violation("expected at most %d keys, got more", m)
	}
	return orAny(c.Key), nil
}

func (Dict) end(*level) error { return nil }

func (c Dict) look(w *walk, v any) error {
	d := v.(*banana.Dict)
	if err := checkMax(d.Len(), c.Max, "keys"); err != nil {
		return err
	}
	key, value := orAny(c.Key), orAny(c.Value)
	for k, v := range d.All() {
		if err := w.check(key, k); err != nil {
			return banana.At(err, "key")
		}
		if err := w.check(value, v); err != nil {
			return banana.At(err, keyPath(k))
		}
	}
	return nil
}

func (c Dict) size() size {
	return manySize("dict", orAny(c.Key).size().plus(orAny(c.Value).size()), c.Max)
}

// Choice accepts what one of its alternatives accepts.
type Choice struct{ Of []Constraint }

func (c Choice) Taster() banana.Taster  { return taster(c) }
func (c Choice) Check(v any) error      { return check(c, v) }
func (c Choice) MaxSize() (int64, bool) { return c.size().result() }

func (c Choice) kinds() kinds {
	var all kinds
	for _, a := range c.Of {
		all |= orAny(a).kinds()
	}
	return all
}

// each asks every alternative for values of one of the kinds, until one has no
// objections.
func (c Choice) each(k kinds, ask func(a Constraint) error) error {
	var objection error
	asked := 0
	for _, a := range c.Of {
		a = orAny(a)
		if a.kinds()&k == 0 {
			continue
		}
		asked++
		if objection = ask(a); objection == nil {
			return nil
		}
	}
	if asked != 1 {
		return c.noneOf()
	}
	return objection
}

func (c Choice) noneOf() error { return violation("expected %.100s, got what is none of them", c) }

func (c Choice) token(tok banana.Token) error {
	return c.each(kindOfToken(tok.Type), func(a Constraint) error { return a.token(tok) })
}

func (c Choice) body(tok banana.Token, b []byte) error {
	return c.each(kindOfToken(tok.Type), func(a Constraint) error {
		if err := a.token(tok); err != nil {
			return err
		}
		return a.body(tok, b)
	})
}

func (c Choice) look(w *walk, v any) error {
	cycle := w.cycle
	err := c.each(kindOfValue(v), func(a Constraint) error { return w.check(a, v) })
	if err == nil {
		w.cycle = cycle
	}
	return err
}

func (c Choice) open(_ Constraint, t *Tasting, k kinds, opentype string) (banana.Taster, error) {
	var only Constraint
	n := 0
	for _, a := range c.Of {
		if a = orAny(a); a.kinds()&k != 0 {
			only = a
			n++
		}
	}
	if n == 1 {
		return openValue(t, only, opentype)
	}
	g := &group{t: t, choice: c}
	for _, a := range c.Of {
		if a = orAny(a); a.kinds()&k == 0 {
			continue
		}
		inner, err := openValue(t, a, opentype)
		switch {
		case err != nil:
			continue
		case inner == nil: // it accepts whatever follows
			return nil, nil
		}
		g.members = append(g.members, member{inner, &alternative{}})
	}
	if len(g.members) == 0 {
		return nil, c.noneOf()
	}
	return g, nil
}

func (c Choice) size() size {
	most := size{}
	for _, a := range c.Of {
		most = most.max(orAny(a).size())
	}
	return most
}

// An alternative of a choice is dead on all levels once it has objected on
// one of them.
type alternative struct{ dead bool }

// A group is the taster of one level of a choice among several alternatives.
type group struct {
	t       *Tasting
	choice  Choice
	members []member
}

type member struct {
	taster banana.Taster // nil has no objections
	of     *alternative
}

// ask asks those alternatives that are still possible.
func (g *group) ask(ask func(m member) error) error {
	var objection error
	asked, alive := 0, 0
	for _, m := range g.members {
		if m.of.dead {
			continue
		}
		asked++
		if err := ask(m); err != nil {
			m.of.dead = true
			objection = err
			continue
		}
		alive++
	}
	switch {
	case alive > 0:
		return nil
	case asked == 1:
		return objection
	}
	return g.choice.noneOf()
}

func (g *group) Token(tok banana.Token) error {
	return g.ask(func(m member) error {
		if m.taster == nil {
			return nil
		}
		return m.taster.Token(tok)
	})
}

func (g *group) Body(b []byte) error {
	return g.ask(func(m member) error {
		if m.taster == nil {
			return nil
		}
		return m.taster.Body(b)
	})
}

func (g *group) Open(opentype string) (banana.Taster, error) {
	inner := &group{t: g.t, choice: g.choice}
	err := g.ask(func(m member) (err error) {
		var in banana.Taster
		if m.taster != nil {
			in, err = m.taster.Open(opentype)
		}
		if err == nil {
			inner.members = append(inner.members, member{in, m.of})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return inner, nil
}

func (g *group) Value(v any, growing func(any) bool) error {
	t, open := g.t, false
	before := len(t.unsure)
	err := g.ask(func(m member) error {
		n := len(t.unsure)
		if m.taster != nil {
			if err := m.taster.Value(v, growing); err != nil {
				return err
			}
		}
		if len(t.unsure) > n {
			open = true
		} else { // for this one it is decided
			t.unsure = append(t.unsure, unsure{Unsure: Unsure{v, Any{}}})
		}
		for i := n; i < len(t.unsure); i++ {
			t.unsure[i].of = append(t.unsure[i].of, m.of)
		}
		return nil
	})
	if !open {
		t.unsure = t.unsure[:before]
	}
	return err
}

func (g *group) Close() error {
	return g.ask(func(m member) error {
		if m.taster == nil {
			return nil
		}
		return m.taster.Close()
	})
}

// Optional says that an argument, or an attribute, may be absent; when it is
// there, it is what Of accepts. It has that meaning directly in an Arg, a
// Field, or the attributes of a Copyable only.
type Optional struct {
	Of Constraint
	// Default is what stands for it when it is absent, or nil.
	Default any
}

func (c Optional) Taster() banana.Taster                 { return taster(c) }
func (c Optional) Check(v any) error                     { return check(c, v) }
func (c Optional) MaxSize() (int64, bool)                { return c.size().result() }
func (c Optional) kinds() kinds                          { return orAny(c.Of).kinds() }
func (c Optional) token(tok banana.Token) error          { return orAny(c.Of).token(tok) }
func (c Optional) body(tok banana.Token, b []byte) error { return orAny(c.Of).body(tok, b) }
func (c Optional) look(w *walk, v any) error             { return w.check(orAny(c.Of), v) }
func (c Optional) size() size                            { return orAny(c.Of).size() }

func (c Optional) open(_ Constraint, t *Tasting, _ kinds, opentype string) (banana.Taster, error) {
	return openValue(t, orAny(c.Of), opentype)
}

// unwrap returns what an attribute has to be when it is there.
func unwrap(c Constraint) (inner Constraint, optional bool) {
	if o, ok := c.(Optional); ok {
		return orAny(o.Of), true
	}
	return orAny(c), false
}
