package furl

import (
	"crypto/sha1"
	"encoding/base32"
	"fmt"
)

// tubIDLength is what the 160 bits of a SHA-1 digest take in base32.
const tubIDLength = 32

// base32Lower is the alphabet of TubIDs and of the names that we invent.
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// TubID identifies a Tub by its certificate: 32 characters of [a-z2-7]. The
// zero value "" means no TubID. TubIDs are compared with ==, and ordered as
// strings where the protocol asks for an order.
//
// A TubID is no secret.
type TubID string

// TubIDOf returns the TubID of the certificate whose DER encoding is der: its
// SHA-1 digest in lower-case base32.
//
// The hash is part of the wire protocol. Taking over an identity needs a second
// preimage of its certificate, not a mere collision.
func TubIDOf(der []byte) TubID {
	sum := sha1.Sum(der)
	return TubID(base32Lower.EncodeToString(sum[:]))
}

// ParseTubID reads the TubID at the start of s. Only the first 32 characters
// count. What follows them, an extension of a later protocol version, is
// checked to be printable ASCII without '@' and '/' and then dropped; a caller
// for whom there may be no extension asks TubID(s).Valid() instead.
//
// The error is a *ParseError.
func ParseTubID(s string) (TubID, error) {
	if len(s) > MaxLength {
		return "", exceeds(PartTubID, len(s), MaxLength, "bytes")
	}
	if len(s) < tubIDLength {
		return "", invalid(PartTubID, fmt.Sprintf("has %d characters, needs %d", len(s), tubIDLength))
	}
	for i := range tubIDLength {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '2' <= c && c <= '7':
		case 'A' <= c && c <= 'Z':
			return "", invalid(PartTubID, "has upper-case letters; TubIDs are lower case, and a Tub is not found under another spelling")
		default:
			return "", invalid(PartTubID, "its first 32 characters must be of a-z and 2-7")
		}
	}
	for i := tubIDLength; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '@' || c == '/' {
			return "", invalid(PartTubID, "what follows its 32 characters must be printable ASCII without '@', '/' and spaces")
		}
	}
	return TubID(s[:tubIDLength]), nil
}

// Valid reports whether id is a whole TubID and nothing else.
func (id TubID) Valid() bool {
	if len(id) != tubIDLength {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || 'z' < c) && (c < '2' || '7' < c) {
			return false
		}
	}
	return true
}

// String returns the whole TubID.
func (id TubID) String() string { return string(id) }

// Short returns the first 8 characters, for logs. They tell Tubs apart for a
// reader; they authenticate nothing.
func (id TubID) Short() string {
	if len(id) <= 8 {
		return string(id)
	}
	return string(id[:8])
}
