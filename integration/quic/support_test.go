// Package quic_test lets Tubs meet over QUIC, with a network between them.
package quic_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// within is the context of the things that a test waits for.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// certificate is an identity as handlers and listeners take it.
func certificate(t testing.TB, id *tub.Identity) *tls.Certificate {
	t.Helper()
	text, err := id.PEM()
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	return &cert
}

// identity makes an identity whose TubID accept agrees to.
func identity(t testing.TB, accept func(furl.TubID) bool) *tub.Identity {
	t.Helper()
	for {
		id, err := tub.NewIdentity()
		require.NoError(t, err)
		if accept(id.TubID()) {
			return id
		}
	}
}

func anyID(furl.TubID) bool { return true }

// middling leaves room on both sides for one that is greater or less.
func middling(id furl.TubID) bool { return id > "h" && id < "q" }

// A party is a Tub that speaks quic, and what it has seen.
type party struct {
	*tub.Tub
	id *tub.Identity

	mu     sync.Mutex
	events []tub.Event
}

// startTub makes a Tub that lives as long as the test. Nobody listens for it yet.
func startTub(t testing.TB, id *tub.Identity) *party {
	t.Helper()
	p := &party{id: id}
	var log journal
	var err error
	p.Tub, err = tub.New(id, &tub.Options{
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observer: func(e tub.Event) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.events = append(p.events, e)
		},
	})
	require.NoError(t, err)
	require.NoError(t, p.Handle("quic", quic.New()))
	t.Cleanup(func() {
		assert.NoError(t, p.Close())
		if t.Failed() {
			t.Logf("the log of %s:\n%s", p.Tub, log.String())
		}
	})
	return p
}

// listen lets a Tub accept connections and returns the address. FURLs contain the location, or that address if none is
// given.
func (p *party) listen(t testing.TB, addr string, location ...furl.Hint) *net.UDPAddr {
	t.Helper()
	var options []quic.ListenOption
	if len(location) > 0 {
		options = append(options, quic.WithLocation(location...))
	}
	l, err := quic.Listen(t.Context(), addr, certificate(t, p.id), options...)
	require.NoError(t, err)
	_, err = p.Listen(l)
	require.NoError(t, err)
	return l.Addr().(*net.UDPAddr)
}

// desk publishes an object for other Tubs.
func (p *party) desk(t testing.TB) furl.FURL {
	t.Helper()
	f, err := p.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		tub.Method("echo", func(_ context.Context, a struct{ Data []byte }) ([]byte, error) { return a.Data, nil }),
		tub.Method("ask", func(ctx context.Context, a struct{ Whom *tub.Ref }) (int, error) {
			return tub.Call[int](ctx, a.Whom, "add", 20, 3)
		}),
	))
	require.NoError(t, err)
	return f
}

// negotiations counts those that have led to a connection.
func (p *party) negotiations() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind == tub.EventNegotiate && e.Err == nil {
			n++
		}
	}
	return n
}

func assertAdds(t testing.TB, r *tub.Ref) {
	t.Helper()
	sum, err := tub.Call[int](within(t), r, "add", 1, 2)
	require.NoError(t, err)
	assert.Equal(t, 3, sum)
}

// journal keeps what Tubs log, for tests that fail.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// A relay passes the packets of one client on to a server, each after a time, and can give the client another address.
type relay struct {
	front  *net.UDPConn
	server *net.UDPAddr
	oneWay time.Duration
	group  sync.WaitGroup

	mu     sync.Mutex
	client *net.UDPAddr
	back   *net.UDPConn // what the server sees of the client
}

func startRelay(t testing.TB, server *net.UDPAddr, oneWay time.Duration) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	front.SetReadBuffer(4 << 20)
	r := &relay{front: front, server: server, oneWay: oneWay}
	r.group.Go(func() {
		r.carry(front, func(from *net.UDPAddr, packet []byte) {
			r.mu.Lock()
			r.client = from
			back := r.back
			r.mu.Unlock()
			back.WriteToUDP(packet, r.server)
		})
	})
	r.moveTo(t, "127.0.0.1")
	t.Cleanup(func() {
		front.Close()
		r.mu.Lock()
		r.back.Close()
		r.mu.Unlock()
		r.group.Wait()
	})
	return r
}

func (r *relay) hint() furl.Hint { return furl.Hint("quic:" + r.front.LocalAddr().String()) }

// moveTo gives the client another address and port. Packets to the old one are lost.
func (r *relay) moveTo(t testing.TB, ip string) *net.UDPAddr {
	t.Helper()
	back, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
	require.NoError(t, err)
	back.SetReadBuffer(4 << 20)
	r.mu.Lock()
	old := r.back
	r.back = back
	r.mu.Unlock()
	if old != nil {
		old.Close()
	}
	r.group.Go(func() {
		r.carry(back, func(_ *net.UDPAddr, packet []byte) {
			r.mu.Lock()
			client := r.client
			r.mu.Unlock()
			r.front.WriteToUDP(packet, client)
		})
	})
	return back.LocalAddr().(*net.UDPAddr)
}

// carry sends on what comes in, until the socket is closed.
func (r *relay) carry(in *net.UDPConn, out func(from *net.UDPAddr, packet []byte)) {
	type packet struct {
		due  time.Time
		from *net.UDPAddr
		data []byte
	}
	packets := make(chan packet, 16<<10) // what there is no room for is lost
	defer close(packets)
	r.group.Go(func() {
		for p := range packets {
			waitUntil(p.due)
			out(p.from, p.data)
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := in.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		select {
		case packets <- packet{time.Now().Add(r.oneWay), from, bytes.Clone(buffer[:n])}:
		default:
		}
	}
}

// waitUntil is exact to some microseconds. A sleeping goroutine may be woken a millisecond late.
func waitUntil(due time.Time) {
	time.Sleep(time.Until(due) - 1500*time.Microsecond)
	for time.Now().Before(due) {
		runtime.Gosched()
	}
}

// tlsConfig is for quic-go without our package.
func tlsConfig(cert *tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*cert}, InsecureSkipVerify: true, NextProtos: []string{"bench"}}
}
