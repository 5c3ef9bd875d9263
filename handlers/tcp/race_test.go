package tcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

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

// server says how an address of a fakeNet answers a connection attempt.
type server struct {
	after     time.Duration // when the answer comes; 0 means at once
	err       error         // what it is; nil means a connection
	silent    bool          // there is no answer at all
	heedsNone bool          // the attempt goes on although its context has ended
}

// fakeNet is a network of servers by address. It notes when it was dialled.
type fakeNet struct {
	started time.Time
	servers map[string]server

	mu       sync.Mutex
	attempts []string                // "250ms 192.0.2.1:1"
	opened   map[string]*watchedConn // by address
}

func newFakeNet(servers map[string]server) *fakeNet {
	return &fakeNet{started: time.Now(), servers: servers, opened: make(map[string]*watchedConn)}
}

func (n *fakeNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.attempts = append(n.attempts, fmt.Sprint(time.Since(n.started), " ", address))
	n.mu.Unlock()
	s, ok := n.servers[address]
	if !ok {
		return nil, syscall.EHOSTUNREACH
	}
	var answer <-chan time.Time
	if !s.silent {
		answer = time.After(s.after)
	}
	ended := ctx.Done()
	if s.heedsNone {
		ended = nil
	}
	select {
	case <-answer:
	case <-ended:
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	conn := &watchedConn{closed: make(chan struct{})}
	n.mu.Lock()
	n.opened[address] = conn
	n.mu.Unlock()
	return conn, nil
}

// watchedConn is a connection of which only the end is of interest.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *watchedConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

func TestRace(t *testing.T) {
	const (
		six1, six2   = "[2001:db8::1]:1", "[2001:db8::2]:1"
		four1, four2 = "192.0.2.1:1", "192.0.2.2:1"
	)
	all := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"}
	refused := server{err: syscall.ECONNREFUSED}
	silent := server{silent: true}
	tests := []struct {
		name     string
		servers  map[string]server
		attempts []string
		winner   string
		took     time.Duration
	}{
		{
			name:     "the first address answers and no other is dialled",
			servers:  map[string]server{six1: {after: 249 * time.Millisecond}},
			attempts: []string{"0s " + six1},
			winner:   six1, took: 249 * time.Millisecond,
		},
		{
			name:     "a silent address delays the next by no more than the stagger",
			servers:  map[string]server{six1: silent, four1: {after: time.Millisecond}},
			attempts: []string{"0s " + six1, "250ms " + four1},
			winner:   four1, took: 251 * time.Millisecond,
		},
		{
			name:     "silent addresses add up",
			servers:  map[string]server{six1: silent, four1: silent, six2: silent, four2: {}},
			attempts: []string{"0s " + six1, "250ms " + four1, "500ms " + six2, "750ms " + four2},
			winner:   four2, took: 750 * time.Millisecond,
		},
		{
			name:     "a failure starts the next at once",
			servers:  map[string]server{six1: refused, four1: refused, six2: {after: time.Millisecond}},
			attempts: []string{"0s " + six1, "0s " + four1, "0s " + six2},
			winner:   six2, took: time.Millisecond,
		},
		{
			name:     "a failure begins the stagger anew",
			servers:  map[string]server{six1: {after: 100 * time.Millisecond, err: syscall.ECONNREFUSED}, four1: silent, six2: {}},
			attempts: []string{"0s " + six1, "100ms " + four1, "350ms " + six2},
			winner:   six2, took: 350 * time.Millisecond,
		},
		{
			name:     "an early address may still win after a later one was dialled",
			servers:  map[string]server{six1: {after: 300 * time.Millisecond}, four1: {after: time.Second}},
			attempts: []string{"0s " + six1, "250ms " + four1},
			winner:   six1, took: 300 * time.Millisecond,
		},
		{
			name:     "the last address has all the time there is",
			servers:  map[string]server{six1: refused, four1: refused, six2: refused, four2: {after: 9 * time.Second}},
			attempts: []string{"0s " + six1, "0s " + four1, "0s " + six2, "0s " + four2},
			winner:   four2, took: 9 * time.Second,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newFakeNet(test.servers)
				h := tcp.New(tcp.WithResolver(names{"a.example": all}), tcp.WithDialFunc(network.dial))
				stream, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tcp:a.example:1"})
				require.NoError(t, err)
				assert.Equal(t, test.took, time.Since(network.started))
				assert.Equal(t, "a.example", stream.Host)
				assert.Nil(t, stream.Peer)

				require.NoError(t, h.Close())
				assert.Equal(t, test.took, time.Since(network.started), "Close had nothing to wait for")
				assert.Equal(t, test.attempts, network.attempts)
				assert.True(t, stream.Conn == network.opened[test.winner])
				assert.False(t, network.opened[test.winner].isClosed(), "the stream outlives its handler")
			})
		})
	}
}

func TestLosersAreClosedAndCloseWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow, fast = "[2001:db8::1]:1", "192.0.2.1:1"
		network := newFakeNet(map[string]server{slow: {after: 5 * time.Second, heedsNone: true}, fast: {}})
		h := tcp.New(tcp.WithResolver(names{"a.example": {"2001:db8::1", "192.0.2.1"}}), tcp.WithDialFunc(network.dial))
		stream, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "a.example:1"})
		require.NoError(t, err)
		assert.Equal(t, 250*time.Millisecond, time.Since(network.started), "the winner does not wait for the loser")

		require.NoError(t, h.Close())
		assert.Equal(t, 5*time.Second, time.Since(network.started))
		assert.True(t, network.opened[slow].isClosed())
		assert.True(t, stream.Conn == network.opened[fast] && !network.opened[fast].isClosed())
	})
}

func TestWhenAllAddressesFailTheErrorHasEveryCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newFakeNet(map[string]server{
			"[2001:db8::1]:1": {after: 300 * time.Millisecond, err: syscall.ETIMEDOUT},
			"192.0.2.1:1":     {err: syscall.ECONNREFUSED},
		})
		h := tcp.New(tcp.WithResolver(names{"a.example": {"2001:db8::1", "192.0.2.1"}}), tcp.WithDialFunc(network.dial))
		defer h.Close()
		_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:1"})
		var dialErr *handlers.Error
		require.ErrorAs(t, err, &dialErr)
		assert.Equal(t, handlers.Error{Hint: "tcp:a.example:1", Handler: "tcp", Phase: handlers.PhaseDial, Elapsed: 300 * time.Millisecond, Err: dialErr.Err}, *dialErr)
		assert.ErrorIs(t, err, handlers.ErrUnreachable)
		assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.ErrorContains(t, err, "192.0.2.1: connection refused; 2001:db8::1: connection timed out")
	})
}

func TestADialEndsAtOnceWithItsContext(t *testing.T) {
	cause := errors.New("another hint won")
	silentResolver := resolverFunc(func(ctx context.Context) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	// Attempts that go on for a while show that Dial does not wait for them.
	deaf := server{after: time.Minute, heedsNone: true}
	for name, test := range map[string]struct {
		resolver tcp.Resolver
		phase    handlers.Phase
		text     string
	}{
		"while it connects": {names{"a.example": {"192.0.2.1", "192.0.2.2"}}, handlers.PhaseDial, "192.0.2.1: no answer yet; 192.0.2.2: no answer yet"},
		"while it resolves": {silentResolver, handlers.PhaseResolve, "looking up a.example"},
	} {
		t.Run(name+" and is cancelled", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newFakeNet(map[string]server{"192.0.2.1:1": deaf, "192.0.2.2:1": deaf})
				h := tcp.New(tcp.WithResolver(test.resolver), tcp.WithDialFunc(network.dial))
				defer h.Close()
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
				_, err := h.Dial(ctx, handlers.DialRequest{Hint: "tcp:a.example:1"})
				var dialErr *handlers.Error
				require.ErrorAs(t, err, &dialErr)
				assert.Equal(t, 300*time.Millisecond, dialErr.Elapsed)
				assert.Equal(t, test.phase, dialErr.Phase)
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, cause)
				assert.NotErrorIs(t, err, handlers.ErrUnreachable)
				assert.ErrorContains(t, err, test.text)
			})
		})
		t.Run(name+" and its time is up", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newFakeNet(map[string]server{"192.0.2.1:1": deaf, "192.0.2.2:1": deaf})
				h := tcp.New(tcp.WithResolver(test.resolver), tcp.WithDialFunc(network.dial), tcp.WithTimeout(3*time.Second))
				defer h.Close()
				_, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tcp:a.example:1"})
				var dialErr *handlers.Error
				require.ErrorAs(t, err, &dialErr)
				assert.Equal(t, 3*time.Second, dialErr.Elapsed)
				assert.Equal(t, test.phase, dialErr.Phase)
				assert.ErrorIs(t, err, handlers.ErrTimeout)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, handlers.ErrUnreachable)
				assert.ErrorContains(t, err, test.text)
			})
		})
		t.Run(name+" and the handler is closed", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newFakeNet(map[string]server{"192.0.2.1:1": {silent: true}, "192.0.2.2:1": {silent: true}})
				h := tcp.New(tcp.WithResolver(test.resolver), tcp.WithDialFunc(network.dial))
				time.AfterFunc(300*time.Millisecond, func() { h.Close() })
				_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:1"})
				assert.Equal(t, 300*time.Millisecond, time.Since(network.started))
				assert.ErrorIs(t, err, net.ErrClosed)
				assert.NotErrorIs(t, err, context.Canceled, "the caller has not cancelled")
				assert.ErrorContains(t, err, test.text)
			})
		})
	}
}

func TestASocketDeadlineThatFiresEarlyIsStillTheContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h := tcp.New(tcp.WithDialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			deadline, _ := ctx.Deadline()
			<-time.After(time.Until(deadline))
			return nil, os.ErrDeadlineExceeded
		}))
		defer h.Close()
		_, err := h.Dial(ctx, handlers.DialRequest{Hint: "tcp:192.0.2.1:1"})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NotErrorIs(t, err, handlers.ErrUnreachable)
	})
}

func TestAClosedHandlerDialsNothing(t *testing.T) {
	network := newFakeNet(nil)
	h := tcp.New(tcp.WithDialFunc(network.dial))
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:192.0.2.1:1"})
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.Empty(t, network.attempts)
}

type resolverFunc func(ctx context.Context) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return f(ctx)
}

func TestNamesThatDoNotResolve(t *testing.T) {
	for name, resolver := range map[string]tcp.Resolver{
		"an unknown name":        names{},
		"a name without address": resolverFunc(func(context.Context) ([]netip.Addr, error) { return nil, nil }),
		"a void address":         resolverFunc(func(context.Context) ([]netip.Addr, error) { return []netip.Addr{{}}, nil }),
	} {
		t.Run(name, func(t *testing.T) {
			network := newFakeNet(nil)
			h := tcp.New(tcp.WithResolver(resolver), tcp.WithDialFunc(network.dial))
			defer h.Close()
			_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:1"})
			var dialErr *handlers.Error
			require.ErrorAs(t, err, &dialErr)
			assert.Equal(t, handlers.PhaseResolve, dialErr.Phase)
			assert.ErrorIs(t, err, handlers.ErrNameNotResolved)
			assert.ErrorContains(t, err, "a.example")
			assert.Empty(t, network.attempts)
		})
	}
}

func TestTheResolversOwnErrorCanBeFound(t *testing.T) {
	h := tcp.New(tcp.WithResolver(names{}))
	defer h.Close()
	_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:1"})
	var dnsErr *net.DNSError
	require.ErrorAs(t, err, &dnsErr)
	assert.True(t, dnsErr.IsNotFound)
}

func TestAddressesAreDialledWithoutAskingTheResolver(t *testing.T) {
	for hint, want := range map[furl.Hint]struct{ address, host string }{
		"tcp:192.0.2.1:80":          {"192.0.2.1:80", "192.0.2.1"},
		"192.0.2.1:80":              {"192.0.2.1:80", "192.0.2.1"},
		"tcp:[2001:db8::1]:80":      {"[2001:db8::1]:80", "2001:db8::1"},
		"tcp:[fe80::1%eth0]:80":     {"[fe80::1%eth0]:80", "fe80::1"},
		"tcp:[::ffff:192.0.2.1]:80": {"192.0.2.1:80", "::ffff:192.0.2.1"},
	} {
		t.Run(hint.String(), func(t *testing.T) {
			network := newFakeNet(map[string]server{want.address: {}})
			h := tcp.New(tcp.WithResolver(nil), tcp.WithDialFunc(network.dial))
			defer h.Close()
			stream, err := h.Dial(t.Context(), handlers.DialRequest{Hint: hint})
			require.NoError(t, err)
			assert.Equal(t, want.host, stream.Host)
			assert.Contains(t, network.opened, want.address)
		})
	}
}

func TestHintsThatTCPCannotOrMustNotDial(t *testing.T) {
	asked := resolverFunc(func(context.Context) ([]netip.Addr, error) {
		t.Error("the resolver was asked")
		return nil, nil
	})
	for _, hint := range []furl.Hint{
		"", "foo", "tor:x.example:80", "tcp:", "tcp:a:0", "tcp:a:65536", "tcp:a b:1", "tcp:under_score:1",
		"tcp:::1:1", "tcp:127.1:1", "tcp:abc.onion:80", "abc.onion:80", "tcp:ABC.Onion.:80", "tcp:onion:80", "tcp:x.b32.i2p:80",
	} {
		t.Run(hint.String(), func(t *testing.T) {
			network := newFakeNet(nil)
			h := tcp.New(tcp.WithResolver(asked), tcp.WithDialFunc(network.dial))
			defer h.Close()
			_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: hint})
			var dialErr *handlers.Error
			require.ErrorAs(t, err, &dialErr)
			assert.Equal(t, handlers.PhaseParse, dialErr.Phase)
			assert.ErrorIs(t, err, handlers.ErrInvalidHint)
			assert.Empty(t, network.attempts)
		})
	}
}

func TestProgressSaysWhatTheDialWaitsFor(t *testing.T) {
	network := newFakeNet(map[string]server{"[2001:db8::1]:1": {err: syscall.ECONNREFUSED}, "192.0.2.1:1": {}})
	h := tcp.New(tcp.WithResolver(names{"a.example": {"192.0.2.1", "2001:db8::1"}}), tcp.WithDialFunc(network.dial))
	defer h.Close()
	var told []handlers.Status
	_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:1", Progress: func(s handlers.Status) { told = append(told, s) }})
	require.NoError(t, err)
	assert.Equal(t, []handlers.Status{
		{Phase: handlers.PhaseResolve, Text: "looking up a.example"},
		{Phase: handlers.PhaseDial, Text: "connecting to [2001:db8::1]:1 (address 1 of 2)"},
		{Phase: handlers.PhaseDial, Text: "connecting to 192.0.2.1:1 (address 2 of 2)"},
	}, told)
}

func TestWhatTheHandlerDeclares(t *testing.T) {
	h := tcp.New()
	defer h.Close()
	assert.Equal(t, "tcp", h.Description())
	assert.Equal(t, 10*time.Second, h.DialTimeout())
	assert.Equal(t, handlers.Exposure{}, h.Exposure(), "everything is revealed")
}
