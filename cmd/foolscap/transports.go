package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A transport is one way for connections to go, as the commands use it.
type transport struct {
	// hintType is that of its hints, and the first part of what serve's
	// --listen takes.
	hintType string
	// handler makes what dials its hints; nil if every Tub has it anyway.
	handler func() handlers.Handler
	// listen listens on an address; with locations it advertises those, and
	// nothing if the slice is empty but not nil. An address that makes no sense
	// is a usageError.
	listen func(ctx context.Context, address string, locations []furl.Hint, logger *slog.Logger) (handlers.Acceptor, error)
	// check says what is wrong with the address of a hint; nil if there is
	// nothing to check.
	check func(furl.Hint) error
	// demos are what the command demo shows.
	demos []demoAddress
}

// A demoAddress is an address on this machine that demo listens on.
type demoAddress struct{ name, address string }

// transports lists what is built in. All commands that dial, listen or show
// transports go by it.
var transports = []transport{
	{
		hintType: "tcp",
		listen:   listenTCP,
		check:    checkHostPort,
		demos:    []demoAddress{{"TCP, IPv4", "127.0.0.1:0"}, {"TCP, IPv6", "[::1]:0"}},
	},
}

func listenTCP(ctx context.Context, address string, locations []furl.Hint, logger *slog.Logger) (handlers.Acceptor, error) {
	opts := []tcp.ListenOption{tcp.WithLogger(logger)}
	if locations != nil {
		opts = append(opts, tcp.WithLocation(locations...))
	}
	l, err := tcp.Listen(ctx, address, opts...)
	var system *net.OpError
	switch {
	case err == nil:
		return l, nil
	case errors.As(err, &system) || ctx.Err() != nil:
		return nil, err
	}
	return nil, &usageError{err.Error()} // the address makes no sense
}

// checkHostPort is for hints of the form type:host:port.
func checkHostPort(h furl.Hint) error {
	_, _, err := h.HostPort()
	return err
}

// newTub makes a Tub that can dial every transport.
func newTub(id *tub.Identity, opts *tub.Options) (*tub.Tub, error) {
	t, err := tub.New(id, opts)
	if err != nil {
		return nil, err
	}
	for _, tr := range transports {
		if tr.handler == nil {
			continue
		}
		if err := t.Handle(tr.hintType, tr.handler()); err != nil {
			t.Close()
			return nil, err
		}
	}
	return t, nil
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
