package tcp_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestConformance(t *testing.T) {
	for name, addr := range map[string]string{"over IPv4": "127.0.0.1:0", "over IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) { testConformance(t, addr) })
	}
}

func testConformance(t *testing.T, addr string) {
	handlertest.Run(t, handlertest.Config{
		NewHandler: func(*testing.T) handlers.Handler { return tcp.New() },
		NewAcceptor: func(t *testing.T, _ *tls.Certificate) handlers.Acceptor {
			l, err := tcp.Listen(t.Context(), addr)
			require.NoError(t, err)
			return l
		},
		InvalidHints: []furl.Hint{
			"tcp:127.0.0.1", "tcp:127.0.0.1:0", "tcp:127.0.0.1:65536", "tcp:127.1:1", "tcp:::1:1", "tcp:[::1]",
			"tcp:a_b.example:1", "tcp:a.example:1:2", "tcp:x.onion:1", "tcp:ONION.:1", "tcp:x.i2p:1", "a.example:0",
		},
		Silent: map[string]func(*testing.T) (handlers.Handler, handlers.DialRequest){
			"a resolver": func(*testing.T) (handlers.Handler, handlers.DialRequest) {
				return tcp.New(tcp.WithResolver(silentResolver{})), handlers.DialRequest{Hint: "tcp:a.example:1"}
			},
			"an address": func(*testing.T) (handlers.Handler, handlers.DialRequest) {
				return tcp.New(tcp.WithDialFunc(silence)), handlers.DialRequest{Hint: "tcp:192.0.2.1:1"}
			},
			"all addresses of a name": func(*testing.T) (handlers.Handler, handlers.DialRequest) {
				resolver := names{"a.example": {"192.0.2.1", "2001:db8::1", "192.0.2.2"}}
				return tcp.New(tcp.WithResolver(resolver), tcp.WithDialFunc(silence)), handlers.DialRequest{Hint: "tcp:a.example:1"}
			},
		},
		Failures: map[string]handlertest.Failure{
			"a name that nobody knows": {
				Dial: func(*testing.T) (handlers.Handler, handlers.DialRequest) {
					return tcp.New(tcp.WithResolver(names{})), handlers.DialRequest{Hint: "tcp:a.example:1"}
				},
				Phase: handlers.PhaseResolve, Err: handlers.ErrNameNotResolved,
			},
			"a port where nobody listens": {
				Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
					l, err := net.Listen("tcp", addr)
					require.NoError(t, err)
					require.NoError(t, l.Close())
					return tcp.New(), handlers.DialRequest{Hint: furl.Hint("tcp:" + l.Addr().String())}
				},
				Phase: handlers.PhaseDial, Err: handlers.ErrUnreachable,
			},
			"an address that says nothing in time": {
				Dial: func(*testing.T) (handlers.Handler, handlers.DialRequest) {
					dial := func(context.Context, string, string) (net.Conn, error) { return nil, context.DeadlineExceeded }
					return tcp.New(tcp.WithDialFunc(dial)), handlers.DialRequest{Hint: "tcp:192.0.2.1:1"}
				},
				Phase: handlers.PhaseDial, Err: handlers.ErrTimeout,
			},
		},
	})
}

// silentResolver never answers.
type silentResolver struct{}

func (silentResolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, &net.DNSError{Err: "silence", IsTimeout: true}
}

// silence is the dial function of a network that swallows packets.
func silence(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
}
