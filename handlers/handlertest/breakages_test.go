package handlertest_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A breakage is a way in which a transport can be broken, the check that has to
// catch it, and something that it then says.
type breakage struct {
	name, check, says string
	change            func(tr *transport)
}

type dialFunc = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error)

func dials(f dialFunc) func(*transport) { return func(tr *transport) { tr.dial = f } }

// onStream changes the streams that are dialled.
func onStream(f func(ctx context.Context, s *handlers.Stream)) func(*transport) {
	return dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		s, err := h.Dial(ctx, req)
		if err == nil {
			f(ctx, &s)
		}
		return s, err
	})
}

// onError changes the errors of dials.
func onError(f func(err *handlers.Error) (handlers.Stream, error)) func(*transport) {
	return dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		s, err := h.Dial(ctx, req)
		if failed, ok := err.(*handlers.Error); ok {
			return f(failed)
		}
		return s, err
	})
}

var breakages = []breakage{
	{
		"panics at a hint without an address", "hints that are garbage", "panicked",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			_ = req.Hint.Address()[0]
			return h.Dial(ctx, req)
		}),
	},
	{
		"calls a bad hint unreachable", "hints that are garbage", "ErrInvalidHint",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			if errors.Is(err, handlers.ErrInvalidHint) {
				err.Phase, err.Err = handlers.PhaseDial, handlers.ErrUnreachable
			}
			return handlers.Stream{}, err
		}),
	},
	{
		"takes hints of any type", "hints that are garbage", "dialling",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			if a, b := net.Pipe(); req.Hint.Type() == "no-such-type" {
				b.Close()
				return handlers.Stream{Conn: a}, nil
			}
			return h.Dial(ctx, req)
		}),
	},
	{
		"ignores that its context has ended", "a context that has ended", "whose context had ended has succeeded",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			return h.Dial(context.WithoutCancel(ctx), req)
		}),
	},
	{
		"hides why its context has ended", "a context that has ended", "context canceled",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			err.Err = errBroken
			return handlers.Stream{}, err
		}),
	},
	{
		"hides the cause that its context had", "a context that has ended", "the cause of the context", hidesCause,
	},
	{
		"hides the cause that its context has", "a context that ends during the dial/nobody answers/a little later", "the cause of the context", hidesCause,
	},
	{
		"ignores that its context ends", "a context that ends during the dial/nobody answers/at the first report", "Dial of \"tcp:192.0.2.1:1\" has not returned",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			return h.Dial(context.WithoutCancel(ctx), req)
		}),
	},
	{
		"calls a cancelled dial a timeout", "a context that ends during the dial", "claims to be",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			err.Err = fmt.Errorf("%w: %w", handlers.ErrTimeout, err.Err)
			return handlers.Stream{}, err
		}),
	},
	{
		"lets one dial wait for another", "a context that ends during the dial", "has not returned",
		func(tr *transport) {
			var one sync.Mutex
			tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
				one.Lock()
				defer one.Unlock()
				return h.Dial(ctx, req)
			}
		},
	},
	{
		"ends all dials with one", "a context that ends during the dial", "another dial has ended, too",
		func(tr *transport) {
			all, end := context.WithCancel(context.Background())
			tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
				defer context.AfterFunc(ctx, end)()
				return h.Dial(all, req)
			}
		},
	},
	{
		"ignores the deadline", "a deadline/nobody answers", "the deadline of its context has passed",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			return h.Dial(context.WithoutCancel(ctx), req)
		}),
	},
	{
		"ignores a deadline that has passed", "a deadline/that has passed", "deadline exceeded",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				ctx = context.WithoutCancel(ctx)
			}
			return h.Dial(ctx, req)
		}),
	},
	{
		"gives up before the deadline", "a deadline/nobody answers", "deadline exceeded",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Millisecond, errBroken)
			defer cancel()
			s, err := h.Dial(ctx, req)
			if err != nil {
				return failing(req, handlers.PhaseDial, context.Cause(ctx))
			}
			return s, nil
		}),
	},
	{
		"ties the stream to the context", "a context that ends after the dial", "does not reach the acceptor",
		onStream(func(ctx context.Context, s *handlers.Stream) {
			conn, closed := s.Conn, make(chan struct{})
			context.AfterFunc(ctx, func() { conn.Close(); close(closed) })
			s.Conn = closedSoon{conn, closed}
		}),
	},
	{
		"ties the stream to the context, with delay", "a context that ends after the dial", "after the dial's context was cancelled",
		onStream(func(ctx context.Context, s *handlers.Stream) {
			conn := s.Conn
			context.AfterFunc(ctx, func() { time.AfterFunc(100*time.Millisecond, func() { conn.Close() }) })
		}),
	},
	{
		"ties the stream to the deadline of the context, with delay", "a context that ends after the dial", "after the deadline of the dial's context",
		onStream(func(ctx context.Context, s *handlers.Stream) {
			conn := s.Conn
			context.AfterFunc(ctx, func() {
				if errors.Is(ctx.Err(), context.DeadlineExceeded) {
					time.AfterFunc(100*time.Millisecond, func() { conn.Close() })
				}
			})
		}),
	},
	{
		"leaves the deadline of the context on the stream", "a context that ends after the dial", "after the deadline of the dial's context",
		onStream(func(ctx context.Context, s *handlers.Stream) {
			if deadline, ok := ctx.Deadline(); ok {
				s.SetDeadline(deadline)
			}
		}),
	},
	{
		"dials one at a time", "concurrent dials", "one of 20 dials at a time",
		func(tr *transport) {
			var busy atomic.Bool
			tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
				if busy.Swap(true) {
					return failing(req, handlers.PhaseDial, errBroken)
				}
				defer busy.Store(false)
				return h.Dial(ctx, req)
			}
		},
	},
	{
		"takes isolations for header lines", "concurrent dials", "isolation",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			if len(req.Isolation) > 255 {
				return failing(req, handlers.PhaseDial, errBroken)
			}
			return h.Dial(ctx, req)
		}),
	},
	{
		"hands the same stream out twice", "concurrent dials", "does not reach the acceptor",
		func(tr *transport) {
			var mu sync.Mutex
			var last handlers.Stream
			tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
				mu.Lock()
				defer mu.Unlock()
				if s := last; s.Conn != nil {
					last = handlers.Stream{}
					return s, nil
				}
				s, err := h.Dial(ctx, req)
				last = s
				return s, err
			}
		},
	},
	{
		"leaves dials in progress alone when it is closed", "a handler closed during dials/nobody answers", "has not returned",
		func(tr *transport) { tr.close = func(handlers.Handler) error { return nil } },
	},
	{
		"does not say that it is closed", "a handler closed during dials", "net.ErrClosed",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			if errors.Is(err, net.ErrClosed) {
				err.Err = handlers.ErrUnreachable
			}
			return handlers.Stream{}, err
		}),
	},
	{
		"goes on dialling when it is closed", "a handler closed during dials/to a peer that answers", "a dial after Close",
		func(tr *transport) { tr.close = func(handlers.Handler) error { return nil } },
	},
	{
		"closes its streams when it is closed", "a handler closed after dials", "after Close of the handler",
		func(tr *transport) {
			var last atomic.Value
			onStream(func(_ context.Context, s *handlers.Stream) { last.Store(s.Conn) })(tr)
			tr.close = func(h handlers.Handler) error {
				if conn, ok := last.Load().(net.Conn); ok {
					conn.Close()
				}
				return h.Close()
			}
		},
	},
	{
		"dials after it is closed", "a handler closed after dials", "a dial after Close",
		func(tr *transport) { tr.close = func(handlers.Handler) error { return nil } },
	},
	{
		"fails to close twice", "a handler closed after dials", "the second time",
		func(tr *transport) {
			var closed atomic.Bool
			tr.close = func(h handlers.Handler) error {
				if closed.Swap(true) {
					return errBroken
				}
				return h.Close()
			}
		},
	},
	{
		"hangs in Close", "a handler closed after dials", "has not returned",
		func(tr *transport) {
			tr.close = func(h handlers.Handler) error { select {} }
		},
	},
	{
		"cannot be closed twice at a time", "calls at a time/of a handler", "twice at a time",
		func(tr *transport) {
			closing := alone()
			tr.close = func(h handlers.Handler) error {
				if !closing() {
					return errBroken
				}
				return h.Close()
			}
		},
	},
	{
		"panics when it is asked beside Close", "calls at a time/of a handler", "a method of the handler panicked",
		func(tr *transport) {
			var closing atomic.Bool
			tr.close = func(h handlers.Handler) error { closing.Store(true); return h.Close() }
			tr.describe = func() string {
				if closing.Load() {
					panic(errBroken)
				}
				return "broken"
			}
		},
	},
	{
		"does not answer beside Close", "calls at a time/of an acceptor", "has not returned",
		func(tr *transport) {
			var closing atomic.Bool
			tr.aClose = func(a *acceptor) error { closing.Store(true); return a.Acceptor.Close() }
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
				if closing.Load() {
					select {}
				}
				return a.Acceptor.Hints()
			}
		},
	},
	{
		"panics when it is closed twice at a time, where it accepts", "calls at a time/of an acceptor", "it panicked",
		func(tr *transport) {
			closing := alone()
			tr.aClose = func(a *acceptor) error {
				if !closing() {
					panic(errBroken)
				}
				return a.Acceptor.Close()
			}
		},
	},
	{
		"shows the certificate that is wanted", "who is at the other end/when another Tub is wanted", "the Tub that has answered instead",
		func(tr *transport) {
			authenticates(tr)
			dial := tr.dial
			tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
				s, err := dial(h, ctx, req)
				if err == nil && req.Target == furl.TubIDOf(req.Identity.Leaf.Raw) {
					s.Peer = req.Identity.Leaf
				}
				return s, err
			}
		},
	},
	{
		"does not say that another Tub has answered", "who is at the other end/when another Tub is wanted", "another Tub answers than",
		func(tr *transport) {
			authenticates(tr)
			dial := tr.dial
			tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
				s, err := dial(h, ctx, req)
				if err == nil && req.Target != furl.TubIDOf(s.Peer.Raw) {
					s.Close()
					return failing(req, handlers.PhaseTransport, handlers.ErrUnreachable)
				}
				return s, err
			}
		},
	},
	{
		"does not know the host", "who is at the other end", "Host of the stream",
		onStream(func(_ context.Context, s *handlers.Stream) { s.Host += ":80" }),
	},
	{
		"knows a host that has connected", "who is at the other end", "Host of an accepted stream",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				s.Host = "a.example"
				return s, err
			}
		},
	},
	{
		"claims to know the peer", "who is at the other end", "does not authenticate",
		onStream(func(_ context.Context, s *handlers.Stream) { s.Peer = new(x509.Certificate) }),
	},
	{
		"takes one peer for another", "who is at the other end", "the Tub that was dialled",
		func(tr *transport) {
			tr.authenticates = true
			onStream(func(_ context.Context, s *handlers.Stream) { s.Peer = &x509.Certificate{Raw: []byte("another")} })(tr)
		},
	},
	{
		"does not know the peer", "who is at the other end", "Peer of the stream that was accepted",
		func(tr *transport) { tr.authenticates = true },
	},
	{
		"harms bytes", "bulk both ways", "is not what was sent",
		onStream(func(_ context.Context, s *handlers.Stream) { s.Conn = &harming{Conn: s.Conn} }),
	},
	{
		"loses bytes", "bulk both ways", "bytes to the acceptor",
		onStream(func(_ context.Context, s *handlers.Stream) { s.Conn = &harming{Conn: s.Conn, lose: true} }),
	},
	{
		"has timeouts that are not net.Error", "the stream is a net.Conn/dialled/ReadTimeout", "want net.Error",
		onStream(func(_ context.Context, s *handlers.Stream) { s.Conn = wrapping{s.Conn} }),
	},
	{
		"has timeouts that are not net.Error, where it accepts", "the stream is a net.Conn/accepted/ReadTimeout", "want net.Error",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err == nil {
					s.Conn = wrapping{s.Conn}
				}
				return s, err
			}
		},
	},
	{
		"lets a silent peer hold up Accept", "half-open peers/that say nothing", "does not reach the acceptor",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err != nil {
					return s, err
				}
				first := make([]byte, 1)
				if _, err := io.ReadFull(s, first); err != nil {
					return s, nil
				}
				s.Conn = &unread{s.Conn, first}
				return s, nil
			}
		},
	},
	{
		"lets a peer that goes end Accept", "half-open peers/that go at once", "does not reach the acceptor",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err != nil {
					return s, err
				}
				first := make([]byte, 1)
				if _, err := io.ReadFull(s, first); err != nil {
					s.Close()
					return handlers.Stream{}, err
				}
				s.Conn = &unread{s.Conn, first}
				return s, nil
			}
		},
	},
	{
		"does not tell the peer that it closes", "half-open peers/that have dialled and go", "does not notice that the peer has gone",
		onStream(func(_ context.Context, s *handlers.Stream) { s.Conn = leaking{s.Conn} }),
	},
	{
		"does not tell the peer that it closes, where it accepts", "half-open peers/that have accepted and go", "does not notice that the peer has gone",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err == nil {
					s.Conn = leaking{s.Conn}
				}
				return s, err
			}
		},
	},
	{
		"reports when it has been closed", "progress/of a dial that succeeds", "after Dial had returned",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			defer time.AfterFunc(30*time.Millisecond, func() { req.Report(handlers.PhaseDial, "closing what is left") })
			return h.Dial(ctx, req)
		}),
	},
	{
		"reports after a dial that was cancelled soon", "progress/of a dial that is cancelled", "after Dial had returned", reportsLate,
	},
	{
		"reports after Dial has returned", "progress/of a dial that succeeds", "after Dial had returned", reportsLate,
	},
	{
		"reports after a dial that was cancelled", "progress/nobody answers", "after Dial had returned", reportsLate,
	},
	{
		"says nothing of what it waits for", "progress/nobody answers", "says what for",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			req.Progress = nil
			return h.Dial(ctx, req)
		}),
	},
	{
		"cannot do without somebody who listens", "progress/that nobody wants to hear", "panic",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			req.Progress(handlers.Status{Phase: handlers.PhaseDial, Text: "connecting"})
			return h.Dial(ctx, req)
		}),
	},
	{
		"reports from two goroutines", "progress/of a dial that succeeds", "two goroutines reported at a time",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					for range 1000 {
						req.Report(handlers.PhaseDial, "connecting")
					}
				})
			}
			both.Wait()
			return h.Dial(ctx, req)
		}),
	},
	{
		"reports phases backwards", "progress/of a dial that succeeds", "the phases went backwards",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			req.Report(handlers.PhaseTransport, "shaking hands")
			return h.Dial(ctx, req)
		}),
	},
	{
		"reports the Tub's phase", "progress/of a dial that succeeds", "none of a handler's",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			req.Report(handlers.PhaseNegotiate, "negotiating")
			return h.Dial(ctx, req)
		}),
	},
	{
		"returns any error", "failures/refused", "no *handlers.Error",
		onError(func(err *handlers.Error) (handlers.Stream, error) { return handlers.Stream{}, err.Err }),
	},
	{
		"returns an error that says nothing", "failures/refused", "has no Err",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			return handlers.Stream{}, &handlers.Error{Phase: handlers.PhaseDial}
		}),
	},
	{
		"returns an error without a phase", "failures/refused", "in the phase",
		onError(func(err *handlers.Error) (handlers.Stream, error) { err.Phase = ""; return handlers.Stream{}, err }),
	},
	{
		"fails in another phase", "failures/refused", "the phase of",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			err.Phase = handlers.PhaseProxy
			return handlers.Stream{}, err
		}),
	},
	{
		"fails for a reason that the phase excludes", "failures/refused", "cannot occur in the phase",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			err.Phase = handlers.PhaseParse
			return handlers.Stream{}, err
		}),
	},
	{
		"leaves out the sentinel", "failures/refused", "nothing accepts connections there",
		onError(func(err *handlers.Error) (handlers.Stream, error) { err.Err = errBroken; return handlers.Stream{}, err }),
	},
	{
		"returns a stream beside the error", "failures/refused", "exactly one may be set",
		onError(func(err *handlers.Error) (handlers.Stream, error) {
			a, b := net.Pipe()
			b.Close()
			return handlers.Stream{Conn: a}, err
		}),
	},
	{
		"returns nothing at all", "failures/refused", "neither a stream nor an error",
		onError(func(*handlers.Error) (handlers.Stream, error) { return handlers.Stream{}, nil }),
	},
	{
		"does not say what it is", "failures", "Description",
		func(tr *transport) { tr.describe = func() string { return "" } },
	},
	{
		"shows the address that it claims to hide", "exposure", "but the peer sees it",
		func(tr *transport) { tr.exposure = hidden },
	},
	{
		"shows the port that it claims to hide", "exposure", "but the peer sees it",
		func(tr *transport) {
			tr.exposure = hidden
			onStream(func(_ context.Context, s *handlers.Stream) { s.Conn = unconnected{s.Conn} })(tr)
		},
	},
	{
		"begins to reveal more", "exposure", "the handler began to reveal more",
		func(tr *transport) {
			var asked atomic.Bool
			tr.exposure = func(handlers.Handler) handlers.Exposure {
				return handlers.Exposure{HidesLookups: !asked.Swap(true)}
			}
		},
	},
	{
		"begins to reveal more, where it accepts", "exposure", "the acceptor began to reveal more",
		func(tr *transport) {
			var asked atomic.Bool
			tr.aExposure = func(handlers.Acceptor) handlers.Exposure {
				return handlers.Exposure{HidesLookups: !asked.Swap(true)}
			}
		},
	},
	{
		"advertises the address that it claims to hide", "exposure", "contains one",
		func(tr *transport) {
			tr.aExposure = func(handlers.Acceptor) handlers.Exposure {
				return handlers.Exposure{HidesAddress: true, HidesLookups: true}
			}
		},
	},
	{
		"looks names up in secret", "look-ups", "the handler declares to hide look-ups",
		func(tr *transport) { tr.exposure = hidden },
	},
	{
		"looks names up in secret, where it accepts", "look-ups", "the acceptor declares to hide look-ups",
		func(tr *transport) {
			tr.aExposure = func(handlers.Acceptor) handlers.Exposure { return handlers.Exposure{HidesLookups: true} }
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
				_, _ = net.DefaultResolver.LookupNetIP(context.Background(), "ip", "me.handlertest.invalid")
				return a.Acceptor.Hints()
			}
		},
	},
	{
		"shares its slice of hints", "hints come and go", "has changed the acceptor's hints",
		func(tr *transport) {
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) { return a.announced, a.changed }
		},
	},
	{
		"advertises what is no hint", "hints come and go", "a,b",
		func(tr *transport) {
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
				hints, changed := a.Acceptor.Hints()
				return append(hints, "tcp:a,b"), changed
			}
		},
	},
	{
		"advertises a wildcard address", "hints come and go", "wildcard",
		func(tr *transport) {
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
				hints, changed := a.Acceptor.Hints()
				for i, hint := range hints {
					_, port, _ := hint.HostPort()
					hints[i] = furl.StreamHint("tcp", "0.0.0.0", port)
				}
				return hints, changed
			}
		},
	},
	{
		"says at all times that the hints have changed", "hints come and go", "run in circles",
		func(tr *transport) {
			over := make(chan struct{})
			close(over)
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
				hints, _ := a.Acceptor.Hints()
				return hints, over
			}
		},
	},
	{
		"still advertises when it is closed", "hints come and go", "hints after Close",
		func(tr *transport) {
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
				return append([]furl.Hint{}, a.announced...), nil
			}
		},
	},
	{
		"does not say that it takes the hints back", "hints come and go", "Close takes the hints back",
		func(tr *transport) {
			tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
				hints, changed := a.Acceptor.Hints()
				if changed != nil {
					changed = make(chan struct{})
				}
				return hints, changed
			}
		},
	},
	{
		"does not say that the hints have changed", "hints come and go", "the hints have changed, but the channel is not closed",
		changes(func(a *acceptor) {
			a.announced = []furl.Hint{"tcp:127.0.0.1:1"}
		}),
	},
	{
		"says that the hints have changed when they have not", "hints come and go", "but the hints are the same",
		changes(func(a *acceptor) {
			close(a.changed)
			a.changed = make(chan struct{})
		}),
	},
	{
		"never advertises anything", "", "advertises nothing and never will",
		func(tr *transport) {
			tr.hints = func(*acceptor) ([]furl.Hint, <-chan struct{}) { return nil, nil }
		},
	},
	{
		"does not end Accept when it is closed", "a closed acceptor", "does not end",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err != nil {
					select {}
				}
				return s, err
			}
		},
	},
	{
		"ends Accept for no known reason", "a closed acceptor", "does not wrap net.ErrClosed",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err != nil {
					err = io.EOF
				}
				return s, err
			}
		},
	},
	{
		"accepts nothing when it is closed", "a closed acceptor", "neither a stream nor an error",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, _ := a.Accept()
				return s, nil
			}
		},
	},
	{
		"accepts nothing", "half-open peers/that say nothing", "neither a stream nor an error",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err == nil {
					s.Close()
				}
				return handlers.Stream{}, err
			}
		},
	},
	{
		"accepts a stream and an error", "half-open peers/that say nothing", "exactly one may be set",
		func(tr *transport) {
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err == nil {
					err = errBroken
				}
				return s, err
			}
		},
	},
	{
		"closes its streams when the acceptor is closed", "a closed acceptor/leaves streams alone", "after Close of the acceptor",
		func(tr *transport) {
			var mu sync.Mutex
			var open []net.Conn
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err == nil {
					mu.Lock()
					open = append(open, s.Conn)
					mu.Unlock()
				}
				return s, err
			}
			tr.aClose = func(a *acceptor) error {
				mu.Lock()
				defer mu.Unlock()
				for _, conn := range open {
					conn.Close()
				}
				return a.Acceptor.Close()
			}
		},
	},
	{
		"goes on listening when it is closed", "a closed acceptor/is not reached any more", "wraps none of",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			s, err := h.Dial(ctx, req)
			if errors.Is(err, handlers.ErrUnreachable) {
				a, b := net.Pipe()
				b.Close()
				return handlers.Stream{Conn: a}, nil
			}
			return s, err
		}),
	},
	{
		"leaves a goroutine behind", "nothing is left behind", "left behind after Close",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			if ctx.Err() != nil {
				go func() { select {} }()
			}
			return h.Dial(ctx, req)
		}),
	},
	{
		"does not wait for its goroutines", "nothing is left behind", "left behind after Close",
		dials(func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			go func() { <-time.After(700 * time.Millisecond) }()
			return h.Dial(ctx, req)
		}),
	},
	{
		"leaves a file open", "nothing is left behind", "× ",
		func(tr *transport) {
			var kept []*os.File
			tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
				s, err := a.Accept()
				if err == nil {
					f, _ := s.Conn.(*net.TCPConn).File()
					kept = append(kept, f)
				}
				return s, err
			}
		},
	},
	{
		"cuts long writes short", "a conversation", "conversation.go",
		onStream(func(_ context.Context, s *handlers.Stream) { s.Conn = &harming{Conn: s.Conn, lose: true} }),
	},
}

func hidden(handlers.Handler) handlers.Exposure {
	return handlers.Exposure{HidesAddress: true, HidesLookups: true}
}

// changes makes the hints change in some way.
func changes(f func(a *acceptor)) func(*transport) {
	return func(tr *transport) {
		tr.change = f
		tr.hints = func(a *acceptor) ([]furl.Hint, <-chan struct{}) {
			if hints, _ := a.Acceptor.Hints(); len(hints) == 0 {
				return nil, nil
			}
			return append([]furl.Hint{}, a.announced...), a.changed
		}
		tr.aClose = func(a *acceptor) error {
			if hints, _ := a.Acceptor.Hints(); len(hints) > 0 {
				defer close(a.changed)
			}
			return a.Acceptor.Close()
		}
	}
}

// authenticates makes the transport know who is at either end: those for whom it was
// made.
func authenticates(tr *transport) {
	tr.authenticates = true
	var client atomic.Pointer[x509.Certificate]
	tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		client.Store(req.Identity.Leaf)
		s, err := h.Dial(ctx, req)
		if err == nil {
			s.Peer = tr.server.Load()
		}
		return s, err
	}
	tr.accept = func(a handlers.Acceptor) (handlers.Stream, error) {
		s, err := a.Accept()
		if err == nil {
			s.Peer = client.Load()
		}
		return s, err
	}
}

var hidesCause = onError(func(err *handlers.Error) (handlers.Stream, error) {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			err.Err = end
		}
	}
	return handlers.Stream{}, err
})

// alone returns a function that waits a moment and reports whether nobody else has
// called it meanwhile.
func alone() func() bool {
	var calls atomic.Int64
	return func() bool {
		before := calls.Add(1)
		<-time.After(50 * time.Millisecond)
		return calls.Load() == before
	}
}

// reportsLate makes the handler report, when it is closed, what it still does for
// dials that are over.
func reportsLate(tr *transport) {
	var mu sync.Mutex
	var all []handlers.DialRequest
	tr.dial = func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		mu.Lock()
		all = append(all, req)
		mu.Unlock()
		return h.Dial(ctx, req)
	}
	tr.close = func(h handlers.Handler) error {
		mu.Lock()
		defer mu.Unlock()
		for _, req := range all {
			req.Report(handlers.PhaseDial, "closing what is left")
		}
		return h.Close()
	}
}

// closedSoon is not in time with its first Write.
type closedSoon struct {
	net.Conn
	closed <-chan struct{}
}

func (c closedSoon) Write(p []byte) (int, error) {
	<-c.closed
	return c.Conn.Write(p)
}

// harming changes, or loses, a byte when a megabyte was written.
type harming struct {
	net.Conn
	lose    bool
	written int
}

func (c *harming) Write(p []byte) (int, error) {
	const mega = 1 << 20
	before := c.written
	c.written += len(p)
	if len(p) == 0 || before >= mega || c.written < mega {
		return c.Conn.Write(p)
	}
	if c.lose {
		n, err := c.Conn.Write(p[:len(p)-1])
		return n + 1, err
	}
	harmed := append([]byte{}, p...)
	harmed[0]++
	return c.Conn.Write(harmed)
}

// wrapping makes timeouts unrecognisable.
type wrapping struct{ net.Conn }

func (c wrapping) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	return n, err
}

// unread is a connection whose first bytes were read already.
type unread struct {
	net.Conn
	first []byte
}

func (c *unread) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// unconnected does not know which of its addresses is used.
type unconnected struct{ net.Conn }

func (c unconnected) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv6unspecified, Port: c.Conn.LocalAddr().(*net.TCPAddr).Port}
}

// leaking forgets to close.
type leaking struct{ net.Conn }

func (leaking) Close() error { return nil }
