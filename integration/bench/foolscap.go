package main

import (
	"context"
	"fmt"
	"net"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// foolscap is what all of this is measured for: a Tub with the options that
// it has by itself.
type foolscap struct{}

type foolscapArgs struct{ Data []byte }

func (foolscap) serve() (endpoint, error) {
	identity, err := tub.NewIdentity()
	if err != nil {
		return endpoint{}, err
	}
	listener, err := tcp.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		return endpoint{}, err
	}
	return serveTub(identity, listener, listener.Addr().(*net.TCPAddr).String())
}

// serveTub makes a Tub that is reached by the listener, at addr.
func serveTub(identity *tub.Identity, listener handlers.Acceptor, addr string) (endpoint, error) {
	t, err := tub.New(identity, nil)
	if err != nil {
		return endpoint{}, err
	}
	if _, err := t.Listen(listener); err != nil {
		return endpoint{}, err
	}
	f, err := t.Register(tub.NewObject(
		tub.Method("sink", func(_ context.Context, a foolscapArgs) (int, error) { return len(a.Data), nil }),
		tub.Method("echo", func(_ context.Context, a foolscapArgs) ([]byte, error) { return a.Data, nil }),
	))
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{addr: addr, target: f.Reveal()}, nil
}

func (foolscap) newClient() (client, error) {
	identity, err := tub.NewIdentity()
	if err != nil {
		return nil, err
	}
	c := &foolscapClient{identity: identity}
	return c, c.renew()
}

// A foolscapClient has a Tub, which is ready before it dials. The connection
// of a Tub ends with the Tub, so each connection has another one.
type foolscapClient struct {
	identity *tub.Identity
	prepare  func(*tub.Tub) error // or nil
	tub      *tub.Tub
}

func (c *foolscapClient) renew() (err error) {
	if c.tub, err = tub.New(c.identity, nil); err == nil && c.prepare != nil {
		err = c.prepare(c.tub)
	}
	return err
}

func (c *foolscapClient) dial(ctx context.Context, target string) (connection, error) {
	f, err := furl.Parse(target)
	if err != nil {
		return nil, err
	}
	ref, err := c.tub.Connect(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return &foolscapConn{c, ref}, nil
}

type foolscapConn struct {
	client *foolscapClient
	ref    *tub.Ref
}

func (c *foolscapConn) sink(ctx context.Context, data []byte) (int, error) {
	return tub.Call[int](ctx, c.ref, "sink", data)
}

func (c *foolscapConn) echo(ctx context.Context, data []byte) ([]byte, error) {
	return tub.Call[[]byte](ctx, c.ref, "echo", data)
}

func (c *foolscapConn) close() error {
	if err := c.client.tub.Close(); err != nil {
		return err
	}
	return c.client.renew()
}
