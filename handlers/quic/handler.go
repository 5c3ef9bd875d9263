package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/internal/reach"
)

// DefaultTimeout is the time limit of one dial, the name look-up included. It is
// also how long it takes to see that the network lets no UDP through.
const DefaultTimeout = 10 * time.Second

// Resolver looks up the addresses of a name; network is always "ip".
// *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Option sets an option of a Handler.
type Option func(*Handler)

// WithResolver looks up names through r instead of net.DefaultResolver.
func WithResolver(r Resolver) Option { return func(h *Handler) { h.resolver = r } }

// WithTimeout sets the time limit of one dial instead of DefaultTimeout.
// d must be positive.
func WithTimeout(d time.Duration) Option { return func(h *Handler) { h.timeout = d } }

// Handler dials quic hints. It implements handlers.Handler; its methods may be
// called concurrently. Make one with New.
type Handler struct {
	resolver Resolver
	timeout  time.Duration

	dials handlers.Dials

	mu        sync.Mutex
	endpoints map[*endpoint]struct{} // those that are not shut
}

var _ handlers.Handler = (*Handler)(nil)

// New returns a handler for the hint type quic.
func New(opts ...Option) *Handler {
	h := &Handler{
		resolver:  net.DefaultResolver,
		timeout:   DefaultTimeout,
		endpoints: make(map[*endpoint]struct{}),
	}
	for _, opt := range opts {
		opt(h)
	}
	return h
}

// Dial connects to the host and port of req.Hint as the Tub req.Identity, which
// is required, and makes sure that req.Target is the Tub that answers. See
// handlers.Handler for the contract; the errors are handlers.ErrInvalidHint in
// the parse phase, ErrNameNotResolved in the resolve phase, ErrUnreachable, with
// the cause for every address that was tried, in the dial phase, and in the
// transport phase handlers.ErrWrongTub, ErrCertificate, ErrVersion or ErrBusy.
//
// The peer may still refuse our certificate when Dial has returned; the stream
// then fails with ErrCertificate.
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
	host, port, err := reach.Parse(req.Hint, "quic")
	if err != nil {
		return fail(handlers.PhaseParse, err)
	}
	if err := checkIdentity(req.Identity); err != nil {
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
	stream, err := h.race(ctx, req, addrs, port)
	if err != nil {
		phase := handlers.PhaseDial
		if answered(err) {
			phase = handlers.PhaseTransport
		}
		return fail(phase, err)
	}
	// A zone is the name of an interface of ours and nobody else's business.
	stream.Host, _, _ = strings.Cut(host, "%")
	return stream, nil
}

// DialTimeout returns DefaultTimeout or what WithTimeout has set.
func (h *Handler) DialTimeout() time.Duration { return h.timeout }

// Exposure returns the zero value: the peer sees our address, and names are
// looked up.
func (h *Handler) Exposure() handlers.Exposure { return handlers.Exposure{} }

// Description returns "quic".
func (h *Handler) Description() string { return "quic" }

// Close ends the dials in progress and waits until all that they opened is
// closed. Streams that Dial has returned stay open; those that were closed already,
// and whose peers have not read all that was written, wait for that no longer.
func (h *Handler) Close() error {
	h.dials.Close()
	h.mu.Lock()
	open := slices.Collect(maps.Keys(h.endpoints))
	h.mu.Unlock()
	for _, e := range open {
		e.retire()
	}
	return nil
}

// race connects to the first of the addresses at which the Tub answers.
func (h *Handler) race(ctx context.Context, req handlers.DialRequest, addrs []netip.Addr, port uint16) (handlers.Stream, error) {
	connect := func(ctx context.Context, addr netip.AddrPort) (*stream, error) { return h.connect(ctx, req, addr) }
	discard := func(s *stream) {
		s.conn.CloseWithError(quic.ApplicationErrorCode(CloseUnwanted), "")
		s.endpoint.leave()
	}
	s, err := reach.Race(ctx, &h.dials, req, addrs, port, connect, discard)
	if err != nil {
		if failures, ok := err.(reach.AttemptErrors); ok && !answered(err) && !errors.Is(err, handlers.ErrTimeout) {
			err = fmt.Errorf("%w: %w", handlers.ErrUnreachable, failures)
		}
		return handlers.Stream{}, err
	}
	return handlers.Stream{Conn: s, Peer: s.conn.ConnectionState().TLS.PeerCertificates[0]}, nil
}

// answered reports whether there was a peer, which was the wrong one or did not
// agree with us.
func answered(err error) bool {
	return slices.ContainsFunc([]error{handlers.ErrWrongTub, ErrCertificate, ErrVersion, ErrBusy},
		func(target error) bool { return errors.Is(err, target) })
}

// connect makes a connection to one address, from a socket of its own.
func (h *Handler) connect(ctx context.Context, req handlers.DialRequest, addr netip.AddrPort) (*stream, error) {
	network := "udp6"
	if addr.Addr().Is4() {
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	reportRefusals(conn, true)
	e := h.newEndpoint(conn)
	config := tlsConfig(req.Identity)
	config.VerifyConnection = expecting(req.Target)
	// The time limit is that of ctx, or else the handshake's.
	c, err := e.transport.Dial(ctx, net.UDPAddrFromAddrPort(addr), config, transportConfig(-1, h.timeout))
	if err != nil {
		e.leave()
		return nil, translateDial(err)
	}
	str, err := c.OpenStream()
	if err == nil {
		_, err = str.Write([]byte{opening})
	}
	if err != nil {
		c.CloseWithError(quic.ApplicationErrorCode(CloseProtocol), "")
		e.leave()
		return nil, translateDial(err)
	}
	reportRefusals(conn, false)
	e.socket.steady.Store(true)
	return newStream(c, str, e, true), nil
}

// translateDial is translate for a connection that is not yet made.
func translateDial(err error) error {
	switch err = translate(err); {
	case errors.Is(err, ErrSilent):
		return fmt.Errorf("%w: the other side is silent; perhaps the network lets no UDP through", handlers.ErrTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return errors.New("the peer has hung up")
	}
	return err
}

// newEndpoint registers an endpoint with Close.
func (h *Handler) newEndpoint(conn *net.UDPConn) *endpoint {
	var e *endpoint
	e = newEndpoint(conn, nil, func() {
		h.mu.Lock()
		delete(h.endpoints, e)
		h.mu.Unlock()
	})
	h.mu.Lock()
	h.endpoints[e] = struct{}{}
	h.mu.Unlock()
	return e
}
