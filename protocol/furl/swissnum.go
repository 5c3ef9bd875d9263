package furl

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// redacted stands where a secret was left out.
const redacted = "[redacted]"

// swissnumBytes is the entropy of an invented name: 160 bits.
const swissnumBytes = 20

// Swissnum is the last part of a FURL: the name under which a Tub knows an
// object. It is the secret that makes a FURL a capability, so all ways of
// printing, logging and marshalling it give a redacted form; Reveal alone gives
// the text. Where methods are not called, as when fmt prints an unexported
// field, at most an address is shown.
//
// Swissnums are compared with Equal, and cannot be keys of a map. The zero value
// means no name.
type Swissnum struct {
	// Printers, encoders and the dumps of test libraries read unexported
	// fields and follow pointers; none of them looks into a closure.
	reveal func() string
}

func seal(text string) Swissnum {
	text = strings.Clone(text) // it may be part of a long FURL
	return Swissnum{func() string { return text }}
}

// NewSwissnum invents an unguessable name: 160 bits from crypto/rand as 32
// characters of lower-case base32.
func NewSwissnum() Swissnum {
	var b [swissnumBytes]byte
	rand.Read(b[:]) // never fails: the process ends if the system has no randomness
	return seal(base32Lower.EncodeToString(b[:]))
}

// ParseSwissnum checks that s can be a name in a FURL: not empty, at most
// MaxNameLength bytes of UTF-8, only printable characters, no space at either
// end. Names may contain '/', '@' and '?'.
//
// The redacted form that the methods of this package print is refused, since it
// comes from a log and would only fail later, at the remote Tub.
//
// The error is a *ParseError and tells nothing about s but its length.
func ParseSwissnum(s string) (Swissnum, error) {
	switch {
	case s == "":
		return Swissnum{}, invalid(PartName, "is empty")
	case len(s) > MaxNameLength:
		return Swissnum{}, exceeds(PartName, len(s), MaxNameLength, "bytes")
	case s == redacted:
		return Swissnum{}, invalid(PartName, "was left out when this was printed or logged; get the FURL from where it was published")
	case !printable(s):
		return Swissnum{}, invalid(PartName, "must be UTF-8 without line ends and other characters that do not print")
	case s[0] == ' ' || s[len(s)-1] == ' ':
		return Swissnum{}, invalid(PartName, "begins or ends with a space")
	}
	return seal(s), nil
}

// Reveal returns the secret itself, or "" for the zero value.
func (n Swissnum) Reveal() string {
	if n.IsZero() {
		return ""
	}
	return n.reveal()
}

// Equal reports whether n and m are the same name.
func (n Swissnum) Equal(m Swissnum) bool { return n.Reveal() == m.Reveal() }

// IsZero reports whether n is no name.
func (n Swissnum) IsZero() bool { return n.reveal == nil }

// String returns "[redacted]", or "" for the zero value.
func (n Swissnum) String() string {
	if n.IsZero() {
		return ""
	}
	return redacted
}

// GoString returns what String returns.
func (n Swissnum) GoString() string { return n.String() }

// Format prints what String returns, for every verb.
func (n Swissnum) Format(f fmt.State, verb rune) { formatAs(f, verb, n.String()) }

// LogValue gives slog what String returns.
func (n Swissnum) LogValue() slog.Value { return slog.StringValue(n.String()) }

// MarshalText returns what String returns. There is no way back: to store or
// send a name, call Reveal. encoding/gob, which does not use this method, refuses
// Swissnums and FURLs.
func (n Swissnum) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// formatAs formats the harmless text s under the verb and the flags with which
// the secret was to be printed.
func formatAs(f fmt.State, verb rune, s string) { fmt.Fprintf(f, fmt.FormatString(f, verb), s) }

// printable reports whether s is UTF-8 and would show as itself on a terminal:
// no control characters, no line ends, nothing invisible or that reorders text.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
