package banana

import (
	"iter"
	"slices"
)

// A List is Python's list. Its identity is the pointer: a list that occurs
// twice in a message is the same list on the other side.
type List struct{ Items []any }

// NewList returns a list of the items.
func NewList(items ...any) *List { return &List{Items: items} }

// A Tuple is Python's tuple. It must not be changed once it has been used as
// a key or has been sent.
type Tuple []any

// A Decimal is Python's decimal.Decimal, as its text: "1.25", "1E+3", "NaN",
// "-Infinity".
type Decimal string

// Valid reports whether Python would take the text for a Decimal.
func (d Decimal) Valid() bool {
	_, ok := parseDecimal(string(d))
	return ok
}

// A Dict is Python's dict: ordered as it arrived, with look-up by Python's
// equality, so that 1, 1.0 and true are one key, and bytes, tuples, frozen
// sets and big integers can be keys. The zero value is an empty dict. It is
// not safe for concurrent use while it is changed.
type Dict struct {
	keys  []any
	vals  []any
	index map[any]int
}

// NewDict returns a dict of alternating keys and values. It panics when a key
// cannot be one or a value is missing: for literals.
func NewDict(pairs ...any) *Dict {
	if len(pairs)%2 != 0 {
		panic("banana.NewDict: a key without a value")
	}
	d := new(Dict)
	for i := 0; i < len(pairs); i += 2 {
		if err := d.Set(pairs[i], pairs[i+1]); err != nil {
			panic("banana.NewDict: " + err.Error())
		}
	}
	return d
}

// Len returns the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// Get returns the value of key. What cannot be a key is never found.
func (d *Dict) Get(key any) (any, bool) {
	k, err := hashKey(key, nil)
	if err != nil {
		return nil, false
	}
	i, ok := d.index[k]
	if !ok {
		return nil, false
	}
	return d.vals[i], true
}

// Set gives key a value. As in Python, a key that is there already keeps its
// place and its form. It returns an error when key cannot be a key.
func (d *Dict) Set(key, value any) error {
	_, err := d.set(key, value, nil)
	return err
}

func (d *Dict) set(key, value any, c charger) (at int, err error) {
	k, err := hashKey(key, c)
	if err != nil {
		return 0, err
	}
	return d.put(k, key, value), nil
}

// put is set for a key whose canonical form is k.
func (d *Dict) put(k, key, value any) (at int) {
	if i, ok := d.index[k]; ok {
		d.vals[i] = value
		return i
	}
	if d.index == nil {
		d.index = make(map[any]int)
		d.keys, d.vals = make([]any, 0, 4), make([]any, 0, 4)
	}
	d.index[k] = len(d.keys)
	d.keys = append(d.keys, key)
	d.vals = append(d.vals, value)
	return len(d.keys) - 1
}

// Delete removes key, if it is there. It takes time in proportion to Len.
func (d *Dict) Delete(key any) {
	k, err := hashKey(key, nil)
	if err != nil {
		return
	}
	i, ok := d.index[k]
	if !ok {
		return
	}
	delete(d.index, k)
	d.keys = slices.Delete(d.keys, i, i+1)
	d.vals = slices.Delete(d.vals, i, i+1)
	for k, j := range d.index {
		if j > i {
			d.index[k] = j - 1
		}
	}
}

// All iterates over keys and values in their order.
func (d *Dict) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		for i, k := range d.keys {
			if !yield(k, d.vals[i]) {
				return
			}
		}
	}
}

// members is what Set and FrozenSet share.
type members struct{ d Dict }

// Len returns the number of members.
func (m *members) Len() int { return m.d.Len() }

// Has reports whether v is a member, by Python's equality.
func (m *members) Has(v any) bool {
	_, ok := m.d.Get(v)
	return ok
}

// All iterates over the members in the order in which they were added.
func (m *members) All() iter.Seq[any] { return slices.Values(m.d.keys) }

func (m *members) add(v any, c charger) error {
	_, err := m.d.set(v, nil, c)
	return err
}

// A Set is Python's set. Its identity is the pointer.
type Set struct{ members }

// NewSet returns a set of the given members. It panics when one cannot be a member.
func NewSet(items ...any) *Set {
	s := new(Set)
	for _, v := range items {
		if err := s.Add(v); err != nil {
			panic("banana.NewSet: " + err.Error())
		}
	}
	return s
}

// Add adds a member; it returns an error when v cannot be one.
func (s *Set) Add(v any) error { return s.add(v, nil) }

// Delete removes a member, if it is there.
func (s *Set) Delete(v any) { s.d.Delete(v) }

// A FrozenSet is Python's frozenset; it does not change.
type FrozenSet struct{ members }

// NewFrozenSet returns a frozen set of the given members. It panics when one
// cannot be a member.
func NewFrozenSet(items ...any) *FrozenSet {
	s := new(FrozenSet)
	for _, v := range items {
		if err := s.add(v, nil); err != nil {
			panic("banana.NewFrozenSet: " + err.Error())
		}
	}
	return s
}
