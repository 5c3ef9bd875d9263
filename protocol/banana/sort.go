package banana

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// keyOrder returns the order in which Python sends the keys, and refuses keys
// that a Python peer could not send back because it cannot sort them.
func keyOrder(keys []any) ([]int, error) {
	sorted := make([]any, len(keys))
	order := make([]int, len(keys))
	for i, k := range keys {
		sorted[i], order[i] = plain(k), i
	}
	slices.SortStableFunc(order, func(i, j int) int { return compareKeys(sorted[i], sorted[j]) })
	for i := 1; i < len(order); i++ {
		a, b := sorted[order[i-1]], sorted[order[i]]
		if !comparableKeys(a, b) {
			return nil, cannotEncode("a dict with keys that Python cannot sort together: %s and %s", kindName(a), kindName(b))
		}
	}
	return order, nil
}

// keyClass is a kind of keys that Python compares only with their like.
type keyClass int

const (
	noneClass keyClass = iota
	numberClass
	textClass
	bytesClass
	tupleClass
	setClass
	externalClass
)

func classOf(v any) keyClass {
	switch v.(type) {
	case nil:
		return noneClass
	case string:
		return textClass
	case []byte:
		return bytesClass
	case Tuple:
		return tupleClass
	case *FrozenSet:
		return setClass
	case External:
		return externalClass
	}
	return numberClass
}

// compareKeys is a total order of plain keys that is Python's wherever Python
// has one.
func compareKeys(a, b any) int {
	class := classOf(a)
	if c := cmp.Compare(class, classOf(b)); c != 0 {
		return c
	}
	switch class {
	case numberClass:
		return compareNumbers(a, b)
	case textClass:
		return strings.Compare(a.(string), b.(string))
	case bytesClass:
		return bytes.Compare(a.([]byte), b.([]byte))
	case tupleClass:
		i, c := firstDifference(a.(Tuple), b.(Tuple))
		if i < 0 {
			return cmp.Compare(len(a.(Tuple)), len(b.(Tuple)))
		}
		return c
	}
	// Python's "order" of frozen sets is inclusion, which sorts nothing; that
	// of none and of references does not exist. Any order will do.
	return 0
}

// firstDifference returns the first place in which two tuples differ, and how
// compareKeys orders what is there; or -1 when one begins with the other.
// Nothing is compared twice: that would double with every level.
func firstDifference(a, b Tuple) (at, order int) {
	if unsafe.SliceData(a) == unsafe.SliceData(b) {
		return -1, 0
	}
	for i := range min(len(a), len(b)) {
		x, y := plain(a[i]), plain(b[i])
		if c := compareKeys(x, y); c != 0 || !sameKey(x, y) {
			return i, c
		}
	}
	return -1, 0
}

// sameKey tells keys apart that compareKeys does not.
func sameKey(a, b any) bool {
	switch classOf(a) {
	case externalClass:
		return a == b
	case setClass:
		ka, errA := hashKey(a, nil)
		kb, errB := hashKey(b, nil)
		return errA == nil && errB == nil && ka == kb
	}
	return true
}

// comparableKeys reports whether Python can order a and b, which stand next
// to each other in the order of compareKeys.
func comparableKeys(a, b any) bool {
	class := classOf(a)
	if class != classOf(b) {
		return false
	}
	switch class {
	case noneClass, externalClass:
		return false
	case numberClass:
		return orderedNumbers(a, b)
	case tupleClass:
		i, _ := firstDifference(a.(Tuple), b.(Tuple))
		return i < 0 || comparableKeys(plain(a.(Tuple)[i]), plain(b.(Tuple)[i]))
	}
	return true
}

// orderedNumbers reports whether Python can order two numbers: not a NaN and a
// Decimal, whichever is which.
func orderedNumbers(a, b any) bool {
	_, aIsDec := a.(Decimal)
	_, bIsDec := b.(Decimal)
	return !aIsDec && !bIsDec || !math.IsNaN(nearestFloat(a)) && !math.IsNaN(nearestFloat(b))
}

// maxExactBits bounds the size of the integers that are compared exactly with
// Decimals. Beyond it, it is their first digits that count: turning integers
// into decimals takes more than linear time, and the order is a courtesy.
const maxExactBits = 2048

func compareNumbers(a, b any) int {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case Decimal:
		if b, ok := b.(Decimal); ok && a == b {
			return 0
		}
	}
	// Rounding keeps the order: only what rounds to the same float needs a
	// closer look. (NaNs come first.)
	fa, fb := nearestFloat(a), nearestFloat(b)
	_, aIsFloat := a.(float64)
	_, bIsFloat := b.(float64)
	if fa != fb || math.IsNaN(fa) || aIsFloat && bIsFloat {
		return cmp.Compare(fa, fb)
	}
	_, aIsDec := a.(Decimal)
	_, bIsDec := b.(Decimal)
	if aIsDec || bIsDec {
		return compareDecimals(decimalOf(a), decimalOf(b))
	}
	return exactFloat(a).Cmp(exactFloat(b))
}

// nearestFloat returns the float that is nearest to a number.
func nearestFloat(v any) float64 {
	switch v := v.(type) {
	case bool:
		if v {
			return 1
		}
	case int64:
		return float64(v)
	case float64:
		return v
	case *big.Int:
		f, _ := v.Float64()
		return f
	case Decimal:
		p, _ := parseDecimal(string(v))
		switch {
		case strings.HasSuffix(p.special, "NaN"):
			return math.NaN()
		case p.special != "" && p.neg:
			return math.Inf(-1)
		case p.special != "":
			return math.Inf(1)
		}
		f, _ := strconv.ParseFloat(p.String(), 64)
		return f
	}
	return 0
}

// decimalOf returns a number as a Decimal.
func decimalOf(v any) decimalParts {
	switch v := v.(type) {
	case Decimal:
		p, _ := parseDecimal(string(v))
		return p
	case float64:
		if math.IsInf(v, 0) {
			return decimalParts{neg: v < 0, special: "Infinity"}
		}
		return decimalOfFloat(v)
	case *big.Int:
		if v.BitLen() > maxExactBits {
			return roughDecimal(v)
		}
		p, _ := parseDecimal(v.String())
		return p
	}
	p, _ := parseDecimal(exactFloat(v).Text('f', 0))
	return p
}

// roughDecimal returns an integer to about nine digits.
func roughDecimal(v *big.Int) decimalParts {
	var mant big.Float
	bits := new(big.Float).SetInt(v).MantExp(&mant)
	m, _ := mant.Float64()
	whole, rest := math.Modf(math.Log10(math.Abs(m)) + float64(bits)*math.Log10(2))
	p, _ := parseDecimal(fmt.Sprintf("%.9fe%d", math.Pow(10, rest), int64(whole)))
	p.neg = v.Sign() < 0
	return p
}

// exactFloat returns an integer or a float without loss.
func exactFloat(v any) *big.Float {
	switch v := v.(type) {
	case int64:
		return new(big.Float).SetInt64(v)
	case float64:
		return new(big.Float).SetFloat64(v)
	case *big.Int:
		return new(big.Float).SetInt(v)
	}
	return new(big.Float).SetFloat64(nearestFloat(v)) // a boolean
}

// keyText is how a key shows in a path; secrets are not keys, but long or
// binary ones would be no help.
func keyText(k any) string {
	switch k := plain(k).(type) {
	case string:
		return fmt.Sprintf("%.40q", k)
	case []byte:
		return fmt.Sprintf("%.40q", k[:min(len(k), 40)])
	case int64, bool:
		return fmt.Sprint(k)
	}
	return kindName(k)
}

// kindName is what a value is called in messages to people.
func kindName(v any) string {
	switch v := plain(v).(type) {
	case nil:
		return "none"
	case bool:
		return "boolean"
	case string:
		return "text"
	case []byte:
		return "bytes"
	case int64, *big.Int:
		return "integer"
	case float64:
		return "float"
	case Decimal:
		return "decimal"
	case *List:
		return "list"
	case Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *Set:
		return "set"
	case *FrozenSet:
		return "frozen set"
	case External:
		return "reference"
	case pending:
		return "a tuple that is not complete"
	default:
		return fmt.Sprintf("%T", v)
	}
}
