package furl

import (
	"errors"
	"fmt"
)

// Limits on what is parsed. They are far above what anyone publishes and small
// enough that a FURL from a stranger costs nothing worth mentioning. Lengths
// are in bytes.
const (
	MaxLength     = 8192 // a whole FURL
	MaxHints      = 64   // the hints of one FURL
	MaxHintLength = 1024 // one hint
	MaxNameLength = 1024 // the name (swissnum)
)

var (
	// ErrInvalid matches every error of this package: the text is no FURL,
	// TubID, hint or name. The remedy is always to get the text again from
	// where it came.
	ErrInvalid = errors.New("not well formed")

	// ErrTooLarge matches the errors about the limits of this package. What
	// it matches, ErrInvalid matches too.
	ErrTooLarge error = tooLarge{}
)

type tooLarge struct{}

func (tooLarge) Error() string        { return "larger than this implementation accepts" }
func (tooLarge) Is(target error) bool { return target == ErrInvalid }

// Part names the part of a FURL that an error is about.
type Part string

// The parts of a FURL.
const (
	PartFURL  Part = "FURL" // its overall shape: the prefix, the separators, the length
	PartTubID Part = "TubID"
	PartHint  Part = "hint"
	PartName  Part = "name"
)

// ParseError says which part of a text was refused and why. It never holds any
// of the text itself, since a misplaced secret can stand in every part.
type ParseError struct {
	Part   Part
	Index  int    // for a hint within a FURL its number, from 1; otherwise 0
	Reason string // what is wrong and what was expected, for humans
	Err    error  // ErrInvalid or ErrTooLarge
}

func (e *ParseError) Error() string {
	if e.Index > 0 {
		return fmt.Sprintf("furl: invalid %s (number %d): %s", e.Part, e.Index, e.Reason)
	}
	return fmt.Sprintf("furl: invalid %s: %s", e.Part, e.Reason)
}

// Unwrap returns Err, so that errors.Is finds ErrInvalid and ErrTooLarge.
func (e *ParseError) Unwrap() error { return e.Err }

func invalid(part Part, reason string) *ParseError {
	return &ParseError{Part: part, Reason: reason, Err: ErrInvalid}
}

func exceeds(part Part, have, limit int, unit string) *ParseError {
	return &ParseError{
		Part:   part,
		Reason: fmt.Sprintf("has %d %s, at most %d are accepted", have, unit, limit),
		Err:    ErrTooLarge,
	}
}
