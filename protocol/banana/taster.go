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
	// before a value is made of it. It must not keep or change b.
	Body(b []byte) error
	// Open sees the start of a sequence, once its type is known.
	Open(opentype string) (Taster, error)
	// Value sees what the tokens of its level do not show: the value that a
	// "reference" stands for, or what External has made of a sequence. It is
	// called on the Taster that Open has returned for it, before Close.
	//
	// A value is shown in its generic form, whatever the target. It may still
	// be growing, when the reference is within it. There are two cycles of
	// which nothing can be shown: one by way of a tuple, whose reference ends
	// without a Value, and one back to a typed pointer or map, which is shown
	// as it is.
	Value(v any) error
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
