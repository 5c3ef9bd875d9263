package integration

import (
	"context"
	"io"
	"net"
	"os"
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
		const silence = 3 * time.Second // a long time for a PING to go and come back
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
	const silence = 3 * time.Second // a long time for a PING to go and come back
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
			peer, tb, here, _ := connected(pypeer.Options{}, tub.Options{Keepalive: silence / 10, DisconnectTimeout: silence})
			begin := time.Now()
			assert.Equal(t, 3, call[int](t, here, "add", 1, 2)) // Python has been heard after the beginning
			toGo.Freeze()
			toPython.Freeze()
			_, err := tub.Call[int](within(t), here, "add", 1, 2)
			assert.ErrorIs(t, err, tub.ErrSilent)
			assert.ErrorIs(t, err, tub.ErrDeadReference)
			assert.GreaterOrEqual(t, time.Since(begin), silence)
			settled(t, tb)
			peer.Kill()

			// By Python.
			peer, tb, here, there := connected(pypeer.Options{Keepalive: silence / 10, Disconnect: silence}, tub.Options{})
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
	// Only the phase in which the peer falls silent is short: the others may take as long as a busy machine makes them.
	inPlaintext := negotiate.Timeouts{Plaintext: aLittle, TLS: patience, Hello: patience, Decision: patience}
	inHello := negotiate.Timeouts{Plaintext: patience, TLS: patience, Hello: aLittle, Decision: patience}
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert})
	root := publish(t, peer, "root", pypeer.KindRoot)
	timedOut := func(t *testing.T, err error, phase negotiate.Phase) {
		t.Helper()
		assertFailed(t, err, negotiate.ErrTimeout, phase)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			id := identity(t, r.accept(pythonID))
			start := func(timeouts negotiate.Timeouts) (*tub.Tub, negotiations) {
				ended := make(negotiations, 2)
				return startTub(t, id, tub.Options{NegotiationTimeouts: timeouts, Observer: ended.observe}), ended
			}
			// finish is for Tubs that are the same to Python.
			finish := func(tb *tub.Tub) {
				assert.NoError(t, tb.Close())
				peer.WaitConnections(0)
			}
			if r.dials {
				silent := relay.Start(t, peer.Addr())
				silent.SetSwallow(true)
				tb, ended := start(inPlaintext)
				_, err := tb.Connect(within(t), root.WithHints(furl.Hint(silent.Hint())))
				timedOut(t, err, negotiate.PhasePlaintext)
				timedOut(t, <-ended, negotiate.PhasePlaintext)
				finish(tb)

				tb, ended = start(inHello)
				ctx, cancel := context.WithTimeout(t.Context(), aLittle)
				defer cancel()
				_, err = tb.Connect(ctx, root.WithHints(furl.Hint(silent.Hint())))
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				var dial *tub.DialError
				require.ErrorAs(t, err, &dial)
				require.Len(t, dial.Hints, 1)
				assert.Equal(t, handlers.PhaseNegotiate, dial.Hints[0].Phase)
				assertFailed(t, <-ended, context.Canceled, negotiate.PhasePlaintext)

				peer.Do("hold_hellos", nil, nil)
				_, err = tb.Connect(within(t), root)
				timedOut(t, err, negotiate.PhaseHello)
				timedOut(t, <-ended, negotiate.PhaseHello)
				peer.Do("release_hellos", nil, nil)
				finish(tb)

				tb, ended = start(negotiate.Timeouts{})
				assert.Equal(t, 3, call[int](t, connect(t, tb, root), "add", 1, 2), "what is over does not stand in the way")
				assert.NoError(t, <-ended)
				finish(tb)
			} else {
				// Somebody who only opens the connection does not get as far as to any Tub.
				tb, ended := start(inPlaintext)
				conn, err := net.Dial("tcp4", listen(t, tb))
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
				_, err = conn.Read(make([]byte, 1))
				assert.ErrorIs(t, err, io.EOF, "it is closed")
				assert.Empty(t, ended)
				finish(tb)

				tb, ended = start(inHello)
				listen(t, tb)
				peer.Do("hold_hellos", nil, nil)
				_, err = peer.GetReference(register(t, tb, newDesk().object).Reveal())
				timedOut(t, <-ended, negotiate.PhaseHello)
				var there *pypeer.Error
				require.ErrorAs(t, err, &there)
				assert.Contains(t, connectionEnded, there.Type, "%v", there)
				peer.Do("release_hellos", nil, nil)
				finish(tb)

				tb, ended = start(negotiate.Timeouts{})
				listen(t, tb)
				ref := peer.MustGetReference(register(t, tb, newDesk().object).Reveal())
				assert.Equal(t, pypeer.Int(3), ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
				assert.NoError(t, <-ended)
				finish(tb)
			}
		})
	}
}
