package socks_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
)

// Where a proxy can fall silent, and the phase that the dial is then in.
var silences = map[string]struct {
	opts   []socks.Option
	script []step
	phase  handlers.Phase
}{
	"at once":             {nil, []step{says([]byte{5})}, handlers.PhaseDial}, // nobody listens: both sides talk
	"after the greeting":  {nil, []step{gets(greeting)}, handlers.PhaseDial},
	"in its first answer": {nil, []step{gets(greeting), says([]byte{5})}, handlers.PhaseDial},
	"after the password": {
		[]socks.Option{socks.WithCredentials("me", "secret")},
		[]step{gets(passwordGreeting), says(wantsPassword), gets(credentials("me", "secret"))}, handlers.PhaseDial,
	},
	"after the request": {nil, []step{gets(greeting), says(noPassword), gets(toExample)}, handlers.PhaseProxy},
	"in its reply":      {nil, []step{gets(greeting), says(noPassword), gets(toExample), says(done[:9])}, handlers.PhaseProxy},
}

func TestADialThroughASilentProxyEnds(t *testing.T) {
	cause := errors.New("another hint won")
	for name, test := range silences {
		// What ends a dial that began at 0 must end it at 3 s.
		for event, end := range map[string]struct {
			run   func(context.Context, *socks.Handler) error
			check func(*testing.T, error)
		}{
			"with its context": {
				func(ctx context.Context, h *socks.Handler) error {
					ctx, cancel := context.WithCancelCause(ctx)
					time.AfterFunc(3*time.Second, func() { cancel(cause) })
					_, err := h.Dial(ctx, handlers.DialRequest{Hint: "tcp:a.example:80"})
					return err
				},
				func(t *testing.T, err error) {
					assert.ErrorIs(t, err, context.Canceled)
					assert.ErrorIs(t, err, cause)
					assert.NotErrorIs(t, err, handlers.ErrProxyUnreachable)
				},
			},
			"with its time": {
				func(ctx context.Context, h *socks.Handler) error {
					_, err := handlers.Dial(ctx, h, handlers.DialRequest{Hint: "tcp:a.example:80"})
					return err
				},
				func(t *testing.T, err error) {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					assert.ErrorIs(t, err, handlers.ErrTimeout)
					assert.Equal(t, test.phase == handlers.PhaseDial, errors.Is(err, handlers.ErrProxyUnreachable))
				},
			},
			"with its handler": {
				func(ctx context.Context, h *socks.Handler) error {
					time.AfterFunc(3*time.Second, func() { h.Close() })
					_, err := h.Dial(ctx, handlers.DialRequest{Hint: "tcp:a.example:80"})
					return err
				},
				func(t *testing.T, err error) {
					assert.ErrorIs(t, err, net.ErrClosed)
					assert.NotErrorIs(t, err, context.Canceled, "the caller has not cancelled")
					assert.NotErrorIs(t, err, handlers.ErrProxyUnreachable)
				},
			},
		} {
			t.Run(name+", "+event, func(t *testing.T) {
				// A goroutine that is left when the test ends fails it.
				synctest.Test(t, func(t *testing.T) {
					way := proxyThat(t, append(test.script, isLeft)...)
					h := socks.New(newDialer(t, way, test.opts...), socks.WithTimeout(3*time.Second))
					started := time.Now()
					err := end.run(t.Context(), h)
					assert.Equal(t, 3*time.Second, time.Since(started))
					end.check(t, err)
					assert.NotErrorIs(t, err, handlers.ErrUnreachable)
					assert.NotErrorIs(t, err, handlers.ErrProxyRefused)
					assert.Equal(t, test.phase, phaseOf(t, err))
					assert.True(t, way.only(t).isClosed())
					require.NoError(t, h.Close())
				})
			})
		}
	}
}

func TestADialEndsWhileItConnectsToTheProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := handlers.DialerWithExposure(dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, os.ErrDeadlineExceeded
		}), handlers.Exposure{})
		h := socks.New(newDialer(t, way), socks.WithTimeout(time.Second))
		_, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tcp:a.example:80"})
		assert.ErrorIs(t, err, handlers.ErrTimeout)
		assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
		assert.Equal(t, handlers.PhaseDial, phaseOf(t, err))

		time.AfterFunc(500*time.Millisecond, func() { h.Close() })
		started := time.Now()
		_, err = handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tcp:a.example:80"})
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.NotErrorIs(t, err, handlers.ErrProxyUnreachable)
		assert.Equal(t, 500*time.Millisecond, time.Since(started))
	})
}

func TestASocketDeadlineThatFiresEarlyIsStillTheContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := handlers.DialerWithExposure(dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			deadline, _ := ctx.Deadline()
			<-time.After(time.Until(deadline))
			return nil, os.ErrDeadlineExceeded
		}), handlers.Exposure{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := newDialer(t, way).DialContext(ctx, "tcp", "a.example:80")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestADialThatIsOverOpensNothing(t *testing.T) {
	way := proxyThat(t)
	h := socks.New(newDialer(t, way))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Dial(ctx, handlers.DialRequest{Hint: "tcp:a.example:80"})
	assert.ErrorIs(t, err, context.Canceled)
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	_, err = h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80"})
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.Equal(t, handlers.PhaseDial, phaseOf(t, err))
	assert.Empty(t, way.dialled)
}

// endsAfter calls end before it hands over the last of so many bytes.
type endsAfter struct {
	net.Conn
	left int
	end  func()
}

func (c *endsAfter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left -= n; c.left == 0 {
		c.end()
	}
	return n, err
}

func TestADialThatEndsAsItSucceedsHasNotSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proxy := proxyThat(t, gets(greeting), says(noPassword), gets(toExample), says(done), isLeft)
		ctx, cancel := context.WithCancel(t.Context())
		way := handlers.DialerWithExposure(dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := proxy.DialContext(ctx, network, address)
			return &endsAfter{conn, len(noPassword) + len(done), func() {
				cancel()
				synctest.Wait() // until the end has had its effect
			}}, err
		}), handlers.Exposure{})
		_, err := newDialer(t, way).DialContext(ctx, "tcp", "a.example:80")
		assert.ErrorIs(t, err, context.Canceled)
		assert.True(t, proxy.only(t).isClosed())
	})
}

func TestProgressSaysWhatTheDialWaitsFor(t *testing.T) {
	way := proxyThat(t, gets(passwordGreeting), says(wantsPassword), gets(credentials("me", "secret")), says(passwordRight), gets(toExample), says(done))
	h := socks.New(newDialer(t, way, socks.WithCredentials("me", "secret")))
	var told []handlers.Status
	stream, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80", Progress: func(s handlers.Status) { told = append(told, s) }})
	require.NoError(t, err)
	stream.Close()
	assert.Equal(t, []handlers.Status{
		{Phase: handlers.PhaseDial, Text: "connecting to the proxy 192.0.2.1:1080"},
		{Phase: handlers.PhaseProxy, Text: "waiting for the proxy to connect to a.example:80"},
	}, told)
	way.wait()
}

func TestWhatTheHandlerDeclares(t *testing.T) {
	d, err := socks.NewDialer("unix", "/run/proxy")
	require.NoError(t, err)
	h := socks.New(d)
	assert.Equal(t, "socks via /run/proxy", h.Description())
	assert.Equal(t, 30*time.Second, h.DialTimeout())
	assert.Equal(t, time.Minute, socks.New(d, socks.WithTimeout(time.Minute)).DialTimeout())
}

// serve runs a scripted proxy on a real listener and returns its address.
func serve(t *testing.T, network, address string, script ...step) string {
	t.Helper()
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				for _, step := range script {
					if !assert.NoError(t, step(conn)) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func TestTheProxyIsReachedOverSocketsByDefault(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "proxy")} {
		t.Run(network, func(t *testing.T) {
			at := serve(t, network, address, gets(greeting), says(noPassword), gets(toExample), says(done), isLeft)
			if network == "tcp6" {
				network = "tcp"
			}
			d, err := socks.NewDialer(network, at)
			require.NoError(t, err)
			h := socks.New(d)
			var many sync.WaitGroup
			for range 20 {
				many.Go(func() {
					stream, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tcp:a.example:80"})
					if !assert.NoError(t, err) {
						return
					}
					defer stream.Close()
					assert.Implements(t, (*syscall.Conn)(nil), stream.Conn)
					half, ok := stream.Conn.(interface{ CloseWrite() error })
					assert.True(t, ok && half.CloseWrite() == nil, "%T", stream.Conn)
				})
			}
			many.Wait()
			require.NoError(t, h.Close())
		})
	}
}

func TestNoProxyIsThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for network, address := range map[string]string{"tcp": l.Addr().String(), "unix": filepath.Join(t.TempDir(), "proxy")} {
		t.Run(network, func(t *testing.T) {
			d, err := socks.NewDialer(network, address)
			require.NoError(t, err)
			_, err = socks.New(d).Dial(t.Context(), handlers.DialRequest{Hint: "tcp:a.example:80"})
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			assert.True(t, errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT), "%v", err)
		})
	}
}
