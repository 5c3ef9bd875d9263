package handlertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// concurrent: many dials at a time, whatever their isolation, each with a stream
// of its own.
func (k *kit) concurrent(t *testing.T) {
	h := k.handler(t)
	isolations := []string{"", "a", "\x00", "\xff\r\n", strings.Repeat("long", 1000)}
	const count = 20
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			req := k.request()
			req.Isolation = isolations[i%len(isolations)]
			o := k.dial(t.Context(), t, h, req)
			if !assert.NoError(t, o.err, "one of %d dials at a time, with the isolation %.10q", count, req.Isolation) {
				return
			}
			accepted, err := k.station.find(o.stream)
			if !assert.NoError(t, err, "the stream does not reach the acceptor") {
				o.stream.Close()
				return
			}
			assertTheyTalk(t, k, o.stream, accepted, "with others beside them")
			closeBoth(t, o.stream, accepted)
		})
	}
	all.Wait()
}

// parties: a stream says what it knows of the peer, and no more.
func (k *kit) parties(t *testing.T) {
	h := k.handler(t)
	dialled, accepted := k.station.pair(t, k, h)
	assert.Empty(t, accepted.Host, "Host of an accepted stream")
	if host, _, err := k.station.hint.HostPort(); err == nil {
		host, _, _ = strings.Cut(host, "%")
		assert.Equal(t, host, dialled.Host, "Host of the stream is that of the hint %q, without a zone", k.station.hint)
	} else {
		assert.False(t, strings.ContainsFunc(dialled.Host, func(r rune) bool { return r <= ' ' || r == '\x7f' }),
			"Host of the stream, %q, is not fit for a header line", dialled.Host)
	}
	for side, s := range map[string]handlers.Stream{"dialled": dialled, "accepted": accepted} {
		assert.NotNil(t, s.LocalAddr(), "LocalAddr of the stream that was %s", side)
		assert.NotNil(t, s.RemoteAddr(), "RemoteAddr of the stream that was %s", side)
	}
	if !k.cfg.Authenticates {
		assert.Nil(t, dialled.Peer, "Peer of the stream that was dialled, by a transport that does not authenticate (see Config.Authenticates)")
		assert.Nil(t, accepted.Peer, "Peer of the stream that was accepted, by a transport that does not authenticate (see Config.Authenticates)")
		return
	}
	if assert.NotNil(t, dialled.Peer, "Peer of the stream that was dialled") {
		assert.Equal(t, k.server.tubID(), furl.TubIDOf(dialled.Peer.Raw), "the Tub that was dialled")
	}
	if assert.NotNil(t, accepted.Peer, "Peer of the stream that was accepted") {
		assert.Equal(t, k.client.tubID(), furl.TubIDOf(accepted.Peer.Raw), "the Tub that has dialled")
	}

	t.Run("when another Tub is wanted", func(t *testing.T) {
		req := k.request()
		req.Target = k.client.tubID()
		o := k.dial(t.Context(), t, h, req)
		if o.err != nil {
			assert.ErrorIs(t, o.err, handlers.ErrWrongTub, "another Tub answers than the one that is wanted")
			return
		}
		defer o.stream.Close()
		if assert.NotNil(t, o.stream.Peer) {
			assert.Equal(t, k.server.tubID(), furl.TubIDOf(o.stream.Peer.Raw), "the Tub that has answered instead of the one that was wanted")
		}
	})
}

// bulk: much data crosses unharmed, both ways at a time.
func (k *kit) bulk(t *testing.T) {
	dialled, accepted := k.station.pair(t, k, k.handler(t))
	deadline := time.Now().Add(6 * k.cfg.Timeout)
	var all sync.WaitGroup
	for side, ends := range map[string][2]net.Conn{
		"to the acceptor": {dialled, accepted}, "from the acceptor": {accepted, dialled},
	} {
		require.NoError(t, ends[0].SetDeadline(deadline))
		seed := sha256.Sum256([]byte(side))
		data := func() io.Reader { return io.LimitReader(rand.NewChaCha8(seed), k.cfg.Bulk) }
		all.Go(func() {
			_, err := io.CopyBuffer(struct{ io.Writer }{ends[0]}, data(), make([]byte, 100_000))
			assert.NoError(t, err, "sending %d bytes %s", k.cfg.Bulk, side)
		})
		all.Go(func() {
			want, got := sha256.New(), sha256.New()
			io.Copy(want, data())
			n, err := io.Copy(got, io.LimitReader(struct{ io.Reader }{ends[1]}, k.cfg.Bulk))
			assert.NoError(t, err, "after %d of %d bytes %s", n, k.cfg.Bulk, side)
			assert.Equal(t, k.cfg.Bulk, n, "bytes %s", side)
			assert.True(t, bytes.Equal(want.Sum(nil), got.Sum(nil)), "what arrives %s is not what was sent", side)
		})
	}
	all.Wait()
}

// netConn: both ends of a stream are what net.Conn says.
func (k *kit) netConn(t *testing.T) {
	for name, turn := range map[string]func(a, b net.Conn) (net.Conn, net.Conn){
		"dialled":  func(a, b net.Conn) (net.Conn, net.Conn) { return a, b },
		"accepted": func(a, b net.Conn) (net.Conn, net.Conn) { return b, a },
	} {
		t.Run(name, func(t *testing.T) {
			h := k.handler(t)
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				o := k.dial(t.Context(), t, h, k.request())
				if o.err != nil {
					return nil, nil, nil, o.err
				}
				accepted, err := k.station.find(o.stream)
				if err != nil {
					o.stream.Close()
					return nil, nil, nil, fmt.Errorf("the stream does not reach the acceptor: %w", err)
				}
				a, b := turn(o.stream.Conn, accepted.Conn)
				return a, b, func() { closeBoth(t, a, b) }, nil
			})
		})
	}
}

// halfOpen: peers that say nothing keep nobody waiting, those that go at once do no
// harm, and one that has gone is noticed.
func (k *kit) halfOpen(t *testing.T) {
	const strangers = 8
	t.Run("that say nothing", func(t *testing.T) {
		h := k.handler(t)
		for range strangers {
			if k.cfg.HalfOpen != nil {
				k.cfg.HalfOpen(t, k.station.hint)
				continue
			}
			o := k.dial(t.Context(), t, h, k.request())
			require.NoError(t, o.err)
			t.Cleanup(func() { o.stream.Close() })
		}
		dialled, accepted := k.station.pair(t, k, h)
		assertTheyTalk(t, k, dialled, accepted, "beside peers that say nothing")
	})
	t.Run("that go at once", func(t *testing.T) {
		h := k.handler(t)
		for range strangers {
			ctx, cancel := context.WithCancel(t.Context())
			d := k.start(ctx, h, k.request())
			cancel()
			if o := d.wait(t, atOnce, "its context was cancelled"); o.err == nil {
				o.stream.Close()
			}
			o := k.dial(t.Context(), t, h, k.request())
			require.NoError(t, o.err)
			o.stream.Close()
		}
		dialled, accepted := k.station.pair(t, k, h)
		assertTheyTalk(t, k, dialled, accepted, "after peers that have gone at once")
		assert.NoError(t, k.station.acceptErr(), "Accept is not to fail because of a peer")
	})
	for name, turn := range map[string]func(dialled, accepted net.Conn) (gone, left net.Conn){
		"that have dialled and go":  func(d, a net.Conn) (net.Conn, net.Conn) { return d, a },
		"that have accepted and go": func(d, a net.Conn) (net.Conn, net.Conn) { return a, d },
	} {
		t.Run(name, func(t *testing.T) {
			dialled, accepted := k.station.pair(t, k, k.handler(t))
			gone, left := turn(dialled, accepted)
			deadline := time.Now().Add(k.cfg.Timeout)
			require.NoError(t, left.SetDeadline(deadline))
			require.NoError(t, gone.SetWriteDeadline(deadline))
			const last = "Farewell!"
			said := make(chan error, 1)
			go func() { // either call may wait for the last words to arrive
				_, err := io.WriteString(gone, last)
				said <- err
				gone.Close()
			}()
			got := make([]byte, len(last))
			_, err := io.ReadFull(left, got)
			require.NoError(t, err, "the last words before Close arrive")
			assert.Equal(t, last, string(got))
			require.NoError(t, <-said)
			_, err = left.Read(got)
			assert.Error(t, err)
			assert.False(t, errors.Is(err, os.ErrDeadlineExceeded), "a Read does not notice that the peer has gone")
			for err = nil; err == nil; {
				_, err = left.Write(make([]byte, 100_000))
			}
			assert.False(t, errors.Is(err, os.ErrDeadlineExceeded), "Writes do not notice that the peer has gone")
		})
	}
}
