package banana

import (
	"errors"
	"fmt"
	"strings"
)

// A Violation is an objection to one message. The rest of the message can be
// skipped, the peer be told, and the connection lives.
type Violation struct {
	// Path says where in the value, from the outside in: "argument
	// \"items\"", "[3]", "key", "[\"name\"]".
	Path []string
	// Reason says what was expected and what arrived.
	Reason string
	// Err is the cause, or nil: a *LimitError, ErrAborted, a taster's error.
	Err error
}

func (v *Violation) Error() string {
	if len(v.Path) == 0 {
		return reasonText(v.Reason, v.Err)
	}
	return strings.Join(v.Path, "") + ": " + reasonText(v.Reason, v.Err)
}

func reasonText(reason string, err error) string {
	switch {
	case err == nil:
		return reason
	case reason == "":
		return err.Error()
	}
	return reason + ": " + err.Error()
}

func (v *Violation) Unwrap() error { return v.Err }

// maxPath bounds what a path can cost: deeper levels are left out.
const maxPath = 16

// At says where a Violation happened: it puts where in front of the path of a
// *Violation and returns every other error as it is.
func At(err error, where string) error {
	var v *Violation
	if !errors.As(err, &v) {
		return err
	}
	v.Path = within(v.Path, where)
	return err
}

// within puts where in front of path.
func within(path []string, where string) []string {
	if len(path) < maxPath {
		return append([]string{where}, path...)
	}
	copy(path[1:], path[:maxPath-2])
	path[0], path[maxPath-1] = where, "…"
	return path
}

func violation(format string, args ...any) error {
	return &Violation{Reason: fmt.Sprintf(format, args...)}
}

func mismatch(want, got string) error {
	return &Violation{Reason: "expected " + want + ", got " + got}
}

// ErrAborted is the cause of a Violation when the sender gave its message up.
var ErrAborted = errors.New("the sender aborted this message")

// A ProtocolError means that the stream cannot be trusted any more; the
// connection has to be closed.
type ProtocolError struct {
	Reason string
	// Raw holds the first bytes of what should have been a token header,
	// when that is what was wrong: a peer that refuses late sends text.
	Raw []byte
}

func (e *ProtocolError) Error() string { return "banana: " + e.Reason }

func protocolError(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// A RemoteError is the text of an ERROR token: the peer gives up on us. The
// text has at most MaxErrorText bytes.
type RemoteError struct{ Text string }

func (e *RemoteError) Error() string { return fmt.Sprintf("banana: the peer reports: %q", e.Text) }

// A LimitError says which limit something would have exceeded, by the name of
// the option that sets it.
type LimitError struct {
	Limit string
	Max   int64
	// Asked is what was asked for, as far as it is known.
	Asked int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit %s is %d, this would need %d", e.Limit, e.Max, e.Asked)
}

// An EncodeError says why a value cannot be sent, and where in it. Nothing of
// its message has been written.
type EncodeError struct {
	Path   []string
	Reason string
	Err    error
}

func (e *EncodeError) Error() string {
	if len(e.Path) == 0 {
		return "cannot encode: " + reasonText(e.Reason, e.Err)
	}
	return "cannot encode " + strings.Join(e.Path, "") + ": " + reasonText(e.Reason, e.Err)
}

func (e *EncodeError) Unwrap() error { return e.Err }

func cannotEncode(format string, args ...any) error {
	return &EncodeError{Reason: fmt.Sprintf(format, args...)}
}

func encodeAt(err error, where string) error {
	if e, ok := err.(*EncodeError); ok {
		e.Path = within(e.Path, where)
	}
	return err
}
