package quic_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestAnotherTubAnswers(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	for name, target := range map[string]furl.TubID{"than the one wanted": idOf(alice()), "and none was wanted": ""} {
		t.Run(name, func(t *testing.T) {
			req := toBob(hintOf(l.Addr()))
			req.Target = target
			err := dialError(t, newHandler(t), req)
			assert.Equal(t, handlers.PhaseTransport, err.Phase)
			assert.ErrorIs(t, err, handlers.ErrWrongTub)
			assert.NotErrorIs(t, err, handlers.ErrUnreachable)
			assert.NotErrorIs(t, err, net.ErrClosed)
			assert.ErrorContains(t, err, string(idOf(bob())))
		})
	}
}

func TestAStrangerAtTheOtherEndLearnsNothing(t *testing.T) {
	config := bareConfig(alice()) // who is not the one wanted
	var hello *tls.ClientHelloInfo
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hello = h
		return nil, nil
	}
	config.VerifyConnection = func(tls.ConnectionState) error {
		t.Error("our certificate was shown")
		return nil
	}
	ended := make(chan error, 1)
	transport := &quicgo.Transport{
		Conn: udp(t),
		ConnContext: func(ctx context.Context, _ *quicgo.ClientInfo) (context.Context, error) {
			context.AfterFunc(ctx, func() { ended <- context.Cause(ctx) })
			return ctx, nil
		},
	}
	defer transport.Close()
	l, err := transport.Listen(config, nil)
	require.NoError(t, err)

	dialErr := dialError(t, newHandler(t), toBob(hintOf(l.Addr())))
	assert.ErrorIs(t, dialErr, handlers.ErrWrongTub)
	var reason *quicgo.TransportError
	require.ErrorAs(t, <-ended, &reason)
	assert.True(t, reason.Remote)
	assert.Empty(t, reason.ErrorMessage)
	// The first message of a handshake can be read by everybody on the way.
	assert.Empty(t, hello.ServerName)
	assert.NotContains(t, hello.Extensions, uint16(0), "there is no server name")
	assert.NotContains(t, hello.Extensions, uint16(41), "there is no earlier session")
	assert.NotContains(t, hello.Extensions, uint16(42), "there is no 0-RTT")
	assert.Equal(t, []string{quic.Protocol}, hello.SupportedProtos)
	assert.Equal(t, []uint16{tls.VersionTLS13}, hello.SupportedVersions)
}

func TestCertificatesThatAreRefused(t *testing.T) {
	t.Run("ours by the server, which shows in the stream", func(t *testing.T) {
		config := bareConfig(bob())
		config.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not this one") }
		l := bareServer(t, config, nil)
		stream, err := newHandler(t).Dial(t.Context(), toBob(hintOf(l.Addr())))
		require.NoError(t, err)
		defer stream.Close()
		_, err = stream.Read(make([]byte, 1))
		assert.ErrorIs(t, err, quic.ErrCertificate)
		assert.ErrorContains(t, err, "refused by the peer")
		_, err = stream.Write(make([]byte, 1))
		assert.ErrorIs(t, err, quic.ErrCertificate)
	})
	t.Run("a client's that has none", func(t *testing.T) {
		l := listen(t, "127.0.0.1:0")
		conn, err := bareClient(t, l, bareConfig(nil))
		if err == nil {
			_, err = conn.AcceptStream(t.Context())
		}
		var reason *quicgo.TransportError
		require.ErrorAs(t, err, &reason)
		assert.Equal(t, quicgo.TransportErrorCode(0x100+116), reason.ErrorCode, "certificate_required")
	})
	t.Run("ours by ourselves, since it has no key", func(t *testing.T) {
		_, err := quic.Listen(t.Context(), "127.0.0.1:0", &tls.Certificate{Certificate: bob().Certificate})
		assert.ErrorContains(t, err, "certificate and key")
	})
}

func TestAServiceOfAnotherProtocol(t *testing.T) {
	t.Run("over QUIC", func(t *testing.T) {
		config := bareConfig(bob())
		config.NextProtos = []string{"h3"}
		l := bareServer(t, config, nil)
		err := dialError(t, newHandler(t), toBob(hintOf(l.Addr())))
		assert.Equal(t, handlers.PhaseTransport, err.Phase)
		assert.ErrorIs(t, err, quic.ErrVersion)
	})
	t.Run("of a client", func(t *testing.T) {
		l := listen(t, "127.0.0.1:0")
		config := bareConfig(alice())
		config.NextProtos = []string{"h3"}
		_, err := bareClient(t, l, config)
		var reason *quicgo.TransportError
		require.ErrorAs(t, err, &reason)
		assert.Equal(t, quicgo.TransportErrorCode(0x100+120), reason.ErrorCode, "no_application_protocol")
	})
}

func TestAVersionOfQUICThatWeDoNotKnow(t *testing.T) {
	server := udp(t)
	go func() {
		// Version negotiation, as RFC 8999 section 6 has it: the connection IDs of the client, swapped, and versions.
		packet := make([]byte, 1500)
		n, client, err := server.ReadFromUDP(packet)
		if err != nil {
			return
		}
		ids := packet[5:n]
		to := ids[:1+ids[0]]
		from := ids[len(to):]
		from = from[:1+from[0]]
		answer := append([]byte{0x80, 0, 0, 0, 0}, from...)
		answer = append(answer, to...)
		answer = append(answer, 0x0a, 0x0b, 0x0c, 0x0d)
		server.WriteToUDP(answer, client)
	}()
	err := dialError(t, newHandler(t), toBob(hintOf(server.LocalAddr())))
	assert.Equal(t, handlers.PhaseTransport, err.Phase)
	assert.ErrorIs(t, err, quic.ErrVersion)
}
