package integration

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/tub"
)

const (
	large = 8 << 20
	// aLittle is how long something is given that cannot come to its end; on a busy machine it may not even begin.
	aLittle = 200 * time.Millisecond
)

func numbers(count int) (here []any, there []pypeer.Value) {
	for i := range count {
		here = append(here, int64(i))
		there = append(there, pypeer.Int(int64(i)))
	}
	return here, there
}

func TestCallsWithoutAnswersArriveInTheirOrder(t *testing.T) {
	t.Parallel()
	const count = 300
	here, there := numbers(count)
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		// What fails is heard of by nobody, and does no harm.
		require.NoError(t, tub.Send(within(t), m.root, "fail", "unheard"))
		require.NoError(t, tub.Send(within(t), m.root, "dance"))
		m.ref.CallOnly("fail", pypeer.Text("unheard"))
		m.ref.CallOnly("panic", pypeer.Text("unheard"))
		m.ref.CallOnly("dance")
		m.ref.CallOnly("add", pypeer.Text("unheard"))

		m.ref.FloodOnly(count, "log", pypeer.Index)
		for i := range count {
			// With and without answers, all in one order.
			if i%3 == 0 {
				_, err := tub.Start[tub.None](within(t), m.root, "log", i)
				require.NoError(t, err)
			} else {
				require.NoError(t, tub.Send(within(t), m.root, "log", i))
			}
		}
		m.peer.WaitState(m.name, pypeer.State{Logged: count})
		assert.Equal(t, there, m.peer.TakeLogged(m.name))
		assert.Equal(t, here, m.desk.awaitLogged(t, count))
		m.assertNothingIsLeft(t)
	})
}

func TestAnswersComeInAnyOrderOfAThousandCallsInFlight(t *testing.T) {
	t.Parallel()
	const count = 1000
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		there := m.peer.Begin("flood", pypeer.Params{"ref": m.ref.Handle(), "method": "block", "count": count, "expect": pypeer.Int(7)})
		var here []*tub.Pending[int]
		for i := range count {
			pending, err := tub.Start[int](within(t), m.root, "block", fmt.Sprint(i%10))
			require.NoError(t, err)
			here = append(here, pending)
		}
		m.peer.WaitState(m.name, pypeer.State{Waiting: count})
		m.desk.awaitBlocked(t, "", count)
		assert.Equal(t, broker.Tables{Exports: 1, Imports: 1, Inbound: count, Outbound: count}, m.desk.connection().Tables())

		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "others are not held up")
		assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))

		for key := 9; key >= 0; key-- {
			assert.Equal(t, count/10, m.peer.Release(m.name, fmt.Sprint(key), pypeer.Int(int64(key))))
			for i := key; i < count; i += 10 {
				answer, err := here[i].Wait(within(t))
				require.NoError(t, err)
				require.Equal(t, key, answer)
			}
		}
		m.desk.release("", 7)
		var flood pypeer.Flood
		require.NoError(t, there.Result(&flood))
		assert.Equal(t, count, flood.Answers)
		assert.Zero(t, flood.Unexpected)

		assert.Equal(t, pypeer.Flood{Answers: 200, Failures: map[string]int{}, InOrder: true},
			m.ref.Flood(200, "echo", pypeer.List(pypeer.Index), pypeer.List(pypeer.Index)))
		m.assertNothingIsLeft(t)
	})
}

func TestLargeStringsGoBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		pattern := pypeer.PatternBytes(large)
		// Both sides send and both sides answer, and nobody waits for the other to read first. PINGs have to find their
		// way between.
		there := []*pypeer.Pending{m.ref.Begin("get_pattern", pypeer.Int(large)), m.ref.Begin("echo", pypeer.Pattern(large))}
		ping := m.peer.Begin("ping", pypeer.Params{"number": 1 << 40})
		var here []*tub.Pending[[]byte]
		for method, arg := range map[string]any{"get_pattern": large, "echo": pattern} {
			pending, err := tub.Start[[]byte](within(t), m.root, method, arg)
			require.NoError(t, err)
			here = append(here, pending)
		}
		for _, pending := range there {
			answer, err := pending.Value()
			require.NoError(t, err)
			assert.Equal(t, pypeer.Pattern(large), answer)
		}
		for _, pending := range here {
			answer, err := pending.Wait(within(t))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(pattern, answer))
		}
		require.NoError(t, ping.Result(nil))
		assert.Equal(t, pypeer.Int(large), m.ref.MustCall("sink", pypeer.Pattern(large)))
		m.assertNothingIsLeft(t)
		assert.Zero(t, m.tub.MemoryUsed())
	})
}

func TestAPingIsAnsweredInTheMiddleOfAMessage(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		const request = 1 << 20
		// echo(value=["list", "text"]), in pieces that end with a token each.
		var pieces [][]byte
		token := func(b []byte) { pieces = append(pieces, b) }
		open := func(n uint64, word string) {
			token(banana.AppendToken(nil, banana.TypeOpen, n))
			token(banana.AppendWord(nil, 1, word))
		}
		open(0, "call")
		token(banana.AppendInt(nil, request))
		token(banana.AppendInt(nil, int64(m.ref.Describe().CLID)))
		token(banana.AppendString(nil, "echo"))
		open(1, "arguments")
		token(banana.AppendInt(nil, 1))
		open(2, "list")
		token(banana.AppendString(nil, "list"))
		open(3, "unicode")
		token(banana.AppendString(nil, "text"))
		for n := 3; n >= 0; n-- {
			token(banana.AppendToken(nil, banana.TypeClose, uint64(n)))
		}
		answer := banana.AppendInt(banana.AppendWord(nil, 1, "answer"), request)

		m.peer.Do("capture", nil, nil)
		for i, piece := range pieces {
			// Numbers of any length, and none at all.
			number := []byte{byte(i), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}[:1+i%12]
			piece = banana.AppendPing(append([]byte{}, piece...), number)
			m.peer.Do("raw", pypeer.Params{"bytes": hex.EncodeToString(piece)}, nil)
			pong := hex.EncodeToString(banana.AppendPong(nil, number))
			m.peer.Do("wait_captured", pypeer.Params{"bytes": pong}, nil)
		}
		m.peer.Do("wait_captured", pypeer.Params{"bytes": hex.EncodeToString(answer)}, nil)
		// Foolscap numbers on from before what it was made to send, which nobody minds.
		assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
	})
}

func TestAPingIsAnsweredWhileALongStringIsHalfReceived(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		const length = 1 << 20
		m.peer.Do("capture", nil, nil)
		number := []byte{1, 2, 3, 4, 5}
		pong := hex.EncodeToString(banana.AppendPong(nil, number))
		answer := hex.EncodeToString(banana.AppendInt(banana.AppendWord(nil, 1, "answer"), forged))

		// A PING right before a string, which is the last place for one, and the first half of the string.
		f, call, arguments := m.forge(int64(m.ref.Describe().CLID), "sink")
		f.tokens = banana.AppendPing(f.tokens, number)
		f.header(length)
		f.tokens = append(f.tokens, make([]byte, length/2)...)
		m.send(f)
		var captured string
		m.peer.Do("wait_captured", pypeer.Params{"bytes": pong}, &captured)
		assert.NotContains(t, captured, answer)
		// Nor is anything else held up that does not come over this connection.
		require.NoError(t, tub.Send(within(t), m.root, "log", "meanwhile"))
		m.peer.WaitState(m.name, pypeer.State{Logged: 1})

		rest := &forger{tokens: make([]byte, length/2)}
		rest.close(arguments)
		rest.close(call)
		m.send(rest)
		m.peer.Do("wait_captured", pypeer.Params{"bytes": answer + hex.EncodeToString(banana.AppendInt(nil, length))}, nil)
		assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		m.peer.TakeLogged(m.name)
		m.assertNothingIsLeft(t)
	})
}

func TestAPingIsAnsweredBehindTheLongStringThatIsBeingSent(t *testing.T) {
	t.Parallel()
	cert, _ := pypeer.WriteCert(t, pypeer.Middling)
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			way := startTap(t)
			peer := pypeer.Start(t, pypeer.Options{CertFile: cert, Location: way.hint()})
			m := meetThrough(t, way, peer, r, tub.Options{})
			m.peer.Do("capture", nil, nil)

			// Python gets a part of a string, the kernel no more than about another half, and a second string is to follow.
			way.stopAfter(large / 8)
			first, second := bytes.Repeat([]byte("1"), large), bytes.Repeat([]byte("2"), large/16)
			lengths := make(chan int, 2)
			for i, text := range [][]byte{first, second} {
				go func() {
					length, err := tub.Call[int](within(t), m.root, "sink", text)
					assert.NoError(t, err)
					lengths <- length
				}()
				require.Eventually(t, func() bool { return m.desk.connection().Tables().Outbound == i+1 }, patience, time.Millisecond)
			}
			way.awaitStop(t)
			ping := m.peer.Begin("ping", pypeer.Params{"number": 1 << 40})
			m.ref.CallOnly("log", pypeer.Text("behind the ping"))
			m.desk.awaitLogged(t, 1) // so it has been read
			select {
			case <-ping.Done():
				assert.Fail(t, "nothing gets through")
			default:
			}
			way.goOn()

			require.NoError(t, ping.Result(nil))
			assert.ElementsMatch(t, []int{large, large / 16}, []int{<-lengths, <-lengths})
			var captured string
			m.peer.Do("captured", nil, &captured)
			received, err := hex.DecodeString(captured)
			require.NoError(t, err)
			pong := bytes.Index(received, banana.AppendPong(nil, []byte{0, 0, 0, 0, 0, 32}))
			require.Positive(t, pong)
			assert.True(t, bytes.Contains(received[:pong], first), "not within a string")
			assert.True(t, bytes.Contains(received[pong:], second), "it overtakes what is only queued")
		})
	}
}

func TestAPeerThatStopsReadingHoldsUpNobodyWhoHasADeadline(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		forTime := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		briefly := func() context.Context { return forTime(aLittle) }
		sent := func(err error) tub.Sent {
			var failed *tub.CallError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return failed.Sent
		}
		m.peer.Do("pause", nil, nil)

		// More than the network takes: a part of it has gone, and the rest must follow.
		pattern := pypeer.PatternBytes(2*large - 1)
		_, err := tub.Call[int](briefly(), m.root, "log", pattern)
		for d := 2 * aLittle; sent(err) == tub.NotSent; d *= 2 {
			require.Less(t, d, patience, "it has not even begun")
			_, err = tub.Call[int](forTime(d), m.root, "log", pattern)
		}
		assert.Equal(t, tub.MayHaveRun, sent(err))
		clear(pattern) // it is the caller's again
		// What is behind it has not gone, and never will.
		_, err = tub.Call[int](briefly(), m.root, "log", "never sent")
		assert.Equal(t, tub.NotSent, sent(err))
		// Of what nobody waits for there is room for some.
		count := 0
		for err = nil; err == nil; count++ {
			require.Less(t, count, 1000)
			err = tub.Send(briefly(), m.root, "sink", pattern[:100_000])
		}
		assert.Equal(t, tub.NotSent, sent(err))
		assert.Greater(t, count, 5)
		_, err = tub.Start[int](briefly(), m.root, "sink", pattern[:100_000])
		assert.Equal(t, tub.NotSent, sent(err))
		waiting := make(chan int)
		go func() {
			sum, err := tub.Call[int](within(t), m.root, "add", 1, 2)
			assert.NoError(t, err)
			waiting <- sum
		}()

		m.peer.Do("resume", nil, nil)

		assert.Equal(t, 3, <-waiting)
		assert.Equal(t, []pypeer.Value{pypeer.Pattern(len(pattern))}, m.peer.TakeLogged(m.name), "as it was when it was sent")
		m.assertNothingIsLeft(t)
		assert.Zero(t, m.tub.MemoryUsed())
	})
}

func TestAPeerThatAsksWithoutReadingLosesItsConnection(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Limits.AnswerQueue = 1 << 20
	eachRole(t, o, func(t *testing.T, m *meeting) {
		ended := make(chan error, 1)
		m.root.OnDisconnect(func(reason error) { ended <- reason })
		m.peer.Do("pause", nil, nil)

		flood := m.peer.Begin("flood", pypeer.Params{
			"ref": m.ref.Handle(), "method": "get_pattern", "args": []pypeer.Value{pypeer.Int(500_000)}, "count": 100,
		})
		reason := <-ended

		assert.ErrorIs(t, reason, tub.ErrOverflow)
		var limit *banana.LimitError
		require.ErrorAs(t, reason, &limit)
		assert.Equal(t, "AnswerQueue", limit.Limit)
		_, err := tub.Call[int](within(t), m.root, "add", 1, 2)
		assert.ErrorIs(t, err, tub.ErrDeadReference)
		assert.ErrorIs(t, err, tub.ErrOverflow)
		m.peer.Do("resume", pypeer.Params{"connection": m.number}, nil)
		assert.NoError(t, flood.Result(nil))
		m.peer.WaitConnections(0)
	})
}

func TestCallsBeyondTheLimitAreRefusedOneByOne(t *testing.T) {
	t.Parallel()
	const limit, count = 50, 400
	o := options{}
	o.tub.Limits.MaxInbound = limit
	eachRole(t, o, func(t *testing.T, m *meeting) {
		there := m.peer.Begin("flood", pypeer.Params{"ref": m.ref.Handle(), "method": "block", "count": count})
		m.desk.awaitBlocked(t, "", limit)
		_, err := m.ref.Call("add", pypeer.Int(1), pypeer.Int(2))
		assert.Contains(t, failedThere(t, err).Text, "too many calls")
		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2), "our own calls are not affected")
		m.desk.release("", nil)
		var flood pypeer.Flood
		require.NoError(t, there.Result(&flood))
		assert.Equal(t, limit, flood.Answers)
		refused := 0
		for _, n := range flood.Failures {
			refused += n
		}
		assert.Equal(t, count-limit, refused)

		assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		m.assertNothingIsLeft(t)
	})
}

func TestArgumentsThatAreHeldCountUntilTheMethodHasReturned(t *testing.T) {
	t.Parallel()
	const memory, size, count = 2 << 20, 300_000, 20
	o := options{}
	o.tub.Limits.Connection = memory
	eachRole(t, o, func(t *testing.T, m *meeting) {
		release := make(chan struct{})
		keeper := tub.NewObject(tub.Method("keep", func(ctx context.Context, a struct{ Data []byte }) (int, error) {
			tub.Yield(ctx)
			<-release
			return len(a.Data), nil
		}))
		ref := m.peer.MustGetReference(register(t, m.tub, keeper).WithHints().Reveal())
		there := m.peer.Begin("flood", pypeer.Params{
			"ref": ref.Handle(), "method": "keep", "args": []pypeer.Value{pypeer.Pattern(size)}, "count": count,
		})
		_, err := ref.Call("keep", pypeer.Pattern(memory))
		assert.Contains(t, failedThere(t, err).Text, "Connection")
		used := m.tub.MemoryUsed()
		assert.Greater(t, used, int64(size))
		assert.LessOrEqual(t, used, int64(memory))
		close(release)
		var flood pypeer.Flood
		require.NoError(t, there.Result(&flood))
		assert.Positive(t, flood.Answers)
		assert.Less(t, flood.Answers, memory/size+1)
		m.assertNothingIsLeft(t)
		assert.Zero(t, m.tub.MemoryUsed())
	})
}

func TestACallThatIsCancelledReturnsAtOnceAndItsAnswerIsForgotten(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		ctx, cancel := context.WithCancelCause(within(t))
		blocked, err := tub.Start[any](ctx, m.root, "block", "a")
		require.NoError(t, err)
		m.peer.WaitState(m.name, pypeer.State{Waiting: 1})
		why := fmt.Errorf("no longer of interest")
		cancel(why)
		_, err = blocked.Wait(ctx)
		var failed *tub.CallError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, tub.MayHaveRun, failed.Sent)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, why)
		assert.Equal(t, 1, m.peer.Release(m.name, "a", pypeer.List(pypeer.Object(m.name), pypeer.Pattern(100_000))))

		_, err = tub.Call[any](ctx, m.root, "log", "never sent")
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, tub.NotSent, failed.Sent)
		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2))
		assert.Empty(t, m.peer.Logged(m.name))
		m.assertNothingIsLeft(t)
		assert.Zero(t, m.tub.MemoryUsed())
	})
}

func TestMethodsStartInTheirOrderAndHoldTheirTurn(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		release, started := make(chan struct{}), make(chan string, 10)
		wait := func(name string, options ...tub.MethodOption) tub.Part {
			return tub.Method(name, func(ctx context.Context, _ tub.None) (string, error) {
				started <- name
				select {
				case <-release:
				case <-ctx.Done():
				}
				return name, nil
			}, options...)
		}
		ref := m.peer.MustGetReference(register(t, m.tub, tub.NewObject(
			wait("holds"), wait("beside", tub.Concurrent),
			tub.Method("quick", func(context.Context, tub.None) (string, error) {
				started <- "quick"
				return "quick", nil
			}),
			tub.Method("calls", func(ctx context.Context, a struct{ Ref *tub.Ref }) (string, error) {
				started <- "calls"
				return tub.Call[string](ctx, a.Ref, "block", "x")
			}),
		)).WithHints().Reveal())

		beside, quick := ref.Begin("beside"), ref.Begin("quick")
		assert.Equal(t, pypeer.Text("quick"), value(t, quick))
		calls, again := ref.Begin("calls", pypeer.Object(m.name)), ref.Begin("quick")
		assert.Equal(t, pypeer.Text("quick"), value(t, again))
		holds, late := ref.Begin("holds"), ref.Begin("quick")
		for _, name := range []string{"beside", "quick", "calls", "quick", "holds"} {
			assert.Equal(t, name, <-started)
		}
		// Answers need no turn.
		assert.Equal(t, 3, call[int](t, m.root, "add", 1, 2))
		assert.Empty(t, started)
		close(release)
		assert.Equal(t, pypeer.Text("holds"), value(t, holds))
		assert.Equal(t, pypeer.Text("beside"), value(t, beside))
		assert.Equal(t, pypeer.Text("quick"), value(t, late))
		m.peer.Release(m.name, "x", pypeer.Text("released"))
		assert.Equal(t, pypeer.Text("released"), value(t, calls))
	})
}

// value is the result of a request that has to succeed.
func value(t testing.TB, pending *pypeer.Pending) pypeer.Value {
	t.Helper()
	v, err := pending.Value()
	require.NoError(t, err)
	return v
}
