package tub_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// memory is a network within a test: hints "mem:NAME" lead to its acceptors.
// Nothing in it depends on the clock of the machine, or on its network.
type memory struct {
	mu        sync.Mutex
	acceptors map[furl.Hint]*memoryAcceptor
}

func newMemory() *memory {
	return &memory{acceptors: make(map[furl.Hint]*memoryAcceptor)}
}

// memoryAcceptor accepts what is dialled by the hint that it was made with,
// whatever it advertises.
type memoryAcceptor struct {
	// cert makes its streams authenticated ones; nil: TLS follows inside.
	cert    *x509.Certificate
	streams chan handlers.Stream
	done    chan struct{}

	mu      sync.Mutex
	closed  int
	hints   []furl.Hint
	changed chan struct{}
}

// listen returns an acceptor that advertises its hint.
func (m *memory) listen(hint furl.Hint) *memoryAcceptor {
	a := &memoryAcceptor{
		streams: make(chan handlers.Stream),
		done:    make(chan struct{}),
		hints:   []furl.Hint{hint},
		changed: make(chan struct{}),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acceptors[hint] = a
	return a
}

// authenticating returns an acceptor whose transport does what TLS would.
func (m *memory) authenticating(hint furl.Hint, id *tub.Identity) *memoryAcceptor {
	a := m.listen(hint)
	a.cert = id.Certificate().Leaf
	return a
}

func (a *memoryAcceptor) Accept() (handlers.Stream, error) {
	select {
	case s := <-a.streams:
		return s, nil
	case <-a.done:
		return handlers.Stream{}, net.ErrClosed
	}
}

func (a *memoryAcceptor) Hints() ([]furl.Hint, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.hints), a.changed
}

// advertise changes the hints.
func (a *memoryAcceptor) advertise(hints ...furl.Hint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hints = hints
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *memoryAcceptor) Exposure() handlers.Exposure {
	return handlers.Exposure{HidesAddress: true, HidesLookups: true}
}

func (a *memoryAcceptor) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed++; a.closed == 1 {
		a.hints = nil
		close(a.done)
		close(a.changed)
		a.changed = nil
	}
	return nil
}

// dial is a dial of memoryHandler.
type dial func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error)

// dialer returns a dial by the hints of m.
func (m *memory) dialer() dial {
	return func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		m.mu.Lock()
		a := m.acceptors[req.Hint]
		m.mu.Unlock()
		req.Report(handlers.PhaseDial, "looking for "+string(req.Hint))
		if a == nil {
			return handlers.Stream{}, &handlers.Error{Phase: handlers.PhaseDial, Err: handlers.ErrUnreachable}
		}
		ours, theirs := net.Pipe()
		s := handlers.Stream{Conn: theirs}
		if a.cert != nil {
			s.Peer = req.Identity.Leaf
		}
		select {
		case a.streams <- s:
			return handlers.Stream{Conn: ours, Host: "memory", Peer: a.cert}, nil
		case <-a.done:
			return handlers.Stream{}, &handlers.Error{Phase: handlers.PhaseDial, Err: handlers.ErrUnreachable}
		case <-ctx.Done():
			return handlers.Stream{}, ctx.Err()
		}
	}
}

// hang is a dial that never gets anywhere.
func hang(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	req.Report(handlers.PhaseProxy, "waiting for nobody")
	<-ctx.Done()
	return handlers.Stream{}, ctx.Err()
}

// speaking returns a dial whose other end is a function of the test. What it
// was given is closed once it has returned and the dialling side has hung up.
func speaking(t testing.TB, peer *x509.Certificate, f func(conn net.Conn)) dial {
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	return func(context.Context, handlers.DialRequest) (handlers.Stream, error) {
		ours, theirs := net.Pipe()
		wg.Go(func() {
			defer theirs.Close()
			f(theirs)
			for buf := make([]byte, 1024); ; {
				if _, err := theirs.Read(buf); err != nil {
					return
				}
			}
		})
		return handlers.Stream{Conn: ours, Peer: peer}, nil
	}
}

// memoryHandler dials hints of which the test says what becomes of them.
type memoryHandler struct {
	name     string
	dials    map[string]dial // by type of hint
	exposure handlers.Exposure

	mu       sync.Mutex
	requests []handlers.DialRequest
	closed   int
}

func (h *memoryHandler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	h.mu.Lock()
	h.requests = append(h.requests, req)
	closed := h.closed > 0
	h.mu.Unlock()
	if closed {
		return handlers.Stream{}, &handlers.Error{Phase: handlers.PhaseDial, Err: net.ErrClosed}
	}
	if d := h.dials[req.Hint.Type()]; d != nil {
		return d(ctx, req)
	}
	return handlers.Stream{}, errors.New("no dial for " + string(req.Hint))
}

func (h *memoryHandler) DialTimeout() time.Duration  { return time.Minute }
func (h *memoryHandler) Exposure() handlers.Exposure { return h.exposure }
func (h *memoryHandler) Description() string         { return "memory " + h.name }

func (h *memoryHandler) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed++
	return nil
}

// closes returns how often the handler was closed.
func (h *memoryHandler) closes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// seen returns the requests.
func (h *memoryHandler) seen() []handlers.DialRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// handle registers one handler for all types of hints in dials.
func handle(t testing.TB, tb *tub.Tub, dials map[string]dial) *memoryHandler {
	t.Helper()
	h := &memoryHandler{name: "test", dials: dials}
	for typ := range dials {
		require.NoError(t, tb.Handle(typ, h))
	}
	return h
}

func dialRequest(hint furl.Hint) handlers.DialRequest { return handlers.DialRequest{Hint: hint} }

// freezing returns a dial whose streams lose everything that comes in once
// frozen is closed.
func freezing(to dial, frozen <-chan struct{}) dial {
	return func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		s, err := to(ctx, req)
		s.Conn = &freezingConn{s.Conn, frozen}
		return s, err
	}
}

type freezingConn struct {
	net.Conn
	frozen <-chan struct{}
}

func (c *freezingConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		select {
		case <-c.frozen:
			if err == nil {
				continue
			}
		default:
		}
		return n, err
	}
}

// stuckConn does not read any more once it is stuck.
type stuckConn struct {
	net.Conn
	stuck  <-chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (c *stuckConn) Read(p []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Read(p)
	}
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
