package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAFURLThatLeadsToAnotherTub(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert})
	root := publish(t, peer, "root", pypeer.KindRoot)
	for name, accept := range map[string]func(string) bool{"with Go as the master": pypeer.Greater(pythonID), "with Python as the master": pypeer.Less(pythonID)} {
		t.Run(name, func(t *testing.T) {
			tb := startTub(t, identity(t, accept), tub.Options{})
			addr := listen(t, tb)
			desk := register(t, tb, newDesk().object)

			// The TubID of nobody.
			wrong := root
			wrong.TubID = furl.TubID(strings.Repeat("a", 32))
			_, err := tb.Connect(within(t), wrong)
			assert.ErrorIs(t, err, negotiate.ErrUnknownTub)
			assert.ErrorIs(t, err, negotiate.ErrRemote)
			var hint *handlers.Error
			require.ErrorAs(t, err, &hint)
			assert.Equal(t, handlers.PhaseNegotiate, hint.Phase)
			wrongDesk := desk
			wrongDesk.TubID = wrong.TubID
			_, err = peer.GetReference(wrongDesk.Reveal())
			assert.ErrorContains(t, err, "unknown TubID")

			// The hint of somebody else, who says that he is it.
			impostor := startImpostor(t, wrong.TubID)
			_, err = tb.Connect(within(t), wrong.WithHints(furl.StreamHint("tcp", "127.0.0.1", impostor)))
			assert.ErrorIs(t, err, negotiate.ErrWrongTub)
			assert.ErrorIs(t, err, handlers.ErrWrongTub)

			// Beside a right one, a wrong hint does not matter.
			right := root.WithHints(furl.StreamHint("tcp", "127.0.0.1", impostor), furl.Hint("tcp:"+addr), root.Hints[0])
			assert.Equal(t, 3, call[int](t, connect(t, tb, right), "add", 1, 2))
			peer.Do("disconnect", nil, nil)
			peer.WaitConnections(0)
			settled(t, tb)
		})
	}
}

// startImpostor runs a Tub that answers to the TubID of another, by a relay that changes the request. It returns its
// port.
func startImpostor(t *testing.T, claimed furl.TubID) uint16 {
	t.Helper()
	tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
	addr := listen(t, tb)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp4", addr)
				if err != nil {
					return
				}
				defer server.Close()
				request := make([]byte, 4096)
				n, err := client.Read(request)
				if err != nil {
					return
				}
				changed := strings.Replace(string(request[:n]), string(claimed), string(tb.TubID()), 1)
				if _, err := io.WriteString(server, changed); err != nil {
					return
				}
				go func() { _, _ = io.Copy(server, client) }()
				_, _ = io.Copy(client, server)
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// request sends the first request of a negotiation and returns all that comes back until the other side closes, or
// falls silent.
func request(t *testing.T, addr string, id furl.TubID) string {
	t.Helper()
	conn, err := net.Dial("tcp4", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /id/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n", id)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	reply, err := io.ReadAll(conn)
	require.NoError(t, err, "the listener closes the connection")
	return strings.ReplaceAll(string(reply), string(id), "<TUBID>")
}

func TestATubThatIsNotThereCannotBeToldFromOneThatNeverWas(t *testing.T) {
	t.Parallel()
	acceptor, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	addr := acceptor.Addr().String()
	shared := tub.NewListener(acceptor, nil)
	t.Cleanup(func() { assert.NoError(t, shared.Close()) })
	peer := pypeer.Start(t, pypeer.Options{})
	attach := func() (*tub.Tub, furl.FURL) {
		tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
		require.NoError(t, tb.Attach(shared))
		f := register(t, tb, newDesk().object)
		assert.Equal(t, pypeer.Int(3), peer.MustGetReference(f.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		return tb, f
	}
	never, neverFURL := furl.TubID(strings.Repeat("b", 32)), furl.FURL{}
	staying, stayingFURL := attach()
	detached, detachedFURL := attach()
	stopped, stoppedFURL := attach()
	closed, closedFURL := attach()
	neverFURL = stayingFURL
	neverFURL.TubID = never

	detached.Detach(shared)
	require.NoError(t, stopped.Shutdown(within(t)))
	require.NoError(t, closed.Close())
	peer.WaitConnections(2) // one with the Tub that is detached

	want := request(t, addr, never)
	assert.True(t, strings.HasPrefix(want, "HTTP/1.1 500 Internal Server Error: unknown TubID <TUBID>\r\n"), "%q", want)
	for _, id := range []furl.TubID{detached.TubID(), stopped.TubID(), closed.TubID()} {
		assert.Equal(t, want, request(t, addr, id))
	}
	for _, f := range []furl.FURL{neverFURL, stoppedFURL, closedFURL} {
		_, err := peer.GetReference(f.Reveal())
		assert.ErrorContains(t, err, "unknown TubID")
	}
	// The connection to a Tub that is detached stays, and other Tubs with it.
	assert.Equal(t, pypeer.Int(3), peer.MustGetReference(detachedFURL.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))
	assert.Len(t, staying.Peers(), 1)
	assert.Empty(t, detached.Hints())
	assert.NotEmpty(t, staying.Hints())

	// Attached again it answers again.
	require.NoError(t, detached.Attach(shared))
	another := pypeer.Start(t, pypeer.Options{NoListen: true})
	assert.Equal(t, pypeer.Int(3), another.MustGetReference(detachedFURL.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))
	assert.Equal(t, pypeer.Int(3), another.MustGetReference(stayingFURL.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))
}

func TestAFURLOfOnesOwnNeedsNoNetwork(t *testing.T) {
	t.Parallel()
	d := newDesk()
	tb := startTub(t, identity(t, pypeer.Middling), tub.Options{Inbound: []tub.Interceptor{d.attend}})
	f := register(t, tb, d.object)
	assert.Empty(t, f.Hints)
	for name, hints := range map[string][]furl.Hint{"without hints": nil, "with a hint that leads nowhere": {"tcp:127.0.0.1:1"}} {
		t.Run(name, func(t *testing.T) {
			self := connect(t, tb, f.WithHints(hints...))
			assert.Equal(t, 3, call[int](t, self, "add", 1, 2))
			assert.Equal(t, tb.TubID(), self.Peer())

			// It serialises like any other.
			list := banana.NewList(int64(1))
			echo := call[*banana.List](t, self, "echo", list)
			assert.NotSame(t, list, echo)
			assert.Equal(t, list, echo)
			_, err := tub.Call[any](within(t), self, "echo", banana.NewDict("a", 1, []byte("a"), 2))
			assert.Error(t, err)
			_, err = tub.Call[any](within(t), self, "fail", "no")
			assert.Equal(t, "errors.errorString", failed(t, err).Type)

			// Objects go and come home, and what it refers to can be sent on to it.
			child := d.child()
			assert.Same(t, child, call[any](t, self, "echo", child))
			given := call[*tub.Ref](t, self, "get_ref")
			assert.Equal(t, "child", call[string](t, given, "name"))
			assert.Equal(t, 20, call[int](t, self, "bounce", d.object, 20))
		})
	}

	// Over the network, it is refused: whoever dials himself by mistake, through a relay perhaps, waits for nobody.
	addr := listen(t, tb)
	assert.Equal(t, 3, call[int](t, connect(t, tb, register(t, tb, d.object)), "add", 1, 2))
	assert.Empty(t, tb.Peers())
	second := startTub(t, identity(t, pypeer.Middling), tub.Options{})
	way := relay.Start(t, addr)
	assert.Equal(t, 3, call[int](t, connect(t, second, f.WithHints(furl.Hint(way.Hint()))), "add", 1, 2))
}

func TestAMethodCanConnectToItsCallerAtOnce(t *testing.T) {
	t.Parallel()
	// Whoever is called is connected to the caller, from the first moment on, however early that is.
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert, NoListen: true, Location: "tcp:127.0.0.1:1"})
	root := publish(t, peer, "root", pypeer.KindRoot)
	for name, accept := range map[string]func(string) bool{"with Go as the master": pypeer.Greater(pythonID), "with Python as the master": pypeer.Less(pythonID)} {
		t.Run(name, func(t *testing.T) {
			tb := startTub(t, identity(t, accept), tub.Options{})
			listen(t, tb)
			asked := make(chan error, 1)
			tb.OnLookup(func(ctx context.Context, name string) (*tub.Object, error) {
				ctx, cancel := context.WithTimeout(ctx, patience)
				defer cancel()
				_, err := tb.Connect(ctx, root)
				asked <- err
				return nil, tub.ErrUnknownName
			})
			unknown := furl.FURL{TubID: tb.TubID(), Hints: tb.Hints(), Name: furl.NewSwissnum()}
			for range 20 {
				_, err := peer.GetReference(unknown.Reveal())
				assert.Equal(t, "builtins.KeyError", failedThere(t, err).Type)
				require.NoError(t, <-asked)
				require.Len(t, tb.Peers(), 1)
				peer.Do("disconnect", nil, nil)
				peer.WaitConnections(0)
				settled(t, tb)
			}
		})
	}
}
