package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/tub"
)

// A closer is a reader that says when it is closed.
type closer struct {
	io.Reader
	once   sync.Once
	closed chan struct{}
}

func newCloser(r io.Reader) *closer { return &closer{Reader: r, closed: make(chan struct{})} }

func (c *closer) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *closer) awaitClosed(t *testing.T) {
	t.Helper()
	select {
	case <-c.closed:
	case <-within(t).Done():
		t.Fatal("the reader is not closed")
	}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestPythonReadsWhatGoSends(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		for _, length := range []int{0, 1, 16 << 20} {
			data := pypeer.PatternBytes(length)
			source := newCloser(bytes.NewReader(data))
			assert.Equal(t, []any{length, digest(data)}, uploaded(t, m, source))
			source.awaitClosed(t)
		}

		broken := newCloser(io.MultiReader(bytes.NewReader(make([]byte, 500_000)), iotest.ErrReader(errors.New("the disk is broken"))))
		_, err := tub.Call[any](within(t), m.root, "upload", broken)
		assert.Contains(t, failed(t, err).Text, "the disk is broken")
		broken.awaitClosed(t)

		partly := newCloser(bytes.NewReader(make([]byte, 500_000)))
		assert.Equal(t, 1000, call[int](t, m.root, "upload_part", partly, 1000))
		partly.awaitClosed(t)

		held := newCloser(bytes.NewReader(nil))
		require.NoError(t, tub.Send(within(t), m.root, "hold", held))
		m.peer.WaitState(m.name, pypeer.State{Held: 1})
		call[any](t, m.root, "drop")
		held.awaitClosed(t)

		lost := newCloser(bytes.NewReader(nil))
		require.NoError(t, tub.Send(within(t), m.root, "hold", lost))
		m.peer.WaitState(m.name, pypeer.State{Held: 1})
		require.NoError(t, m.tub.Close())
		lost.awaitClosed(t)
	})
}

// uploaded lets Python read, and returns how much it was and its digest.
func uploaded(t *testing.T, m *meeting, r io.Reader) []any {
	t.Helper()
	result := call[struct {
		_      struct{} `foolscap:",tuple"`
		Length int
		Digest string
	}](t, m.root, "upload", r)
	return []any{result.Length, result.Digest}
}

func TestGoReadsWhatPythonSends(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		for _, length := range []int{0, 1, 16 << 20} {
			r := call[io.ReadCloser](t, m.root, "get_source", length)
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.Equal(t, digest(pypeer.PatternBytes(length)), digest(data))
		}
		// One that cannot answer two reads at a time.
		data, err := io.ReadAll(call[io.ReadCloser](t, m.root, "get_source", 1<<20, false, 0.001))
		require.NoError(t, err)
		assert.Len(t, data, 1<<20)

		data, err = io.ReadAll(call[io.ReadCloser](t, m.root, "get_source", 300_000, true))
		assert.Len(t, data, 300_000)
		assert.Equal(t, "objects.PeerError", failed(t, err).Type)

		early := call[io.ReadCloser](t, m.root, "get_source", 16<<20)
		_, err = io.ReadFull(early, make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, early.Close())
		m.peer.WaitTables(pypeer.Params{"mine": 1, "waiting": 0, "connection": m.number})
	})
}

func TestAMethodReadsFromPython(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	sink := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(
		tub.Method("size", func(_ context.Context, a struct{ Data io.Reader }) (int64, error) {
			return io.Copy(io.Discard, a.Data)
		}),
		tub.Method("begin", func(_ context.Context, a struct{ Data io.Reader }) (int, error) {
			return a.Data.Read(make([]byte, 10))
		}),
	)).Reveal())
	for _, name := range []string{"one", "two"} {
		m.peer.Make(name, pypeer.KindSource)
	}
	assert.Equal(t, pypeer.Int(3<<20), sink.MustCall("size", pypeer.Object("one")))
	assert.Equal(t, pypeer.Int(10), sink.MustCall("begin", pypeer.Object("two")))
	m.peer.WaitTables(pypeer.Params{"mine": 1, "connection": m.number})
}
