package handlertest

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Config says how to make the transport that is tested, and what it can do. The
// fields that may be left out add checks that need something only the transport
// knows how to arrange: the more of them, the better the test.
//
// All functions may be called many times, and end the test if they cannot do
// their work. What they make besides what they return ends with t.Cleanup. The
// kit closes the handlers and acceptors.
type Config struct {
	// NewHandler makes a handler that reaches what NewAcceptor makes. Required.
	NewHandler func(t *testing.T) handlers.Handler

	// NewAcceptor makes an acceptor for the Tub of this certificate and key,
	// which transports that authenticate need and others ignore. It has to
	// advertise a hint, at once or within Timeout. Required.
	NewAcceptor func(t *testing.T, identity *tls.Certificate) handlers.Acceptor

	// Authenticates says that both sides know each other's certificate when the
	// stream is there: Stream.Peer is set.
	Authenticates bool

	// InvalidHints are hints that the handler must refuse with
	// handlers.ErrInvalidHint, in addition to those that no handler takes.
	InvalidHints []furl.Hint

	// Silent are dials that stay without an answer until they are ended, by what
	// keeps them waiting. Without any, the kit cannot test how a dial in progress
	// ends.
	Silent map[string]func(t *testing.T) (handlers.Handler, handlers.DialRequest)

	// Failures are dials that fail, by what is wrong.
	Failures map[string]Failure

	// HalfOpen begins a connection to the acceptor with this hint, as a peer would
	// that falls silent in the middle of the transport's handshake, and keeps it
	// until the test ends. Leave it out if the transport has no handshake: the
	// kit then makes whole connections that say nothing.
	HalfOpen func(t *testing.T, hint furl.Hint)

	// ChangeHints makes the hints of an acceptor other ones than they are. Leave it
	// out if they only change when the acceptor is closed.
	ChangeHints func(t *testing.T, a handlers.Acceptor)

	// Timeout is how long a dial to a peer that is there may take, and an acceptor
	// to advertise itself. The longer waits of the kit are multiples of it. Default
	// 10 s.
	Timeout time.Duration

	// Bulk is how many bytes are sent each way in one go. Default 10 MiB.
	Bulk int64
}

// Failure is a dial that fails. In its request, as in those of Config.Silent,
// Target and Identity need not be set.
type Failure struct {
	Dial func(t *testing.T) (handlers.Handler, handlers.DialRequest)

	// Phase is the one in which it fails, Err what errors.Is finds in the error.
	Phase handlers.Phase
	Err   error
}
