package socks

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/foolscap-go/foolscap/handlers"
)

// maxField is the length of the longest name, user name or password, in bytes:
// the protocol has one byte for the length of each.
const maxField = 255

// Option sets an option of a Dialer.
type Option func(*Dialer)

// WithCredentials shows the proxy a user name and a password, of 1 to 255 and 0
// to 255 bytes, if it wants any. They cross the way to the proxy in clear. It
// excludes WithIsolation.
func WithCredentials(user, password string) Option {
	return func(d *Dialer) { d.auth = &proxy.Auth{User: user, Password: password} }
}

// WithIsolation shows the proxy a user name and a password of their own for each
// isolation of handlers.DialRequest or handlers.ContextWithIsolation. Tor gives
// each such pair circuits of its own. They are made from the isolation and a
// random key of this Dialer, so they tell nobody what it is. A proxy that takes
// no credentials is not used: dials fail with ErrNotIsolated.
func WithIsolation() Option { return func(d *Dialer) { d.isolate = true } }

// WithForward connects to the proxy through forward instead of a net.Dialer.
// forward gets the network and the address of NewDialer, unresolved if it is a
// name. It must return at once when its context ends.
func WithForward(forward handlers.ContextDialer) Option {
	return func(d *Dialer) { d.forward = forward }
}

// WithExposure declares what the proxy itself reveals, instead of everything;
// the caller answers for the truth of it. A proxy hides the address only if
// nobody on the way learns both it and the peer: a Tor client on this machine
// hides it, a proxy elsewhere that connects to the peer directly knows both.
// It hides look-ups if it passes names on unresolved, or looks them up elsewhere
// than on this machine and its network.
func WithExposure(e handlers.Exposure) Option { return func(d *Dialer) { d.declared = e } }

// Dialer connects through one SOCKS5 proxy. It implements handlers.ContextDialer,
// so it can also be the way to another proxy (WithForward) or what another
// transport runs over. It holds nothing between dials and needs no closing; its
// methods may be called concurrently. Make one with NewDialer.
type Dialer struct {
	network, address string
	named            bool // the address of the proxy is a name
	auth             *proxy.Auth
	isolate          bool
	isolationKey     [sha256.Size]byte
	forward          handlers.ContextDialer
	declared         handlers.Exposure
}

var _ handlers.ContextDialer = (*Dialer)(nil)

// NewDialer returns a Dialer through the proxy at an address, which is not
// contacted yet: network "tcp" with "host:port", or "unix" with the path of a
// socket. A host that is a name is looked up at each dial by whatever connects
// to the proxy, and Exposure says so; with an address, nothing is ever looked up.
func NewDialer(network, address string, opts ...Option) (*Dialer, error) {
	d := &Dialer{
		network: network,
		address: address,
		forward: handlers.DialerWithExposure(new(net.Dialer), handlers.Exposure{}),
	}
	for _, opt := range opts {
		opt(d)
	}
	switch network {
	case "tcp":
		host, _, err := splitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("socks: the address %q of the proxy: %w", address, err)
		}
		_, err = netip.ParseAddr(host)
		d.named = err != nil
	case "unix":
		if address == "" {
			return nil, errors.New("socks: the path of the proxy's socket is empty")
		}
	default:
		return nil, fmt.Errorf("socks: the proxy's network: %w", net.UnknownNetworkError(network))
	}
	if a := d.auth; a != nil {
		switch {
		case d.isolate:
			return nil, errors.New("socks: WithCredentials and WithIsolation exclude each other, since both set the user name and password")
		case a.User == "" || len(a.User) > maxField || len(a.Password) > maxField:
			return nil, errors.New("socks: the user name must have 1 to 255 bytes, the password 0 to 255")
		}
	}
	rand.Read(d.isolationKey[:])
	return d, nil
}

// DialContext connects to "host:port" through the proxy; the network must be
// "tcp", the port a number. The result is what the way to the proxy has
// produced, such as a *net.TCPConn, with nothing in between. When ctx ends before,
// everything is closed and DialContext returns at once with an error that wraps
// that of ctx and its cause.
//
// Other errors wrap handlers.ErrInvalidHint if the address cannot be or must not
// be handed to this proxy, handlers.ErrProxyUnreachable if the proxy cannot be
// reached, hangs up or does not speak SOCKS5, and ErrCredentials, ErrNotIsolated
// or a *ReplyError if it says no. A deadline that passes before the proxy is
// ready to take requests is also a handlers.ErrProxyUnreachable.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, net.UnknownNetworkError(network)
	}
	host, port, err := splitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", handlers.ErrInvalidHint, err)
	}
	if host, err = d.target(host); err != nil {
		return nil, err
	}
	conn, _, err := d.dial(ctx, host, port, func(handlers.Phase, string) {})
	return conn, err
}

// DialHint is what a handler's Dial owes, for a hint of any type whose address is
// "host:port": it heeds req.Isolation, reports progress, and its errors are
// *handlers.Error. Handlers that are more than a proxy are built on it. See
// DialContext for what the errors wrap and Handler.Dial for their phases.
func (d *Dialer) DialHint(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	started := time.Now()
	fail := func(phase handlers.Phase, err error) (handlers.Stream, error) {
		return handlers.Stream{}, &handlers.Error{Hint: req.Hint, Handler: d.Description(), Phase: phase, Elapsed: time.Since(started), Err: err}
	}
	host, port, err := req.Hint.HostPort()
	if err != nil {
		return fail(handlers.PhaseParse, fmt.Errorf("%w: %w", handlers.ErrInvalidHint, err))
	}
	target, err := d.target(host)
	if err != nil {
		return fail(handlers.PhaseParse, err)
	}
	conn, phase, err := d.dial(handlers.ContextWithIsolation(ctx, req.Isolation), target, port, req.Report)
	if err != nil {
		return fail(phase, err)
	}
	return handlers.Stream{Conn: conn, Host: host}, nil
}

// Exposure is composed of the way to the proxy and the proxy. The address is
// hidden if either hides it: a proxy to which we are hidden cannot betray us.
// Look-ups are hidden if the proxy is declared to hide them, or is itself beyond a
// way that hides the address; and if the name of the proxy, should it have one, is
// hidden by the way.
func (d *Dialer) Exposure() handlers.Exposure {
	way := d.forward.Exposure()
	return handlers.Exposure{
		HidesAddress: d.declared.HidesAddress || way.HidesAddress,
		HidesLookups: (d.declared.HidesLookups || way.HidesAddress) && (!d.named || way.HidesLookups),
	}
}

// Description returns "socks via " and the address of the proxy.
func (d *Dialer) Description() string { return "socks via " + d.address }

// credentials returns what to show the proxy, or nil.
func (d *Dialer) credentials(isolation string) *proxy.Auth {
	if !d.isolate {
		return d.auth
	}
	mac := hmac.New(sha256.New, d.isolationKey[:])
	mac.Write([]byte(isolation))
	sum := hex.EncodeToString(mac.Sum(nil))
	return &proxy.Auth{User: sum[:len(sum)/2], Password: sum[len(sum)/2:]}
}

// target returns host in the form in which the proxy gets it, or why it does not.
func (d *Dialer) target(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return "", fmt.Errorf("%w: the zone of the address is an interface of this machine, which means nothing to a proxy", handlers.ErrInvalidHint)
		}
		return addr.Unmap().String(), nil
	}
	if len(host) > maxField {
		return "", fmt.Errorf("%w: the name has more than %d bytes", handlers.ErrInvalidHint, maxField)
	}
	name := strings.ToLower(strings.TrimRight(host, "."))
	for _, private := range []string{"onion", "i2p"} {
		switch {
		case name != private && !strings.HasSuffix(name, "."+private):
		case !d.declared.HidesLookups:
			return "", fmt.Errorf("%w: names below .%s are handed only to a proxy that is declared to hide look-ups", handlers.ErrInvalidHint, private)
		default:
			return name, nil // tor takes one that ends with a dot for a name like any other
		}
	}
	return host, nil
}

// splitHostPort splits "host:port" and never asks the system what a port is
// called.
func splitHostPort(address string) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	switch {
	case host == "":
		return "", 0, errors.New("the host is missing")
	case err != nil || n == 0:
		return "", 0, errors.New("the port must be a number in 1..65535")
	}
	return host, uint16(n), nil
}
