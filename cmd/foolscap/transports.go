package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A transport is a type of hints, as the commands use it. What dials them is
// up to the flags: see route.
type transport struct {
	// hintType is also the first part of what serve's --listen takes.
	hintType string
	// hides says that listeners hide the address of this machine. They have an
	// address of their own, and need no location.
	hides bool
	// checkListen says what is wrong with an address to listen at. all means
	// that it stands for all addresses of the machine.
	checkListen func(address string) (all bool, err error)
	listen      func(ctx context.Context, w where) (handlers.Acceptor, error)
}

// where says where to listen, and as whom.
type where struct {
	address  string
	identity *tub.Identity
	// locations are advertised instead of the address, unless it is nil.
	locations []furl.Hint
	via       *tor.Tor
	onion     []tor.ListenOption
	logger    *slog.Logger
}

// transports lists what is built in.
var transports = []transport{
	{hintType: "tcp", checkListen: checkAddress, listen: listenTCP},
	{hintType: "quic", checkListen: checkAddress, listen: listenQUIC},
	{hintType: "tor", hides: true, checkListen: checkOnionPort, listen: listenTor},
}

func listenTCP(ctx context.Context, w where) (handlers.Acceptor, error) {
	opts := []tcp.ListenOption{tcp.WithLogger(w.logger)}
	if w.locations != nil {
		opts = append(opts, tcp.WithLocation(w.locations...))
	}
	l, err := tcp.Listen(ctx, w.address, opts...)
	if err != nil {
		return nil, err // and no *tcp.Listener in an interface
	}
	return l, nil
}

func listenQUIC(ctx context.Context, w where) (handlers.Acceptor, error) {
	var opts []quic.ListenOption
	if w.locations != nil {
		opts = append(opts, quic.WithLocation(w.locations...))
	}
	l, err := quic.Listen(ctx, w.address, w.identity.Certificate(), opts...)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func listenTor(ctx context.Context, w where) (handlers.Acceptor, error) {
	port, err := onionPort(w.address)
	if err != nil {
		return nil, err
	}
	l, err := tor.Listen(ctx, w.via, port, append(w.onion, tor.WithLogger(w.logger))...)
	if err != nil {
		return nil, torAdvice(err)
	}
	return l, nil
}

// checkAddress is for addresses of the form ip:port, [ip]:port and :port.
func checkAddress(address string) (all bool, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false, errors.New("the port must be a number in 0..65535")
	}
	if host == "" {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false, errors.New("the host must be an IP address, or be left out to listen on all; a name is given as a --location")
	}
	return ip.IsUnspecified(), nil
}

// defaultOnionPort is that of onion services unless --listen says otherwise.
// Nobody else uses their addresses, so any port would do.
const defaultOnionPort = 3457

func onionPort(address string) (uint16, error) {
	if address == "" {
		return defaultOnionPort, nil
	}
	port, err := strconv.ParseUint(address, 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("the port of an onion service must be a number in 1..65535")
	}
	return uint16(port), nil
}

func checkOnionPort(address string) (all bool, err error) {
	_, err = onionPort(address)
	return false, err
}

// A listening is a value of --listen that makes sense.
type listening struct {
	text      string
	transport *transport
	address   string
	all       bool
}

func parseListening(text string) (listening, error) {
	hintType, address, _ := strings.Cut(text, ":")
	tr := findTransport(hintType)
	if hint := furl.Hint(text); tr == nil && hint.Type() == "tcp" { // "host:port" is short for TCP
		tr, address = findTransport("tcp"), text
	}
	if tr == nil {
		return listening{}, usagef("--listen %s: give TYPE:ADDRESS with one of the types %s", quote(text), transportTypes())
	}
	all, err := tr.checkListen(address)
	if err != nil {
		return listening{}, usagef("--listen %s: %v", quote(text), err)
	}
	return listening{text, tr, address, all}, nil
}

// port is that of an address, or a word for one that is not known yet.
func (l listening) port() string {
	_, port, err := net.SplitHostPort(l.address)
	if n, _ := strconv.Atoi(port); err != nil || n == 0 {
		return "PORT"
	}
	return port
}

func (l listening) listen(ctx context.Context, w where) (handlers.Acceptor, error) {
	w.address = l.address
	a, err := l.transport.listen(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", quote(l.text), err)
	}
	return a, nil
}

// awaitHints waits until an acceptor advertises something, or never will.
func awaitHints(ctx context.Context, a handlers.Acceptor) error {
	for {
		hints, changed := a.Hints()
		if len(hints) > 0 || changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// checkHint says what is wrong with a hint of a type that is built in: all
// these types have the form type:host:port.
func checkHint(h furl.Hint) error {
	_, _, err := h.HostPort()
	return err
}

// findTransport returns the transport for a type of hints, or nil.
func findTransport(hintType string) *transport {
	i := slices.IndexFunc(transports, func(t transport) bool { return t.hintType == hintType })
	if i < 0 {
		return nil
	}
	return &transports[i]
}

// transportTypes lists the types of hints for messages.
func transportTypes() string {
	types := make([]string, len(transports))
	for i, t := range transports {
		types[i] = t.hintType
	}
	return strings.Join(types, ", ")
}
