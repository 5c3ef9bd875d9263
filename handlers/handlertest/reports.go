package handlertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
)

// progress: dials say what they wait for, in order, and not after their end,
// whatever that is.
func (k *kit) progress(t *testing.T) {
	t.Run("of a dial that succeeds", func(t *testing.T) {
		h := k.cfg.NewHandler(t)
		var reports []*progress
		for range 5 {
			o := k.dial(t.Context(), t, h, k.request())
			require.NoError(t, o.err)
			o.progress.inOrder(t)
			reports = append(reports, o.progress)
			o.stream.Close()
		}
		closeAndListen(t, h)
		for _, p := range reports {
			p.check(t, false)
		}
	})
	t.Run("of a dial that is cancelled", func(t *testing.T) {
		h := k.cfg.NewHandler(t)
		ctx, cancel := context.WithCancel(t.Context())
		d := k.start(ctx, h, k.request())
		cancel()
		if o := d.wait(t, atOnce, "its context was cancelled"); o.err == nil {
			o.stream.Close()
		}
		closeAndListen(t, h)
		d.progress.check(t, false)
	})
	each(t, k.cfg.Silent, func(t *testing.T, silent silence) {
		h, req := silent(t)
		ctx, cancel := context.WithCancel(t.Context())
		d := k.start(ctx, h, req)
		k.untilItWaits(t, d, 20*time.Millisecond)
		cancel()
		d.wait(t, atOnce, "its context was cancelled")
		closeAndListen(t, h)
		d.progress.check(t, true)
	})
	t.Run("that nobody wants to hear", func(t *testing.T) {
		h := k.handler(t)
		d := k.startTelling(t.Context(), h, k.request(), new(progress)) // it is not told
		o := d.wait(t, k.cfg.Timeout+atOnce, "nothing keeps it waiting (see Config.Timeout)")
		require.NoError(t, o.err)
		o.stream.Close()
	})
}

// closeAndListen closes a handler, with which all that its dials have left running
// has to end, and waits for what may come all the same.
func closeAndListen(t *testing.T, h handlers.Handler) {
	t.Helper()
	closeIt(t, "the handler", h.Close)
	<-time.After(atOnce / 6)
}

// failures: dials fail in the phase and for the reason that they should, and the
// handler says who it is.
func (k *kit) failures(t *testing.T) {
	assert.NotEmpty(t, k.handler(t).Description(), "Description, which stands in errors")
	each(t, k.cfg.Failures, func(t *testing.T, failure Failure) {
		h, req := failure.Dial(t)
		closing(t, h)
		ctx, cancel := context.WithTimeout(t.Context(), k.cfg.Timeout)
		defer cancel()
		o := k.dial(ctx, t, h, req)
		if o.err == nil {
			o.stream.Close()
			require.FailNow(t, "the dial has succeeded")
		}
		assert.Equal(t, failure.Phase, phaseOf(o.err), "the phase of: %v", o.err)
		if errors.Is(o.err, context.DeadlineExceeded) {
			o.err = fmt.Errorf("%w: %w", handlers.ErrTimeout, o.err) // as the function handlers.Dial does
		}
		assert.ErrorIs(t, o.err, failure.Err)
	})
}
