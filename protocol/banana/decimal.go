package banana

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// decimalParts is a finite Decimal: ±digits × 10^exp, without leading or
// trailing zeros, or a special value by its name.
type decimalParts struct {
	neg     bool
	digits  string // "" is zero
	exp     int64
	special string // "Infinity", "NaN", "sNaN"
}

// parseDecimal reads what Python's Decimal(text) accepts, apart from
// underscores and surrounding blanks, which str(Decimal) never prints.
func parseDecimal(s string) (decimalParts, bool) {
	var p decimalParts
	if s != "" && (s[0] == '-' || s[0] == '+') {
		p.neg = s[0] == '-'
		s = s[1:]
	}
	lower := strings.ToLower(s)
	switch {
	case lower == "inf" || lower == "infinity":
		p.special = "Infinity"
		return p, true
	case strings.HasPrefix(lower, "nan"):
		p.special = "NaN"
		return p, allDigits(lower[3:])
	case strings.HasPrefix(lower, "snan"):
		p.special = "sNaN"
		return p, allDigits(lower[4:])
	}
	mantissa, exponent, hasExp := strings.Cut(lower, "e")
	if hasExp {
		e, err := strconv.ParseInt(exponent, 10, 64)
		if err != nil || e > 4e18 || e < -4e18 {
			return p, false
		}
		p.exp = e
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	if whole+frac == "" || !allDigits(whole) || !allDigits(frac) {
		return p, false
	}
	p.exp -= int64(len(frac))
	digits := strings.TrimLeft(whole+frac, "0")
	if p.exp < minDecimalExponent || p.exp+int64(max(1, len(digits)))-1 > maxDecimalExponent {
		return p, false
	}
	trimmed := strings.TrimRight(digits, "0")
	p.exp += int64(len(digits) - len(trimmed))
	p.digits = trimmed
	if trimmed == "" {
		p.exp, p.neg = 0, false
	}
	return p, true
}

// What Python's Decimal can represent, on machines of 64 bits.
const (
	maxDecimalExponent = 999_999_999_999_999_999
	minDecimalExponent = -1_999_999_999_999_999_997
)

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// maxDecimalDigits bounds the integers that a Decimal is compared with. Beyond
// it a Decimal key equals only Decimals.
const maxDecimalDigits = 5000

func canonicalDecimal(d Decimal) (any, error) {
	p, ok := parseDecimal(string(d))
	if !ok {
		return nil, fmt.Errorf("%.40q is not a decimal number", string(d))
	}
	switch p.special {
	case "NaN":
		return newNaN(), nil
	case "sNaN":
		return nil, errors.New("a signalling NaN cannot be a key")
	case "Infinity":
		if p.neg {
			return math.Inf(-1), nil
		}
		return math.Inf(1), nil
	}
	if p.digits == "" {
		return int64(0), nil
	}
	if p.exp >= 0 && int64(len(p.digits))+p.exp <= maxDecimalDigits {
		n, _ := new(big.Int).SetString(sign(p.neg)+p.digits+strings.Repeat("0", int(p.exp)), 10)
		return canonicalBig(n), nil
	}
	key := p.String()
	// A float equals a Decimal only if it is the same number exactly. With n
	// digits after the point it is then a multiple of 5^n.
	if p.exp < 0 && strings.HasSuffix(p.digits, "5") && 10*int64(len(p.digits)) >= -6*p.exp {
		if f, err := strconv.ParseFloat(key, 64); err == nil && decimalOfFloat(f) == p {
			return f, nil
		}
	}
	return decKey(key), nil
}

// decimalOfFloat returns a finite float exactly; none has more than 1074
// digits after the point.
func decimalOfFloat(f float64) decimalParts {
	p, _ := parseDecimal(strconv.FormatFloat(f, 'e', 1074, 64))
	return p
}

// String returns a finite Decimal in a form that strconv reads.
func (p decimalParts) String() string {
	if p.digits == "" {
		return "0"
	}
	return sign(p.neg) + p.digits + "e" + strconv.FormatInt(p.exp, 10)
}

func sign(neg bool) string {
	if neg {
		return "-"
	}
	return ""
}

// compareDecimals orders two Decimals that are not NaN.
func compareDecimals(a, b decimalParts) int {
	if c := cmp.Compare(a.rank(), b.rank()); c != 0 || a.digits == "" {
		return c
	}
	c := cmp.Compare(int64(len(a.digits))+a.exp, int64(len(b.digits))+b.exp)
	if c == 0 {
		c = strings.Compare(a.digits, b.digits)
	}
	if a.neg {
		c = -c
	}
	return c
}

// rank orders infinities, zero and the numbers on both sides of it.
func (p decimalParts) rank() int {
	r := 1
	switch {
	case p.special != "":
		r = 2
	case p.digits == "":
		return 0
	}
	if p.neg {
		r = -r
	}
	return r
}
