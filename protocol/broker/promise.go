package broker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// Pipelining is the name of the extension by which calls are made on answers
// that are not there yet: docs/pipelining.md.
const Pipelining = "pipelining-1"

const (
	pipelinedCall = "pcall"
	droppedAnswer = "pdrop"

	flagKeep   = 1 // the answer is kept, for calls on it
	flagAnswer = 2 // the target is a request whose answer is kept
)

// Before a look-up of ours has succeeded we are strangers to a peer that we have
// dialled. He takes no call of more than 16 KiB and keeps no more than 16
// answers; what is more has to wait.
const (
	earlySize  = 8 << 10
	earlyCalls = 12
)

// ErrNotRun: the call was not run, because the one whose answer it was made on
// has failed.
var ErrNotRun = errors.New("not run, because the call that it builds on has failed")

// A Promise is the object that a call of ours will return. Calls on it go out
// at once, and run at the peer when that call has; with a peer that does not
// know Pipelining they wait for the answer here. It is safe for concurrent use.
type Promise struct {
	b      *Broker
	call   *Pending // nil if interceptors make it
	method string
	root   *Promise // the look-up that all of this builds on, if it does
	secret string   // the name in that
	waits  bool     // calls on it wait for the answer here
	// declared is what calls on it have to be, or nil.
	declared atomic.Pointer[schema.Interface]
	done     chan struct{}
	value    any // what the answer is decoded into

	// mu of the Broker guards these.
	settled bool
	closed  bool
	remote  *Remote
	err     error
}

// errSettled: the answer is here by now. errWait: the look-up has to be
// answered first.
var (
	errSettled = errors.New("the promise is settled")
	errWait    = errors.New("the promise has to be settled first")
)

// Promise calls a method that returns an object of the peer, and returns at
// once what stands for it.
func (r *Remote) Promise(ctx context.Context, method string, args Args) (*Promise, error) {
	if err := r.usable(method); err != nil {
		return nil, err
	}
	if len(r.b.cfg.Outbound) > 0 {
		return r.b.interceptedPromise(ctx, r.Interface(), method, args, func(ctx context.Context) (*Promise, error) {
			return r.b.promise(ctx, callee{object: r}, method, args)
		})
	}
	return r.b.promise(ctx, callee{object: r}, method, args)
}

// ErrTooEarly: as long as no look-up has succeeded, no more of them are made than
// the peer keeps answers for. GetReference waits.
var ErrTooEarly = errors.New("too many look-ups at once over a new connection")

// LookUp is GetReference without waiting for the answer.
func (b *Broker) LookUp(ctx context.Context, name string) (*Promise, error) {
	if b.pipes && !b.inbound {
		b.mu.Lock()
		early := !b.known && b.early >= earlyCalls
		if !early && !b.known {
			b.early++
		}
		b.mu.Unlock()
		if early {
			return nil, ErrTooEarly
		}
	}
	p := &Promise{b: b, method: "getReferenceByName", secret: name, waits: !b.pipes, done: make(chan struct{})}
	p.root = p
	return p, p.begin(ctx, callee{}, Args{Keyword: map[string]any{"name": []byte(name)}})
}

// interceptedPromise lets a promise pass the interceptors, which see its answer.
// They run in a goroutine, and calls on the promise wait for them.
func (b *Broker) interceptedPromise(ctx context.Context, iface, method string, args Args, begin func(context.Context) (*Promise, error)) (*Promise, error) {
	if err := b.lockAlive(); err != nil {
		return nil, &CallError{Peer: b.peer, Method: method, Sent: NotSent, Err: err}
	}
	b.wg.Add(1)
	b.mu.Unlock()
	p := &Promise{b: b, method: method, waits: true, done: make(chan struct{})}
	ctx = context.WithoutCancel(ctx) // that of Promise is about sending alone
	go func() {
		defer b.wg.Done()
		var remote *Remote
		var err error = &CallError{Peer: b.peer, Method: method, Err: errInterceptorEnded}
		defer func() {
			if v := recover(); v != nil {
				err = &CallError{Peer: b.peer, Method: method, Sent: MayHaveRun, Err: b.panicked("an interceptor", method, v)}
			}
			p.settleWith(remote, err)
		}()
		err = b.intercepted(ctx, iface, method, args, &remote, func(ctx context.Context) error {
			inner, err := begin(ctx)
			if err == nil {
				remote, err = inner.Wait(ctx)
			}
			return err
		})
	}()
	return p, nil
}

// Pipelines reports whether calls can be made on answers that are not there
// yet.
func (b *Broker) Pipelines() bool { return b.pipes }

func (b *Broker) promise(ctx context.Context, to callee, method string, args Args) (*Promise, error) {
	p := &Promise{b: b, method: method, waits: !b.pipes, done: make(chan struct{})}
	if to.answer != nil {
		p.root = to.answer.root
	}
	if err := p.begin(ctx, to, args); err != nil {
		return nil, err
	}
	return p, nil
}

// begin sends the call whose answer is promised.
func (p *Promise) begin(ctx context.Context, to callee, args Args) error {
	b := p.b
	to.keep = b.pipes
	call := &Pending{b: b, method: p.method, ptr: &p.value, codec: anyCodec, secret: p.secret, built: to.answer, done: make(chan struct{})}
	call.then = func(error) {
		call.unsetCharge()
		p.settle(call.explain())
	}
	p.call = call
	return b.begin(ctx, call, to, args, false)
}

// settle is called once, when the answer is there, or will never be.
func (p *Promise) settle(err error) {
	remote, err := p.answer(err)
	p.value = nil
	p.settleWith(remote, err)
}

func (p *Promise) settleWith(remote *Remote, err error) {
	b := p.b
	b.mu.Lock()
	p.settled = true
	p.remote, p.err = remote, err
	if i := p.declared.Load(); i != nil && remote != nil {
		remote.Assume(i)
	}
	closed := p.closed
	if p.root == p && err == nil {
		b.known = true
	}
	if p.call != nil && b.pipes && b.err == nil {
		b.dropAnswer(p.call.req) // no call on it is sent from here on
	}
	b.mu.Unlock()
	if closed && remote != nil {
		remote.Close()
	}
	close(p.done)
}

// answer returns the object that was answered.
func (p *Promise) answer(err error) (*Remote, error) {
	if err != nil {
		return nil, err
	}
	if x, ok := p.value.(banana.External); ok {
		v, err := p.b.cfg.Host.Unwrap(x, p.b)
		if err != nil {
			return nil, err
		}
		if r, ok := v.(*Remote); ok {
			return r, nil
		}
	}
	return nil, &CallError{Peer: p.b.peer, Method: p.method, Sent: Answered, Err: &banana.Violation{Reason: "the answer is not an object of the other side, on which calls could be made"}}
}

// Assume is [Remote.Assume].
func (p *Promise) Assume(i *schema.Interface) {
	p.declared.Store(i)
	if remote, _ := p.Settled(); remote != nil {
		remote.Assume(i)
	}
}

// Broker returns the connection of the promise.
func (p *Promise) Broker() *Broker { return p.b }

// Settled returns the object, or why there is none; both are nil before the
// answer is there.
func (p *Promise) Settled() (*Remote, error) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return p.remote, p.err
}

// Wait waits for the object, which belongs to the Promise.
func (p *Promise) Wait(ctx context.Context) (*Remote, error) {
	select {
	case <-p.done:
	default:
		ReleaseTurn(ctx)
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, &CallError{Peer: p.b.peer, Method: p.method, Sent: MayHaveRun, Err: ctxError(ctx)}
		}
	}
	return p.Settled()
}

// Close releases the object, once it is there. Calls in progress go on.
func (p *Promise) Close() {
	p.b.mu.Lock()
	remote := p.remote
	p.closed = true
	p.b.mu.Unlock()
	if remote != nil {
		remote.Close()
	}
}

// takes reports whether a call can go out now. mu is held, until it is queued.
func (p *Promise) takes(m *banana.Message) error {
	switch {
	case p.closed:
		return ErrClosedReference
	case p.settled:
		return errSettled
	}
	if b := p.b; p.root != nil && !b.inbound && !b.known {
		if m.Size() > earlySize || b.early >= earlyCalls {
			return errWait
		}
		b.early++
	}
	return nil
}

// on makes a call on the promised object: call is given where it goes.
func (p *Promise) on(ctx context.Context, method string, call func(callee) error) error {
	for {
		to := callee{answer: p}
		remote, err := p.Settled()
		if remote == nil && err == nil && p.waits {
			remote, err = p.Wait(ctx)
		}
		switch {
		case err != nil:
			return p.notRun(method, NotSent, err)
		case remote != nil:
			if remote.closed.Load() {
				return &CallError{Peer: p.b.peer, Method: method, Sent: NotSent, Err: ErrClosedReference}
			}
			to = callee{object: remote}
		}
		switch err := call(to); err {
		case errSettled:
		case errWait:
			if _, err := p.root.Wait(ctx); err != nil {
				return p.notRun(method, NotSent, err)
			}
		default:
			return err
		}
	}
}

// notRun is the error of a call on a promise that was not kept.
func (p *Promise) notRun(method string, sent Sent, because error) error {
	return &CallError{Peer: p.b.peer, Method: method, Sent: sent, Err: fmt.Errorf("%w: %w", ErrNotRun, because)}
}

// explain puts the error of the call that was promised in place of what the
// peer says of it.
func (p *Promise) explain(method string, err error) error {
	f, ok := errors.AsType[*Failure](err)
	if !ok || f.Type != notRunType {
		return err
	}
	// The answer to that call has come before this one.
	if _, because := p.Settled(); because != nil {
		return p.notRun(method, Answered, because)
	}
	return &CallError{Peer: p.b.peer, Method: method, Sent: Answered, Err: fmt.Errorf("%w: %w", ErrNotRun, f)}
}

// Call is [Remote.Call].
func (p *Promise) Call(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) error {
	return p.b.intercepted(ctx, "", method, args, ptr, func(ctx context.Context) error {
		pending, err := p.start(ctx, method, args, ptr, codec, true)
		if err != nil {
			return err
		}
		return pending.wait(ctx)
	})
}

// Start is [Remote.Start].
func (p *Promise) Start(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec) (*Pending, error) {
	begin := func(ctx context.Context) (*Pending, error) { return p.start(ctx, method, args, ptr, codec, false) }
	if len(p.b.cfg.Outbound) == 0 {
		return begin(ctx)
	}
	return p.b.startChained(ctx, "", method, args, ptr, begin)
}

func (p *Promise) start(ctx context.Context, method string, args Args, ptr any, codec *banana.Codec, lend bool) (*Pending, error) {
	var pending *Pending
	err := p.on(ctx, method, func(to callee) (err error) {
		pending, err = p.b.start(ctx, to, method, args, ptr, codec, lend)
		return err
	})
	if err != nil {
		return nil, err
	}
	pending.built = p
	return pending, nil
}

// Send is [Remote.Send].
func (p *Promise) Send(ctx context.Context, method string, args Args) error {
	return p.b.intercepted(ctx, "", method, args, nil, func(ctx context.Context) error {
		return p.on(ctx, method, func(to callee) error { return p.b.oneway(ctx, to, method, args) })
	})
}

// Promise is [Remote.Promise].
func (p *Promise) Promise(ctx context.Context, method string, args Args) (*Promise, error) {
	if len(p.b.cfg.Outbound) > 0 {
		return p.b.interceptedPromise(ctx, "", method, args, func(ctx context.Context) (*Promise, error) {
			return p.promise(ctx, method, args)
		})
	}
	return p.promise(ctx, method, args)
}

func (p *Promise) promise(ctx context.Context, method string, args Args) (*Promise, error) {
	var next *Promise
	err := p.on(ctx, method, func(to callee) (err error) {
		next, err = p.b.promise(ctx, to, method, args)
		return err
	})
	return next, err
}

// dropAnswer tells the peer that no more calls are made on an answer that it
// keeps. mu is held.
func (b *Broker) dropAnswer(req int64) {
	b.queueOwn(func(e *banana.Encoder) {
		e.Open(droppedAnswer)
		e.Int(req)
		e.Close()
	})
}
