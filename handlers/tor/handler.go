package tor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// DefaultTimeout is the time limit of one dial. It covers the start of a tor of
// our own, which on a first run takes up to a minute, and the circuits.
const DefaultTimeout = 90 * time.Second

// Option sets an option of a Handler.
type Option func(*Handler)

// WithTimeout sets the time limit of one dial instead of DefaultTimeout.
// d must be positive.
func WithTimeout(d time.Duration) Option { return func(h *Handler) { h.timeout = d } }

// WithoutIsolation lets all connections share circuits. That makes first
// connections faster, and lets exits and onion services that work together, or
// one that is used twice, see that they come from one client.
func WithoutIsolation() Option { return func(h *Handler) { h.shared = true } }

// Handler dials hints over Tor. It implements handlers.Handler, and
// handlers.ContextDialer for transports that are to run over Tor. Its methods may
// be called concurrently. Make one with New.
type Handler struct {
	tor     *Tor
	timeout time.Duration
	shared  bool

	dials     handlers.Dials
	closeOnce sync.Once

	mu      sync.Mutex
	dialers map[address]*socks.Dialer // each has circuits of its own, so they are kept
	stalled map[string]int            // how often circuits were given up, by isolation
}

var (
	_ handlers.Handler       = (*Handler)(nil)
	_ handlers.ContextDialer = (*Handler)(nil)
)

// New returns a handler for the hint types tor and tcp, which have to be
// registered for it one by one. It fails if via was made of something that makes
// no sense; whether that tor exists shows when it is needed.
func New(via *Tor, opts ...Option) (*Handler, error) {
	if err := via.acquire(); err != nil {
		return nil, err
	}
	h := &Handler{
		tor:     via,
		timeout: DefaultTimeout,
		dialers: make(map[address]*socks.Dialer),
		stalled: make(map[string]int),
	}
	for _, opt := range opts {
		opt(h)
	}
	return h, nil
}

// Dial connects to the host and port of req.Hint over Tor. See handlers.Handler
// for the contract. Hints that Tor cannot dial, such as IPv6 and private
// addresses, fail with handlers.ErrInvalidHint in the parse phase. Until tor is
// ready to take the request, the errors are in the dial phase and wrap
// handlers.ErrProxyUnreachable or, when tor's control port says no,
// handlers.ErrProxyRefused, with ErrControlRefused if it does not let us in; what
// tor answers to the request is a *ReplyError in the proxy phase.
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
	host, port, err := target(req.Hint)
	if err != nil {
		return fail(handlers.PhaseParse, err)
	}
	ctx, done, err := h.dials.Begin(ctx)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}
	defer done()
	ports, err := h.socksPorts(ctx, req)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}

	forward := req
	forward.Hint = furl.StreamHint("tor", host, port)
	// Two roles towards one Tub are as separate as two Tubs.
	isolation := fmt.Sprintf("%d %s%s", len(req.Isolation), req.Isolation, req.Target)
	forward.Isolation = h.circuits(isolation)
	var asked time.Time
	forward.Progress = func(s handlers.Status) {
		if s.Phase == handlers.PhaseProxy {
			asked = time.Now()
			s.Text = "waiting for tor to reach " + net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
		req.Report(s.Phase, s.Text)
	}
	var unreachable error
	for _, at := range ports {
		dialer, err := h.dialer(at)
		if err != nil {
			return fail(handlers.PhaseDial, err)
		}
		stream, err := dialer.DialHint(ctx, forward)
		if err == nil {
			return stream, nil
		}
		phase := handlers.PhaseProxy
		var failure *handlers.Error
		if errors.As(err, &failure) {
			phase, err = failure.Phase, failure.Err
		}
		var reply *socks.ReplyError
		if errors.As(err, &reply) {
			_, onion := onionName(host)
			err = &ReplyError{Code: reply.Code, Onion: onion}
		}
		if ctx.Err() != nil && phase == handlers.PhaseProxy && time.Since(asked) >= stallTime {
			h.giveUpCircuits(isolation)
		}
		if ctx.Err() != nil || !errors.Is(err, handlers.ErrProxyUnreachable) {
			return fail(phase, err)
		}
		if unreachable != nil {
			err = fmt.Errorf("%w; %w", unreachable, err)
		}
		unreachable = err
	}
	return fail(handlers.PhaseDial, unreachable)
}

// stallTime is after how much silence of tor the circuits of a dial are given up.
// Tor itself waits longer, for example for an onion service whose tor has died
// just after it was told of us, and has later dials wait with it.
var stallTime = 10 * time.Second

const maxStalled = 256 // hints of strangers lead to such dials

// circuits returns the isolation to show to tor.
func (h *Handler) circuits(isolation string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%d %s", h.stalled[isolation], isolation)
}

// giveUpCircuits makes the next dial of this isolation use new ones.
func (h *Handler) giveUpCircuits(isolation string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.stalled) >= maxStalled {
		clear(h.stalled)
	}
	h.stalled[isolation]++
}

// socksPorts returns where to try, once tor can build circuits as far as that
// can be known.
func (h *Handler) socksPorts(ctx context.Context, req handlers.DialRequest) ([]address, error) {
	if h.tor.connect == nil {
		return h.tor.fixed, nil
	}
	report := func(text string) { req.Report(handlers.PhaseDial, text) }
	l, err := h.tor.open(ctx, report)
	if err == nil {
		err = l.waitReady(ctx, report)
	}
	if err != nil {
		return nil, err
	}
	return l.socks, l.socksErr
}

// dialer returns the dialer through a SOCKS port.
func (h *Handler) dialer(at address) (*socks.Dialer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.dialers[at]; d != nil {
		return d, nil
	}
	opts := []socks.Option{socks.WithExposure(h.Exposure())}
	if !h.shared {
		opts = append(opts, socks.WithIsolation())
	}
	d, err := socks.NewDialer(at.network, at.text, opts...)
	if err != nil {
		return nil, err
	}
	if len(h.dialers) >= maxDialers {
		clear(h.dialers) // a tor of our own has another port after each restart
	}
	h.dialers[at] = d
	return d, nil
}

const maxDialers = 4

// DialContext connects to "host:port" over Tor, for transports that run over it.
// The network must be "tcp". The errors are those of Dial. It heeds
// handlers.IsolationFromContext.
func (h *Handler) DialContext(ctx context.Context, network, at string) (net.Conn, error) {
	if network != "tcp" {
		return nil, net.UnknownNetworkError(network)
	}
	host, digits, err := net.SplitHostPort(at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", handlers.ErrInvalidHint, err)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w: the port must be a number in 1..65535", handlers.ErrInvalidHint)
	}
	stream, err := h.Dial(ctx, handlers.DialRequest{
		Hint:      furl.StreamHint("tor", host, uint16(port)),
		Isolation: handlers.IsolationFromContext(ctx),
	})
	return stream.Conn, err
}

// DialTimeout returns DefaultTimeout or what WithTimeout has set.
func (h *Handler) DialTimeout() time.Duration { return h.timeout }

// Exposure says that nothing is revealed.
func (h *Handler) Exposure() handlers.Exposure {
	return handlers.Exposure{HidesAddress: true, HidesLookups: true}
}

// Description returns "tor" and, unless that is the usual one, which tor.
func (h *Handler) Description() string { return h.tor.description }

// Close ends the dials in progress, and the tor if it is our own and nothing else
// uses it, and waits for both. Streams that Dial has returned stay open as long as
// tor lives.
func (h *Handler) Close() error {
	h.closeOnce.Do(func() {
		h.dials.Close()
		h.tor.release()
	})
	return nil
}
