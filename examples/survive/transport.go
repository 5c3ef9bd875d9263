package main

import (
	"context"
	"slices"
	"sync"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/tub"
)

// A transport is one way to reach the server, which can be lost and come back.
type transport struct {
	hintType string
	listen   func() (handlers.Acceptor, error) // at the same address each time
	listener *tub.Listener                     // nil while it is lost
	accepted *accepted
}

// transports returns the one that is waited for first, the onion service, in front.
func transports(ctx context.Context, id *tub.Identity, via *tor.Tor) []*transport {
	tcpAddress, quicAddress := "127.0.0.1:0", "127.0.0.1:0"
	all := []*transport{
		{hintType: "tcp", listen: func() (handlers.Acceptor, error) {
			l, err := tcp.Listen(ctx, tcpAddress)
			if err != nil {
				return nil, err
			}
			tcpAddress = l.Addr().String()
			return l, nil
		}},
		{hintType: "quic", listen: func() (handlers.Acceptor, error) {
			l, err := quic.Listen(ctx, quicAddress, id.Certificate())
			if err != nil {
				return nil, err
			}
			quicAddress = l.Addr().String()
			return l, nil
		}},
	}
	if via != nil {
		all = slices.Insert(all, 0, &transport{hintType: "tor", listen: func() (handlers.Acceptor, error) {
			l, err := tor.Listen(ctx, via, 3457)
			if err != nil {
				return nil, err
			}
			return l, nil
		}})
	}
	return all
}

// open lets the Tub be reached by the transport, again.
func (t *transport) open(server *tub.Tub) error {
	a, err := t.listen()
	if err != nil {
		return err
	}
	t.accepted = &accepted{Acceptor: a}
	t.listener, err = server.Listen(t.accepted)
	return err
}

// lose ends the transport and all that has come by it, as a network that fails would.
func (t *transport) lose() {
	t.listener.Close()
	t.listener = nil
	t.accepted.cut()
}

// accepted is an Acceptor that knows its streams.
type accepted struct {
	handlers.Acceptor
	mu      sync.Mutex
	streams []handlers.Stream
}

func (a *accepted) Accept() (handlers.Stream, error) {
	s, err := a.Acceptor.Accept()
	if err == nil {
		a.mu.Lock()
		a.streams = append(a.streams, s)
		a.mu.Unlock()
	}
	return s, err
}

func (a *accepted) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.streams {
		s.Close()
	}
}
