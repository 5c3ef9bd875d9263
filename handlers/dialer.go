package handlers

import (
	"context"
	"net"
)

// ContextDialer makes the byte streams under a handler that adds a layer of its
// own, such as WebSocket. It is how that handler can run over TCP, a proxy or
// Tor alike.
//
// DialContext treats network and address as net.Dialer does. If the address
// holds a name, the dialer resolves it in its own way, which its exposure
// covers; a handler that cares hands names on unresolved. A dialer that knows
// circuits heeds IsolationFromContext.
//
// The methods may be called concurrently.
type ContextDialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	Exposure() Exposure
}

// DialerWithExposure declares the exposure of a dialer that does not do so
// itself, such as a net.Dialer or one of golang.org/x/net/proxy. Whoever calls
// it answers for the truth of e.
func DialerWithExposure(d interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}, e Exposure) ContextDialer {
	return exposedDialer{dial: d.DialContext, exposure: e}
}

type exposedDialer struct {
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	exposure Exposure
}

func (d exposedDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dial(ctx, network, address)
}

func (d exposedDialer) Exposure() Exposure { return d.exposure }

type isolationKey struct{}

// ContextWithIsolation attaches a DialRequest's Isolation to ctx. That is how it
// reaches a ContextDialer through code that knows only contexts, such as an
// http.Transport. The function Dial does it for every handler.
func ContextWithIsolation(ctx context.Context, isolation string) context.Context {
	return context.WithValue(ctx, isolationKey{}, isolation)
}

// IsolationFromContext returns what ContextWithIsolation attached, or "".
func IsolationFromContext(ctx context.Context) string {
	isolation, _ := ctx.Value(isolationKey{}).(string)
	return isolation
}
