package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// drain lets the peer take whatever comes, until the connection ends.
func (p *peer) drain() (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			if _, err := p.conn.Read(b); err != nil {
				return
			}
		}
	}()
	return done
}

// requireOverflow makes sure that the connection ends because the peer does
// not read, with the limit of that name.
func requireOverflow(t *testing.T, s *side, limit string) {
	t.Helper()
	within(t, "the connection ends", s.Done())
	require.ErrorIs(t, s.Err(), ErrOverflow)
	var l *banana.LimitError
	if limit != "" {
		require.ErrorAs(t, s.Err(), &l)
		require.Equal(t, limit, l.Limit)
	}
	require.Zero(t, s.conf.Account.Used())
}

func TestBothSidesAnswerALotAtOnce(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		answer := pattern(8<<20, 7)
		root := func() *Object {
			return NewObject("", nil, method("give", func(context.Context) ([]byte, error) { return answer, nil }))
		}
		c, s := connect(t, n, root(), root())
		var wg sync.WaitGroup
		for _, r := range []*Remote{c.root(t), s.root(t)} {
			for range 2 {
				wg.Go(func() {
					got, err := call[[]byte](t.Context(), r, "give")
					assert.NoError(t, err)
					assert.Len(t, got, len(answer))
					assert.Equal(t, answer[len(got)/2], got[len(got)/2])
				})
			}
		}
		wg.Wait()
		eventually(t, "nothing is charged", func() bool { return c.conf.Account.Used() == 0 && s.conf.Account.Used() == 0 })
	})
}

func TestAPeerThatDoesNotReadItsAnswersLosesItsConnection(t *testing.T) {
	answer := pattern(100<<10, 1)
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.AnswerQueue = 1 << 20 })
	s.publish(1, NewObject("", nil, method("give", func(context.Context) ([]byte, error) { return answer, nil })))
	for range 30 {
		p.send(callSeq(7, 1, "give"))
	}
	requireOverflow(t, s, "AnswerQueue")
	require.NotEmpty(t, s.Err().Error())
}

func TestAnAnswerThatIsLargerThanTheQueueIsNoOverflow(t *testing.T) {
	answer := pattern(1<<20, 1)
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.AnswerQueue = 64 << 10 })
	s.publish(1, NewObject("", nil, method("give", func(context.Context) ([]byte, error) { return answer, nil })))
	for range 3 {
		p.send(callSeq(7, 1, "give"))
		require.Equal(t, "answer", p.receive().kind())
		eventually(t, "it is through", func() bool { return s.conf.Account.Used() == 0 })
	}
}

func TestCallersAreReleasedWhileThePeerDoesNotRead(t *testing.T) {
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.SendQueue = 64 << 10 })
	r := p.offer(s, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	data := pattern(100<<10, 1)
	results := make(chan error, 100)
	for range 10 {
		go func() { results <- r.Call(ctx, "m", Args{Positional: []any{data}}, nil, nil) }()
	}
	eventually(t, "they are queued", func() bool { return s.Tables().Outbound == 10 })
	require.NoError(t, r.Send(ctx, "m", Args{Positional: []any{data}}), "there is room")
	for range 5 {
		go func() { results <- r.Send(ctx, "m", Args{Positional: []any{data}}) }()
		go func() {
			_, _, err := begin[any](ctx, r, "m", data)
			results <- err
		}()
	}
	eventually(t, "these wait for room", func() bool { return waiting(s) == 10 })
	charged := s.conf.Account.Used()
	require.Less(t, charged, int64(250<<10), "only what is in the queue is charged")
	cancel(errEnough)
	for i := range 20 {
		err := within(t, "everybody is released", results)
		require.ErrorIs(t, err, errEnough, i)
	}
	require.Zero(t, waiting(s))
	require.Zero(t, s.Tables().Outbound)
	ended := p.drain()
	eventually(t, "the queue is empty", func() bool { return s.conf.Account.Used() == 0 })
	r.Close()
	s.Close(nil)
	within(t, "the peer sees it", ended)
}

// waiting is the number of those who wait for room in the queue.
func waiting(s *side) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.send.room)
}

func TestSendAndStartWaitForRoomAndAreWokenInOrder(t *testing.T) {
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.SendQueue = 10 << 10 })
	r := p.offer(s, 1)
	data := pattern(20<<10, 1)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range 100 {
			if i%2 == 0 {
				assert.NoError(t, r.Send(context.Background(), fmt.Sprint("m", i), Args{Positional: []any{data}}))
			} else {
				_, err := r.Start(context.Background(), fmt.Sprint("m", i), Args{Positional: []any{data}}, nil, nil)
				assert.NoError(t, err)
			}
		}
	}()
	eventually(t, "one waits", func() bool { return waiting(s) == 1 })
	require.Less(t, s.conf.Account.Used(), int64(100<<10))
	for i := range 100 {
		require.Equal(t, fmt.Sprint("m", i), p.receive().method())
	}
	within(t, "all are sent", sent)
	eventually(t, "the queue is empty", func() bool { return s.conf.Account.Used() == 0 })
	require.Equal(t, 50, s.Tables().Outbound)
	r.Close()
}

func TestAMethodThatWaitsForRoomGivesItsTurnUp(t *testing.T) {
	waits := make(chan struct{})
	var r *Remote
	s, p := newPeer(t, noneRoot(method("sends", func(ctx context.Context) (any, error) {
		close(waits)
		return nil, r.Send(ctx, "m", Args{})
	})), func(c *Config) { c.Limits.SendQueue = 10 << 10 })
	p.lookUp()
	r = p.offer(s, 1)
	require.NoError(t, r.Send(t.Context(), "first", Args{Positional: []any{pattern(256<<10, 1)}}))
	p.send(callSeq(7, 1, "sends"))
	within(t, "the method runs", waits)
	p.send(callSeq(8, 1, "none"))
	eventually(t, "the other call has run, and waits to be answered", func() bool { return s.Tables().Inbound == 1 })
	require.Equal(t, "first", p.receive().method())
	got := map[string]bool{}
	for range 3 {
		m := p.receive()
		got[m.kind()+fmt.Sprint(m.request())] = true
	}
	require.Equal(t, map[string]bool{"answer8": true, "call0": true, "answer7": true}, got)
	r.Close()
}

func TestTheConnectionsEndReleasesWhoWaitsForRoom(t *testing.T) {
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.SendQueue = 1 })
	r := p.offer(s, 1)
	require.NoError(t, r.Send(t.Context(), "m", Args{Positional: []any{pattern(256<<10, 1)}}))
	results := make(chan error, 10)
	for range 5 {
		go func() { results <- r.Send(context.Background(), "m", Args{}) }()
		go func() {
			_, _, err := begin[any](context.Background(), r, "m")
			results <- err
		}()
	}
	eventually(t, "all wait", func() bool { return waiting(s) == 10 })
	p.conn.Close()
	for range 10 {
		err := within(t, "everybody is released", results)
		require.ErrorIs(t, err, ErrDeadReference)
		require.Equal(t, NotSent, callError(t, err).Sent)
	}
}

func TestAFloodOfCallsIsAnsweredAndNeverStopsTheReader(t *testing.T) {
	const calls, most = 20_000, 100
	g := newGate()
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.MaxInbound = most })
	s.publish(1, NewObject("", nil, NewMethod("m", func(_ context.Context, a struct{ N int }) (int, error) {
		g.pass("")
		return a.N, nil
	})))
	busy := make(chan int)
	go func() {
		d := banana.NewDecoder(p, nil, &banana.DecoderConfig{Vocab: 1})
		n := 0
		for n < calls-most {
			if opentype, err := d.Begin(); err != nil || opentype != "error" || d.Skip() != nil {
				break
			}
			n++
		}
		busy <- n
	}()
	var flood []byte
	for i := range calls {
		flood = append(flood, p.wire(callSeq(i+1, 1, "m", i))...)
	}
	p.write(flood) // returns only because the reader never waits
	require.Equal(t, calls-most, within(t, "those who are too many get an error", busy))
	require.Equal(t, most, s.Tables().Inbound)
	close(g.open)
	for i := range most {
		p.expect(fmt.Sprintf("OPEN() VOCAB(13=answer) INT(%d) INT(%d) CLOSE()", i+1, i))
	}
	eventually(t, "all is released", func() bool { return s.Tables().Inbound == 0 && s.conf.Account.Used() == 0 })
}

func TestTheErrorOfABusyConnectionNamesTheLimit(t *testing.T) {
	g := newGate()
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.MaxInbound = 1 })
	s.publish(1, NewObject("", nil, method("m", func(context.Context) (any, error) {
		g.pass("")
		return nil, nil
	}).Concurrent()))
	p.send(callSeq(1, 1, "m"), callSeq(2, 1, "m"))
	m := p.receive()
	require.Equal(t, "error", m.kind())
	require.EqualValues(t, 2, m.request())
	require.Contains(t, m.attribute("value"), ErrBusy.Error())
	require.Contains(t, m.attribute("value"), "limit MaxInbound is 1, this would need 2")
	close(g.open)
	require.EqualValues(t, 1, p.receive().request())
}

func TestAPeerThatReadsLivesOnWhenOthersHaveUsedUpTheMemory(t *testing.T) {
	const size = 100_000
	s, p := newPeer(t, nil, func(c *Config) { c.Account = banana.NewAccount("Tub", 1<<20, nil) })
	s.publish(1, NewObject("", nil, method("much", func(context.Context) (any, error) { return pattern(size, 1), nil })))
	p.send(callSeq(1, 1, "much"))
	require.Equal(t, "answer", p.receive().kind())
	others := int64(1<<20 - size/2)
	require.NoError(t, s.conf.Account.Reserve(others))
	for i := range 3 {
		p.send(callSeq(2+i, 1, "much"))
		m := p.receive()
		require.Equal(t, "error", m.kind())
		require.Contains(t, m.attribute("value"), "limit Tub is 1048576")
	}
	// Not even the error fits.
	rest := int64(1<<20) - others
	require.NoError(t, s.conf.Account.Reserve(rest))
	s.conf.Account.Release(2000) // room for the call, but not for its answer
	p.send(callSeq(9, 1, "much"))
	require.Contains(t, p.receive().attribute("value"), "limit Tub is 1048576")
	s.conf.Account.Release(others + rest - 2000)
	p.send(callSeq(10, 1, "much"))
	require.Equal(t, "answer", p.receive().kind())
	eventually(t, "all is released", func() bool { return s.conf.Account.Used() == 0 })
}

func TestFloodsOfAPeerThatDoesNotRead(t *testing.T) {
	for _, test := range []struct {
		name  string
		flood func(p *peer, i int) any
		limit string
		conf  func(*Config)
	}{
		{"of PINGs", func(*peer, int) any { return raw(banana.AppendPing(nil, []byte{1, 2, 3})) }, "", func(*Config) {}},
		{"of PINGs with long numbers", func(*peer, int) any { return raw(banana.AppendPing(nil, make([]byte, 64))) }, "", func(*Config) {}},
		{"of references that are refused", func(_ *peer, i int) any {
			return callSeq(0, 77, "m", seq{"my-reference", i + 1})
		}, "MaxReferences", func(c *Config) { c.Limits.MaxReferences = 1000 }},
		{"of references that are refused, by bytes", func(_ *peer, i int) any {
			return callSeq(0, 77, "m", seq{"my-reference", i + 1})
		}, "AnswerQueue", func(c *Config) { c.Limits.AnswerQueue = 64 << 10 }},
		{"of one reference that is refused again and again", func(*peer, int) any {
			return callSeq(0, 77, "m", seq{"my-reference", 1})
		}, "AnswerQueue", func(c *Config) { c.Limits.AnswerQueue = 64 << 10 }},
		{"of introductions", func(_ *peer, i int) any {
			return callSeq(0, 77, "m", seq{"their-reference", i + 1, ""})
		}, "AnswerQueue", func(c *Config) { c.Limits.AnswerQueue = 64 << 10 }},
		{"of calls to nobody", func(_ *peer, i int) any { return callSeq(i+1, 77, "m") }, "AnswerQueue", func(c *Config) { c.Limits.AnswerQueue = 64 << 10 }},
		{"of releases", func(_ *peer, i int) any { return callSeq(i+1, 0, "decref", 77, 1) }, "AnswerQueue", func(c *Config) { c.Limits.AnswerQueue = 64 << 10 }},
		{"of calls that hold much", func(_ *peer, i int) any { return callSeq(i+1, 77, "m") }, "Connection", func(c *Config) { c.Limits.Connection = 64 << 10 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, p := newPeer(t, noneRoot(), test.conf)
			s.publish(1, noneRoot())
			go func() {
				for i := 0; s.Err() == nil; i++ {
					p.send(test.flood(p, i))
				}
			}()
			requireOverflow(t, s, test.limit)
		})
	}
}

func TestAStrangerCannotMakeUsKeepMuch(t *testing.T) {
	for _, test := range []struct {
		name  string
		flood func(i int) seq
		limit string
	}{
		{"releases", func(i int) seq { return callSeq(0, 77, "m", seq{"my-reference", i + 1}) }, "StrangerReferences"},
		{"answers", func(i int) seq { return callSeq(i+1, 0, "getReferenceByName", pattern(100, 1)) }, "StrangerMessage"},
		{"acknowledgements", func(i int) seq { return callSeq(0, 77, "m", seq{"their-reference", i + 1, ""}) }, "StrangerMessage"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, p := newStranger(t, nil, func(c *Config) { c.Limits.StrangerMessage = 1 << 10 })
			go func() {
				for i := 0; s.Err() == nil; i++ {
					p.send(test.flood(i))
				}
			}()
			requireOverflow(t, s, test.limit)
		})
	}
	t.Run("calls", func(t *testing.T) {
		g := newGate()
		s, p := newStranger(t, nil, func(c *Config) { c.Limits.StrangerMessage = 2 << 10 })
		s.host.lookup = func(context.Context, string) (*Object, error) {
			g.pass("")
			return nil, ErrUnknownName
		}
		go func() {
			for i := 0; s.Err() == nil; i++ {
				p.send(callSeq(i+1, 0, "getReferenceByName", pattern(1000, 1)))
			}
		}()
		m := p.receive()
		require.Equal(t, "error", m.kind())
		require.Contains(t, m.attribute("value"), "limit StrangerMessage is 524288")
		require.LessOrEqual(t, s.conf.Account.Used(), int64(3*256*2<<10))
		close(g.open)
		s.Close(nil)
	})
}

func TestAPeerThatIsOnlySlowKeepsItsConnection(t *testing.T) {
	// PINGs, and answers, wait behind a long message without harm.
	s, p := newPeer(t, nil)
	s.publish(1, noneRoot(method("give", func(context.Context) ([]byte, error) { return pattern(1<<20, 1), nil })))
	p.send(callSeq(1, 1, "give"))
	for range 1000 {
		p.send(raw(banana.AppendPing(nil, []byte{1})), callSeq(2, 1, "none"))
	}
	pongs, answers := 0, 0
	for pongs < 1000 || answers < 1001 {
		switch m := p.receive(); m.kind() {
		case "PONG":
			pongs++
		case "answer":
			answers++
		default:
			t.Fatal(m)
		}
	}
	require.NoError(t, s.Err())
}

func TestArgumentsBeyondTheAccountAreRefused(t *testing.T) {
	g := newGate()
	s, p := newPeer(t, nil, func(c *Config) { c.Limits.Connection = 1 << 20 })
	s.publish(1, noneRoot(NewMethod("m", func(_ context.Context, a struct{ B []byte }) (int, error) {
		g.pass("")
		return len(a.B), nil
	})))
	big := pattern(400<<10, 1)
	for i := range 3 {
		p.send(callSeq(i+1, 1, "m", big))
	}
	m := p.receive()
	require.EqualValues(t, 3, m.request())
	require.Contains(t, m.attribute("value"), "limit Connection is 1048576")
	close(g.open)
	p.expect("OPEN() VOCAB(13=answer) INT(1) INT(409600) CLOSE()")
	p.expect("OPEN() VOCAB(13=answer) INT(2) INT(409600) CLOSE()")
	p.send(callSeq(4, 1, "m", big))
	p.expect("OPEN() VOCAB(13=answer) INT(4) INT(409600) CLOSE()")
	eventually(t, "nothing is charged", func() bool { return s.conf.Account.Used() == 0 })
}

func TestAnAnswerBeyondTheAccountFailsItsCall(t *testing.T) {
	s, p := newPeer(t, noneRoot(), func(c *Config) { c.Limits.Connection = 1 << 20 })
	s.publish(1, noneRoot())
	r := p.offer(s, 1)
	q, _, err := begin[[]byte](t.Context(), r, "m")
	require.NoError(t, err)
	p.send(answerSeq(p.receive().request(), pattern(2<<20, 1)))
	err = q.Wait(t.Context())
	var l *banana.LimitError
	require.ErrorAs(t, err, &l)
	require.Equal(t, "Connection", l.Limit)
	require.Equal(t, Answered, callError(t, err).Sent)
	p.alive()
	r.Close()
}

func TestAcknowledgementsAreNotKept(t *testing.T) {
	// A peer that acknowledges a release with something large.
	s, p := newPeer(t, noneRoot())
	s.publish(1, noneRoot())
	for i := range 5 {
		p.offer(s, 10+i).Close()
		p.send(answerSeq(p.receive().request(), pattern(1<<20, 1)))
		p.alive()
	}
	require.Zero(t, s.conf.Account.Used())
	require.Zero(t, s.Tables().Imports)
}

func TestAnAnswerIsChargedUntilItIsTaken(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	s.publish(1, noneRoot())
	r := p.offer(s, 1)
	q, v, err := begin[[]byte](t.Context(), r, "m")
	require.NoError(t, err)
	p.send(answerSeq(p.receive().request(), pattern(1<<20, 1)))
	p.alive()
	require.Greater(t, s.conf.Account.Used(), int64(1<<20-1000))
	require.NoError(t, q.Wait(t.Context()))
	require.Len(t, *v, 1<<20)
	require.Zero(t, s.conf.Account.Used())
	r.Close()
}

func TestALongWriteDoesNotKeepOthersFromReading(t *testing.T) {
	// Neither side reads faster than the other writes, and both send a lot:
	// that ends only when nobody's reading waits for writing.
	onAll(t, func(t *testing.T, n network) {
		root := func() *Object {
			return NewObject("", nil,
				NewMethod("take", func(_ context.Context, a struct{ B []byte }) (int, error) { return len(a.B), nil }))
		}
		c, s := connect(t, n, root(), root())
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("they wait for each other"))
		defer cancel()
		data := pattern(2<<20, 1)
		began := time.Now()
		for _, r := range []*Remote{c.root(t), s.root(t)} {
			for range 8 {
				wg.Go(func() {
					v, err := call[int](ctx, r, "take", data)
					assert.NoError(t, err)
					assert.Equal(t, len(data), v)
				})
			}
		}
		wg.Wait()
		t.Log(time.Since(began))
	})
}

func TestTheLimitsOfAStrangerDoNotOutliveHisMessage(t *testing.T) {
	// The look-up runs on the reader, and somebody else reads meanwhile.
	onAll(t, func(t *testing.T, n network) {
		g := newGate()
		root := everything()
		c, s := connect(t, n, noneRoot(method("give", func(context.Context) ([]byte, error) { return pattern(100<<10, 1), nil })), root)
		s.host.lookup = func(context.Context, string) (*Object, error) {
			g.pass("")
			return root, nil
		}
		back := s.root(t)
		found := make(chan error, 1)
		go func() {
			_, err := c.GetReference(context.Background(), "root")
			found <- err
		}()
		within(t, "it is looked up", g.entered)
		for range 10 {
			got, err := call[[]byte](t.Context(), back, "give")
			require.NoError(t, err, "what he answers has the ordinary limits")
			require.Len(t, got, 100<<10)
		}
		close(g.open)
		require.NoError(t, within(t, "it is found", found))
		back.Close()
	})
}

func TestAnAnswerThatNobodyWaitsForIsGivenBack(t *testing.T) {
	s, p := newPeer(t, noneRoot())
	s.publish(1, noneRoot())
	r := p.offer(s, 1)
	func() {
		_, _, err := begin[[]byte](t.Context(), r, "m")
		require.NoError(t, err)
	}()
	p.send(answerSeq(p.receive().request(), pattern(1<<20, 1)))
	p.alive()
	require.NotZero(t, s.conf.Account.Used())
	eventually(t, "the garbage collector finds it", func() bool {
		runtime.GC()
		return s.conf.Account.Used() == 0
	})
	r.Close()
}

func TestABurstOfPingsLeavesNoMemoryBehind(t *testing.T) {
	s, p := newPeer(t, nil)
	s.publish(1, noneRoot())
	for range 5000 {
		p.send(raw(banana.AppendPing(nil, []byte{1})))
	}
	for range 5000 {
		require.Equal(t, "PONG", p.receive().kind())
	}
	p.alive()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.LessOrEqual(t, cap(s.send.control), maxKeptControl)
}

func TestWhatAPeerAnswersToAReleaseIsNotBuilt(t *testing.T) {
	s, p := newStranger(t, noneRoot())
	p.send(callSeq(0, 77, "m", seq{"my-reference", 1})) // refused, so it is released
	release := p.receive()
	require.Equal(t, "decref", release.method())
	head := p.wire(seq{"answer", release.request(), seq{"list", pattern(1<<20, 1), pattern(1<<20, 2)}})
	p.write(head[:len(head)-1])
	require.Zero(t, s.conf.Account.Used(), "nothing of it is held")
	p.write(head[len(head)-1:])
	p.lookUp()
	eventually(t, "the reference is forgotten", func() bool { return s.Tables().Imports == 0 })
}

func TestStrangersLeaveMemoryToOthers(t *testing.T) {
	account := banana.NewAccount("Memory", 1<<20, nil)
	s, p := newStranger(t, noneRoot(), func(c *Config) { c.Account = account })
	_ = s
	require.NoError(t, account.Reserve(1<<20/4*3))
	p.send(callSeq(1, 0, "getReferenceByName", []byte("root")))
	require.Contains(t, p.receive().attribute("value"), "limit Memory is 786432")
	account.Release(1)
	p.lookUp()
	require.NoError(t, account.Reserve(1))
	p.alive() // he is none any more
	account.Release(1 << 20 / 4 * 3)
}
