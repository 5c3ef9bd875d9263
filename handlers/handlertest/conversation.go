package handlertest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/tub"
)

// conversation: two Tubs call each other, and hand each other references.
func (k *kit) conversation(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 6*k.cfg.Timeout)
	defer cancel()
	newTub := func(p party) *tub.Tub {
		tb, err := tub.New(p.id, &tub.Options{NoHandlers: true})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, tb.Close()) })
		return tb
	}
	server, client := newTub(k.server), newTub(k.client)
	_, err := server.Listen(checked{k.cfg.NewAcceptor(t, k.server.cert)})
	require.NoError(t, err)
	hints, err := server.WaitAdvertised(ctx)
	require.NoError(t, err)

	var mu sync.Mutex
	var kept *tub.Ref
	lost := make(chan struct{})
	f, err := server.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		tub.Method("echo", func(_ context.Context, a struct{ Data []byte }) ([]byte, error) { return a.Data, nil }),
		tub.Method("keep", func(_ context.Context, a struct{ Ref *tub.Ref }) (tub.None, error) {
			mu.Lock()
			defer mu.Unlock()
			kept = a.Ref
			kept.OnDisconnect(func(error) { close(lost) })
			return tub.None{}, nil
		}),
		tub.Method("ask", func(ctx context.Context, a struct{ Question string }) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			return tub.Call[string](ctx, kept, "answer", a.Question)
		}),
		tub.Method("counter", func(context.Context, tub.None) (*tub.Object, error) {
			n := 0
			return tub.NewObject(tub.Method("next", func(context.Context, tub.None) (int, error) { n++; return n, nil })), nil
		}),
	))
	require.NoError(t, err)
	f = f.WithHints(hints...)

	for _, hint := range hints {
		require.NoError(t, client.Handle(hint.Type(), k.cfg.NewHandler(t)))
	}
	ref, err := client.Connect(ctx, f)
	require.NoError(t, err)
	info, ok := client.Info(k.server.tubID())
	assert.True(t, ok && info.Connected)
	assert.Contains(t, hints, info.Winner)
	assert.Contains(t, server.Peers(), k.client.tubID())

	sum, err := tub.Call[int](ctx, ref, "add", 1, 2)
	require.NoError(t, err)
	assert.Equal(t, 3, sum)

	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	echoed, err := tub.Call[[]byte](ctx, ref, "echo", data)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, echoed), "what comes back is not what was sent")

	me := tub.NewObject(tub.Method("answer", func(_ context.Context, a struct{ Question string }) (string, error) {
		return "You asked: " + a.Question, nil
	}))
	_, err = tub.Call[tub.None](ctx, ref, "keep", me)
	require.NoError(t, err)
	answer, err := tub.Call[string](ctx, ref, "ask", "Who is there?")
	require.NoError(t, err)
	assert.Equal(t, "You asked: Who is there?", answer, "the server calls the client")

	counter, err := tub.Call[*tub.Ref](ctx, ref, "counter")
	require.NoError(t, err)
	for want := 1; want <= 2; want++ {
		n, err := tub.Call[int](ctx, counter, "next")
		require.NoError(t, err)
		assert.Equal(t, want, n, "an object that was returned")
	}

	var calls sync.WaitGroup
	for i := range 50 {
		calls.Go(func() {
			sum, err := tub.Call[int](ctx, ref, "add", i, i)
			assert.NoError(t, err)
			assert.Equal(t, 2*i, sum)
		})
	}
	calls.Wait()

	require.NoError(t, client.Shutdown(ctx))
	select {
	case <-lost:
	case <-time.After(k.cfg.Timeout):
		assert.Fail(t, "the server does not notice that the client has gone")
	}
	require.NoError(t, server.Shutdown(ctx))
	assert.Empty(t, server.Hints(), "hints after the end of the Tub")
}
