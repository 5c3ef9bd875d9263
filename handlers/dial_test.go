package handlers_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
)

// fakeHandler is a transport whose dial is whatever a test says.
type fakeHandler struct {
	dial    func(context.Context, handlers.DialRequest) (handlers.Stream, error)
	timeout time.Duration
}

func (h fakeHandler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	return h.dial(ctx, req)
}
func (h fakeHandler) DialTimeout() time.Duration  { return h.timeout }
func (h fakeHandler) Exposure() handlers.Exposure { return handlers.Exposure{} }
func (h fakeHandler) Description() string         { return "fake" }
func (h fakeHandler) Close() error                { return nil }

// stalled waits for the end of ctx and returns err, or the context's error.
func stalled(err error) fakeHandler {
	return fakeHandler{dial: func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		req.Report(handlers.PhaseProxy, "waiting")
		<-ctx.Done()
		if err == nil {
			err = ctx.Err()
		}
		return handlers.Stream{}, err
	}}
}

// dialError dials "fake:x" and returns the error, of which there must be one.
func dialError(t *testing.T, ctx context.Context, h handlers.Handler) *handlers.Error {
	t.Helper()
	stream, err := handlers.Dial(ctx, h, handlers.DialRequest{Hint: "fake:x"})
	require.Nil(t, stream.Conn)
	var dialErr *handlers.Error
	require.ErrorAs(t, err, &dialErr)
	assert.Equal(t, "fake:x", dialErr.Hint.String())
	assert.Equal(t, "fake", dialErr.Handler)
	return dialErr
}

func TestDialReturnsTheHandlersStream(t *testing.T) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	stream, err := handlers.Dial(t.Context(), fakeHandler{dial: func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		assert.Equal(t, "iso", req.Isolation)
		assert.Equal(t, "iso", handlers.IsolationFromContext(ctx), "dialers below the handler see it too")
		return handlers.Stream{Conn: ours, Host: "h"}, nil
	}}, handlers.DialRequest{Hint: "fake:x", Isolation: "iso"})
	require.NoError(t, err)
	assert.Equal(t, handlers.Stream{Conn: ours, Host: "h"}, stream)
}

func TestDialCompletesTheHandlersError(t *testing.T) {
	cause := errors.New("cause")
	inner := &handlers.Error{Hint: "inner:y", Handler: "inner", Phase: handlers.PhaseParse, Err: cause}
	tests := []struct {
		name  string
		err   error
		phase handlers.Phase
	}{
		{"an Error with its phase", &handlers.Error{Phase: handlers.PhaseTransport, Err: cause}, handlers.PhaseTransport},
		{"an Error without a phase has the last one reported", &handlers.Error{Err: cause}, handlers.PhaseProxy},
		{"any other error has the last phase reported", cause, handlers.PhaseProxy},
		{"the Error of a handler below stays visible", &handlers.Error{Phase: handlers.PhaseDial, Err: inner}, handlers.PhaseDial},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialErr := dialError(t, t.Context(), fakeHandler{dial: func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
					req.Report(handlers.PhaseDial, "one")
					req.Report(handlers.PhaseProxy, "two")
					time.Sleep(time.Second)
					return handlers.Stream{}, test.err
				}})
				assert.Equal(t, test.phase, dialErr.Phase)
				assert.Equal(t, time.Second, dialErr.Elapsed)
				assert.ErrorIs(t, dialErr, cause)
				assert.NotErrorIs(t, dialErr, handlers.ErrTimeout)
			})
		})
	}
}

func TestDialErrorsAreForReading(t *testing.T) {
	err := &handlers.Error{Hint: "tcp:a.example:1", Handler: "tcp", Phase: handlers.PhaseDial, Elapsed: 1234567 * time.Microsecond, Err: handlers.ErrUnreachable}
	assert.Equal(t, "dialling tcp:a.example:1 by tcp failed in phase dial after 1.23457s: "+handlers.ErrUnreachable.Error(), err.Error())
	err = &handlers.Error{Hint: "odd:1:2", Phase: handlers.PhaseParse, Err: handlers.ErrNoHandler}
	assert.Equal(t, "dialling odd:1:2 failed in phase parse after 0s: "+handlers.ErrNoHandler.Error(), err.Error())
}

func TestDialEndsAtTheHandlersTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		timeout, want time.Duration
		err           error
	}{
		"its own":     {timeout: 90 * time.Second, want: 90 * time.Second},
		"the default": {timeout: 0, want: handlers.DefaultDialTimeout},
		"even if it hides the error of the context": {timeout: time.Second, want: time.Second, err: errors.New("gave up")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := stalled(test.err)
				h.timeout = test.timeout
				dialErr := dialError(t, t.Context(), h)
				assert.Equal(t, test.want, dialErr.Elapsed)
				assert.Equal(t, handlers.PhaseProxy, dialErr.Phase)
				assert.ErrorIs(t, dialErr, handlers.ErrTimeout)
				assert.ErrorIs(t, dialErr, context.DeadlineExceeded)
				if test.err != nil {
					assert.ErrorIs(t, dialErr, test.err)
				}
			})
		})
	}
}

func TestDialEndsWithTheCallersContext(t *testing.T) {
	t.Run("at its deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			dialErr := dialError(t, ctx, stalled(nil))
			assert.Equal(t, time.Second, dialErr.Elapsed)
			assert.ErrorIs(t, dialErr, handlers.ErrTimeout)
			assert.ErrorIs(t, dialErr, context.DeadlineExceeded)
		})
	})
	t.Run("when it is cancelled, and the cause can be found", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cause := errors.New("another hint won")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(2*time.Second, func() { cancel(cause) })
			dialErr := dialError(t, ctx, stalled(errors.New("gave up")))
			assert.Equal(t, 2*time.Second, dialErr.Elapsed)
			assert.ErrorIs(t, dialErr, context.Canceled)
			assert.ErrorIs(t, dialErr, cause)
			assert.NotErrorIs(t, dialErr, handlers.ErrTimeout)
		})
	})
}

func TestDialSurvivesHandlersThatBreakTheContract(t *testing.T) {
	t.Run("neither stream nor error", func(t *testing.T) {
		dialErr := dialError(t, t.Context(), fakeHandler{dial: func(context.Context, handlers.DialRequest) (handlers.Stream, error) {
			return handlers.Stream{}, nil
		}})
		assert.ErrorContains(t, dialErr, "neither")
	})
	t.Run("a stream and an error", func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		dialError(t, t.Context(), fakeHandler{dial: func(context.Context, handlers.DialRequest) (handlers.Stream, error) {
			return handlers.Stream{Conn: ours}, errors.New("odd")
		}})
		_, err := ours.Write([]byte("x"))
		assert.Error(t, err, "the stream was closed")
	})
	t.Run("an Error without a cause", func(t *testing.T) {
		var none *handlers.Error
		for _, err := range []error{none, &handlers.Error{}} {
			dialErr := dialError(t, t.Context(), fakeHandler{dial: func(context.Context, handlers.DialRequest) (handlers.Stream, error) {
				return handlers.Stream{}, err
			}})
			assert.ErrorContains(t, dialErr, "no reason")
		}
	})
	t.Run("progress after the end", func(t *testing.T) {
		var kept handlers.DialRequest
		var told []handlers.Status
		_, err := handlers.Dial(t.Context(), fakeHandler{dial: func(_ context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			kept = req
			req.Report(handlers.PhaseDial, "in time")
			return handlers.Stream{}, errors.New("failed")
		}}, handlers.DialRequest{Progress: func(s handlers.Status) { told = append(told, s) }})
		require.Error(t, err)
		kept.Report(handlers.PhaseDial, "late")
		assert.Equal(t, []handlers.Status{{Phase: handlers.PhaseDial, Text: "in time"}}, told)
	})
}

func TestReportNeedsNoListener(t *testing.T) {
	assert.NotPanics(t, func() { handlers.DialRequest{}.Report(handlers.PhaseDial, "nobody listens") })
}
