package broker

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// The locking rule: Broker.mu guards everything that is not marked otherwise:
// the tables, the queues, the numbering of what goes out. It is held for short
// steps only: never while user code runs, never during a read or write of the
// connection, and never while the Host is called. The Decoder belongs to the
// reader, which is the only goroutine that touches it. A message that is sent
// is encoded before mu is taken; its numbers and references get their place in
// the tables under mu in the moment in which it goes out, so that encoding and
// releasing a reference cannot pass each other.

// Host is what a Broker asks of its Tub. Its methods are called from several
// goroutines.
type Host interface {
	// Lookup finds the object that a peer asks for by name, or returns
	// ErrUnknownName. It may run code of users.
	Lookup(ctx context.Context, name string) (*Object, error)
	// FURL returns the FURL under which the object can be reached, with its
	// secret, or "" when it has none.
	FURL(o *Object) string
	// Wrap makes of a received reference what the program is to see.
	Wrap(r *Remote) banana.External
	// Unwrap is the reverse for values to be sent over b: it returns an
	// *Object, a *Remote of b, or a *Gift.
	Unwrap(v banana.External, b *Broker) (any, error)
	// Adapt returns what is sent in the place of v, which is no External: nil
	// for nothing else. static is the interface type that it is declared as, or
	// nil. See [banana.EncoderConfig].
	Adapt(v any, static reflect.Type) (banana.External, error)
	// Adopt makes a value of type t of x, which has come by reference: what
	// Wrap or Introduce has returned, or an *Object. It must not wait.
	Adopt(x any, t reflect.Type) (reflect.Value, error)
	// Introduce is asked, by the reader, what the program is to see of an
	// introduction. An error refuses it.
	Introduce(i *Introduction) (banana.External, error)
	// Go runs f in a goroutine that the Tub waits for at its end, at which
	// ctx ends. It returns false if that has come.
	Go(f func(ctx context.Context)) bool
}

// Limits are the bounds of one connection; zero fields mean the defaults.
type Limits struct {
	banana.Limits
	// StrangerMessage is what MaxMessage and MaxToken are for the calls of a
	// peer that connected to us and has not looked up a name successfully;
	// default 16 KiB. All his calls together, and all answers that wait for
	// him, may hold 256 times as much.
	StrangerMessage int
	// StrangerReferences is how many references such a peer may send;
	// default 16. Further ones are released at once, and at most 16 times
	// as many releases wait for his acknowledgement.
	StrangerReferences int
	// MaxInbound is the number of calls of the peer that may be in progress
	// or wait for their turn; further ones get an error. Default 10 000.
	MaxInbound int
	// MaxReferences is the number of the peer's objects that we hold, and
	// of ours that it holds; a message that brings more is refused, one
	// that would send more fails. Default 100 000.
	MaxReferences int
	// MaxPromises is how many answers of ours the peer may make calls on
	// before it has them, see [Pipelining]; default 1 000. A stranger has
	// StrangerReferences of them.
	MaxPromises int
	// MaxStreams is how many of our readers the peer may read at a time, see
	// [Streams]; default 100. A stranger may read StrangerReferences of them.
	MaxStreams int
	// StreamWindow is how many bytes of one stream the peer may send before
	// they are read here; default 256 KiB. A stream that is being read holds so
	// much of Connection; one that is being sent holds 64 KiB.
	StreamWindow int
	// SendQueue is how many bytes of calls may wait to be sent for which
	// nobody waits, by Remote.Send and Remote.Start, before these have to
	// wait themselves; default 1 MiB.
	SendQueue int
	// AnswerQueue is how many bytes of answers may wait to be sent before
	// the connection is given up; default 64 MiB.
	AnswerQueue int
	// Connection is the memory that arguments and answers of this
	// connection may hold, in bytes; default 64 MiB.
	Connection int64
}

// WithDefaults returns l with every unset field at its default.
func (l Limits) WithDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	l.Limits = l.Limits.WithDefaults()
	def(&l.StrangerMessage, 16<<10)
	def(&l.StrangerReferences, 16)
	def(&l.MaxInbound, 10_000)
	def(&l.MaxReferences, 100_000)
	def(&l.MaxPromises, 1_000)
	def(&l.MaxStreams, 100)
	def(&l.StreamWindow, 256<<10)
	l.StreamWindow = min(l.StreamWindow, maxCredit)
	def(&l.SendQueue, 1<<20)
	def(&l.AnswerQueue, 64<<20)
	if l.Connection <= 0 {
		l.Connection = 64 << 20
	}
	return l
}

// Config says what a Broker needs to know. It is shared by all connections of
// a Tub and must not change.
type Config struct {
	Local  furl.TubID
	Host   Host
	Limits Limits
	// Account is the Tub's; the connection's is made within it.
	Account *banana.Account
	// Keepalive is after how much silence of the peer a PING is sent, 0 for
	// never.
	Keepalive time.Duration
	// Disconnect is after how much silence of the peer the connection is
	// given up, 0 for never.
	Disconnect time.Duration
	// IntroductionTimeout is how long an introduction may take; the call or answer
	// that brings it fails then. Default 30 seconds.
	IntroductionTimeout time.Duration
	// Copies are the types that travel by copy, with [CopyFailures] among
	// them; default: failures alone, which take no stacks along.
	Copies *banana.Copies
	// Discreet returns what the peer is told of an error; nil tells it as it
	// is. The error of a method that panicked has a method Panicked() bool.
	Discreet func(error) error
	// HideRemoteTypes makes every Failure of the peer one of RemoteException.
	HideRemoteTypes bool
	// LogLocalFailures is the level at which the errors of methods that the
	// peer calls are logged, LogRemoteFailures that for our calls which the
	// peer answers with a Failure. Nil logs none.
	LogLocalFailures, LogRemoteFailures slog.Leveler

	// Interfaces are the remote interfaces that this program knows, by name:
	// what is called on an object that announces one of them, and what that
	// answers, has to be what the interface allows.
	Interfaces map[string]*schema.Interface

	Logger            *slog.Logger
	Observer          Observer
	Inbound, Outbound []Interceptor
}

// Link is what negotiation says of one connection.
type Link struct {
	Conn     net.Conn
	Buffered []byte
	// Stream is what Conn runs over, if it is of the kind; the Broker takes
	// it over. It may be nil.
	Stream *Stream
	Peer   furl.TubID
	// Inbound says that the peer has connected to us.
	Inbound bool
	Vocab   int
	// Pipelines says that the extension Pipelining is in force.
	Pipelines bool
	// Streams says that the extension Streams is.
	Streams bool
	// LateRefusal recognises the text of a peer that refuses a connection
	// after we have accepted it; nil recognises none.
	LateRefusal func(b []byte) (text string, ok bool)
}

// A Broker is one live connection. Its methods are safe for concurrent use.
type Broker struct {
	cfg     *Config
	log     *slog.Logger
	conn    net.Conn
	stream  *Stream // nil: writes may wait
	peer    furl.TubID
	inbound bool
	pipes   bool // Pipelining is in force
	flows   bool // Streams is
	late    func([]byte) (string, bool)
	id      uint64 // of its connect event
	account *banana.Account

	ctx    context.Context // of running methods; cancelled at the end
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // of all goroutines but who reads, who waits for them
	done   chan struct{}  // closed once every goroutine has ended

	received atomic.Int64 // when the last bytes came, in ns since start
	stranger atomic.Bool

	mu       sync.Mutex
	err      error // why it has ended
	closing  bool  // Shutdown: no new inbound calls
	quiet    chan struct{}
	watchers map[*watcher]struct{}
	timer    *time.Timer // keepalive
	notes    []Event     // for the observer, once mu is free

	send  sendQueue
	calls callTable
	turns turnQueue
	kept  keptAnswers
	known bool // a look-up of ours has succeeded: we are no stranger
	early int  // what was sent before, for answers that are kept
	role  readRole
	refs  refTables
	// outflows are streams of ours, by the requests of the peer.
	outflows map[int64]*outflow

	introducing chan struct{} // a place for each introduction that is being resolved

	encC banana.EncoderConfig // does not change

	// Owned by the reader.
	dec *banana.Decoder
	// tasting is for the constraints on what is being read.
	tasting schema.Tasting
	decC    banana.DecoderConfig
	fresh   []*Remote // references of the message that is being read
	gifts   gifts     // likewise
	// readers are those of the message that is being read.
	readers []*Reader
	// keeping says that the answer to the call that is being read is kept.
	keeping bool
	// noGifts says that the answer that is being read is of no use as one.
	noGifts bool
}

// start is the zero of the clock for silence.
var start = time.Now()

// New makes a connection, which begins with Start. The Broker closes link.Conn
// when it ends.
func New(cfg *Config, link Link) *Broker {
	b := &Broker{
		cfg:     cfg,
		log:     cfg.Logger,
		conn:    link.Conn,
		stream:  link.Stream,
		peer:    link.Peer,
		inbound: link.Inbound,
		pipes:   link.Pipelines,
		flows:   link.Streams,
		late:    link.LateRefusal,
		id:      NextEventID(),
		account: banana.NewAccount("Connection", cfg.Limits.Connection, cfg.Account),
		done:    make(chan struct{}),

		introducing: make(chan struct{}, maxIntroducing),
	}
	b.ctx, b.cancel = context.WithCancelCause(context.Background())
	b.stranger.Store(link.Inbound)
	b.calls.init()
	b.refs.init()
	copies := cmp.Or(cfg.Copies, failuresAlone)
	b.encC = banana.EncoderConfig{
		Vocab:    link.Vocab,
		Limits:   cfg.Limits.Limits,
		External: b.encodeExternal,
		OpenType: b.openType,
		Adapt:    cfg.Host.Adapt,
		Copies:   copies,
		// Without the extension it may be Foolscap's own.
		WholeAttributes: !link.Pipelines,
	}
	b.decC = banana.DecoderConfig{
		Vocab:    link.Vocab,
		Limits:   cfg.Limits.Limits,
		Account:  b.account,
		Ping:     b.gotPing,
		External: b.decodeExternal,
		Adapt:    b.adopt,
		Copies:   copies,
		Skipped:  b.skipped,
	}
	b.dec = banana.NewDecoder((*reader)(b), link.Buffered, &b.decC)
	b.tasting.CopyState, b.tasting.Charge = b.dec.CopyState, b.dec.Charge
	b.send.returned = sync.NewCond(&b.mu)
	if b.stream != nil {
		b.send.num.Lend = lendSize
		b.stream.takeOver()
	}
	return b
}

// Start lets a connection that New has made begin to read, and to run the
// peer's calls. It is called once, and has to be called in any case: it is
// what Done waits for, even when the connection has ended before.
func (b *Broker) Start() {
	b.received.Store(int64(time.Since(start)))
	b.observe(Event{Kind: EventConnect, ID: b.id, Peer: b.peer, Inbound: b.inbound})
	b.startKeepalive()
	go b.readLoop()
}

// Peer returns the TubID of the other side.
func (b *Broker) Peer() furl.TubID { return b.peer }

// Inbound reports whether the peer has connected to us.
func (b *Broker) Inbound() bool { return b.inbound }

// Context returns a context that is cancelled when the connection ends, with
// the reason as its cause.
func (b *Broker) Context() context.Context { return b.ctx }

// Done is closed when the connection has ended and nothing of it runs any more.
func (b *Broker) Done() <-chan struct{} { return b.done }

// Err returns why the connection has ended, or nil while it lives.
func (b *Broker) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// note keeps an event for unlock to tell. mu is held.
func (b *Broker) note(e Event) {
	if b.cfg.Observer != nil {
		b.notes = append(b.notes, e)
	}
}

// unlock releases mu and tells what was noted under it.
func (b *Broker) unlock() {
	notes := b.notes
	b.notes = nil
	b.mu.Unlock()
	for _, e := range notes {
		b.observe(e)
	}
}

// endLater is end for those who hold mu.
func (b *Broker) endLater(reason error) {
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		b.end(reason)
	}()
}

func (b *Broker) observe(e Event) {
	if b.cfg.Observer != nil {
		if e.ID == 0 {
			e.ID = NextEventID()
		}
		b.cfg.Observer(e)
	}
}

// observeLimit reports a limit that was hit.
func (b *Broker) observeLimit(err error) {
	var limit *banana.LimitError
	if b.cfg.Observer != nil && errors.As(err, &limit) {
		b.observe(Event{Kind: EventLimit, Parent: b.id, Peer: b.peer, Detail: limit.Limit, Err: err})
	}
}

type watcher struct{ f func(error) }

// OnDisconnect arranges that f is called once, in a goroutine of its own, when
// the connection ends, with the reason; at once if it has ended. stop
// withdraws it. Done waits for f.
func (b *Broker) OnDisconnect(f func(reason error)) (stop func()) {
	w := &watcher{f}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		go f(b.err)
		return func() {}
	}
	if b.watchers == nil {
		b.watchers = make(map[*watcher]struct{})
	}
	b.watchers[w] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, w)
	}
}

// Close ends the connection at once. What waits to be sent is lost. It does
// not wait for running methods; Done does.
func (b *Broker) Close(reason error) {
	if reason == nil {
		reason = ErrClosed
	}
	b.end(reason)
}

// end ends the connection: the one place where that happens.
func (b *Broker) end(reason error) {
	b.mu.Lock()
	for b.send.lent != nil { // its caller is not to be released yet
		b.send.returned.Wait()
	}
	if b.err != nil {
		b.mu.Unlock()
		return
	}
	b.err = reason
	if b.timer != nil {
		b.timer.Stop()
	}
	watchers := b.watchers
	b.watchers = nil
	failed := b.dropCalls()
	unsent := b.dropQueue()
	waiting := b.dropTurns()
	held, unread := b.refs.drop()
	b.signalQuiet()
	orphan := b.role.vacant // nobody reads, so nobody would see the end
	b.role.vacant = false
	b.wg.Add(1 + len(watchers)) // Done waits for the rest of this too
	b.unlock()
	defer b.wg.Done()

	b.cancel(reason)
	dead := &deadError{reason}
	for _, p := range failed {
		p.finish(dead)
	}
	b.conn.Close() // after the callers, because TLS may take its time to say good-bye
	if orphan {
		go b.readLoop()
	}
	for _, s := range unread {
		b.stopSource(s, dead)
	}
	for _, item := range unsent {
		b.releaseItem(item)
	}
	for _, h := range held {
		releaseHandle(h)
	}
	for _, in := range waiting {
		in.gifts.drop()
		b.account.Release(in.charge)
	}
	b.log.Debug("connection ended", "peer", b.peer.Short(), "reason", reason)
	b.observe(Event{Kind: EventDisconnect, Parent: b.id, Peer: b.peer, Inbound: b.inbound, Err: reason})
	for w := range watchers {
		go func() {
			defer b.wg.Done()
			w.f(reason)
		}()
	}
}

// Shutdown ends the connection in good order: new calls of the peer get
// ErrShutdown, running ones finish, what they answer is sent. When ctx ends
// first, the rest is given up and its error returned. Our own outstanding
// calls do not hold it up; they fail.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	b.closing = true
	if b.quiet == nil {
		b.quiet = make(chan struct{})
	}
	quiet := b.quiet
	b.signalQuiet()
	b.mu.Unlock()
	var err error
	select {
	case <-quiet:
	case <-b.ctx.Done():
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.end(ErrClosed)
	select {
	case <-b.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return err
}

// signalQuiet tells Shutdown when nothing is left to be done. mu is held.
func (b *Broker) signalQuiet() {
	if b.quiet == nil {
		return
	}
	if b.err == nil && (b.turns.active > 0 || b.send.writing || !b.send.empty()) {
		return
	}
	select {
	case <-b.quiet:
	default:
		close(b.quiet)
	}
}

// readError is what ended the reading, as the reason of the connection's end.
func (b *Broker) readError(err error) error {
	var protocol *banana.ProtocolError
	var remote *banana.RemoteError
	switch {
	case errors.As(err, &protocol):
		if b.late != nil && protocol.Raw != nil {
			if text, ok := b.late(protocol.Raw); ok {
				return &lateRefusal{text}
			}
		}
		return err
	case errors.As(err, &remote):
		return err
	case b.late != nil:
		if text, ok := b.late(b.dec.Unread()); ok { // one that is shorter than a header may be
			return &lateRefusal{text}
		}
	}
	if errors.Is(err, io.EOF) {
		return ErrLost
	}
	return errors.Join(ErrLost, err)
}

// lateRefusal is a refusal that comes after we have accepted.
type lateRefusal struct{ text string }

func (e *lateRefusal) Error() string { return "the peer refuses the connection: " + e.text }
func (e *lateRefusal) Unwrap() error { return ErrLost }
