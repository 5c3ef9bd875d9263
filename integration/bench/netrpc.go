package main

import (
	"context"
	"crypto/tls"
	"net/rpc"
)

// netRPC is net/rpc of the standard library with its own gob codec, over TLS.
type netRPC struct{}

// SinkArgs and the method set of Bench are exported because net/rpc serves
// exported names only.
type SinkArgs struct{ Data []byte }

// EchoReply carries the bytes back.
type EchoReply struct{ Data []byte }

// Bench is the service.
type Bench struct{}

// Sink answers the length of its argument.
func (Bench) Sink(args *SinkArgs, length *int) error {
	*length = len(args.Data)
	return nil
}

// Echo answers its argument.
func (Bench) Echo(args *SinkArgs, reply *EchoReply) error {
	reply.Data = args.Data
	return nil
}

func (netRPC) serve() (endpoint, error) {
	server := rpc.NewServer()
	if err := server.Register(Bench{}); err != nil {
		return endpoint{}, err
	}
	return listenTLS(func(conn *tls.Conn) { server.ServeConn(conn) })
}

func (netRPC) newClient() (client, error) {
	identity, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return &netRPCClient{identity}, nil
}

type netRPCClient struct{ identity tls.Certificate }

func (c *netRPCClient) dial(ctx context.Context, target string) (connection, error) {
	conn, err := dialTLS(ctx, c.identity, target)
	if err != nil {
		return nil, err
	}
	return &netRPCConn{rpc.NewClient(conn)}, nil
}

type netRPCConn struct{ client *rpc.Client }

func (c *netRPCConn) sink(_ context.Context, data []byte) (int, error) {
	var length int
	err := c.client.Call("Bench.Sink", &SinkArgs{data}, &length)
	return length, err
}

func (c *netRPCConn) echo(_ context.Context, data []byte) ([]byte, error) {
	var reply EchoReply
	err := c.client.Call("Bench.Echo", &SinkArgs{data}, &reply)
	return reply.Data, err
}

func (c *netRPCConn) close() error { return c.client.Close() }
