package banana

import (
	"fmt"
	"math"
	"math/big"
	"unicode/utf8"
)

// Type is the type byte that ends the header of a token.
type Type byte

// The tokens of docs/protocol.md §7. 0x80 (an old list), 0x8b, 0x8c and
// everything from 0x90 on are invalid.
const (
	TypeInt     Type = 0x81
	TypeString  Type = 0x82
	TypeNeg     Type = 0x83
	TypeFloat   Type = 0x84
	TypeLongInt Type = 0x85
	TypeLongNeg Type = 0x86
	TypeVocab   Type = 0x87
	TypeOpen    Type = 0x88
	TypeClose   Type = 0x89
	TypeAbort   Type = 0x8a
	TypeError   Type = 0x8d
	TypePing    Type = 0x8e
	TypePong    Type = 0x8f
)

const (
	// maxHeader is the number of header bytes that every peer accepts.
	maxHeader = 64
	// MaxErrorText is the longest text of an ERROR token, in bytes.
	MaxErrorText = 1000
	// maxOpenType is the longest first index token, in bytes, when it is
	// sent as a STRING; no known sequence has a longer name.
	maxOpenType = 15
)

func (t Type) String() string {
	switch t {
	case TypeInt:
		return "INT"
	case TypeString:
		return "STRING"
	case TypeNeg:
		return "NEG"
	case TypeFloat:
		return "FLOAT"
	case TypeLongInt:
		return "LONGINT"
	case TypeLongNeg:
		return "LONGNEG"
	case TypeVocab:
		return "VOCAB"
	case TypeOpen:
		return "OPEN"
	case TypeClose:
		return "CLOSE"
	case TypeAbort:
		return "ABORT"
	case TypeError:
		return "ERROR"
	case TypePing:
		return "PING"
	case TypePong:
		return "PONG"
	}
	return fmt.Sprintf("token type %#02x", byte(t))
}

// hasBody reports whether the header is the length of a body that follows.
func (t Type) hasBody() bool {
	switch t {
	case TypeString, TypeLongInt, TypeLongNeg, TypeError:
		return true
	}
	return false
}

// A Token is the header of one token as it was read.
type Token struct {
	Type Type
	// Wide says that the header of an INT, NEG, PING or PONG did not fit N.
	Wide bool
	// N is the header: the value of INT and VOCAB, the absolute value of
	// NEG, the body's length of STRING, LONGINT, LONGNEG and ERROR, the
	// number of the others.
	N uint64
}

func (t Token) String() string {
	switch {
	case t.Wide:
		return t.Type.String() + "(more than 64 bits)"
	case t.Type == TypeFloat:
		return t.Type.String()
	}
	return fmt.Sprintf("%s(%d)", t.Type, t.N)
}

// appendHeader appends n in little-endian base 128, at least one byte.
func appendHeader(dst []byte, n uint64) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n&0x7f))
		n >>= 7
	}
	return append(dst, byte(n))
}

// AppendToken appends a token that has no body.
func AppendToken(dst []byte, t Type, n uint64) []byte {
	return append(appendHeader(dst, n), byte(t))
}

// AppendInt appends an integer of any size that fits int64, in the form that
// Python's senders choose.
func AppendInt(dst []byte, v int64) []byte {
	switch {
	case v >= 0 && v <= math.MaxInt32:
		return AppendToken(dst, TypeInt, uint64(v))
	case v < 0 && v >= math.MinInt32:
		return AppendToken(dst, TypeNeg, uint64(-v))
	case v >= 0:
		return appendMagnitude(dst, TypeLongInt, uint64(v))
	}
	return appendMagnitude(dst, TypeLongNeg, uint64(-v))
}

func appendUint(dst []byte, v uint64) []byte {
	if v <= math.MaxInt32 {
		return AppendToken(dst, TypeInt, v)
	}
	return appendMagnitude(dst, TypeLongInt, v)
}

func appendMagnitude(dst []byte, t Type, v uint64) []byte {
	n := 8
	for n > 1 && v>>(8*(n-1)) == 0 {
		n--
	}
	dst = AppendToken(dst, t, uint64(n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

func appendBig(dst []byte, v *big.Int) []byte {
	if v.IsInt64() {
		return AppendInt(dst, v.Int64())
	}
	t := TypeLongInt
	if v.Sign() < 0 {
		t = TypeLongNeg
	}
	n := (v.BitLen() + 7) / 8
	dst = AppendToken(dst, t, uint64(n))
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	v.FillBytes(dst[at:])
	return dst
}

func appendFloat(dst []byte, v float64) []byte {
	bits := math.Float64bits(v)
	dst = append(dst, byte(TypeFloat))
	for i := 56; i >= 0; i -= 8 {
		dst = append(dst, byte(bits>>i))
	}
	return dst
}

// AppendString appends a STRING token.
func AppendString(dst []byte, s string) []byte {
	dst = AppendToken(dst, TypeString, uint64(len(s)))
	return append(dst, s...)
}

// AppendError appends an ERROR token, after which the sender closes the
// connection. The text is cut to MaxErrorText bytes.
func AppendError(dst []byte, text string) []byte {
	text = CutText(text, MaxErrorText)
	dst = AppendToken(dst, TypeError, uint64(len(text)))
	return append(dst, text...)
}

// AppendPing and AppendPong take the header bytes as they are: a PONG repeats
// the number of its PING, however long; Foolscap's own PINGs have none.
func AppendPing(dst, number []byte) []byte {
	return append(append(dst, number...), byte(TypePing))
}

// AppendPong appends the answer to a PING with the same number.
func AppendPong(dst, number []byte) []byte {
	return append(append(dst, number...), byte(TypePong))
}

// CutText returns the longest prefix of s that has at most max bytes and does
// not end within a UTF-8 sequence (if s is UTF-8).
func CutText(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for cut := max; cut >= 0 && cut > max-utf8.UTFMax; cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut]
		}
	}
	return s[:max] // not UTF-8
}

// AppendWord appends a byte string, as a VOCAB token when it is a word of the
// vocabulary table.
func AppendWord(dst []byte, vocab int, w string) []byte {
	if vocab == 1 {
		if i, ok := vocab1Index[w]; ok {
			return append(dst, i, byte(TypeVocab))
		}
	}
	return AppendString(dst, w)
}
