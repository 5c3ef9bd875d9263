package integration

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestTheFirstAnswerComesAfterAsFewRoundTripsAsTheWireAllows(t *testing.T) {
	// Not in parallel, and far enough, for both sides to react in less time: the count is exact then.
	const oneWay = 50 * time.Millisecond
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	way := relay.Start(t, "")
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert, Location: way.Hint()})
	root := publish(t, peer, "root", pypeer.KindRoot)
	conns := 0
	// ask makes the first call over a new connection. The handshake of TCP is one of the round trips.
	through := func(t *testing.T, target string, trips int, ask func()) {
		way.SetTarget(target)
		way.SetDelay(oneWay, oneWay)
		begin := time.Now()
		ask()
		elapsed := time.Since(begin)
		conns++
		assert.Equal(t, 2*(trips-1), way.WaitConn(t, conns).Stats().Flights)
		assert.GreaterOrEqual(t, elapsed, time.Duration(2*(trips-1))*oneWay)
	}
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			d := newDesk()
			tb := startTub(t, identity(t, r.accept(pythonID)), tub.Options{})
			if r.dials {
				through(t, peer.Addr(), 6, func() {
					assert.Equal(t, 3, call[int](t, tb.Ref(root), "add", 1, 2))
				})
			} else {
				addr := listen(t, tb, furl.Hint(way.Hint()))
				f := register(t, tb, d.object)
				through(t, addr, 6, func() {
					assert.Equal(t, pypeer.Int(3), peer.MustGetReference(f.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))
				})
			}
			assert.NoError(t, tb.Close())
			peer.WaitConnections(0)
		})
	}
	for name, accept := range map[string]func(string) func(string) bool{
		"between two Go Tubs, with the client as the master": pypeer.Greater,
		"between two Go Tubs, with the server as the master": pypeer.Less,
	} {
		t.Run(name, func(t *testing.T) {
			server := startTub(t, identity(t, pypeer.Middling), tub.Options{})
			addr := listen(t, server, furl.Hint(way.Hint()))
			client := startTub(t, identity(t, accept(string(server.TubID()))), tub.Options{})
			f := register(t, server, newDesk().object)
			through(t, addr, 5, func() { assert.Equal(t, 3, call[int](t, client.Ref(f), "add", 1, 2)) })
		})
	}
}

// stair is an object with a step to the next one.
func stair(height int) *tub.Object {
	return tub.NewObject(
		tub.Method("step", func(context.Context, tub.None) (*tub.Object, error) { return stair(height + 1), nil }),
		tub.Method("height", func(context.Context, tub.None) (int, error) { return height, nil }),
	)
}

func TestAChainOfCallsTakesOneRoundTrip(t *testing.T) {
	const oneWay, steps = 250 * time.Millisecond, 50
	way := relay.Start(t, "")
	server, client := startTub(t, identity(t, pypeer.Middling), tub.Options{}), startTub(t, identity(t, pypeer.Middling), tub.Options{})
	way.SetTarget(listen(t, server, furl.Hint(way.Hint())))
	way.SetDelay(oneWay, oneWay)
	at := connect(t, client, register(t, server, stair(0)))
	conn := way.WaitConn(t, 1)
	before, begin := conn.Stats().Flights, time.Now()
	for range steps {
		next, err := tub.Promise(within(t), at, "step")
		require.NoError(t, err)
		defer next.Close()
		at = next
	}
	assert.Equal(t, steps, call[int](t, at, "height"))
	assert.GreaterOrEqual(t, time.Since(begin), 2*oneWay)
	assert.Equal(t, 2, conn.Stats().Flights-before, "there and back")
}

func TestAChainOfCallsWorksWithPythonToo(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		child, err := tub.Promise(within(t), m.root, "get_ref")
		require.NoError(t, err)
		assert.Equal(t, m.name+".1", call[string](t, child, "name"))
		child.Close()
		nobody, err := tub.Promise(within(t), m.root, "fail", "for a test")
		require.NoError(t, err)
		_, err = tub.Call[string](within(t), nobody, "name")
		assert.ErrorIs(t, err, tub.ErrNotRun)
		assert.ErrorContains(t, err, "for a test")
		m.assertNothingIsLeft(t)
	})
}
