package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// assertOneConnection makes sure that both sides believe in one connection, the same one, and can call over it.
func assertOneConnection(t *testing.T, tb *tub.Tub, here *tub.Ref, peer *pypeer.Peer, there pypeer.Ref) {
	t.Helper()
	assert.Equal(t, 3, call[int](t, here, "add", 1, 2))
	assert.Equal(t, pypeer.Int(3), there.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
	var live []pypeer.Connection
	for _, c := range peer.Connections() {
		if c.TubID == string(tb.TubID()) {
			live = append(live, c)
		}
	}
	require.Len(t, live, 1)
	assert.Equal(t, []furl.TubID{furl.TubID(peer.TubID)}, tb.Peers())
	info, _ := tb.Info(furl.TubID(peer.TubID))
	assert.True(t, info.Connected)
	assert.Equal(t, live[0].Outbound, info.Inbound)
}

func TestWhoComesBackReplacesAConnectionThatIsHalfDead(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	for _, goMaster := range []bool{true, false} {
		for _, goFirst := range []bool{true, false} {
			for _, goSecond := range []bool{true, false} {
				for _, restarted := range []bool{true, false} {
					who := func(isGo bool) string {
						if isGo {
							return "Go"
						}
						return "Python"
					}
					how := "noticed its end"
					if restarted {
						how = "was restarted"
					}
					name := fmt.Sprintf("%s is the master, %s has dialled and %s %s", who(goMaster), who(goFirst), who(goSecond), how)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						toGo, toPython := relay.Start(t, ""), relay.Start(t, "")
						id := identity(t, role{master: goMaster}.accept(pythonID))
						startGo := func() (*tub.Tub, *desk, furl.FURL) {
							d := newDesk()
							tb := startTub(t, id, tub.Options{Inbound: []tub.Interceptor{d.attend}})
							toGo.SetTarget(listen(t, tb, furl.Hint(toGo.Hint())))
							return tb, d, register(t, tb, d.object)
						}
						startPython := func() (*pypeer.Peer, furl.FURL) {
							peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert, Location: toPython.Hint()})
							toPython.SetTarget(peer.Addr())
							return peer, publish(t, peer, "root", pypeer.KindRoot)
						}
						meet := func(goDials bool, tb *tub.Tub, d furl.FURL, peer *pypeer.Peer, root furl.FURL) (*tub.Ref, pypeer.Ref) {
							if goDials {
								here := connect(t, tb, root)
								return here, peer.MustGetReference(d.WithHints().Reveal())
							}
							there := peer.MustGetReference(d.Reveal())
							there.MustCall("add", pypeer.Int(1), pypeer.Int(2))
							return connect(t, tb, root.WithHints()), there
						}
						tb, d, deskFURL := startGo()
						peer, root := startPython()
						here, there := meet(goFirst, tb, deskFURL, peer, root)
						assertOneConnection(t, tb, here, peer, there)
						ended := make(chan error, 1)
						here.OnDisconnect(func(reason error) { ended <- reason })
						peer.WaitEvent("attached", nil)
						ours, err := tub.Start[any](within(t), here, "block")
						require.NoError(t, err)
						peer.WaitState("root", pypeer.State{Waiting: 1})

						toGo.Freeze()
						toPython.Freeze()
						switch {
						case restarted && goSecond:
							// The old Tub is left to its belief; it is no more than a process that will never hear anything.
							tb, _, deskFURL = startGo()
						case restarted:
							peer.Kill()
							peer, root = startPython()
						case goSecond:
							d.connection().Close(tub.ErrSilent)
							assert.ErrorIs(t, <-ended, tub.ErrSilent)
							settled(t, tb)
						default:
							peer.Do("abort", nil, nil)
							peer.WaitConnections(0)
							peer.WaitEvent("detached", nil)
						}
						if goSecond {
							assert.Empty(t, peer.Events("detached"), "Python does not know yet")
						} else {
							assert.Len(t, tb.Peers(), 1, "Go does not know yet")
						}
						again, thereAgain := meet(goSecond, tb, deskFURL, peer, root)

						assertOneConnection(t, tb, again, peer, thereAgain)
						if goSecond {
							peer.WaitEvent("detached", nil)
						} else {
							assert.ErrorIs(t, <-ended, tub.ErrReplaced)
							_, err := ours.Wait(within(t))
							assert.ErrorIs(t, err, tub.ErrDeadReference)
							assert.ErrorIs(t, err, tub.ErrReplaced)
							_, err = tub.Call[any](within(t), here, "add", 1, 2)
							assert.ErrorIs(t, err, tub.ErrDeadReference)
						}
					})
				}
			}
		}
	}
}

func TestWhatTheMasterSaidOfTheLastConnectionIsRemembered(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert})
	root := publish(t, peer, "root", pypeer.KindRoot)
	for name, test := range map[string]struct {
		master bool
		want   func(before pypeer.Connection) string
	}{
		"as the master nothing is said": {true, func(pypeer.Connection) string { return "none 0" }},
		"as the slave all of it":        {false, func(c pypeer.Connection) string { return fmt.Sprint(peer.Incarnation, " ", *c.Seqnum) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk()
			tb := startTub(t, identity(t, role{master: test.master}.accept(pythonID)), tub.Options{})
			begin := len(peer.Negotiations())
			connect(t, tb, root)
			assert.Equal(t, "none 0", peer.Negotiations()[begin].Hello["last-connection"])
			for range 3 {
				before := peer.Connections()[0]
				assert.Equal(t, test.master, before.Seqnum == nil)
				peer.Do("disconnect", nil, nil)
				settled(t, tb)
				peer.WaitConnections(0)
				connect(t, tb, root)
				last := peer.Negotiations()
				assert.Equal(t, test.want(before), last[len(last)-1].Hello["last-connection"])
			}

			// What we say as a server is never about connections.
			peer.Do("disconnect", nil, nil)
			settled(t, tb)
			peer.WaitConnections(0)
			listen(t, tb)
			peer.MustGetReference(register(t, tb, d.object).Reveal())
			last := peer.Negotiations()
			hello := last[len(last)-1].Hello
			assert.NotContains(t, hello, "last-connection")
			assert.NotEmpty(t, hello["my-incarnation"])
			assert.NoError(t, tb.Close())
			peer.WaitConnections(0)
		})
	}
}

func TestSeveralHintsMakeOneConnection(t *testing.T) {
	t.Parallel()
	delays := []time.Duration{0, 10 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond}
	eachOrder := [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}}
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert})
	root := publish(t, peer, "root", pypeer.KindRoot)
	relays := func(t *testing.T, target string) (hints []furl.Hint) {
		for _, delay := range delays {
			way := relay.Start(t, target)
			way.SetDelay(delay, delay)
			hints = append(hints, furl.Hint(way.Hint()))
		}
		return hints
	}
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			d := newDesk()
			tb := startTub(t, identity(t, r.accept(pythonID)), tub.Options{Inbound: []tub.Interceptor{d.attend}})
			var hints []furl.Hint
			desk := register(t, tb, d.object)
			if r.dials {
				hints = relays(t, peer.Addr())
			} else {
				hints = relays(t, listen(t, tb))
			}
			for _, order := range eachOrder {
				var inOrder []furl.Hint
				for _, i := range order {
					inOrder = append(inOrder, hints[i])
				}
				begin := len(peer.Negotiations())
				var here *tub.Ref
				var there pypeer.Ref
				if r.dials {
					here = connect(t, tb, root.WithHints(inOrder...))
					there = peer.MustGetReference(desk.WithHints().Reveal())
				} else {
					there = peer.MustGetReference(desk.WithHints(inOrder...).Reveal())
					there.MustCall("add", pypeer.Int(1), pypeer.Int(2))
					here = connect(t, tb, root.WithHints())
				}
				for range 5 {
					assertOneConnection(t, tb, here, peer, there)
				}
				if r.dials {
					assert.Len(t, peer.Negotiations(), begin+1, "Python has not even heard of a duplicate")
					info, _ := tb.Info(furl.TubID(peer.TubID))
					assert.Len(t, info.Hints, len(hints))
					won := slices.IndexFunc(info.Hints, func(h tub.HintStatus) bool { return h.Won })
					require.GreaterOrEqual(t, won, 0)
					assert.Equal(t, info.Winner, info.Hints[won].Hint)
					assert.NotEqual(t, hints[3], info.Winner, "the slowest")
				}
				peer.Do("disconnect", nil, nil)
				settled(t, tb)
				peer.WaitConnections(0)
			}
		})
	}
}

func TestDialsThatCrossLeaveOneConnection(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert})
	root := publish(t, peer, "root", pypeer.KindRoot)
	for name, master := range map[string]bool{"with Go as the master": true, "with Python as the master": false} {
		t.Run(name, func(t *testing.T) {
			d := newDesk()
			tb := startTub(t, identity(t, role{master: master}.accept(pythonID)), tub.Options{Inbound: []tub.Interceptor{d.attend}})
			listen(t, tb)
			desk := register(t, tb, d.object)
			for range 5 {
				peer.Do("hold_hellos", nil, nil)
				connected := make(chan *tub.Ref)
				go func() {
					ref, err := tb.Connect(within(t), root)
					assert.NoError(t, err)
					connected <- ref
				}()
				getting := peer.Begin("get_reference", pypeer.Params{"furl": desk.Reveal()})
				for _, outbound := range []bool{true, false} {
					peer.WaitEvent("hello_held", func(e pypeer.Event) bool { return e.Is("outbound", outbound) })
				}
				var held int
				peer.Do("release_hellos", nil, &held)
				assert.Equal(t, 2, held)

				here := <-connected
				require.NotNil(t, here)
				there := peer.Ref(value(t, getting).Handle())
				assertOneConnection(t, tb, here, peer, there)
				peer.Do("disconnect", nil, nil)
				settled(t, tb)
				peer.WaitConnections(0)
			}
		})
	}
	t.Run("at random", func(t *testing.T) {
		tb := startTub(t, identity(t, func(string) bool { return true }), tub.Options{})
		listen(t, tb)
		desk := register(t, tb, newDesk().object)
		for range 20 {
			connected := make(chan *tub.Ref)
			go func() {
				ref, err := tb.Connect(within(t), root)
				assert.NoError(t, err)
				connected <- ref
			}()
			there, err := peer.GetReference(desk.Reveal())
			require.NoError(t, err)
			here := <-connected
			require.NotNil(t, here)
			assertOneConnection(t, tb, here, peer, there)
			peer.Do("disconnect", nil, nil)
			settled(t, tb)
			peer.WaitConnections(0)
		}
	})
}

func TestDeadHintsDoNotMatterBesideALiveOne(t *testing.T) {
	t.Parallel()
	gone := relay.Start(t, "")
	dead := furl.Hint(gone.Hint())
	require.NoError(t, gone.Close())
	silent := relay.Start(t, "")
	silent.SetSwallow(true)
	refusing := relay.Start(t, "127.0.0.1:1")
	others := []furl.Hint{dead, "carrier-pigeon:coop:7", "tor:abcdefghijklmnop.onion:80", furl.Hint(silent.Hint()), furl.Hint(refusing.Hint())}
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		m.peer.Do("disconnect", nil, nil)
		settled(t, m.tub)
		m.peer.WaitConnections(0)
		root := publish(t, m.peer, m.name, pypeer.KindRoot)
		if m.dials {
			root = root.WithHints(slices.Concat(others[:2], root.Hints, others[2:])...)
			here := connect(t, m.tub, root)
			there := m.peer.MustGetReference(register(t, m.tub, m.desk.object).Reveal())
			assertOneConnection(t, m.tub, here, m.peer, there)
			info, _ := m.tub.Info(root.TubID)
			require.Len(t, info.Hints, len(root.Hints))
			assert.True(t, info.Hints[2].Won)
			assert.NoError(t, info.Hints[2].Err)
			assert.ErrorIs(t, info.Hints[1].Err, handlers.ErrNoHandler)
			assert.ErrorIs(t, info.Hints[3].Err, handlers.ErrNoHandler)
		} else {
			desk := register(t, m.tub, m.desk.object)
			desk = desk.WithHints(slices.Concat(others[:2], desk.Hints, others[2:])...)
			there := m.peer.MustGetReference(desk.Reveal())
			there.MustCall("add", pypeer.Int(1), pypeer.Int(2))
			assertOneConnection(t, m.tub, connect(t, m.tub, root.WithHints()), m.peer, there)
		}
	})

	t.Run("unless there are only dead ones", func(t *testing.T) {
		tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
		stranger := furl.TubID(strings.Repeat("a", 32))
		f := furl.FURL{TubID: stranger, Hints: slices.Concat(others[:3], others[4:]), Name: furl.NewSwissnum()}
		_, err := tb.Connect(within(t), f)
		var failed *tub.DialError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, stranger, failed.Peer)
		require.Len(t, failed.Hints, 4)
		assert.ErrorIs(t, failed.Hints[0].Err, handlers.ErrUnreachable)
		assert.ErrorIs(t, failed.Hints[1].Err, handlers.ErrNoHandler)
		assert.ErrorIs(t, failed.Hints[2].Err, handlers.ErrNoHandler)
		var last *handlers.Error
		require.True(t, errors.As(failed.Hints[3].Err, &last))
		assert.Contains(t, []handlers.Phase{handlers.PhaseDial, handlers.PhaseNegotiate}, last.Phase)

		_, err = tb.Connect(within(t), f.WithHints())
		require.ErrorAs(t, err, &failed)
		assert.Empty(t, failed.Hints)
		assert.ErrorContains(t, err, "no hints")
	})
}

func TestAnUnresolvedReferenceConnectsAgainAfterALoss(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	for name, master := range map[string]bool{"with Go as the master": true, "with Python as the master": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := func(port int) *pypeer.Peer {
				peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert, Port: port})
				peer.Register("root", pypeer.KindRoot)
				return peer
			}
			peer := start(0)
			f, err := furl.Parse(peer.Register("root", pypeer.KindRoot))
			require.NoError(t, err)
			tb := startTub(t, identity(t, role{master: master}.accept(pythonID)), tub.Options{})
			ref := tb.Ref(f)
			live := connect(t, tb, f)
			assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))

			for range 2 {
				peer.Kill()
				settled(t, tb)
				_, err = tub.Call[int](within(t), ref, "add", 1, 2)
				var failed *tub.DialError
				require.ErrorAs(t, err, &failed)
				assert.ErrorIs(t, err, handlers.ErrUnreachable)
				peer = start(peer.Port)

				assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
				_, err = tub.Call[int](within(t), live, "add", 1, 2)
				assert.ErrorIs(t, err, tub.ErrDeadReference, "a live one ends with its connection")
			}
			ref.Close()
			_, err = tub.Call[int](within(t), ref, "add", 1, 2)
			assert.ErrorIs(t, err, tub.ErrClosedReference)
		})
	}
}
