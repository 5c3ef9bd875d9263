package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

type testHost struct {
	adaptsReaders
	root *Object
}

func (h testHost) Lookup(context.Context, string) (*Object, error) { return h.root, nil }
func (h testHost) FURL(*Object) string                             { return "" }
func (h testHost) Wrap(r *Remote) banana.External                  { return &hostRef{r} }
func (testHost) Introduce(*Introduction) (banana.External, error)  { return nil, ErrIntroduction }
func (testHost) Go(f func(context.Context)) bool                   { go f(context.Background()); return true }
func (h testHost) Unwrap(v banana.External, _ *Broker) (any, error) {
	if r, ok := v.(*hostRef); ok {
		return r.Remote, nil
	}
	return v, nil
}

func tlsPair(tb testing.TB) (net.Conn, net.Conn) {
	c, s, _, _ := streamPair(tb)
	return c, s
}

func streamPair(tb testing.TB) (net.Conn, net.Conn, *Stream, *Stream) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	ch := make(chan net.Conn)
	var ss *Stream
	go func() {
		a, _ := l.Accept()
		ss = NewStream(a)
		c := ss
		t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, DynamicRecordSizingDisabled: true, SessionTicketsDisabled: true})
		t.Handshake()
		ch <- t
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	cs := NewStream(c)
	t := tls.Client(cs, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	if err := t.Handshake(); err != nil {
		tb.Fatal(err)
	}
	st := <-ch
	return t, st, cs, ss
}

func testConfig(root *Object) *Config {
	return &Config{
		Local: furl.TubID("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), Host: testHost{root: root}, Limits: Limits{}.WithDefaults(),
		Account: banana.NewAccount("Tub", 256<<20, nil), Logger: slog.New(slog.DiscardHandler),
	}
}

func benchPair(tb testing.TB) *Remote { return benchPairOf(tb, false) }

func benchPairOf(tb testing.TB, streams bool) *Remote {
	root := NewObject("", nil,
		NewMethod("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
		NewMethod("drain", func(_ context.Context, a upload) (int64, error) { return io.Copy(io.Discard, a.Data) }),
		NewMethod("sink", func(_ context.Context, a struct{ Data []byte }) (int, error) { return len(a.Data), nil }),
	)
	c, s, cs, ss := streamPair(tb)
	peer := furl.TubID("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
	sb := New(testConfig(root), Link{Conn: s, Stream: ss, Peer: peer, Vocab: 1, Inbound: true, Streams: streams})
	cb := New(testConfig(nil), Link{Conn: c, Stream: cs, Peer: peer, Vocab: 1, Streams: streams})
	sb.Start()
	cb.Start()
	tb.Cleanup(func() { cb.Close(nil); sb.Close(nil); <-cb.Done(); <-sb.Done() })
	x, err := cb.GetReference(context.Background(), "root")
	if err != nil {
		tb.Fatal(err)
	}
	return x.(*hostRef).Remote
}

var intCodec, _ = banana.CodecOf(reflect.TypeFor[int]())

func BenchmarkSequential(b *testing.B) {
	r := benchPair(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	for range b.N {
		n := new(int)
		if err := r.Call(ctx, "add", Args{Positional: []any{1, 2}}, n, intCodec); err != nil || *n != 3 {
			b.Fatal(err, *n)
		}
	}
}

func BenchmarkTLSPingPong(b *testing.B) {
	c, s := tlsPair(b)
	defer c.Close()
	go func() {
		buf := make([]byte, 64)
		for {
			n, err := s.Read(buf)
			if err != nil {
				return
			}
			s.Write(buf[:n])
		}
	}()
	buf := make([]byte, 32)
	for range b.N {
		c.Write(buf)
		c.Read(buf)
	}
}

func BenchmarkInFlight64(b *testing.B) {
	r := benchPair(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	var wg sync.WaitGroup
	each := b.N/64 + 1
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for range each {
				n := new(int)
				if err := r.Call(ctx, "add", Args{Positional: []any{1, 2}}, n, intCodec); err != nil || *n != 3 {
					b.Error(err, *n)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchSink(b *testing.B, size int) {
	r := benchPair(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	data := make([]byte, size)
	var wg sync.WaitGroup
	each := b.N/4 + 1
	b.ResetTimer()
	for range 4 {
		wg.Go(func() {
			for range each {
				n := new(int)
				if err := r.Call(ctx, "sink", Args{Positional: []any{data}}, n, intCodec); err != nil || *n != size {
					b.Error(err, *n)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkSink64K(b *testing.B) { benchSink(b, 64<<10) }
func BenchmarkSink1M(b *testing.B)  { benchSink(b, 1<<20) }

// One reader as an argument, in chunks or by calls.
func benchStream(b *testing.B, streams bool) {
	const size = 64 << 10
	r := benchPairOf(b, streams)
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	n, err := call[int64](context.Background(), r, "drain", io.LimitReader(zeros{}, int64(b.N)*size))
	if err != nil || n != int64(b.N)*size {
		b.Fatal(err, n)
	}
}

func BenchmarkStream(b *testing.B) { benchStream(b, true) }
func BenchmarkPull(b *testing.B)   { benchStream(b, false) }

func benchTLSBulk(b *testing.B, size int) {
	c, s := tlsPair(b)
	defer c.Close()
	b.SetBytes(int64(size))
	done := make(chan struct{})
	total := b.N * size
	go func() {
		buf := make([]byte, size)
		n := 0
		for n < total {
			k, err := s.Read(buf)
			n += k
			if err != nil {
				return
			}
		}
		close(done)
	}()
	data := make([]byte, size)
	b.ResetTimer()
	for range b.N {
		c.Write(data)
	}
	<-done
}

func BenchmarkTLSBulk64K(b *testing.B) { benchTLSBulk(b, 64<<10) }
func BenchmarkTLSBulk1M(b *testing.B)  { benchTLSBulk(b, 1<<20) }
