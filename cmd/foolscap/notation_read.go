package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A notationReader reads values. Everything that it parses can share parts:
// the labels of $def are common to all.
type notationReader struct {
	// external makes what $object and $furl stand for; their text is given.
	external func(mark, text string) (any, error)
	defined  map[int]*definition
	depth    int
	keys     int // how many keys or members of sets are being read
}

// A definition is a $def. The value is there as soon as it has an identity,
// which may be long before it is complete.
type definition struct {
	node  *node
	state definitionState
	value any
}

type definitionState uint8

const (
	defUntouched definitionState = iota
	defReading
	defComplete
)

// maxNesting bounds the depth of values. Foolscap's own limit is lower, but
// depends on the peer.
const maxNesting = 1000

var errNesting = fmt.Errorf("it is nested deeper than %d levels", maxNesting)

func newNotationReader(external func(mark, text string) (any, error)) *notationReader {
	return &notationReader{external: external, defined: make(map[int]*definition)}
}

// readNotation reads one value.
func readNotation(text []byte, external func(mark, text string) (any, error)) (any, error) {
	r := newNotationReader(external)
	n, err := r.parse(text)
	if err != nil {
		return nil, err
	}
	return r.value(n)
}

// parse reads JSON and notes its definitions. All texts are parsed before the
// first of them is made a value.
func (r *notationReader) parse(text []byte) (*node, error) {
	n, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	return n, r.define(n, 0)
}

func (r *notationReader) define(n *node, depth int) error {
	if depth > 2*maxNesting { // a marker is a level of its own
		return errNesting
	}
	if at, ok := n.index(markDef); ok && n.kind == '{' {
		label, err := labelOf(at)
		if err != nil {
			return err
		}
		value, ok := n.index(defValue)
		if !ok || len(n.keys) != 2 {
			return fmt.Errorf("a %s needs a %q beside it and nothing else", markDef, defValue)
		}
		if r.defined[label] != nil {
			return fmt.Errorf("%s %d is there twice", markDef, label)
		}
		r.defined[label] = &definition{node: value}
	}
	for _, item := range n.items {
		if err := r.define(item, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func labelOf(n *node) (int, error) {
	label, err := strconv.Atoi(n.text)
	if n.kind != '#' || err != nil {
		return 0, fmt.Errorf("the label of a %s or %s has to be an integer", markDef, markRef)
	}
	return label, nil
}

func (r *notationReader) value(n *node) (any, error) { return r.read(n, new(definition)) }

// read makes the value of a node. d gets it as soon as it has an identity.
func (r *notationReader) read(n *node, d *definition) (any, error) {
	if r.depth++; r.depth > maxNesting {
		return nil, errNesting
	}
	defer func() { r.depth-- }()
	switch n.kind {
	case 'n':
		return nil, nil
	case 't', 'f':
		return n.kind == 't', nil
	case '#':
		return readNumber(n.text)
	case '"':
		return n.text, nil
	case '[':
		l := &banana.List{Items: make([]any, len(n.items))}
		d.value = l
		return l, r.fill(l.Items, n.items)
	}
	if mark, ok := n.marker(); ok {
		return r.marked(mark, n, d)
	}
	m := new(banana.Dict)
	d.value = m
	for i, item := range n.items {
		v, err := r.value(item)
		if err == nil {
			err = setNew(m, n.keys[i], v)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (r *notationReader) fill(items []any, nodes []*node) (err error) {
	for i, item := range nodes {
		if items[i], err = r.value(item); err != nil {
			return err
		}
	}
	return nil
}

func setNew(m *banana.Dict, key, value any) error {
	had := m.Len()
	if err := m.Set(key, value); err != nil {
		return err
	}
	if m.Len() == had {
		return errors.New("a dict has the same key twice")
	}
	return nil
}

// readNumber reads a number: with a point or an exponent it is a float,
// otherwise an integer.
func readNumber(s string) (any, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("the number %s is too large for a float", quote(s))
		}
		return f, nil
	}
	return readInt(s, 10)
}

func readInt(s string, base int) (any, error) {
	n, ok := new(big.Int).SetString(s, base)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s is not an integer", quote(s))
	case n.IsInt64():
		return n.Int64(), nil
	}
	return n, nil
}

// marked makes the value of an object that is no dict.
func (r *notationReader) marked(mark string, n *node, d *definition) (any, error) {
	if mark == markDef {
		at, _ := n.index(markDef)
		return r.refer(at)
	}
	if len(n.keys) != 1 {
		return nil, fmt.Errorf(`an object with the key %q and others; a dict with such a key is written {"$dict": [[key, value], …]}`, mark)
	}
	item := n.items[0]
	switch mark {
	case markRef:
		return r.refer(item)
	case markTuple, markSet, markFrozenSet, markDict:
		if item.kind != '[' {
			return nil, fmt.Errorf("%s needs an array", mark)
		}
		return r.container(mark, item.items, d)
	case markInt, markFloat, markBytes, markHex, markDecimal, markObject, markFURL:
		if item.kind != '"' {
			return nil, fmt.Errorf("%s needs a string", mark)
		}
		return r.scalar(mark, item.text)
	case markReference:
		return nil, fmt.Errorf("a %s stands for an object of somebody else, which only its connection knows; give its FURL: {%q: \"@FILE\"}", mark, markFURL)
	}
	return nil, fmt.Errorf(`%q is no known mark; a dict with such a key is written {"$dict": [[key, value], …]}`, mark)
}

// refer returns the value of a label, whether it was read or not.
func (r *notationReader) refer(at *node) (any, error) {
	label, err := labelOf(at)
	if err != nil {
		return nil, err
	}
	d := r.defined[label]
	switch {
	case d == nil:
		return nil, fmt.Errorf("there is no %s %d that %s could mean", markDef, label, markRef)
	case d.state == defComplete:
		return d.value, nil
	case d.state == defReading:
		// What can be a key does not change any more, so it cannot wait
		// for itself.
		if d.value == nil || r.keys > 0 {
			return nil, fmt.Errorf("what %s %d defines contains itself without a list, dict or set in between", markDef, label)
		}
		return d.value, nil
	}
	d.state = defReading
	v, err := r.read(d.node, d)
	d.state, d.value = defComplete, v
	return v, err
}

func (r *notationReader) container(mark string, items []*node, d *definition) (any, error) {
	switch mark {
	case markTuple:
		t := make(banana.Tuple, len(items))
		d.value = t
		return t, r.fill(t, items)
	case markDict:
		m := new(banana.Dict)
		d.value = m
		return m, r.pairs(m, items)
	}
	s := new(banana.Set)
	if mark == markSet {
		d.value = s
	}
	for _, item := range items {
		v, err := r.key(item)
		if err == nil {
			had := s.Len()
			if err = s.Add(v); err == nil && s.Len() == had {
				err = errors.New("a set has the same member twice")
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if mark == markSet {
		return s, nil
	}
	members := make([]any, 0, s.Len())
	for v := range s.All() {
		members = append(members, v)
	}
	return banana.NewFrozenSet(members...), nil
}

// key reads a key or a member of a set.
func (r *notationReader) key(n *node) (any, error) {
	r.keys++
	defer func() { r.keys-- }()
	return r.value(n)
}

func (r *notationReader) pairs(m *banana.Dict, items []*node) error {
	for _, item := range items {
		if item.kind != '[' || len(item.items) != 2 {
			return fmt.Errorf("%s needs an array of arrays, each with a key and a value", markDict)
		}
		k, err := r.key(item.items[0])
		if err != nil {
			return err
		}
		v, err := r.value(item.items[1])
		if err == nil {
			err = setNew(m, k, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *notationReader) scalar(mark, text string) (any, error) {
	switch mark {
	case markInt:
		sign, digits := "", text
		if rest, ok := strings.CutPrefix(text, "-"); ok {
			sign, digits = "-", rest
		}
		if rest, ok := strings.CutPrefix(digits, "0x"); ok {
			return readInt(sign+rest, 16)
		}
		return readInt(text, 10)
	case markFloat:
		switch text {
		case "nan":
			return math.NaN(), nil
		case "inf":
			return math.Inf(1), nil
		case "-inf":
			return math.Inf(-1), nil
		}
		return nil, fmt.Errorf(`%s is "nan", "inf" or "-inf"; other floats are JSON numbers with a point`, mark)
	case markBytes:
		return []byte(text), nil
	case markHex:
		b, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("%s needs an even number of hexadecimal digits", mark)
		}
		return b, nil
	case markDecimal:
		if d := banana.Decimal(text); d.Valid() {
			return d, nil
		}
		return nil, fmt.Errorf("%s is not a decimal number", quote(text))
	}
	if r.external == nil {
		return nil, fmt.Errorf("%s cannot be used here", mark)
	}
	return r.external(mark, text)
}
