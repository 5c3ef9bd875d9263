//go:build unix

package broker

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// socketPair is a connection of the kernel's that costs little.
func socketPair(t testing.TB) (net.Conn, net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	var conns [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "")
		conns[i], err = net.FileConn(file)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	return conns[0], conns[1]
}

// FuzzConnectionOverAStream lets a hostile peer play with callers that read
// their answers themselves, and that give up now and then.
func FuzzConnectionOverAStream(f *testing.F) {
	for i := range 64 {
		f.Add(pattern(20+10*i, byte(i)), uint8(i))
	}
	f.Fuzz(func(t *testing.T, input []byte, how uint8) {
		g := generator{input: input}
		g.opens = serialCalls + 2
		for len(g.input) > 0 && len(g.buf) < 16<<10 {
			g.message()
		}
		var k keeper
		ours, theirs := socketPair(t)
		stream := NewStream(ours)
		root := fuzzRoot(&k)
		s := fuzzSide(Link{Conn: stream, Stream: stream, Vocab: 1, Pipelines: true, Streams: true}, root)
		s.publish(1, root)
		s.mu.Lock()
		target := &proxy{clid: 4, handles: 1, received: 1}
		s.refs.imports[4] = target
		s.mu.Unlock()
		r := &Remote{b: s.Broker, p: target}
		s.Start()

		var wg sync.WaitGroup
		played := make(chan struct{})
		wg.Go(func() {
			defer theirs.Close()
			defer close(played)
			room := make([]byte, 64<<10)
			for i := range serialCalls + 2 {
				if _, err := theirs.Read(room); err != nil {
					return
				}
				w := wire{opens: uint64(i)}
				w.add(answerSeq(int64(i+1), i))
				if _, err := theirs.Write(w.buf); err != nil {
					return
				}
			}
			step := max(1+int(how), len(g.buf)/64)
			for rest := g.buf; len(rest) > 0; {
				piece := rest[:min(step, len(rest))]
				rest = rest[len(piece):]
				if _, err := theirs.Write(piece); err != nil {
					return
				}
				if how&1 != 0 {
					theirs.SetReadDeadline(time.Now().Add(time.Millisecond))
					theirs.Read(room)
				}
			}
		})
		for range serialCalls + 2 {
			var got int
			require.NoError(t, r.Call(t.Context(), "m", Args{}, &got, codec[int]()))
		}
		for s.Err() == nil {
			ctx, cancel := context.WithCancel(t.Context())
			if how&2 != 0 {
				wg.Go(cancel)
			}
			var got any
			wg.Go(func() { // so that it is cancelled when nothing more comes
				select {
				case <-played:
					cancel()
				case <-ctx.Done():
				}
			})
			_ = r.Call(ctx, "m", Args{}, &got, codec[any]())
			cancel()
			if how&4 != 0 {
				wg.Go(func() { _ = r.Send(t.Context(), "m", Args{}) })
			}
		}
		within(t, "the connection is done", s.Done())
		wg.Wait()
		after(t, s)
		k.take()
	})
}
