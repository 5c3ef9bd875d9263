package handlertest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
)

// closedDuring: Close ends the dials in progress.
func (k *kit) closedDuring(t *testing.T) {
	each(t, k.cfg.Silent, func(t *testing.T, silent silence) {
		h, req := silent(t)
		closing(t, h) // and once more below
		dials := []*dialling{k.start(t.Context(), h, req), k.start(t.Context(), h, req)}
		for _, d := range dials {
			k.untilItWaits(t, d, 20*time.Millisecond)
		}
		closeIt(t, "the handler", h.Close)
		for _, d := range dials {
			o := d.wait(t, atOnce, "the handler has been closed")
			assert.True(t, isClosed(o.err), "the error of a dial that Close has ended does not wrap net.ErrClosed: %v", o.err)
		}
	})
	t.Run("to a peer that answers", func(t *testing.T) {
		h := k.handler(t)
		var dialling sync.WaitGroup
		succeeded := make(chan struct{})
		var first sync.Once
		closed := make(chan struct{})
		for range 4 {
			dialling.Go(func() {
				for {
					o := k.dial(t.Context(), t, h, k.request())
					if o.err != nil {
						select {
						case <-closed:
						case <-time.After(2 * atOnce):
						}
						assert.True(t, isClosed(o.err), "a dial fails for another reason than that the handler is being closed: %v", o.err)
						first.Do(func() { close(succeeded) }) // or nobody would close
						return
					}
					// They go one after the other, so that the acceptor can keep up.
					accepted, err := k.station.find(o.stream)
					if assert.NoError(t, err, "the stream does not reach the acceptor") {
						closeBoth(t, o.stream, accepted)
					}
					o.stream.Close()
					first.Do(func() { close(succeeded) })
					select {
					case <-closed:
						// This one may have been faster than Close, the next cannot be.
						o := k.dial(t.Context(), t, h, k.request())
						if o.err == nil {
							o.stream.Close()
						}
						assert.True(t, isClosed(o.err), "the error of a dial after Close does not wrap net.ErrClosed: %v", o.err)
						return
					default:
					}
				}
			})
		}
		<-succeeded
		closeIt(t, "the handler", h.Close)
		close(closed)
		dialling.Wait()
	})
}

// closedAfter: Close leaves streams alone, can be called again, and lets nobody
// dial.
func (k *kit) closedAfter(t *testing.T) {
	h := k.handler(t)
	dialled, accepted := k.station.pair(t, k, h)
	closeIt(t, "the handler", h.Close)
	assertTheyTalk(t, k, dialled, accepted, "after Close of the handler")
	closeIt(t, "the handler, the second time,", h.Close)
	o := k.dial(t.Context(), t, h, k.request())
	if o.err == nil {
		o.stream.Close()
	}
	assert.True(t, isClosed(o.err), "the error of a dial after Close does not wrap net.ErrClosed: %v", o.err)
	assertTheyTalk(t, k, dialled, accepted, "after Close of the handler")
}

// callsAtATime: any methods can be called at a time, Close too.
func (k *kit) callsAtATime(t *testing.T) {
	t.Run("of a handler", func(t *testing.T) {
		h := k.cfg.NewHandler(t)
		closeAmidst(t, "the handler", h.Close, func() { h.Description() }, func() { h.Exposure() }, func() { h.DialTimeout() })
	})
	t.Run("of an acceptor", func(t *testing.T) {
		a := k.cfg.NewAcceptor(t, k.server.cert)
		k.advertised(t, a)
		closeAmidst(t, "the acceptor", a.Close, func() { a.Hints() }, func() { a.Exposure() })
	})
}

// closeAmidst closes something twice at a time while others call its other methods,
// which they also do once more afterwards.
func closeAmidst(t *testing.T, what string, shut func() error, calls ...func()) {
	t.Helper()
	closed := make(chan struct{})
	ended := make(chan string, len(calls)) // what went wrong
	for _, call := range calls {
		go func() {
			defer func() {
				wrong := ""
				if r := recover(); r != nil {
					wrong = fmt.Sprintf("%v\n%s", r, debug.Stack())
				}
				ended <- wrong
			}()
			for last := false; !last; {
				last = isOver(closed)
				call()
			}
		}()
	}
	var closing sync.WaitGroup
	begin := make(chan struct{})
	for range 2 {
		closing.Go(func() {
			<-begin
			closeIt(t, what+", twice at a time,", shut)
		})
	}
	close(begin)
	closing.Wait()
	close(closed)
	late := time.After(atOnce)
	for range calls {
		select {
		case wrong := <-ended:
			assert.Empty(t, wrong, "a method of %s panicked beside Close", what)
		case <-late:
			require.FailNow(t, "a method of "+what+" that was called beside Close has not returned")
		}
	}
}

// closedAcceptor: Close ends Accept for good, and leaves streams alone.
func (k *kit) closedAcceptor(t *testing.T) {
	a := k.cfg.NewAcceptor(t, k.server.cert)
	k.advertised(t, a)
	waiting := make(chan error, 2)
	for range cap(waiting) {
		go func() {
			s, err := accept(a)
			if err == nil {
				s.Close()
			}
			waiting <- err
		}()
	}
	closeIt(t, "the acceptor", a.Close)
	accepted := func(when string) {
		t.Helper()
		select {
		case err := <-waiting:
			assert.True(t, isClosed(err), "the error of an Accept that %s does not wrap net.ErrClosed: %v", when, err)
		case <-time.After(atOnce):
			require.FailNow(t, "an Accept that "+when+" does not end")
		}
	}
	for range cap(waiting) {
		accepted("Close has ended")
	}
	closeIt(t, "the acceptor, the second time,", a.Close)
	go func() { _, err := accept(a); waiting <- err }()
	accepted("begins after Close")

	t.Run("leaves streams alone", func(t *testing.T) {
		s := k.newStation(t)
		h := k.handler(t)
		dialled, accepted := s.pair(t, k, h)
		s.close(t)
		assertTheyTalk(t, k, dialled, accepted, "after Close of the acceptor")
	})
	t.Run("is not reached any more", func(t *testing.T) {
		s := k.newStation(t)
		s.close(t)
		req := k.request()
		req.Hint = s.hint
		h := k.handler(t)
		ctx, cancel := context.WithTimeout(t.Context(), k.cfg.Timeout)
		defer cancel()
		o := k.dial(ctx, t, h, req)
		if o.err == nil {
			o.stream.Close()
		}
		var known bool
		for _, sentinel := range []error{
			handlers.ErrUnreachable, handlers.ErrProxyRefused, handlers.ErrNameNotResolved, handlers.ErrTimeout, context.DeadlineExceeded,
		} {
			known = known || errors.Is(o.err, sentinel)
		}
		assert.True(t, known, "the error wraps none of ErrUnreachable, ErrProxyRefused, ErrNameNotResolved and ErrTimeout: %v", o.err)
		notOf(t, o.err, handlers.ErrInvalidHint, handlers.ErrWrongTub)
	})
}
