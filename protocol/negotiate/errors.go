package negotiate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// What a negotiation can fail of. Every error of [Client] and [Server] is an
// *[Error]; errors.Is finds one of these in it unless the stream itself broke.
var (
	// ErrWrongTub: the peer holds another key than that of the Tub that was
	// dialled, or than its hello claims. The hint leads to somebody else.
	ErrWrongTub = errors.New("the peer is not the expected Tub")

	// ErrUnknownTub: nobody at this listener answers to the TubID. Seen by
	// the client, the hint is out of date or the Tub is not running.
	ErrUnknownTub = errors.New("no such Tub at this listener")

	// ErrVersion: no version of the protocol is known to both sides, or none of
	// TLS is allowed by both.
	ErrVersion = errors.New("no protocol version in common")

	// ErrVocab: no vocabulary table is known to both sides.
	ErrVocab = errors.New("no vocabulary table in common")

	// ErrDuplicate: the connection was given up in favour of another one
	// between the same two Tubs. This is no failure of the peer: wait for the
	// other connection, see [Ledger.Wait].
	ErrDuplicate = errors.New("there is another connection to this Tub")

	// ErrReplaced is what [Connection.Shutdown] is given when a newer
	// connection to the same Tub takes over.
	ErrReplaced = errors.New("replaced by a newer connection")

	// ErrShed: the negotiation has lost its place to a newcomer; see [Gate].
	ErrShed = errors.New("given up to make room for another negotiation")

	// ErrReleased: a [Link] was used after its Release.
	ErrReleased = errors.New("the link has been released")

	// ErrSelf: both ends of the stream are the same Tub. A Tub reaches its own
	// objects without a connection.
	ErrSelf = errors.New("this is our own Tub")

	// ErrRemote: the other side refused; the *[RemoteError] in the error has its
	// words.
	ErrRemote = errors.New("refused by the other side")

	// ErrTimeout: a phase took longer than [Timeouts] or the context allows.
	// Such an error also matches os.ErrDeadlineExceeded or
	// context.DeadlineExceeded, according to which of the two it was.
	ErrTimeout = errors.New("negotiation timed out")

	// ErrCertificate: one side has no certificate, or one that the other
	// side's TLS does not accept.
	ErrCertificate = errors.New("unusable certificate")

	// ErrMalformed: the other side does not speak this protocol, or sent more
	// than it may.
	ErrMalformed = errors.New("not the Foolscap protocol")
)

// Error says in which phase the negotiation with whom has failed of what.
type Error struct {
	// Phase is the phase in which it happened.
	Phase Phase
	// Target is the Tub that was asked for; empty on a server that did not
	// get as far as to know it.
	Target furl.TubID
	// Peer is the other side as proven by its certificate; empty before that.
	Peer furl.TubID
	// Timings are those of the phases up to the failure.
	Timings Timings
	// Err is the cause.
	Err error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("negotiate: ")
	b.WriteString(e.Phase.String())
	switch {
	case e.Peer != "":
		b.WriteString(" with Tub ")
		b.WriteString(e.Peer.String())
	case e.Target != "":
		b.WriteString(" for Tub ")
		b.WriteString(e.Target.String())
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// RemoteError is a refusal by the other side.
type RemoteError struct {
	// Text is the other side's reason: valid UTF-8, at most 500 bytes,
	// anything that does not print replaced. It is not to be trusted.
	Text string
}

func (e *RemoteError) Error() string {
	return "the other side refused: " + strconv.Quote(e.Text)
}

// Is matches ErrRemote, and by the wordings in use among peers the error that
// the other side must have had.
func (e *RemoteError) Is(target error) bool {
	switch target {
	case ErrRemote:
		return true
	case ErrDuplicate:
		return e.Text == textDuplicate
	case ErrUnknownTub:
		return strings.HasPrefix(e.Text, textUnknownTub)
	case ErrVersion:
		return strings.Contains(e.Text, "can't handle "+nameVersion+" ") || e.Text == textNoVersion
	case ErrVocab:
		return strings.Contains(e.Text, "can't handle initial vocab ") || strings.HasPrefix(e.Text, "Our hash for vocab-table")
	}
	return false
}

// maxRemoteText bounds what we keep of a text from the other side, in bytes.
const maxRemoteText = 500

func remoteError(text string) *RemoteError {
	return &RemoteError{Text: printable(text, maxRemoteText)}
}

// printable cuts a foreign text to max bytes and replaces what could forge or
// garble a line of a log.
func printable(text string, max int) string {
	var b strings.Builder
	for _, r := range text {
		if r != ' ' && !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if b.Len()+len(string(r)) > max {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// The texts by which peers tell each other why they hang up. Python peers show
// them to their users, and other implementations compare them.
const (
	textInternal    = "internal server error, see logs"
	textDuplicate   = "Duplicate connection"
	textUnknownTub  = "unknown TubID "
	textNoTubID     = "secure Tubs require encryption"
	textNoVersion   = "No valid banana-negotiation sequence seen"
	textNoDecision  = "No banana-decision-version value"
	nameVersion     = "banana version"
	nameVocabRange  = "initial vocab set"
	nameVocabChoice = "initial vocab table index"
)

// A refusal is an error that we found and the other side has not: it is told
// before we hang up.
type refusal struct {
	tell string
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// refuse keeps the reason from the other side, as all implementations do but
// for the few that tellReason is for.
func refuse(sentinel error, format string, args ...any) error {
	return &refusal{tell: textInternal, err: fmt.Errorf("%w: %s", sentinel, fmt.Sprintf(format, args...))}
}

func tellReason(sentinel error, text string) error {
	return &refusal{tell: text, err: fmt.Errorf("%w: %s", sentinel, text)}
}

// timeoutError is a phase that took too long.
type timeoutError struct {
	phase  Phase
	limit  time.Duration // zero if the context's deadline was first
	option string        // which of the Timeouts
}

func (e *timeoutError) Error() string {
	if e.option == "" {
		return fmt.Sprintf("the context's deadline passed in the phase %q", e.phase)
	}
	return fmt.Sprintf("the phase %q was not over after %v (Timeouts.%s)", e.phase, e.limit, e.option)
}

func (e *timeoutError) Is(target error) bool {
	switch target {
	case ErrTimeout:
		return true
	case os.ErrDeadlineExceeded:
		return e.option != ""
	case context.DeadlineExceeded:
		return e.option == ""
	}
	return false
}

// Timeout makes it a timeout for those who ask in the manner of net.Error.
func (e *timeoutError) Timeout() bool { return true }
