package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Listener accepts TCP connections. It implements handlers.Acceptor; its methods
// may be called concurrently. Make one with Listen.
type Listener struct {
	listener  net.Listener
	hints     []furl.Hint
	logger    *slog.Logger
	closeOnce sync.Once
	closed    chan struct{}
}

var _ handlers.Acceptor = (*Listener)(nil)

// ListenOption sets an option of a Listener.
type ListenOption func(*Listener)

// WithLocation advertises these hints, of any type, instead of the address that
// is listened on. It is for wildcard addresses, which say nothing about how to
// reach them, and for listeners behind a forwarder. No hints at all advertise
// nothing.
func WithLocation(hints ...furl.Hint) ListenOption {
	return func(l *Listener) { l.hints = append([]furl.Hint{}, hints...) }
}

// WithLogger reports to logger, as warnings, errors that keep connections from
// being accepted for a while. By default nothing is logged.
func WithLogger(logger *slog.Logger) ListenOption {
	return func(l *Listener) { l.logger = logger }
}

// Listen listens on addr, "address:port" with an IPv4 address, an IPv6 address
// in brackets, or nothing before the ':' for all addresses of the machine. Port
// 0 takes a free one. Names are refused, because they would have to be looked
// up. ctx governs only the call itself.
//
// Unless WithLocation says otherwise, the listener advertises the address that
// it listens on; a wildcard address advertises nothing.
func Listen(ctx context.Context, addr string, opts ...ListenOption) (*Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	ip, port, err := parseListenAddress(addr)
	if err != nil {
		return nil, fmt.Errorf("tcp: cannot listen on %q: %w", addr, err)
	}
	l := &Listener{logger: slog.New(slog.DiscardHandler), closed: make(chan struct{})}
	for _, opt := range opts {
		opt(l)
	}
	for _, hint := range l.hints {
		if _, err := furl.ParseHint(string(hint)); err != nil {
			return nil, fmt.Errorf("tcp: cannot advertise the location %q: %w", string(hint), err)
		}
	}
	network, host := "tcp", ""
	if ip.IsValid() {
		host = ip.String()
	}
	if ip.Is4() {
		network = "tcp4" // with "tcp", 0.0.0.0 would listen on IPv6 as well
	}
	config := net.ListenConfig{KeepAliveConfig: keepAlive} // TCP_NODELAY is net's default
	l.listener, err = config.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	if l.hints == nil && ip.IsValid() && !ip.IsUnspecified() {
		actual := l.listener.Addr().(*net.TCPAddr)
		l.hints = []furl.Hint{furl.StreamHint("tcp", ip.String(), uint16(actual.Port))}
	}
	return l, nil
}

// parseListenAddress reads what Listen takes. The address is the zero Addr if
// none is given.
func parseListenAddress(s string) (ip netip.Addr, port uint16, err error) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return netip.Addr{}, 0, errors.New("the port must be a number in 0..65535")
	}
	if host == "" {
		return netip.Addr{}, uint16(n), nil
	}
	ip, err = netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, 0, errors.New("the host must be an IP address, or be left out to listen on all; for a name give its address, and the name as a location")
	}
	return ip.Unmap(), uint16(n), nil
}

// Addr returns the address that is listened on, with the port that was chosen.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Accept waits for the next connection. When the system lacks the means to
// accept one it tries again, after 5 ms at first and a second at most. After
// Close it reports an error that wraps net.ErrClosed.
func (l *Listener) Accept() (handlers.Stream, error) {
	const firstDelay, maxDelay = 5 * time.Millisecond, time.Second
	for delay := firstDelay; ; delay = min(2*delay, maxDelay) {
		conn, err := l.listener.Accept()
		if err == nil {
			return handlers.Stream{Conn: conn}, nil
		}
		select {
		case <-l.closed:
			return handlers.Stream{}, fmt.Errorf("tcp: the listener has been closed: %w", net.ErrClosed)
		default:
		}
		if !passing(err) {
			return handlers.Stream{}, fmt.Errorf("tcp: %w", err)
		}
		if delay == firstDelay {
			l.logger.Warn("cannot accept TCP connections for now; trying again",
				slog.String("address", l.Addr().String()), slog.String("error", err.Error()))
		}
		retry := time.NewTimer(delay)
		select {
		case <-retry.C:
		case <-l.closed:
			retry.Stop()
		}
	}
}

// passing reports whether an error of accept is about one connection or about
// resources that come back, rather than about the listener.
func passing(err error) bool {
	return slices.ContainsFunc([]syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		// Linux hands over errors of the new connection, and a firewall's
		// refusal (accept(2)).
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPROTO, syscall.EPERM,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	}, func(errno syscall.Errno) bool { return errors.Is(err, errno) })
}

// Hints returns what is advertised, which changes only with Close.
func (l *Listener) Hints() ([]furl.Hint, <-chan struct{}) {
	select {
	case <-l.closed:
		return nil, nil
	default:
		return slices.Clone(l.hints), l.closed
	}
}

// Exposure returns the zero value: whoever connects knows our address.
func (l *Listener) Exposure() handlers.Exposure { return handlers.Exposure{} }

// Close stops listening and ends a waiting Accept.
func (l *Listener) Close() error {
	var err error
	l.closeOnce.Do(func() {
		close(l.closed)
		err = l.listener.Close()
	})
	return err
}
