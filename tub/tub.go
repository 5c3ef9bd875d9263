package tub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// Limits bound what one connection can make a Tub do, and those on one message
// are within them:
//
//	tub.Limits{MaxInbound: 100, Limits: banana.Limits{MaxMessage: 1 << 20}}
//
// A field that is 0 or less has its default, which is said there and in
// docs/options.md.
type Limits = broker.Limits

// Options configure a Tub. The zero value of every field means its default.
type Options struct {
	// Logger is told what goes wrong and what is odd; default: nothing is
	// logged. No secret is ever logged: from the texts of errors the names in
	// FURLs are left out.
	Logger *slog.Logger
	// Observer is told of every dial, negotiation, call, reference and limit;
	// default nobody.
	Observer Observer
	// Inbound and Outbound stand around the calls of peers, and around ours.
	Inbound, Outbound []Interceptor

	// Limits bound messages, calls and queues of each connection.
	Limits Limits
	// Memory bounds what the arguments and answers of all connections may
	// hold, in bytes; default 256 MiB.
	Memory int64

	// Keepalive is after how much silence of a peer a PING is sent; default
	// 4 minutes, negative for never.
	Keepalive time.Duration
	// DisconnectTimeout is after how much silence of a peer its connection
	// is given up; default never. It has to be longer than Keepalive, unless
	// that is never.
	DisconnectTimeout time.Duration

	// NegotiationTimeouts bound the phases of a negotiation.
	NegotiationTimeouts negotiate.Timeouts
	// HandleOldDuplicates lets a connection attempt of a peer that does not
	// say what it remembers replace a connection that is at least this old;
	// default: it is refused.
	HandleOldDuplicates time.Duration
	// MinTLS is the lowest TLS version, default tls.VersionTLS12. Peers with
	// a very old OpenSSL need tls.VersionTLS10.
	MinTLS uint16

	// TracesToPeers lets the Go stack of a method that panics travel to its
	// caller, and the tracebacks of failures that are passed on; default off.
	TracesToPeers bool
	// TracesFromPeers keeps what peers tell of where their methods have
	// failed, in [Failure.Traceback]; default off: it is dropped.
	TracesFromPeers bool

	// Copies are the types whose values travel by copy. *[Failure] and
	// [furl.FURL] always do.
	Copies []Copy

	// HideRemoteTypes makes the *[Failure] of every call one of
	// [RemoteException]: nothing in this program, and nobody who calls it,
	// takes a way that a peer has chosen by the name of an exception. Text says
	// what it was, for people. Default: off.
	HideRemoteTypes bool
	// LogLocalFailures is the level at which Logger is told of methods here
	// that fail when a peer calls them, and LogRemoteFailures that for calls
	// of ours which a peer answers with a failure; default: not at all. Of a
	// remote failure the type is logged, not the text, which may hold secrets.
	LogLocalFailures, LogRemoteFailures slog.Leveler

	// Stagger is how long a hint has until the next one of a FURL is tried
	// as well; default 250 ms. One that fails brings the next one forward at
	// once, one that gets as far as negotiation has twice as long again, once.
	Stagger time.Duration
	// Ranker decides in which order hints are tried; default [Rank].
	Ranker Ranker
	// Anonymity is how transports that hide the address of this machine are
	// chosen; default: they come after the others.
	Anonymity Anonymity

	// Hidden makes a Tub whose address nobody is to learn: it has no handler
	// but those that it is given, and refuses every handler, listener and
	// location that reveals the address, or looks up names, with an
	// *[ExposureError]. Its anonymity is AnonymityRequired. Errors of the
	// system and panics, which may contain addresses and paths, are not
	// described to peers, whatever TracesToPeers says.
	Hidden bool
	// TwoFaces allows a Tub to have listeners that hide the address beside
	// others that reveal it. Without it, too, a Tub that is not Hidden may
	// dial directly: then its peers see its address and its TubID together.
	TwoFaces bool

	// Introductions is what is done with references to objects of third Tubs
	// that peers send; default: they are accepted, but lazy in a hidden Tub.
	Introductions Introductions
	// AskIntroduction, unless it is nil, decides that for each one. It is
	// called from goroutines of its own, and ctx ends when the time is up; its
	// IntroductionsByDefault leaves it to the field Introductions.
	AskIntroduction func(ctx context.Context, i Introduction) Introductions
	// IntroductionTimeout is how long an introduction may take, AskIntroduction
	// included, and hold up the calls behind it; default 30 seconds.
	IntroductionTimeout time.Duration

	// Interfaces are the remote interfaces that the Tub knows: calls on objects
	// that are announced with one of them, and what these answer, have to be what
	// it allows, as with the methods of an object that [Implements] one. Without
	// it nothing is known of what an interface allows but its name.
	Interfaces []*schema.Interface
	// Stubs are for Go interfaces whose values go by reference: see [StubOf].
	Stubs []Stub

	// NoHandlers leaves out the handler for tcp hints that a Tub otherwise
	// has from the beginning.
	NoHandlers bool
}

// A Tub is an identity with its objects and its connections. Its methods are
// safe for concurrent use. Two Tubs of one process share nothing.
type Tub struct {
	id    *Identity
	opts  Options
	log   *slog.Logger
	local *negotiate.Local
	conf  *broker.Config
	names nameTable
	stubs stubTable
	// networks returns those that this machine has an address in.
	networks func() []netip.Prefix

	// mu guards what follows. It is not held while anything of a user runs,
	// or while a lock of another package is taken.
	mu        sync.Mutex
	closed    bool
	handlers  map[string]handlers.Handler
	listeners []*Listener            // those attached, in the order of our hints
	owned     map[*Listener]struct{} // those made by Listen: they end with the Tub
	hintsNew  chan struct{}          // closed when our hints may have changed
	conns     map[*connection]struct{}
	attempts  map[furl.TubID]*attempt
	infos     infoTable
	loop      *loopback

	looping sync.Mutex // held while a loopback is made

	ctx    context.Context // of everything that runs for the Tub
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// ErrTubClosed is the error of using a Tub after Close or Shutdown.
var ErrTubClosed = errors.New("the Tub is closed")

// New makes a Tub of an identity. opts may be nil; an error says what is wrong
// with them. The Tub has no listener; a
// Tub that only calls needs none. End it with Close or Shutdown.
func New(id *Identity, opts *Options) (*Tub, error) {
	if id == nil {
		return nil, fmt.Errorf("foolscap: a Tub needs an identity: %w", ErrIdentity)
	}
	t := &Tub{
		id:       id,
		handlers: make(map[string]handlers.Handler),
		owned:    make(map[*Listener]struct{}),
		hintsNew: make(chan struct{}),
		conns:    make(map[*connection]struct{}),
		attempts: make(map[furl.TubID]*attempt),
		networks: networks,
	}
	if opts != nil {
		t.opts = *opts
	}
	o := &t.opts
	o.hide()
	known, err := knownInterfaces(o.Interfaces)
	if err != nil {
		return nil, err
	}
	if err := t.stubs.init(o.Stubs); err != nil {
		return nil, err
	}
	t.log = guard(o.Logger)
	o.Keepalive = cmp.Or(o.Keepalive, 4*time.Minute)
	if d := o.DisconnectTimeout; d > 0 && d <= o.Keepalive {
		return nil, fmt.Errorf("foolscap: option DisconnectTimeout is %v and Keepalive %v: peers that are idle would be given up before they are asked; let Keepalive be shorter", d, o.Keepalive)
	}
	if o.Stagger <= 0 {
		o.Stagger = defaultStagger
	}
	if o.Ranker == nil {
		o.Ranker = Rank
	}
	o.Memory = cmp.Or(max(o.Memory, 0), 256<<20)
	local, err := negotiate.NewLocal(negotiate.LocalConfig{
		Certificate: id.cert(),
		Ledger:      negotiate.NewLedger(negotiate.LedgerConfig{HandleOldDuplicates: o.HandleOldDuplicates}),
		MinTLS:      o.MinTLS,
		Extensions:  []string{broker.Pipelining, broker.Streams},
	})
	if err != nil {
		return nil, fmt.Errorf("foolscap: %w", err)
	}
	t.local = local
	copies, err := o.copies()
	if err != nil {
		return nil, fmt.Errorf("foolscap: option Copies: %w", err)
	}
	t.conf = &broker.Config{
		Local:      id.id,
		Host:       (*host)(t),
		Limits:     o.Limits.WithDefaults(),
		Account:    banana.NewAccount("Memory", o.Memory, nil),
		Keepalive:  max(o.Keepalive, 0),
		Disconnect: o.DisconnectTimeout,

		IntroductionTimeout: max(o.IntroductionTimeout, 0),

		Copies:     copies,
		Interfaces: known,

		HideRemoteTypes:   o.HideRemoteTypes,
		LogLocalFailures:  o.LogLocalFailures,
		LogRemoteFailures: o.LogRemoteFailures,

		Logger:   t.log,
		Observer: o.Observer,
		Inbound:  o.Inbound,
		Outbound: o.Outbound,
	}
	if o.Hidden {
		t.conf.Discreet = discreet
	}
	t.names.init()
	t.infos.init()
	t.ctx, t.cancel = context.WithCancel(context.Background())
	if !o.NoHandlers {
		t.handlers["tcp"] = tcp.New()
	}
	return t, nil
}

// TubID returns the Tub's identity on the wire.
func (t *Tub) TubID() furl.TubID { return t.id.id }

// String names the Tub.
func (t *Tub) String() string { return "Tub " + t.id.id.String() }

// GoString returns what String returns: the names of objects are secrets.
func (t *Tub) GoString() string { return t.String() }

// LogValue gives slog the TubID.
func (t *Tub) LogValue() slog.Value { return slog.StringValue(t.id.id.String()) }

// MemoryUsed returns how many bytes the arguments and answers of all
// connections hold now, as the option Memory counts them.
func (t *Tub) MemoryUsed() int64 { return t.conf.Account.Used() }

// Handle registers the handler for hints of a type, such as "tcp". The Tub
// closes it, and the one that it replaces, if any. So each Tub needs handlers of
// its own, which nothing checks; one handler may have several types. A hidden Tub
// refuses, and closes, one that reveals too much, with an *[ExposureError].
func (t *Tub) Handle(hintType string, h handlers.Handler) error {
	if h == nil {
		return errors.New("foolscap: there is no handler to register; RemoveHandler takes one away")
	}
	if err := t.admitsHandler(h); err != nil {
		h.Close()
		return err
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		h.Close()
		return ErrTubClosed
	}
	old := t.handlers[hintType]
	t.handlers[hintType] = h
	shared := old == nil || t.uses(old)
	t.mu.Unlock()
	if !shared {
		old.Close()
	}
	return nil
}

// RemoveHandler removes the handler for hints of a type and closes it.
func (t *Tub) RemoveHandler(hintType string) {
	t.mu.Lock()
	old := t.handlers[hintType]
	delete(t.handlers, hintType)
	shared := old == nil || t.uses(old)
	t.mu.Unlock()
	if !shared {
		old.Close()
	}
}

// uses reports whether a handler is registered, for any type. mu is held.
func (t *Tub) uses(h handlers.Handler) bool {
	for _, other := range t.handlers {
		if same(other, h) {
			return true
		}
	}
	return false
}

// same reports whether two handlers are one. A handler need not be of a type
// that can be compared.
func same(a, b handlers.Handler) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.ValueOf(a).Comparable() && a == b
}

// ended reports whether Close or Shutdown was called.
func (t *Tub) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// handler returns what may dial a hint. It is the one gate for every dial,
// whoever asked for it.
func (t *Tub) handler(h furl.Hint) (handlers.Handler, error) {
	t.mu.Lock()
	takes := t.handlers[h.Type()]
	t.mu.Unlock()
	refused := handlers.Error{Hint: h, Phase: handlers.PhaseParse}
	if takes == nil {
		refused.Err = handlers.ErrNoHandler
		return nil, &refused
	}
	e := takes.Exposure()
	if t.opts.Hidden && !e.Hidden() || t.opts.Anonymity == AnonymityRequired && !e.HidesAddress {
		refused.Handler, refused.Err = takes.Description(), handlers.ErrRefusedByPolicy
		return nil, &refused
	}
	return takes, nil
}

// Close ends the Tub at once: listeners, connections, running dials. It waits
// until its goroutines have ended, methods that are running excepted: their
// context is cancelled.
func (t *Tub) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	t.Shutdown(ctx)
	return nil
}

// Shutdown ends the Tub in good order: nothing new is accepted, calls of peers
// that are running finish, what they answer is sent. When ctx ends first, the
// rest is cut off, and its error is returned.
func (t *Tub) Shutdown(ctx context.Context) error {
	t.mu.Lock()
	already := t.closed
	t.closed = true
	attached := slices.Clone(t.listeners)
	owned := slices.Collect(maps.Keys(t.owned))
	loop := t.loop
	t.mu.Unlock()

	for _, l := range attached {
		t.Detach(l)
	}
	for _, l := range owned {
		l.Close()
	}
	if !already {
		t.cancel() // dials and negotiations
	}
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, b := range t.brokers(loop) {
		wg.Go(func() {
			if err := b.Shutdown(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.mu.Lock()
	closing := t.handlers
	t.handlers = nil
	t.mu.Unlock()
	var closed []handlers.Handler
	for _, h := range closing {
		if !slices.ContainsFunc(closed, func(other handlers.Handler) bool { return same(other, h) }) {
			closed = append(closed, h)
			h.Close()
		}
	}
	t.wg.Wait()
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// brokers returns all live connections.
func (t *Tub) brokers(loop *loopback) []*broker.Broker {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*broker.Broker
	for c := range t.conns {
		all = append(all, c.b)
	}
	if loop != nil {
		all = append(all, loop.client, loop.server)
	}
	return all
}

// A connection is a live connection and its place among the others.
type connection struct {
	b           *broker.Broker
	link        *negotiate.Link
	master      bool
	listener    *Listener // by which it came in, or nil
	established time.Time
}

// Shutdown is called when a newer connection takes over, whose negotiation is
// not to wait until TLS has said good-bye to a peer that may be gone.
func (c *connection) Shutdown(error) { go c.b.Close(ErrReplaced) }

// attach makes the connection the one to its peer.
func (c *connection) attach() error { return c.link.Attach(c) }

// instantly wraps a stream so that writes to it need not wait, if it is of the
// kind that allows that. What goes by the name of a connection of the kernel
// must be one: a transport may have put something of its own around it.
func instantly(conn net.Conn) (net.Conn, *broker.Stream) {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		if s := broker.NewStream(conn); s != nil {
			return s, s
		}
	}
	return conn, nil
}

// adopt makes a connection of what negotiation has agreed on. attach attaches
// it to its link, before the peer's first call can ask for it. gone, unless
// nil, runs once in any case: when the connection has ended, or could not be
// made.
func (t *Tub) adopt(r *negotiate.Result, stream *broker.Stream, by *Listener, attach func(*connection) error, gone func()) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		r.Link.Release()
		r.Conn.Close()
		if gone != nil {
			gone()
		}
		return ErrTubClosed
	}
	t.wg.Add(1) // for the OnDisconnect below
	t.mu.Unlock()
	b := broker.New(t.conf, broker.Link{
		Conn:        r.Conn,
		Buffered:    r.Buffered,
		Stream:      stream,
		Peer:        r.Peer,
		Inbound:     by != nil,
		Vocab:       r.VocabIndex,
		Pipelines:   slices.Contains(r.Extensions, broker.Pipelining),
		Streams:     slices.Contains(r.Extensions, broker.Streams),
		LateRefusal: negotiate.ParseLateRefusal,
	})
	c := &connection{b: b, link: r.Link, master: r.Master, listener: by, established: now()}
	t.mu.Lock()
	t.conns[c] = struct{}{}
	closed := t.closed
	t.mu.Unlock()
	b.OnDisconnect(func(error) {
		defer t.wg.Done()
		c.link.Release()
		t.mu.Lock()
		delete(t.conns, c)
		t.mu.Unlock()
		t.infos.signal()
		if gone != nil {
			gone()
		}
	})
	var err error
	if closed {
		err = ErrTubClosed
		b.Close(err)
	} else if attach(c) != nil {
		// Another connection was faster, or this one has been lost.
		b.Close(ErrReplaced)
		err = b.Err()
	}
	t.infos.signal()
	b.Start() // not before Shutdown, and whoever looks for the peer, can find it
	return err
}

// loopback is the connection of a Tub with itself.
type loopback struct{ client, server *broker.Broker }

// loopback returns the in-memory connection by which a Tub reaches its own
// FURLs: it serialises like any other.
func (t *Tub) loopback() (*broker.Broker, error) {
	t.looping.Lock()
	defer t.looping.Unlock()
	t.mu.Lock()
	loop, closed := t.loop, t.closed
	t.mu.Unlock()
	if closed {
		return nil, ErrTubClosed
	}
	if loop != nil && loop.client.Err() == nil && loop.server.Err() == nil {
		return loop.client, nil
	}
	a, b := net.Pipe()
	loop = &loopback{client: t.loopEnd(a), server: t.loopEnd(b)}
	t.mu.Lock()
	closed = t.closed // then nobody else ends it
	if !closed {
		t.loop = loop
	}
	t.mu.Unlock()
	if closed {
		loop.client.Close(ErrTubClosed)
		loop.server.Close(ErrTubClosed)
	}
	loop.client.Start()
	loop.server.Start()
	if closed {
		return nil, ErrTubClosed
	}
	return loop.client, nil
}

// loopEnd returns one end of the loopback connection, yet to be started.
func (t *Tub) loopEnd(conn net.Conn) *broker.Broker {
	return broker.New(t.conf, broker.Link{Conn: conn, Peer: t.TubID(), Vocab: 1, Pipelines: true, Streams: true})
}
