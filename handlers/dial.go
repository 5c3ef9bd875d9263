package handlers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Dial dials req.Hint through h, within h.DialTimeout, and makes what comes back
// uniform, whatever the handler is like:
//
//   - the error is an *Error with all its fields set. Its phase is the one the
//     handler named, or else the last one it reported as a Status;
//   - it wraps ErrTimeout and context.DeadlineExceeded if time ran out, be it
//     the handler's or that of ctx, and the error and the cause of ctx if ctx
//     has ended;
//   - Progress is not called any more once Dial has returned.
//
// A stream that h returns just as ctx ends is returned and is the caller's to
// close.
func Dial(ctx context.Context, h Handler, req DialRequest) (Stream, error) {
	started := time.Now()
	timeout := h.DialTimeout()
	if timeout <= 0 {
		timeout = DefaultDialTimeout
	}
	dialCtx, cancel := context.WithTimeout(ContextWithIsolation(ctx, req.Isolation), timeout)
	defer cancel()

	var lastPhase atomic.Value
	lastPhase.Store(PhaseParse)
	var returned atomic.Bool
	defer returned.Store(true)
	progress := req.Progress
	req.Progress = func(s Status) {
		if returned.Load() {
			return
		}
		lastPhase.Store(s.Phase)
		if progress != nil {
			progress(s)
		}
	}

	stream, err := h.Dial(dialCtx, req)
	switch {
	case err == nil && stream.Conn != nil:
		return stream, nil
	case err == nil:
		err = errors.New("the handler returned neither a stream nor an error")
	case stream.Conn != nil:
		stream.Close()
	}

	failure := Error{Phase: lastPhase.Load().(Phase), Err: err}
	if own, ok := err.(*Error); ok {
		failure.Err = errors.New("the handler gave no reason")
		if own != nil && own.Err != nil {
			failure.Err = own.Err
		}
		if own != nil && own.Phase != "" {
			failure.Phase = own.Phase
		}
	}
	failure.Hint = req.Hint
	failure.Handler = h.Description()
	failure.Elapsed = time.Since(started)
	if ended := dialCtx.Err(); ended != nil {
		failure.Err = wrapping(failure.Err, ended)
		if cause := context.Cause(ctx); cause != nil {
			failure.Err = wrapping(failure.Err, cause)
		}
	}
	if errors.Is(failure.Err, context.DeadlineExceeded) {
		failure.Err = wrapping(failure.Err, ErrTimeout)
	}
	return Stream{}, &failure
}

// wrapping returns err, put behind target unless it wraps that already.
func wrapping(err, target error) error {
	if errors.Is(err, target) {
		return err
	}
	return fmt.Errorf("%w: %w", target, err)
}
