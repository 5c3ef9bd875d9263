package broker

import "slices"

// A RemoteType is the dotted name of an exception's class, as an error that
// errors.Is compares with: it is every [Failure] of the class or of one
// derived from it, and every error that [Raise] has made for it.
//
//	if errors.Is(err, tub.RemoteType("builtins.KeyError")) {
type RemoteType string

// Error returns the name.
func (t RemoteType) Error() string { return string(t) }

// Is reports whether target is a [RemoteType] that the failure is of, or an error
// that Raise has made of the class of the failure.
func (f *Failure) Is(target error) bool {
	switch t := target.(type) {
	case RemoteType:
		return f.IsType(string(t))
	case *raised:
		return f.IsType(string(t.types[0]))
	}
	return false
}

// violationType is the class of what is refused before it runs.
const violationType RemoteType = "foolscap.tokens.Violation"

// A TypedError chooses what remote callers see of an error that a method
// returns; other errors go by the name of their Go type. [Raise] makes one.
type TypedError interface {
	error
	// RemoteType returns the dotted name of the class, and of its parents,
	// with the class itself as the first.
	RemoteType() (name string, parents []string)
}

// Raise returns err as an error that remote callers see as an exception of the
// class kind. The parents are its base classes, the nearest one first;
// "builtins.Exception" is always the last of them. Without an err there is
// nothing to raise: then Raise returns nil.
func Raise(kind RemoteType, err error, parents ...RemoteType) error {
	if err == nil {
		return nil
	}
	return &raised{err, append([]RemoteType{kind}, parents...)}
}

// raised is an error with the classes that it is of.
type raised struct {
	error
	types []RemoteType
}

func (r *raised) Unwrap() error { return r.error }

func (r *raised) Is(target error) bool {
	t, ok := target.(RemoteType)
	return ok && (slices.Contains(r.types, t) || t == anyException)
}

// anyException is what every exception derives from.
const anyException RemoteType = "builtins.Exception"

func (r *raised) RemoteType() (string, []string) {
	var names []string
	for _, t := range append(slices.Clone(r.types), anyException) {
		if !slices.Contains(names, string(t)) {
			names = append(names, string(t))
		}
	}
	return names[0], names
}
