package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// adaptsReaders is what the programs of tests know of values that go by reference.
type adaptsReaders struct{}

func (adaptsReaders) Adapt(v any, _ reflect.Type) (banana.External, error) {
	if r, ok := v.(io.Reader); ok {
		return NewSource(r), nil
	}
	return nil, nil
}

func (adaptsReaders) Adopt(v any, t reflect.Type) (reflect.Value, error) {
	ref, ok := v.(*hostRef)
	if !ok {
		return reflect.Value{}, fmt.Errorf("%T cannot become a reader", v)
	}
	r := reflect.ValueOf(NewReader(func(context.Context) (*Remote, error) { return ref.Remote, nil }, ref.Close))
	if !r.Type().AssignableTo(t) {
		return reflect.Value{}, fmt.Errorf("a reader cannot become a %s", t)
	}
	return r, nil
}

// A probe is a reader that is watched.
type probe struct {
	io.Reader
	read   atomic.Int64
	closed chan struct{}
	once   sync.Once
}

func newProbe(r io.Reader) *probe { return &probe{Reader: r, closed: make(chan struct{})} }

func (p *probe) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.read.Add(int64(n))
	return n, err
}

func (p *probe) Close() error {
	p.once.Do(func() { close(p.closed) })
	if c, ok := p.Reader.(io.Closer); ok {
		c.Close()
	}
	return nil
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type upload struct{ Data io.Reader }

// library is an object that takes and gives readers.
func library(gives func() io.ReadCloser, more ...*Method) *Object {
	return NewObject("", nil, append(more,
		NewMethod("size", func(_ context.Context, a upload) (int64, error) { return io.Copy(io.Discard, a.Data) }),
		NewMethod("digest", func(_ context.Context, a upload) ([]byte, error) {
			h := sha256.New()
			_, err := io.CopyBuffer(h, struct{ io.Reader }{a.Data}, make([]byte, 1000))
			return h.Sum(nil), err
		}),
		NewMethod("ignore", func(_ context.Context, _ upload) (int, error) { return 1, nil }),
		NewMethod("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		method("open", func(context.Context) (io.ReadCloser, error) { return gives(), nil }),
	)...)
}

// streaming connects two sides that know the extension, or do not.
func streaming(t testing.TB, n network, both bool, root *Object, change ...func(*Config)) (c, s *side) {
	noLeaks(t)
	a, b := n.pair(t)
	b.Inbound = true
	for _, l := range []*Link{&a, &b} {
		l.Pipelines, l.Streams = both, both
	}
	return newSide(t, a, nil, change...), newSide(t, b, root, change...)
}

// onStreams runs a test over every network, with the extension and without it.
func onStreams(t *testing.T, f func(t *testing.T, n network, both bool)) {
	onAll(t, func(t *testing.T, n network) {
		t.Run("with the extension", func(t *testing.T) { f(t, n, true) })
		t.Run("without it", func(t *testing.T) { f(t, n, false) })
	})
}

// noneHeld waits until nothing of any stream is left.
func noneHeld(t *testing.T, sides ...*side) {
	t.Helper()
	for _, s := range sides {
		eventually(t, "all references are released", func() bool {
			tables := s.Tables()
			return tables.Inbound == 0 && tables.Outbound == 0 && tables.Exports+tables.Imports <= 1
		})
		eventually(t, "all memory is free", func() bool { return s.conf.Account.Used() == 0 })
		s.mu.Lock()
		require.Empty(t, s.outflows)
		s.mu.Unlock()
	}
}

func TestReadersTravelAsArgumentsAndResults(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		var data []byte
		c, s := streaming(t, n, both, library(func() io.ReadCloser { return newProbe(bytes.NewReader(data)) },
			NewMethod("sizes", func(_ context.Context, a struct {
				All  []struct{ Data io.Reader }
				None io.Reader
			}) ([]int64, error) {
				var sizes []int64
				for _, one := range a.All {
					n, err := io.Copy(io.Discard, one.Data)
					if err != nil || a.None != nil {
						return nil, fmt.Errorf("%v, and %v", err, a.None)
					}
					sizes = append(sizes, n)
				}
				return sizes, nil
			})))
		root := c.root(t)
		for _, size := range []int{0, 1, 4095, 4097, 64 << 10, 300_001, 2<<20 + 1} {
			data = pattern(size, 3)
			want := sha256.Sum256(data)
			for _, r := range []io.Reader{bytes.NewReader(data), iotest.DataErrReader(bytes.NewReader(data)), iotest.HalfReader(bytes.NewReader(data))} {
				source := newProbe(r)
				sum, err := call[[]byte](t.Context(), root, "digest", source)
				require.NoError(t, err)
				require.Equal(t, want[:], sum)
				select {
				case <-source.closed:
				default:
					t.Fatal("it is not closed when the call has returned")
				}
			}
			r, err := call[io.ReadCloser](t.Context(), root, "open")
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			requireSame(t, data, got)
			_, err = r.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
			require.NoError(t, r.Close())
		}
		type one = struct{ Data io.Reader }
		sizes, err := call[[]int64](t.Context(), root, "sizes", []one{{strings.NewReader("none")}, {&bytes.Buffer{}}, {bytes.NewBufferString("d")}}, nil)
		require.NoError(t, err)
		require.Equal(t, []int64{4, 0, 1}, sizes, "a word of the vocabulary is as good as others")
		_, err = call[*bytes.Buffer](t.Context(), root, "open")
		require.ErrorContains(t, err, "a reader cannot become a *bytes.Buffer")
		noneHeld(t, c, s)
	})
}

func TestAStreamNeedsMemoryForItsWindowOnly(t *testing.T) {
	const size, window = 64 << 20, 256 << 10
	onAll(t, func(t *testing.T, n network) {
		source := newProbe(io.LimitReader(zeros{}, size))
		c, s := streaming(t, n, true, library(func() io.ReadCloser { return source }))
		r, err := call[io.ReadCloser](t.Context(), c.root(t), "open")
		require.NoError(t, err)
		require.Zero(t, source.read.Load(), "nothing is read before somebody wants it")
		require.Zero(t, c.conf.Account.Used())
		var held, sending, ahead, got int64
		buf := make([]byte, 50_000)
		for err == nil {
			var k int
			k, err = r.Read(buf)
			got += int64(k)
			held = max(held, c.conf.Account.Used())
			sending = max(sending, s.conf.Account.Used())
			ahead = max(ahead, source.read.Load()-got)
		}
		require.Equal(t, io.EOF, err)
		require.EqualValues(t, size, got)
		assert.LessOrEqual(t, held, int64(window+4<<10))
		assert.LessOrEqual(t, sending, int64(maxChunk+8<<10))
		assert.LessOrEqual(t, ahead, int64(window+maxChunk))
		noneHeld(t, c, s)
	})
}

func TestCallsGoOnWhileAStreamStalls(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		source := newProbe(zeros{})
		c, s := streaming(t, n, both, library(func() io.ReadCloser { return source }))
		root := c.root(t)
		for range 3 {
			r, err := call[io.ReadCloser](t.Context(), root, "open")
			require.NoError(t, err)
			defer r.Close()
			_, err = io.ReadFull(r, make([]byte, 10))
			require.NoError(t, err)
			if both {
				eventually(t, "the window is full", func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					for _, f := range s.outflows {
						if f.credit > 0 {
							return false
						}
					}
					return len(s.outflows) > 0 && s.send.empty()
				})
			}
			for i := range 100 {
				sum, err := call[int](t.Context(), root, "add", i, 1)
				require.NoError(t, err)
				require.Equal(t, i+1, sum)
			}
		}
	})
}

func TestAStreamThatIsGivenUpEndsAtBothSides(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		t.Run("by who reads", func(t *testing.T) {
			out, in := io.Pipe()
			source := newProbe(out)
			c, s := streaming(t, n, both, library(func() io.ReadCloser { return source }))
			r, err := call[io.ReadCloser](t.Context(), c.root(t), "open")
			require.NoError(t, err)
			failed := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, r)
				failed <- err
			}()
			_, err = in.Write([]byte("abc")) // so they have begun
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.ErrorIs(t, within(t, "the reading ends", failed), ErrClosedReader)
			within(t, "the source is closed", source.closed)
			_, err = r.Read(make([]byte, 1))
			require.ErrorIs(t, err, ErrClosedReader)
			noneHeld(t, c, s)
		})
		t.Run("by who has sent it", func(t *testing.T) {
			failed := make(chan error, 1)
			c, s := streaming(t, n, both, library(nil, NewMethod("take", func(_ context.Context, a upload) (int, error) {
				_, err := io.Copy(io.Discard, a.Data)
				failed <- err
				return 0, err
			})))
			out, in := io.Pipe()
			source := newProbe(out)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			root := c.root(t)
			ended := make(chan error, 1)
			go func() {
				_, err := call[int](ctx, root, "take", source)
				ended <- err
			}()
			_, err := in.Write([]byte("abc"))
			require.NoError(t, err)
			cancel()
			require.ErrorIs(t, within(t, "the call ends", ended), context.Canceled)
			within(t, "the source is closed", source.closed)
			var failure *Failure
			require.ErrorAs(t, within(t, "the method is told", failed), &failure)
			require.Contains(t, failure.Text, "the call that brought the reader has returned")
			noneHeld(t, c, s)
		})
		t.Run("by nobody, but it is not reachable any more", func(t *testing.T) {
			source := newProbe(zeros{})
			c, s := streaming(t, n, both, library(func() io.ReadCloser { return source }))
			func() {
				r, err := call[io.ReadCloser](t.Context(), c.root(t), "open")
				require.NoError(t, err)
				_, err = io.ReadFull(r, make([]byte, 1000))
				require.NoError(t, err)
			}()
			eventually(t, "the source is closed", func() bool {
				runtime.GC()
				select {
				case <-source.closed:
					return true
				default:
					return false
				}
			})
			eventually(t, "nothing is held", func() bool { runtime.GC(); return c.conf.Account.Used() == 0 })
			noneHeld(t, c, s)
		})
	})
}

func TestAnErrorInTheMiddleOfAStreamReachesTheOtherSide(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		data := pattern(100_000, 1)
		broken := func() io.ReadCloser {
			return newProbe(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(valueError("the disk is broken"))))
		}
		panics := iotest.ErrReader(nil) // which does not get anywhere
		c, s := streaming(t, n, both, library(broken))
		root := c.root(t)
		r, err := call[io.ReadCloser](t.Context(), root, "open")
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		requireSame(t, data, got)
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		require.Equal(t, "the disk is broken", failure.Text)
		require.Equal(t, Answered, callError(t, err).Sent)
		_, again := r.Read(make([]byte, 1))
		require.Equal(t, err, again)

		_, err = call[[]byte](t.Context(), root, "digest", broken()) // there and back again
		require.ErrorAs(t, err, &failure)
		require.Equal(t, "the disk is broken", failure.Text)
		_, err = call[[]byte](t.Context(), root, "digest", panics)
		require.ErrorContains(t, err, io.ErrNoProgress.Error())
		noneHeld(t, c, s)
	})
}

func TestALostConnectionEndsItsStreams(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		out, in := io.Pipe()
		given, sent := newProbe(zeros{}), newProbe(out)
		failed := make(chan error, 1)
		c, s := streaming(t, n, both, library(func() io.ReadCloser { return given }, NewMethod("take", func(_ context.Context, a upload) (int, error) {
			_, err := io.Copy(io.Discard, a.Data)
			failed <- err
			return 0, err
		})))
		root := c.root(t)
		r, err := call[io.ReadCloser](t.Context(), root, "open")
		require.NoError(t, err)
		unread, err := call[io.ReadCloser](t.Context(), root, "open")
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 1000))
		require.NoError(t, err)
		p, _, err := begin[int](t.Context(), root, "take", sent)
		require.NoError(t, err)
		_, err = in.Write([]byte("abc"))
		require.NoError(t, err)

		s.conn.Close()
		require.ErrorIs(t, p.Wait(t.Context()), ErrDeadReference)
		require.ErrorIs(t, within(t, "the method is told", failed), ErrDeadReference)
		_, err = io.Copy(io.Discard, r)
		require.ErrorIs(t, err, ErrDeadReference)
		_, err = unread.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrDeadReference)
		within(t, "what was given is closed", given.closed)
		within(t, "what was sent is closed", sent.closed)
	})
}

func TestAReaderIsClosedWhenNobodyWillReadIt(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		g := newGate()
		var given []*probe
		c, s := streaming(t, n, both, library(func() io.ReadCloser {
			given = append(given, newProbe(zeros{}))
			g.pass("open")
			return given[len(given)-1]
		}))
		root := c.root(t)
		for what, args := range map[string][]any{
			"the method does not read":   {"ignore", nil},
			"there is no such method":    {"what", nil},
			"it is no argument of it":    {"add", nil, 1},
			"another cannot be sent":     {"size", nil, make(chan int)},
			"the call may not take that": {"size", nil, nil},
		} {
			source := newProbe(zeros{})
			args[1] = source
			_, err := call[any](t.Context(), root, args[0].(string), args[1:]...)
			require.Equal(t, what == "the method does not read", err == nil, "%s: %v", what, err)
			within(t, what, source.closed)
		}
		// The answer comes too late.
		ctx, cancel := context.WithCancel(t.Context())
		p, _, err := begin[io.ReadCloser](ctx, root, "open")
		require.NoError(t, err)
		within(t, "the method runs", g.entered)
		cancel()
		require.Error(t, p.Wait(ctx))
		close(g.open)
		eventually(t, "the late answer is there", func() bool { return s.Tables().Inbound == 0 })
		within(t, "it is closed", given[0].closed)
		// Nobody wants an answer.
		require.NoError(t, root.Send(t.Context(), "open", Args{}))
		within(t, "the method runs", g.entered)
		within(t, "it is closed", given[1].closed)
		// The answer is not what is expected.
		_, err = call[int](t.Context(), root, "open")
		require.Error(t, err)
		within(t, "it is closed", given[2].closed)
		noneHeld(t, c, s)
	})
}

func TestAReaderThatIsAnArgumentEndsWithItsMethod(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		kept := make(chan io.Reader, 1)
		c, s := streaming(t, n, both, library(nil, NewMethod("keep", func(_ context.Context, a upload) (int, error) {
			kept <- a.Data
			return a.Data.Read(make([]byte, 10))
		})))
		_, err := call[int](t.Context(), c.root(t), "keep", zeros{})
		require.NoError(t, err)
		r := <-kept
		eventually(t, "it is closed", func() bool {
			_, err := r.Read(make([]byte, 1))
			return errors.Is(err, ErrClosedReader)
		})
		noneHeld(t, c, s)
	})
}

func TestAMethodThatReadsGivesUpItsTurn(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		var c *side
		var root *Remote
		// What is read asks the method's own side, and waits for the answer.
		asks := func(times int) io.Reader {
			return readerFunc(func(p []byte) (int, error) {
				if times--; times < 0 {
					return 0, io.EOF
				}
				n, err := call[int](context.Background(), root, "add", times, 1)
				return copy(p, fmt.Sprint(n)), err
			})
		}
		var seen ledger
		c, s := streaming(t, n, both, library(nil, NewMethod("fetch", func(ctx context.Context, a struct{ From *hostRef }) (int64, error) {
			defer a.From.Close()
			p, r, err := begin[io.ReadCloser](ctx, a.From.Remote, "open")
			if err != nil {
				return 0, err
			}
			for FromContext(ctx).Tables().Outbound > 0 { // so that it need not give up its turn for the answer
				runtime.Gosched()
			}
			if err := p.Wait(ctx); err != nil {
				return 0, err
			}
			return io.Copy(io.Discard, *r)
		})), func(c *Config) {
			c.Inbound = []Interceptor{func(ctx context.Context, call *CallInfo, next func(context.Context) (any, error)) (any, error) {
				seen.note("%s", call.Method)
				return next(ctx)
			}}
		})
		root = c.root(t)
		size, err := call[int64](t.Context(), root, "size", asks(3))
		require.NoError(t, err)
		require.EqualValues(t, 3, size)
		size, err = call[int64](t.Context(), root, "fetch", library(func() io.ReadCloser { return io.NopCloser(asks(2)) }))
		require.NoError(t, err)
		require.EqualValues(t, 2, size)
		require.Equal(t, []string{"size", "add", "add", "add", "fetch", "open", "add", "add"}, seen.all(), "what interceptors see")
		noneHeld(t, c, s)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestStreamsAreBoundedInNumber(t *testing.T) {
	c, s := streaming(t, networks[1], true, library(func() io.ReadCloser { return newProbe(zeros{}) }), func(c *Config) { c.Limits.MaxStreams = 2 })
	root := c.root(t)
	var all []io.ReadCloser
	for range 3 {
		r, err := call[io.ReadCloser](t.Context(), root, "open")
		require.NoError(t, err)
		all = append(all, r)
	}
	for _, r := range all[:2] {
		_, err := r.Read(make([]byte, 1))
		require.NoError(t, err)
	}
	_, err := all[2].Read(make([]byte, 1))
	require.ErrorContains(t, err, "MaxStreams")
	all[0].Close()
	all[1].Close()
	noneHeld(t, c, s)

	// So is what they hold here.
	c, _ = streaming(t, networks[1], true, library(func() io.ReadCloser { return newProbe(zeros{}) }), func(c *Config) { c.Limits.Connection = 200 << 10 })
	r, err := call[io.ReadCloser](t.Context(), c.root(t), "open")
	require.NoError(t, err)
	_, err = r.Read(make([]byte, 1))
	var limit *banana.LimitError
	require.ErrorAs(t, err, &limit)
	require.Equal(t, "Connection", limit.Limit)
}

func TestAReaderIsAnArgumentOfACallOnAPromise(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		g := newGate()
		var shelf *Object
		shelf = library(nil, method("shelf", func(context.Context) (*Object, error) {
			g.pass("shelf")
			return shelf, nil
		}))
		c, _ := streaming(t, n, both, shelf)
		p := promise(t, c.root(t), "shelf")
		within(t, "the method runs", g.entered)
		var size int64
		if !both {
			close(g.open)
		}
		pending, err := p.Start(t.Context(), "size", Args{Positional: []any{strings.NewReader("abc")}}, &size, codec[int64]())
		require.NoError(t, err)
		if both {
			close(g.open)
		}
		require.NoError(t, pending.Wait(t.Context()))
		require.EqualValues(t, 3, size)
		p.Close()
	})
}

func TestAReaderIsSentOnceALookUpIsAnswered(t *testing.T) {
	onAll(t, func(t *testing.T, n network) {
		g, root := newGate(), library(nil, NewMethod("both", func(_ context.Context, a struct {
			Much []byte
			Data io.Reader
		}) (int64, error) {
			return io.Copy(io.Discard, a.Data)
		}))
		c, s := streaming(t, n, true, root)
		s.host.mu.Lock()
		s.host.lookup = func(context.Context, string) (*Object, error) {
			g.pass("look-up")
			return root, nil
		}
		s.host.mu.Unlock()
		p, err := c.LookUp(t.Context(), "root")
		require.NoError(t, err)
		within(t, "the look-up runs", g.entered)
		adapted := make(chan struct{}, 2)
		source := newProbe(nil)
		data := strings.NewReader("abc")
		source.Reader = readerFunc(func(p []byte) (int, error) {
			select {
			case <-source.closed:
				return 0, net.ErrClosed
			default:
				return data.Read(p)
			}
		})
		c.encC.Adapt = func(v any, _ reflect.Type) (banana.External, error) {
			adapted <- struct{}{}
			return adaptsReaders{}.Adapt(v, nil)
		}
		type result struct {
			size int64
			err  error
		}
		done := make(chan result, 1)
		go func() {
			var r result
			r.err = p.Call(t.Context(), "both", Args{Positional: []any{pattern(earlySize, 1), source}}, &r.size, codec[int64]())
			done <- r
		}()
		within(t, "it is too much before the look-up is answered", adapted)
		close(g.open)
		require.Equal(t, result{size: 3}, within(t, "the call is answered", done))
		within(t, "it was sent again", adapted)
		p.Close()
	})
}

// openedBy lets the peer offer a reader, and returns it together with the request
// of the stream that it has to answer.
func (p *peer) openedBy(s *side) (*Reader, int64) {
	p.t.Helper()
	remote := p.offerAs(s, 5, sourceInterface)
	r := NewReader(func(context.Context) (*Remote, error) { return remote, nil }, remote.Close)
	p.t.Cleanup(func() { r.Close() })
	begun := make(chan error, 1)
	go func() {
		_, err := r.next()
		begun <- err
	}()
	m := p.receive()
	require.Equal(p.t, "stream", m.method())
	p.send(seq{"chunk", m.request(), "x"})
	require.NoError(p.t, within(p.t, "there is something to be read", begun))
	return r, m.request()
}

// offerAs is offer with the name of an interface.
func (p *peer) offerAs(s *side, clid int, iface string) *Remote {
	p.t.Helper()
	r := p.offer(s, clid)
	s.mu.Lock()
	r.p.iface = iface
	s.mu.Unlock()
	return r
}

func withStreams(t *testing.T, root *Object) (*side, *peer) {
	noLeaks(t)
	a, b := net.Pipe()
	return peerOf(t, Link{Conn: a, Vocab: 1, Streams: true}, b, root)
}

func TestAPeerThatBreaksTheRulesOfStreams(t *testing.T) {
	const window = 256 << 10
	for what, test := range map[string]struct {
		send []any
		ends string // what it is told when its connection is ended, "" if it goes on
	}{
		"sends all of its credit":         {[]any{seq{"chunk", 0, pattern(window-1, 1)}}, ""},
		"sends more than its credit":      {[]any{seq{"chunk", 0, pattern(window, 1)}}, "no credit"},
		"sends more in parts":             {[]any{seq{"chunk", 0, pattern(window-2, 1)}, seq{"chunk", 0, "xy"}}, "no credit"},
		"sends an empty chunk":            {[]any{seq{"chunk", 0, ""}}, "an empty chunk"},
		"sends a number":                  {[]any{seq{"chunk", 0, 7}}, "should be a STRING"},
		"sends a chunk of two":            {[]any{seq{"chunk", 0, "x", "y"}}, "that should end"},
		"aborts a chunk":                  {[]any{seq{"chunk", 0, "x", abortToken}}, "a chunk"},
		"sends chunks of no stream":       {[]any{seq{"chunk", 77, pattern(window*2, 1)}, seq{"chunk", -1, "x"}}, ""},
		"sends chunks after the end":      {[]any{answerSeq(0, noneSeq()), seq{"chunk", 0, pattern(window*2, 1)}}, ""},
		"ends twice":                      {[]any{answerSeq(0, noneSeq()), answerSeq(0, noneSeq()), errorSeq(0, "x", "y")}, ""},
		"grants credit to no stream":      {[]any{seq{"credit", 77, 100}}, ""},
		"grants nothing":                  {[]any{seq{"credit", 77, 0}}, "a credit of 0 bytes"},
		"takes credit away":               {[]any{seq{"credit", 77, -1}}, "a credit of -1 bytes"},
		"grants too much":                 {[]any{seq{"credit", 77, raw(banana.AppendToken(nil, banana.TypeInt, 1<<31))}}, "a credit of 2147483648 bytes"},
		"answers a stream with an object": {[]any{answerSeq(0, seq{"my-reference", 9, ""})}, ""},
		"answers a stream with what not":  {[]any{seq{"answer", 0, seq{"nonsense"}}}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			s, p := withStreams(t, nil)
			s.publish(1, noneRoot())
			r, req := p.openedBy(s)
			for i, v := range test.send {
				if m := v.(seq); m[1] == 0 || m[1] == int64(0) {
					m[1] = req
					test.send[i] = m
				}
			}
			wire := p.wire(append(test.send, callSeq(999, 1, "none"))...)
			go p.write(wire)
			if test.ends != "" {
				require.Contains(t, p.dropped(), test.ends)
				_, err := io.Copy(io.Discard, r)
				require.ErrorIs(t, err, ErrDeadReference)
				return
			}
			for m := p.receive(); m.request() != 999; m = p.receive() {
				require.Contains(t, []string{"decref", ""}, m.method(), m)
				require.NotNil(t, m)
			}
		})
	}
}

func TestCreditOfAStreamOfOurs(t *testing.T) {
	source := newProbe(zeros{})
	s, p := withStreams(t, nil)
	s.publish(1, NewSource(source))
	p.send(callSeq(5, 1, "stream", 10))
	p.expect("OPEN() STRING(5,b'chunk') INT(5) STRING(10,b'" + strings.Repeat(`\x00`, 10) + "') CLOSE()")
	p.send(callSeq(5, 1, "stream", 10)) // the same number
	require.Contains(t, p.receive().attribute("value"), "a stream 5 already")
	p.send(callSeq(6, 1, "stream", -1))
	require.Contains(t, p.receive().attribute("value"), "a credit of -1 bytes")
	p.send(callSeq(6, 1, "stream", 0)) // it would never begin
	require.Contains(t, p.receive().attribute("value"), "a credit of 0 bytes")
	p.send(callSeq(0, 1, "stream", 1)) // nobody to tell
	p.send(seq{"credit", 5, 2})
	p.expect("OPEN() STRING(5,b'chunk') INT(5) STRING(2,b'\\x00\\x00') CLOSE()")
	require.EqualValues(t, 12, source.read.Load())
	p.send(callSeq(7, 0, "decref", keyword{"clid", 1}, keyword{"count", 1}))
	for range 2 { // the end of the stream, and the acknowledgement
		m := p.receive()
		require.Contains(t, []string{"error", "answer"}, m.kind())
	}
	within(t, "it is closed", source.closed)
	p.send(seq{"credit", 5, 1 << 30}, seq{"credit", 5, 1 << 30}) // too late for anybody to mind
	g := newGate()
	s.publish(3, NewSource(readerFunc(func([]byte) (int, error) { g.pass("read"); return 0, io.EOF })))
	p.send(callSeq(8, 3, "stream", 1<<30))
	within(t, "it is being read", g.entered)
	p.send(seq{"credit", 8, 1 << 30})
	require.Contains(t, p.dropped(), "a credit of 2147483648 bytes altogether")
	close(g.open)
}

func TestPullingFromASource(t *testing.T) {
	s, p := newPeer(t, nil)
	s.publish(1, NewSource(strings.NewReader("abcdef")))
	for _, size := range []int{2, 2, 100, 1, 1} { // sent at once, answered in order
		p.send(callSeq(size+10, 1, "read", size))
	}
	for _, want := range []string{"ab", "cd", "ef", "", ""} {
		m := p.receive()
		require.Equal(t, "answer", m.kind(), m)
		require.Equal(t, want, string(m[3].Body))
	}
	p.send(callSeq(1, 1, "read", 0))
	m := p.receive()
	require.Equal(t, "builtins.ValueError", m.attribute("type"))
	p.send(callSeq(2, 1, "stream", 100))
	require.Contains(t, p.receive().attribute("value"), "no method")
}

func TestAConnectionEndsWhileItsStreamWaitsForThatOfAnother(t *testing.T) {
	g := newGate()
	o := NewSource(readerFunc(func([]byte) (int, error) { g.pass("read"); return 0, io.EOF }))
	first, p := withStreams(t, nil)
	first.publish(1, o)
	p.send(callSeq(5, 1, "stream", 10))
	within(t, "it is read over one connection", g.entered)
	second, q := withStreams(t, nil)
	second.publish(1, o)
	for _, req := range []int{6, 7} {
		q.send(callSeq(req, 1, "stream", 10))
	}
	eventually(t, "the others wait", func() bool { o.source.mu.Lock(); defer o.source.mu.Unlock(); return len(o.source.waiting) == 2 })
	q.conn.Close()
	within(t, "the connection has ended", second.Done())
	require.Zero(t, second.conf.Account.Used())
	p.send(callSeq(8, 1, "read", 10))
	close(g.open)
	for range 2 {
		require.Equal(t, "answer", p.receive().kind())
	}
}

func TestWritersThatMiscountDoNoHarm(t *testing.T) {
	onStreams(t, func(t *testing.T, n network, both bool) {
		c, s := streaming(t, n, both, library(func() io.ReadCloser { return io.NopCloser(strings.NewReader("abc")) }))
		for _, count := range []int{-1, 4} {
			r, err := call[io.ReadCloser](t.Context(), c.root(t), "open")
			require.NoError(t, err)
			_, err = io.Copy(writerFunc(func([]byte) (int, error) { return count, nil }), r)
			require.ErrorContains(t, err, fmt.Sprintf("has written %d of 3 bytes", count))
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, "abc", string(got))
		}
		noneHeld(t, c, s)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// However a transfer ends, nothing of it is left.
func TestNothingIsLeftOfATransfer(t *testing.T) {
	type transfer struct {
		c, s   *side
		r      io.ReadCloser // of whom has asked
		source *probe        // that it reads
		cancel func()        // the context of the call by which it got that
	}
	data := pattern(300_000, 1)
	fails := func(read readerFunc) func() io.Reader {
		return func() io.Reader { return io.MultiReader(bytes.NewReader(data), read) }
	}
	withLast := func(err error) func() io.Reader {
		return func() io.Reader {
			return iotest.DataErrReader(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(err)))
		}
	}
	for what, test := range map[string]struct {
		source func() io.Reader // zeros if it is nil
		ends   func(t *testing.T, x transfer)
		lost   bool // with the connection
	}{
		"the end":                      {source: fails(func([]byte) (int, error) { return 0, io.EOF })},
		"an end with the last bytes":   {source: withLast(io.EOF)},
		"an error":                     {source: fails(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF })},
		"an error with the last bytes": {source: withLast(io.ErrUnexpectedEOF)},
		"a panic":                      {source: fails(func([]byte) (int, error) { panic("no") })},
		"the end of a goroutine":       {source: fails(func([]byte) (int, error) { runtime.Goexit(); return 0, nil })},
		"no progress":                  {source: fails(func([]byte) (int, error) { return 0, nil })},
		"a count that is too large":    {source: fails(func(p []byte) (int, error) { return len(p) + 1, nil })},
		"a count below zero":           {source: fails(func([]byte) (int, error) { return -1, nil })},
		"Close":                        {ends: func(t *testing.T, x transfer) { x.r.Close() }},
		"Close twice at a time":        {ends: func(t *testing.T, x transfer) { go x.r.Close(); x.r.Close() }},
		"Close while it is being read": {ends: func(t *testing.T, x transfer) { go x.r.Close(); io.Copy(io.Discard, x.r) }},
		"a context that has ended":     {ends: func(t *testing.T, x transfer) { x.cancel(); x.r.Close() }},
		"a writer that fails": {ends: func(t *testing.T, x transfer) {
			io.Copy(writerFunc(func([]byte) (int, error) { return 0, io.ErrShortWrite }), x.r)
			x.r.Close()
		}},
		"the end of the connection":    {ends: func(t *testing.T, x transfer) { x.c.Close(nil) }, lost: true},
		"its loss":                     {ends: func(t *testing.T, x transfer) { x.s.conn.Close() }, lost: true},
		"its end at the other side":    {ends: func(t *testing.T, x transfer) { x.s.Close(nil) }, lost: true},
		"a Shutdown without patience":  {ends: func(t *testing.T, x transfer) { shutdownNow(x.s) }, lost: true},
		"a Shutdown at the other side": {ends: func(t *testing.T, x transfer) { shutdownNow(x.c) }, lost: true},
		"its end when nobody reads on": {ends: func(t *testing.T, x transfer) { x.s.Close(nil); <-x.c.Done(); x.r.Close() }, lost: true},
	} {
		t.Run(what, func(t *testing.T) {
			onStreams(t, func(t *testing.T, n network, both bool) {
				x := transfer{source: newProbe(zeros{})}
				if test.source != nil {
					x.source.Reader = test.source()
				}
				x.c, x.s = streaming(t, n, both, library(func() io.ReadCloser { return x.source }))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				x.cancel = cancel
				var err error
				x.r, err = call[io.ReadCloser](ctx, x.c.root(t), "open")
				require.NoError(t, err)
				_, err = io.ReadFull(x.r, make([]byte, 100_000))
				require.NoError(t, err)
				if test.ends != nil {
					test.ends(t, x)
				}
				if test.source != nil || test.lost {
					io.Copy(io.Discard, x.r)
				}
				within(t, "it is closed", x.source.closed)
				if !test.lost {
					noneHeld(t, x.c, x.s)
					_, err = call[int](t.Context(), x.c.root(t), "add", 1, 2)
					require.NoError(t, err)
				}
				for _, s := range []*side{x.c, x.s} {
					eventually(t, "all memory is free", func() bool { return s.conf.Account.Used() == 0 })
				}
			})
		})
	}
}

// shutdownNow shuts down without waiting for anybody.
func shutdownNow(s *side) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Shutdown(ctx)
}

// Any object with a method "read" can be taken for a reader, Python's for one.
func TestReadersThatAnswerWhatTheyWant(t *testing.T) {
	much := pattern(3*maxBlock, 1)
	for what, test := range map[string]struct {
		answer any
		err    string // or much arrives
	}{
		"text":         {"text", "expected bytes"},
		"a number":     {7, "expected bytes"},
		"none":         {nil, "expected bytes"},
		"a reference":  {NewObject("", nil), "expected bytes"},
		"an error":     {valueError("the disk is broken"), "the disk is broken"},
		"much at once": {much, ""},
	} {
		t.Run(what, func(t *testing.T) {
			answers := make(chan any, 1)
			answers <- test.answer
			c, s := streaming(t, networks[0], true, NewObject("", nil,
				method("open", func(context.Context) (*Object, error) {
					return NewObject("", nil, NewMethod("read", func(context.Context, struct{ Size int }) (any, error) {
						select {
						case answer := <-answers:
							err, _ := answer.(error)
							return answer, err
						default:
							return []byte{}, nil
						}
					})), nil
				})))
			r, err := call[io.ReadCloser](t.Context(), c.root(t), "open")
			require.NoError(t, err)
			if test.err == "" {
				got, err := io.ReadAll(r)
				require.NoError(t, err)
				requireSame(t, much, got)
			} else {
				_, err := r.Read(make([]byte, 10))
				require.ErrorContains(t, err, test.err)
			}
			noneHeld(t, c, s)
		})
	}
}
