package tub_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// patience is how long tests wait for what has to happen.
const patience = 20 * time.Second

// All tests together leave nothing running: what a Tub starts ends with it.
func TestMain(m *testing.M) {
	code := m.Run()
	for end := time.Now().Add(patience); code == 0; runtime.Gosched() {
		left := ourGoroutines()
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "FAIL: %d goroutines are left:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// ourGoroutines returns the stacks of all goroutines that the packages under
// test have something to do with.
func ourGoroutines() []string {
	buf := make([]byte, 8<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return slices.DeleteFunc(strings.Split(string(buf), "\n\n"), func(stack string) bool {
		return !strings.Contains(stack, "foolscap/tub.") && !strings.Contains(stack, "foolscap/protocol/") &&
			!strings.Contains(stack, "foolscap/handlers")
	})
}

// within returns a context for what has to happen soon.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition.
func eventually(t testing.TB, condition func() bool, format string, args ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, append([]any{format}, args...)...)
}

func newIdentity(t testing.TB) *tub.Identity {
	t.Helper()
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	return id
}

// newIdentities returns two, of which the first is the master.
func newIdentities(t testing.TB) (master, slave *tub.Identity) {
	t.Helper()
	a, b := newIdentity(t), newIdentity(t)
	if a.TubID() < b.TubID() {
		a, b = b, a
	}
	return a, b
}

// newTub returns a Tub that ends with the test.
func newTub(t testing.TB, opts *tub.Options) *tub.Tub {
	t.Helper()
	return newTubOf(t, newIdentity(t), opts)
}

func newTubOf(t testing.TB, id *tub.Identity, opts *tub.Options) *tub.Tub {
	t.Helper()
	tb, err := tub.New(id, opts)
	require.NoError(t, err)
	t.Cleanup(func() { tb.Close() })
	return tb
}

// newServer returns a Tub that listens on loopback.
func newServer(t testing.TB, opts *tub.Options) *tub.Tub {
	t.Helper()
	tb := newTub(t, opts)
	listen(t, tb)
	return tb
}

func newAcceptor(t testing.TB, opts ...tcp.ListenOption) *tcp.Listener {
	t.Helper()
	a, err := tcp.Listen(t.Context(), "127.0.0.1:0", opts...)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

func listen(t testing.TB, tb *tub.Tub) *tub.Listener {
	t.Helper()
	l, err := tb.Listen(newAcceptor(t))
	require.NoError(t, err)
	return l
}

func register(t testing.TB, tb *tub.Tub, o *tub.Object) furl.FURL {
	t.Helper()
	f, err := tb.Register(o)
	require.NoError(t, err)
	return f
}

func connect(t testing.TB, tb *tub.Tub, f furl.FURL) *tub.Ref {
	t.Helper()
	r, err := tb.Connect(within(t), f)
	require.NoError(t, err)
	return r
}

// call calls a method that has to succeed.
func call[T any](t testing.TB, r *tub.Ref, method string, args ...any) T {
	t.Helper()
	v, err := tub.Call[T](within(t), r, method, args...)
	require.NoError(t, err)
	return v
}

// calculator is the object of most tests.
func calculator() *tub.Object {
	return tub.NewObject(
		tub.Interface("RICalculator.example.org"),
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		tub.Method("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
	)
}

// pair is a server with a calculator and a client that is connected to it.
type pair struct {
	server, client *tub.Tub
	furl           furl.FURL
	ref            *tub.Ref
}

func newPair(t testing.TB, server, client *tub.Options) pair {
	t.Helper()
	p := pair{server: newServer(t, server), client: newTub(t, client)}
	p.furl = register(t, p.server, calculator())
	p.ref = connect(t, p.client, p.furl)
	return p
}

// deadHint returns a hint that nobody listens at.
func deadHint(t testing.TB) furl.Hint {
	t.Helper()
	a := newAcceptor(t)
	hints, _ := a.Hints()
	require.NoError(t, a.Close())
	return hints[0]
}

// silentHint returns a hint at which connections are taken and never answered.
func silentHint(t testing.TB) furl.Hint {
	t.Helper()
	a := newAcceptor(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			s, err := a.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer s.Close()
				io.Copy(io.Discard, s)
			})
		}
	})
	t.Cleanup(func() { a.Close(); wg.Wait() })
	hints, _ := a.Hints()
	return hints[0]
}

// events is an observer that keeps what it is told.
type events struct {
	mu  sync.Mutex
	all []tub.Event
}

func (e *events) observe(event tub.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// sofar returns all events.
func (e *events) sofar() []tub.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all)
}

// of returns the events of one kind.
func (e *events) of(kind eventKind) []tub.Event {
	return slices.DeleteFunc(e.sofar(), func(event tub.Event) bool { return event.Kind != kind })
}

// logs is a buffer to log to.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type eventKind = broker.Kind
