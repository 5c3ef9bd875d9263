package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// refTables are the objects that pass between the two sides of a connection.
// mu is held for all of it.
type refTables struct {
	// Ours that the peer holds.
	exports map[int64]*export
	byObj   map[*Object]*export
	last    int64
	// Theirs that we hold.
	imports map[int64]*proxy
	fresh   map[*Object]int // objects in messages that have not gone out, which will be exports
	unacked int             // releases that the peer has not acknowledged
	seen    int             // references that a stranger has sent
	// sources are those among what is in byObj and fresh.
	sources map[*source]struct{}
	given   given
}

// export is an object of ours that the peer holds.
type export struct {
	clid int64
	obj  *Object
	furl string
	sent int64 // how often it was sent and not yet released
}

// proxy is an object of the peer's that we hold, or that we have just
// released: it stays known until the peer acknowledges.
type proxy struct {
	clid     int64
	iface    string
	furl     string
	received int64 // how often it came since the last release
	handles  int   // Remotes, and messages on their way out that hold it
	unacked  int
}

func (t *refTables) init() {
	t.exports = make(map[int64]*export)
	t.byObj = make(map[*Object]*export)
	t.imports = make(map[int64]*proxy)
	t.fresh = nil
}

// drop forgets everything, and returns what was held on other connections, and
// what nobody will read any more.
func (t *refTables) drop() (held []handle, unread []*source) {
	for s := range t.sources {
		if s.unhold() {
			unread = append(unread, s)
		}
	}
	t.init()
	t.sources = nil
	return t.given.take(), unread
}

// holdSource keeps what an object stands for readable, for as long as the peer
// holds it. mu is held.
func (t *refTables) holdSource(o *Object) {
	if _, ok := t.sources[o.source]; ok || o.source == nil {
		return
	}
	if t.sources == nil {
		t.sources = make(map[*source]struct{})
	}
	t.sources[o.source] = struct{}{}
	o.source.hold()
}

// unholdSource returns what is behind an object, if nobody will read it any more
// now. mu is held.
func (t *refTables) unholdSource(o *Object) *source {
	if _, ok := t.sources[o.source]; !ok || t.byObj[o] != nil || t.fresh[o] > 0 {
		return nil
	}
	delete(t.sources, o.source)
	if o.source.unhold() {
		return o.source
	}
	return nil
}

// nextCLID returns a number for an object that is not in use. As with request
// numbers, receivers take no more than 31 bits, and a connection that lives
// for weeks may give out that many objects one after the other.
func (t *refTables) nextCLID() int64 {
	for {
		if t.last++; t.last > math.MaxInt32 {
			t.last = 1
		}
		if t.exports[t.last] == nil && t.exports[-t.last] == nil {
			return t.last
		}
	}
}

// Tables says how much the tables of a connection hold, for tests and for
// those who look after a program.
type Tables struct {
	Exports  int // objects of ours that the peer holds
	Imports  int // objects of the peer that we hold or are releasing
	Outbound int // our calls without an answer yet
	Inbound  int // the peer's calls that wait or run
	Given    int // introductions of ours that the peer has not acknowledged
}

// Tables returns the sizes of the tables.
func (b *Broker) Tables() Tables {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Tables{Exports: len(b.refs.exports), Imports: len(b.refs.imports), Outbound: len(b.calls.waiting), Inbound: b.turns.active, Given: b.refs.given.count}
}

// A Remote is a handle on an object of the peer. Each receipt of a reference
// is a handle of its own; the peer is told that we have released the object
// when the last one is closed or found unreachable by the garbage collector.
type Remote struct {
	b *Broker
	p *proxy
	// declared is what its calls have to be, or nil.
	declared atomic.Pointer[schema.Interface]
	closed   atomic.Bool
	cleanup  runtime.Cleanup
}

// handle is what the cleanup of a Remote needs.
type handle struct {
	b *Broker
	p *proxy
}

// Broker returns the connection that the object is reached over.
func (r *Remote) Broker() *Broker { return r.b }

// Interface returns the remote interface that the object was announced with,
// or "".
func (r *Remote) Interface() string {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	return r.p.iface
}

// Function reports whether the object is a function, or bound method, which is
// called with the empty name.
func (r *Remote) Function() bool { return r.p.clid < 0 }

// FURL returns the FURL that came with the reference, with its secret, or "".
func (r *Remote) FURL() string {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	return r.p.furl
}

// Same reports whether two handles stand for the same object.
func (r *Remote) Same(other *Remote) bool { return r.p == other.p }

// Close releases the handle. Calls that are in progress go on.
func (r *Remote) Close() {
	if r.closed.Swap(true) {
		return
	}
	r.cleanup.Stop()
	releaseHandle(handle{r.b, r.p})
}

func releaseHandle(h handle) {
	h.b.mu.Lock()
	defer h.b.unlock()
	h.b.unhold(h.p)
}

// unhold gives one handle back, and releases the object after the last. mu is
// held.
func (b *Broker) unhold(p *proxy) {
	if p.handles--; p.handles == 0 {
		b.queueDecref(p)
	}
}

// Call calls a method and waits for its result, which will be in what ptr
// points to, a value of codec's type. After an error that value belongs to the
// connection for good: an answer that comes late may still be written there.
func (r *Remote) Call(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) error {
	if len(r.b.cfg.Outbound) == 0 {
		return r.call(ctx, method, args, ptr, codec)
	}
	return r.b.intercepted(ctx, r.Interface(), method, args, ptr, func(ctx context.Context) error {
		return r.call(ctx, method, args, ptr, codec)
	})
}

func (r *Remote) call(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) error {
	if err := r.usable(method); err != nil {
		return err
	}
	p := r.b.borrowPending()
	p.method, p.ptr, p.codec = method, ptr, codec
	if err := r.b.begin(ctx, p, callee{object: r}, args, true); err != nil {
		return err
	}
	err := p.wait(ctx)
	p.giveBack()
	return err
}

// usable objects to a call on a handle that was closed, and to a method of a
// function.
func (r *Remote) usable(method string) error {
	var err error
	switch {
	case r.closed.Load():
		err = ErrClosedReference
	case r.Function() && method != "":
		err = errFunction
	default:
		return nil
	}
	return &CallError{Peer: r.b.peer, Method: method, Sent: NotSent, Err: err}
}

var errFunction = errors.New("the reference is one to a function, which has no methods: call it with an empty name")

func (r *Remote) start(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) (*Pending, error) {
	if err := r.usable(method); err != nil {
		return nil, err
	}
	return r.b.start(ctx, callee{object: r}, method, args, ptr, codec, false)
}

// Start is Call without waiting: Wait of the Pending does. The arguments may
// be changed once it has returned. Calls that one goroutine starts are sent in
// that order.
func (r *Remote) Start(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) (*Pending, error) {
	if len(r.b.cfg.Outbound) == 0 {
		return r.start(ctx, method, args, ptr, codec)
	}
	return r.b.startChained(ctx, r.Interface(), method, args, ptr, func(ctx context.Context) (*Pending, error) {
		return r.start(ctx, method, args, ptr, codec)
	})
}

// startChained is Start with interceptors, of a call that begin sends: they run
// in a goroutine, and Start returns when they have let the call go out, or have
// ended it.
func (b *Broker) startChained(ctx context.Context, iface, method string, args Args, ptr any, begin func(context.Context) (*Pending, error)) (*Pending, error) {
	b.mu.Lock()
	if b.err != nil {
		err := &deadError{b.err}
		b.mu.Unlock()
		return nil, &CallError{Peer: b.peer, Method: method, Sent: NotSent, Err: err}
	}
	b.wg.Add(1)
	b.mu.Unlock()
	p := &Pending{b: b, method: method, chained: make(chan error, 1)}
	out := make(chan struct{})
	var once sync.Once
	ctx, cancel := context.WithCancelCause(ctx)
	p.giveUp = cancel
	go func() {
		defer b.wg.Done()
		ended := &CallError{Peer: b.peer, Method: method, Err: errInterceptorEnded}
		var err error = ended
		defer func() {
			if v := recover(); v != nil {
				ended.Err = b.panicked("an interceptor", method, v)
			}
			p.chained <- err
			once.Do(func() { close(out) })
		}()
		err = b.intercepted(ctx, iface, method, args, ptr, func(ctx context.Context) error {
			call, err := begin(ctx)
			once.Do(func() { close(out) })
			if err != nil {
				return err
			}
			ended.Sent = MayHaveRun
			return call.wait(ctx)
		})
	}()
	<-out
	return p, nil
}

// waitChained is wait for a call with interceptors. The turn is released by
// the wait within them, whose context is derived from that of Start.
func (p *Pending) waitChained(ctx context.Context) error {
	defer p.giveUp(nil)
	ReleaseTurn(ctx)
	select {
	case err := <-p.chained:
		return err
	case <-ctx.Done():
		p.giveUp(context.Cause(ctx))
		return <-p.chained
	}
}

// Wait waits for the answer. It is called once.
func (p *Pending) Wait(ctx context.Context) error { return p.wait(ctx) }

// Send calls a method without asking for an answer: whether it runs, or fails,
// stays unknown. It returns once the call is queued, which it waits for when
// too much is queued already.
func (r *Remote) Send(ctx context.Context, method string, args Args) error {
	if err := r.usable(method); err != nil {
		return err
	}
	if len(r.b.cfg.Outbound) == 0 {
		return r.b.oneway(ctx, callee{object: r}, method, args)
	}
	return r.b.intercepted(ctx, r.Interface(), method, args, nil, func(ctx context.Context) error {
		return r.b.oneway(ctx, callee{object: r}, method, args)
	})
}

// outRef is a reference within a message that has not gone out.
type outRef struct {
	obj    *Object
	furl   string
	remote *proxy
	fresh  bool // it is counted in refTables.fresh
	gift   bool
	held   *handle // of a gift
}

// Later tells an encoder that the receiver has to resolve it first.
func (o *outRef) Later() bool { return o.gift }

// encodeExternal is asked for every reference that is to be sent.
func (b *Broker) encodeExternal(x banana.External) (any, error) {
	held, err := b.holdExternal(x)
	if o, ok := x.(*Object); ok && err != nil && o.source != nil && !o.source.isHeld() {
		b.stopSource(o.source, errNotSent)
	}
	return held, err
}

func (b *Broker) holdExternal(x banana.External) (any, error) {
	v, err := b.cfg.Host.Unwrap(x, b)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *Object:
		b.mu.Lock()
		t := &b.refs
		known := t.byObj[v]
		full := known == nil && t.fresh[v] == 0 && len(t.exports)+len(t.fresh) >= b.cfg.Limits.MaxReferences
		if known == nil && !full {
			if t.fresh == nil {
				t.fresh = make(map[*Object]int)
			}
			t.fresh[v]++
		}
		if !full {
			t.holdSource(v)
		}
		b.mu.Unlock()
		switch {
		case known != nil:
			// The peer may release it before this goes out; then it is
			// announced in full again.
			return &outRef{obj: v, furl: known.furl}, nil
		case full:
			return nil, &banana.LimitError{Limit: "MaxReferences", Max: int64(b.cfg.Limits.MaxReferences), Asked: int64(b.cfg.Limits.MaxReferences) + 1}
		}
		return &outRef{obj: v, furl: b.cfg.Host.FURL(v), fresh: true}, nil
	case *Remote:
		return b.holdRemote(v)
	case *Gift:
		return b.holdGift(v)
	}
	return nil, fmt.Errorf("%T is not an object that can be sent", v)
}

// openType is the type of the sequence that a reference will be, for constraints:
// of an object of a third Tub nobody may know the interface.
func (b *Broker) openType(x banana.External) string {
	switch v, _ := b.cfg.Host.Unwrap(x, b); v.(type) {
	case *Remote:
		return "your-reference"
	case *Gift:
		return "their-reference"
	}
	return "my-reference"
}

func (b *Broker) holdRemote(r *Remote) (any, error) {
	if r.b != b {
		return nil, errors.New("a reference of another connection")
	}
	if r.p.clid < 0 {
		return nil, ErrBoundMethod
	}
	h, err := r.hold()
	if err != nil {
		return nil, err
	}
	return &outRef{remote: h.p}, nil
}

// releaseHeld gives back what a message held that does not go out.
func (b *Broker) releaseHeld(held []any) {
	for _, x := range held {
		out, ok := x.(*outRef)
		switch {
		case !ok || out == nil:
		case out.remote != nil:
			releaseHandle(handle{b, out.remote})
		case out.gift:
			b.mu.Lock()
			if b.err == nil {
				b.refs.given.count--
			}
			b.mu.Unlock()
			if out.held != nil {
				releaseHandle(*out.held)
			}
		case out.fresh:
			b.mu.Lock()
			b.refs.settle(out)
			s := b.refs.unholdSource(out.obj)
			b.mu.Unlock()
			if s != nil {
				b.stopSource(s, errNotSent)
			}
		}
	}
}

// settle counts an object no more that goes out, or does not. mu is held.
func (t *refTables) settle(out *outRef) {
	if !out.fresh {
		return
	}
	out.fresh = false
	if n := t.fresh[out.obj]; n > 1 {
		t.fresh[out.obj] = n - 1
	} else {
		delete(t.fresh, out.obj)
	}
}

// appendExternal writes a reference into a message that goes out now. mu is
// held.
func (b *Broker) appendExternal(dst []byte, x any, open uint64) []byte {
	out := x.(*outRef)
	dst = banana.AppendToken(dst, banana.TypeOpen, open)
	switch {
	case out.remote != nil:
		dst = b.appendWord(dst, "your-reference")
		dst = banana.AppendInt(dst, out.remote.clid)
		b.unhold(out.remote)
		out.remote = nil
	case out.gift:
		dst = b.appendGift(dst, out)
	default:
		t := &b.refs
		t.settle(out)
		e := t.byObj[out.obj]
		dst = b.appendWord(dst, "my-reference")
		if e == nil {
			e = &export{clid: t.nextCLID(), obj: out.obj, furl: out.furl}
			if out.obj.function {
				e.clid = -e.clid
			}
			t.exports[e.clid] = e
			t.byObj[out.obj] = e
			dst = banana.AppendInt(dst, e.clid)
			dst = b.appendWord(dst, out.obj.iface)
			if out.furl != "" {
				dst = banana.AppendString(dst, out.furl)
			}
		} else {
			dst = banana.AppendInt(dst, e.clid)
		}
		e.sent++
		b.note(Event{Kind: EventReference, Parent: b.id, Peer: b.peer, Detail: "sent", Object: out.obj})
	}
	return banana.AppendToken(dst, banana.TypeClose, open)
}

func (b *Broker) appendWord(dst []byte, w string) []byte {
	return banana.AppendWord(dst, b.encC.Vocab, w)
}

// What a reference may bring with it, in bytes.
const (
	maxInterfaceName = 1000
	maxFURL          = 16 << 10
)

// decodeExternal reads the sequences within values that banana does not know.
func (b *Broker) decodeExternal(d *banana.Decoder, opentype string, _ banana.Taster) (any, bool, error) {
	switch opentype {
	case "my-reference":
		v, err := b.readMyReference(d)
		return v, true, err
	case "your-reference":
		v, err := b.readYourReference(d)
		return v, true, err
	case "their-reference":
		v, err := b.readTheirReference(d)
		return v, true, err
	}
	return nil, false, nil
}

func (b *Broker) readMyReference(d *banana.Decoder) (any, error) {
	clid, err := d.Int("the number of a reference")
	if err != nil {
		return nil, err
	}
	var texts [2]string
	n := 0
	for {
		max := maxInterfaceName
		if n == 1 {
			max = maxFURL
		}
		s, end, err := d.NextName("the interface or FURL of a reference", max)
		if err == nil && end {
			break
		}
		if err == nil && n == len(texts) {
			err = &banana.Violation{Reason: "a reference with more than an interface and a FURL"}
		}
		if err == nil && n == 1 {
			err = b.checkFURL(string(s))
		}
		if err != nil {
			if isViolation(err) {
				b.dropReceived(clid)
			}
			return nil, err
		}
		texts[n] = string(s)
		n++
	}
	if err := d.Charge(256 + len(texts[0]) + len(texts[1])); err != nil {
		b.dropReceived(clid)
		return nil, err
	}
	r, err := b.receive(clid, texts[0], texts[1])
	if err != nil {
		b.dropReceived(clid)
		return nil, &banana.Violation{Err: err}
	}
	b.fresh = append(b.fresh, r)
	b.observe(Event{Kind: EventReference, Parent: b.id, Peer: b.peer, Inbound: true, Detail: "received"})
	return b.cfg.Host.Wrap(r), nil
}

// checkFURL refuses a FURL that does not lead to the peer.
func (b *Broker) checkFURL(s string) error {
	f, err := furl.Parse(s)
	if err != nil {
		return &banana.ProtocolError{Reason: "a reference with a FURL that is none"}
	}
	if f.TubID != b.peer {
		return &banana.ProtocolError{Reason: "a reference with the FURL of another Tub"}
	}
	return nil
}

// receive makes a handle on an object of the peer.
func (b *Broker) receive(clid int64, iface, f string) (*Remote, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil { // what was read before the end is still being decoded
		return nil, &deadError{b.err}
	}
	t := &b.refs
	if b.stranger.Load() {
		if t.seen++; t.seen > b.cfg.Limits.StrangerReferences {
			return nil, &banana.LimitError{Limit: "StrangerReferences", Max: int64(b.cfg.Limits.StrangerReferences), Asked: int64(t.seen)}
		}
	}
	p := t.imports[clid]
	if p == nil {
		if len(t.imports) >= b.cfg.Limits.MaxReferences {
			return nil, &banana.LimitError{Limit: "MaxReferences", Max: int64(b.cfg.Limits.MaxReferences), Asked: int64(len(t.imports) + 1)}
		}
		p = &proxy{clid: clid}
		t.imports[clid] = p
	}
	if iface != "" {
		p.iface = iface
	}
	if f != "" {
		p.furl = f
	}
	p.received++
	p.handles++
	r := &Remote{b: b, p: p}
	if i := b.cfg.Interfaces[p.iface]; i != nil {
		r.declared.Store(i)
	}
	r.cleanup = runtime.AddCleanup(r, releaseHandle, handle{b, p})
	return r, nil
}

// Assume makes calls by this handle obey i, whatever the object was announced
// with. Calls that have begun stay as they are.
func (r *Remote) Assume(i *schema.Interface) { r.declared.Store(i) }

// Implements reports whether the object was announced with the interface of that
// name, or with one known here that extends it.
func (r *Remote) Implements(name string) bool {
	if i := r.declared.Load(); i != nil && i.Is(name) {
		return true
	}
	return name == r.Interface()
}

// dropReceived counts a reference that was received and is not kept.
func (b *Broker) dropReceived(clid int64) {
	b.mu.Lock()
	defer b.unlock()
	if b.err != nil {
		return
	}
	p := b.refs.imports[clid]
	if p == nil {
		p = &proxy{clid: clid}
		b.refs.imports[clid] = p
	}
	p.received++
	if p.handles == 0 {
		b.queueDecref(p)
	}
}

// strangerReleases is how many times StrangerReferences the releases are that
// a stranger may leave unacknowledged.
const strangerReleases = 16

// queueDecref tells the peer that we do not hold its object any more. mu is
// held.
func (b *Broker) queueDecref(p *proxy) {
	if b.err != nil || p.received == 0 {
		return
	}
	count := p.received
	p.received = 0
	p.unacked++
	b.refs.unacked++
	limit, max := "MaxReferences", b.cfg.Limits.MaxReferences
	if s := strangerReleases * b.cfg.Limits.StrangerReferences; s < max && b.stranger.Load() {
		limit, max = "StrangerReferences", s
	}
	if b.refs.unacked > max {
		b.endLater(errors.Join(ErrOverflow, &banana.LimitError{Limit: limit, Max: int64(max), Asked: int64(b.refs.unacked)}))
		return
	}
	req := b.nextRequest()
	b.calls.add(&Pending{b: b, method: "decref", req: req, unread: true, then: func(error) { b.released(p) }})
	b.queueInternal(req, "decref", func(e *banana.Encoder) {
		e.Name("clid")
		e.Int(p.clid)
		e.Name("count")
		e.Int(count)
	})
	b.note(Event{Kind: EventReference, Parent: b.id, Peer: b.peer, Detail: "released"})
}

// released forgets an object once the peer has acknowledged.
func (b *Broker) released(p *proxy) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refs.unacked--
	if p.unacked--; p.unacked == 0 && p.handles == 0 && p.received == 0 && b.refs.imports[p.clid] == p {
		delete(b.refs.imports, p.clid)
	}
}

// queueInternal queues a call of the protocol's own to the peer's broker. It
// counts like an answer: a peer that does not read loses its connection. mu is
// held.
func (b *Broker) queueInternal(req int64, method string, keywords func(*banana.Encoder)) {
	b.queueOwn(func(e *banana.Encoder) {
		e.Open("call")
		e.Int(req)
		e.Int(0)
		e.Name(method)
		e.Open("arguments")
		e.Int(0)
		keywords(e)
		e.Close()
		e.Close()
	})
}

// queueOwn queues a message of the protocol's own. mu is held.
func (b *Broker) queueOwn(write func(*banana.Encoder)) {
	b.pushOwn(write)
	b.kick()
}

// pushOwn is queueOwn for those who see to it that the message is written.
func (b *Broker) pushOwn(write func(*banana.Encoder)) {
	e := banana.NewEncoder(&b.encC, false)
	write(e)
	m, _, _ := e.Finish()
	it := newAnswer(m)
	if b.account.Reserve(int64(it.size)) != nil {
		it.kind = smallItem
	}
	if err := b.answerRoom(it); err != nil {
		b.releaseItem(it)
		b.endLater(errors.Join(ErrOverflow, err))
		return
	}
	b.send.answers += it.size
	b.send.push(it)
}

func (b *Broker) readYourReference(d *banana.Decoder) (any, error) {
	clid, err := d.Int("the number of a reference")
	if err != nil {
		return nil, err
	}
	if err := d.Close("your-reference"); err != nil {
		return nil, err
	}
	b.mu.Lock()
	e := b.refs.exports[clid]
	b.mu.Unlock()
	if e == nil {
		return nil, &banana.ProtocolError{Reason: fmt.Sprintf("a reference to our object %d, which the peer does not hold", clid)}
	}
	return e.obj, nil
}

// skipped accounts for references in what is not read.
func (b *Broker) skipped(d *banana.Decoder, opentype string) error {
	if opentype != "my-reference" && opentype != "their-reference" {
		return nil
	}
	n, ok, err := d.SkippedInt()
	if err != nil || !ok {
		return err
	}
	if opentype == "my-reference" {
		b.dropReceived(n)
	} else {
		b.introduced(ErrIntroduction)
		b.acknowledge(n)
	}
	return nil
}

// target finds the object that the peer calls.
func (b *Broker) target(clid int64) (*Object, error) {
	if clid == 0 {
		return brokerObject, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.refs.exports[clid]; e != nil {
		return e.obj, nil
	}
	return nil, &banana.Violation{Reason: fmt.Sprintf("unknown CLID %d", clid)}
}

// brokerObject is what each side finds at clid 0.
var brokerObject *Object

func init() { // the methods refer to it
	brokerObject = NewObject("RIBroker.foolscap.lothar.com", nil,
		NewMethod("getReferenceByName", func(ctx context.Context, a struct{ Name []byte }) (banana.External, error) {
			b := FromContext(ctx)
			o, err := b.cfg.Host.Lookup(ctx, string(a.Name))
			if err != nil {
				return nil, err
			}
			b.stranger.Store(false)
			return o, nil
		}),
		onReader(NewMethod("decref", func(ctx context.Context, a struct{ Clid, Count int64 }) (struct{}, error) {
			return struct{}{}, FromContext(ctx).decref(a.Clid, a.Count)
		})),
		onReader(NewMethod("decgift", func(ctx context.Context, a struct {
			GiftID int64 `foolscap:"giftID"`
			Count  int64
		}) (struct{}, error) {
			return struct{}{}, FromContext(ctx).decgift(a.GiftID, a.Count)
		})),
	)
}

func onReader(m *Method) *Method {
	m.onReader = true
	return m
}

// decref releases an object of ours that the peer held. Releasing what it
// does not hold is no error; releasing more of it than was sent is.
func (b *Broker) decref(clid, count int64) error {
	var released *source
	defer func() { // without mu
		if released != nil {
			b.stopSource(released, errReleased)
		}
	}()
	b.mu.Lock()
	defer b.unlock()
	t := &b.refs
	e := t.exports[clid]
	switch {
	case clid == 0 || count < 0:
		return fmt.Errorf("object %d cannot be released", clid)
	case e == nil:
		return nil
	case count > e.sent:
		return fmt.Errorf("object %d was sent %d times, it cannot be released %d times", clid, e.sent, count)
	}
	if e.sent -= count; e.sent == 0 {
		delete(t.exports, clid)
		delete(t.byObj, e.obj)
		b.note(Event{Kind: EventReference, Parent: b.id, Peer: b.peer, Inbound: true, Detail: "released", Object: e.obj})
		released = t.unholdSource(e.obj)
	}
	return nil
}

// Exported returns the object that r, a handle of the connection at the other
// end of an in-memory pair, stands for; nil if it is not known.
func (b *Broker) Exported(r *Remote) *Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.refs.exports[r.p.clid]; e != nil {
		return e.obj
	}
	return nil
}
