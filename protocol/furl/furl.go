package furl

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

const scheme = "pb://"

// FURL is the address of a remote object: the Tub that has it, hints where that
// Tub may be found, and the object's secret name. A FURL without hints is legal;
// it can be reached only over a connection that is already there.
//
// All ways of printing, logging and marshalling a FURL leave the name out;
// Reveal alone gives the whole text.
type FURL struct {
	TubID TubID
	Hints []Hint // in the order of preference of whoever wrote the FURL
	Name  Swissnum
}

// Parse reads a FURL. It is stricter than Python's parser; see the package
// documentation. An extension behind the TubID is dropped, so Reveal of the
// result gives s back except for that.
//
// The error is a *ParseError and contains nothing of s.
func Parse(s string) (FURL, error) {
	if len(s) > MaxLength {
		return FURL{}, exceeds(PartFURL, len(s), MaxLength, "bytes")
	}
	rest, found := strings.CutPrefix(s, scheme)
	if !found {
		return FURL{}, invalid(PartFURL, `does not begin with "pb://"`)
	}
	id, rest, found := strings.Cut(rest, "@")
	if !found {
		return FURL{}, invalid(PartFURL, "has no '@' behind the TubID")
	}
	hints, name, found := strings.Cut(rest, "/")
	if !found {
		return FURL{}, invalid(PartFURL, "has no '/' between its hints and its name")
	}
	var f FURL
	var err error
	if f.TubID, err = ParseTubID(id); err != nil {
		return FURL{}, err
	}
	if f.Hints, err = parseHints(hints); err != nil {
		return FURL{}, err
	}
	if f.Name, err = ParseSwissnum(name); err != nil {
		return FURL{}, err
	}
	return f, nil
}

// parseHints reads a comma-separated list, which is empty if s is.
func parseHints(s string) ([]Hint, error) {
	if s == "" {
		return nil, nil
	}
	count := strings.Count(s, ",") + 1
	if count > MaxHints {
		return nil, exceeds(PartFURL, count, MaxHints, "hints")
	}
	hints := make([]Hint, 0, count)
	for text := range strings.SplitSeq(s, ",") {
		hint, err := ParseHint(text)
		if err != nil {
			parseErr := *err.(*ParseError)
			parseErr.Index = len(hints) + 1
			return nil, &parseErr
		}
		hints = append(hints, hint)
	}
	return hints, nil
}

// Reveal returns the whole text, with the secret name. It does not check the
// parts: a FURL that was put together by hand from invalid ones gives a text
// that Parse refuses.
func (f FURL) Reveal() string { return f.format(f.Name.Reveal()) }

// String returns the FURL with "[redacted]" in the place of its name. Parse
// refuses that form.
func (f FURL) String() string { return f.format(f.Name.String()) }

// GoString returns what String returns.
func (f FURL) GoString() string { return f.String() }

// Format prints what String returns, for every verb.
func (f FURL) Format(s fmt.State, verb rune) { formatAs(s, verb, f.String()) }

// LogValue gives slog what String returns.
func (f FURL) LogValue() slog.Value { return slog.StringValue(f.String()) }

// MarshalText returns what String returns. There is no way back: to store or
// send a FURL, call Reveal.
func (f FURL) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Equal reports whether f and g have the same TubID, the same name and the same
// hints in the same order.
func (f FURL) Equal(g FURL) bool {
	return f.TubID == g.TubID && f.Name.Equal(g.Name) && slices.Equal(f.Hints, g.Hints)
}

// WithHints returns f with a copy of hints in place of its own.
func (f FURL) WithHints(hints ...Hint) FURL {
	f.Hints = slices.Clone(hints)
	return f
}

func (f FURL) format(name string) string {
	var b strings.Builder
	b.WriteString(scheme)
	b.WriteString(string(f.TubID))
	b.WriteByte('@')
	for i, hint := range f.Hints {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(hint))
	}
	b.WriteByte('/')
	b.WriteString(name)
	return b.String()
}
