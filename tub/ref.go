package tub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// A Ref stands for an object of another Tub. Call it with [Call], [Start] and
// [Send], pass it as an argument to the Tub that it came from.
//
// A live Ref comes from [Tub.Connect], or as an argument or result. It ends
// with its connection: then its calls fail with [ErrDeadReference]. Each
// receipt is a Ref of its own; [Same] compares what they stand for. The other
// side learns that the object is not needed any more once all of them are
// closed, or found unreachable by the garbage collector.
//
// A Ref may stand for a function, or a bound method of Python: then it is called
// with the empty name, see [Func].
//
// An unresolved Ref comes from [Tub.Ref]: its first call connects, and calls
// after a loss connect anew. A promised Ref comes from [Promise]: it stands for
// what a call will return, and ends with the connection of that call.
//
// A Ref is safe for concurrent use.
type Ref struct {
	t        *Tub
	live     *broker.Remote  // of a live Ref
	promised *broker.Promise // of a promised Ref
	furl     furl.FURL       // of a Ref made by Tub.Ref or Tub.Connect, or an introduction
	receipt  *broker.Receipt // of an introduction, until it is acknowledged
	own      *Object         // that of this Tub which it stands for, of a Ref made by refTo

	resolving chan struct{} // who holds it resolves
	mu        sync.Mutex
	assumed   *schema.Interface
	remote    *broker.Remote  // what the FURL led to last
	looking   *broker.Promise // what it is leading to now
	closed    bool
}

// callee is what calls are made on.
type callee interface {
	Call(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) error
	Start(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) (*broker.Pending, error)
	Send(ctx context.Context, method string, args Args) error
	Promise(ctx context.Context, method string, args Args) (*broker.Promise, error)
}

// BananaExternal marks a Ref as something that goes by reference.
func (*Ref) BananaExternal() {}

// Connect connects to the Tub of a FURL, unless there is a connection already,
// and returns a live reference to the object. The error is a *[DialError] if
// there is no connection, and a *[CallError] if the Tub does not give the
// object out.
func (t *Tub) Connect(ctx context.Context, f furl.FURL) (*Ref, error) {
	remote, err := t.lookup(ctx, f)
	if err != nil {
		return nil, err
	}
	return &Ref{t: t, live: remote, furl: f}, nil
}

// Ref returns an unresolved reference: nothing happens before its first call.
func (t *Tub) Ref(f furl.FURL) *Ref {
	return &Ref{t: t, furl: f, resolving: make(chan struct{}, 1)}
}

// refTo returns a reference to an object of the Tub itself.
func (t *Tub) refTo(o *Object) *Ref {
	r := t.Ref(furl.FURL{TubID: t.TubID(), Name: t.lasting(o)})
	r.own = o
	return r
}

// ref is found in what embeds a Ref, too.
func (r *Ref) ref() *Ref { return r }

type hasRef interface{ ref() *Ref }

// complete returns an error for a FURL that is not.
func complete(f furl.FURL) error {
	if f.TubID.Valid() && f.Name.Reveal() != "" {
		return nil
	}
	return &DialError{Peer: f.TubID, Err: errors.New("the FURL is not complete: make it with furl.Parse")}
}

// lookup connects and asks for the object of a FURL.
func (t *Tub) lookup(ctx context.Context, f furl.FURL) (*broker.Remote, error) {
	if err := complete(f); err != nil {
		return nil, err
	}
	// A method that comes here waits for the answer to the look-up at least.
	broker.ReleaseTurn(ctx)
	// A connection that was lost unnoticed shows in the first thing that is
	// sent over it; then one more attempt makes a new one.
	for again := true; ; again = false {
		b, err := t.connect(ctx, f.TubID, f.Hints)
		if err != nil {
			return nil, err
		}
		x, err := b.GetReference(ctx, f.Name.Reveal())
		if err != nil {
			if again && errors.Is(err, ErrDeadReference) && ctx.Err() == nil {
				continue
			}
			return nil, err
		}
		switch x := x.(type) {
		case *Ref:
			if x.live != nil && x.live.Broker() == b {
				return x.live, nil
			}
			x.Close()
			return nil, &CallError{Peer: f.TubID, Method: "getReferenceByName", Sent: Answered, Err: errors.New("the answer to the look-up is not an object of that Tub")}
		default:
			return nil, &CallError{Peer: f.TubID, Method: "getReferenceByName", Sent: Answered, Err: errors.New("the answer to the look-up is an object of this Tub itself")}
		}
	}
}

// callee returns what calls are made on, connecting if need be.
func (r *Ref) callee(ctx context.Context) (callee, error) {
	if r.live != nil {
		return r.live, nil
	}
	if r.promised != nil {
		return r.promised, nil
	}
	if to, err := r.resolved(); to != nil || err != nil {
		return to, err
	}
	broker.ReleaseTurn(ctx)
	select {
	case r.resolving <- struct{}{}:
	case <-ctx.Done():
		return nil, &DialError{Peer: r.furl.TubID, Err: ctxError(ctx)}
	}
	defer func() { <-r.resolving }()
	if to, err := r.resolved(); to != nil || err != nil {
		return to, err
	}
	if looking, err := r.lookEarly(ctx); looking != nil || err != nil {
		return looking, err
	}
	remote, err := r.t.lookup(ctx, r.furl)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.remote = remote
		if r.assumed != nil {
			remote.Assume(r.assumed)
		}
	}
	r.mu.Unlock()
	r.acknowledge()
	if closed {
		remote.Close()
		return nil, ErrClosedReference
	}
	return remote, nil
}

// calleeFor is callee for a call with arguments, which may be references that
// are being resolved: they cannot be sent before they are.
func (r *Ref) calleeFor(ctx context.Context, args []any) (callee, error) {
	to, err := r.callee(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range args {
		if other, ok := a.(hasRef); ok && other.ref() != nil {
			if p := other.ref().pending(); p != nil {
				p.Wait(ctx) // an error shows when it is sent
			}
		}
	}
	return to, nil
}

// pending returns what an answer is awaited of, or nil.
func (r *Ref) pending() *broker.Promise {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.promised != nil {
		return r.promised
	}
	return r.looking
}

// heardLately is how long ago a peer may have been heard for calls to be sent
// together with a look-up: if the connection has been lost unnoticed, nobody
// can tell whether they have run, whereas a look-up can be made again.
const heardLately = 10 * time.Second

// lookEarly begins a look-up on which calls can be made at once, if the peer
// knows how; otherwise it returns nil.
func (r *Ref) lookEarly(ctx context.Context) (callee, error) {
	if err := complete(r.furl); err != nil {
		return nil, err
	}
	if r.receipt != nil { // it is resolved when the answer is here
		return nil, nil
	}
	b, err := r.t.connect(ctx, r.furl.TubID, r.furl.Hints)
	if err != nil {
		return nil, err
	}
	if !b.Pipelines() || b.Silence() > heardLately {
		return nil, nil
	}
	looking, err := b.LookUp(ctx, r.furl.Name.Reveal())
	if err != nil {
		return nil, nil // the ordinary way has the right error, or a new connection
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		looking.Close()
		return nil, ErrClosedReference
	}
	r.looking = looking
	if r.assumed != nil {
		looking.Assume(r.assumed)
	}
	return looking, nil
}

// resolved returns what is there and alive, or on its way.
func (r *Ref) resolved() (callee, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosedReference
	}
	if r.looking != nil {
		remote, err := r.looking.Settled()
		switch {
		case remote != nil:
			r.remote, r.looking = remote, nil
		case err != nil || r.looking.Broker().Err() != nil:
			r.looking = nil
		default:
			return r.looking, nil
		}
	}
	if r.remote != nil && r.remote.Broker().Err() != nil {
		r.remote = nil
	}
	if r.remote == nil {
		return nil, nil
	}
	return r.remote, nil
}

// current returns the remote object as far as it is known without connecting.
func (r *Ref) current() *broker.Remote {
	remote, _ := r.known()
	return remote
}

// known is current with the reason why there is none.
func (r *Ref) known() (*broker.Remote, error) {
	switch {
	case r.live != nil:
		return r.live, nil
	case r.promised != nil:
		return r.promised.Settled()
	}
	to, err := r.resolved()
	remote, _ := to.(*broker.Remote)
	return remote, err
}

// acknowledge lets the giver of an introduction forget it.
func (r *Ref) acknowledge() {
	if r.receipt != nil {
		r.receipt.Acknowledge()
	}
}

// sendable returns what a reference that is an argument or result is for the
// peer of b, a connection of t: its own object, ours, or one of a third Tub.
func (r *Ref) sendable(t *Tub, b *broker.Broker) (any, error) {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return nil, ErrClosedReference
	}
	remote, err := r.known()
	switch {
	case err != nil:
		return nil, err
	case r.own != nil:
		return r.own, nil
	case remote == nil && r.promised != nil:
		return nil, errPromised
	case remote == nil: // it need not be connected to be handed on
		return &broker.Gift{FURL: r.furl.Reveal()}, nil
	case remote.Broker() == b:
		return remote, nil
	}
	if o := t.ownObject(remote); o != nil {
		return o, nil
	}
	gift := &broker.Gift{Held: remote}
	if f, ok := r.FURL(); ok {
		gift.FURL = f.Reveal()
	}
	return gift, nil
}

var errPromised = errors.New("a reference that is only promised cannot be sent yet: wait for what it stands for")

// Close releases the reference. Calls in progress go on; later ones fail with
// ErrClosedReference.
func (r *Ref) Close() {
	r.mu.Lock()
	remote, looking := r.live, r.looking
	if remote == nil {
		remote = r.remote
	}
	r.remote, r.looking, r.closed = nil, nil, true
	r.mu.Unlock()
	if remote != nil {
		remote.Close()
	}
	r.acknowledge()
	for _, p := range []*broker.Promise{looking, r.promised} {
		if p != nil {
			p.Close()
		}
	}
}

// Peer returns the Tub that the object lives in.
func (r *Ref) Peer() furl.TubID {
	switch {
	case r.live != nil:
		return r.live.Broker().Peer()
	case r.promised != nil:
		return r.promised.Broker().Peer()
	}
	return r.furl.TubID
}

// Interface returns the name of the remote interface that the object was
// announced with, or else of that which Assume was given, or "".
func (r *Ref) Interface() string {
	if r.own != nil {
		return r.own.Interface()
	}
	if remote := r.current(); remote != nil && remote.Interface() != "" {
		return remote.Interface()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.assumed != nil {
		return r.assumed.Name
	}
	return ""
}

// Implements reports whether the object is known to have the remote interface of
// that name: it was announced with it or with one of [Options.Interfaces] that
// extends it, or Assume was told so.
func (r *Ref) Implements(name string) bool {
	if r.own != nil {
		return r.own.Implements(name)
	}
	if remote := r.current(); remote != nil && remote.Implements(name) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.assumed != nil && r.assumed.Is(name)
}

// Function reports whether the reference is known to stand for a function.
func (r *Ref) Function() bool {
	if r.own != nil {
		return r.own.Function()
	}
	remote := r.current()
	return remote != nil && remote.Function()
}

// FURL returns the FURL by which the object can be reached by others, or
// false if none is known.
func (r *Ref) FURL() (furl.FURL, bool) {
	if r.own != nil {
		f, err := furl.Parse(r.t.passing(r.own))
		return f, err == nil
	}
	if remote := r.current(); remote != nil && r.furl.Name.IsZero() {
		if f, err := furl.Parse(remote.FURL()); err == nil {
			return f, true
		}
	}
	return r.furl, !r.furl.Name.IsZero()
}

// OnDisconnect arranges that f is called once, in a goroutine of its own, when
// the connection of a live reference ends, with the reason; at once if it has
// ended. For an unresolved reference it is about the connection that it has
// now, and does nothing if there is none. stop withdraws it.
func (r *Ref) OnDisconnect(f func(reason error)) (stop func()) {
	if remote := r.current(); remote != nil {
		return remote.Broker().OnDisconnect(f)
	}
	return func() {}
}

// Same reports whether two references stand for the same object over the same
// connection, or were made of equal FURLs.
func Same(a, b *Ref) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	ra, rb := a.current(), b.current()
	if ra != nil && rb != nil {
		return ra.Same(rb)
	}
	return a.live == nil && b.live == nil && a.promised == nil && b.promised == nil && a.furl.Equal(b.furl)
}

// String names the Tub and the interface; never the secret.
func (r *Ref) String() string {
	if i := r.Interface(); i != "" {
		return fmt.Sprintf("reference to %.60q at Tub %s", i, r.Peer().Short())
	}
	return "reference at Tub " + r.Peer().Short()
}

// GoString returns what String returns.
func (r *Ref) GoString() string { return r.String() }

// LogValue gives slog what String returns.
func (r *Ref) LogValue() slog.Value { return slog.StringValue(r.String()) }

// host is what the connections of a Tub ask of it.
type host Tub

func (h *host) Lookup(ctx context.Context, name string) (*broker.Object, error) {
	return (*Tub)(h).find(ctx, name)
}

func (h *host) FURL(o *broker.Object) string { return (*Tub)(h).passing(o) }

func (h *host) Wrap(r *broker.Remote) banana.External { return &Ref{t: (*Tub)(h), live: r} }

func (h *host) Unwrap(v banana.External, b *broker.Broker) (any, error) {
	switch v := v.(type) {
	case *Object:
		return v, nil
	case hasRef:
		if ref := v.ref(); ref != nil {
			return ref.sendable((*Tub)(h), b)
		}
	}
	return nil, fmt.Errorf("%T is not an object or reference of Foolscap", v)
}

// ownObject returns the object of this Tub that a reference over the loopback
// connection stands for.
func (t *Tub) ownObject(r *broker.Remote) *Object {
	t.mu.Lock()
	loop := t.loop
	t.mu.Unlock()
	switch {
	case loop == nil:
		return nil
	case r.Broker() == loop.client:
		return loop.server.Exported(r)
	case r.Broker() == loop.server:
		return loop.client.Exported(r)
	}
	return nil
}
