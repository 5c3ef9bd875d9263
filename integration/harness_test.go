package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
)

// What is measured of our own Tubs is measured with these tools; here they are held against Foolscap itself.

// behindRelay starts a peer whose FURLs lead to a relay, with an object "root".
func behindRelay(t *testing.T, certFile string) (r *relay.Relay, peer *pypeer.Peer, furl string) {
	t.Helper()
	r = relay.Start(t, "")
	peer = pypeer.Start(t, pypeer.Options{CertFile: certFile, Location: r.Hint()})
	r.SetTarget(peer.Addr())
	return r, peer, peer.Register("root", pypeer.KindRoot)
}

func TestFoolscapNeedsSixRoundTripsToItsFirstAnswer(t *testing.T) {
	const oneWay = 50 * time.Millisecond
	serverCert, serverID := pypeer.WriteCert(t, pypeer.Middling)
	for name, accept := range map[string]func(string) func(string) bool{
		"with the client as the master": pypeer.Greater,
		"with the server as the master": pypeer.Less,
	} {
		t.Run(name, func(t *testing.T) {
			r, _, furl := behindRelay(t, serverCert)
			r.SetDelay(oneWay, oneWay)
			clientCert, _ := pypeer.WriteCert(t, accept(serverID))
			client := pypeer.Start(t, pypeer.Options{CertFile: clientCert, NoListen: true})

			begin := time.Now()
			answer := client.MustGetReference(furl).MustCall("add", pypeer.Int(1), pypeer.Int(2))
			elapsed := time.Since(begin)

			assert.Equal(t, pypeer.Int(3), answer)
			assert.GreaterOrEqual(t, elapsed, 12*oneWay)
			// The handshake of TCP is the sixth round trip.
			assert.Equal(t, 10, r.WaitConn(t, 1).Stats().Flights)
		})
	}
}

func TestAPeerThatComesBackReplacesItsHalfDeadConnection(t *testing.T) {
	serverCert, serverID := pypeer.WriteCert(t, pypeer.Middling)
	for name, accept := range map[string]func(string) func(string) bool{
		"as the master": pypeer.Greater,
		"as the slave":  pypeer.Less,
	} {
		t.Run(name, func(t *testing.T) {
			r, server, furl := behindRelay(t, serverCert)
			clientCert, clientID := pypeer.WriteCert(t, accept(serverID))
			client := pypeer.Start(t, pypeer.Options{CertFile: clientCert, NoListen: true})
			client.MustGetReference(furl)

			r.Freeze()
			client.Kill()
			assert.Empty(t, server.Events("detached"))
			again := pypeer.Start(t, pypeer.Options{CertFile: clientCert, NoListen: true})
			ref := again.MustGetReference(furl)

			assert.Equal(t, pypeer.Int(1), ref.MustCall("echo", pypeer.Int(1)))
			detached := server.WaitEvent("detached", nil)
			assert.True(t, detached.Is("tubid", clientID))
			connections := server.Connections()
			require.Len(t, connections, 1)
			assert.Equal(t, 2, connections[0].Connection)
		})
	}
}
