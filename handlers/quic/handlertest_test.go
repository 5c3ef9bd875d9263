package quic_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestConformance(t *testing.T) {
	for name, addr := range map[string]string{"over IPv4": "127.0.0.1:0", "over IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) { testConformance(t, addr) })
	}
}

func testConformance(t *testing.T, addr string) {
	to := func(hint furl.Hint, opts ...quic.Option) func(*testing.T) (handlers.Handler, handlers.DialRequest) {
		return func(*testing.T) (handlers.Handler, handlers.DialRequest) {
			return quic.New(opts...), handlers.DialRequest{Hint: hint}
		}
	}
	handlertest.Run(t, handlertest.Config{
		NewHandler: func(*testing.T) handlers.Handler { return quic.New() },
		NewAcceptor: func(t *testing.T, identity *tls.Certificate) handlers.Acceptor {
			l, err := quic.Listen(t.Context(), addr, identity)
			require.NoError(t, err)
			return l
		},
		Authenticates: true,
		InvalidHints:  []furl.Hint{"quic:127.0.0.1", "quic:127.0.0.1:0", "quic:127.0.0.1:65536", "quic:127.1:1", "quic:::1:1", "quic:x.onion:1"},
		Silent: map[string]func(*testing.T) (handlers.Handler, handlers.DialRequest){
			"a resolver": to("quic:a.example:1", quic.WithResolver(silentResolver{})),
			"an address": func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
				return to(hintOf(udp(t).LocalAddr()))(t)
			},
		},
		Failures: map[string]handlertest.Failure{
			"a name that nobody knows": {
				Dial:  to("quic:a.example:1", quic.WithResolver(names{})),
				Phase: handlers.PhaseResolve, Err: handlers.ErrNameNotResolved,
			},
			"another protocol": {
				Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
					config := bareConfig(bob())
					config.NextProtos = []string{"h3"}
					return to(hintOf(bareServer(t, config, nil).Addr()))(t)
				},
				Phase: handlers.PhaseTransport, Err: quic.ErrVersion,
			},
			"another Tub": {
				Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
					return to(hintOf(listen(t, addr).Addr()))(t)
				},
				Phase: handlers.PhaseTransport, Err: handlers.ErrWrongTub,
			},
			"a network that lets no UDP through": {
				Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
					return to(hintOf(udp(t).LocalAddr()), quic.WithTimeout(100*time.Millisecond))(t)
				},
				Phase: handlers.PhaseDial, Err: handlers.ErrTimeout,
			},
		},
		HalfOpen: func(t *testing.T, hint furl.Hint) {
			server := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(hint.Address()))
			looking := make(chan struct{})
			release := make(chan struct{})
			config := bareConfig(alice())
			config.VerifyConnection = func(tls.ConnectionState) error {
				close(looking)
				<-release
				return nil
			}
			conn, err := net.ListenUDP("udp", nil)
			require.NoError(t, err)
			transport := &quicgo.Transport{Conn: conn}
			over := make(chan struct{})
			go func() {
				defer close(over)
				transport.Dial(t.Context(), server, config, nil)
			}()
			<-looking
			t.Cleanup(func() {
				close(release)
				<-over
				transport.Close()
				conn.Close()
			})
		},
	})
}

// silentResolver never answers.
type silentResolver struct{}

func (silentResolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
