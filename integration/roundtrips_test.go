package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestTheFirstAnswerComesAfterSixRoundTrips(t *testing.T) {
	// Not in parallel, and far enough, for both sides to react in less time: the count is exact then.
	const oneWay = 50 * time.Millisecond
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	way := relay.Start(t, "")
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert, Location: way.Hint()})
	root := publish(t, peer, "root", pypeer.KindRoot)
	conns := 0
	// ask makes the first call over a new connection.
	through := func(t *testing.T, target string, ask func()) {
		way.SetTarget(target)
		way.SetDelay(oneWay, oneWay)
		begin := time.Now()
		ask()
		elapsed := time.Since(begin)
		conns++
		// The handshake of TCP is the sixth round trip.
		assert.Equal(t, 10, way.WaitConn(t, conns).Stats().Flights)
		assert.GreaterOrEqual(t, elapsed, 12*oneWay)
	}
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			d := newDesk()
			tb := startTub(t, identity(t, r.accept(pythonID)), tub.Options{})
			if r.dials {
				through(t, peer.Addr(), func() {
					assert.Equal(t, 3, call[int](t, tb.Ref(root), "add", 1, 2))
				})
			} else {
				addr := listen(t, tb, furl.Hint(way.Hint()))
				f := register(t, tb, d.object)
				through(t, addr, func() {
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
			through(t, addr, func() { assert.Equal(t, 3, call[int](t, client.Ref(f), "add", 1, 2)) })
		})
	}
}
