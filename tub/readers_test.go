package tub_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/tub"
)

// measured is a reader that counts what was read, and that it was closed.
type measured struct {
	io.Reader
	read, closed atomic.Int64
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.read.Add(int64(n))
	return n, err
}

func (m *measured) Close() error {
	m.closed.Add(1)
	return nil
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// archive takes and gives readers.
func archive(gives func() io.ReadCloser) *tub.Object {
	return tub.NewObject(
		tub.Method("size", func(_ context.Context, a struct{ Data io.Reader }) (int64, error) { return io.Copy(io.Discard, a.Data) }),
		tub.Method("open", func(context.Context, tub.None) (io.ReadCloser, error) { return gives(), nil }),
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
	)
}

func TestALargeTransferNeedsLittleMemory(t *testing.T) {
	const size = 64 << 20
	server, client := newServer(t, nil), newTub(t, nil)
	ref := connect(t, client, register(t, server, archive(func() io.ReadCloser {
		return io.NopCloser(io.LimitReader(endless{}, size))
	})))
	r := call[io.ReadCloser](t, ref, "open")
	buf := make([]byte, 100_000)
	var got, most int64
	var err error
	for err == nil {
		var n int
		n, err = r.Read(buf)
		got += int64(n)
		most = max(most, server.MemoryUsed(), client.MemoryUsed())
	}
	require.Equal(t, io.EOF, err)
	assert.EqualValues(t, size, got)
	assert.LessOrEqual(t, most, int64(300<<10))
	eventually(t, func() bool { return server.MemoryUsed()+client.MemoryUsed() == 0 }, "all of it is given back")
}

func TestCallsPassAStreamThatIsNotRead(t *testing.T) {
	server, client := newServer(t, nil), newTub(t, nil)
	source := &measured{Reader: endless{}}
	ref := connect(t, client, register(t, server, archive(func() io.ReadCloser { return source })))
	r := call[io.ReadCloser](t, ref, "open")
	_, err := io.ReadFull(r, make([]byte, 100))
	require.NoError(t, err)
	eventually(t, func() bool { return source.read.Load() == 256<<10 }, "the window is full")
	for i := range 100 {
		require.Equal(t, i+1, call[int](t, ref, "add", i, 1))
	}
	require.EqualValues(t, 256<<10, source.read.Load())
	require.NoError(t, r.Close())
	eventually(t, func() bool { return source.closed.Load() > 0 }, "it is closed at the other side")
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, tub.ErrClosedReader)
}

func TestAReaderGoesOnToAThirdTub(t *testing.T) {
	data := strings.Repeat("data ", 100_000)
	far, middle, client := newServer(t, nil), newServer(t, nil), newTub(t, nil)
	farRef := connect(t, middle, register(t, far, archive(func() io.ReadCloser { return io.NopCloser(strings.NewReader(data)) })))
	ref := connect(t, client, register(t, middle, tub.NewObject(
		tub.Method("size", func(ctx context.Context, a struct{ Data io.Reader }) (int64, error) {
			return tub.Call[int64](ctx, farRef, "size", a.Data)
		}),
		tub.Method("open", func(ctx context.Context, _ tub.None) (io.ReadCloser, error) {
			return tub.Call[io.ReadCloser](ctx, farRef, "open")
		}),
		// By reference, which is an introduction.
		tub.Method("give", func(ctx context.Context, _ tub.None) (*tub.Ref, error) {
			return tub.Call[*tub.Ref](ctx, farRef, "open")
		}),
	)))
	source := &measured{Reader: strings.NewReader(data)}
	require.EqualValues(t, len(data), call[int64](t, ref, "size", source))
	require.EqualValues(t, 1, source.closed.Load())
	for _, method := range []string{"open", "give"} {
		r := call[io.ReadCloser](t, ref, method)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, data, string(got))
	}
	_, err := tub.Call[int64](within(t), ref, "size", iotest.ErrReader(errors.New("out of paper")))
	require.ErrorContains(t, err, "out of paper", "at the end of the way")
}

func TestATubReadsFromItself(t *testing.T) {
	tb := newServer(t, nil)
	own := []byte("my own")
	kept := bytes.NewReader(own)
	o := tub.NewObject(
		tub.Method("size", func(_ context.Context, a struct{ Data io.Reader }) (int64, error) { return io.Copy(io.Discard, a.Data) }),
		tub.Method("open", func(context.Context, tub.None) (io.Reader, error) { return kept, nil }),
		tub.Method("home", func(_ context.Context, a struct{ Data io.Reader }) (bool, error) { return a.Data == kept, nil }),
	)
	ref := connect(t, tb, register(t, tb, o))
	require.EqualValues(t, len(own), call[int64](t, ref, "size", bytes.NewReader(own)))
	open := call[*tub.Ref](t, ref, "open")
	require.True(t, call[bool](t, ref, "home", open), "what has come home is what it was")
	_, err := tub.Call[tub.None](within(t), ref, "home", 7)
	require.ErrorContains(t, err, "expected reference")
	_, err = tub.Call[interface{ Fd() uintptr }](within(t), ref, "open")
	require.ErrorContains(t, err, "there is no Stub for interface { Fd() uintptr }")
}
