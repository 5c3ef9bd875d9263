package main

import (
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// The notation writes Foolscap's values as JSON, without ambiguity and without
// loss. docs/cli.md describes it; in short:
//
//	none, booleans        null, true, false
//	integers              12, of any size; {"$int": "0x…"} for very long ones
//	floats                1.0, 2.5e-3; {"$float": "nan"}, "inf", "-inf"
//	text                  "…"
//	bytes                 {"$bytes": "…"} if they are printable UTF-8, {"$hex": "00ff"}
//	Decimal               {"$decimal": "1.50"}
//	list, tuple           […], {"$tuple": […]}
//	set, frozenset        {"$set": […]}, {"$frozenset": […]}
//	dict                  {…} with texts as keys that do not begin with "$",
//	                      {"$dict": [[key, value], …]}
//	shared, cycles        {"$def": 1, "value": …} once, {"$ref": 1} elsewhere
//	references            {"$object": "demo"}, {"$furl": "@FILE"}, {"$reference": {…}}
//
// An object with a key that begins with "$" is therefore never a dict.
const (
	markInt       = "$int"
	markFloat     = "$float"
	markBytes     = "$bytes"
	markHex       = "$hex"
	markDecimal   = "$decimal"
	markTuple     = "$tuple"
	markSet       = "$set"
	markFrozenSet = "$frozenset"
	markDict      = "$dict"
	markDef       = "$def"
	markRef       = "$ref"
	markObject    = "$object"
	markFURL      = "$furl"
	markReference = "$reference"
	// markSequence is only in what the command tokens writes, for sequences
	// that are no values.
	markSequence = "$sequence"

	defValue = "value" // the other key beside $def
)

// isMarker reports whether a key cannot stand in a plain JSON object.
func isMarker(key string) bool { return strings.HasPrefix(key, "$") }

// longInt is the number of bits from which on an integer is written in
// hexadecimal: that takes time in proportion to its length, and programs that
// read JSON often refuse thousands of digits. It is about 1000 digits.
const longInt = 3322

func appendBigInt(dst []byte, n *big.Int) []byte {
	if n.BitLen() <= longInt {
		return n.Append(dst, 10)
	}
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
		n = new(big.Int).Neg(n)
	}
	dst = append(dst, `{"`+markInt+`":"`+sign+`0x`...)
	dst = n.Append(dst, 16)
	return append(dst, `"}`...)
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case f != f:
		return append(dst, `{"`+markFloat+`":"nan"}`...)
	case f-f != 0 && f > 0:
		return append(dst, `{"`+markFloat+`":"inf"}`...)
	case f-f != 0:
		return append(dst, `{"`+markFloat+`":"-inf"}`...)
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, f, 'g', -1, 64)
	if !strings.ContainsAny(string(dst[at:]), ".e") {
		dst = append(dst, ".0"...) // so that it does not look like an integer
	}
	return dst
}

const hexDigits = "0123456789abcdef"

func appendBytes(dst, b []byte) []byte {
	if readable(b) {
		dst = append(dst, `{"`+markBytes+`":`...)
		return append(appendString(dst, string(b)), '}')
	}
	dst = append(dst, `{"`+markHex+`":"`...)
	for _, c := range b {
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, `"}`...)
}

// readable reports whether bytes are better shown as text.
func readable(b []byte) bool {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r' {
			return false
		}
		i += size
	}
	return true
}

func appendDecimal(dst []byte, d banana.Decimal) []byte {
	dst = append(dst, `{"`+markDecimal+`":`...)
	return append(appendString(dst, string(d)), '}')
}
