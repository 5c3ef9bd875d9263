package socks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
)

// DefaultTimeout is the time limit of one dial, from the connection to the proxy
// to the proxy's connection to the peer.
const DefaultTimeout = 30 * time.Second

// HandlerOption sets an option of a Handler.
type HandlerOption func(*Handler)

// WithTimeout sets the time limit of one dial instead of DefaultTimeout.
// timeout must be positive.
func WithTimeout(timeout time.Duration) HandlerOption {
	return func(h *Handler) { h.timeout = timeout }
}

// WithHintTypes takes hints of these types instead of "tcp". Their addresses must
// have the form "host:port".
func WithHintTypes(types ...string) HandlerOption {
	return func(h *Handler) { h.types = slices.Clone(types) }
}

// Handler dials hints through a Dialer. It implements handlers.Handler; its
// methods may be called concurrently. Make one with New.
type Handler struct {
	dialer  *Dialer
	timeout time.Duration
	types   []string
	dials   handlers.Dials
}

var _ handlers.Handler = (*Handler)(nil)

// New returns a handler for the hint type tcp. The Dialer may have other users.
func New(d *Dialer, opts ...HandlerOption) *Handler {
	h := &Handler{
		dialer:  d,
		timeout: DefaultTimeout,
		types:   []string{"tcp"},
	}
	for _, opt := range opts {
		opt(h)
	}
	return h
}

// Dial connects to the host and port of req.Hint through the proxy. See
// handlers.Handler for the contract and Dialer.DialContext for the errors. They are
// in the parse phase for a hint that cannot be used, the dial phase until the proxy
// is ready to take requests, and the proxy phase from then on.
func (h *Handler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	fail := func(phase handlers.Phase, err error) (handlers.Stream, error) {
		return handlers.Stream{}, &handlers.Error{Hint: req.Hint, Handler: h.Description(), Phase: phase, Err: err}
	}
	if !slices.Contains(h.types, req.Hint.Type()) {
		return fail(handlers.PhaseParse, fmt.Errorf("%w: it is of the type %q, which this handler does not take", handlers.ErrInvalidHint, req.Hint.Type()))
	}
	ctx, done, err := h.dials.Begin(ctx)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}
	defer done()
	return h.dialer.DialHint(ctx, req)
}

// DialTimeout returns DefaultTimeout or what WithTimeout has set.
func (h *Handler) DialTimeout() time.Duration { return h.timeout }

// Exposure returns that of the Dialer.
func (h *Handler) Exposure() handlers.Exposure { return h.dialer.Exposure() }

// Description returns that of the Dialer.
func (h *Handler) Description() string { return h.dialer.Description() }

// Close ends the dials in progress and waits until all that they opened is
// closed. Streams that Dial has returned stay open, and so does the Dialer.
func (h *Handler) Close() error {
	h.dials.Close()
	return nil
}
