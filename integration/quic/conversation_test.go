package quic_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestTubsTalkOverQUIC(t *testing.T) {
	server := startTub(t, identity(t, middling))
	server.listen(t, "127.0.0.1:0")
	f := server.desk(t)
	require.Len(t, f.Hints, 1)
	assert.Equal(t, "quic", f.Hints[0].Type())
	for name, accept := range map[string]func(furl.TubID) bool{
		"the client is the master": func(id furl.TubID) bool { return id > server.TubID() },
		"the server is the master": func(id furl.TubID) bool { return id < server.TubID() },
	} {
		t.Run(name, func(t *testing.T) {
			client := startTub(t, identity(t, accept))
			ref, err := client.Connect(within(t), f)
			require.NoError(t, err)
			assertAdds(t, ref)

			answer, err := tub.Call[int](within(t), ref, "ask", tub.NewObject(
				tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil })))
			require.NoError(t, err)
			assert.Equal(t, 23, answer, "and back over the same connection")

			much := pypeer.PatternBytes(10 << 20)
			echo, err := tub.Call[[]byte](within(t), ref, "echo", much)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(much, echo))
			assert.Equal(t, 1, client.negotiations())
			info, _ := client.Info(server.TubID())
			assert.Equal(t, f.Hints[0], info.Winner)
		})
	}
}

func TestTubsThatDialEachOtherHaveOneConnection(t *testing.T) {
	for range 5 { // it is a race
		one, two := startTub(t, identity(t, anyID)), startTub(t, identity(t, anyID))
		one.listen(t, "127.0.0.1:0")
		two.listen(t, "127.0.0.1:0")
		toOne, toTwo := one.desk(t), two.desk(t)
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() { assertAdds(t, one.Ref(toTwo)) })
			calls.Go(func() { assertAdds(t, two.Ref(toOne)) })
		}
		calls.Wait()
		hereInfo, _ := one.Info(two.TubID())
		thereInfo, _ := two.Info(one.TubID())
		assert.True(t, hereInfo.Connected)
		assert.True(t, thereInfo.Connected)
		assert.NotEqual(t, hereInfo.Inbound, thereInfo.Inbound, "it is the same one")
	}
}

func TestAnotherTubAtTheHint(t *testing.T) {
	server := startTub(t, identity(t, anyID))
	server.listen(t, "127.0.0.1:0")
	f := server.desk(t)
	f.TubID = identity(t, anyID).TubID()
	client := startTub(t, identity(t, anyID))
	_, err := client.Connect(within(t), f)
	var dialErr *tub.DialError
	require.ErrorAs(t, err, &dialErr)
	assert.ErrorIs(t, err, handlers.ErrWrongTub)
	assert.Zero(t, server.negotiations())
}

func TestAListenerWithTheIdentityOfAnotherTub(t *testing.T) {
	server := startTub(t, identity(t, anyID))
	l, err := quic.Listen(t.Context(), "127.0.0.1:0", certificate(t, identity(t, anyID)))
	require.NoError(t, err)
	_, err = server.Listen(l)
	require.NoError(t, err)
	_, err = startTub(t, identity(t, anyID)).Connect(within(t), server.desk(t))
	assert.ErrorIs(t, err, handlers.ErrWrongTub)
}

func TestWhereNoUDPPassesTheOtherHintServes(t *testing.T) {
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	server := startTub(t, identity(t, anyID))
	server.listen(t, "127.0.0.1:0", furl.Hint("quic:"+silent.LocalAddr().String()))
	l, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	_, err = server.Listen(l)
	require.NoError(t, err)
	f := server.desk(t)
	require.Len(t, f.Hints, 2)
	require.Equal(t, "quic", f.Hints[0].Type())

	began := time.Now()
	assertAdds(t, startTub(t, identity(t, anyID)).Ref(f))
	assert.Less(t, time.Since(began), time.Second)
}

func TestWhatIsAnsweredDuringShutdownArrives(t *testing.T) {
	server := startTub(t, identity(t, anyID))
	server.listen(t, "127.0.0.1:0")
	begun := make(chan struct{})
	f, err := server.Register(tub.NewObject(tub.Method("last", func(context.Context, tub.None) ([]byte, error) {
		close(begun)
		return pypeer.PatternBytes(4 << 20), nil
	})))
	require.NoError(t, err)
	client := startTub(t, identity(t, anyID))
	var closing sync.WaitGroup
	closing.Go(func() {
		<-begun
		assert.NoError(t, server.Shutdown(within(t)))
	})
	answer, err := tub.Call[[]byte](within(t), client.Ref(f), "last")
	require.NoError(t, err)
	assert.Len(t, answer, 4<<20)
	closing.Wait()
}

func TestATubEndsSoonAlsoIfItsPeerIsGone(t *testing.T) {
	server := startTub(t, identity(t, anyID))
	addr := server.listen(t, "127.0.0.1:0", "quic:192.0.2.1:9")
	way := startRelay(t, addr, 0)
	f := server.desk(t)
	f.Hints = []furl.Hint{way.hint()}
	client := startTub(t, identity(t, anyID))
	assertAdds(t, client.Ref(f))
	way.front.Close()
	began := time.Now()
	require.NoError(t, client.Close())
	assert.Less(t, time.Since(began), 3*time.Second)
}
