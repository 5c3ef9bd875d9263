package tor

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// patience is how long anything over Tor may take. Most takes less than 2 s, and there are outliers.
const patience = time.Minute

// attemptTime is after how long it is better to try again, over new circuits.
const attemptTime = 15 * time.Second

// servicePort is the port of all our onion services.
const servicePort = 4711

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// byControl uses a tor of the network by its control port.
func byControl(c *tornet.Tor) *tor.Tor {
	return tor.Control(tor.ControlConfig{Address: "unix:" + c.ControlSocket})
}

// newTub makes a Tub that dials over a tor; via may be nil.
func newTub(t *testing.T, via *tor.Tor, opts ...tor.Option) *tub.Tub {
	t.Helper()
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	return newTubOf(t, id, via, opts...)
}

func newTubOf(t *testing.T, id *tub.Identity, via *tor.Tor, opts ...tor.Option) *tub.Tub {
	t.Helper()
	made, err := tub.New(id, &tub.Options{NoHandlers: true})
	require.NoError(t, err)
	t.Cleanup(func() { made.Close() })
	if via != nil {
		h, err := tor.New(via, opts...)
		require.NoError(t, err)
		require.NoError(t, made.Handle("tor", h))
		require.NoError(t, made.Handle("tcp", h))
	}
	return made
}

// listen makes an onion service for a Tub and returns the FURL of a calculator, once it is published.
func listen(t *testing.T, served *tub.Tub, via *tor.Tor, opts ...tor.ListenOption) (furl.FURL, *tor.Listener) {
	t.Helper()
	l, err := tor.Listen(within(t), via, servicePort, append([]tor.ListenOption{tor.WithLogger(logger(t))}, opts...)...)
	require.NoError(t, err)
	_, err = served.Listen(l)
	require.NoError(t, err)
	_, err = served.WaitAdvertised(within(t))
	require.NoError(t, err)
	f, err := served.Register(calculator())
	require.NoError(t, err)
	return f, l
}

func calculator() *tub.Object {
	return tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		tub.Method("call_back", func(ctx context.Context, a struct{ Ref *tub.Ref }) (int, error) {
			return tub.Call[int](ctx, a.Ref, "add", 40, 2)
		}),
	)
}

// logger shows what is logged in the test's log.
func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// news is a log in which publications of a service are counted.
type news struct {
	t         *testing.T
	published chan struct{}
}

func publications(t *testing.T) *news { return &news{t, make(chan struct{}, 1000)} }

func (n *news) logger() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

func (n *news) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("the onion service is published")) {
		n.published <- struct{}{}
	}
	return n.t.Output().Write(line)
}

// await waits until the service has been published so often.
func (n *news) await(times int) {
	n.t.Helper()
	for range times {
		select {
		case <-n.published:
		case <-within(n.t).Done():
			n.t.Fatal("the service is not published")
		}
	}
}

// connect tries until it succeeds: a circuit may break at any time, or come to nothing.
func connect(t *testing.T, from *tub.Tub, f furl.FURL) *tub.Ref {
	t.Helper()
	ctx := within(t)
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTime)
		ref, err := from.Connect(attempt, f)
		cancel()
		if err == nil {
			return ref
		}
		t.Logf("another attempt: %v", err)
		require.NoError(t, ctx.Err())
	}
}

// requireAnswer makes sure that calls go both ways.
func requireAnswer(t *testing.T, ref *tub.Ref) {
	t.Helper()
	sum, err := tub.Call[int](within(t), ref, "add", 1, 2)
	require.NoError(t, err)
	require.Equal(t, 3, sum)
	sum, err = tub.Call[int](within(t), ref, "call_back", calculator())
	require.NoError(t, err)
	require.Equal(t, 42, sum)
}
