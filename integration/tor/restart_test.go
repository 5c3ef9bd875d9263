package tor

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/tub"
)

// In a network as quiet as ours the relays take up to a minute to tell each other that a circuit is gone, and as long a
// tor may wait that has known the service before. Thus it is another tor that finds the service again.
func TestAServiceIsPublishedAgainWhenItsTorComesBack(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	service := network.Start(t, tornet.Options{})
	log := publications(t)
	f, l := listen(t, newTub(t, nil), byControl(service), tor.WithLogger(log.logger()))
	requireAnswer(t, connect(t, newTub(t, byControl(network.Client(t))), f))

	service.Kill()
	hints, _ := l.Hints()
	require.Equal(t, f.Hints, hints, "the address stays")
	service.Restart()
	log.await(2) // or a client that starts now may get to know what was published before, and stay with it
	another := network.Start(t, tornet.Options{})
	requireAnswer(t, connect(t, newTub(t, byControl(another)), f))
}

func TestAReconnectorRecoversWhenItsTorComesBack(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	client := network.Start(t, tornet.Options{})
	f, _ := listen(t, newTub(t, nil), byControl(network.Client(t)))
	connected := make(chan *tub.Ref)
	gone := make(chan struct{}, 1)
	r, err := newTub(t, byControl(client)).Reconnect(f, func(ctx context.Context, ref *tub.Ref) {
		connected <- ref
		<-ctx.Done()
		gone <- struct{}{}
	}, &tub.ReconnectOptions{MaxDelay: 2 * time.Second, Timeout: attemptTime})
	require.NoError(t, err)
	defer r.Stop()
	requireAnswer(t, receive(t, connected))

	client.Kill()
	receive(t, gone)
	client.Restart()
	requireAnswer(t, receive(t, connected))
}

func TestAServiceOutlivesItsControlConnection(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	service := network.Start(t, tornet.Options{})
	between := relay.Start(t, service.ControlPort)
	f, _ := listen(t, newTub(t, nil), tor.Control(tor.ControlConfig{Address: between.Addr()}))
	between.Cut()
	another := network.Start(t, tornet.Options{})
	requireAnswer(t, connect(t, newTub(t, byControl(another)), f))
}

// receive waits for something that happens over Tor.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-within(t).Done():
		t.Fatal("nothing has happened")
		panic("not reached")
	}
}
