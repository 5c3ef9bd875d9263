package handlers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Dials are the dials of a Handler that are in progress: they are what its Close
// has to end and to wait for. The zero value is ready to use; the methods may
// be called concurrently.
type Dials struct {
	mu      sync.Mutex
	closed  bool
	cancels map[*context.CancelCauseFunc]struct{}

	// running counts dials and what Go has started. It grows from zero only
	// under mu while closed is false, so that Close can wait.
	running sync.WaitGroup
}

var errHandlerClosed = fmt.Errorf("the handler has been closed: %w", net.ErrClosed)

// Begin registers a dial. The context that it returns ends with ctx, with Close,
// and with done, which must be called. After Close, Begin fails with an error
// that wraps net.ErrClosed.
func (d *Dials) Begin(ctx context.Context) (_ context.Context, done func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, errHandlerClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if d.cancels == nil {
		d.cancels = make(map[*context.CancelCauseFunc]struct{})
	}
	d.cancels[&cancel] = struct{}{}
	d.running.Add(1)
	return ctx, func() {
		cancel(nil)
		d.mu.Lock()
		delete(d.cancels, &cancel)
		d.mu.Unlock()
		d.running.Done()
	}, nil
}

// Go runs f in a goroutine, for which Close waits. It is called during a dial,
// which may be over before f is.
func (d *Dials) Go(f func()) { d.running.Go(f) }

// Close ends all dials and waits for them, and for what they have started.
func (d *Dials) Close() {
	d.mu.Lock()
	d.closed = true
	for cancel := range d.cancels {
		(*cancel)(errHandlerClosed)
	}
	d.mu.Unlock()
	d.running.Wait()
}

// Ended returns nil while ctx goes on, and then why it has ended, so that
// errors.Is finds its error and its cause. Where the cause is that something has
// been closed, it is not said that ctx was cancelled.
func Ended(ctx context.Context) error {
	end := ctx.Err()
	if deadline, ok := ctx.Deadline(); end == nil && ok && !time.Now().Before(deadline) {
		// net sets the deadline on the socket, where it can pass a little
		// earlier than the timer of ctx.
		return context.DeadlineExceeded
	}
	if end == nil {
		return nil
	}
	switch cause := context.Cause(ctx); {
	case cause == end, errors.Is(cause, net.ErrClosed):
		return cause
	default:
		return fmt.Errorf("%w: %w", end, cause)
	}
}
