package banana

import "slices"

// A Taster watches one value while it arrives, before anything of it is built
// or allocated, and can object to it: a constraint. An error of a Taster is a
// Violation of the message (wrapped as one when it is another error).
//
// A Taster sees the tokens of one level. Open returns the Taster of the level
// that begins; a nil Taster has no objections. The methods are called from
// one goroutine, in the order of the wire.
//
// PING, PONG, ABORT and ERROR never reach a Taster.
type Taster interface {
	// Token sees the header of every token that is not an OPEN or CLOSE,
	// before its body is read or a byte allocated for it. A VOCAB has been
	// resolved: it is shown as a STRING with the length of its word.
	Token(Token) error
	// Body sees the whole body of a STRING, after Token has let it pass and
	// before a value is made of it; and the magnitude of an integer, most
	// significant byte first, when its Token does not show it: of a LONGINT,
	// a LONGNEG, or one that is Wide. It must not keep or change b.
	Body(b []byte) error
	// Open sees the start of a sequence, once its type is known.
	Open(opentype string) (Taster, error)
	// Value sees what the tokens of its level do not show: the value that a
	// "reference" stands for, or what External has made of a sequence. It is
	// called on the Taster that Open has returned for it, before Close.
	//
	// A value is shown in its generic form, whatever the target. What is
	// within it can lead back to something that the reference itself is
	// within: that is still growing, and what it will be nobody knows. Growing
	// reports whether a value is. It is true of v when the reference is
	// directly to such a value, which may then be of any type: a tuple that
	// is not complete has no form yet. Growing is valid during the call.
	Value(v any, growing func(v any) bool) error
	// Close sees the end of its level.
	Close() error
}

// objection makes a Violation of a taster's error.
func objection(err error) error {
	if err == nil {
		return nil
	}
	if v, ok := err.(*Violation); ok {
		// A Taster may object with the same value each time; the path is
		// this message's.
		own := *v
		own.Path = slices.Clone(v.Path)
		return &own
	}
	return &Violation{Err: err}
}
