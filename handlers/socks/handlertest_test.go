package socks_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestConformance(t *testing.T) {
	proxy := startProxy(t)
	hidden := socks.WithExposure(handlers.Exposure{HidesAddress: true, HidesLookups: true})
	for name, opts := range map[string][]socks.Option{
		"without a login": {hidden}, // a stricter test than if it declared nothing
		"with isolation":  {hidden, socks.WithIsolation()},
	} {
		t.Run(name, func(t *testing.T) {
			testConformance(t, func(t *testing.T) *socks.Dialer {
				d, err := socks.NewDialer("tcp", proxy, opts...)
				require.NoError(t, err)
				return d
			})
		})
	}
}

func testConformance(t *testing.T, dialer func(*testing.T) *socks.Dialer) {
	// through returns a handler whose proxy is the given one.
	through := func(t *testing.T, way handlers.ContextDialer) handlers.Handler { return socks.New(newDialer(t, way)) }
	fails := func(phase handlers.Phase, err error, script ...step) handlertest.Failure {
		return handlertest.Failure{
			Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
				return through(t, proxyThat(t, script...)), handlers.DialRequest{Hint: "tcp:a.example:80"}
			},
			Phase: phase, Err: err,
		}
	}
	silent := func(script ...step) func(*testing.T) (handlers.Handler, handlers.DialRequest) {
		return func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
			return through(t, proxyThat(t, append(script, isLeft)...)), handlers.DialRequest{Hint: "tcp:a.example:80"}
		}
	}
	answers := func(code byte) []step {
		return []step{gets(greeting), says(noPassword), gets(toExample), says([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})}
	}
	handlertest.Run(t, handlertest.Config{
		NewHandler: func(t *testing.T) handlers.Handler { return socks.New(dialer(t)) },
		NewAcceptor: func(t *testing.T, _ *tls.Certificate) handlers.Acceptor {
			l, err := tcp.Listen(t.Context(), "127.0.0.1:0")
			require.NoError(t, err)
			return l
		},
		InvalidHints: []furl.Hint{
			"tcp:127.0.0.1", "tcp:127.0.0.1:0", "tcp:127.1:1", "tcp:[::1%lo]:1", "tcp:::1:1", "tcp:a_b.example:1", "tor:127.0.0.1:1:1",
		},
		Silent: map[string]func(*testing.T) (handlers.Handler, handlers.DialRequest){
			"the way to the proxy": func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
				way := dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() })
				return through(t, handlers.DialerWithExposure(way, handlers.Exposure{})), handlers.DialRequest{Hint: "tcp:a.example:80"}
			},
			"the proxy":  silent(gets(greeting)),
			"its answer": silent(gets(greeting), says(noPassword), gets(toExample)),
		},
		Failures: map[string]handlertest.Failure{
			"no proxy": {
				Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					require.NoError(t, err)
					require.NoError(t, l.Close())
					d, err := socks.NewDialer("tcp", l.Addr().String())
					require.NoError(t, err)
					return socks.New(d), handlers.DialRequest{Hint: "tcp:a.example:80"}
				},
				Phase: handlers.PhaseDial, Err: handlers.ErrProxyUnreachable,
			},
			"a proxy that hangs up":            fails(handlers.PhaseDial, handlers.ErrProxyUnreachable, gets(greeting), hangsUp),
			"a proxy that wants a password":    fails(handlers.PhaseDial, handlers.ErrProxyRefused, gets(greeting), says([]byte{5, 0xff})),
			"a proxy that does not want to":    fails(handlers.PhaseProxy, handlers.ErrProxyRefused, answers(2)...),
			"a peer where nobody listens":      fails(handlers.PhaseProxy, handlers.ErrUnreachable, answers(5)...),
			"a peer that the proxy cannot see": fails(handlers.PhaseProxy, handlers.ErrUnreachable, answers(4)...),
		},
	})
}

// startProxy runs a SOCKS5 proxy in this process until the test ends. It takes any
// password, and all names for 127.0.0.1.
func startProxy(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serveSOCKS(client.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		running.Wait()
	})
	return l.Addr().String()
}

// serveSOCKS serves one client. It trusts it, since the handshake is not what is
// tested with it.
func serveSOCKS(client *net.TCPConn) {
	defer client.Close()
	target, err := readRequest(client)
	if err != nil {
		return
	}
	conn, err := net.Dial("tcp", target)
	if err != nil {
		client.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	if _, err := client.Write(done); err != nil {
		return
	}
	var both sync.WaitGroup
	for _, ends := range [][2]*net.TCPConn{{client, server}, {server, client}} {
		both.Go(func() {
			if _, err := io.Copy(ends[1], ends[0]); err != nil {
				ends[0].Close()
				ends[1].Close()
				return
			}
			ends[1].CloseWrite()
		})
	}
	both.Wait()
}

// readRequest goes through the handshake as far as the request and returns where
// the client wants to go.
func readRequest(c net.Conn) (target string, err error) {
	read := func(n byte) []byte {
		b := make([]byte, n)
		if err == nil {
			_, err = io.ReadFull(c, b)
		}
		return b
	}
	write := func(b ...byte) {
		if err == nil {
			_, err = c.Write(b)
		}
	}
	methods := read(read(2)[1])
	if len(methods) == 2 { // none, or a password
		write(5, 2)
		read(read(2)[1])
		read(read(1)[0])
		write(1, 0)
	} else {
		write(5, 0)
	}
	host := "127.0.0.1"
	switch read(4)[3] {
	case 1:
		host = netip.AddrFrom4([4]byte(read(4))).String()
	case 3:
		read(read(1)[0])
	default:
		err = errors.Join(err, errors.New("not what the kit dials"))
	}
	port := binary.BigEndian.Uint16(read(2))
	return net.JoinHostPort(host, strconv.Itoa(int(port))), err
}
