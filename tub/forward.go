package tub

import (
	"context"
	"errors"
	"sync"
	"time"
	"weak"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
)

// Facet gives an object some methods of another one, o, which run there: whoever
// has the new object can do that much with o and no more. NewObject panics when o
// has no such methods. The facet of a remote object is one of what [Forward] returns.
func Facet(o *Object, methods ...string) Part {
	return partFunc(func(s *spec) {
		for _, name := range methods {
			s.methods = append(s.methods, broker.MethodFrom(o, name))
		}
	})
}

// ForwardOptions bound what Forward returns. The zero value means no bound; with less
// than that, what is left of a bound for example, it has ended from the beginning.
type ForwardOptions struct {
	// Lifetime is after how long it ends by itself.
	Lifetime time.Duration
	// Calls is how many calls it forwards, failed ones included, before it ends
	// by itself.
	Calls int
	// Observer is told of its end, an [EventRevoke]; it may be that of the Tub's
	// Options.
	Observer Observer
}

// Forward returns an object that passes all calls on to target, a local object, a
// remote one, a function of either kind, or another forwarder, until revoke is
// called or a bound is reached. This is known as a caretaker: it is handed out in
// place of target when the right to call that is to be taken back.
//
// Arguments, results and errors are passed on as they are; that a remote target
// cannot be reached is told without the reason. A reference
// that target returns is not revoked with the forwarder. To a remote object the object
// is a third party: references among arguments become introductions.
//
// After the end calls fail with [ErrRevoked], also those that wait for their turn;
// calls in progress finish. The forwarder lets go of target, and a remote one is
// released if nobody else holds it. revoke may be called more than once.
func Forward[T *Object | *Ref](target T, opts ForwardOptions) (o *Object, revoke func()) {
	f := &forwarder{observer: opts.Observer, left: opts.Calls}
	var iface string
	var function bool
	switch target := any(target).(type) {
	case *Object:
		f.object = target
		iface, function = target.Interface(), target.Function()
	case *Ref:
		f.ref = target
		iface, function = target.Interface(), target.Function()
	}
	if function {
		o = broker.NewFunction(nil, f.method)
	} else {
		o = broker.NewOpenObject(iface, nil, f.method)
	}
	f.self = weak.Make(o)
	if opts.Lifetime > 0 {
		f.until = now().Add(opts.Lifetime)
		w := weak.Make(f) // nobody need wait for the end of what nobody holds
		f.mu.Lock()
		f.timer = time.AfterFunc(opts.Lifetime, func() {
			if f := w.Value(); f != nil {
				f.end("expired")
			}
		})
		f.mu.Unlock()
	}
	if opts.Lifetime < 0 {
		f.end("expired")
	}
	if opts.Calls < 0 {
		f.end("spent")
	}
	return o, func() { f.end("revoked") }
}

// A forwarder does what Forward says.
type forwarder struct {
	observer Observer
	until    time.Time            // zero for ever
	self     weak.Pointer[Object] // what peers call

	mu     sync.Mutex
	object *Object // the target
	ref    *Ref    // or this; neither at the end
	left   int     // calls, 0 for no bound
	timer  *time.Timer
}

// method returns what a call with that name runs.
func (f *forwarder) method(name string) *broker.Method {
	f.mu.Lock()
	object := f.object
	f.mu.Unlock()
	if object == nil {
		return broker.NewMethod(name, func(ctx context.Context, a Args) (any, error) {
			ref, err := f.use()
			if err != nil {
				return nil, err
			}
			v, err := Call[any](ctx, ref, name, a)
			return v, forwarded(err)
		})
	}
	m := object.Method(name)
	if m == nil {
		return nil
	}
	return m.Around(func(ctx context.Context, next func(context.Context) (any, error)) (any, error) {
		if _, err := f.use(); err != nil {
			return nil, err
		}
		return next(ctx)
	})
}

// forwarded is what callers are told of the error of a remote target: what that has
// said or what is wrong with the values, but not how we try to get there.
func forwarded(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if v, ok := errors.AsType[*banana.Violation](err); ok {
		return v
	}
	if e, ok := errors.AsType[*banana.EncodeError](err); ok {
		return e
	}
	return &forwardError{err}
}

type forwardError struct{ err error }

func (e *forwardError) Error() string {
	if call, ok := errors.AsType[*CallError](e.err); ok && call.Sent != NotSent {
		return "the target of the forwarder cannot be reached any more: the call may have run"
	}
	return "the target of the forwarder cannot be reached: the call was not sent"
}

func (e *forwardError) Unwrap() error { return e.err }

// RemoteType returns its name on the wire.
func (*forwardError) RemoteType() (string, []string) { return "foolscap.go.ForwardFailed", nil }

// use counts a call, and returns the target if that is remote.
func (f *forwarder) use() (*Ref, error) {
	f.mu.Lock()
	ref, over, why := f.ref, f.over(), ""
	switch {
	case over:
	case !f.until.IsZero() && !now().Before(f.until): // the timer is on its way
		over, why = true, "expired"
	case f.left == 1:
		why = "spent"
	case f.left > 1:
		f.left--
	}
	if why != "" {
		f.letGo()
	}
	f.mu.Unlock()
	if why != "" {
		f.tell(why)
	}
	if over {
		return nil, ErrRevoked
	}
	return ref, nil
}

// end ends the forwarder, once.
func (f *forwarder) end(why string) {
	f.mu.Lock()
	over := f.over()
	f.letGo()
	f.mu.Unlock()
	if !over {
		f.tell(why)
	}
}

// over reports whether it has ended. mu is held.
func (f *forwarder) over() bool { return f.object == nil && f.ref == nil }

// letGo forgets the target. mu is held.
func (f *forwarder) letGo() {
	f.object, f.ref = nil, nil
	if f.timer != nil {
		f.timer.Stop()
	}
}

func (f *forwarder) tell(why string) {
	if f.observer != nil {
		f.observer(Event{Kind: EventRevoke, ID: broker.NextEventID(), Object: f.self.Value(), Detail: why})
	}
}
