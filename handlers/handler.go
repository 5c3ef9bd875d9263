package handlers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Handler dials hints of the type or types for which a Tub has registered it.
// Its methods may be called concurrently.
//
// Callers use the function [Dial], which applies the handler's time limit and
// makes all errors alike, rather than the method of that name.
type Handler interface {
	// Dial connects to the Tub that req describes. ctx governs the dial alone:
	// when it ends, Dial closes whatever it has opened and returns at once;
	// after Dial has returned, the stream no longer depends on ctx.
	//
	// Exactly one of stream and error is set. The error is an *Error, of which
	// Phase and Err must be set; Err wraps the cause, and the sentinel of this
	// package that fits or, if ctx ended, the error of ctx and its cause, which
	// Ended gives (the function Dial adds ErrTimeout). After Close, Dial fails with an error
	// that wraps net.ErrClosed.
	Dial(ctx context.Context, req DialRequest) (Stream, error)

	// DialTimeout is how long one Dial may take, from its start to a usable
	// stream. It depends on the transport: seconds for TCP, more than a minute
	// for one that first builds circuits. Zero or less means
	// DefaultDialTimeout.
	DialTimeout() time.Duration

	// Exposure is what dialling reveals, of every hint that the handler takes.
	// It never changes to reveal more.
	Exposure() Exposure

	// Description is a word or two for humans, such as "tcp" or
	// "socks via 127.0.0.1:1080". It contains no secret.
	Description() string

	// Close ends all dials in progress, releases what the handler holds and
	// waits for its goroutines. Streams that Dial has returned stay open. Further
	// calls do nothing and return nil.
	Close() error
}

// DefaultDialTimeout is the time limit of a dial whose handler states none.
const DefaultDialTimeout = 30 * time.Second

// DialRequest is all that a transport may need in order to dial one hint.
type DialRequest struct {
	// Hint is what to dial. It comes from a FURL and with it from a stranger.
	Hint furl.Hint

	// Target is the Tub that should answer. A transport that authenticates its
	// peer may check the certificate against it; the Tub does so in any case.
	Target furl.TubID

	// Identity is our own certificate and key, for transports that authenticate
	// themselves. Others ignore it. It may be nil where none is at hand.
	Identity *tls.Certificate

	// Isolation separates dials from each other: of two with different values
	// no observer, nor a proxy's exit, may learn that they come from the same
	// Tub. A transport that knows circuits gives each value circuits of its own;
	// one that does not ignores it. "" is a value like any other. See also
	// ContextWithIsolation.
	Isolation string

	// Progress, unless nil, is told what the dial is waiting for. Handlers call
	// Report instead of it. It must return at once.
	Progress func(Status)
}

// Report tells Progress, if there is one, what the dial does next. A handler
// calls it just before it waits for something, from one goroutine at a time and
// not after Dial has returned. The text contains no secret.
func (r DialRequest) Report(phase Phase, text string) {
	if r.Progress != nil {
		r.Progress(Status{Phase: phase, Text: text})
	}
}

// Status is what a dial is waiting for at some moment.
type Status struct {
	Phase Phase
	Text  string // for humans, such as "looking up example.org"
}

// Stream is a connection to a Tub, ready to be read and written. Whoever got it
// closes it.
type Stream struct {
	net.Conn

	// Host is what goes into the Host header of the plaintext phase: the host
	// of the hint, without brackets, zone and port. It is "" for an accepted
	// stream.
	Host string

	// Peer is the peer's certificate if the transport has made sure, for this
	// very connection, that the peer holds its key. The Tub computes the TubID
	// from it. Nil means that nobody is authenticated yet and that TLS follows
	// inside the stream.
	Peer *x509.Certificate
}

// Acceptor is where connections of other Tubs arrive. Its methods may be called
// concurrently.
type Acceptor interface {
	// Accept waits for the next stream. It deals itself with errors that pass,
	// such as too many open files, and no peer can hold it up: a handshake of
	// the transport that waits for the peer goes on outside it.
	//
	// After Close it reports an error that wraps net.ErrClosed, also to calls
	// that were waiting. Any other error is final too: nothing more will be
	// accepted.
	Accept() (Stream, error)

	// Hints returns the hints under which the Acceptor can be reached now, best
	// first, and a channel that is closed when they have changed and Hints is
	// worth calling again; nil if they never change. The caller may keep and
	// change the slice. No hints means that it is not, or not yet, advertised;
	// so it is after Close.
	Hints() ([]furl.Hint, <-chan struct{})

	// Exposure is what listening reveals, its hints and the addresses behind
	// accepted streams included. It never changes to reveal more.
	Exposure() Exposure

	// Close stops accepting, takes back what was published, and waits for the
	// Acceptor's goroutines. Streams that Accept has returned stay open. Further
	// calls do nothing and return nil.
	Close() error
}
