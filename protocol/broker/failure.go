package broker

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A Failure is what a remote method failed with, as the remote side describes
// it. Its texts come from the peer.
type Failure struct {
	// Type is the dotted name of the exception's class, for example
	// "builtins.ValueError".
	Type string
	// Text is str(exception).
	Text string
	// Traceback is what the remote side tells of where it happened; often
	// only that it does not tell. It is empty unless this side wants to know.
	Traceback string
	// Parents are the names of the class and its base classes.
	Parents []string
}

func (f *Failure) Error() string { return f.Type + ": " + f.Text }

// IsType reports whether the remote exception is of the class with that name, or
// of one derived from it. [RemoteType] is the same for errors.Is.
func (f *Failure) IsType(name string) bool {
	if f.Type == name {
		return true
	}
	for _, p := range f.Parents {
		if p == name {
			return true
		}
	}
	return false
}

// RemoteException is the type of all remote failures for those who do not want
// to know more: Foolscap's class for that.
const RemoteException = "foolscap.tokens.RemoteException"

// hideType leaves the type to those who read the text.
func (f *Failure) hideType() {
	f.Text = f.Error()
	f.Type, f.Parents = RemoteException, []string{RemoteException, "builtins.Exception"}
}

// Sent says what became of a call that failed.
type Sent int

const (
	// NotSent: nothing of the call has reached the network.
	NotSent Sent = iota
	// MayHaveRun: at least a part of it was sent, and no answer came.
	MayHaveRun
	// Answered: the remote side has answered; it ran, or was refused there.
	Answered
)

func (s Sent) String() string {
	switch s {
	case NotSent:
		return "not sent"
	case MayHaveRun:
		return "may have run"
	}
	return "answered"
}

// A CallError is the error of a remote call. Err tells the cause: a *Failure
// of the remote side, a *banana.EncodeError or *banana.Violation, a context's
// error, ErrDeadReference with the reason.
type CallError struct {
	Peer   furl.TubID
	Method string
	Sent   Sent
	Err    error
}

func (e *CallError) Error() string {
	where := e.Method
	if where == "" {
		where = "call"
	}
	switch e.Sent {
	case NotSent:
		return fmt.Sprintf("%s at Tub %s (not sent): %v", where, e.Peer.Short(), e.Err)
	case MayHaveRun:
		return fmt.Sprintf("%s at Tub %s (may have run): %v", where, e.Peer.Short(), e.Err)
	}
	return fmt.Sprintf("%s at Tub %s: %v", where, e.Peer.Short(), e.Err)
}

func (e *CallError) Unwrap() error { return e.Err }

// Errors of calls and connections.
var (
	// ErrDeadReference: the connection that the reference lives on is gone.
	// Resolve the FURL again.
	ErrDeadReference = errors.New("the connection of this reference is gone")
	// ErrClosedReference: Close was called on the reference.
	ErrClosedReference = errors.New("this reference was closed")
	// ErrClosed: the connection was closed on this side.
	ErrClosed = errors.New("the connection was closed here")
	// ErrLost: the peer or the network ended the connection.
	ErrLost = errors.New("the connection was lost")
	// ErrSilent: nothing came from the peer for the disconnect timeout.
	ErrSilent = errors.New("the peer was silent for too long")
	// ErrReplaced: a newer connection to the same Tub took the place of
	// this one.
	ErrReplaced = errors.New("a newer connection to the same Tub has replaced this one")
	// ErrOverflow: the peer asks for answers and does not read them. The
	// *banana.LimitError that comes with it says what waits for it.
	ErrOverflow = errors.New("the peer does not read what it asks for")
	// ErrBusy: too many calls of this peer are in progress.
	ErrBusy = Raise("foolscap.go.Busy", errors.New("too many calls in progress on this connection"), violationType)
	// ErrShutdown: this side is shutting down and takes no new calls.
	ErrShutdown = Raise("foolscap.go.Shutdown", errors.New("this Tub is shutting down"), violationType)
	// ErrNoFURL: a reference to an object of a third Tub was to be handed on, and
	// nobody knows how others can reach it.
	ErrNoFURL = errors.New("a reference without a FURL cannot be handed on: its Tub listens nowhere, so nobody else can reach the object")
	// ErrBoundMethod: a reference to a bound method of a Python object cannot
	// be sent home, because Foolscap drops the connection when that arrives.
	ErrBoundMethod = errors.New("a reference to a bound method cannot be sent back to its owner: send the object instead")
	// ErrIntroduction: an introduction arrived, and this Tub refuses it.
	ErrIntroduction = errors.New("introductions are not accepted here")
	// ErrRevoked: the object only forwarded calls to another one, and does so
	// no more. The Failure of a remote one is ErrRevoked too.
	ErrRevoked = Raise("foolscap.go.Revoked", errors.New("the right to call this object was revoked"))
	// ErrUnknownName: no object has that name.
	ErrUnknownName = errors.New("there is no object of that name")
)

// deadError is ErrDeadReference with what ended the connection.
type deadError struct{ cause error }

func (e *deadError) Error() string   { return ErrDeadReference.Error() + ": " + e.cause.Error() }
func (e *deadError) Unwrap() []error { return []error{ErrDeadReference, e.cause} }

// What Python's receivers take of a Failure, in bytes.
const (
	maxFailureType      = 200
	maxFailureValue     = 1000
	maxFailureTraceback = 2000
	maxFailureParents   = 20
)

// lenient is how much longer than those the texts may be that we take:
// Foolscap's senders count characters, not bytes.
const lenient = 8

const (
	failureClass = "twisted.python.failure.Failure"
	noTraceback  = "Traceback unavailable\n"
)

// errMethodEnded is the error of a call whose method has ended its goroutine.
var errMethodEnded = errors.New("the method did not return")

// errInterceptorEnded is the error of a call whose interceptor has ended its
// goroutine, with runtime.Goexit.
var errInterceptorEnded = errors.New("the interceptor did not return")

// panicError is what a method that panicked returns.
type panicError struct {
	value any
	stack []byte
}

// Panicked marks it for Config.Discreet.
func (e *panicError) Panicked() bool { return true }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// sound returns an error that can be asked what it is: err, or what stands for one
// that panics then. Often that is a nil pointer that has become an error.
func sound(err error) (told error) {
	defer func() {
		if recover() != nil {
			told = unsound(fmt.Sprintf("an error of type %T that cannot be described", err))
		}
	}()
	var none unsound
	_, _, _ = err.Error(), errors.Is(err, errMethodEnded), errors.As(err, &none)
	return err
}

type unsound string

func (e unsound) Error() string { return string(e) }

// RemoteType returns its name on the wire.
func (unsound) RemoteType() (string, []string) { return "builtins.RuntimeError", nil }

// failureOf describes an error of ours to a peer.
func failureOf(err error) (f Failure) {
	defer func() {
		// Often a nil pointer that has become an error.
		if r := recover(); r != nil {
			f.Type = "builtins.RuntimeError"
			f.Parents = []string{f.Type, "builtins.Exception"}
			f.Text = fmt.Sprintf("an error of type %T that cannot be described", err)
		}
	}()
	f.Text = err.Error()
	var typed TypedError
	var violation *banana.Violation
	var encoding *banana.EncodeError
	var remote *Failure
	switch {
	case errors.As(err, &typed):
		f.Type, f.Parents = typed.RemoteType()
	case errors.As(err, &remote): // passed on
		f = *remote
	case errors.As(err, &violation), errors.As(err, &encoding):
		f.Type = string(violationType)
	case errors.Is(err, ErrUnknownName):
		f.Type, f.Parents = "builtins.KeyError", []string{"builtins.KeyError", "builtins.LookupError", "builtins.Exception"}
	default:
		f.Type = strings.TrimLeft(reflect.TypeOf(err).String(), "*")
	}
	if len(f.Parents) == 0 {
		f.Parents = []string{f.Type, "builtins.Exception"}
	}
	var p *panicError
	if errors.As(err, &p) {
		f.Traceback = string(p.stack)
	}
	return f
}

// noMethod is the error of a call to a method that an object does not have.
type noMethod struct{ name string }

func (e *noMethod) Error() string { return fmt.Sprintf("the object has no method %.40q", e.name) }
func (e *noMethod) RemoteType() (string, []string) {
	return "builtins.AttributeError", []string{"builtins.AttributeError", "builtins.Exception"}
}

// failureState is a Failure as it travels.
type failureState struct {
	Type, Value, Traceback []byte
	Parents                [][]byte
}

// CopyFailures is how a Failure travels by copy, as an error and as a value
// beside others. sends lets tracebacks go out, keeps lets those that come in
// stay in [Failure.Traceback]; otherwise it is empty.
func CopyFailures(sends, keeps bool) banana.Copy {
	encode := func(f Failure) (failureState, error) {
		if !sends || f.Traceback == "" {
			f.Traceback = noTraceback
		}
		s := failureState{
			Type:      fitting(f.Type, maxFailureType),
			Value:     fitting(f.Text, maxFailureValue),
			Traceback: fitting(f.Traceback, maxFailureTraceback),
		}
		for _, p := range f.Parents[:min(len(f.Parents), maxFailureParents)] {
			s.Parents = append(s.Parents, fitting(p, maxFailureType))
		}
		return s, nil
	}
	decode := func(s failureState) (f Failure, err error) {
		if len(s.Parents) > 100 {
			return f, &banana.Violation{Path: []string{".parents"}, Reason: "more than 100 parents"}
		}
		text := func(name string, b []byte, max int) string {
			if len(b) > lenient*max && err == nil {
				err = &banana.Violation{Path: []string{name}, Reason: fmt.Sprintf("%d bytes, at most %d are taken", len(b), lenient*max)}
			}
			return strings.ToValidUTF8(string(b), "\uFFFD")
		}
		f.Type, f.Text = text(".type", s.Type, maxFailureType), text(".value", s.Value, maxFailureValue)
		if t := text(".traceback", s.Traceback, maxFailureTraceback); keeps {
			f.Traceback = t
		}
		for _, p := range s.Parents {
			f.Parents = append(f.Parents, text(".parents", p, maxFailureType))
		}
		return f, err
	}
	return banana.CopyAs(failureClass, encode, decode).Unshared()
}

// fitting is a text of a failure as Python takes it.
func fitting(s string, max int) []byte {
	return []byte(banana.CutText(strings.ToValidUTF8(s, "\uFFFD"), max))
}

// failuresAlone is for a Config without Copies.
var failuresAlone, failureCodec = func() (*banana.Copies, *banana.Codec) {
	copies, err := banana.NewCopies(CopyFailures(false, true))
	if err != nil {
		panic(err)
	}
	codec, _ := banana.CodecOf(reflect.TypeFor[Failure]())
	return copies, codec
}()

// readFailure reads the payload of an error sequence.
func readFailure(d *banana.Decoder) (*Failure, error) {
	f := new(Failure)
	return f, failureCodec.Decode(d, reflect.ValueOf(f).Elem(), nil)
}

// withoutSecret returns the error of a look-up without the name, which the peer
// may have put wherever it can put a text.
func withoutSecret(err error, name string) error {
	f, ok := err.(*Failure)
	if !ok {
		limit, limited := errors.AsType[*banana.LimitError](err)
		switch {
		case limited:
			return &banana.Violation{Err: limit}
		case errors.Is(err, banana.ErrAborted):
			return &banana.Violation{Err: banana.ErrAborted}
		}
		return &banana.Violation{Reason: "the answer to the look-up is neither a reference nor an error"}
	}
	f.scrub(name)
	return f
}

// scrub takes a name out of all texts of a failure.
func (f *Failure) scrub(name string) {
	f.Type, f.Text, f.Traceback = scrub(f.Type, name), scrub(f.Text, name), scrub(f.Traceback, name)
	for i, p := range f.Parents {
		f.Parents[i] = scrub(p, name)
	}
}

// unusual tells the runes that have other notations: a text without any of them,
// the name of a class for example, holds a name with one of them in none.
func unusual(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '.' && r != '_'
}

// scrub takes a name out of a text. What may contain a part of it, or the name
// in another notation, is left out as a whole.
func scrub(text, name string) string {
	const part = 8 // bytes of it that may be known
	if strings.ContainsFunc(name, unusual) && strings.ContainsFunc(text, unusual) {
		return "…"
	}
	text = strings.ReplaceAll(text, name, "…")
	for i := range len(name) - part + 1 {
		if strings.Contains(text, name[i:i+part]) {
			return "…"
		}
	}
	return text
}
