package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
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

	mu     sync.Mutex
	closed bool
	dials  map[*context.CancelCauseFunc]struct{} // those in progress

	// running counts the dials in progress and all their attempts. It grows
	// from zero only under mu while closed is false, so that Close can wait.
	running sync.WaitGroup
}

var _ handlers.Handler = (*Handler)(nil)

// New returns a handler for the hint type tcp.
func New(opts ...Option) *Handler {
	dialer := &net.Dialer{KeepAliveConfig: keepAlive} // TCP_NODELAY is net's default
	h := &Handler{
		resolver: net.DefaultResolver,
		dial:     dialer.DialContext,
		timeout:  DefaultTimeout,
		dials:    make(map[*context.CancelCauseFunc]struct{}),
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
	host, port, err := parse(req.Hint)
	if err != nil {
		return fail(handlers.PhaseParse, err)
	}
	ctx, done, err := h.begin(ctx)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}
	defer done()

	addrs, err := h.resolve(ctx, req, host)
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
	h.mu.Lock()
	h.closed = true
	for cancel := range h.dials {
		(*cancel)(errClosed)
	}
	h.mu.Unlock()
	h.running.Wait()
	return nil
}

var errClosed = fmt.Errorf("the tcp handler has been closed: %w", net.ErrClosed)

// begin registers a dial with Close. The context it returns ends with ctx, with
// Close and with done, which must be called.
func (h *Handler) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, errClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	h.dials[&cancel] = struct{}{}
	h.running.Add(1)
	return ctx, func() {
		cancel(nil)
		h.mu.Lock()
		delete(h.dials, &cancel)
		h.mu.Unlock()
		h.running.Done()
	}, nil
}

// ended returns nil while ctx, made by begin, goes on, and then why it ended.
func ended(ctx context.Context) error {
	end := ctx.Err()
	if deadline, ok := ctx.Deadline(); end == nil && ok && !time.Now().Before(deadline) {
		// net sets the deadline on the socket, where it can pass a little
		// earlier than the timer of ctx.
		return context.DeadlineExceeded
	}
	if end == nil {
		return nil
	}
	switch cause := context.Cause(ctx); cause {
	case end, errClosed:
		return cause
	default:
		return fmt.Errorf("%w: %w", end, cause)
	}
}

// parse takes a hint apart and refuses names that must not be looked up.
func parse(hint furl.Hint) (host string, port uint16, err error) {
	if hint.Type() != "tcp" {
		return "", 0, fmt.Errorf("%w: it is not a tcp hint", handlers.ErrInvalidHint)
	}
	host, port, err = hint.HostPort()
	if err != nil {
		return "", 0, fmt.Errorf("%w: %w", handlers.ErrInvalidHint, err)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	for _, private := range []string{"onion", "i2p"} {
		if name == private || strings.HasSuffix(name, "."+private) {
			return "", 0, fmt.Errorf("%w: names below .%s cannot be reached by tcp and must not be looked up", handlers.ErrInvalidHint, private)
		}
	}
	return host, port, nil
}

// resolve returns the address that host is, or those that it has by name.
func (h *Handler) resolve(ctx context.Context, req handlers.DialRequest, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	req.Report(handlers.PhaseResolve, "looking up "+host)
	addrs, err := h.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		if end := ended(ctx); end != nil {
			return nil, fmt.Errorf("looking up %s: %w", host, end)
		}
		return nil, fmt.Errorf("%w: %w", handlers.ErrNameNotResolved, err)
	}
	if addrs = order(addrs); len(addrs) == 0 {
		return nil, fmt.Errorf("%w: %w", handlers.ErrNameNotResolved, errors.New("the resolver knows no address of "+host))
	}
	return addrs, nil
}
