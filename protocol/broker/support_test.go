package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/big"
	"net"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Who is who in the tests.
const (
	ourTub   = furl.TubID("twyn6rswatofu4ozza76hsckj2llijqc")
	theirTub = furl.TubID("5uguoo7tagktrwrmmzk4n6uac44ktdje")
)

// patience is how long a test waits for what has to happen. It is no measure
// of anything: a test that waits for so long has failed.
const patience = 20 * time.Second

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("it never happens that %s", what)
		}
	}
}

// within waits for a channel.
func within[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("it never happens that %s\n%s", what, stacks())
		panic("not reached")
	}
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

// noLeaks makes sure that no goroutine of this package is left when the test
// and all that was registered with Cleanup after this have ended.
func noLeaks(t testing.TB) {
	if _, registered := watched.LoadOrStore(t, true); registered {
		return
	}
	t.Cleanup(func() {
		watched.Delete(t)
		// Goroutines that have nothing more to do end within moments. Their
		// number is no question of time, which may be a test's own.
		var left []string
		for range 2000 {
			if left = ours(); len(left) == 0 {
				return
			}
			runtime.Gosched()
		}
		t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

var watched sync.Map // tests that noLeaks was asked to look after

// ours returns the stacks of the goroutines that run code of this package,
// other than those of tests themselves.
func ours() (left []string) {
	for s := range strings.SplitSeq(string(stacks()), "\n\n") {
		if strings.Contains(s, "protocol/broker.") && !strings.Contains(s, "testing.tRunner(") && !strings.Contains(s, "testing.(*F).Fuzz") {
			left = append(left, s)
		}
	}
	return left
}

// A hostRef is what the program of a test sees of a Remote.
type hostRef struct{ *Remote }

func (*hostRef) BananaExternal() {}

// A tubHost is a Tub, as far as a Broker sees it.
type tubHost struct {
	adaptsReaders
	mu     sync.Mutex
	names  map[string]*Object
	furls  map[*Object]string
	lookup func(ctx context.Context, name string) (*Object, error) // in place of names
	// introduce decides about introductions; nil refuses all.
	introduce func(i *Introduction) (banana.External, error)
	hold      *Remote // of each foreign; nil for nothing
}

func (h *tubHost) Lookup(ctx context.Context, name string) (*Object, error) {
	h.mu.Lock()
	o, f := h.names[name], h.lookup
	h.mu.Unlock()
	if f != nil {
		return f(ctx, name)
	}
	if o == nil {
		return nil, ErrUnknownName
	}
	return o, nil
}

func (h *tubHost) FURL(o *Object) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.furls[o]
}

func (h *tubHost) Wrap(r *Remote) banana.External { return &hostRef{r} }

func (h *tubHost) Unwrap(v banana.External, b *Broker) (any, error) {
	switch v := v.(type) {
	case *Object:
		return v, nil
	case *hostRef:
		if v.Remote.b != b {
			return &Gift{FURL: v.Remote.FURL(), Held: v.Remote}, nil
		}
		return v.Remote, nil
	case foreign:
		return &Gift{FURL: v.furl, Held: h.hold}, nil
	}
	return nil, fmt.Errorf("%T is nothing that can be sent", v)
}

func (h *tubHost) Introduce(i *Introduction) (banana.External, error) {
	h.mu.Lock()
	f := h.introduce
	h.mu.Unlock()
	if f == nil {
		return nil, ErrIntroduction
	}
	return f(i)
}

func (h *tubHost) Go(f func(context.Context)) bool {
	go f(context.Background())
	return true
}

// A side is one of the two Tubs of a test.
type side struct {
	*Broker
	conf *Config
	host *tubHost
	logs *logBook
}

// newConfig returns the configuration of a Tub that publishes root, and what
// goes with it.
func newConfig(root *Object, change ...func(*Config)) (*Config, *tubHost, *logBook) {
	host := &tubHost{names: map[string]*Object{}, furls: map[*Object]string{}}
	if root != nil {
		host.names["root"] = root
	}
	logs := new(logBook)
	conf := &Config{Local: ourTub, Host: host, Logger: slog.New(logs)}
	for _, f := range change {
		f(conf)
	}
	conf.Limits = conf.Limits.WithDefaults()
	if conf.Account == nil {
		conf.Account = banana.NewAccount("Tub", 256<<20, nil)
	}
	return conf, host, logs
}

// newSide starts a broker. When the test has ended and the connection with
// it, nothing must be left.
func newSide(t testing.TB, link Link, root *Object, change ...func(*Config)) *side {
	conf, host, logs := newConfig(root, change...)
	if link.Peer == "" {
		link.Peer = theirTub
	}
	s := &side{Broker: New(conf, link), conf: conf, host: host, logs: logs}
	s.Start()
	t.Cleanup(func() { s.finish(t) })
	return s
}

// finish ends the connection and looks at what it leaves behind.
func (s *side) finish(t testing.TB) {
	s.Close(nil)
	within(t, "the connection is done", s.Done())
	require.Zero(t, s.conf.Account.Used(), "bytes of the account")
	require.Equal(t, Tables{}, s.Tables())
}

// A network makes the two ends of a connection.
type network struct {
	name string
	pair func(t testing.TB) (Link, Link)
}

// networks are those that a Broker may run over: one whose writes wait until
// the other side reads, and the usual one.
var networks = []network{
	{"a pipe", pipePair},
	{"TLS", tlsLinks},
}

func pipePair(testing.TB) (Link, Link) {
	a, b := net.Pipe()
	return Link{Conn: a, Vocab: 1}, Link{Conn: b, Vocab: 1}
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	type result struct {
		c   net.Conn
		err error
	}
	accepted := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		accepted <- result{c, err}
	}()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server := within(t, "the connection is accepted", accepted)
	require.NoError(t, server.err)
	return client, server.c
}

func tlsLinks(t testing.TB) (Link, Link) {
	client, server := tcpPair(t)
	cs, ss := NewStream(client), NewStream(server)
	c := tls.Client(cs, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	s := tls.Server(ss, &tls.Config{Certificates: []tls.Certificate{certificate()}, DynamicRecordSizingDisabled: true, SessionTicketsDisabled: true})
	shaken := make(chan error, 1)
	go func() { shaken <- s.Handshake() }()
	require.NoError(t, c.Handshake())
	require.NoError(t, within(t, "the handshake ends", shaken))
	return Link{Conn: c, Stream: cs, Vocab: 1}, Link{Conn: s, Stream: ss, Vocab: 1}
}

// onAll runs a test over every network.
func onAll(t *testing.T, f func(t *testing.T, n network)) {
	for _, n := range networks {
		t.Run("over "+n.name, func(t *testing.T) { f(t, n) })
	}
}

// connect starts two brokers. The client has connected to the server, and
// each knows the root of the other.
func connect(t testing.TB, n network, clientRoot, serverRoot *Object, change ...func(*Config)) (client, server *side) {
	noLeaks(t)
	a, b := n.pair(t)
	b.Inbound = true
	b.Peer = ourTub // whoever asks for it, it is the same in both directions
	return newSide(t, a, clientRoot, change...), newSide(t, b, serverRoot, change...)
}

// root looks up the root of the other side.
func (s *side) root(t testing.TB) *Remote {
	t.Helper()
	x, err := s.GetReference(t.Context(), "root")
	require.NoError(t, err)
	return x.(*hostRef).Remote
}

// call calls a method with positional arguments.
func call[T any](ctx context.Context, r *Remote, method string, args ...any) (T, error) {
	var zero T
	v := new(T)
	if err := r.Call(ctx, method, Args{Positional: args}, v, codec[T]()); err != nil {
		return zero, err
	}
	return *v, nil
}

// begin is Start with positional arguments.
func begin[T any](ctx context.Context, r *Remote, method string, args ...any) (*Pending, *T, error) {
	v := new(T)
	p, err := r.Start(ctx, method, Args{Positional: args}, v, codec[T]())
	return p, v, err
}

func codec[T any]() *banana.Codec {
	c, err := banana.CodecOf(reflect.TypeFor[T]())
	if err != nil {
		panic(err)
	}
	return c
}

// callError returns the *CallError that err is.
func callError(t testing.TB, err error) *CallError {
	t.Helper()
	var e *CallError
	require.ErrorAs(t, err, &e)
	return e
}

type noArgs = struct{}

// method is NewMethod for what takes nothing.
func method[R any](name string, f func(ctx context.Context) (R, error)) *Method {
	return NewMethod(name, func(ctx context.Context, _ noArgs) (R, error) { return f(ctx) })
}

// A logBook keeps what is logged.
type logBook struct {
	mu      sync.Mutex
	records []string
}

func (l *logBook) Enabled(context.Context, slog.Level) bool { return true }

func (l *logBook) Handle(_ context.Context, r slog.Record) error {
	s := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		s += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, s)
	return nil
}

func (l *logBook) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logBook) WithGroup(string) slog.Handler      { return l }

// containing returns the records with s in them.
func (l *logBook) containing(s string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.records), func(r string) bool { return !strings.Contains(r, s) })
}

// A peer is the other end of a connection, moved by hand.
type peer struct {
	t     testing.TB
	conn  net.Conn
	opens uint64 // OPENs sent
	next  func() (banana.Scanned, error, bool)
	stop  func()
}

// newPeer starts a broker and returns it with the other end of its connection.
// The broker has connected to the peer, unless the test changes that.
func newPeer(t testing.TB, root *Object, change ...func(*Config)) (*side, *peer) {
	noLeaks(t)
	a, b := net.Pipe()
	return peerOf(t, Link{Conn: a, Vocab: 1}, b, root, change...)
}

// newStranger is newPeer with a peer that has connected to the broker.
func newStranger(t testing.TB, root *Object, change ...func(*Config)) (*side, *peer) {
	noLeaks(t)
	a, b := net.Pipe()
	return peerOf(t, Link{Conn: a, Vocab: 1, Inbound: true}, b, root, change...)
}

// newStreamPeer is newPeer over a connection of the kernel's, which takes
// little that is not read.
func newStreamPeer(t testing.TB, root *Object, change ...func(*Config)) (*side, *peer) {
	noLeaks(t)
	a, b := tcpPair(t)
	require.NoError(t, a.(*net.TCPConn).SetWriteBuffer(16<<10))
	require.NoError(t, b.(*net.TCPConn).SetReadBuffer(16<<10))
	stream := NewStream(a)
	return peerOf(t, Link{Conn: stream, Stream: stream, Vocab: 1}, b, root, change...)
}

func peerOf(t testing.TB, link Link, conn net.Conn, root *Object, change ...func(*Config)) (*side, *peer) {
	p := &peer{t: t, conn: conn}
	p.next, p.stop = iter.Pull2(banana.Scan(p, link.Vocab))
	s := newSide(t, link, root, change...)
	t.Cleanup(func() {
		conn.Close()
		p.stop()
	})
	return s, p
}

// Read gives up when the broker does not send what the test expects.
func (p *peer) Read(b []byte) (int, error) {
	p.conn.SetReadDeadline(time.Now().Add(patience))
	return p.conn.Read(b)
}

// A message is what the broker has sent: a sequence or a single token.
type message []banana.Scanned

// receive reads the next message, or returns nil when the connection is
// closed.
func (p *peer) receive() message {
	p.t.Helper()
	var m message
	for {
		tok, err, ok := p.next()
		switch {
		case !ok && len(m) == 0:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil || !ok:
			p.t.Fatalf("after %v: %v", m, err)
		}
		m = append(m, tok)
		if tok.Depth == 0 && tok.Type != banana.TypeOpen {
			return m
		}
	}
}

// expect receives a message and compares it with tokens as Scan prints them,
// OPEN numbers aside.
func (p *peer) expect(tokens string) {
	p.t.Helper()
	require.Equal(p.t, unnumbered(tokens), unnumbered(p.receive().String()))
}

func (m message) String() string {
	var s []string
	for _, tok := range m {
		s = append(s, tok.Annotation())
	}
	return strings.Join(s, " ")
}

// unnumbered removes the numbers of OPENs and CLOSEs.
func unnumbered(tokens string) string {
	f := strings.Fields(tokens)
	for i, tok := range f {
		for _, name := range []string{"OPEN(", "CLOSE(", "ABORT("} {
			if strings.HasPrefix(tok, name) {
				f[i] = name + ")"
			}
		}
	}
	return strings.Join(f, " ")
}

// kind returns the type of the sequence, or the name of the token.
func (m message) kind() string {
	switch {
	case len(m) == 0:
		return "the end"
	case len(m) > 1:
		return m[1].Word
	}
	return m[0].Type.String()
}

// request returns the request number of a call, answer or error.
func (m message) request() int64 {
	if len(m) < 3 {
		return -1
	}
	return int64(m[2].N)
}

// method returns the name of the method of a call.
func (m message) method() string {
	if len(m) < 5 || m.kind() != "call" {
		return ""
	}
	return string(m[4].Body)
}

// attribute returns what follows the first STRING of that name.
func (m message) attribute(name string) string {
	for i, tok := range m[:max(0, len(m)-1)] {
		if tok.Type == banana.TypeString && string(tok.Body) == name {
			return string(m[i+1].Body)
		}
	}
	return ""
}

// number is attribute for INTs.
func (m message) number(name string) int64 {
	for i, tok := range m[:max(0, len(m)-1)] {
		if tok.Type == banana.TypeString && string(tok.Body) == name {
			if m[i+1].Type == banana.TypeNeg {
				return -int64(m[i+1].N)
			}
			return int64(m[i+1].N)
		}
	}
	return 0
}

// write sends bytes as they are. A broker that has closed the connection does
// not take them.
func (p *peer) write(b []byte) {
	p.t.Helper()
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(b); err != nil {
		require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded)
	}
}

// send sends values, as wire.add knows them.
func (p *peer) send(vs ...any) {
	p.t.Helper()
	p.write(p.wire(vs...))
}

// wire returns the bytes of values, with the OPEN numbers that come next.
func (p *peer) wire(vs ...any) []byte {
	w := wire{opens: p.opens}
	for _, v := range vs {
		w.add(v)
	}
	p.opens = w.opens
	return w.buf
}

// A wire builds bytes token by token.
type wire struct {
	buf   []byte
	opens uint64
}

// A seq is a sequence, its type first; raw are bytes as they are.
type (
	seq []any
	raw []byte
)

// add appends a value: int and int64 as INT or NEG, string and []byte as
// STRING.
func (w *wire) add(v any) {
	switch v := v.(type) {
	case int:
		w.buf = banana.AppendInt(w.buf, int64(v))
	case int64:
		w.buf = banana.AppendInt(w.buf, v)
	case string:
		w.buf = banana.AppendString(w.buf, v)
	case []byte:
		w.buf = banana.AppendString(w.buf, string(v))
	case raw:
		w.buf = append(w.buf, v...)
	case seq:
		n := w.opens
		w.opens++
		w.buf = banana.AppendToken(w.buf, banana.TypeOpen, n)
		for _, part := range v {
			w.add(part)
		}
		w.buf = banana.AppendToken(w.buf, banana.TypeClose, n)
	default:
		panic(fmt.Sprintf("no token for %T", v))
	}
}

// A keyword is an argument by name.
type keyword struct {
	name  string
	value any
}

// callSeq is a call with arguments: first the positional ones, then keywords.
func callSeq(req, clid int, method string, args ...any) seq {
	n := 0
	list := seq{"arguments", 0}
	for _, a := range args {
		if k, ok := a.(keyword); ok {
			list = append(list, k.name, k.value)
			continue
		}
		n++
		list = append(list, a)
	}
	list[1] = n
	return seq{"call", req, clid, method, list}
}

func answerSeq(req int64, v any) seq { return seq{"answer", req, v} }

func errorSeq(req int64, typ, text string) seq {
	return seq{"error", req, seq{"copyable", failureClass, "value", text, "type", typ, "traceback", "nowhere\n", "parents", seq{"list", typ}}}
}

func textSeq(s string) seq { return seq{"unicode", s} }

func noneSeq() seq { return seq{"none"} }

// abortToken gives up the message that is being sent.
var abortToken = raw(banana.AppendToken(nil, banana.TypeAbort, 0))

// lookUp is what a peer does first: it asks for the root, which is object 1 of
// the broker from then on.
func (p *peer) lookUp() {
	p.t.Helper()
	p.send(callSeq(1, 0, "getReferenceByName", keyword{"name", "root"}))
	p.expect("OPEN() VOCAB(13=answer) INT(1) OPEN() VOCAB(15=my-reference) INT(1) STRING(0,b'') CLOSE() CLOSE()")
}

// alive makes sure that the connection works: the root's method "none" is
// called and answers.
func (p *peer) alive() {
	p.t.Helper()
	p.send(callSeq(999, 1, "none"))
	p.expect("OPEN() VOCAB(13=answer) INT(999) OPEN() VOCAB(0=none) CLOSE() CLOSE()")
}

// dropped makes sure that the broker ends the connection with an ERROR token,
// and returns its text.
func (p *peer) dropped() string {
	p.t.Helper()
	m := p.receive()
	require.Equal(p.t, "ERROR", m.kind(), m)
	require.Nil(p.t, p.receive())
	return string(m[0].Body)
}

// offer answers the look-up of the broker with a reference to object clid of
// the peer, and returns it.
func (p *peer) offer(s *side, clid int) *Remote {
	p.t.Helper()
	type result struct {
		x   banana.External
		err error
	}
	done := make(chan result, 1)
	go func() {
		x, err := s.GetReference(context.Background(), "root")
		done <- result{x, err}
	}()
	m := p.receive()
	require.Equal(p.t, "getReferenceByName", m.method())
	p.send(answerSeq(m.request(), seq{"my-reference", clid, ""}))
	r := within(p.t, "the look-up is answered", done)
	require.NoError(p.t, r.err)
	return r.x.(*hostRef).Remote
}

// noneRoot is a root with the method that alive calls, and others.
func noneRoot(methods ...*Method) *Object {
	return NewObject("", nil, append(methods, method("none", func(context.Context) (any, error) { return nil, nil }))...)
}

// A gate lets methods wait until the test has what it wants.
type gate struct {
	entered chan string
	open    chan struct{}
}

func newGate() *gate { return &gate{entered: make(chan string, 100_000), open: make(chan struct{})} }

// pass announces itself and waits until the gate is opened.
func (g *gate) pass(name string) {
	g.entered <- name
	<-g.open
}

// pattern returns n bytes that are different everywhere.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// requireSame compares long byte strings without printing them.
func requireSame(t testing.TB, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		t.Fatalf("%d bytes are not the %d that were expected", len(got), len(want))
	}
}
