package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// callerReads reports whether callers of the side read for themselves.
func (s *side) callerReads() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.role.serial >= serialCalls
}

// serially makes calls, one after the other, until callers read for
// themselves.
func serially(t *testing.T, client *side, ref *Remote) {
	t.Helper()
	eventually(t, "callers read for themselves", func() bool {
		_, err := call[int](t.Context(), ref, "add", 1, 2)
		require.NoError(t, err)
		return client.callerReads()
	})
}

func addRoot(more ...*Method) *Object {
	return NewObject("", nil, append(more,
		NewMethod("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }))...)
}

func TestACallerWhoReadsIsReleasedWhenHisContextEnds(t *testing.T) {
	release := make(chan struct{})
	running := make(chan struct{}, 1)
	client, _, ref := instantly(t, addRoot(method("wait", func(context.Context) (int, error) {
		running <- struct{}{}
		<-release
		return 7, nil
	}).Concurrent()))
	defer close(release)
	for range 3 {
		serially(t, client, ref)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-running
			cancel()
		}()
		_, err := call[int](ctx, ref, "wait")
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, MayHaveRun, callError(t, err).Sent)
	}
	serially(t, client, ref)
}

// answersOf plays a peer that answers "add" with 3, and otherwise what the
// test sends.
type answersOf struct {
	conn net.Conn
	num  uint64
	dec  *banana.Decoder
}

// next reads a call and returns its request number.
func (a *answersOf) next(t *testing.T) int64 {
	t.Helper()
	_, err := a.dec.Begin()
	require.NoError(t, err)
	req, err := a.dec.Int("the request number")
	require.NoError(t, err)
	require.NoError(t, a.dec.Skip())
	return req
}

func (a *answersOf) answer(req int64, n int64) []byte {
	b := banana.AppendToken(nil, banana.TypeOpen, a.num)
	b = banana.AppendWord(b, 1, "answer")
	b = banana.AppendInt(b, req)
	b = banana.AppendInt(b, n)
	b = banana.AppendToken(b, banana.TypeClose, a.num)
	a.num++
	return b
}

func TestACallerIsReleasedInTheMiddleOfAMessage(t *testing.T) {
	noLeaks(t)
	c, s := tcpPair(t)
	defer s.Close()
	stream := NewStream(c)
	client := newSide(t, Link{Conn: stream, Stream: stream, Vocab: 1}, nil)
	cfg := &banana.DecoderConfig{Vocab: 1, Limits: banana.Limits{}.WithDefaults()}
	peer := &answersOf{conn: s, dec: banana.NewDecoder(s, nil, cfg)}
	call := func(ctx context.Context) (int, error) {
		var n int
		p, err := client.start(ctx, callee{}, "anything", Args{}, &n, codec[int](), true)
		if err == nil {
			err = p.wait(ctx)
		}
		return n, err
	}
	for range 3 {
		type result struct {
			n   int
			err error
		}
		for i := range 2 * serialCalls {
			got := make(chan result, 1)
			go func() {
				n, err := call(t.Context())
				got <- result{n, err}
			}()
			_, err := s.Write(peer.answer(peer.next(t), int64(i)))
			require.NoError(t, err)
			r := within(t, "the answer arrives", got)
			require.NoError(t, r.err)
			require.Equal(t, i, r.n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan result, 1)
		go func() {
			n, err := call(ctx)
			got <- result{n, err}
		}()
		whole := peer.answer(peer.next(t), 1<<20)
		_, err := s.Write(whole[:len(whole)-3])
		require.NoError(t, err)
		// The number of bytes that came is what shows that the half
		// message is being read.
		eventually(t, "the half answer is read", func() bool {
			return time.Since(start)-time.Duration(client.received.Load()) > 2*time.Millisecond
		})
		cancel()
		r := within(t, "the caller is released", got)
		require.ErrorIs(t, r.err, context.Canceled)
		_, err = s.Write(whole[len(whole)-3:])
		require.NoError(t, err)
	}
}

func TestTheEndOfTheConnectionReachesACallerWhoReads(t *testing.T) {
	running := make(chan struct{}, 1)
	root := addRoot(method("wait", func(ctx context.Context) (int, error) {
		running <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	}).Concurrent())
	for _, who := range []string{"client", "server"} {
		t.Run("closed by the "+who, func(t *testing.T) {
			client, server, ref := instantly(t, root)
			serially(t, client, ref)
			go func() {
				<-running
				map[string]*side{"client": client, "server": server}[who].Close(nil)
			}()
			_, err := call[int](t.Context(), ref, "wait")
			require.ErrorIs(t, err, ErrDeadReference)
			within(t, "the connection is done", client.Done())
		})
		t.Run("closed by the "+who+" while nobody reads", func(t *testing.T) {
			client, server, ref := instantly(t, root)
			serially(t, client, ref)
			map[string]*side{"client": client, "server": server}[who].Close(nil)
			within(t, "the connection is done", client.Done())
		})
	}
}

func TestThePeersCallsAreReadWhileNobodyElseCalls(t *testing.T) {
	client, server := connect(t, network{"TLS", tlsLinks}, addRoot(), addRoot())
	there, back := client.root(t), server.root(t)
	for range 5 {
		serially(t, client, there)
		n, err := call[int](t.Context(), back, "add", 3, 4)
		require.NoError(t, err)
		require.Equal(t, 7, n)
		serially(t, server, back)
	}
}

func TestAloneTogetherAndCancelledInAnyOrder(t *testing.T) {
	client, server, ref := instantly(t, addRoot(
		NewMethod("nap", func(ctx context.Context, a struct{ Microseconds int }) (int, error) {
			select {
			case <-time.After(time.Duration(a.Microseconds) * time.Microsecond):
			case <-ctx.Done():
			}
			return a.Microseconds, nil
		}).Concurrent()))
	rnd := rand.New(rand.NewPCG(1, 2))
	one := func(patience time.Duration, nap int) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		n, err := call[int](ctx, ref, "nap", nap)
		if err == nil {
			assert.Equal(t, nap, n)
			return
		}
		assert.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
	}
	for range 150 {
		for range rnd.IntN(2 * serialCalls) {
			_, err := call[int](t.Context(), ref, "add", 1, 1)
			require.NoError(t, err)
		}
		var wg sync.WaitGroup
		for range 1 + rnd.IntN(3) {
			patience, nap := time.Duration(rnd.IntN(1500))*time.Microsecond, rnd.IntN(1500)
			wg.Go(func() { one(patience, nap) })
		}
		wg.Wait()
	}
	require.NoError(t, client.Err())
	eventually(t, "nothing is left", func() bool {
		return client.Tables().Outbound == 0 && server.Tables().Inbound == 0
	})
}

func TestACallerDoesNotReadOnWhenHisAnswerHasBeenRead(t *testing.T) {
	// Between the two moments in which the reading rests and the caller is
	// told, he must not begin to wait for another message.
	s := fuzzSide(Link{Conn: newScript(nil, 1, false), Vocab: 1}, noneRoot())
	defer func() {
		s.Start()
		within(t, "nothing is left", s.Done())
	}()
	p := &Pending{b: s.Broker, req: 5}
	s.mu.Lock()
	s.calls.add(p)
	s.calls.remove(p)
	s.role.vacant = true
	s.mu.Unlock()
	require.False(t, s.takeReading(p), "his answer is not expected any more")
	require.True(t, s.role.vacant, "the reading rests on")
	p = &Pending{b: s.Broker, req: 5}
	s.calls.add(p)
	require.True(t, s.takeReading(p))
	require.False(t, s.role.vacant)
	s.calls.remove(p)
}

func TestCallersMayBeLockedToTheirThread(t *testing.T) {
	// What reads for them must not depend on the goroutine that has begun it.
	for _, n := range []network{networks[len(networks)-1]} {
		c, _ := connect(t, n, nil, addRoot())
		r := c.root(t)
		for range 3 {
			serially(t, c, r)
			done := make(chan error)
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				var err error
				for range 2 * serialCalls {
					_, err = call[int](t.Context(), r, "add", 1, 2)
				}
				done <- err
			}()
			require.NoError(t, within(t, "the calls of a locked goroutine", done))
		}
	}
}

func TestACallerLeavesLongAnswersToAReader(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		c, _ := connect(t, n, nil, addRoot(NewMethod("much", func(_ context.Context, a struct{ N int }) ([]byte, error) {
			return pattern(a.N, 1), nil
		})))
		r := c.root(t)
		for _, size := range []int{10, 4000, 4090, 4096, 5000, 100_000, 1 << 20} {
			if c.stream != nil {
				serially(t, c, r)
			}
			ctx, cancel := context.WithCancel(t.Context())
			got, err := call[[]byte](ctx, r, "much", size)
			cancel()
			require.NoError(t, err)
			requireSame(t, pattern(size, 1), got)
		}
	})
}
