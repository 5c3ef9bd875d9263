package schema

import (
	"math"
	"math/big"
	"regexp"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// Empty is the Max of what must be empty: a Max of 0 is no bound.
const Empty = -1

// Any accepts every value.
type Any struct{ scalar }

func (Any) Taster() banana.Taster           { return nil }
func (Any) Check(any) error                 { return nil }
func (Any) MaxSize() (int64, bool)          { return 0, false }
func (Any) kinds() kinds                    { return everyKind }
func (Any) token(banana.Token) error        { return nil }
func (Any) body(banana.Token, []byte) error { return nil }
func (Any) look(*walk, any) error           { return nil }
func (Any) size() size                      { return noSize }

// Bytes accepts byte strings.
type Bytes struct {
	scalar
	// Min and Max bound the length in bytes. A Max of 0 is no bound.
	Min, Max int
	// Pattern has to match somewhere in the bytes, unless it is nil.
	Pattern *regexp.Regexp
}

func (c Bytes) Taster() banana.Taster  { return taster(c) }
func (c Bytes) Check(v any) error      { return check(c, v) }
func (c Bytes) MaxSize() (int64, bool) { return c.size().result() }
func (Bytes) kinds() kinds             { return kindBytes }

func (c Bytes) token(tok banana.Token) error {
	return checkLength(int(min(tok.N, math.MaxInt)), c.Min, c.Max, "bytes")
}

func (c Bytes) body(_ banana.Token, b []byte) error {
	if c.Pattern != nil && !c.Pattern.Match(b) {
		return noMatch(c.Pattern)
	}
	return nil
}

func noMatch(re *regexp.Regexp) error { return violation("does not match the pattern %.100q", re) }

func (c Bytes) look(_ *walk, v any) error {
	b := v.([]byte)
	if err := checkLength(len(b), c.Min, c.Max, "bytes"); err != nil {
		return err
	}
	return c.body(banana.Token{}, b)
}

func (c Bytes) size() size {
	if n, bounded := length(c.Max); bounded {
		return stringSize(int64(n))
	}
	return noSize
}

// Text accepts texts.
type Text struct {
	boxed
	// Min and Max bound the length in characters, which are Unicode code
	// points. A Max of 0 is no bound.
	Min, Max int
	// Pattern has to match somewhere in the text, unless it is nil.
	Pattern *regexp.Regexp
}

func (c Text) Taster() banana.Taster  { return taster(c) }
func (c Text) Check(v any) error      { return check(c, v) }
func (c Text) MaxSize() (int64, bool) { return c.size().result() }
func (Text) kinds() kinds             { return kindText }

func (c Text) leafToken(tok banana.Token) error {
	// No character has more than four bytes, and none has less than one.
	n := int(min(tok.N, math.MaxInt))
	if m, bounded := length(c.Max); bounded && tok.N/utf8.UTFMax >= uint64(m) && tok.N > utf8.UTFMax*uint64(m) {
		return violation("expected at most %d characters, got %d bytes", m, tok.N)
	}
	if n < c.Min {
		return violation("expected at least %d characters, got %d bytes", c.Min, n)
	}
	return nil
}

func (c Text) leafBody(b []byte) error {
	if err := c.length(utf8.RuneCount(b)); err != nil {
		return err
	}
	if c.Pattern != nil && !c.Pattern.Match(b) {
		return noMatch(c.Pattern)
	}
	return nil
}

func (c Text) length(n int) error { return checkLength(n, c.Min, c.Max, "characters") }

func (c Text) look(_ *walk, v any) error {
	s := v.(string)
	if err := c.length(utf8.RuneCountInString(s)); err != nil {
		return err
	}
	if c.Pattern != nil && !c.Pattern.MatchString(s) {
		return noMatch(c.Pattern)
	}
	return nil
}

func (c Text) size() size {
	if n, bounded := length(c.Max); bounded && int64(n) <= math.MaxInt64/utf8.UTFMax {
		return sequenceSize("unicode", stringSize(utf8.UTFMax*int64(n)))
	}
	return noSize
}

const (
	// DefaultIntBytes is the length of the longest integer where nothing
	// else is said.
	DefaultIntBytes = 1024
	// Unlimited is the Bytes of an Int or Number without a bound.
	Unlimited = -1
)

// Int accepts integers. The zero value accepts those whose absolute value has
// at most DefaultIntBytes bytes, as Python's int does.
type Int struct {
	scalar
	// Min and Max bound the value; nil is no bound.
	Min, Max *big.Int
	// Bytes bounds the length of the absolute value, in bytes; 0 is what
	// Min and Max need, or else DefaultIntBytes.
	Bytes int
}

func (c Int) Taster() banana.Taster  { return taster(c) }
func (c Int) Check(v any) error      { return check(c, v) }
func (c Int) MaxSize() (int64, bool) { return c.size().result() }
func (Int) kinds() kinds             { return kindInt }

// bytes returns the length of the longest absolute value.
func (c Int) bytes() (n int, bounded bool) {
	switch {
	case c.Bytes > 0:
		return c.Bytes, true
	case c.Bytes < 0 && (c.Min == nil || c.Max == nil):
		return 0, false
	case c.Min != nil && c.Max != nil:
		return max(1, (max(c.Min.BitLen(), c.Max.BitLen())+7)/8), true
	}
	return DefaultIntBytes, true
}

func (c Int) token(tok banana.Token) error {
	short := tok.Type == banana.TypeInt || tok.Type == banana.TypeNeg
	if short && !tok.Wide && c.Bytes == 0 && c.inRange(tok.N, tok.Type == banana.TypeNeg) == nil {
		return nil
	}
	n, bounded := c.bytes()
	switch tok.Type {
	case banana.TypeInt, banana.TypeNeg:
		if tok.Wide {
			if bounded && n <= 8 {
				return c.tooLong(n)
			}
			return nil
		}
		if bounded && n < 8 && tok.N>>(8*n) != 0 {
			return c.tooLong(n)
		}
		return c.inRange(tok.N, tok.Type == banana.TypeNeg)
	}
	if bounded && tok.N > uint64(n) {
		return c.tooLong(n)
	}
	return nil
}

func (c Int) tooLong(n int) error {
	if c.Bytes == 0 && (c.Min != nil || c.Max != nil) {
		return violation("expected %.100s, got a larger integer", c)
	}
	return violation("expected an integer of at most %d bytes, got a larger one", n)
}

// inRange judges an integer by its absolute value.
func (c Int) inRange(abs uint64, neg bool) error {
	if c.Min == nil && c.Max == nil {
		return nil
	}
	if abs <= math.MaxInt64 {
		v := int64(abs)
		if neg {
			v = -v
		}
		low := c.Min == nil || c.Min.IsInt64() && c.Min.Int64() <= v || !c.Min.IsInt64() && c.Min.Sign() < 0
		high := c.Max == nil || c.Max.IsInt64() && c.Max.Int64() >= v || !c.Max.IsInt64() && c.Max.Sign() > 0
		if low && high {
			return nil
		}
	}
	v := new(big.Int).SetUint64(abs)
	if neg {
		v.Neg(v)
	}
	return c.bigInRange(v)
}

func (c Int) bigInRange(v *big.Int) error {
	if c.Min != nil && v.Cmp(c.Min) < 0 || c.Max != nil && v.Cmp(c.Max) > 0 {
		if v.BitLen() > 64 {
			return violation("expected %.100s, got an integer of %d bits", c, v.BitLen())
		}
		return violation("expected %.100s, got %s", c, v)
	}
	return nil
}

func (c Int) body(tok banana.Token, b []byte) error {
	neg := tok.Type == banana.TypeNeg || tok.Type == banana.TypeLongNeg
	if n, bounded := c.bytes(); tok.Wide && bounded && len(b) > n {
		return c.tooLong(n)
	}
	if c.Min == nil && c.Max == nil {
		return nil
	}
	if len(b) <= 8 {
		abs := uint64(0)
		for _, d := range b {
			abs = abs<<8 | uint64(d)
		}
		return c.inRange(abs, neg)
	}
	v := new(big.Int).SetBytes(b)
	if neg {
		v.Neg(v)
	}
	return c.bigInRange(v)
}

func (c Int) look(_ *walk, v any) error {
	var n *big.Int
	switch v := v.(type) {
	case int:
		n = big.NewInt(int64(v))
	case int64:
		n = big.NewInt(v)
	case *big.Int:
		n = v
	}
	if most, bounded := c.bytes(); bounded && (n.BitLen()+7)/8 > most {
		return c.tooLong(most)
	}
	return c.bigInRange(n)
}

func (c Int) size() size {
	n, bounded := c.bytes()
	if !bounded {
		return noSize
	}
	// Short ones can be written in a header, of up to 64 bytes.
	return stringSize(int64(n)).max(bytesSize(min(65, (8*int64(min(n, 64))+6)/7+1)))
}

// Number accepts integers and floats.
type Number struct {
	scalar
	// Bytes bounds the length of an integer as that of Int does.
	Bytes int
}

func (c Number) Taster() banana.Taster  { return taster(c) }
func (c Number) Check(v any) error      { return check(c, v) }
func (c Number) MaxSize() (int64, bool) { return c.size().result() }
func (Number) kinds() kinds             { return kindInt | kindFloat }

func (c Number) token(tok banana.Token) error {
	if tok.Type == banana.TypeFloat {
		return nil
	}
	return Int{Bytes: c.Bytes}.token(tok)
}

func (c Number) body(tok banana.Token, b []byte) error { return Int{Bytes: c.Bytes}.body(tok, b) }

func (c Number) look(w *walk, v any) error {
	if _, ok := v.(float64); ok {
		return nil
	}
	return Int{Bytes: c.Bytes}.look(w, v)
}

func (c Number) size() size { return Int{Bytes: c.Bytes}.size().max(bytesSize(9)) }

// Bool accepts truth values.
type Bool struct {
	boxed
	// Only is the one that is accepted; nil accepts both.
	Only *bool
}

func (c Bool) Taster() banana.Taster  { return taster(c) }
func (c Bool) Check(v any) error      { return check(c, v) }
func (c Bool) MaxSize() (int64, bool) { return c.size().result() }
func (Bool) kinds() kinds             { return kindBool }

func (c Bool) leafToken(tok banana.Token) error {
	return c.is(tok.N != 0 || tok.Wide)
}

func (Bool) leafBody([]byte) error       { return nil }
func (Bool) size() size                  { return sequenceSize("boolean", bytesSize(2)) }
func (c Bool) look(_ *walk, v any) error { return c.is(v.(bool)) }

func (c Bool) is(v bool) error {
	if c.Only != nil && v != *c.Only {
		return violation("expected %t, got %t", *c.Only, v)
	}
	return nil
}

// None accepts Python's None.
type None struct{ sequence }

func (c None) Taster() banana.Taster  { return taster(c) }
func (c None) Check(v any) error      { return check(c, v) }
func (c None) MaxSize() (int64, bool) { return c.size().result() }
func (None) kinds() kinds             { return kindNone }
func (None) look(*walk, any) error    { return nil }
func (None) size() size               { return sequenceSize("none", size{}) }

func (None) open(Constraint, *Tasting, kinds, string) (banana.Taster, error) { return nil, nil }

// Decimal accepts Python's decimal.Decimal.
type Decimal struct {
	boxed
	// Max bounds the length of its text, in bytes. A Max of 0 is no bound.
	Max int
}

func (c Decimal) Taster() banana.Taster  { return taster(c) }
func (c Decimal) Check(v any) error      { return check(c, v) }
func (c Decimal) MaxSize() (int64, bool) { return c.size().result() }
func (Decimal) kinds() kinds             { return kindDecimal }

func (c Decimal) leafToken(tok banana.Token) error {
	return checkMax(int(min(tok.N, math.MaxInt)), c.Max, "bytes")
}

func (Decimal) leafBody([]byte) error { return nil }

func (c Decimal) look(_ *walk, v any) error {
	return checkMax(len(v.(banana.Decimal)), c.Max, "bytes")
}

func (c Decimal) size() size {
	if n, bounded := length(c.Max); bounded {
		return sequenceSize("decimal", stringSize(int64(n)))
	}
	return noSize
}

// maxCompared is how many bytes of integers are compared: there are no longer
// ones.
const maxCompared = 16 << 20

// bounds returns the least and the largest integer; nil is no bound.
func (c Int) bounds() (low, high *big.Int) {
	low, high = c.Min, c.Max
	if n, bounded := c.bytes(); bounded {
		most := new(big.Int).Lsh(big.NewInt(1), 8*uint(min(n, maxCompared)))
		most.Sub(most, big.NewInt(1))
		if least := new(big.Int).Neg(most); low == nil || low.Cmp(least) < 0 {
			low = least
		}
		if high == nil || high.Cmp(most) > 0 {
			high = most
		}
	}
	return low, high
}
