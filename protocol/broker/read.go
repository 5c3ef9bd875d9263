package broker

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// readMessage reads one message and does what it asks for. An error ends the
// connection.
func (b *Broker) readMessage() error {
	b.tasting.Reset()
	opentype, err := b.dec.Begin()
	if err == nil {
		switch opentype {
		case "call":
			return b.readCall(false)
		case "answer":
			return b.readAnswer(false)
		case "error":
			return b.readAnswer(true)
		}
		if b.pipes {
			switch opentype {
			case pipelinedCall:
				return b.readCall(true)
			case droppedAnswer:
				return b.readDrop()
			}
		}
		if b.flows {
			switch opentype {
			case chunkType:
				return b.readChunk()
			case creditType:
				return b.readCredit()
			}
		}
		b.log.Debug("a message of an unknown type is ignored", "peer", b.peer.Short(), "type", fmt.Sprintf("%.20q", opentype))
		return b.dec.Skip()
	}
	if isViolation(err) {
		return b.dec.Skip()
	}
	return err
}

func isViolation(err error) bool {
	_, ok := err.(*banana.Violation)
	return ok
}

// refuse skips the rest of a message that a Violation is about.
func (b *Broker) refuse() error {
	b.closeFresh()
	return b.dec.Skip()
}

// closeFresh releases the references that a refused message has brought.
func (b *Broker) closeFresh() {
	for i, r := range b.fresh {
		r.Close()
		b.fresh[i] = nil
	}
	b.fresh = b.fresh[:0]
	b.takeGifts().drop()
	b.readers = nil
}

// takeFresh returns the references of the current message, which are the
// caller's from then on.
func (b *Broker) takeFresh() []*Remote {
	if len(b.fresh) == 0 {
		return nil
	}
	fresh := b.fresh
	b.fresh = nil
	return fresh
}

func (b *Broker) keepFresh() {
	clear(b.fresh)
	b.fresh = b.fresh[:0]
	if cap(b.fresh) > 64 {
		b.fresh = nil
	}
}

// readCall reads a call and gives it a turn.
func (b *Broker) readCall(pipelined bool) error {
	req, err := b.dec.Int("the request number")
	if err != nil {
		return b.violated(0, err)
	}
	if req < 0 {
		return &banana.ProtocolError{Reason: "a negative request number"}
	}
	stranger := b.stranger.Load()
	if stranger {
		l := b.cfg.Limits.Limits
		l.MaxMessage = min(l.MaxMessage, b.cfg.Limits.StrangerMessage)
		l.MaxToken = min(l.MaxToken, l.MaxMessage)
		b.dec.SetLimits(l)
	}
	in, method, err := b.readRequest(req, pipelined)
	if stranger { // at once: when the call has run here, another one reads
		b.dec.SetLimits(b.cfg.Limits.Limits)
		nameStrangersLimit(err)
	}
	if err != nil {
		ended := b.violated(req, err)
		if ended == nil && b.cfg.Observer != nil {
			b.observe(Event{Kind: EventCall, Parent: b.id, Peer: b.peer, Inbound: true, Method: method, Detail: "refused", Err: err})
		}
		if b.keeping {
			b.settle(req, method, err)
		}
		return ended
	}
	in.charge = b.dec.TakeCharge()
	if in.gifts = b.takeGifts(); !stranger { // who has to be known first
		b.introduce(in.Context, in.gifts)
	}
	in.readers = b.takeReaders()
	if in.late != nil {
		in.late.refs = b.takeFresh()
	}
	b.keepFresh()
	if in.late != nil {
		if waits, err := b.waitFor(in); waits || err != nil {
			return nil
		}
	}
	if in.method.onReader {
		result, err := b.invoke(in)
		if in.keep {
			b.answerKept(in, method, result, err, false)
		} else {
			b.answer(req, in.method, result, err, false)
		}
		b.account.Release(in.charge)
		return nil
	}
	if b.takeTurn(in) {
		return b.runHere(in)
	}
	b.enqueue(in)
	return nil
}

// nameStrangersLimit makes an error say which option the limit came from.
func nameStrangersLimit(err error) {
	var limit *banana.LimitError
	if errors.As(err, &limit) && (limit.Limit == "MaxToken" || limit.Limit == "MaxMessage") {
		limit.Limit = "StrangerMessage"
	}
}

// readRequest reads the rest of a call. The name of its method is returned as
// soon as it is known.
func (b *Broker) readRequest(req int64, pipelined bool) (in *inbound, name string, err error) {
	b.keeping = false
	to, err := b.readDestination(pipelined)
	if err != nil {
		return nil, "", err
	}
	called, err := b.dec.Name("the name of the method", maxName)
	if err != nil {
		return nil, "", err
	}
	if err := b.find(req, &to); err != nil {
		return nil, string(called), err
	}
	in = &inbound{Context: b.ctx, b: b, req: req, obj: to.obj, keep: b.keeping}
	if to.waits {
		return b.readLate(in, to.clid, string(called))
	}
	method := to.obj.methods[string(called)] // found so, it needs no copy of the name
	if method == nil || method.of != nil {
		method = to.obj.Method(string(called))
	}
	if method == nil {
		name = string(called)
		err := &noMethod{name}
		if to.obj == brokerObject {
			return nil, name, &banana.Violation{Reason: err.Error()}
		}
		return nil, name, &banana.Violation{Err: err}
	}
	if !method.onReader {
		if err := b.admit(); err != nil {
			return nil, method.name, &banana.Violation{Err: err}
		}
	}
	ptr, v := method.newArgs()
	if err := b.dec.Charge(256 + int(v.Type().Size())); err != nil {
		return nil, method.name, err
	}
	if err := method.plan.read(b.dec, ptr, v, &b.tasting); err != nil {
		return nil, method.name, err
	}
	if err := b.dec.Close("call"); err != nil {
		return nil, method.name, err
	}
	in.method, in.ptr = method, ptr
	return in, method.name, nil
}

// lateArguments reads any arguments.
var lateArguments = &plan{raw: true}

// readLate reads a call on the answer to another one, which is not there yet.
func (b *Broker) readLate(in *inbound, on int64, name string) (*inbound, string, error) {
	if err := b.admit(); err != nil {
		return nil, name, &banana.Violation{Err: err}
	}
	in.late = &lateCall{on: on, method: name}
	if err := b.dec.Charge(512 + len(name)); err != nil {
		return nil, name, err
	}
	if err := lateArguments.read(b.dec, &in.late.args, reflect.Value{}, nil); err != nil {
		return nil, name, err
	}
	return in, name, b.dec.Close("call")
}

// admit says whether one more call of the peer may wait or run.
func (b *Broker) admit() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.role.serial = 0
	switch {
	case b.closing:
		return ErrShutdown
	case b.turns.active >= b.cfg.Limits.MaxInbound:
		return errors.Join(ErrBusy, &banana.LimitError{Limit: "MaxInbound", Max: int64(b.cfg.Limits.MaxInbound), Asked: int64(b.turns.active + 1)})
	}
	if b.stranger.Load() {
		return b.admitStranger()
	}
	return nil
}

// admitStranger is for what all calls of one stranger may hold, and for the
// quarter of the Tub's memory that strangers together leave to others. mu is
// held.
func (b *Broker) admitStranger() error {
	max := int64(strangerQueue * b.cfg.Limits.StrangerMessage)
	if held := b.turns.charge; held >= max {
		return errors.Join(ErrBusy, &banana.LimitError{Limit: "StrangerMessage", Max: max, Asked: held})
	}
	if a := b.cfg.Account; a != nil {
		if err := a.Scarce(); err != nil {
			return errors.Join(ErrBusy, err)
		}
	}
	return nil
}

// violated refuses a call. Whoever aborted it knows already.
func (b *Broker) violated(req int64, err error) error {
	v, ok := err.(*banana.Violation)
	if !ok {
		return err
	}
	if err := b.refuse(); err != nil {
		return err
	}
	b.observeLimit(v)
	b.log.Debug("a call is refused", "peer", b.peer.Short(), "error", v)
	if !errors.Is(v, banana.ErrAborted) {
		b.answer(req, nil, nil, v, false)
	}
	return nil
}

// readAnswer reads an answer, or an error, to a call of ours.
func (b *Broker) readAnswer(isError bool) error {
	req, err := b.dec.Int("the request number")
	if err != nil {
		return b.violated(0, err)
	}
	b.mu.Lock()
	p := b.calls.waiting[req]
	if p != nil && p.answered { // from here on it is not the reader's
		p = nil
	}
	b.mu.Unlock()
	if p == nil { // cancelled, or never made, or not the first answer
		return b.dec.Skip()
	}
	if p.unread { // a release of ours: what it returns is not even built
		if err := b.dec.Skip(); err != nil {
			return err
		}
		b.mu.Lock()
		waits := !p.gone
		if waits {
			b.calls.remove(p)
		}
		b.mu.Unlock()
		if waits {
			p.finish(nil)
		}
		return nil
	}
	var failure error
	// A look-up and a promise are about objects of the peer.
	b.noGifts = p.secret != "" || p.then != nil || b.stranger.Load()
	if isError {
		var f *Failure
		if f, err = readFailure(b.dec); err == nil {
			failure = f
		}
	} else {
		err = p.read(b.dec)
	}
	if err == nil {
		err = b.dec.Close("answer")
	}
	b.noGifts = false
	if err != nil {
		if !isViolation(err) {
			return err
		}
		failure = err
		if err := b.refuse(); err != nil {
			return err
		}
	}
	// Once the reading rests, nothing that belongs to the reader may be
	// touched any more.
	fresh, gifts, charge := b.takeFresh(), b.takeGifts(), b.dec.TakeCharge()
	resting := false
	b.mu.Lock()
	cancelled := p.gone
	readers := b.takeReaders()
	if !cancelled {
		p.readers = readers
		if p.answered = len(gifts) > 0 && p.ptr != nil; p.answered {
			p.gifts = gifts
		} else {
			b.calls.remove(p)
		}
		if p.item.queued {
			// Refused before all of it was sent: its caller stops lending.
			b.takeBack(&p.item)
			p.kept = true
		}
		if !b.role.byCaller && b.mayRest() {
			resting = true
			b.role.vacant = true
			b.rest()
		}
	}
	introduced := !cancelled && p.answered
	b.mu.Unlock()
	if introduced {
		b.finishLater(p, fresh, gifts, charge)
		return nil
	}
	if cancelled || p.ptr == nil { // nobody wants to see it
		charge = b.letGo(fresh, gifts, charge)
	}
	if !cancelled {
		p.setCharge(charge)
		p.finish(failure)
	}
	if resting {
		return errResting
	}
	return nil
}

// letGo gives back all that an answer has brought, and returns what is left of its
// charge: nothing.
func (b *Broker) letGo(fresh []*Remote, all gifts, charge int64) int64 {
	all.drop()
	for _, r := range fresh {
		r.Close()
	}
	b.account.Release(charge)
	return 0
}

// read reads the result of a call.
func (p *Pending) read(d *banana.Decoder) error {
	if p.ptr == nil {
		_, err := d.Value(nil)
		return err
	}
	var taster banana.Taster
	if p.schema != nil {
		taster = p.b.tasting.Taster(p.schema.Result)
	}
	if err := p.codec.Decode(d, p.into, taster); err != nil {
		return place(err, "result", p.schema)
	}
	return nil
}

// tellTime is how long a peer that is at fault may take to read why.
const tellTime = time.Second

// tell sends an ERROR token before the connection is closed, behind what is
// being written, and waits for that.
func (b *Broker) tell(reason string) {
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return
	}
	b.send.farewell, b.send.told = banana.AppendError(nil, reason), make(chan struct{})
	b.kick()
	told := b.send.told
	b.mu.Unlock()
	timeout := time.NewTimer(tellTime)
	defer timeout.Stop()
	select {
	case <-told:
	case <-b.ctx.Done():
	case <-timeout.C:
	}
}
