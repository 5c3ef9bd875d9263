package broker

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A script is a connection whose peer says what was written down beforehand.
type script struct {
	mu     sync.Mutex
	input  []byte
	chunk  int  // how much one read gets at most
	deaf   bool // the peer takes nothing
	closed chan struct{}
	once   sync.Once
}

func newScript(input []byte, chunk int, deaf bool) *script {
	return &script{input: input, chunk: max(1, chunk), deaf: deaf, closed: make(chan struct{})}
}

func (s *script) Read(p []byte) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.input) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.chunk)], s.input)
	s.input = s.input[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	if s.deaf { // for a moment, and then he is gone
		select {
		case <-s.closed:
		case <-time.After(5 * time.Millisecond):
		}
		return 0, net.ErrClosed
	}
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
		return len(p), nil
	}
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// fuzzLimits are small enough for a short input to reach them.
func fuzzLimits(c *Config) {
	c.Limits = Limits{
		Limits:          banana.Limits{MaxToken: 4 << 10, MaxMessage: 16 << 10, MaxDepth: 20, MaxTokens: 1000},
		StrangerMessage: 1 << 10, StrangerReferences: 4,
		MaxInbound: 20, MaxReferences: 30, StreamWindow: 4 << 10, SendQueue: 4 << 10, AnswerQueue: 32 << 10, Connection: 64 << 10,
	}
	c.Logger = slog.New(slog.DiscardHandler)
}

// fuzzRoot has methods of every kind. What they are given they keep, close, or
// use, as the input wants.
func fuzzRoot(k *keeper) *Object {
	type nested struct {
		Name string
		Tags map[string][]int64
		Next *nestedArg `foolscap:",optional"`
	}
	return k.object(
		NewMethod("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		NewMethod("raw", func(_ context.Context, a Args) (any, error) { return a.Positional, nil }),
		NewMethod("nested", func(_ context.Context, a nested) (any, error) { return a.Tags, nil }),
		NewMethod("concurrent", func(_ context.Context, a struct{ V any }) (any, error) { return a.V, nil }).Concurrent(),
		method("fails", func(context.Context) (any, error) { return nil, valueError("no") }),
		method("panics", func(context.Context) (any, error) { panic("no") }),
		method("gives", func(context.Context) (any, error) {
			o := NewObject("RIGiven", nil)
			return []any{o, o, NewObject("", nil)}, nil
		}),
		method("unsendable", func(context.Context) (any, error) { return []any{NewObject("", nil), make(chan int)}, nil }),
		NewMethod("reads", func(_ context.Context, a struct{ Data io.Reader }) (int64, error) {
			if a.Data == nil {
				return 0, nil
			}
			return io.CopyN(io.Discard, a.Data, 5000)
		}),
		method("opens", func(context.Context) (io.Reader, error) { return io.LimitReader(zeros{}, 10_000), nil }),
		NewMethod("asks", func(ctx context.Context, a struct{ Ref *hostRef }) (any, error) {
			if a.Ref == nil {
				return nil, errors.New("nothing to ask")
			}
			defer a.Ref.Close()
			return call[any](ctx, a.Ref.Remote, "m", a.Ref)
		}),
	)
}

type nestedArg struct{ Items []any }

// after makes sure that a connection leaves nothing behind.
func after(t *testing.T, s *side) {
	t.Helper()
	within(t, "the connection is done", s.Done())
	require.Error(t, s.Err())
	require.Equal(t, Tables{}, s.Tables())
	require.Zero(t, s.conf.Account.Used())
}

// fuzzSide makes a broker over a script, which has not begun.
func fuzzSide(link Link, root *Object) *side {
	conf, host, logs := newConfig(root, fuzzLimits)
	link.Peer = theirTub
	host.introduce = func(i *Introduction) (banana.External, error) {
		i.Drop = func() {}
		if len(i.FURL.Hints)%2 == 0 { // resolved, or not, at once
			i.Resolve = func(context.Context) error {
				defer i.Receipt.Acknowledge()
				if i.FURL.Name.Reveal() == "gone" {
					return ErrUnknownName
				}
				return nil
			}
		}
		return foreign{i.FURL.Reveal()}, nil
	}
	return &side{Broker: New(conf, link), conf: conf, host: host, logs: logs}
}

// FuzzConnection feeds a broker with the bytes of a stranger.
func FuzzConnection(f *testing.F) {
	b, err := os.ReadFile("../banana/testdata/vectors.json")
	require.NoError(f, err)
	var all []vector
	require.NoError(f, json.Unmarshal(b, &all))
	var calls []byte
	for _, v := range all {
		group, _, _ := strings.Cut(v.Name, "/")
		input, err := hex.DecodeString(v.Hex)
		require.NoError(f, err)
		switch group {
		case "call":
			calls = append(calls, input...)
			fallthrough
		case "answer", "malformed", "malformed-answer", "gift", "token", "vocab":
			f.Add(input, uint8(0))
			f.Add(append(bytes.Clone(calls), input...), uint8(1))
		}
	}
	var w wire // he sends a reader, and reads one
	w.add(callSeq(1, 0, "getReferenceByName", keyword{"name", "root"}))
	w.add(callSeq(2, 1, "reads", seq{"my-reference", 3, sourceInterface}))
	w.add(seq{"chunk", 1, "abc"})
	w.add(seq{"chunk", 1, pattern(3000, 1)})
	w.add(answerSeq(1, noneSeq()))
	w.add(callSeq(3, 1, "opens"))
	w.add(callSeq(4, 2, "stream", 100))
	w.add(seq{"credit", 4, 1000})
	w.add(callSeq(5, 2, "read", 10))
	w.add(callSeq(6, 0, "decref", 2, 1))
	for _, how := range []uint8{32, 48, 48 | 7} {
		f.Add(w.buf, how)
	}
	f.Fuzz(func(t *testing.T, input []byte, how uint8) {
		var k keeper
		conn := newScript(input, 1<<(how&7), how&8 != 0)
		s := fuzzSide(Link{Conn: conn, Vocab: 1 - int(how>>7), Inbound: true, Pipelines: how&32 != 0, Streams: how&32 != 0}, fuzzRoot(&k))
		if how&16 != 0 { // he has known a name
			s.stranger.Store(false)
			s.publish(1, s.host.names["root"])
		}
		s.Start()
		after(t, s)
		k.take()
	})
}

// A generator makes messages out of random bytes: most of them are in order,
// so that they get far.
type generator struct {
	input []byte
	wire
}

func (g *generator) byte() int {
	if len(g.input) == 0 {
		return 0
	}
	b := g.input[0]
	g.input = g.input[1:]
	return int(b)
}

func (g *generator) pick(n int) int { return g.byte() % n }

func pickOf[T any](g *generator, from ...T) T { return from[g.pick(len(from))] }

// number is a small number, or one at the edge of something.
func (g *generator) number() int {
	return pickOf(g, g.pick(8), g.pick(8), g.pick(40), -g.pick(8), 1<<31-1, 1<<31, 1<<62)
}

func (g *generator) value(depth int) any {
	if depth > 5 || len(g.input) == 0 {
		return g.pick(3)
	}
	items := func(name string, n int) seq {
		s := seq{name}
		for range n {
			s = append(s, g.value(depth+1))
		}
		return s
	}
	switch g.pick(24) {
	case 0, 1:
		return g.number()
	case 2:
		return pattern(g.pick(64), 1)
	case 3:
		return pattern(g.byte()*40, 1)
	case 4:
		return textSeq("text")
	case 5:
		return noneSeq()
	case 6:
		return seq{"boolean", g.pick(3)}
	case 7, 8:
		return items("list", g.pick(6))
	case 9:
		return items("tuple", g.pick(5))
	case 10:
		return items("dict", g.pick(6))
	case 11:
		return items(pickOf(g, "set", "immutable-set"), g.pick(4))
	case 12, 13:
		return seq{"my-reference", g.number()}
	case 14:
		return seq{"my-reference", g.number(), pickOf(g, "", "RIFoo", sourceInterface), pickOf(g, "pb://"+string(theirTub)+"@/x", "pb://"+string(theirTub)+"@/x", "pb://"+string(ourTub)+"@/x")}
	case 15, 16:
		return seq{"your-reference", pickOf(g, 1, 1, 1, 1, g.number())}
	case 17:
		return seq{"their-reference", g.number(), "pb://x@/y"}
	case 18:
		return seq{"reference", int(g.opens) + g.pick(4)}
	case 19:
		return seq{pickOf(g, "list", "decimal", "nonsense", "copyable"), "1.5", g.value(depth + 1)}
	case 20:
		return seq{"list", g.value(depth + 1), abortToken}
	case 21:
		return raw(banana.AppendPing(nil, []byte{byte(g.pick(128))}))
	case 22:
		return raw(banana.AppendToken(nil, banana.Type(0x80+g.pick(16)), uint64(g.number())))
	default:
		return g.number()
	}
}

func (g *generator) message() {
	switch g.pick(22) {
	case 19, 20:
		g.add(seq{"chunk", pickOf(g, 7, 8, 1+g.pick(12), g.number()), pattern(g.byte()*pickOf(g, 1, 1, 30), 1)})
	case 21:
		g.add(seq{"credit", 1 + g.pick(6), pickOf(g, 1, 4000, g.number())})
	case 16, 17: // on answers, and with ones to be kept
		to := pickOf(g, 1, 1, 2, 3, 4, g.number())
		call := callSeq(0, to, pickOf(g, "gives", "echo", "add", "hold", "asks", "getReferenceByName"), g.value(0))
		g.add(append(seq{"pcall", 1 + g.pick(6), g.pick(4)}, call[2:]...))
	case 18:
		g.add(seq{"pdrop", 1 + g.pick(6)})
	case 0, 1, 2, 3, 4, 5:
		name := pickOf(g, "none", "echo", "hold", "drop", "add", "raw", "nested", "concurrent", "fails", "panics", "gives", "unsendable", "asks", "what", "reads", "opens", "read", "stream", "stream")
		var args []any
		for range g.pick(4) {
			if g.pick(4) == 0 {
				args = append(args, keyword{pickOf(g, "value", "what", "a", "b", "ref", "v", "name"), g.value(0)})
			} else {
				args = append(args, g.value(0))
			}
		}
		g.add(callSeq(g.number(), pickOf(g, 1, 1, 1, 2, 3, g.number()), name, args...))
	case 6:
		g.add(callSeq(g.number(), 0, "getReferenceByName", pickOf[any](g, "root", "root", "other", textSeq("root"))))
	case 7:
		g.add(callSeq(g.number(), 0, "decref", g.number(), g.number()))
	case 8:
		g.add(callSeq(g.number(), 0, "decgift", g.number(), g.number()))
	case 9, 10, 11:
		g.add(answerSeq(int64(1+g.pick(12)), g.value(0)))
	case 12:
		g.add(errorSeq(int64(1+g.pick(12)), "builtins.ValueError", "no"))
	case 13:
		g.add(seq{"error", 1 + g.pick(12), seq{"copyable", failureClass, pickOf(g, "value", "type", "parents", "x"), g.value(0), "traceback", "x"}})
	case 14:
		g.add(raw(banana.AppendPing(nil, bytes.Repeat([]byte{1}, g.pick(65)))))
	case 15:
		g.add(g.value(0))
	}
}

// FuzzConnectionAuthenticated lets a hostile peer play with a broker that
// calls it, and has given it references.
func FuzzConnectionAuthenticated(f *testing.F) {
	for i := range 64 {
		f.Add(pattern(20+10*i, byte(i)), uint8(i), uint16(0), byte(0))
	}
	f.Fuzz(func(t *testing.T, input []byte, how uint8, flipAt uint16, flip byte) {
		g := generator{input: input}
		for len(g.input) > 0 && len(g.buf) < 64<<10 {
			g.message()
		}
		if flip != 0 && len(g.buf) > 0 {
			g.buf[int(flipAt)%len(g.buf)] ^= flip
		}
		var k keeper
		conn := newScript(g.buf, 16<<(how&7), how&8 != 0)
		root := fuzzRoot(&k)
		s := fuzzSide(Link{Conn: conn, Vocab: 1, Pipelines: flipAt&1 == 0, Streams: flipAt&2 == 0}, root)
		s.publish(1, root)
		s.publish(2, NewObject("", nil))
		s.publish(3, NewSource(io.LimitReader(zeros{}, 20_000)))

		// What we have asked for before the peer says anything.
		s.mu.Lock()
		target := &proxy{clid: 4, handles: 1, received: 1}
		readable := &proxy{clid: 5, handles: 1, received: 1, iface: sourceInterface}
		s.refs.imports[4], s.refs.imports[5] = target, readable
		s.mu.Unlock()
		r := &Remote{b: s.Broker, p: target}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		wait := func(p *Pending, err error) {
			if err != nil {
				return
			}
			wg.Go(func() { _ = p.Wait(ctx) })
		}
		start := func(ptr any, c *banana.Codec, args ...any) {
			wait(r.Start(ctx, "m", Args{Positional: args}, ptr, c))
		}
		start(new(any), codec[any]())
		start(new(int), codec[int]())
		start(new([]*hostRef), codec[[]*hostRef]())
		start(new(map[string]any), codec[map[string]any](), NewObject("", nil), &hostRef{r})
		start(nil, nil, root)
		start(new([]byte), codec[[]byte]())
		start(new(int), codec[int](), io.LimitReader(zeros{}, 1<<20)) // request 7
		source := &Remote{b: s.Broker, p: readable}
		stream := NewReader(func(context.Context) (*Remote, error) { return source, nil }, source.Close)
		wg.Go(func() { _, _ = io.Copy(io.Discard, stream) })
		wg.Go(func() { _, _ = s.GetReference(ctx, "root") })
		wg.Go(func() {
			_ = r.Call(ctx, "m", Args{Positional: []any{pattern(5<<10, 1)}}, new(any), codec[any]())
		})
		s.Start()
		if how&32 != 0 {
			r.Close()
		}
		if how&64 != 0 {
			cancel()
		}
		if how&128 != 0 {
			_ = r.Send(ctx, "m", Args{Positional: []any{root}})
			s.Close(nil)
		}
		within(t, "the connection is done", s.Done())
		wg.Wait()
		stream.Close()
		after(t, s)
		k.take()
	})
}
