package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/tub"
)

// What goes over UDP cannot pass the relay, which knows TCP.

// bareQUIC is the floor under Foolscap over QUIC: quic-go with one stream a
// connection, and nothing else. It does the work of bareTLS.
type bareQUIC struct{}

const benchProtocol = "foolscap-bench"

func (bareQUIC) serve() (endpoint, error) {
	identity, err := newIdentity()
	if err != nil {
		return endpoint{}, err
	}
	config := serverTLS(identity)
	config.NextProtos = []string{benchProtocol}
	listener, err := quicgo.ListenAddr("127.0.0.1:0", config, &quicgo.Config{KeepAlivePeriod: 10 * time.Second})
	if err != nil {
		return endpoint{}, err
	}
	go func() {
		for {
			conn, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				if stream, err := conn.AcceptStream(context.Background()); err == nil {
					serveBare(quicStream{stream, conn})
				}
			}()
		}
	}()
	return pinned(listener.Addr(), identity), nil
}

func (bareQUIC) newClient() (client, error) {
	identity, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return &quicClient{identity}, nil
}

type quicClient struct{ identity tls.Certificate }

func (c *quicClient) dial(ctx context.Context, target string) (connection, error) {
	addr, server, err := parsePinned(target)
	if err != nil {
		return nil, err
	}
	config := clientTLS(c.identity, server)
	config.NextProtos = []string{benchProtocol}
	conn, err := quicgo.DialAddr(ctx, addr, config, &quicgo.Config{KeepAlivePeriod: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, errors.Join(err, conn.CloseWithError(0, ""))
	}
	return &bareConn{conn: quicStream{stream, conn}}, nil
}

// quicStream is a stream that ends with its connection.
type quicStream struct {
	*quicgo.Stream
	conn *quicgo.Conn
}

func (s quicStream) Close() error { return s.conn.CloseWithError(0, "") }

// foolscapQUIC is a Tub that is reached by QUIC.
type foolscapQUIC struct{}

func (foolscapQUIC) serve() (endpoint, error) {
	identity, err := tub.NewIdentity()
	if err != nil {
		return endpoint{}, err
	}
	listener, err := quic.Listen(context.Background(), "127.0.0.1:0", identity.Certificate())
	if err != nil {
		return endpoint{}, err
	}
	return serveTub(identity, listener, listener.Addr().(*net.UDPAddr).String())
}

func (foolscapQUIC) newClient() (client, error) {
	identity, err := tub.NewIdentity()
	if err != nil {
		return nil, err
	}
	c := &foolscapClient{identity: identity, prepare: func(t *tub.Tub) error { return t.Handle("quic", quic.New()) }}
	return c, c.renew()
}

var _ bareStream = quicStream{}

// bareStream is what bare TLS and bare QUIC are measured over.
type bareStream interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
	SetDeadline(t time.Time) error
}
