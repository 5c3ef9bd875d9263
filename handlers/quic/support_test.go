package quic_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
)

// TestMain makes sure that nothing is left of what the tests have closed, and that nothing was printed.
func TestMain(m *testing.M) {
	var printed bytes.Buffer
	log.SetOutput(&printed)
	code := m.Run()
	if left := leftGoroutines(); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		code = 1
	}
	if printed.Len() > 0 {
		fmt.Fprintf(os.Stderr, "something was logged: %s\n", &printed)
		code = 1
	}
	os.Exit(code)
}

var ours = regexp.MustCompile(`foolscap/handlers/quic\.|quic-go/quic-go`)

// leftGoroutines returns the stacks of goroutines of this package and of quic-go that are still there after a while.
func leftGoroutines() []string {
	deadline := time.After(5 * time.Second)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		stacks := make([]byte, 16<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		var left []string
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			if ours.MatchString(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-again.C:
		case <-deadline:
			return left
		}
	}
}

// tubs is an identity of each kind of key.
var tubs = sync.OnceValue(func() (all []*tls.Certificate) {
	for _, kind := range []negotiate.KeyKind{negotiate.P256, negotiate.P256, negotiate.RSA2048} {
		cert, err := negotiate.NewCertificate(kind)
		if err != nil {
			panic(err)
		}
		all = append(all, cert)
	}
	return all
})

// The client and the server of most tests.
func alice() *tls.Certificate { return tubs()[0] }
func bob() *tls.Certificate   { return tubs()[1] }

func idOf(cert *tls.Certificate) furl.TubID { return furl.TubIDOf(cert.Certificate[0]) }

// listen listens on addr as bob until the test ends.
func listen(t testing.TB, addr string, opts ...quic.ListenOption) *quic.Listener {
	t.Helper()
	l, err := quic.Listen(t.Context(), addr, bob(), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// port returns the port of l as text.
func port(t testing.TB, l *quic.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// toBob is the request by which alice dials bob.
func toBob(hint furl.Hint) handlers.DialRequest {
	return handlers.DialRequest{Hint: hint, Target: idOf(bob()), Identity: alice()}
}

func newHandler(t testing.TB, opts ...quic.Option) *quic.Handler {
	t.Helper()
	h := quic.New(opts...)
	t.Cleanup(func() { assert.NoError(t, h.Close()) })
	return h
}

// connect dials hint as alice and accepts at l, and returns both ends.
func connect(t testing.TB, h handlers.Handler, hint furl.Hint, l *quic.Listener) (dialled, accepted handlers.Stream) {
	t.Helper()
	var acceptErr error
	var accepting sync.WaitGroup
	accepting.Go(func() { accepted, acceptErr = l.Accept() })
	dialled, err := handlers.Dial(t.Context(), h, toBob(hint))
	if err != nil {
		l.Close() // or Accept would wait for ever
	}
	accepting.Wait()
	require.NoError(t, err)
	require.NoError(t, acceptErr)
	t.Cleanup(func() { closeBoth(dialled, accepted) })
	return dialled, accepted
}

// pair connects alice and bob on loopback.
func pair(t testing.TB) (dialled, accepted handlers.Stream) {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	hints, _ := l.Hints()
	return connect(t, newHandler(t), hints[0], l)
}

// closeBoth closes two ends without either having to wait for the other's test.
func closeBoth(a, b net.Conn) {
	var closing sync.WaitGroup
	closing.Go(func() { a.Close() })
	closing.Go(func() { b.Close() })
	closing.Wait()
}

// greet accepts one connection at l, and closes it when the peer has.
func greet(t testing.TB, l *quic.Listener) {
	var greeting sync.WaitGroup
	greeting.Go(func() {
		if s, err := l.Accept(); err == nil {
			io.Copy(io.Discard, s)
			s.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		greeting.Wait()
	})
}

// names is a resolver that knows these names and no others.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	if network != "ip" || n[host] == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var addrs []netip.Addr
	for _, text := range n[host] {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs, nil
}

// udp opens a UDP socket on loopback until the test ends.
func udp(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func hintOf(addr net.Addr) furl.Hint { return furl.Hint("quic:" + addr.String()) }

// bareConfig is the TLS configuration of somebody who is not this package.
func bareConfig(cert *tls.Certificate) *tls.Config {
	config := &tls.Config{
		InsecureSkipVerify: true,
		ClientAuth:         tls.RequireAnyClientCert,
		NextProtos:         []string{quic.Protocol},
	}
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	return config
}

// bareServer is a QUIC server that is not this package's.
func bareServer(t testing.TB, config *tls.Config, opts *quicgo.Config) *quicgo.Listener {
	t.Helper()
	transport := &quicgo.Transport{Conn: udp(t)}
	t.Cleanup(func() { transport.Close() })
	l, err := transport.Listen(config, opts)
	require.NoError(t, err)
	return l
}

// bareClient is a QUIC client that is not this package's, connected to l.
func bareClient(t testing.TB, l *quic.Listener, config *tls.Config) (*quicgo.Conn, error) {
	t.Helper()
	transport := &quicgo.Transport{Conn: udp(t)}
	t.Cleanup(func() { transport.Close() })
	return transport.Dial(t.Context(), l.Addr(), config, nil)
}
