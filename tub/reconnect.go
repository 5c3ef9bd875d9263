package tub

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// The back-off is that of Python's Reconnector, but for the cap.
const (
	// firstDelay is how long after a loss the next attempt is made.
	firstDelay = time.Second
	// delayFactor is by how much an attempt that fails makes the delay longer.
	delayFactor = math.E
	// delayJitter is the standard deviation of a delay, relative to it.
	delayJitter = 0.12

	defaultMaxDelay       = 5 * time.Minute
	defaultAttemptTimeout = 5 * time.Minute
)

// ReconnectOptions configure a Reconnector. The zero value of every field
// means its default.
type ReconnectOptions struct {
	// MaxDelay is the longest time between two attempts; default 5 minutes.
	MaxDelay time.Duration
	// Timeout bounds one attempt, the look-up of the object included, beyond
	// what handlers and negotiation allow; default 5 minutes.
	Timeout time.Duration
	// OnNetworkChange, if not nil, is called once, and is to arrange that
	// changed is called whenever the network has changed; that is
	// [Reconnector.Reset]. stop, which may be nil, is called when the
	// Reconnector ends. Neither may wait for the Reconnector or the Tub.
	OnNetworkChange func(changed func()) (stop func())
}

// A Reconnector, made by [Tub.Reconnect], keeps a reference to the object of a
// FURL alive: it connects, and connects again after each loss, until it is
// stopped or the Tub ends. Its methods are safe for concurrent use.
//
// After a loss it waits for 1 s. Each attempt that fails makes the delay e
// times longer, give or take some 12 %, up to MaxDelay; a connection takes it
// back to 1 s. A connection that the peer makes ends the wait.
//
// Attempts are those of [Tub.Connect], and every failure is followed by another
// attempt: hints that lead nowhere, no handler for them yet, another Tub at
// their place, and an object that the Tub does not give out, as it may do so
// later.
type Reconnector struct {
	t         *Tub
	furl      furl.FURL
	connected func(context.Context, *Ref)
	opts      ReconnectOptions

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // run, and what it has started
	turn   chan struct{}  // whose callback runs holds it
	reset  chan struct{}  // has room for one

	mu    sync.Mutex // not held while anything else is done
	state ReconnectorState
}

// ReconnectorState is what a Reconnector is about: a snapshot. It is making an
// attempt unless Connected or Stopped is true or Next is set.
type ReconnectorState struct {
	// Connected says that the last attempt has succeeded and its connection
	// lives.
	Connected bool
	// Stopped says that Stop was called, or that the Tub has ended. There will
	// be no further attempt.
	Stopped bool
	// Attempts is how many have been made since the last connection was lost,
	// or since the beginning: one in progress, and the one that has made the
	// connection, included.
	Attempts int
	// Last is when the last attempt began, Next when the next one will; zero
	// if there is none.
	Last, Next time.Time
	// Err is why the last attempt has failed, or the last connection was lost;
	// ErrTubClosed if the Tub has ended; nil while connected.
	Err error
}

// Reconnect keeps a reference to the object of a FURL alive. connected, unless
// nil, is called with a live reference for each connection that is made, in a
// goroutine of its own; for the next connection not before it has returned, and
// not at all for one that has been lost by then. ctx ends with the connection,
// with the reason as its cause, or with the Reconnector: connected may return
// at once, or work until then. The reference belongs to connected, like one
// that [Tub.Connect] returns: it outlives the Reconnector as long as its
// connection lives.
//
// opts may be nil. The error is a *[DialError] for a FURL that is not complete,
// and [ErrTubClosed] for a Tub that has ended; what else may fail is up to the
// state of the Reconnector, which begins at once.
func (t *Tub) Reconnect(f furl.FURL, connected func(ctx context.Context, ref *Ref), opts *ReconnectOptions) (*Reconnector, error) {
	if err := complete(f); err != nil {
		return nil, err
	}
	r := &Reconnector{t: t, furl: f, connected: connected, turn: make(chan struct{}, 1), reset: make(chan struct{}, 1)}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.MaxDelay <= 0 {
		r.opts.MaxDelay = defaultMaxDelay
	}
	if r.opts.Timeout <= 0 {
		r.opts.Timeout = defaultAttemptTimeout
	}
	r.ctx, r.cancel = context.WithCancel(t.ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		r.cancel()
		return nil, ErrTubClosed
	}
	r.wg.Add(1)
	t.wg.Go(func() {
		defer r.wg.Done()
		r.run()
	})
	return r, nil
}

// Stop ends the Reconnector and waits until its callback has returned, whose
// context ends; it is not called again. Connections and references stay. From
// the callback it would wait for itself: there, call it in a new goroutine.
func (r *Reconnector) Stop() {
	r.cancel()
	r.wg.Wait()
}

// Reset begins the back-off anew and, if the Reconnector is waiting, makes the
// next attempt now. An attempt in progress goes on; if it fails, the next one
// follows at once. While connected there is nothing to reset: a connection that
// the change of a network has cut is noticed as [Options.DisconnectTimeout]
// says. Reset does not wait.
func (r *Reconnector) Reset() {
	select {
	case r.reset <- struct{}{}:
	default:
	}
}

// State returns how things stand.
func (r *Reconnector) State() ReconnectorState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// String names the Tub; never the secret.
func (r *Reconnector) String() string { return "Reconnector to Tub " + r.furl.TubID.Short() }

// GoString returns what String returns.
func (r *Reconnector) GoString() string { return r.String() }

func (r *Reconnector) update(f func(s *ReconnectorState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
}

// run makes attempts until the Reconnector ends.
func (r *Reconnector) run() {
	defer r.ended()
	if r.opts.OnNetworkChange != nil {
		if stop := r.opts.OnNetworkChange(r.Reset); stop != nil {
			defer stop()
		}
	}
	first := min(firstDelay, r.opts.MaxDelay)
	for delay := first; r.ctx.Err() == nil; {
		r.update(func(s *ReconnectorState) {
			s.Attempts++
			s.Last, s.Next = now(), time.Time{}
		})
		ref, err := r.attempt()
		if err == nil {
			err = r.hold(ref)
			delay = first
		} else {
			delay = r.longer(delay)
		}
		if r.ctx.Err() != nil {
			return
		}
		r.update(func(s *ReconnectorState) {
			if s.Connected {
				s.Connected, s.Attempts = false, 0
			}
			s.Err, s.Next = err, now().Add(delay)
		})
		r.t.log.Debug("a Reconnector waits", "peer", r.furl.TubID.Short(), "delay", delay, "error", err)
		if r.wait(delay) {
			delay = first
		}
	}
}

func (r *Reconnector) attempt() (*Ref, error) {
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.opts.Timeout, handlers.ErrTimeout)
	defer cancel()
	return r.t.Connect(ctx, r.furl)
}

// hold hands a reference out and waits until its connection is lost, or the
// Reconnector ends.
func (r *Reconnector) hold(ref *Ref) (reason error) {
	ctx, cancel := context.WithCancel(ref.live.Broker().Context())
	defer cancel()
	r.update(func(s *ReconnectorState) { s.Connected, s.Err = true, nil })
	r.wg.Go(func() { r.announce(ctx, ref) })
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.reset:
			if ctx.Err() != nil { // it was meant for the next attempt
				r.Reset()
				return context.Cause(ctx)
			}
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// announce runs the callback in its turn, or closes the reference.
func (r *Reconnector) announce(ctx context.Context, ref *Ref) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
	}
	if r.connected == nil || ctx.Err() != nil || r.ctx.Err() != nil {
		ref.Close()
		return
	}
	r.connected(ctx, ref)
}

// longer returns the delay after an attempt that has failed.
func (r *Reconnector) longer(delay time.Duration) time.Duration {
	longest := float64(r.opts.MaxDelay)
	next := min(float64(delay)*delayFactor, longest)
	next += next * delayJitter * rand.NormFloat64()
	return time.Duration(min(max(next, float64(min(firstDelay, r.opts.MaxDelay))), longest))
}

// wait waits until the next attempt is due, or the peer has connected. It
// reports whether Reset was called.
func (r *Reconnector) wait(delay time.Duration) (reset bool) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	connected := make(chan struct{})
	// With a connection, only the object is missing.
	if r.t.current(r.furl.TubID) == nil {
		var wg sync.WaitGroup
		defer wg.Wait()
		ctx, cancel := context.WithCancel(r.ctx)
		defer cancel()
		wg.Go(func() {
			if _, err := r.t.local.Ledger().Wait(ctx, r.furl.TubID); err == nil {
				close(connected)
			}
		})
	}
	select {
	case <-timer.C:
	case <-connected:
	case <-r.reset:
		return true
	case <-r.ctx.Done():
	}
	return false
}

func (r *Reconnector) ended() {
	r.update(func(s *ReconnectorState) {
		s.Connected, s.Stopped, s.Next = false, true, time.Time{}
		if r.t.ctx.Err() != nil {
			s.Err = ErrTubClosed
		}
	})
}
