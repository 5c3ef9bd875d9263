package negotiate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A watchdog closes the stream of a negotiation that must not go on: a phase has
// lasted too long, the context is over, or a newer connection has taken its
// place. It closes rather than sets deadlines, since every stream can be closed
// at any point, while deadlines of its caller and of TLS would get mixed up.
//
// Nobody waits for the Close, which belongs to a transport that may take its
// time: that it ends reads and writes is all that is expected of it.
//
// It is the [Connection] of the negotiation's link until the caller attaches
// another.
type watchdog struct {
	ctx      context.Context
	conn     net.Conn
	timeouts Timeouts
	end      time.Time     // when the whole must be over
	barked   chan struct{} // closed when the watchdog closes the stream

	detach  func() bool   // from the context
	ctxDone chan struct{} // closed when the context's callback has returned

	mu      sync.Mutex
	timer   *time.Timer
	due     time.Time     // of the timer
	expiry  *timeoutError // what the timer stands for
	phase   Phase
	closed  bool  // the stream, or about to be
	settled bool  // the negotiation has failed, and cause does not change any more
	cause   error // why the stream was closed
	over    bool
}

func watch(ctx context.Context, conn net.Conn, timeouts Timeouts, first Phase) *watchdog {
	w := &watchdog{
		ctx:      ctx,
		conn:     conn,
		timeouts: timeouts,
		end:      time.Now().Add(timeouts.total()),
		barked:   make(chan struct{}),
		ctxDone:  make(chan struct{}),
	}
	w.enter(first)
	w.detach = context.AfterFunc(ctx, func() {
		defer close(w.ctxDone)
		w.mu.Lock()
		phase := w.phase
		w.mu.Unlock()
		w.abort(contextError(ctx, phase))
	})
	return w
}

// contextError says that the context ended the negotiation. It matches the
// context's error and its cause, if that is another.
func contextError(ctx context.Context, phase Phase) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	same := cause == err
	if errors.Is(err, context.DeadlineExceeded) {
		err = &timeoutError{phase: phase}
	}
	if same {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// enter starts the time of a phase.
func (w *watchdog) enter(p Phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = p
	limit, option := w.timeouts.of(p)
	w.limitLocked(limit, &timeoutError{phase: p, limit: limit, option: option})
}

// limitLocked closes the stream for the given reason after d, or when the whole
// negotiation has lasted too long, if that is sooner or d is zero.
func (w *watchdog) limitLocked(d time.Duration, expiry *timeoutError) {
	now := time.Now()
	w.due, w.expiry = now.Add(d), expiry
	if d == 0 || w.end.Before(w.due) {
		w.due = w.end
		w.expiry = &timeoutError{phase: expiry.phase, limit: w.timeouts.total(), option: "Total"}
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(w.due.Sub(now), w.expire)
	} else {
		w.timer.Reset(w.due.Sub(now))
	}
}

func (w *watchdog) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// The timer may have fired just when a new phase set it anew.
	if w.over || time.Now().Before(w.due) {
		return
	}
	w.abortLocked(w.expiry)
}

func (w *watchdog) abort(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.abortLocked(cause)
	}
}

func (w *watchdog) abortLocked(cause error) {
	if w.cause == nil && !w.settled {
		w.cause = cause
	}
	if !w.closed {
		w.closed = true
		close(w.barked)
		go w.conn.Close()
	}
}

// Shutdown implements [Connection]: unlike the timer and the context, a newer
// connection closes the stream also between the end of the negotiation and the
// caller's Attach.
func (w *watchdog) Shutdown(reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abortLocked(reason)
}

// settle says that the negotiation has failed, and returns why the watchdog has
// closed the stream, or is about to, or nil. If it has not, what is left to say
// to the peer has the time of a farewell from now on, and what ends that is not
// the cause of anything. It may be called again.
func (w *watchdog) settle() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.settled {
		return w.cause
	}
	if w.cause == nil && w.ctx.Err() != nil {
		w.cause = contextError(w.ctx, w.phase)
	}
	w.settled = true
	w.limitLocked(farewell, &timeoutError{phase: w.phase})
	return w.cause
}

// hangUp closes c, which is the stream or runs over it, once the negotiation is
// settled. It waits for that as long as the watchdog is quiet.
func (w *watchdog) hangUp(c io.Closer) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.Close()
	}()
	select {
	case <-closed:
	case <-w.barked:
	}
}

// stop ends the watch and returns why the stream was closed, if it was. Nothing
// of the watchdog runs any more when it has returned, but for a Close that takes
// its time. It may be called again.
func (w *watchdog) stop() error {
	if !w.over && !w.detach() { // only stop writes over
		<-w.ctxDone
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
	return w.cause
}
