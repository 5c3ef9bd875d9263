package quic_test

import (
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
)

// closeCode waits for the peer of conn to end it, and returns why.
func closeCode(t *testing.T, conn *quicgo.Conn) quic.CloseCode {
	t.Helper()
	_, err := conn.AcceptStream(t.Context())
	var reason *quicgo.ApplicationError
	require.ErrorAs(t, err, &reason)
	assert.True(t, reason.Remote)
	assert.Empty(t, reason.ErrorMessage)
	return quic.CloseCode(reason.ErrorCode)
}

func TestAConnectionHasOneStream(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	conn, err := bareClient(t, l, bareConfig(alice()))
	require.NoError(t, err)
	str, err := conn.OpenStream()
	require.NoError(t, err)
	_, err = str.Write([]byte{0})
	require.NoError(t, err)
	accepted, err := l.Accept()
	require.NoError(t, err)

	_, err = conn.OpenStream()
	assert.Error(t, err, "no second stream")
	_, err = conn.OpenUniStream()
	assert.Error(t, err, "no unidirectional one")
	assert.False(t, conn.ConnectionState().SupportsDatagrams.Remote)

	require.NoError(t, str.Close())
	require.NoError(t, accepted.Close())
	assert.Equal(t, quic.CloseDone, closeCode(t, conn))
}

func TestADiallerTakesNoStreams(t *testing.T) {
	l := bareServer(t, bareConfig(bob()), nil)
	stream, err := newHandler(t).Dial(t.Context(), toBob(hintOf(l.Addr())))
	require.NoError(t, err)
	defer stream.Close()
	conn, err := l.Accept(t.Context())
	require.NoError(t, err)
	_, err = conn.OpenStream()
	assert.Error(t, err)
	_, err = conn.OpenUniStream()
	assert.Error(t, err)
	assert.False(t, conn.ConnectionState().SupportsDatagrams.Remote)
}

func TestStreamsThatDoNotBeginAsTheyHaveTo(t *testing.T) {
	for name, test := range map[string]struct {
		begin func(*quicgo.Conn) error
		code  quic.CloseCode
	}{
		"another first byte": {func(c *quicgo.Conn) error {
			str, err := c.OpenStream()
			if err != nil {
				return err
			}
			_, err = str.Write([]byte("GET"))
			return err
		}, quic.CloseProtocol},
		"no byte at all": {func(c *quicgo.Conn) error {
			str, err := c.OpenStream()
			if err != nil {
				return err
			}
			return str.Close()
		}, quic.CloseProtocol},
		"no stream": {func(*quicgo.Conn) error { return nil }, quic.CloseSilent},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "127.0.0.1:0", quic.WithHandshakeTimeout(300*time.Millisecond))
			conn, err := bareClient(t, l, bareConfig(alice()))
			require.NoError(t, err)
			require.NoError(t, test.begin(conn))
			assert.Equal(t, test.code, closeCode(t, conn))
		})
	}
}

func TestConnectionsThatNobodyAcceptsEndWithTheListener(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	stream, err := newHandler(t).Dial(t.Context(), toBob(hintOf(l.Addr())))
	require.NoError(t, err)
	defer stream.Close()
	require.NoError(t, l.Close())
	_, err = stream.Read(make([]byte, 1))
	var reason *quic.CloseError
	if errors.As(err, &reason) {
		assert.Equal(t, quic.CloseUnwanted, reason.Code)
	} else {
		assert.ErrorIs(t, err, quic.ErrBusy, "the end came before the listener knew who we are")
	}
}

// stuck begins handshakes that do not go on until the test ends: the client looks at the server's certificate for ever.
func stuck(t *testing.T, l *quic.Listener, n int) {
	t.Helper()
	release := make(chan struct{})
	looking := make(chan struct{})
	config := bareConfig(alice())
	config.VerifyConnection = func(tls.ConnectionState) error {
		looking <- struct{}{}
		<-release
		return nil
	}
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() { bareClient(t, l, config) })
		<-looking
	}
	t.Cleanup(func() {
		close(release)
		clients.Wait()
	})
}

// firstAnswer is the packet by which l answers the first one of a dial, whose client hears nothing of it.
func firstAnswer(t *testing.T, l *quic.Listener) []byte {
	t.Helper()
	silent := udp(t)
	h := quic.New()
	var dialling sync.WaitGroup
	dialling.Go(func() { h.Dial(t.Context(), toBob(hintOf(silent.LocalAddr()))) })
	packet := make([]byte, 1500)
	n, _, err := silent.ReadFromUDP(packet)
	require.NoError(t, err)
	require.NoError(t, h.Close())
	dialling.Wait()
	_, err = silent.WriteTo(packet[:n], l.Addr())
	require.NoError(t, err)
	for { // past the rest of the client's first flight
		n, from, err := silent.ReadFrom(packet)
		require.NoError(t, err)
		if from.String() == l.Addr().String() {
			return packet[:n]
		}
	}
}

// isRetry recognises the long header of a Retry packet (RFC 9000 section 17.2.5).
func isRetry(packet []byte) bool { return packet[0]>>4 == 0b1111 }

func TestHandshakesInProgressAreBounded(t *testing.T) {
	l := listen(t, "127.0.0.1:0", quic.WithHandshakes(16))
	h := newHandler(t)
	assert.False(t, isRetry(firstAnswer(t, l)))
	stuck(t, l, 3)
	assert.True(t, isRetry(firstAnswer(t, l)), "a quarter is taken: an address has to be proven")
	connect(t, h, hintOf(l.Addr()), l) // nevertheless

	stuck(t, l, 4) // half of all are from one address now
	err := dialError(t, h, toBob(hintOf(l.Addr())))
	assert.Equal(t, handlers.PhaseTransport, err.Phase)
	assert.ErrorIs(t, err, quic.ErrBusy)
}

func TestAHandshakeThatTakesTooLongGivesUpItsPlace(t *testing.T) {
	l := listen(t, "127.0.0.1:0", quic.WithHandshakes(2), quic.WithHandshakeTimeout(400*time.Millisecond))
	h := newHandler(t)
	stuck(t, l, 1)
	err := dialError(t, h, toBob(hintOf(l.Addr())))
	require.ErrorIs(t, err, quic.ErrBusy)
	greet(t, l)
	for deadline := time.Now().Add(10 * time.Second); ; {
		stream, err := h.Dial(t.Context(), toBob(hintOf(l.Addr())))
		if err == nil {
			stream.Close()
			return
		}
		require.ErrorIs(t, err, quic.ErrBusy)
		require.True(t, time.Now().Before(deadline), "the place never becomes free")
	}
}
