package broker

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

func TestAStreamTakesWhatTheKernelDoesNotAndSendsItLater(t *testing.T) {
	c, s := tcpPair(t)
	defer c.Close()
	defer s.Close()
	stream := NewStream(c)
	require.NotNil(t, stream)
	stream.takeOver()
	var sent []byte
	chunk := make([]byte, 64<<10)
	for left := false; !left; {
		for i := range chunk {
			chunk[i] = byte(len(sent) + i)
		}
		n, err := stream.Write(chunk)
		require.NoError(t, err)
		require.Equal(t, len(chunk), n)
		sent = append(sent, chunk...)
		left, err = stream.push()
		require.NoError(t, err)
	}
	// What is written now has to come behind the rest.
	_, err := stream.Write([]byte("behind"))
	require.NoError(t, err)
	sent = append(sent, "behind"...)
	received := make([]byte, len(sent))
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(s, received)
		done <- err
	}()
	require.NoError(t, stream.flush())
	require.NoError(t, <-done)
	assert.True(t, bytes.Equal(sent, received))
	left, err := stream.push()
	require.NoError(t, err)
	assert.False(t, left)
}

func TestOnlyTheKernelsConnectionsAreStreams(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	assert.Nil(t, NewStream(a))
}

// instantly connects two brokers whose readers can run methods themselves.
func instantly(t *testing.T, root *Object) (client, server *side, ref *Remote) {
	t.Helper()
	client, server = connect(t, network{"TLS", tlsLinks}, nil, root)
	return client, server, client.root(t)
}

func TestAMethodThatTheReaderRunsDoesNotKeepItFromReading(t *testing.T) {
	release := make(chan struct{})
	running := make(chan struct{})
	root := NewObject("", nil,
		NewMethod("wait", func(context.Context, struct{}) (string, error) {
			close(running)
			<-release
			return "waited", nil
		}),
		NewMethod("next", func(context.Context, struct{}) (string, error) { return "next", nil }),
	)
	hello := NewObject("", nil,
		NewMethod("hello", func(context.Context, struct{}) (string, error) { return "hello", nil }),
	)
	client, server := connect(t, network{"TLS", tlsLinks}, hello, root)
	ref := client.root(t)
	first, waited, err := begin[string](t.Context(), ref, "wait")
	require.NoError(t, err)
	within(t, "the method runs", running)
	second, next, err := begin[string](t.Context(), ref, "next") // has to wait for its turn
	require.NoError(t, err)
	// The answers to these can be read only by somebody else than who runs
	// the method.
	s, err := call[string](t.Context(), server.root(t), "hello")
	require.NoError(t, err)
	assert.Equal(t, "hello", s)
	close(release)
	require.NoError(t, first.Wait(t.Context()))
	require.NoError(t, second.Wait(t.Context()))
	assert.Equal(t, []string{"waited", "next"}, []string{*waited, *next})
}

// withoutGuard lets a pause of the reading last until somebody ends it who
// knows of it: the guard, which would do so after a while, is not started any
// more.
func (s *side) withoutGuard(t *testing.T) {
	eventually(t, "the guard has nothing to do", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		idle := !s.role.guarded
		s.role.guarded = true
		return idle
	})
}

func TestAMethodThatTheReaderRunsCanCallBackAtOnce(t *testing.T) {
	ran := make(chan bool, 100) // whether it was the reader that ran it
	byReader := func(ctx context.Context) {
		b := FromContext(ctx)
		b.mu.Lock()
		defer b.mu.Unlock()
		ran <- b.role.here != nil
	}
	root := NewObject("", nil,
		NewMethod("ask", func(ctx context.Context, a struct {
			Whom banana.External
			Deep int
		}) (int, error) {
			byReader(ctx)
			return call[int](ctx, a.Whom.(*hostRef).Remote, "ask", a.Whom, a.Deep-1)
		}),
	)
	client, server, ref := instantly(t, root)
	answer := NewObject("", nil, NewMethod("ask", func(ctx context.Context, a struct {
		Me   banana.External
		Deep int
	}) (int, error) {
		byReader(ctx)
		if a.Deep <= 0 {
			return 42, nil
		}
		return call[int](ctx, ref, "ask", a.Me, a.Deep-1)
	}))
	// Whoever waits for a remote call has to see to it himself that somebody
	// reads, at every depth.
	client.withoutGuard(t)
	server.withoutGuard(t)
	for _, deep := range []int{1, 3, 7, 21} {
		result := make(chan error, 1)
		go func() {
			n, err := call[int](t.Context(), ref, "ask", banana.External(answer), deep)
			if err == nil && n != 42 {
				err = assert.AnError
			}
			result <- err
		}()
		require.NoError(t, within(t, "the innermost call is answered", result))
	}
	close(ran)
	readers := 0
	for here := range ran {
		if here {
			readers++
		}
	}
	assert.Positive(t, readers)
	require.NoError(t, client.Err())
}

func TestManyCallsOneAfterTheOtherAndAtOnceAllGetTheirAnswers(t *testing.T) {
	var guarded atomic.Int64
	root := NewObject("", nil,
		NewMethod("same", func(_ context.Context, a struct{ N int }) (int, error) { return a.N, nil }),
		NewMethod("lazy", func(ctx context.Context, a struct{ N int }) (int, error) {
			if a.N%7 == 0 {
				// For longer than the reading may rest: another goroutine reads.
				b := FromContext(ctx)
				assert.Eventually(t, func() bool {
					b.mu.Lock()
					defer b.mu.Unlock()
					if b.role.here == nil {
						return true
					}
					guarded.Add(1)
					return false
				}, patience, time.Millisecond/2, "the guard ends the pause")
			}
			return a.N, nil
		}),
	)
	client, server, ref := instantly(t, root)
	for range 3 {
		for n := range 50 {
			got, err := call[int](t.Context(), ref, "lazy", n)
			require.NoError(t, err)
			require.Equal(t, n, got)
		}
		errs := make(chan error, 200)
		for n := range cap(errs) {
			go func() {
				got, err := call[int](t.Context(), ref, []string{"same", "lazy"}[n%2], n)
				if err == nil && got != n {
					err = assert.AnError
				}
				errs <- err
			}()
		}
		for range cap(errs) {
			require.NoError(t, within(t, "every call is answered", errs))
		}
	}
	assert.Positive(t, guarded.Load(), "the reader has run some of them")
	assert.Zero(t, client.Tables().Outbound)
	assert.Zero(t, server.Tables().Inbound)
}
