package pypeer

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Value is a Python value in the notation of peers/notation.py, as JSON in one canonical spelling: equal values are
// equal strings, whatever order sets and dicts came in and however shared parts were labelled.
//
// The zero Value equals no other, and is sent as None. What cannot be written, such as text that is not UTF-8, makes the constructors panic:
// it is a mistake in the test.
type Value string

// The values of which there is only one.
const (
	None  Value = `null`
	True  Value = `true`
	False Value = `false`

	// Unserialisable is something that Foolscap cannot send.
	Unserialisable Value = `{"unserialisable":true}`
	// Index is the number of the call, from 0, in a [Ref.Flood].
	Index Value = `{"index":true}`
)

// Bool is True or False.
func Bool(b bool) Value {
	if b {
		return True
	}
	return False
}

// Int is an int.
func Int(n int64) Value { return Value(strconv.FormatInt(n, 10)) }

// BigInt is an int of any size.
func BigInt(n *big.Int) Value { return Value(n.String()) }

// Float is a float.
func Float(f float64) Value { return node{"float": spellFloat(f)}.value() }

// spellFloat differs from Python's spelling, but Python reads it.
func spellFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Text is a str.
func Text(s string) Value {
	if !utf8.ValidString(s) {
		panic("pypeer: not UTF-8")
	}
	return canonical(s)
}

// Bytes is a bytes. More than 4096 of them come back from Python as a Pattern or a Digest.
func Bytes[T ~string | ~[]byte](data T) Value {
	return node{"bytes": hex.EncodeToString([]byte(data))}.value()
}

// Pattern is a bytes with this many bytes of [PatternBytes].
func Pattern(length int) Value { return node{"pattern": length}.value() }

// Digest is what comes back from Python for more than 4096 bytes that are not the pattern. It cannot be sent.
func Digest(data []byte) Value {
	hash := sha256.Sum256(data)
	return node{"digest": hex.EncodeToString(hash[:]), "length": len(data)}.value()
}

// PatternBytes returns bytes that repeat with a period of 251: a prime, so that a shift by any power of two shows.
func PatternBytes(length int) []byte {
	data := make([]byte, length)
	for i := range data {
		data[i] = byte(i % 251)
	}
	return data
}

// Decimal is a decimal.Decimal in Python's spelling.
func Decimal(text string) Value { return node{"decimal": text}.value() }

// List is a list.
func List(members ...Value) Value { return canonical(nodes(members)) }

// Tuple is a tuple.
func Tuple(members ...Value) Value { return node{"tuple": nodes(members)}.value() }

// Set is a set.
func Set(members ...Value) Value { return node{"set": nodes(members)}.value() }

// FrozenSet is a frozenset.
func FrozenSet(members ...Value) Value { return node{"frozenset": nodes(members)}.value() }

// Dict is a dict of alternating keys and values.
func Dict(keysAndValues ...Value) Value {
	pairs := make([]any, 0, len(keysAndValues)/2)
	for pair := range slices.Chunk(keysAndValues, 2) {
		if len(pair) != 2 {
			panic("pypeer: a key without a value")
		}
		pairs = append(pairs, nodes(pair))
	}
	return node{"dict": pairs}.value()
}

// Def is a container that Same refers to, inside it or after it, by the label. What comes from Python has its labels
// numbered from 1 in the order in which its parts are written; a value to compare with it has to do likewise.
func Def(label int, container Value) Value {
	return node{"def": label, "is": json.RawMessage(container)}.value()
}

// Same is the container that Def gave this label.
func Same(label int) Value { return node{"ref": label}.value() }

// Remote is the reference that the peer holds under a handle.
func Remote(handle string) Value { return node{"remote": handle}.value() }

// Object is an object of the peer itself.
func Object(name string) Value { return node{"object": name}.value() }

// Method is a bound method of an object of the peer itself.
func Method(object, method string) Value { return node{"method": []string{object, method}}.value() }

// SturdyRef is the one Copyable that every Foolscap knows.
func SturdyRef(furl string) Value { return node{"sturdyref": furl}.value() }

// MarshalJSON returns the value as it is.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(cmp.Or(v, None)), nil }

// UnmarshalJSON accepts any spelling of a value.
func (v *Value) UnmarshalJSON(data []byte) error {
	tree, err := parse(data)
	if err != nil {
		return err
	}
	relabel(tree, map[string]int{})
	*v = Value(spell(tree))
	return nil
}

// Handle returns the handle of a reference, or "" when the value is something else.
func (v Value) Handle() string {
	var reference struct{ Remote string }
	if json.Unmarshal([]byte(v), &reference) != nil {
		return ""
	}
	return reference.Remote
}

// Members returns the members of a list, tuple, set or frozenset, or the keys and values of a dict one after the
// other; nil when the value is something else. Members that refer to a Def outside of them make no sense alone.
func (v Value) Members() []Value {
	var members []Value
	if json.Unmarshal([]byte(v), &members) == nil {
		return members
	}
	var container struct {
		Is, Tuple, Set, FrozenSet Value
		Dict                      [][]Value
	}
	if json.Unmarshal([]byte(v), &container) != nil {
		return nil
	}
	if container.Dict != nil {
		return slices.Concat(container.Dict...)
	}
	return cmp.Or(container.Is, container.Tuple, container.Set, container.FrozenSet, None).Members()
}

// node is what the notation writes as a JSON object.
type node map[string]any

func (n node) value() Value { return canonical(n) }

func nodes(values []Value) []json.RawMessage {
	raw := make([]json.RawMessage, len(values))
	for i, v := range values {
		raw[i] = json.RawMessage(v)
	}
	return raw
}

func canonical(tree any) Value {
	data, err := json.Marshal(tree)
	if err == nil {
		tree, err = parse(data)
	}
	if err != nil {
		panic(fmt.Sprintf("pypeer: not a value: %v", err))
	}
	return Value(spell(tree))
}

func parse(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	return tree, normalise(tree)
}

// spell writes a tree as JSON; the members of objects come out sorted.
func spell(tree any) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(tree); err != nil {
		panic(err) // the tree came out of a decoder
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// normalise brings the members of sets and the pairs of dicts into one order, and floats into one spelling. No label can
// be among what it compares: sharing is not written for what can be hashed.
func normalise(tree any) error {
	switch tree := tree.(type) {
	case []any:
		for _, member := range tree {
			if err := normalise(member); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, member := range tree {
			if err := normalise(member); err != nil {
				return err
			}
		}
		if text, ok := tree["float"].(string); ok {
			f, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return err
			}
			tree["float"] = spellFloat(f)
		}
		for _, name := range []string{"set", "frozenset"} {
			if members, ok := tree[name].([]any); ok {
				slices.SortFunc(members, func(a, b any) int { return cmp.Compare(spell(a), spell(b)) })
			}
		}
		if pairs, ok := tree["dict"].([]any); ok {
			slices.SortStableFunc(pairs, func(a, b any) int { return cmp.Compare(spellKey(a), spellKey(b)) })
		}
	}
	return nil
}

func spellKey(pair any) string {
	if pair, ok := pair.([]any); ok && len(pair) > 0 {
		return spell(pair[0])
	}
	return ""
}

// relabel numbers the definitions from 1 in the order in which they are written.
func relabel(tree any, labels map[string]int) {
	number := func(label any) json.Number {
		key := fmt.Sprint(label)
		if _, ok := labels[key]; !ok {
			labels[key] = len(labels) + 1
		}
		return json.Number(strconv.Itoa(labels[key]))
	}
	switch tree := tree.(type) {
	case []any:
		for _, member := range tree {
			relabel(member, labels)
		}
	case map[string]any:
		for _, name := range []string{"def", "ref"} {
			if label, ok := tree[name]; ok {
				tree[name] = number(label)
			}
		}
		for _, member := range tree {
			relabel(member, labels)
		}
	}
}
