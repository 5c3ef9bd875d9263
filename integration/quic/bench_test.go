package quic_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

// BenchmarkBulkFarAway sends 32 MiB over a fresh connection, with a round trip of 50 ms: what receive windows are for.
func BenchmarkBulkFarAway(b *testing.B) {
	const size, oneWay = 32 << 20, 25 * time.Millisecond
	id, other := identity(b, anyID), identity(b, anyID)
	send := func(b *testing.B, from io.Writer, to io.Reader) {
		sent := make(chan error, 1)
		go func() {
			_, err := from.Write(make([]byte, size))
			sent <- err
		}()
		_, err := io.CopyN(io.Discard, to, size)
		require.NoError(b, err)
		require.NoError(b, <-sent)
	}
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			b.StopTimer()
			l, err := quic.Listen(b.Context(), "127.0.0.1:0", certificate(b, id))
			require.NoError(b, err)
			way := startRelay(b, l.Addr().(*net.UDPAddr), oneWay)
			h := quic.New()
			dialled, err := h.Dial(within(b), handlers.DialRequest{Hint: way.hint(), Target: id.TubID(), Identity: certificate(b, other)})
			require.NoError(b, err)
			accepted, err := l.Accept()
			require.NoError(b, err)
			b.StartTimer()
			send(b, dialled, accepted)
			b.StopTimer()
			accepted.Close()
			dialled.Close()
			l.Close()
			h.Close()
			b.StartTimer()
		}
	})
	for _, w := range []struct{ first, most uint64 }{
		{512 << 10, 1 << 20}, {512 << 10, 2 << 20}, {512 << 10, 4 << 20}, {128 << 10, 8 << 20}, {512 << 10, 8 << 20}, {2 << 20, 8 << 20}, {512 << 10, 16 << 20},
	} {
		b.Run(fmt.Sprintf("bare with windows from %d to %d KiB", w.first>>10, w.most>>10), func(b *testing.B) {
			b.SetBytes(size)
			config := &quicgo.Config{
				InitialStreamReceiveWindow: w.first, MaxStreamReceiveWindow: w.most,
				InitialConnectionReceiveWindow: w.first, MaxConnectionReceiveWindow: w.most,
			}
			security := tlsConfig(certificate(b, id))
			for b.Loop() {
				b.StopTimer()
				here, there := bareTransport(b), bareTransport(b)
				l, err := there.Listen(security, config)
				require.NoError(b, err)
				way := startRelay(b, l.Addr().(*net.UDPAddr), oneWay)
				conn, err := here.Dial(b.Context(), way.front.LocalAddr(), security, config)
				require.NoError(b, err)
				from, err := conn.OpenStream()
				require.NoError(b, err)
				_, err = from.Write([]byte{0})
				require.NoError(b, err)
				accepted, err := l.Accept(b.Context())
				require.NoError(b, err)
				to, err := accepted.AcceptStream(b.Context())
				require.NoError(b, err)
				_, err = to.Read(make([]byte, 1))
				require.NoError(b, err)
				b.StartTimer()
				send(b, from, to)
				b.StopTimer()
				here.Close()
				there.Close()
				b.StartTimer()
			}
		})
	}
}

// bareTransport is quic-go on a socket of its own.
func bareTransport(b *testing.B) *quicgo.Transport {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	return &quicgo.Transport{Conn: conn}
}

// BenchmarkCallOfTubs is a call with an answer over a connection that is there, over quic and over tcp.
func BenchmarkCallOfTubs(b *testing.B) {
	for _, transport := range []string{"quic", "tcp"} {
		b.Run(transport, func(b *testing.B) {
			server, client := startTub(b, identity(b, anyID)), startTub(b, identity(b, anyID))
			if transport == "quic" {
				server.listen(b, "127.0.0.1:0")
			} else {
				l, err := tcp.Listen(b.Context(), "127.0.0.1:0")
				require.NoError(b, err)
				_, err = server.Listen(l)
				require.NoError(b, err)
			}
			ref, err := client.Connect(within(b), server.desk(b))
			require.NoError(b, err)
			for b.Loop() {
				_, err := tub.Call[int](b.Context(), ref, "add", 1, 2)
				require.NoError(b, err)
			}
		})
	}
}
