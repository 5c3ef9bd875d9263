package banana

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"sync/atomic"
)

// Canonical keys: two values are equal in Python exactly if their canonical
// keys are equal in Go. (A Decimal of more than maxDecimalDigits is the one
// exception: it equals other Decimals only.)
type (
	bytesKey string
	bigKey   string // sign and magnitude, base 256
	decKey   string // a Decimal that neither an integer nor a float equals
	nanKey   uint64 // a NaN equals nothing, itself included: a number of its own
	groupKey string // a tuple or a frozen set
	noneKey  struct{}
)

var nans atomic.Uint64

func newNaN() nanKey { return nanKey(nans.Add(1)) }

// A charger is told what the canonical form of a key takes before it is made.
// Nested tuples that share their parts let a few bytes of a message stand for
// a key of any size.
type charger interface{ charge(bytes int64) error }

// A keyBudget is the charger of keys that no message pays for.
type keyBudget int64

// maxKeySize is the size of the largest composite key that a program can use
// without a message, in bytes.
const maxKeySize = 32 << 20

// free is the charger of what cannot be larger than the value it is for.
type free struct{}

func (free) charge(int64) error { return nil }

var errKeySize = errors.New("the key is too large")

func (b *keyBudget) charge(n int64) error {
	if *b -= keyBudget(n); *b < 0 {
		return errKeySize
	}
	return nil
}

// hashKey returns the canonical form of a key, or why v cannot be one. A nil
// charger limits it to maxKeySize.
func hashKey(v any, c charger) (any, error) {
	v = plain(v)
	switch v.(type) {
	case Tuple, *FrozenSet:
		if c == nil {
			budget := keyBudget(maxKeySize)
			c = &budget
		}
		w := keyWriter{c: c}
		if err := w.write(v); err != nil {
			return nil, err
		}
		return groupKey(w.buf), nil
	}
	if c == nil {
		c = free{}
	}
	return scalarKey(v, c)
}

// plain returns a key in the form that the generic types have for it: the
// named types and the many kinds of Go are one thing on the wire.
func plain(k any) any {
	switch v := k.(type) {
	case nil, string, []byte, bool, int64, float64, Decimal, Tuple:
		return k
	case int:
		return int64(v)
	case *big.Int:
		switch {
		case v == nil:
			return nil
		case v.IsInt64():
			return v.Int64()
		}
		return k
	case *FrozenSet:
		if v == nil {
			return nil
		}
		return k
	}
	rv := reflect.ValueOf(k)
	if _, ok := k.(External); ok {
		if rv.Kind() == reflect.Pointer && rv.IsNil() {
			return nil
		}
		return k
	}
	switch rv.Kind() {
	case reflect.Bool:
		return rv.Bool()
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		return rv.Int()
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint, reflect.Uintptr:
		if n := rv.Uint(); n > math.MaxInt64 {
			return new(big.Int).SetUint64(n)
		}
		return int64(rv.Uint())
	case reflect.Float32, reflect.Float64:
		return rv.Float()
	case reflect.String:
		return rv.String()
	case reflect.Slice:
		if rv.Type().Elem().Kind() == reflect.Uint8 {
			return rv.Bytes()
		}
	case reflect.Array:
		if rv.Type().Elem().Kind() == reflect.Uint8 {
			return arrayBytes(rv)
		}
	}
	return k
}

// scalarKey is hashKey for what is neither a tuple nor a frozen set.
func scalarKey(k any, c charger) (any, error) {
	switch v := k.(type) {
	case nil:
		return noneKey{}, nil
	case string, int64:
		return k, nil
	case []byte:
		if err := c.charge(int64(len(v))); err != nil {
			return nil, err
		}
		return bytesKey(v), nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case float64:
		return canonicalFloat(v), nil
	case *big.Int:
		if err := c.charge(int64(v.BitLen() / 8)); err != nil {
			return nil, err
		}
		return canonicalBig(v), nil
	case Decimal:
		if err := c.charge(int64(len(v))); err != nil {
			return nil, err
		}
		key, err := canonicalDecimal(v)
		if err == nil { // a short exponent can stand for thousands of digits
			err = c.charge(int64(len(keyBytes(key))))
		}
		return key, err
	case *List, *Dict, *Set:
		return nil, fmt.Errorf("%s cannot be a key or a member of a set: it can change", kindName(v))
	case External:
		if reflect.TypeOf(v).Comparable() {
			return k, nil
		}
	}
	if reflect.TypeOf(k).Kind() == reflect.Pointer { // a value by copy, which can be one in Python
		return nil, violation("%s cannot be a key or a member of a set", kindName(k))
	}
	return nil, fmt.Errorf("%s cannot be a key or a member of a set", kindName(k))
}

func canonicalBig(n *big.Int) any {
	if n.IsInt64() {
		return n.Int64()
	}
	sign := "+"
	if n.Sign() < 0 {
		sign = "-"
	}
	return bigKey(sign + string(n.Bytes()))
}

func canonicalFloat(f float64) any {
	switch {
	case f != f:
		return newNaN()
	case f != math.Trunc(f) || math.IsInf(f, 0):
		return f
	case f >= math.MinInt64 && f < math.MaxInt64:
		return int64(f)
	}
	n, _ := new(big.Float).SetFloat64(f).Int(nil)
	return canonicalBig(n)
}

// nodeCost is what one part of a composite key costs besides its bytes.
const nodeCost = 16

// A keyWriter writes composite keys such that no two different ones look
// alike: each part begins with a tag and shows its own end.
type keyWriter struct {
	c   charger
	buf []byte
}

func (w *keyWriter) write(v any) error {
	if err := w.c.charge(nodeCost); err != nil {
		return err
	}
	switch v := v.(type) {
	case Tuple:
		w.buf = append(w.buf, '(')
		for _, item := range v {
			if err := w.write(plain(item)); err != nil {
				return err
			}
		}
		w.buf = append(w.buf, ')')
		return nil
	case *FrozenSet:
		return w.frozenSet(v)
	}
	k, err := scalarKey(v, w.c)
	if err != nil {
		return err
	}
	return w.key(k)
}

// frozenSet writes the canonical keys of the members in an order that does not
// depend on the one in which they were added.
func (w *keyWriter) frozenSet(s *FrozenSet) error {
	part := keyWriter{c: w.c}
	parts := make([]string, 0, s.Len())
	for k := range s.d.index {
		part.buf = part.buf[:0]
		if err := part.key(k); err != nil {
			return err
		}
		parts = append(parts, string(part.buf))
	}
	slices.Sort(parts)
	w.buf = append(w.buf, '{')
	for _, p := range parts {
		w.buf = append(w.buf, p...)
	}
	w.buf = append(w.buf, '}')
	return nil
}

// key writes the canonical key of a part.
func (w *keyWriter) key(k any) error {
	data := keyBytes(k)
	if err := w.c.charge(nodeCost + int64(len(data))); err != nil {
		return err
	}
	tag := byte('?')
	switch k := k.(type) {
	case noneKey:
		tag = 'n'
	case int64:
		w.buf = binary.BigEndian.AppendUint64(append(w.buf, 'i'), uint64(k))
		return nil
	case float64:
		w.buf = binary.BigEndian.AppendUint64(append(w.buf, 'f'), math.Float64bits(k))
		return nil
	case nanKey:
		w.buf = binary.BigEndian.AppendUint64(append(w.buf, 'N'), uint64(k))
		return nil
	case string:
		tag = 'u'
	case bytesKey:
		tag = 'b'
	case bigKey:
		tag = 'l'
	case decKey:
		tag = 'd'
	case groupKey:
		tag = 'g'
	default: // an External
		rv := reflect.ValueOf(k)
		if rv.Kind() != reflect.Pointer {
			return fmt.Errorf("%s cannot be a part of a key", kindName(k))
		}
		w.buf = binary.BigEndian.AppendUint64(append(w.buf, 'x'), uint64(rv.Pointer()))
		return nil
	}
	w.buf = binary.AppendUvarint(append(w.buf, tag), uint64(len(data)))
	w.buf = append(w.buf, data...)
	return nil
}

// keyBytes returns the bytes of a canonical key that has some.
func keyBytes(k any) string {
	switch k := k.(type) {
	case string:
		return k
	case bytesKey:
		return string(k)
	case bigKey:
		return string(k)
	case decKey:
		return string(k)
	case groupKey:
		return string(k)
	}
	return ""
}
