package schema

import "math"

// size is the size of the largest encoding of something, in bytes.
type size struct {
	n         int64
	unbounded bool
}

var noSize = size{unbounded: true}

func bytesSize(n int64) size { return size{n: n} }

func (s size) result() (int64, bool) {
	if s.unbounded {
		return 0, false
	}
	return s.n, true
}

// plus and times end at the largest int64, which is no bound any more.
func (s size) plus(o size) size {
	if s.unbounded || o.unbounded || s.n > math.MaxInt64-o.n {
		return noSize
	}
	return size{n: s.n + o.n}
}

func (s size) times(n int) size {
	switch {
	case n == 0:
		return size{}
	case s.unbounded || s.n > math.MaxInt64/int64(n):
		return noSize
	}
	return size{n: s.n * int64(n)}
}

func (s size) max(o size) size {
	if s.unbounded || o.unbounded {
		return noSize
	}
	return size{n: max(s.n, o.n)}
}

// headerSize is the size of a number in front of a type byte.
func headerSize(n uint64) int64 {
	size := int64(1)
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// stringSize is the size of a byte string, or of a long integer, of n bytes.
func stringSize(n int64) size {
	return bytesSize(headerSize(uint64(n)) + 1).plus(bytesSize(n))
}

const tokenSize = 11 // of an OPEN or CLOSE with a number of 64 bits

// sequenceSize is the size of a sequence with that inside.
func sequenceSize(opentype string, inside size) size {
	return bytesSize(2*tokenSize + int64(len(opentype)) + 2).plus(inside)
}

// shareable is the size of a value that can be written as a "reference".
func (s size) shareable() size { return s.max(sequenceSize("reference", bytesSize(tokenSize))) }

// What a reference brings with it at most, in bytes.
const (
	maxInterfaceName = 1000
	maxFURL          = 16 << 10
)

func referenceSize() size {
	return sequenceSize("their-reference", bytesSize(tokenSize).plus(stringSize(maxInterfaceName)).plus(stringSize(maxFURL)))
}

// length returns what a Max stands for.
func length(max int) (n int, bounded bool) {
	switch {
	case max < 0:
		return 0, true
	case max == 0:
		return 0, false
	}
	return max, true
}

// checkLength objects to a length that is out of bounds.
func checkLength(n, min, max int, unit string) error {
	if n < min {
		return violation("expected at least %d %s, got %d", min, unit, n)
	}
	return checkMax(n, max, unit)
}

func checkMax(n, max int, unit string) error {
	if m, bounded := length(max); bounded && n > m {
		return violation("expected at most %d %s, got %d", m, unit, n)
	}
	return nil
}
