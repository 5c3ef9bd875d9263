package quic_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestTheFirstAnswerComesAfterThreeRoundTrips(t *testing.T) {
	const oneWay = 100 * time.Millisecond
	server := startTub(t, identity(t, middling))
	addr := server.listen(t, "127.0.0.1:0", "quic:192.0.2.1:9")
	f := server.desk(t)
	// roundTrips counts those of something that a new client does, each behind a relay of its own. A machine that is busy
	// with other things can only add to them, so a second look is fair.
	roundTrips := func(t *testing.T, want int, accept func(furl.TubID) bool, do func(client *party)) int {
		best := 1000
		for range 5 {
			f.Hints = []furl.Hint{startRelay(t, addr, oneWay).hint()}
			client := startTub(t, identity(t, accept))
			began := time.Now()
			do(client)
			if best = min(best, int(time.Since(began)/(2*oneWay))); best <= want {
				break
			}
		}
		return best
	}
	for name, accept := range map[string]func(furl.TubID) bool{
		"with the client as the master": func(id furl.TubID) bool { return id > server.TubID() },
		"with the server as the master": func(id furl.TubID) bool { return id < server.TubID() },
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, 3, roundTrips(t, 3, accept, func(client *party) {
				assertAdds(t, client.Ref(f))
			}), "handshake, hello and decision, look-up and call")
			// One after the other, as with peers that know no pipelining.
			assert.Equal(t, 4, roundTrips(t, 4, accept, func(client *party) {
				ref, err := client.Connect(within(t), f)
				require.NoError(t, err)
				assertAdds(t, ref)
			}), "handshake, hello and decision, look-up, call")
		})
	}
}
