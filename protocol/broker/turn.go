package broker

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// turnQueue holds the calls of the peer. One of them at a time has the turn:
// it starts, and until it gives the turn up no later one starts. mu is held.
type turnQueue struct {
	queue   []*inbound
	head    int
	taken   bool   // somebody has the turn
	active  int    // calls that wait or run
	charge  int64  // what they hold
	number  uint64 // counts turns, to see one that lasts
	method  string // of the last turn
	watched bool   // the timer for that runs
	watch   *time.Timer
	// reported is the number of the last turn that was found to last.
	reported uint64
}

// inbound is one call of the peer. It is the context of its method.
type inbound struct {
	context.Context
	b      *Broker
	req    int64
	obj    *Object
	method *Method
	ptr    any
	charge int64
	keep   bool      // its answer is kept
	late   *lateCall // its object was not known when it was read
	gifts  gifts     // introductions among its arguments
	turn   bool      // it has the turn; mu is held
	// readers are among its arguments, and end with it.
	readers []*Reader
}

type turnKey struct{}
type brokerKey struct{}

// Value lets the turn be found in contexts that are derived from this one.
func (in *inbound) Value(key any) any {
	switch key.(type) {
	case turnKey:
		return in
	case brokerKey:
		return in.b
	}
	return in.Context.Value(key)
}

// FromContext returns the connection that a method was called over, given the
// context of the method; nil elsewhere.
func FromContext(ctx context.Context) *Broker {
	b, _ := ctx.Value(brokerKey{}).(*Broker)
	return b
}

// ReleaseTurn lets the next call of the connection start, when ctx is that of
// a running method that has the turn.
func ReleaseTurn(ctx context.Context) {
	if in, ok := ctx.Value(turnKey{}).(*inbound); ok {
		in.release()
	}
}

func (in *inbound) release() {
	b := in.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.role.here == in {
		b.readElsewhere()
	}
	if !in.turn {
		return
	}
	in.turn = false
	b.turns.taken = false
	b.startTurn()
}

// startTurn starts a goroutine for the calls that wait, when nobody has the
// turn. mu is held.
func (b *Broker) startTurn() {
	t := &b.turns
	if t.taken || t.head == len(t.queue) || b.err != nil {
		return
	}
	t.taken = true
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		b.mu.Lock()
		b.runTurns()
		b.mu.Unlock()
	}()
}

// enqueue gives a call its place. It is called by the reader.
func (b *Broker) enqueue(in *inbound) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		b.account.Release(in.charge)
		in.gifts.drop()
		return
	}
	t := &b.turns
	if t.head > 64 && t.head > len(t.queue)/2 { // it may never be empty
		n := copy(t.queue, t.queue[t.head:])
		clear(t.queue[n:])
		t.queue, t.head = t.queue[:n], 0
	}
	t.queue = append(t.queue, in)
	t.active++
	t.charge += in.charge
	if t.taken && !t.watched {
		b.watchTurn()
	}
	b.startTurn()
}

// next takes the next call and gives it the turn. mu is held.
func (t *turnQueue) next() *inbound {
	in := t.queue[t.head]
	t.queue[t.head] = nil
	t.head++
	if t.head == len(t.queue) {
		t.queue, t.head = t.queue[:0], 0
		if cap(t.queue) > 64 {
			t.queue = nil
		}
	}
	t.number++
	t.method = in.method.name
	in.turn = true
	return in
}

// runTurns is for who has the turn. It runs calls one after the other, for as long as they keep their
// turn until they return, and writes what there is to be written at the end.
// mu is held, but not while methods run.
func (b *Broker) runTurns() {
	for b.err == nil && b.turns.head < len(b.turns.queue) {
		in := b.turns.next()
		b.mu.Unlock()
		b.run(in)
		b.mu.Lock()
		if !b.ran(in) {
			break
		}
		b.kick() // its answer does not wait for the next one's
	}
	// Nothing is left to be run here, so this goroutine may as well write the
	// answer: waking another one is what a call costs.
	b.writeHere()
	b.signalQuiet()
}

// ran accounts for a call that has run, and reports whether its turn is now
// the caller's, to run the next call in it. mu is held.
func (b *Broker) ran(in *inbound) bool {
	t := &b.turns
	t.active--
	t.charge -= in.charge
	if !in.turn { // it gave its turn up; others go on
		return false
	}
	in.turn = false
	t.taken = b.err == nil && t.head < len(t.queue)
	return t.taken
}

// dropTurns forgets the calls that have not started. mu is held.
func (b *Broker) dropTurns() []*inbound {
	t := &b.turns
	waiting := append([]*inbound(nil), t.queue[t.head:]...)
	for _, k := range b.kept {
		waiting = append(waiting, k.waiting...)
		k.waiting = nil
	}
	b.kept = nil
	t.active -= len(waiting)
	for _, in := range waiting {
		t.charge -= in.charge
	}
	t.queue, t.head = nil, 0
	if t.watch != nil {
		t.watch.Stop()
	}
	if b.role.guard != nil {
		b.role.guard.Stop()
	}
	return waiting
}

// slowTurn is how long a method may hold the turn while others wait before it
// is reported.
const slowTurn = time.Second

// watchTurn looks, after a while, whether the turn is still the same. mu is
// held.
func (b *Broker) watchTurn() {
	t := &b.turns
	t.watched = true
	number := t.number
	t.watch = time.AfterFunc(slowTurn, func() { b.reportSlow(number) })
}

// reportSlow reports a turn that lasts, once, and goes on watching as long as
// calls wait.
func (b *Broker) reportSlow(number uint64) {
	b.mu.Lock()
	t := &b.turns
	waiting := len(t.queue) - t.head
	if b.err != nil || !t.taken || waiting == 0 {
		t.watched = false
		b.mu.Unlock()
		return
	}
	slow := t.number == number && t.reported != number
	if slow {
		t.reported = number
	}
	method := t.method
	b.watchTurn()
	b.mu.Unlock()
	if slow {
		b.log.Warn("a method holds its turn for more than a second while others wait; "+
			"declare it concurrent, or call Yield in it", "method", method, "peer", b.peer.Short(), "waiting", waiting)
	}
}

// run runs a method and answers.
func (b *Broker) run(in *inbound) {
	if in.method.concurrent {
		in.release()
	}
	var begun time.Time
	if b.cfg.Observer != nil {
		begun = time.Now()
	}
	returned := false
	defer func() {
		if !returned { // runtime.Goexit: this goroutine ends, others go on
			b.abandoned(in)
		}
	}()
	result, err := b.invoke(in)
	returned = true
	if err != nil {
		b.logLocalFailure(in, err)
	}
	if b.cfg.Observer != nil {
		b.observe(Event{Kind: EventCall, Parent: b.id, Peer: b.peer, Inbound: true, Object: in.obj, Method: in.method.name, Elapsed: time.Since(begun), Err: err})
	}
	// The answer is encoded within the turn: it shows what the method has
	// returned, not what a later one has made of it.
	if in.keep {
		b.answerKept(in, in.method.name, result, err, true)
	} else {
		b.answer(in.req, in.method, result, err, true)
	}
	b.account.Release(in.charge)
	in.closeReaders()
}

func (in *inbound) closeReaders() {
	for _, r := range in.readers {
		r.Close()
	}
}

// abandoned does what is left to be done for a call whose method has ended its
// goroutine, as FailNow of package testing does.
func (b *Broker) abandoned(in *inbound) {
	b.log.Error("a method has ended its goroutine", "method", in.method.name, "peer", b.peer.Short())
	in.release()
	b.fail(in, in.method.name, errMethodEnded)
	in.closeReaders()
	b.mu.Lock()
	b.ran(in)
	b.signalQuiet()
	b.mu.Unlock()
}

func (b *Broker) invoke(in *inbound) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = b.panicked("a method", in.method.name, v)
		}
		if err != nil {
			err = sound(err)
		}
	}()
	if err := b.awaitFor(in); err != nil {
		in.gifts.drop()
		if in.late != nil {
			in.late.close()
		}
		return nil, err
	}
	if in.late != nil {
		if err := in.arguments(); err != nil {
			in.gifts.drop()
			in.late.close()
			return nil, err
		}
		in.late.refs = nil // the method's
	}
	in.gifts = nil // likewise
	forCall(in, in.readers)
	// What the protocol itself needs is nobody's to refuse, the reader must
	// not wait for users, and the name in a look-up is a secret. Whether a reader
	// may be read was a question of the call that it came with.
	if len(b.cfg.Inbound) == 0 || in.obj == brokerObject || in.obj.source != nil {
		return in.method.invoke(in, in.ptr)
	}
	info := &CallInfo{Peer: b.peer, Inbound: true, Object: in.obj, Interface: in.obj.iface, Method: in.method.name, Args: in.ptr}
	return intercept(in, b.cfg.Inbound, info, func(ctx context.Context) (any, error) { return in.method.invoke(ctx, in.ptr) })
}

// panicked logs a panic of user code, and makes an error of it.
func (b *Broker) panicked(who, method string, v any) error {
	stack := debug.Stack()
	b.log.Error(who+" panicked", "method", method, "peer", b.peer.Short(), "panic", fmt.Sprint(v), "stack", string(stack))
	return &panicError{v, stack}
}

// answer queues the answer to request req, or the error. by is the method that has
// run, if one has. With written, the caller sees to it that it gets written.
func (b *Broker) answer(req int64, by *Method, result any, err error, written bool) {
	b.answerThen(req, by, result, err, written, func(error) {})
}

// discard closes the readers in a result that nobody has asked for.
func (b *Broker) discard(result any) {
	e := banana.NewEncoder(&b.encC, true)
	e.Value(result)
	m, held, err := e.Finish()
	if err == nil {
		defer m.Free()
		held = m.Externals()
	}
	b.releaseHeld(held)
}

// answerThen is answer that calls then in the moment in which the answer, or the
// error, gets its place in the queue. mu is held during the call.
func (b *Broker) answerThen(req int64, by *Method, result any, err error, written bool, then func(sent error)) {
	if req == 0 {
		if err != nil {
			b.log.Debug("a call without answer failed", "peer", b.peer.Short(), "error", err)
		} else {
			b.discard(result)
		}
		return
	}
	if err == nil {
		e := banana.NewEncoder(&b.encC, false)
		e.Open("answer")
		e.Int(req)
		writeResult(e, result, by)
		e.Close()
		m, held, encode := e.Finish()
		if encode == nil {
			if err = b.sendAnswer(m, written, then); err == nil {
				return
			}
		} else {
			b.releaseHeld(held)
			err = encode
		}
		b.log.Warn("a result cannot be sent", "peer", b.peer.Short(), "error", err)
		b.observeLimit(err)
	}
	e := banana.NewEncoder(&b.encC, false)
	e.Open("error")
	e.Int(req)
	if b.cfg.Discreet != nil {
		err = b.cfg.Discreet(err)
	}
	e.Value(failureOf(err))
	e.Close()
	if m, _, failed := e.Finish(); failed == nil {
		b.sendError(m, written, func(error) { then(err) })
	}
}
