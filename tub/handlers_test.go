package tub_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAHandlerIsClosedOnceNothingUsesItAnyMore(t *testing.T) {
	tb := newTub(t, nil)
	a, b := &memoryHandler{name: "a"}, &memoryHandler{name: "b"}
	require.NoError(t, tb.Handle("x", a))
	require.NoError(t, tb.Handle("y", a))
	require.NoError(t, tb.Handle("x", a), "once more changes nothing")
	assert.Zero(t, a.closes())
	require.NoError(t, tb.Handle("x", b))
	assert.Zero(t, a.closes(), "it is there for the other type")
	tb.RemoveHandler("y")
	assert.Equal(t, 1, a.closes())
	tb.RemoveHandler("y")
	tb.RemoveHandler("never there")
	assert.Equal(t, 1, a.closes())

	require.NoError(t, tb.Handle("y", b))
	assert.Zero(t, b.closes())
	require.NoError(t, tb.Close())
	assert.Equal(t, 1, b.closes(), "once, for both types")
	assert.Equal(t, 1, a.closes())

	late := &memoryHandler{name: "late"}
	assert.ErrorIs(t, tb.Handle("x", late), tub.ErrTubClosed)
	assert.Equal(t, 1, late.closes(), "who calls Handle has given it away")
	tb.RemoveHandler("x")
	assert.Error(t, newTub(t, nil).Handle("x", nil))
}

// valueHandler is of a type that cannot be compared, which is nothing that the
// contract asks for.
type valueHandler struct {
	*memoryHandler
	_ []string
}

func TestAHandlerNeedNotBeComparable(t *testing.T) {
	tb := newTub(t, nil)
	a, b := &memoryHandler{}, &memoryHandler{}
	require.NoError(t, tb.Handle("x", valueHandler{memoryHandler: a}))
	require.NoError(t, tb.Handle("x", valueHandler{memoryHandler: b}))
	assert.Equal(t, 1, a.closes())
	require.NoError(t, tb.Close())
	assert.Equal(t, 1, b.closes())
}

func TestAHandlerIsToldAllAboutADial(t *testing.T) {
	id, target := newIdentity(t), newIdentity(t).TubID()
	tb := newTubOf(t, id, nil)
	var progress tub.ConnInfo
	h := handle(t, tb, map[string]dial{"x": func(_ context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		req.Report(handlers.PhaseTransport, "shaking hands")
		progress, _ = tb.Info(target)
		return handlers.Stream{}, errors.New("no")
	}})
	_, err := tb.Connect(within(t), named(t, target, "x:y"))
	require.Error(t, err)
	require.Len(t, h.seen(), 1)
	req := h.seen()[0]
	assert.Equal(t, furl.Hint("x:y"), req.Hint)
	assert.Equal(t, target, req.Target)
	assert.Equal(t, id.TubID(), furl.TubIDOf(req.Identity.Certificate[0]))
	assert.NotEmpty(t, req.Isolation)
	_, err = tb.Connect(within(t), named(t, newIdentity(t).TubID(), "x:z"))
	require.Error(t, err)
	assert.NotEqual(t, req.Isolation, h.seen()[1].Isolation, "each Tub is a case of its own")

	require.Len(t, progress.Hints, 1, "what a handler reports can be seen while it dials")
	assert.Equal(t, handlers.PhaseTransport, progress.Hints[0].Phase)
	assert.Equal(t, "shaking hands", progress.Hints[0].Text)
	assert.Equal(t, "memory test", progress.Hints[0].Handler)
}

func TestAHandlerForTCPIsThereUnlessItIsLeftOut(t *testing.T) {
	f := register(t, newServer(t, nil), calculator())
	connect(t, newTub(t, nil), f)
	none := newTub(t, &tub.Options{NoHandlers: true})
	_, err := none.Connect(within(t), f)
	assert.ErrorIs(t, err, handlers.ErrNoHandler)
	removed := newTub(t, nil)
	removed.RemoveHandler("tcp")
	_, err = removed.Connect(within(t), f)
	assert.ErrorIs(t, err, handlers.ErrNoHandler)
}

func TestReplacingAHandlerEndsItsDials(t *testing.T) {
	tb := newTub(t, nil)
	closed := make(chan struct{})
	old := &closingHandler{memoryHandler: &memoryHandler{name: "old"}, closed: closed}
	old.dials = map[string]dial{"x": func(ctx context.Context, _ handlers.DialRequest) (handlers.Stream, error) {
		select {
		case <-closed:
			return handlers.Stream{}, errors.New("the handler was closed")
		case <-ctx.Done():
			return handlers.Stream{}, ctx.Err()
		}
	}}
	require.NoError(t, tb.Handle("x", old))
	failed := make(chan error, 1)
	go func() { _, err := tb.Connect(within(t), named(t, newIdentity(t).TubID(), "x:y")); failed <- err }()
	eventually(t, func() bool { return len(old.seen()) == 1 }, "it dials")
	require.NoError(t, tb.Handle("x", &memoryHandler{name: "new"}))
	assert.ErrorContains(t, <-failed, "the handler was closed")
}

// closingHandler ends its dials when it is closed.
type closingHandler struct {
	*memoryHandler
	closed chan struct{}
}

func (h *closingHandler) Close() error {
	close(h.closed)
	return h.memoryHandler.Close()
}

// A transport of somebody else's, in memory, end to end.
func TestTubsMeetOverAnyTransport(t *testing.T) {
	for name, test := range map[string]struct {
		listen func(m *memory, server *tub.Identity) *memoryAcceptor
		tls    bool
	}{
		"which is a mere stream": {func(m *memory, _ *tub.Identity) *memoryAcceptor { return m.listen("mem:x") }, true},
		"which authenticates":    {func(m *memory, id *tub.Identity) *memoryAcceptor { return m.authenticating("mem:x", id) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, serverIsMaster := range []bool{true, false} {
				m := newMemory()
				serverID, clientID := newIdentities(t)
				if !serverIsMaster {
					serverID, clientID = clientID, serverID
				}
				server, client := newTubOf(t, serverID, nil), newTubOf(t, clientID, nil)
				_, err := server.Listen(test.listen(m, serverID))
				require.NoError(t, err)
				handle(t, client, map[string]dial{"mem": m.dialer()})
				f := register(t, server, calculator())
				assert.Equal(t, []furl.Hint{"mem:x"}, f.Hints)
				ref := connect(t, client, f)
				assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
				back := connect(t, server, register(t, client, calculator()))
				assert.Equal(t, 3, call[int](t, back, "add", 1, 2))

				info, _ := client.Info(server.TubID())
				won := hint(t, info, "mem:x")
				assert.Equal(t, "memory test", won.Handler)
				assert.Equal(t, test.tls, won.Timings[negotiate.PhaseTLS] > 0)
				assert.Positive(t, won.Timings[negotiate.PhaseHello])
				assert.Equal(t, !serverIsMaster, info.Master)
			}
		})
	}
}

func TestACertificateThatATransportBringsIsChecked(t *testing.T) {
	m := newMemory()
	server, client, impostor := newTub(t, nil), newTub(t, nil), newIdentity(t)
	_, err := server.Listen(m.authenticating("mem:x", impostor))
	require.NoError(t, err)
	handle(t, client, map[string]dial{"mem": m.dialer()})
	_, err = client.Connect(within(t), register(t, server, calculator()))
	require.ErrorIs(t, err, handlers.ErrWrongTub)
	assert.ErrorContains(t, err, impostor.TubID().String())
	assert.Empty(t, client.Peers())
	assert.Empty(t, server.Peers())
}

// A dial that returns a stream just when nobody wants it any more.
func TestAStreamThatComesTooLateIsClosed(t *testing.T) {
	tb := newTub(t, nil)
	hungUp := make(chan struct{})
	to := speaking(t, nil, silent)
	ctx, cancel := context.WithCancel(t.Context())
	handle(t, tb, map[string]dial{"x": func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		cancel()
		<-ctx.Done()
		s, err := to(ctx, req)
		s.Conn = &noticedConn{Conn: s.Conn, closed: sync.OnceFunc(func() { close(hungUp) })}
		return s, err
	}})
	_, err := tb.Connect(ctx, named(t, newIdentity(t).TubID(), "x:y"))
	assert.ErrorIs(t, err, context.Canceled)
	<-hungUp
}

// noticedConn tells that it is closed.
type noticedConn struct {
	net.Conn
	closed func()
}

func (c *noticedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
