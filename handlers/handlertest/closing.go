package handlertest

import (
	"context"
	"errors"
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

// closedAcceptor: Close ends Accept for good, and leaves streams alone.
func (k *kit) closedAcceptor(t *testing.T) {
	a := k.cfg.NewAcceptor(t, k.server.cert)
	k.advertised(t, a)
	waiting := make(chan error, 2)
	for range cap(waiting) {
		go func() {
			s, err := a.Accept()
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
	go func() { _, err := a.Accept(); waiting <- err }()
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
		for _, sentinel := range []error{handlers.ErrUnreachable, handlers.ErrProxyRefused, handlers.ErrTimeout, context.DeadlineExceeded} {
			known = known || errors.Is(o.err, sentinel)
		}
		assert.True(t, known, "the error wraps none of ErrUnreachable, ErrProxyRefused and ErrTimeout: %v", o.err)
		notOf(t, o.err, handlers.ErrInvalidHint, handlers.ErrWrongTub)
	})
}
