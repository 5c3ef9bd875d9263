package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// gRPC is gRPC-go over TLS with the settings it has by itself. Its messages
// are the well-known wrappers, so the service is described by hand and no
// generated code is needed; the codec is the one for protocol buffers that
// gRPC always uses.
type gRPC struct{}

const (
	grpcService = "bench.Bench"
	grpcSink    = "/" + grpcService + "/Sink"
	grpcEcho    = "/" + grpcService + "/Echo"
)

// grpcBench is what the service description asks of its implementation.
type grpcBench interface {
	sink(context.Context, *wrapperspb.BytesValue) (*wrapperspb.Int64Value, error)
	echo(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
}

type grpcServer struct{}

func (grpcServer) sink(_ context.Context, data *wrapperspb.BytesValue) (*wrapperspb.Int64Value, error) {
	return wrapperspb.Int64(int64(len(data.Value))), nil
}

func (grpcServer) echo(_ context.Context, data *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return data, nil
}

// grpcMethod does what protoc-gen-go-grpc generates for a unary method
// without interceptors.
func grpcMethod[Answer any](
	name string, call func(grpcBench, context.Context, *wrapperspb.BytesValue) (Answer, error),
) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			data := new(wrapperspb.BytesValue)
			if err := decode(data); err != nil {
				return nil, err
			}
			return call(srv.(grpcBench), ctx, data)
		},
	}
}

var grpcDescription = grpc.ServiceDesc{
	ServiceName: grpcService,
	HandlerType: (*grpcBench)(nil),
	Methods: []grpc.MethodDesc{
		grpcMethod("Sink", grpcBench.sink),
		grpcMethod("Echo", grpcBench.echo),
	},
}

func (gRPC) serve() (endpoint, error) {
	identity, err := newIdentity()
	if err != nil {
		return endpoint{}, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return endpoint{}, err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS(identity))))
	server.RegisterService(&grpcDescription, grpcServer{})
	go func() {
		log.Printf("the server accepts no more connections: %v", server.Serve(listener))
	}()
	return pinned(listener.Addr(), identity), nil
}

func (gRPC) newClient() (client, error) {
	identity, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return &grpcClient{identity}, nil
}

type grpcClient struct{ identity tls.Certificate }

func (c *grpcClient) dial(ctx context.Context, target string) (connection, error) {
	addr, server, err := parsePinned(target)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(c.identity, server))),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, err
	}
	// NewClient dials nothing: ask for the connection and see it ready.
	conn.Connect()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return &grpcConn{conn}, nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			conn.Close()
			return nil, fmt.Errorf("gRPC cannot connect to %s", addr)
		}
		if !conn.WaitForStateChange(ctx, state) {
			conn.Close()
			return nil, context.Cause(ctx)
		}
	}
}

type grpcConn struct{ conn *grpc.ClientConn }

func (c *grpcConn) sink(ctx context.Context, data []byte) (int, error) {
	length := new(wrapperspb.Int64Value)
	if err := c.conn.Invoke(ctx, grpcSink, wrapperspb.Bytes(data), length); err != nil {
		return 0, err
	}
	return int(length.Value), nil
}

func (c *grpcConn) echo(ctx context.Context, data []byte) ([]byte, error) {
	back := new(wrapperspb.BytesValue)
	if err := c.conn.Invoke(ctx, grpcEcho, wrapperspb.Bytes(data), back); err != nil {
		return nil, err
	}
	return back.Value, nil
}

func (c *grpcConn) close() error { return c.conn.Close() }
