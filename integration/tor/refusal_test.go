package tor

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// dial dials a hint and closes the stream.
func dial(t *testing.T, via *tor.Tor, hint furl.Hint) error {
	t.Helper()
	h, err := tor.New(via)
	require.NoError(t, err)
	defer h.Close()
	stream, err := handlers.Dial(within(t), h, handlers.DialRequest{Hint: hint})
	if err == nil {
		require.NoError(t, stream.Close())
	}
	return err
}

// requireReply makes sure that a dial has failed by this reply of tor, and what the error means.
func requireReply(t *testing.T, err error, code socks.ReplyCode, meanings ...error) {
	t.Helper()
	var reply *tor.ReplyError
	require.ErrorAs(t, err, &reply)
	assert.Equal(t, code, reply.Code)
	for _, meaning := range meanings {
		assert.ErrorIs(t, err, meaning)
	}
	var failure *handlers.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, handlers.PhaseProxy, failure.Phase)
}

// dialRetrying dials until what happens is final: a circuit may break at any time, also on the way to a refusal.
func dialRetrying(t *testing.T, via *tor.Tor, hint furl.Hint, final func(error) bool) error {
	t.Helper()
	ctx := within(t)
	for {
		err := dial(t, via, hint)
		if final(err) || ctx.Err() != nil {
			return err
		}
		t.Logf("another attempt: %v", err)
	}
}

// replied is for dialRetrying: this reply of tor is final.
func replied(code socks.ReplyCode) func(error) bool {
	return func(err error) bool {
		var reply *tor.ReplyError
		return errors.As(err, &reply) && reply.Code == code
	}
}

func newKey(t *testing.T) *ecdh.PrivateKey {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func TestClientAuthorisation(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	client := network.Client(t)
	authorised := newKey(t)
	f, l := listen(t, newTub(t, nil), byControl(client), tor.WithAuthorizedClients(newKey(t).PublicKey(), authorised.PublicKey()))
	with := func(key *ecdh.PrivateKey) *tor.Tor {
		keys := map[string]*ecdh.PrivateKey{}
		if key != nil {
			keys[l.Onion()] = key
		}
		return tor.Control(tor.ControlConfig{Address: client.ControlPort, SOCKS: client.SOCKSExtended, ClientKeys: keys})
	}
	t.Run("without a key", func(t *testing.T) {
		err := dialRetrying(t, with(nil), f.Hints[0], func(err error) bool { return errors.Is(err, tor.ErrClientKeyMissing) })
		requireReply(t, err, 0xF4, tor.ErrClientKeyMissing, handlers.ErrProxyRefused)
	})
	t.Run("with another key", func(t *testing.T) {
		err := dialRetrying(t, with(newKey(t)), f.Hints[0], func(err error) bool { return errors.Is(err, tor.ErrClientKeyWrong) })
		requireReply(t, err, 0xF5, tor.ErrClientKeyWrong, handlers.ErrProxyRefused)
	})
	t.Run("with an authorised key", func(t *testing.T) {
		requireAnswer(t, connect(t, newTub(t, with(authorised)), f))
	})
	t.Run("without the key, once its handler is closed", func(t *testing.T) {
		response, err := client.Control().SendRequest("ONION_CLIENT_AUTH_VIEW")
		require.NoError(t, err)
		for _, line := range response.RawLines {
			assert.NotContains(t, line, l.Onion()[:56])
		}
	})
}

func TestServicesThatCannotBeReached(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	client := network.Client(t)
	// It is an address like any other, but nobody has published it.
	gone, err := tor.Listen(within(t), byControl(client), servicePort)
	require.NoError(t, err)
	require.NoError(t, gone.Close())

	served := newTub(t, nil)
	f, l := listen(t, served, byControl(client))
	up := l.Onion()
	backend := l.Addr().(*net.TCPAddr)
	require.NotZero(t, backend.Port)

	plain, extended := tor.SOCKS(client.SOCKS), tor.SOCKS(client.SOCKSExtended)
	for name, test := range map[string]struct {
		via     *tor.Tor
		hint    furl.Hint
		code    socks.ReplyCode
		meaning error
	}{
		"one that is not published, with extended errors":    {extended, furl.StreamHint("tor", gone.Onion(), servicePort), 0xF0, tor.ErrNotPublished},
		"one that is not published, without extended errors": {plain, furl.StreamHint("tor", gone.Onion(), servicePort), socks.HostUnreachable, tor.ErrNotPublished},
		"a port that the service does not have":              {extended, furl.StreamHint("tor", up, servicePort+1), socks.ConnectionRefused, handlers.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			err := dialRetrying(t, test.via, test.hint, replied(test.code))
			requireReply(t, err, test.code, test.meaning, handlers.ErrUnreachable)
		})
	}
	t.Run("one whose program is down", func(t *testing.T) {
		// The onion service of tor's own, so that it outlives what is behind it.
		down, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := down.Addr().(*net.TCPAddr).Port
		require.NoError(t, down.Close())
		response, err := client.Control().SendRequest("ADD_ONION NEW:ED25519-V3 Flags=DiscardPK,Detach Port=%d,127.0.0.1:%d", servicePort, port)
		require.NoError(t, err)
		onion := response.Data[0][len("ServiceID="):] + ".onion"
		hint := furl.StreamHint("tor", onion, servicePort)
		err = dialRetrying(t, extended, hint, replied(socks.GeneralFailure))
		requireReply(t, err, socks.GeneralFailure, handlers.ErrUnreachable)
		_, err = client.Control().SendRequest("DEL_ONION %s", onion[:56])
		require.NoError(t, err)
	})
	requireAnswer(t, connect(t, newTub(t, plain), f))
}

func TestHintsForTheOpenInternet(t *testing.T) {
	t.Parallel()
	client := tornet.Shared(t).Start(t, tornet.Options{Torrc: []string{"MapAddress server.test " + tornet.PublicIP}})
	l, err := net.Listen("tcp", net.JoinHostPort(tornet.PublicIP, "0"))
	require.NoError(t, err)
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	accepted := make(chan net.Addr, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn.LocalAddr()
			conn.Close()
		}
	}()
	via := tor.SOCKS(client.SOCKSExtended)

	for _, typ := range []string{"tor", "tcp"} {
		err = dialRetrying(t, via, furl.StreamHint(typ, "server.test", port), func(err error) bool { return err == nil })
		require.NoError(t, err)
		assert.Equal(t, net.JoinHostPort(tornet.PublicIP, strconv.Itoa(int(port))), (<-accepted).String())
	}
	err = dial(t, via, furl.StreamHint("tcp", tornet.PublicIP, port))
	assert.ErrorIs(t, err, handlers.ErrInvalidHint, "Foolscap refuses addresses for documentation, too")

	require.NoError(t, l.Close())
	<-done
	err = dialRetrying(t, via, furl.StreamHint("tcp", "server.test", port), replied(socks.GeneralFailure))
	requireReply(t, err, socks.GeneralFailure, handlers.ErrUnreachable)
	err = dialRetrying(t, via, "tcp:unknown.test:80", replied(socks.HostUnreachable))
	requireReply(t, err, socks.HostUnreachable, handlers.ErrUnreachable)
}
