package integration

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

func TestSilenceIsBrokenByPings(t *testing.T) {
	t.Parallel()
	const often = 50 * time.Millisecond
	t.Run("of Go", func(t *testing.T) {
		t.Parallel()
		o := options{tub: tub.Options{Keepalive: often}}
		eachRole(t, o, func(t *testing.T, m *meeting) {
			m.peer.Do("wait_pings", pypeer.Params{"received": 3}, nil)
			assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2))
			assert.Zero(t, m.peer.Connections()[0].PingsSent)
		})
	})
	t.Run("of Python", func(t *testing.T) {
		t.Parallel()
		o := options{python: pypeer.Options{Keepalive: often}, tub: tub.Options{Keepalive: -1}}
		eachRole(t, o, func(t *testing.T, m *meeting) {
			m.peer.Do("wait_pings", pypeer.Params{"sent": 3}, nil)
			assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2))
			assert.Zero(t, m.peer.Connections()[0].PingsReceived)
		})
	})
	t.Run("which keeps a connection alive that is given up for silence otherwise", func(t *testing.T) {
		t.Parallel()
		const silence = 2 * time.Second
		o := options{
			python: pypeer.Options{Keepalive: often, Disconnect: silence},
			tub:    tub.Options{Keepalive: often, DisconnectTimeout: silence},
		}
		o.python.CertFile, _ = pypeer.WriteCert(t, pypeer.Middling)
		peer := pypeer.Start(t, o.python)
		m := meet(t, peer, roles[0], o.tub)
		begin := time.Now()
		// Nothing but PINGs and PONGs for longer than the silence that is allowed.
		for pings := 0; time.Since(begin) < silence+silence/2; pings++ {
			var c pypeer.Connection
			m.peer.Do("wait_pings", pypeer.Params{"received": pings}, &c)
		}
		assert.Empty(t, m.peer.Events("detached"))
		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2))
	})
	t.Run("never, if nobody wants it", func(t *testing.T) {
		t.Parallel()
		m := justGo(t, options{tub: tub.Options{Keepalive: -1}})
		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2))
		c := m.peer.Connections()[0]
		assert.Zero(t, c.PingsSent+c.PingsReceived)
	})
}

func TestAPeerThatIsSilentForTooLongIsGivenUp(t *testing.T) {
	t.Parallel()
	const silence = 300 * time.Millisecond
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			toGo, toPython := relay.Start(t, ""), relay.Start(t, "")
			connected := func(python pypeer.Options, o tub.Options) (*pypeer.Peer, *tub.Tub, *tub.Ref, pypeer.Ref) {
				python.CertFile, python.Location = pythonCert, toPython.Hint()
				peer := pypeer.Start(t, python)
				toPython.SetTarget(peer.Addr())
				tb := startTub(t, identity(t, r.accept(pythonID)), o)
				toGo.SetTarget(listen(t, tb, furl.Hint(toGo.Hint())))
				desk, root := register(t, tb, newDesk().object), publish(t, peer, "root", pypeer.KindRoot)
				if r.dials {
					here := connect(t, tb, root)
					return peer, tb, here, peer.MustGetReference(desk.WithHints().Reveal())
				}
				there := peer.MustGetReference(desk.Reveal())
				there.MustCall("add", pypeer.Int(1), pypeer.Int(2))
				return peer, tb, connect(t, tb, root.WithHints()), there
			}

			// By Go.
			peer, tb, here, _ := connected(pypeer.Options{}, tub.Options{Keepalive: silence / 3, DisconnectTimeout: silence})
			toGo.Freeze()
			toPython.Freeze()
			begin := time.Now()
			_, err := tub.Call[int](within(t), here, "add", 1, 2)
			assert.ErrorIs(t, err, tub.ErrSilent)
			assert.ErrorIs(t, err, tub.ErrDeadReference)
			assert.Greater(t, time.Since(begin), silence/2)
			settled(t, tb)
			peer.Kill()

			// By Python.
			peer, tb, here, there := connected(pypeer.Options{Keepalive: silence / 3, Disconnect: silence}, tub.Options{})
			there.NotifyDisconnect()
			toGo.Freeze()
			toPython.Freeze()
			var failure *pypeer.Error
			require.NoError(t, peer.WaitEvent("detached", nil).Get("error", &failure))
			assert.Contains(t, failure.Text, "timeout")
			peer.WaitEvent("disconnected", nil)
			assert.Len(t, tb.Peers(), 1, "Go has no such limit")
			toGo.Cut()
			toPython.Cut()
			_, err = tub.Call[int](within(t), here, "add", 1, 2)
			assert.ErrorIs(t, err, tub.ErrLost)
		})
	}
}

func TestAPeerThatFallsSilentInANegotiationIsGivenUp(t *testing.T) {
	t.Parallel()
	timeouts := negotiate.Timeouts{Plaintext: aLittle, TLS: patience, Hello: aLittle, Decision: patience}
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert})
	root := publish(t, peer, "root", pypeer.KindRoot)
	timedOut := func(t *testing.T, err error, phase negotiate.Phase) {
		t.Helper()
		assert.ErrorIs(t, err, negotiate.ErrTimeout)
		var failed *negotiate.Error
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, phase, failed.Phase)
	}
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			tb := startTub(t, identity(t, r.accept(pythonID)), tub.Options{NegotiationTimeouts: timeouts})
			if r.dials {
				silent := relay.Start(t, peer.Addr())
				silent.SetSwallow(true)
				_, err := tb.Connect(within(t), root.WithHints(furl.Hint(silent.Hint())))
				timedOut(t, err, negotiate.PhasePlaintext)

				ctx, cancel := context.WithTimeout(t.Context(), aLittle/2)
				defer cancel()
				_, err = tb.Connect(ctx, root.WithHints(furl.Hint(silent.Hint())))
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				var dial *tub.DialError
				require.ErrorAs(t, err, &dial)
				require.Len(t, dial.Hints, 1)
				assert.Equal(t, handlers.PhaseNegotiate, dial.Hints[0].Phase)

				peer.Do("hold_hellos", nil, nil)
				_, err = tb.Connect(within(t), root)
				timedOut(t, err, negotiate.PhaseHello)
				peer.Do("release_hellos", nil, nil)
			} else {
				listen(t, tb)
				f := register(t, tb, newDesk().object)
				peer.Do("hold_hellos", nil, nil)
				_, err := peer.GetReference(f.Reveal())
				assert.Error(t, err)
				peer.Do("release_hellos", nil, nil)
				assert.Equal(t, pypeer.Int(3), peer.MustGetReference(f.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))
			}
			assert.NoError(t, tb.Close())
			peer.WaitConnections(0)
		})
	}
}
