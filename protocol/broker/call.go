package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// callTable holds our calls that wait for an answer.
type callTable struct {
	last    int64 // request number
	wrapped bool  // numbers are given out again
	waiting map[int64]*Pending
	// spare are used again. They do not go to another connection, because
	// channels may not leave the bubble of a testing/synctest.
	spare sync.Pool
}

func (t *callTable) add(p *Pending) { t.waiting[p.req] = p }

func (t *callTable) remove(p *Pending) {
	delete(t.waiting, p.req)
	p.gone = true
}

func (t *callTable) init() { t.waiting = make(map[int64]*Pending) }

// dropCalls empties the table at the end of the connection. mu is held.
func (b *Broker) dropCalls() []*Pending {
	all := make([]*Pending, 0, len(b.calls.waiting))
	for _, p := range b.calls.waiting {
		if p.answered { // it needs this connection no more
			continue
		}
		all = append(all, p)
		p.unsent = p.item.queued && !p.item.m.Started()
		p.gone = true
	}
	b.calls.waiting = nil
	return all
}

// Pending is a call that has been started.
type Pending struct {
	b      *Broker
	method string
	req    int64
	item   item
	// ptr points to the result; only the reader writes there, until done.
	ptr   any
	codec *banana.Codec
	// schema is what the object's interface says of the method, or nil.
	schema *schema.Method
	into   reflect.Value
	done   chan struct{} // closed at the end, or sent to if the Pending is lone
	over   atomic.Bool   // it has ended
	lone   bool          // made by borrowPending
	kept   bool          // the queue has item for longer than the call lasts
	gone   bool          // it is not in the table any more; mu is held
	// answered: the answer has been read, and its introductions are awaited.
	answered bool
	gifts    gifts // these
	reads    bool  // nobody was reading when it was queued: its caller may
	err      error
	charge   int64
	forgot   runtime.Cleanup // gives the charge back when nobody waits
	unsent   bool            // when the connection ended
	secret   string          // what the peer may repeat in its error, and must not be seen
	begun    time.Time
	then     func(error) // runs at the end, in place of closing done
	unread   bool        // what comes is not even built
	built    *Promise    // whose answer the call was made on
	sources  []*source   // among its arguments: they last as long as the call
	readers  []*Reader   // in its answer
	flow     *inflow     // what comes until it is answered
	// chained is the call as interceptors have let it end.
	chained chan error
	giveUp  context.CancelCauseFunc
}

// finish ends the call. It is called once, by whoever took the call out of the
// table.
func (p *Pending) finish(err error) {
	p.err = err
	p.stopSources()
	if p.then != nil {
		p.then(err)
		return
	}
	p.over.Store(true)
	if p.lone {
		p.done <- struct{}{}
	} else {
		close(p.done)
	}
}

// stopSources ends the readers that were arguments.
func (p *Pending) stopSources() {
	for _, s := range p.sources {
		p.b.stopSource(s, errReturned)
	}
}

// borrowPending returns a Pending of a call that one goroutine makes and waits
// for. It is given back by giveBack.
func (b *Broker) borrowPending() *Pending {
	p, ok := b.calls.spare.Get().(*Pending)
	if !ok {
		p = &Pending{done: make(chan struct{}, 1)}
	}
	p.b, p.lone = b, true
	return p
}

// giveBack is for the caller, at the very end. A call that was given up, or that
// has failed, may still be known to others.
func (p *Pending) giveBack() {
	if p.err == nil && p.over.Load() && !p.kept {
		b := p.b
		*p = Pending{done: p.done}
		b.calls.spare.Put(p)
	}
}

// nextRequest returns a request number that is not in use. Python's receivers
// take INT tokens only, and answer those of more than 31 bits in a way that
// they do not take themselves. mu is held.
func (b *Broker) nextRequest() int64 {
	t := &b.calls
	for {
		if t.last++; t.last > math.MaxInt32 {
			t.last, t.wrapped = 1, true
		}
		if !t.wrapped || t.waiting[t.last] == nil {
			return t.last
		}
	}
}

// callee is what a call goes to: an object of the peer, nil for the peer's
// broker, or the answer to an earlier call.
type callee struct {
	object *Remote
	answer *Promise
	keep   bool // calls are to be made on the answer
}

// declares returns what the interface of what is called says of a method, or nil,
// and objects to arguments that it does not have.
func (to callee) declares(method string, args Args) (*schema.Method, error) {
	var i *schema.Interface
	switch {
	case to.answer != nil:
		i = to.answer.declared.Load()
	case to.object != nil:
		i = to.object.declared.Load()
	}
	s, err := declaredCall(i, method)
	if s != nil {
		err = checkGiven(args, s)
	}
	return s, err
}

// encodeCall builds a call. With borrow, long byte strings are not copied.
func (b *Broker) encodeCall(req int64, to callee, method string, declared *schema.Method, args Args, borrow bool) (*banana.Message, error) {
	e := banana.NewEncoder(&b.encC, borrow)
	target, flags := int64(0), int64(0)
	switch {
	case to.answer != nil:
		target, flags = to.answer.call.req, flagAnswer
	case to.object != nil:
		target = to.object.p.clid
	}
	if to.keep {
		flags |= flagKeep
	}
	if flags == 0 {
		e.Open("call")
		e.Int(req)
	} else {
		e.Open(pipelinedCall)
		e.Int(req)
		e.Int(flags)
	}
	e.Int(target)
	e.Name(method)
	var err error
	if declared != nil {
		err = writeDeclared(e, args, declared)
	} else {
		err = writeArguments(e, args)
	}
	e.Close()
	m, held, finish := e.Finish()
	if finish != nil {
		b.releaseHeld(held)
		if err == nil {
			err = finish
		}
		return nil, err
	}
	return m, nil
}

// writeArguments appends arguments as a sequence. The error says which one
// cannot be sent.
func writeArguments(e *banana.Encoder, args Args) error {
	e.Open("arguments")
	defer e.Close()
	e.Int(int64(len(args.Positional)))
	for i, v := range args.Positional {
		if err := e.Value(v); err != nil {
			return encodeAt(err, "argument "+strconv.Itoa(i))
		}
	}
	if len(args.Keyword) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(args.Keyword)) {
		e.Name(name)
		if err := e.Value(args.Keyword[name]); err != nil {
			return encodeAt(err, "argument "+name)
		}
	}
	return nil
}

// start sends a call and returns without waiting for the answer. The result
// will be in what ptr points to; nil ignores it. The arguments are encoded
// when Start returns; with lend, byte strings among them may be read until
// the call is done or cancelled.
func (b *Broker) start(ctx context.Context, to callee, method string, args Args, ptr any, codec *banana.Codec, lend bool) (*Pending, error) {
	p := &Pending{b: b, method: method, ptr: ptr, codec: codec, done: make(chan struct{})}
	return p, b.begin(ctx, p, to, args, lend)
}

// begin is start for a Pending that has been made.
func (b *Broker) begin(ctx context.Context, p *Pending, to callee, args Args, lend bool) error {
	r, ptr, method := to.object, p.ptr, p.method
	if ptr != nil {
		p.into = reflect.ValueOf(ptr).Elem()
	}
	if b.cfg.Observer != nil {
		p.begun = time.Now()
	}
	if ctx.Err() != nil {
		return b.callError(p, NotSent, ctxError(ctx))
	}
	var err error
	if p.schema, err = to.declares(method, args); err != nil {
		return b.callError(p, NotSent, err)
	}
	b.mu.Lock()
	if err := b.hold(r); err != nil {
		b.mu.Unlock()
		return b.callError(p, NotSent, err)
	}
	p.req = b.nextRequest()
	b.mu.Unlock()
	m, err := b.encodeCall(p.req, to, method, p.schema, args, lend)
	if err != nil {
		if r != nil {
			releaseHandle(handle{b, r.p})
		}
		return b.callError(p, NotSent, err)
	}
	p.item = item{m: m, kind: waitedCall, size: m.Size()}
	p.sources = sources(m.Externals())
	if lend {
		err = b.lockAlive()
	} else {
		err = b.lockWithRoom(ctx, &p.item)
	}
	if err == nil && to.answer != nil {
		if err = to.answer.takes(m); err != nil {
			keepReaders(m, err)
			b.unqueued(&p.item)
			b.mu.Unlock()
		}
	}
	if err != nil {
		b.releaseItem(&p.item)
		if r != nil {
			releaseHandle(handle{b, r.p})
		}
		if err == errSettled || err == errWait {
			return err
		}
		return b.callError(p, NotSent, err)
	}
	b.calls.add(p)
	p.reads = b.role.vacant
	b.send.push(&p.item)
	if r != nil {
		b.unhold(r.p) // its release is queued behind the call
	}
	if b.stream != nil && len(b.calls.waiting) == 1 {
		b.role.serial++
		b.writeHere() // alone: nothing else will go out with it
	} else {
		b.role.serial = 0
		b.kick()
	}
	b.unlock()
	return nil
}

// unqueued takes back what lockWithRoom has counted for a message that is not
// queued after all. mu is held.
func (b *Broker) unqueued(it *item) {
	if it.kind == ownedCall {
		b.uncount(it)
	}
}

// hold makes sure that the target of a call is not released before the call
// is queued; nil is the peer's broker. mu is held.
func (b *Broker) hold(r *Remote) error {
	switch {
	case b.err != nil:
		return &deadError{b.err}
	case r == nil:
	case r.p.handles == 0:
		return ErrClosedReference
	default:
		r.p.handles++
	}
	return nil
}

// setCharge makes the answer's memory the caller's. If the call was started,
// nobody may ever wait for it.
func (p *Pending) setCharge(n int64) {
	p.charge = n
	if n > 0 && p.item.kind == ownedCall {
		account := p.b.account
		p.forgot = runtime.AddCleanup(p, func(n int64) { account.Release(n) }, n)
	}
}

func (p *Pending) unsetCharge() {
	if p.charge > 0 {
		p.forgot.Stop()
		p.b.account.Release(p.charge)
		p.charge = 0
	}
}

// wait waits for the answer. The turn that ctx carries ends here.
func (p *Pending) wait(ctx context.Context) error {
	if p.chained != nil {
		return p.waitChained(ctx)
	}
	if len(p.sources) > 0 {
		defer func() {
			for _, s := range p.sources { // finish and cancel have stopped them
				s.close()
			}
		}()
	}
	select {
	case <-p.done:
	default:
		ReleaseTurn(ctx)
		if p.reads && p.b.takeReading(p) {
			p.b.readFor(ctx, p)
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			if sent, cancelled := p.cancel(); cancelled {
				return p.b.callError(p, sent, ctxError(ctx))
			}
			<-p.done // the answer was faster
		}
	}
	p.unsetCharge()
	forCall(ctx, p.readers)
	return p.explain()
}

// explain returns the error of a call that has ended, and tells the observer.
func (p *Pending) explain() error {
	if p.err == nil {
		p.b.observeCall(p, nil)
		return nil
	}
	sent := Answered
	switch {
	case p.answered, !errors.Is(p.err, ErrDeadReference):
	case p.unsent:
		sent = NotSent
	default:
		sent = MayHaveRun
	}
	f, failed := p.err.(*Failure)
	switch {
	case sent != Answered:
	case p.secret != "":
		p.err = withoutSecret(p.err, p.secret)
	case failed && p.built != nil && p.built.root != nil: // the peer may tell it why
		f.scrub(p.built.root.secret)
	}
	if failed {
		p.b.logRemoteFailure(p.method, f)
		if p.b.cfg.HideRemoteTypes && (p.built == nil || f.Type != notRunType) {
			f.hideType()
		}
	}
	err := p.b.callError(p, sent, p.err)
	if p.built != nil {
		return p.built.explain(p.method, err)
	}
	return err
}

// cancel gives the call up, unless its answer is there already: a call that is
// still unsent is withdrawn, one half sent will be finished from a copy of
// what its caller lent.
func (p *Pending) cancel() (sent Sent, cancelled bool) {
	b := p.b
	b.mu.Lock()
	if p.gone {
		b.mu.Unlock()
		return 0, false
	}
	b.calls.remove(p)
	defer p.gifts.drop() // without mu: the lock is given up below
	defer p.stopSources()
	it := &p.item
	switch {
	case it.queued && !it.m.Started():
		b.send.remove(it)
		b.uncount(it)
		b.signalQuiet()
		b.mu.Unlock()
		b.releaseItem(it)
		return NotSent, true
	case it.queued:
		b.takeBack(it)
	}
	b.mu.Unlock()
	return MayHaveRun, true
}

// ctxError is why ctx has ended, so that errors.Is finds both the context's
// own error and its cause.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// callError makes the error of a call, and tells the observer.
func (b *Broker) callError(p *Pending, sent Sent, err error) error {
	b.observeLimit(err)
	b.observeCall(p, err)
	return &CallError{Peer: b.peer, Method: p.method, Sent: sent, Err: err}
}

func (b *Broker) observeCall(p *Pending, err error) {
	if b.cfg.Observer != nil {
		b.observe(Event{Kind: EventCall, Parent: b.id, Peer: b.peer, Method: p.method, Elapsed: time.Since(p.begun), Err: err})
	}
}

// oneway sends a call that has no answer. It waits until there is room for it
// in the send queue.
func (b *Broker) oneway(ctx context.Context, to callee, method string, args Args) error {
	r := to.object
	p := &Pending{b: b, method: method}
	if b.cfg.Observer != nil {
		p.begun = time.Now()
	}
	if ctx.Err() != nil {
		return b.callError(p, NotSent, ctxError(ctx))
	}
	declared, err := to.declares(method, args)
	if err != nil {
		return b.callError(p, NotSent, err)
	}
	b.mu.Lock()
	err = b.hold(r)
	b.mu.Unlock()
	if err != nil {
		return b.callError(p, NotSent, err)
	}
	if r != nil {
		defer releaseHandle(handle{b, r.p}) // the release is queued behind the call
	}
	m, err := b.encodeCall(0, to, method, declared, args, false)
	if err != nil {
		return b.callError(p, NotSent, err)
	}
	it := &item{m: m, kind: waitedCall, size: m.Size()}
	if err := b.lockWithRoom(ctx, it); err != nil {
		b.releaseItem(it)
		return b.callError(p, NotSent, err)
	}
	if to.answer != nil {
		if err := to.answer.takes(m); err != nil {
			keepReaders(m, err)
			b.unqueued(it)
			b.mu.Unlock()
			b.releaseItem(it)
			if err == errSettled || err == errWait {
				return err
			}
			return b.callError(p, NotSent, err)
		}
	}
	b.send.push(it)
	b.kick()
	b.mu.Unlock()
	b.observeCall(p, nil)
	return nil
}

var anyCodec, _ = banana.CodecOf(reflect.TypeFor[any]())

// GetReference asks the peer for the object of that name.
func (b *Broker) GetReference(ctx context.Context, name string) (banana.External, error) {
	var v any
	args := Args{Keyword: map[string]any{"name": []byte(name)}}
	p := &Pending{b: b, method: "getReferenceByName", ptr: &v, codec: anyCodec, done: make(chan struct{}), secret: name}
	if err := b.begin(ctx, p, callee{}, args, true); err != nil {
		return nil, err
	}
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	x, ok := v.(banana.External)
	if ok {
		b.mu.Lock()
		b.known = true
		b.mu.Unlock()
	}
	if !ok {
		err := &banana.Violation{Reason: "expected a reference as the answer to a look-up"}
		return nil, &CallError{Peer: b.peer, Method: "getReferenceByName", Sent: Answered, Err: err}
	}
	return x, nil
}

// encodeAt says in which part of a message something cannot be sent.
func encodeAt(err error, where string) error {
	if e, ok := errors.AsType[*banana.EncodeError](err); ok {
		e.Path = append([]string{where}, e.Path...)
	}
	return err
}
