package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Kind is what an Event is about.
type Kind string

// The kinds of events.
const (
	EventDial       Kind = "dial"       // a hint was tried: Hint, Phase, Elapsed, Err
	EventNegotiate  Kind = "negotiate"  // a negotiation has ended: Inbound, Elapsed, Err
	EventConnect    Kind = "connect"    // a connection is up
	EventDisconnect Kind = "disconnect" // a connection is gone: Err says why
	// A call has ended: Inbound, then with the Object, Method, Elapsed, Err;
	// Detail "refused": before it ran.
	EventCall Kind = "call"
	// A reference was "sent", with the Object; or it was "released" by the peer,
	// the last time that it was sent included: Inbound, with the Object. One of
	// the peer's was "received", Inbound, or "released".
	EventReference Kind = "reference"
	// An introduction was "given" or "acknowledged"; or, Inbound, "received",
	// "resolved", "refused" or "failed", with Err.
	EventGift  Kind = "gift"
	EventLimit Kind = "limit" // a limit was hit: Err is or wraps the *banana.LimitError
	// An Object that forwards calls does so no more: Detail "revoked", "expired",
	// or "spent" when it has forwarded as many as it may.
	EventRevoke Kind = "revoke"
)

// An Event tells an observer what has happened. Secrets are never in it.
type Event struct {
	Kind Kind
	// ID is unique in the process; Parent is the ID of the event that this
	// one belongs to, or 0: a call belongs to its connection's connect.
	ID, Parent uint64
	Peer       furl.TubID
	Inbound    bool
	Hint       furl.Hint
	Phase      string
	Method     string
	// Object is that of ours that the event is about, if it is about one: the
	// one that CallInfo has. Who keeps it keeps it alive.
	Object *Object
	// Detail is a word that tells events of one kind apart.
	Detail  string
	Elapsed time.Duration
	Err     error
}

// An Observer is told of events. It is called from many goroutines, often on
// the path of a call, so it must be fast and must not call back into the Tub.
type Observer func(Event)

var lastEvent atomic.Uint64

// NextEventID returns an unused Event.ID.
func NextEventID() uint64 { return lastEvent.Add(1) }

// CallInfo says to an interceptor what is being called.
type CallInfo struct {
	Peer    furl.TubID
	Inbound bool
	// Object is the local object of an inbound call, nil otherwise.
	Object *Object
	// Interface and Method are names on the wire.
	Interface, Method string
	// Args are the arguments: of an inbound call a pointer to the method's
	// struct (or to Args), of an outbound one an Args.
	Args any
}

// An Interceptor stands around calls. It calls next once to go on, or returns
// an error without; it may look at arguments and result, and change the
// context. Interceptors run in the order of the configuration, the first one
// outermost; for inbound calls within the call's turn. An error of an
// interceptor is the caller's, in a [CallError] if it is none. Calls of the
// protocol's own pass no interceptor: the look-up of a name is one, and so are
// those by which a reader is read.
type Interceptor func(ctx context.Context, call *CallInfo, next func(context.Context) (any, error)) (any, error)

func intercept(ctx context.Context, chain []Interceptor, info *CallInfo, last func(context.Context) (any, error)) (any, error) {
	if len(chain) == 0 {
		return last(ctx)
	}
	return chain[0](ctx, info, func(ctx context.Context) (any, error) {
		return intercept(ctx, chain[1:], info, last)
	})
}

// intercepted makes a call of ours, which call does, within the interceptors.
// result is where they find its result.
func (b *Broker) intercepted(ctx context.Context, iface, method string, args Args, result any, call func(context.Context) error) error {
	if len(b.cfg.Outbound) == 0 {
		return call(ctx)
	}
	sent := NotSent
	info := &CallInfo{Peer: b.peer, Interface: iface, Method: method, Args: args}
	_, err := intercept(ctx, b.cfg.Outbound, info, func(ctx context.Context) (any, error) {
		err := call(ctx)
		sent = Answered
		if failed, ok := errors.AsType[*CallError](err); ok {
			sent = failed.Sent
		}
		return result, err
	})
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*CallError](err); ok {
		return err
	}
	return &CallError{Peer: b.peer, Method: method, Sent: sent, Err: err}
}

// logLocalFailure logs that a method which the peer has called has failed. A
// panic has been logged before, and names are looked up in vain every day.
func (b *Broker) logLocalFailure(in *inbound, err error) {
	var p *panicError
	if b.cfg.LogLocalFailures == nil || in.obj == brokerObject || errors.As(err, &p) {
		return
	}
	why := slog.Any("error", err)
	if f, ok := errors.AsType[*Failure](err); ok {
		why = failedWith(f)
	}
	b.log.Log(in, b.cfg.LogLocalFailures.Level(), "a method that the peer has called has failed",
		"peer", b.peer.Short(), "interface", in.obj.iface, "method", in.method.name, why)
}

// logRemoteFailure logs that the peer has answered a call of ours with a
// failure.
func (b *Broker) logRemoteFailure(method string, f *Failure) {
	if b.cfg.LogRemoteFailures != nil {
		b.log.Log(b.ctx, b.cfg.LogRemoteFailures.Level(), "a call has failed at the peer", "peer", b.peer.Short(), "method", method, failedWith(f))
	}
}

// failedWith is what is logged of a remote failure. Its text may repeat what is
// a secret here, the FURL of an introduction for one.
func failedWith(f *Failure) slog.Attr { return slog.String("type", fmt.Sprintf("%.200s", f.Type)) }
