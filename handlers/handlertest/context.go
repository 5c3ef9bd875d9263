package handlertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
)

// errEnough is why the kit ends a context.
var errEnough = errors.New("handlertest: that is enough")

// endedBefore: a dial whose context has ended fails with the context's error and
// cause.
func (k *kit) endedBefore(t *testing.T) {
	h := k.handler(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	for range 20 { // either of two events may be seen first
		o := k.start(ctx, h, k.request()).wait(t, atOnce, "its context had ended before")
		if o.err == nil {
			o.stream.Close()
			require.FailNow(t, "a dial whose context had ended has succeeded")
		}
		require.ErrorIs(t, o.err, context.Canceled)
		require.ErrorIs(t, o.err, errEnough, "the cause of the context")
		notOf(t, o.err, handlers.ErrTimeout, handlers.ErrUnreachable)
	}
}

// endedDuring: a dial in progress returns at once when its context ends, also one
// that runs beside another.
func (k *kit) endedDuring(t *testing.T) {
	each(t, k.cfg.Silent, func(t *testing.T, silent silence) {
		each(t, map[string]time.Duration{"at the first report": 0, "a little later": 50 * time.Millisecond}, func(t *testing.T, wait time.Duration) {
			h, req := silent(t)
			closing(t, h)
			others, endOthers := context.WithCancel(t.Context())
			defer endOthers()
			beside := k.start(others, h, req)
			k.untilItWaits(t, beside, 0)

			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			d := k.start(ctx, h, req)
			k.untilItWaits(t, d, wait)
			cancel(errEnough)
			o := d.wait(t, atOnce, "its context was cancelled")
			assert.ErrorIs(t, o.err, context.Canceled)
			assert.ErrorIs(t, o.err, errEnough, "the cause of the context")
			notOf(t, o.err, handlers.ErrTimeout, handlers.ErrUnreachable)

			select {
			case <-beside.done:
				assert.Fail(t, "another dial has ended, too", "%v", beside.err)
			case <-time.After(20 * time.Millisecond):
			}
			endOthers()
			beside.wait(t, atOnce, "its context was cancelled")
		})
	})
}

// deadline: a dial in progress ends with its context's deadline, and not before.
func (k *kit) deadline(t *testing.T) {
	each(t, k.cfg.Silent, func(t *testing.T, silent silence) {
		h, req := silent(t)
		closing(t, h)
		const limit = 200 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		o := k.start(ctx, h, req).wait(t, limit+atOnce, "the deadline of its context has passed")
		assert.ErrorIs(t, o.err, context.DeadlineExceeded)
		assert.Greater(t, o.took, limit-limit/10, "the dial ended before its deadline: %v", o.err)
	})
	t.Run("that has passed", func(t *testing.T) {
		h := k.handler(t)
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		o := k.start(ctx, h, k.request()).wait(t, atOnce, "the deadline of its context has passed")
		if o.err == nil {
			o.stream.Close()
		}
		assert.ErrorIs(t, o.err, context.DeadlineExceeded)
	})
}

// endedAfter: the context has nothing to do with the stream, neither when it is
// cancelled nor when its deadline passes, nor a little later.
func (k *kit) endedAfter(t *testing.T) {
	const later = 200 * time.Millisecond
	h := k.handler(t)
	ctx, cancel := context.WithTimeout(t.Context(), k.cfg.Timeout)
	defer cancel()
	first := k.dial(ctx, t, h, k.request())
	require.NoError(t, first.err)
	cancel()
	firstAccepted := k.station.meet(t, first.stream)

	var second outcome
	for limit := 4*first.took + later; ; limit *= 2 {
		ctx, cancel = context.WithTimeout(t.Context(), limit)
		defer cancel()
		second = k.dial(ctx, t, h, k.request())
		if limit >= k.cfg.Timeout || !errors.Is(second.err, context.DeadlineExceeded) {
			break
		}
	}
	require.NoError(t, second.err)
	secondAccepted := k.station.meet(t, second.stream)
	<-ctx.Done()
	<-time.After(later)
	assertTheyTalk(t, k, first.stream, firstAccepted, "after the dial's context was cancelled")
	assertTheyTalk(t, k, second.stream, secondAccepted, "after the deadline of the dial's context")
}

// A silence is an entry of Config.Silent.
type silence = func(*testing.T) (handlers.Handler, handlers.DialRequest)

// untilItWaits waits for the first report of a dial, if it comes soon, and then
// for a while.
func (k *kit) untilItWaits(t *testing.T, d *dialling, then time.Duration) {
	t.Helper()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-d.progress.told:
	case <-d.done:
	case <-timer.C:
	}
	timer.Reset(then)
	select {
	case <-d.done:
		o := d.wait(t, atOnce, "it has")
		if o.err == nil {
			o.stream.Close()
		}
		require.FailNow(t, "a silent dial has ended before its time", "%v", o.err)
	case <-timer.C:
	}
}

// notOf asserts that err is none of these.
func notOf(t *testing.T, err error, others ...error) {
	t.Helper()
	for _, other := range others {
		assert.False(t, errors.Is(err, other), "%v\nclaims to be: %v", err, other)
	}
}
