package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

// soon is how long anything may take that has lost its connection.
const soon = 10 * time.Second

// A conversation says a bit of everything over a new connection, until something fails.
type conversation interface {
	// talk returns the first error.
	talk(ctx context.Context) error
	// settle waits until neither side has a connection any more.
	settle(t *testing.T)
}

// fromGo is a conversation that Go begins.
type fromGo struct {
	tub  *tub.Tub
	desk *desk
	root furl.FURL
	peer *pypeer.Peer
}

func (c *fromGo) talk(ctx context.Context) error {
	root, err := c.tub.Connect(ctx, c.root)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, call := range []struct {
		method string
		args   []any
	}{
		{"add", []any{1, 2}},
		{"hold", []any{c.desk.object}},
		{"call_back", []any{c.desk.object, "echo", "called back"}},
		{"echo", []any{pypeer.PatternBytes(20_000)}},
		{"get_ref", nil},
		{"fail", []any{"as it should"}},
		{"bounce", []any{c.desk.object, 3}},
		{"call_back_each", []any{c.desk.object, "get_pattern", []int{5000, 5000}}},
	} {
		v, err := tub.Call[any](ctx, root, call.method, call.args...)
		if ref, ok := v.(*tub.Ref); ok {
			ref.Close()
		}
		var failure *tub.Failure
		if err != nil && !(call.method == "fail" && errors.As(err, &failure)) {
			return err
		}
	}
	var pending []*tub.Pending[int]
	for i := range 10 {
		p, err := tub.Start[int](ctx, root, "add", i, i)
		if err != nil {
			return err
		}
		pending = append(pending, p)
	}
	err = nil
	for _, p := range pending {
		if _, failed := p.Wait(ctx); err == nil {
			err = failed
		}
	}
	if err != nil {
		return err
	}
	return tub.Send(ctx, root, "drop")
}

func (c *fromGo) settle(t *testing.T) {
	settled(t, c.tub)
	c.peer.WaitConnections(0)
	c.desk.drop()
}

func settled(t *testing.T, tb *tub.Tub) {
	t.Helper()
	require.Eventually(t, func() bool { return len(tb.Peers()) == 0 }, soon, time.Millisecond)
}

// fromPython is a conversation that Python begins.
type fromPython struct {
	tub  *tub.Tub
	desk *desk
	furl furl.FURL // of the desk
	peer *pypeer.Peer
	name string // of Python's object
}

var errNotConnected = errors.New("there is no connection yet")

func (c *fromPython) talk(ctx context.Context) error {
	wait := func(pending *pypeer.Pending) (pypeer.Value, error) {
		select {
		case <-pending.Done():
			return pending.Value()
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	got, err := wait(c.peer.Begin("get_reference", pypeer.Params{"furl": c.furl.Reveal()}))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotConnected, err)
	}
	ref := c.peer.Ref(got.Handle())
	object := pypeer.Object(c.name)
	var pending []*pypeer.Pending
	for _, call := range []struct {
		method string
		args   []pypeer.Value
	}{
		{"add", []pypeer.Value{pypeer.Int(1), pypeer.Int(2)}},
		{"hold", []pypeer.Value{object}},
		{"call_back", []pypeer.Value{object, pypeer.Text("echo"), pypeer.Text("called back")}},
		{"echo", []pypeer.Value{pypeer.Pattern(20_000)}},
		{"get_ref", nil},
		{"bounce", []pypeer.Value{object, pypeer.Int(3)}},
		{"get_pattern", []pypeer.Value{pypeer.Int(20_000)}},
	} {
		p := ref.Begin(call.method, call.args...)
		if _, err := wait(p); err != nil {
			return err
		}
	}
	for range 10 {
		pending = append(pending, ref.Begin("add", pypeer.Int(1), pypeer.Int(1)))
	}
	var first error
	for _, p := range pending {
		if _, err := wait(p); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (c *fromPython) settle(t *testing.T) {
	c.peer.DropAll()
	settled(t, c.tub)
	c.peer.WaitConnections(0)
	c.desk.drop()
}

// cuts are after how many of so many bytes a conversation is cut: some at every stage of the negotiation, which takes
// the first few thousand, and some later.
func cuts(total int64) []int64 {
	const inNegotiation, later = 16, 8
	negotiation := min(total-1, 4000)
	var all []int64
	for i := range int64(inNegotiation) {
		all = append(all, 1+negotiation*i/inNegotiation)
	}
	for i := range int64(later) {
		all = append(all, negotiation+(total-negotiation)*i/later)
	}
	return all
}

func TestAConversationThatIsCutAnywhereEnds(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			way := relay.Start(t, "")
			python := pypeer.Options{CertFile: pythonCert}
			if r.dials {
				python.Location = way.Hint()
			}
			peer := pypeer.Start(t, python)
			d := newDesk()
			var seen ends
			tb := startTub(t, identity(t, r.accept(pythonID)), tub.Options{Inbound: []tub.Interceptor{d.attend}, Observer: seen.observe})
			root := publish(t, peer, "root", pypeer.KindRoot)
			var c conversation
			if r.dials {
				way.SetTarget(peer.Addr())
				c = &fromGo{tb, d, root, peer}
			} else {
				way.SetTarget(listen(t, tb, furl.Hint(way.Hint())))
				c = &fromPython{tb, d, register(t, tb, d.object), peer, "root"}
			}
			talk := func() (time.Duration, error) {
				ctx, cancel := context.WithTimeout(t.Context(), soon)
				defer cancel()
				begin := time.Now()
				err := c.talk(ctx)
				return time.Since(begin), err
			}

			// How much there is to say, if nothing fails.
			_, err := talk()
			require.NoError(t, err)
			total := way.WaitConn(t, 1).Stats()
			way.Cut()
			c.settle(t)

			failed := map[string]int{}
			for direction, bytes := range map[string]int64{"to the target": total.ToTarget, "to the client": total.ToClient} {
				for _, n := range cuts(bytes) {
					what := fmt.Sprintf("cut after %d of %d bytes %s", n, bytes, direction)
					if direction == "to the target" {
						way.SetCutAfter(n, 0)
					} else {
						way.SetCutAfter(0, n)
					}
					took, err := talk()
					require.Error(t, err, what)
					if r.dials {
						failed[assertLost(t, err, what)]++
					} else {
						failed[assertLostThere(t, err, what)]++
					}
					assert.Less(t, took, soon, what)
					c.settle(t)
				}
			}
			assert.Positive(t, failed["negotiate"])
			assert.Positive(t, failed["call"])
			if !r.dials {
				seen.assertLost(t)
			}

			way.SetCutAfter(0, 0)
			_, err = talk()
			assert.NoError(t, err, "what was lost does not stand in the way")
		})
	}
}

// ends are how the negotiations and connections of a Tub have ended, as its Observer.
type ends struct {
	mu  sync.Mutex
	all []tub.Event
}

func (e *ends) observe(event tub.Event) {
	if event.Kind == tub.EventNegotiate || event.Kind == tub.EventDisconnect {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, event)
	}
}

// assertLost makes sure that some negotiations have failed and some connections were lost, and that no other errors came
// of it.
func (e *ends) assertLost(t *testing.T) {
	t.Helper()
	count := func(kind broker.Kind, failed bool) (n int) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, event := range e.all {
			if event.Kind == kind && (event.Err != nil) == failed {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return count(tub.EventNegotiate, false) == count(tub.EventDisconnect, true) }, soon, time.Millisecond)
	assert.Positive(t, count(tub.EventNegotiate, true))
	assert.Positive(t, count(tub.EventDisconnect, true))
	assert.Zero(t, count(tub.EventDisconnect, false))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		var failed *negotiate.Error
		switch {
		case event.Kind == tub.EventDisconnect:
			assert.ErrorIs(t, event.Err, tub.ErrLost)
		case event.Err != nil:
			assert.ErrorAs(t, event.Err, &failed)
		}
	}
}

// assertLostThere makes sure that an error of Python is about the connection, and returns of what stage it is: negotiate
// or call.
func assertLostThere(t *testing.T, err error, what string) string {
	t.Helper()
	var there *pypeer.Error
	require.ErrorAs(t, err, &there, what)
	assert.Contains(t, connectionEnded, there.Type, "%s: %v", what, err)
	if errors.Is(err, errNotConnected) {
		return "negotiate"
	}
	assert.Equal(t, "foolscap.ipb.DeadReferenceError", there.Type, "%s: %v", what, err)
	return "call"
}

// assertLost makes sure that an error says of what stage it is, and returns that: dial, negotiate or call.
func assertLost(t *testing.T, err error, what string) string {
	t.Helper()
	var dial *tub.DialError
	if errors.As(err, &dial) {
		var hint *handlers.Error
		require.ErrorAs(t, err, &hint, what)
		if hint.Phase != handlers.PhaseNegotiate {
			return string(hint.Phase)
		}
		var failed *negotiate.Error
		assert.True(t, errors.As(err, &failed) || errors.Is(err, tub.ErrLost), "%s: %v", what, err)
		return "negotiate"
	}
	var call *tub.CallError
	if assert.ErrorAs(t, err, &call, what) {
		assert.NotEqual(t, tub.Answered, call.Sent, "%s: %v", what, err)
		assert.ErrorIs(t, err, tub.ErrDeadReference, what)
		assert.ErrorIs(t, err, tub.ErrLost, what)
	}
	return "call"
}

func isProtocolError(err error) bool {
	var protocol *banana.ProtocolError
	return errors.As(err, &protocol) && !errors.Is(err, tub.ErrLost)
}

func TestBothSidesLearnOfTheEndOfAConnection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end    func(t *testing.T, m *meeting)
		reason error // or is, for one that has no name
		dies   bool  // the peer
		is     func(reason error) bool
	}{
		"Python disconnects": {func(t *testing.T, m *meeting) { m.peer.Do("disconnect", nil, nil) }, tub.ErrLost, false, nil},
		"Python resets":      {func(t *testing.T, m *meeting) { m.peer.Do("abort", nil, nil) }, tub.ErrLost, false, nil},
		"Python is killed":   {func(t *testing.T, m *meeting) { m.peer.Kill() }, tub.ErrLost, true, nil},
		"Python exits":       {func(t *testing.T, m *meeting) { m.peer.Exit(0) }, tub.ErrLost, true, nil},
		"Python stops":       {func(t *testing.T, m *meeting) { m.peer.Do("stop", nil, nil) }, tub.ErrLost, true, nil},
		"Python is at fault": {func(t *testing.T, m *meeting) { m.peer.Do("raw", pypeer.Params{"bytes": "80"}, nil) }, nil, false, isProtocolError},
		"Go closes":          {func(t *testing.T, m *meeting) { require.NoError(t, m.tub.Close()) }, tub.ErrClosed, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cert, _ := pypeer.WriteCert(t, pypeer.Middling)
			var peer *pypeer.Peer
			if !test.dies {
				peer = pypeer.Start(t, pypeer.Options{CertFile: cert})
			}
			for _, r := range roles {
				t.Run(r.String(), func(t *testing.T) {
					peer := peer
					if test.dies {
						peer = pypeer.Start(t, pypeer.Options{CertFile: cert})
					}
					m := meet(t, peer, r, tub.Options{})
					here := make(chan error, 3)
					m.root.OnDisconnect(func(reason error) { here <- reason })
					stop := m.root.OnDisconnect(func(error) { t.Error("a function that was withdrawn was called") })
					stop()
					ours, err := tub.Start[any](within(t), m.root, "block", "ours")
					require.NoError(t, err)
					theirs := m.ref.Begin("block", pypeer.Text("theirs"))
					m.peer.WaitState(m.name, pypeer.State{Waiting: 1})
					m.desk.awaitBlocked(t, "theirs", 1)
					if !test.dies {
						m.ref.NotifyDisconnect()
					}

					test.end(t, m)

					reason := <-here
					if test.is != nil {
						assert.True(t, test.is(reason), "%v", reason)
					} else {
						assert.ErrorIs(t, reason, test.reason)
					}
					_, err = ours.Wait(within(t))
					var call *tub.CallError
					require.ErrorAs(t, err, &call)
					assert.Equal(t, tub.MayHaveRun, call.Sent)
					assert.ErrorIs(t, err, tub.ErrDeadReference)
					assert.ErrorIs(t, err, reason)
					_, err = tub.Call[any](within(t), m.root, "add", 1, 2)
					require.ErrorAs(t, err, &call)
					assert.Equal(t, tub.NotSent, call.Sent)
					assert.ErrorIs(t, err, tub.ErrDeadReference)
					assert.ErrorIs(t, tub.Send(within(t), m.root, "add", 1, 2), tub.ErrDeadReference)
					_, err = tub.Start[any](within(t), m.root, "add", 1, 2)
					assert.ErrorIs(t, err, tub.ErrDeadReference)
					m.root.OnDisconnect(func(reason error) { here <- reason })
					assert.Equal(t, reason, <-here, "one who comes late is told at once")
					m.root.Close()
					settled(t, m.tub)

					if !test.dies {
						m.peer.WaitEvent("disconnected", func(e pypeer.Event) bool { return e.Is("ref", m.ref.Handle()) })
						var failure *pypeer.Error
						require.ErrorAs(t, theirs.Result(nil), &failure)
						assert.False(t, m.ref.Describe().Connected)
					}
					// A method that was running has been told.
					assert.ErrorIs(t, context.Cause(m.desk.connection().Context()), reason)
				})
			}
		})
	}
}
