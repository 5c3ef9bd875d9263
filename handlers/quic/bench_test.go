package quic_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// barePair is one stream of quic-go between two sockets of its own, with these receive windows and otherwise its defaults.
func barePair(b *testing.B, initial, most uint64) (client, server io.ReadWriter) {
	config := &quicgo.Config{
		InitialStreamReceiveWindow: initial, MaxStreamReceiveWindow: most,
		InitialConnectionReceiveWindow: initial, MaxConnectionReceiveWindow: most,
	}
	l := bareServer(b, bareConfig(bob()), config)
	transport := &quicgo.Transport{Conn: udp(b)}
	b.Cleanup(func() { transport.Close() })
	conn, err := transport.Dial(b.Context(), l.Addr(), bareConfig(alice()), config)
	require.NoError(b, err)
	stream, err := conn.OpenStream()
	require.NoError(b, err)
	_, err = stream.Write([]byte{0})
	require.NoError(b, err)
	accepted, err := l.Accept(b.Context())
	require.NoError(b, err)
	other, err := accepted.AcceptStream(b.Context())
	require.NoError(b, err)
	_, err = other.Read(make([]byte, 1))
	require.NoError(b, err)
	return stream, other
}

func ourPair(b *testing.B) (client, server net.Conn) {
	dialled, accepted := pair(b)
	return dialled, accepted
}

// BenchmarkCall is a small message and its answer.
func BenchmarkCall(b *testing.B) {
	run := func(b *testing.B, client, server io.ReadWriter) {
		const size = 100
		go func() {
			buf := make([]byte, size)
			for {
				if _, err := io.ReadFull(server, buf); err != nil {
					return
				}
				server.Write(buf)
			}
		}()
		buf := make([]byte, size)
		for b.Loop() {
			_, err := client.Write(buf)
			require.NoError(b, err)
			_, err = io.ReadFull(client, buf)
			require.NoError(b, err)
		}
	}
	b.Run("ours", func(b *testing.B) {
		client, server := ourPair(b)
		run(b, client, server)
	})
	b.Run("bare", func(b *testing.B) {
		client, server := barePair(b, 0, 0)
		run(b, client, server)
	})
}

// BenchmarkBulk is one way, until the other side has all of it. Besides ours it shows quic-go as it is, and with other
// receive windows.
func BenchmarkBulk(b *testing.B) {
	const size = 1 << 20
	run := func(b *testing.B, client, server io.ReadWriter) {
		b.SetBytes(size)
		got := make(chan error)
		go func() {
			buf := make([]byte, 64<<10)
			for {
				for left := size; left > 0; {
					n, err := server.Read(buf[:min(left, len(buf))])
					if err != nil {
						return
					}
					left -= n
				}
				got <- nil
			}
		}()
		buf := make([]byte, size)
		for b.Loop() {
			_, err := client.Write(buf)
			require.NoError(b, err)
			<-got
		}
	}
	b.Run("ours", func(b *testing.B) {
		client, server := ourPair(b)
		run(b, client, server)
	})
	b.Run("bare", func(b *testing.B) {
		client, server := barePair(b, 0, 0)
		run(b, client, server)
	})
	for _, w := range []struct{ initial, most uint64 }{{128 << 10, 1 << 20}, {256 << 10, 4 << 20}, {512 << 10, 8 << 20}, {1 << 20, 16 << 20}, {4 << 20, 16 << 20}} {
		b.Run(fmt.Sprintf("bare with %d to %d KiB", w.initial>>10, w.most>>10), func(b *testing.B) {
			client, server := barePair(b, w.initial, w.most)
			run(b, client, server)
		})
	}
}
