package broker

import (
	"bytes"
	"context"
	"io"
	"net"
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

func TestAMethodThatTheReaderRunsCanCallBackAtOnce(t *testing.T) {
	root := NewObject("", nil,
		NewMethod("ask", func(ctx context.Context, a struct {
			Whom banana.External
			Deep int
		}) (int, error) {
			return call[int](ctx, a.Whom.(*hostRef).Remote, "ask", a.Whom, a.Deep-1)
		}),
	)
	client, _, ref := instantly(t, root)
	answer := NewObject("", nil, NewMethod("ask", func(ctx context.Context, a struct {
		Me   banana.External
		Deep int
	}) (int, error) {
		if a.Deep <= 0 {
			return 42, nil
		}
		return call[int](ctx, ref, "ask", a.Me, a.Deep-1)
	}))
	for _, deep := range []int{1, 2, 7, 20} {
		began := time.Now()
		n, err := call[int](t.Context(), ref, "ask", banana.External(answer), deep)
		require.NoError(t, err)
		assert.Equal(t, 42, n)
		// Each level that had to wait for the guard would add its time.
		t.Logf("depth %d took %v", deep, time.Since(began))
	}
	require.NoError(t, client.Err())
}

func TestManyCallsOneAfterTheOtherAndAtOnceAllGetTheirAnswers(t *testing.T) {
	root := NewObject("", nil,
		NewMethod("same", func(_ context.Context, a struct{ N int }) (int, error) { return a.N, nil }),
		NewMethod("lazy", func(_ context.Context, a struct{ N int }) (int, error) {
			if a.N%7 == 0 {
				time.Sleep(2 * guardTime) // longer than the reading may rest
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
			require.NoError(t, <-errs)
		}
	}
	assert.Zero(t, client.Tables().Outbound)
	assert.Zero(t, server.Tables().Inbound)
}

func TestWhatTLSAnswersOfItselfIsBounded(t *testing.T) {
	a, b := tcpPair(t)
	defer b.Close()
	s := NewStream(a)
	defer s.Close()
	s.takeOver()
	piece := make([]byte, 16<<10)
	var err error
	for n := 0; err == nil; n += len(piece) {
		require.Less(t, n, 4*maxUnsent)
		_, err = s.Write(piece)
	}
	require.ErrorIs(t, err, errUnsent)
}
