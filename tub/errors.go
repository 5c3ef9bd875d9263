package tub

import (
	"fmt"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

type (
	// A CallError is the error of every remote call that fails: the Peer, the
	// Method, what became of it (Sent), and the cause (Err).
	CallError = broker.CallError
	// A Failure is what a remote method failed with, in the words of the peer: the
	// Type, Parents and Text of the exception, and its Traceback if
	// [Options.TracesFromPeers] is set. IsType compares the Type and the Parents.
	Failure = broker.Failure
	// A TypedError is an error type of the program that chooses what remote callers
	// see of it; for single errors there is [Raise].
	TypedError = broker.TypedError
	// A RemoteType is the name of an exception's class, for errors.Is.
	RemoteType = broker.RemoteType
	// Sent says what became of a call that failed.
	Sent = broker.Sent
)

// Raise returns err as an error that remote callers see as an exception of the
// class kind, whose base classes are the parents, the nearest one first, and
// "builtins.Exception". It returns nil when err is nil. errors.Is finds the
// class here as it does there.
func Raise(kind RemoteType, err error, parents ...RemoteType) error {
	return broker.Raise(kind, err, parents...)
}

// What became of a call that failed.
const (
	NotSent    = broker.NotSent    // it can be made again
	MayHaveRun = broker.MayHaveRun // it was sent, and no answer came
	Answered   = broker.Answered   // it has failed there, or its result does not fit
)

// RemoteException is the type of remote failures with the option
// HideRemoteTypes.
const RemoteException = broker.RemoteException

// Errors of calls and connections, for errors.Is.
var (
	// ErrDeadReference: the connection of a live reference is gone. It comes with
	// the reason: ErrClosed (here), ErrLost (by the peer or the network),
	// ErrSilent (Options.DisconnectTimeout), ErrReplaced (by a newer connection)
	// or ErrOverflow (the peer does not read its answers).
	ErrDeadReference = broker.ErrDeadReference
	ErrClosed        = broker.ErrClosed
	ErrLost          = broker.ErrLost
	ErrSilent        = broker.ErrSilent
	ErrReplaced      = broker.ErrReplaced
	ErrOverflow      = broker.ErrOverflow
	// ErrClosedReference: Close was called on the reference.
	ErrClosedReference = broker.ErrClosedReference
	// ErrBusy and ErrShutdown are why a call of a peer was not taken: it is one too
	// many, or the Tub is shutting down. Its caller in Go gets them too.
	ErrBusy     = broker.ErrBusy
	ErrShutdown = broker.ErrShutdown
	// ErrNoFURL: a reference cannot be handed on, since its Tub listens nowhere.
	ErrNoFURL = broker.ErrNoFURL
	// ErrBoundMethod: a reference to a bound method cannot be sent home.
	ErrBoundMethod = broker.ErrBoundMethod
	// ErrNotRun: the call was made on the promise of a call that has failed.
	ErrNotRun = broker.ErrNotRun
	// ErrIntroduction: an introduction has arrived, and this Tub refuses them.
	ErrIntroduction = broker.ErrIntroduction
	// ErrUnknownName: no object has this name; see Tub.OnLookup.
	ErrUnknownName = broker.ErrUnknownName
	// ErrRevoked: the forwarder has ended, here or at the peer; see Forward.
	ErrRevoked = broker.ErrRevoked
	// ErrClosedReader: a received reader was closed, or its call has returned.
	ErrClosedReader = broker.ErrClosedReader
)

// An IntroductionError says that a reference to an object of a third Tub, in an
// answer, could not be resolved. It may wrap the *[DialError].
type IntroductionError = broker.IntroductionError

// A DialError says why no connection to a Tub could be made, with the fate of
// every hint. errors.Is and errors.As look into all of them.
type DialError struct {
	Peer furl.TubID
	// Err is what ended the attempt: nil if all hints have failed, otherwise
	// the error of the context, ErrTubClosed, or negotiate.ErrDuplicate.
	Err   error
	Hints []HintStatus
}

func (e *DialError) Error() string {
	var b strings.Builder
	b.WriteString("cannot connect")
	if e.Peer != "" { // of a FURL that is not complete
		fmt.Fprintf(&b, " to Tub %s", e.Peer.Short())
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if len(e.Hints) == 0 && e.Err == nil {
		b.WriteString(": its FURL has no hints, and it has not connected to us")
	}
	for _, h := range e.Hints {
		switch {
		case h.Err != nil:
			fmt.Fprintf(&b, "; %v", h.Err)
		case h.Started.IsZero():
			fmt.Fprintf(&b, "; %s: not tried yet", h.Hint)
		default:
			fmt.Fprintf(&b, "; %s: still in phase %s", h.Hint, h.Phase)
			if h.Text != "" {
				fmt.Fprintf(&b, " (%s)", h.Text)
			}
		}
	}
	return b.String()
}

func (e *DialError) Unwrap() []error {
	var all []error
	if e.Err != nil {
		all = append(all, e.Err)
	}
	for _, h := range e.Hints {
		if h.Err != nil {
			all = append(all, h.Err)
		}
	}
	return all
}
