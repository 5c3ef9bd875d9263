package broker

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// What the peer has asked us to keep: docs/pipelining.md.

// keptAnswers are answers of ours on which the peer makes calls, by the number
// of its request. mu is held.
type keptAnswers map[int64]*keptAnswer

type keptAnswer struct {
	method  string
	settled bool
	obj     *Object // once settled, unless
	err     error   // there is none
	dropped bool    // the peer makes no more calls on it
	waiting []*inbound
}

// notRunType is the class of the error of a call that was not run because of
// another one.
const notRunType = "foolscap.go.NotRun"

type notRunError struct {
	method string
	cause  error
}

func (e *notRunError) Error() string {
	return fmt.Sprintf("not run, because %s failed: %v", e.method, e.cause)
}
func (e *notRunError) Unwrap() error { return e.cause }

// notRun is the error of a call on an answer that does not exist. Along a chain
// it names only what has failed first: a peer makes chains of any length.
func notRun(method string, cause error) error {
	if first, ok := errors.AsType[*notRunError](cause); ok {
		return first
	}
	return &notRunError{method, cause}
}
func (e *notRunError) RemoteType() (string, []string) {
	return notRunType, []string{notRunType, "builtins.Exception"}
}

var (
	errNotKept    = errors.New("the answer to that request is not kept")
	errNoTarget   = errors.New("its answer is not an object of this side")
	errUnkeepable = errors.New("a call without an answer has nothing to be kept")
)

// destination is what a call of the peer goes to, as it is read.
type destination struct {
	clid  int64
	flags int64
	obj   *Object
	waits bool // for the answer to request clid
}

// readDestination reads what comes before the name of the method.
func (b *Broker) readDestination(pipelined bool) (to destination, err error) {
	if pipelined {
		if to.flags, err = b.dec.Int("the flags"); err != nil {
			return to, err
		}
		if to.flags&^(flagKeep|flagAnswer) != 0 {
			return to, &banana.Violation{Reason: fmt.Sprintf("unknown flags %d", to.flags)}
		}
	}
	to.clid, err = b.dec.Int("the object")
	return to, err
}

// find finds the object of a destination, as far as it is known.
func (b *Broker) find(req int64, to *destination) (err error) {
	if to.flags&flagAnswer != 0 && to.clid == req {
		return &banana.Violation{Reason: "a call on its own answer"}
	}
	if to.flags&flagKeep != 0 {
		if err := b.keep(req); err != nil {
			return &banana.Violation{Err: err}
		}
	}
	if to.flags&flagAnswer == 0 {
		to.obj, err = b.target(to.clid)
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch k := b.kept[to.clid]; {
	case k == nil || k.dropped:
		return &banana.Violation{Err: notRun(fmt.Sprintf("request %d", to.clid), errNotKept)}
	case k.err != nil:
		return &banana.Violation{Err: notRun(k.method, k.err)}
	case !k.settled:
		to.waits = true
	default:
		to.obj = k.obj
	}
	return nil
}

// keep makes room for the answer to a request.
func (b *Broker) keep(req int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit, max := "MaxPromises", b.cfg.Limits.MaxPromises
	if b.stranger.Load() {
		limit, max = "StrangerReferences", min(max, b.cfg.Limits.StrangerReferences)
	}
	switch {
	case req == 0:
		return errUnkeepable
	case b.kept[req] != nil:
		return fmt.Errorf("the answer to request %d is kept already", req)
	case len(b.kept) >= max:
		return errors.Join(ErrBusy, &banana.LimitError{Limit: limit, Max: int64(max), Asked: int64(len(b.kept) + 1)})
	}
	if b.kept == nil {
		b.kept = make(keptAnswers)
	}
	b.kept[req] = &keptAnswer{method: fmt.Sprintf("request %d", req)}
	b.keeping = true
	return nil
}

// readDrop reads that the peer makes no more calls on an answer.
func (b *Broker) readDrop() error {
	req, err := b.dec.Int("the number of a request")
	if err == nil {
		err = b.dec.Close(droppedAnswer)
	}
	if err != nil {
		if !isViolation(err) {
			return err
		}
		return b.refuse()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.kept[req]; k != nil {
		k.dropped = true
		if k.settled {
			delete(b.kept, req)
		}
	}
	return nil
}

// waitFor puts a call behind the answer that it is made on. If that has come
// while the call was read, the call is complete, or has failed.
func (b *Broker) waitFor(in *inbound) (waits bool, err error) {
	if err := b.account.Reserve(in.charge); err != nil { // it will be copied
		b.fail(in, in.late.method, err)
		return false, err
	}
	in.charge *= 2
	b.mu.Lock()
	k := b.kept[in.late.on]
	switch {
	case b.err != nil || k == nil:
		err = errNotKept
	case k.err != nil:
		err = notRun(k.method, k.err)
	case !k.settled:
		k.waiting = append(k.waiting, in)
		b.turns.active++
		b.turns.charge += in.charge
		waits = true
	default:
		in.obj = k.obj
		if in.method = k.obj.Method(in.late.method); in.method == nil {
			err = &noMethod{in.late.method}
		}
	}
	b.mu.Unlock()
	if err != nil {
		b.fail(in, in.late.method, err)
	}
	return waits, err
}

// settle is called when a request was refused whose answer the peer has asked
// us to keep.
func (b *Broker) settle(req int64, method string, err error) {
	b.mu.Lock()
	failed := b.settled(req, method, nil, err)
	b.mu.Unlock()
	b.failAll(failed)
}

// answerKept is answer for a request whose answer is kept: no call that comes
// after the answer gets before those that have waited for it.
func (b *Broker) answerKept(in *inbound, method string, result any, err error, written bool) {
	obj := (*Object)(nil)
	objErr := err
	if err == nil {
		result, obj, objErr = b.objectOf(result, in.method)
	}
	var failed []failedCall
	b.answerThen(in.req, in.method, result, err, written, func(sent error) {
		if sent != nil {
			obj, objErr = nil, sent
		}
		failed = b.settled(in.req, method, obj, objErr)
	})
	b.failAll(failed)
}

// failedCall is a call that is not run.
type failedCall struct {
	in  *inbound
	err error
}

// settled makes obj the target of the calls on a kept answer, or err the reason
// why there is none. Calls that have waited for it get their place in the queue,
// in their order; those that cannot be run are returned. mu is held.
func (b *Broker) settled(req int64, method string, obj *Object, err error) (failed []failedCall) {
	k := b.kept[req]
	if k == nil { // the end
		return nil
	}
	if err != nil && b.cfg.Discreet != nil {
		err = b.cfg.Discreet(err)
	}
	k.settled, k.obj, k.err, k.method = true, obj, err, cmp.Or(method, k.method)
	waiting := k.waiting
	k.waiting = nil
	if k.dropped {
		delete(b.kept, req)
	}
	for _, in := range waiting {
		var why error
		if obj == nil {
			why = notRun(k.method, err)
		} else if in.method = obj.Method(in.late.method); in.method == nil {
			why = &noMethod{in.late.method}
		}
		if why == nil {
			in.obj = obj
			b.turns.queue = append(b.turns.queue, in)
			continue
		}
		b.turns.active--
		b.turns.charge -= in.charge
		failed = append(failed, failedCall{in, why})
	}
	if b.turns.taken && b.turns.head < len(b.turns.queue) && !b.turns.watched {
		b.watchTurn()
	}
	b.startTurn()
	return failed
}

func (b *Broker) failAll(failed []failedCall) {
	for _, f := range failed {
		b.fail(f.in, f.in.late.method, f.err)
	}
}

// fail answers a call that is not run.
func (b *Broker) fail(in *inbound, method string, err error) {
	if in.keep {
		b.answerKept(in, method, nil, err, false)
	} else {
		b.answer(in.req, nil, nil, err, false)
	}
	b.account.Release(in.charge)
	in.gifts.drop()
	if in.late != nil {
		in.late.close()
	}
}

// objectOf returns the object of ours that a result is, and the result with
// that in its place, where something else has stood for it.
func (b *Broker) objectOf(result any, by *Method) (any, *Object, error) {
	x, ok := result.(banana.External)
	if !ok && result != nil {
		if adapted, err := b.cfg.Host.Adapt(result, by.declaredResult()); err == nil && adapted != nil {
			result, x, ok = adapted, adapted, true
		}
	}
	if ok {
		v, err := b.cfg.Host.Unwrap(x, b)
		if err != nil {
			return result, nil, err
		}
		if o, ok := v.(*Object); ok {
			return result, o, nil
		}
	}
	return result, nil, errNoTarget
}

// lateCall are the arguments of a call whose object was not known when it was
// read.
type lateCall struct {
	on     int64 // the request whose answer is called
	method string
	args   Args
	refs   []*Remote // references in args, until the method has them
}

// close releases the references of a call that is not run.
func (l *lateCall) close() {
	for _, r := range l.refs {
		r.Close()
	}
	l.refs = nil
}

// arguments makes what the method takes of arguments that were read before it
// was known.
func (in *inbound) arguments() error {
	ptr, v := in.method.newArgs()
	in.ptr = ptr
	args := in.late.args
	if p := in.method.plan; p.raw && p.schema == nil {
		*ptr.(*Args) = args
		return nil
	}
	cfg := in.b.decC
	cfg.Adapt = func(v any, t reflect.Type) (reflect.Value, error) { return in.b.adopted(&in.readers, v, t) }
	d, err := banana.Recode(&cfg, in.gifts.openType, func(e *banana.Encoder) {
		e.Open("call")
		writeArguments(e, args)
		e.Close()
	})
	if err != nil {
		return err
	}
	if _, err := d.Begin(); err != nil {
		return err
	}
	return in.method.plan.read(d, ptr, v, &schema.Tasting{CopyState: d.CopyState, Charge: d.Charge})
}
