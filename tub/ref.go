package tub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
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
// An unresolved Ref comes from [Tub.Ref]: its first call connects, and calls
// after a loss connect anew.
//
// A Ref is safe for concurrent use.
type Ref struct {
	t    *Tub
	live *broker.Remote // nil if made by Tub.Ref
	furl furl.FURL      // of a Ref made by Tub.Ref or Tub.Connect

	resolving chan struct{} // who holds it resolves
	mu        sync.Mutex
	remote    *broker.Remote // what the FURL led to last
	closed    bool
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

// lookup connects and asks for the object of a FURL.
func (t *Tub) lookup(ctx context.Context, f furl.FURL) (*broker.Remote, error) {
	if !f.TubID.Valid() || f.Name.Reveal() == "" {
		return nil, &DialError{Peer: f.TubID, Err: errors.New("the FURL is not complete: make it with furl.Parse")}
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
			return x.live, nil
		default:
			return nil, &CallError{Peer: f.TubID, Method: "getReferenceByName", Sent: Answered, Err: errors.New("the answer to the look-up is an object of this Tub itself")}
		}
	}
}

// resolve returns the remote object, connecting if need be.
func (r *Ref) resolve(ctx context.Context) (*broker.Remote, error) {
	if r.live != nil {
		return r.live, nil
	}
	if remote, err := r.resolved(); remote != nil || err != nil {
		return remote, err
	}
	broker.ReleaseTurn(ctx)
	select {
	case r.resolving <- struct{}{}:
	case <-ctx.Done():
		return nil, &DialError{Peer: r.furl.TubID, Err: ctxError(ctx)}
	}
	defer func() { <-r.resolving }()
	if remote, err := r.resolved(); remote != nil || err != nil {
		return remote, err
	}
	remote, err := r.t.lookup(ctx, r.furl)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.remote = remote
	}
	r.mu.Unlock()
	if closed {
		remote.Close()
		return nil, ErrClosedReference
	}
	return remote, nil
}

// resolved returns what is there and alive.
func (r *Ref) resolved() (*broker.Remote, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosedReference
	}
	if r.remote != nil && r.remote.Broker().Err() != nil {
		r.remote = nil
	}
	return r.remote, nil
}

// current returns the remote object as far as it is known without connecting.
func (r *Ref) current() *broker.Remote {
	if r.live != nil {
		return r.live
	}
	remote, _ := r.resolved()
	return remote
}

// sendable returns the remote object of a reference that is an argument or
// result.
func (r *Ref) sendable() (*broker.Remote, error) {
	remote, err := r.resolved()
	switch {
	case err != nil:
		return nil, err
	case r.live != nil:
		return r.live, nil
	case remote == nil:
		return nil, errUnresolved
	}
	return remote, nil
}

var errUnresolved = errors.New("a reference that is not connected cannot be sent: send one that Connect returns, or its FURL as text")

// Close releases the reference. Calls in progress go on; later ones fail with
// ErrClosedReference.
func (r *Ref) Close() {
	r.mu.Lock()
	remote := r.live
	if remote == nil {
		remote = r.remote
	}
	r.remote, r.closed = nil, true
	r.mu.Unlock()
	if remote != nil {
		remote.Close()
	}
}

// Peer returns the Tub that the object lives in.
func (r *Ref) Peer() furl.TubID {
	if r.live != nil {
		return r.live.Broker().Peer()
	}
	return r.furl.TubID
}

// Interface returns the name of the remote interface that the object was
// announced with, or "".
func (r *Ref) Interface() string {
	if remote := r.current(); remote != nil {
		return remote.Interface()
	}
	return ""
}

// FURL returns the FURL by which the object can be reached by others, or
// false if none is known.
func (r *Ref) FURL() (furl.FURL, bool) {
	if r.live != nil {
		if f, err := furl.Parse(r.live.FURL()); err == nil {
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
	return a.live == nil && b.live == nil && a.furl.Equal(b.furl)
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

func (h *host) Unwrap(v banana.External) (any, error) {
	switch v := v.(type) {
	case *Object:
		return v, nil
	case *Ref:
		remote, err := v.sendable()
		if err != nil {
			return nil, err
		}
		if o := (*Tub)(h).ownObject(remote); o != nil {
			return o, nil
		}
		return remote, nil
	}
	return nil, fmt.Errorf("%T is not an object or reference of Foolscap", v)
}

// loopHost is the host of one end of the loopback connection. What has come
// from the other end goes home, as over any other connection.
type loopHost struct {
	*host
	end *broker.Broker
}

func (h *loopHost) Unwrap(v banana.External) (any, error) {
	if r, ok := v.(*Ref); ok {
		remote, err := r.sendable()
		if err != nil {
			return nil, err
		}
		if remote.Broker() == h.end {
			return remote, nil
		}
	}
	return h.host.Unwrap(v)
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
