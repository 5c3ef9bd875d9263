//go:build unix

package child_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/examples/transports/child"
	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// The children are this test binary, called with the path of a socket.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "relay" {
		log.SetFlags(0)
		if err := child.Relay(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or each child takes a second to end under the race detector
	dir, err := os.MkdirTemp("", "child-")  // t.TempDir may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	commands := map[string][]string{
		"silent":   {"sleep", "1000"},
		"quick":    {"true"},
		"chatty":   {"echo", "Welcome to the office, have a nice day!"},
		"missing":  {filepath.Join(dir, "no-such-program")},
		"nobody":   {os.Args[0], "relay", filepath.Join(dir, "nobody")},
		"children": {"sh", "-c", "sleep 1000; true"}, // the shell has one, too
	}
	// The handlers are made before the acceptors.
	for i := range 100 {
		name := fmt.Sprint("tub-", i)
		commands[name] = []string{os.Args[0], "relay", filepath.Join(dir, name)}
	}
	dials := func(hint furl.Hint) func(*testing.T) (handlers.Handler, handlers.DialRequest) {
		return func(*testing.T) (handlers.Handler, handlers.DialRequest) {
			return child.New(commands), handlers.DialRequest{Hint: hint}
		}
	}
	var count atomic.Int64
	handlertest.Run(t, handlertest.Config{
		NewHandler: func(*testing.T) handlers.Handler { return child.New(commands) },
		NewAcceptor: func(t *testing.T, _ *tls.Certificate) handlers.Acceptor {
			name := fmt.Sprint("tub-", count.Add(1))
			l, err := child.Listen(t.Context(), filepath.Join(dir, name), name)
			require.NoError(t, err)
			return l
		},
		InvalidHints: []furl.Hint{"exec:80", "exec:sleep 1000", "exec:unknown", "exec:tub-1:tub-2"},
		Silent: map[string]func(*testing.T) (handlers.Handler, handlers.DialRequest){
			"a child that says nothing": dials("exec:silent"),
			"a child with a child":      dials("exec:children"),
		},
		Failures: map[string]handlertest.Failure{
			"no such program":       {Dial: dials("exec:missing"), Phase: handlers.PhaseDial, Err: handlers.ErrProxyUnreachable},
			"another program":       {Dial: dials("exec:chatty"), Phase: handlers.PhaseProxy, Err: handlers.ErrProxyUnreachable},
			"a child that ends":     {Dial: dials("exec:quick"), Phase: handlers.PhaseProxy, Err: handlers.ErrProxyRefused},
			"nobody at the far end": {Dial: dials("exec:nobody"), Phase: handlers.PhaseProxy, Err: handlers.ErrProxyRefused},
		},
	})
}

func TestTheErrorSaysWhatTheChildSaid(t *testing.T) {
	h := child.New(map[string][]string{"a": {"sh", "-c", "echo first >&2; echo 'Permission denied' >&2; exit 255"}})
	defer h.Close()
	_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "exec:a"})
	assert.ErrorContains(t, err, "exit status 255")
	assert.ErrorContains(t, err, "Permission denied")
	assert.NotContains(t, err.Error(), "first")
}

func TestWhatWasWrittenBeforeCloseArrives(t *testing.T) {
	dir, err := os.MkdirTemp("", "child-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "tub")
	l, err := child.Listen(t.Context(), path, "tub")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	h := child.New(map[string][]string{"tub": {os.Args[0], "relay", path}})
	t.Cleanup(func() { assert.NoError(t, h.Close()) })
	s, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "exec:tub"})
	require.NoError(t, err)
	accepted, err := l.Accept()
	require.NoError(t, err)
	defer accepted.Close()

	require.NoError(t, s.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	written, err := s.Write(make([]byte, 100<<20)) // more than all that is on the way can hold
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, s.Close())
	<-time.After(1500 * time.Millisecond) // the reader is slow
	arrived, err := io.Copy(io.Discard, accepted)
	require.NoError(t, err)
	assert.EqualValues(t, written, arrived)
}

// A command may leave others behind, which hold its end of the connection.
func TestDescendantsEndWithADialThatIsCancelled(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	// The descendant says so when it is alone, and keeps the fifo open as long as it lives.
	const script = `exec 9>"$0"; { while kill -0 $$; do sleep 0.01; done; echo alone >&9; exec sleep 1000; } 2>/dev/null & exit 0`
	h := child.New(map[string][]string{"orphan": {"sh", "-c", script, fifo}})
	ctx, cancel := context.WithCancel(t.Context())
	dialled := make(chan error, 1)
	go func() {
		_, err := h.Dial(ctx, handlers.DialRequest{Hint: "exec:orphan"})
		dialled <- err
	}()
	f, err := os.Open(fifo) // once the command has opened it, too
	require.NoError(t, err)
	defer f.Close()
	line := make([]byte, len("alone\n"))
	_, err = io.ReadFull(f, line)
	require.NoError(t, err)
	cancel()
	assert.ErrorIs(t, <-dialled, context.Canceled)
	require.NoError(t, h.Close())

	ended := make(chan error, 1)
	go func() { _, err := f.Read(line); ended <- err }()
	select {
	case err := <-ended:
		assert.ErrorIs(t, err, io.EOF, "nobody has the fifo open any more")
	case <-time.After(10 * time.Second):
		assert.Fail(t, "a descendant of the command has survived")
	}
}
