package tcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/internal/reach"
)

// DefaultTimeout is the time limit of one dial, the name look-up included.
const DefaultTimeout = 10 * time.Second

// keepAlive finds a peer that vanished without a word after about two minutes,
// also on connections that are idle on the level above.
var keepAlive = net.KeepAliveConfig{
	Enable:   true,
	Idle:     60 * time.Second,
	Interval: 15 * time.Second,
	Count:    4,
}

// Resolver looks up the addresses of a name; network is always "ip".
// *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DialFunc connects to an address, as the method DialContext of net.Dialer does.
// The network is "tcp" and the address an IP address with a port, never a name.
// When ctx ends it returns at once.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Option sets an option of a Handler.
type Option func(*Handler)

// WithResolver looks up names through r instead of net.DefaultResolver.
func WithResolver(r Resolver) Option { return func(h *Handler) { h.resolver = r } }

// WithDialFunc connects through dial instead of a net.Dialer with TCP_NODELAY
// and keep-alive probes. What the Handler declares to reveal stays the same.
func WithDialFunc(dial DialFunc) Option { return func(h *Handler) { h.dial = dial } }

// WithTimeout sets the time limit of one dial instead of DefaultTimeout.
// d must be positive.
func WithTimeout(d time.Duration) Option { return func(h *Handler) { h.timeout = d } }

// Handler dials tcp hints. It implements handlers.Handler; its methods may be
// called concurrently. Make one with New.
type Handler struct {
	resolver Resolver
	dial     DialFunc
	timeout  time.Duration
	dials    handlers.Dials
}

var _ handlers.Handler = (*Handler)(nil)

// New returns a handler for the hint type tcp.
func New(opts ...Option) *Handler {
	dialer := &net.Dialer{KeepAliveConfig: keepAlive} // TCP_NODELAY is net's default
	h := &Handler{
		resolver: net.DefaultResolver,
		dial:     dialer.DialContext,
		timeout:  DefaultTimeout,
	}
	for _, opt := range opts {
		opt(h)
	}
	return h
}

// Dial connects to the host and port of req.Hint. See handlers.Handler for the
// contract; the errors are handlers.ErrInvalidHint in the parse phase,
// ErrNameNotResolved in the resolve phase, and ErrUnreachable, with the cause
// for every address that was tried, in the dial phase.
func (h *Handler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	started := time.Now()
	fail := func(phase handlers.Phase, err error) (handlers.Stream, error) {
		return handlers.Stream{}, &handlers.Error{
			Hint:    req.Hint,
			Handler: h.Description(),
			Phase:   phase,
			Elapsed: time.Since(started),
			Err:     err,
		}
	}
	host, port, err := reach.Parse(req.Hint, "tcp")
	if err != nil {
		return fail(handlers.PhaseParse, err)
	}
	ctx, done, err := h.dials.Begin(ctx)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}
	defer done()

	addrs, err := reach.Resolve(ctx, h.resolver, req, host)
	if err != nil {
		return fail(handlers.PhaseResolve, err)
	}
	conn, err := h.race(ctx, req, addrs, port)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}
	// A zone is the name of an interface of ours and nobody else's business.
	host, _, _ = strings.Cut(host, "%")
	return handlers.Stream{Conn: conn, Host: host}, nil
}

// DialTimeout returns DefaultTimeout or what WithTimeout has set.
func (h *Handler) DialTimeout() time.Duration { return h.timeout }

// Exposure returns the zero value: the peer sees our address, and names are
// looked up.
func (h *Handler) Exposure() handlers.Exposure { return handlers.Exposure{} }

// Description returns "tcp".
func (h *Handler) Description() string { return "tcp" }

// Close ends the dials in progress and waits until all that they opened is
// closed. Streams that Dial has returned stay open.
func (h *Handler) Close() error {
	h.dials.Close()
	return nil
}

// race connects to the first of the addresses that answers.
func (h *Handler) race(ctx context.Context, req handlers.DialRequest, addrs []netip.Addr, port uint16) (net.Conn, error) {
	connect := func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		return h.dial(ctx, "tcp", addr.String())
	}
	conn, err := reach.Race(ctx, &h.dials, req, addrs, port, connect, func(conn net.Conn) { conn.Close() })
	if failures, ok := err.(reach.AttemptErrors); ok {
		err = fmt.Errorf("%w: %w", handlers.ErrUnreachable, failures)
	}
	return conn, err
}
