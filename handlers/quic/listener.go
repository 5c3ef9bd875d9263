package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

const (
	// DefaultHandshakes is the number of connections that may be on their way.
	DefaultHandshakes = 128

	// DefaultHandshakeTimeout is how long the handshake of one of them may take,
	// and again how long the opening of its stream and Accept.
	DefaultHandshakeTimeout = 10 * time.Second
)

// Listener accepts QUIC connections for one Tub. It implements handlers.Acceptor;
// its methods may be called concurrently. Make one with Listen.
type Listener struct {
	listener *quic.Listener
	endpoint *endpoint
	hints    []furl.Hint
	max      int
	timeout  time.Duration

	ctx       context.Context // of what is on its way
	cancel    context.CancelFunc
	running   sync.WaitGroup
	accepted  chan handlers.Stream
	closeOnce sync.Once
	closed    chan struct{}
	failed    chan struct{} // closed once err is set
	err       error

	mu     sync.Mutex
	onWay  int                  // connections on their way
	onWays map[netip.Prefix]int // the same, by where they come from
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

// WithHandshakes bounds how many connections may be on their way, from the first
// packet to Accept, instead of DefaultHandshakes; no more than half of them from
// one address (one /64 of IPv6). Others are refused, and their dials fail with
// ErrBusy. From a quarter on, whoever dials has to prove his address first, which
// costs him a round trip. n must be at least 2.
func WithHandshakes(n int) ListenOption { return func(l *Listener) { l.max = n } }

// WithHandshakeTimeout sets a time instead of DefaultHandshakeTimeout. d must be
// positive.
func WithHandshakeTimeout(d time.Duration) ListenOption {
	return func(l *Listener) { l.timeout = d }
}

// Listen listens on addr, "address:port" with an IPv4 address, an IPv6 address
// in brackets, or nothing before the ':' for all addresses of the machine. Port
// 0 takes a free one. Names are refused, because they would have to be looked
// up. ctx governs only the call itself.
//
// The identity is the certificate and key of the Tub that is to get the
// connections; its peers expect that one.
//
// Unless WithLocation says otherwise, the listener advertises the address that
// it listens on; a wildcard address advertises nothing.
func Listen(ctx context.Context, addr string, identity *tls.Certificate, opts ...ListenOption) (*Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("quic: %w", err)
	}
	ip, port, err := parseListenAddress(addr)
	if err != nil {
		return nil, fmt.Errorf("quic: cannot listen on %q: %w", addr, err)
	}
	if err := checkIdentity(identity); err != nil {
		return nil, fmt.Errorf("quic: cannot listen: %w", err)
	}
	l := &Listener{
		max:      DefaultHandshakes,
		timeout:  DefaultHandshakeTimeout,
		accepted: make(chan handlers.Stream),
		closed:   make(chan struct{}),
		failed:   make(chan struct{}),
		onWays:   make(map[netip.Prefix]int),
	}
	for _, opt := range opts {
		opt(l)
	}
	for _, hint := range l.hints {
		if _, err := furl.ParseHint(string(hint)); err != nil {
			return nil, fmt.Errorf("quic: cannot advertise the location %q: %w", string(hint), err)
		}
	}
	network, host := "udp", ""
	if ip.IsValid() {
		host = ip.String()
	}
	if ip.Is4() {
		network = "udp4" // with "udp", 0.0.0.0 would listen on IPv6 as well
	}
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("quic: %w", err)
	}
	l.endpoint = newEndpoint(conn.(*net.UDPConn), resetKey(identity), nil)
	l.endpoint.socket.steady.Store(true) // no packet that cannot be sent is a reason to end anything
	l.endpoint.transport.ConnContext = l.admit
	l.endpoint.transport.VerifySourceAddress = l.suspicious
	// quic-go allows a handshake twice the time it allows for silence in it.
	l.listener, err = l.endpoint.transport.Listen(tlsConfig(identity), transportConfig(1, l.timeout/2))
	if err != nil {
		l.endpoint.leave()
		return nil, fmt.Errorf("quic: %w", err)
	}
	if l.hints == nil && ip.IsValid() && !ip.IsUnspecified() {
		l.hints = []furl.Hint{furl.StreamHint("quic", ip.String(), uint16(l.Addr().(*net.UDPAddr).Port))}
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.running.Go(l.receive)
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

// suspicious reports whether so many connections are on their way that it is time
// to ask newcomers for a proof of their address.
func (l *Listener) suspicious(net.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.onWay >= l.max/4
}

var errFull = errors.New("too many connections are on their way")

type placeKey struct{}

// admit gives a newcomer a place among the connections on their way, or refuses it.
// The place becomes free when the function in the context is called, or with the
// end of the connection.
func (l *Listener) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	from := origin(info.RemoteAddr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.onWay >= l.max || l.onWays[from] >= l.max/2 {
		return nil, errFull
	}
	l.onWay++
	l.onWays[from]++
	leave := sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.onWay--
		if l.onWays[from]--; l.onWays[from] == 0 {
			delete(l.onWays, from)
		}
	})
	context.AfterFunc(ctx, leave)
	return context.WithValue(ctx, placeKey{}, leave), nil
}

// origin is what of an address one host may have to itself.
func origin(addr net.Addr) netip.Prefix {
	var ip netip.Addr
	if udp, ok := addr.(*net.UDPAddr); ok {
		ip = udp.AddrPort().Addr().Unmap().WithZone("")
	}
	prefix, _ := ip.Prefix(min(64, ip.BitLen()))
	return prefix
}

// receive takes connections whose handshake is over.
func (l *Listener) receive() {
	for {
		conn, err := l.listener.Accept(context.Background())
		if err != nil {
			l.err = fmt.Errorf("quic: %w", translate(err))
			close(l.failed)
			return
		}
		l.running.Go(func() { l.open(conn) })
	}
}

// open waits for the stream of a connection and hands it to Accept.
func (l *Listener) open(conn *quic.Conn) {
	defer conn.Context().Value(placeKey{}).(func())()
	ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
	defer cancel()
	str, code := openedStream(ctx, conn)
	if str != nil {
		l.endpoint.join()
		s := newStream(conn, str, l.endpoint, false)
		peer := conn.ConnectionState().TLS.PeerCertificates[0]
		select {
		case l.accepted <- handlers.Stream{Conn: s, Peer: peer}:
			return
		case <-conn.Context().Done():
		case <-ctx.Done():
		}
		l.endpoint.leave()
		code = CloseUnwanted
	}
	if l.ctx.Err() != nil {
		code = CloseUnwanted
	}
	conn.CloseWithError(quic.ApplicationErrorCode(code), "")
}

// openedStream returns the stream that the peer opens, its first byte read, or
// why there is none.
func openedStream(ctx context.Context, conn *quic.Conn) (*quic.Stream, CloseCode) {
	str, err := conn.AcceptStream(ctx)
	if err != nil {
		return nil, CloseSilent
	}
	stop := context.AfterFunc(ctx, func() { str.SetReadDeadline(time.Unix(1, 0)) })
	var first [1]byte
	_, err = io.ReadFull(str, first[:])
	switch {
	case !stop():
		return nil, CloseSilent
	case err != nil || first[0] != opening:
		return nil, CloseProtocol
	}
	return str, CloseDone
}

// Addr returns the address that is listened on, with the port that was chosen.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Accept waits for the next connection whose peer has proven its identity and
// opened the stream. After Close it reports an error that wraps net.ErrClosed.
func (l *Listener) Accept() (handlers.Stream, error) {
	select { // closed goes first
	case <-l.closed:
		return handlers.Stream{}, errListenerClosed
	default:
	}
	select {
	case s := <-l.accepted:
		return s, nil
	case <-l.closed:
		return handlers.Stream{}, errListenerClosed
	case <-l.failed:
		select {
		case <-l.closed:
			return handlers.Stream{}, errListenerClosed
		default:
			return handlers.Stream{}, l.err
		}
	}
}

var errListenerClosed = fmt.Errorf("quic: the listener has been closed: %w", net.ErrClosed)

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

// Close stops listening and ends a waiting Accept. The UDP port stays in use as
// long as streams that were accepted are open.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() {
		close(l.closed)
		l.cancel()
		l.listener.Close()
		l.running.Wait()
		l.endpoint.leave()
		l.endpoint.retire()
	})
	return nil
}
