package tub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
)

// All dialling goes through Tub.connect and attempt.dial: which hints may be
// dialled is decided by Tub.handler, and when, by the Ranker and the schedule.

const (
	// defaultStagger is how long a hint has until the next one is tried too.
	defaultStagger = 250 * time.Millisecond
	// negotiationGrace is how many times the stagger longer that is, once,
	// when a hint has got as far as negotiation.
	negotiationGrace = 2
	// duplicateWait is how long an attempt waits for the connection in whose
	// favour the peer has refused ours.
	duplicateWait = 30 * time.Second
	// slotTime is how long one hint may keep others from saying hello.
	slotTime = 5 * time.Second
)

// connect returns the connection to a Tub: one that is there, whoever has
// opened it, or a new one by one of the hints. All who ask for the same Tub
// at the same time share one attempt.
func (t *Tub) connect(ctx context.Context, peer furl.TubID, hints []furl.Hint) (*broker.Broker, error) {
	if peer == t.TubID() {
		b, err := t.loopback()
		if err != nil {
			return nil, &DialError{Peer: peer, Err: err}
		}
		return b, nil
	}
	for {
		if c := t.current(peer); c != nil {
			return c.b, nil
		}
		if ctx.Err() != nil {
			return nil, &DialError{Peer: peer, Err: ctxError(ctx)}
		}
		a, err := t.join(peer)
		if err != nil {
			return nil, &DialError{Peer: peer, Err: err}
		}
		// The attempt before this one may have succeeded since we looked.
		if c := t.current(peer); c != nil {
			a.finish(c, nil)
		}
		if a.enter(hints) {
			return a.wait(ctx)
		}
	}
}

// ctxError is why ctx has ended, so that errors.Is finds both the context's
// own error and its cause.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// current returns the live connection to a Tub, if there is one.
func (t *Tub) current(peer furl.TubID) *connection {
	link := t.local.Ledger().Current(peer)
	if link == nil {
		return nil
	}
	c, _ := link.Connection().(*connection)
	if c == nil {
		return nil
	}
	if c.b.Err() != nil {
		link.Release() // or it stands in the way of the next one until it is noticed
		return nil
	}
	return c
}

// attempt is the making of one connection: by its hints, one beginning after
// the other; the first that is through with negotiation wins. A connection that
// the peer opens meanwhile is as good.
type attempt struct {
	t      *Tub
	peer   furl.TubID
	ctx    context.Context
	cancel context.CancelFunc
	slot   chan struct{} // who holds it may say hello
	done   chan struct{}
	conn   *connection // once done
	err    error       // once done

	mu        sync.Mutex
	waiting   int // who waits for it
	left      int // hints that have not failed
	ended     bool
	duplicate error
	hints     []*HintStatus

	// The schedule.
	queue      []queued
	scheduling bool
	running    int           // hints in progress
	ranked     time.Time     // when the first of the queue was put there
	began      time.Time     // when the last one did
	failed     bool          // one has failed since
	grace      time.Duration // what the next one has to wait on top
	graced     bool
	wake       chan struct{} // has room for one
}

// queued is a hint that waits for its time.
type queued struct {
	status *HintStatus
	gap    time.Duration // to the beginning of the one before
}

// join returns the attempt to reach a Tub that is going on, or begins one.
func (t *Tub) join(peer furl.TubID) (*attempt, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrTubClosed
	}
	if a := t.attempts[peer]; a != nil && a.goesOn() {
		return a, nil
	}
	a := &attempt{t: t, peer: peer, slot: make(chan struct{}, 1), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	a.ctx, a.cancel = context.WithCancel(t.ctx)
	t.attempts[peer] = a
	t.wg.Go(a.await)
	return a, nil
}

func (a *attempt) goesOn() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.ended
}

// enter counts somebody who waits, and puts the hints that are not known yet on
// the schedule. It fails when the attempt has ended; until then, await keeps the
// WaitGroup of the Tub above zero.
func (a *attempt) enter(hints []furl.Hint) bool {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return false
	}
	a.waiting++
	var fresh []*HintStatus
	for _, h := range hints {
		if !slices.ContainsFunc(a.hints, func(s *HintStatus) bool { return s.Hint == h }) {
			s := &HintStatus{Hint: h, Phase: handlers.PhaseParse}
			a.hints = append(a.hints, s)
			a.left++
			fresh = append(fresh, s)
		}
	}
	if a.left == 0 {
		a.t.wg.Go(a.exhausted)
	}
	a.mu.Unlock()
	if len(fresh) > 0 {
		a.schedule(fresh)
	}
	return true
}

// wait waits for the connection, after enter.
func (a *attempt) wait(ctx context.Context) (*broker.Broker, error) {
	defer a.leave()
	select {
	case <-a.done:
		if a.err != nil {
			return nil, a.err
		}
		return a.conn.b, nil
	case <-ctx.Done():
		return nil, &DialError{Peer: a.peer, Err: ctxError(ctx), Hints: a.snapshot()}
	}
}

// leave ends the attempt when nobody waits for it any more.
func (a *attempt) leave() {
	a.mu.Lock()
	if a.waiting--; a.waiting > 0 {
		a.mu.Unlock()
		return
	}
	a.finishAndUnlock(nil, context.Canceled)
}

// await ends the attempt with the connection, by whatever way it comes about.
func (a *attempt) await() {
	for {
		link, err := a.t.local.Ledger().Wait(a.ctx, a.peer)
		if err != nil {
			a.finish(nil, err)
			return
		}
		if c, _ := link.Connection().(*connection); c != nil && c.b.Err() == nil {
			a.finish(c, nil)
			return
		}
		link.Release() // it has ended already
	}
}

// finish ends the attempt.
func (a *attempt) finish(c *connection, err error) {
	a.mu.Lock()
	a.finishAndUnlock(c, err)
}

// finishAndUnlock is finish for those who hold mu: what has made them end the
// attempt is not to change before it has ended.
func (a *attempt) finishAndUnlock(c *connection, err error) {
	if a.ended {
		a.mu.Unlock()
		return
	}
	a.ended = true
	a.conn = c
	hints := a.copyHints()
	if c == nil {
		if a.t.ctx.Err() != nil {
			err = ErrTubClosed
		}
		a.err = &DialError{Peer: a.peer, Err: err, Hints: slices.Clone(hints)}
	}
	err = a.err
	a.mu.Unlock()
	if c == nil || len(hints) > 0 { // there was something to be tried
		a.t.infos.attempted(a.peer, hints, err)
	}
	a.t.mu.Lock()
	if a.t.attempts[a.peer] == a {
		delete(a.t.attempts, a.peer)
	}
	a.t.mu.Unlock()
	close(a.done)
	a.cancel()
}

// exhausted ends the attempt when all hints have failed. But when
// the peer believes in another connection, that one may be about to be made,
// by the peer: it has some time for that.
func (a *attempt) exhausted() {
	a.mu.Lock()
	waited := a.duplicate != nil
	a.mu.Unlock()
	if waited {
		timer := time.NewTimer(duplicateWait)
		defer timer.Stop()
		select {
		case <-a.ctx.Done():
			return
		case <-timer.C:
		}
	}
	a.mu.Lock()
	if a.left > 0 || a.duplicate != nil && !waited {
		a.mu.Unlock() // somebody came with new hints: the last of those comes here again
		return
	}
	a.finishAndUnlock(nil, a.duplicate)
}

func (a *attempt) copyHints() []HintStatus {
	all := make([]HintStatus, len(a.hints))
	for i, s := range a.hints {
		all[i] = *s
	}
	return all
}

func (a *attempt) snapshot() []HintStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.copyHints()
}

// try goes with one hint as far as it gets.
func (a *attempt) try(s *HintStatus) {
	err := a.dial(s)
	a.mu.Lock()
	a.running--
	a.mu.Unlock()
	if err != nil {
		a.fails(s, err)
	}
}

// fails records why a hint has failed.
func (a *attempt) fails(s *HintStatus, err error) {
	a.t.log.Debug("a hint has failed", "error", err)
	a.mu.Lock()
	s.Err = err
	if !s.Started.IsZero() {
		s.Elapsed = time.Since(s.Started)
	}
	if errors.Is(err, negotiate.ErrDuplicate) || errors.Is(err, ErrReplaced) {
		a.duplicate = err
	}
	a.failed = true
	a.left--
	last := a.left == 0
	a.mu.Unlock()
	a.t.infos.signal()
	a.signal()
	if last {
		a.exhausted()
	}
}

func (a *attempt) dial(s *HintStatus) (err error) {
	t := a.t
	if t.opts.Observer != nil {
		defer func() {
			t.observe(Event{Kind: EventDial, Peer: a.peer, Hint: s.Hint, Phase: string(a.phase(s)), Elapsed: time.Since(s.Started), Err: err})
		}()
	}
	h, err := t.handler(s.Hint)
	if err != nil {
		return err
	}
	a.update(s, func() { s.Handler = h.Description() })
	stream, err := handlers.Dial(a.ctx, h, handlers.DialRequest{
		Hint:      s.Hint,
		Target:    a.peer,
		Identity:  t.id.cert(),
		Isolation: string(a.peer),
		Progress:  func(p handlers.Status) { a.update(s, func() { s.Phase = p.Phase; s.Text = p.Text }) },
	})
	if err != nil {
		return err
	}
	a.update(s, func() {
		s.Phase, s.Text, s.Dialled = handlers.PhaseNegotiate, "", time.Since(s.Started)
		if !a.graced { // this one will probably win
			a.graced = true
			a.grace = negotiationGrace * t.opts.Stagger
		}
	})
	began := now()
	slot := &helloSlot{a: a}
	conn, instant := instantly(stream.Conn)
	r, err := negotiate.Client(a.ctx, conn, negotiate.ClientConfig{
		Local:     t.local,
		Target:    a.peer,
		Host:      stream.Host,
		Peer:      stream.Peer,
		HelloSlot: slot.acquire,
		Progress:  func(p negotiate.Phase) { a.update(s, func() { s.Text = p.String() }) },
		Timeouts:  t.opts.NegotiationTimeouts,
	})
	t.observeNegotiation(false, a.peer, began, err)
	if err == nil {
		attach := func(c *connection) error { return a.attach(c, s, r) }
		err = t.adopt(r, instant, nil, attach, nil)
	}
	slot.release()
	if err != nil {
		var failed *negotiate.Error
		if errors.As(err, &failed) {
			a.update(s, func() { s.Timings = failed.Timings })
		}
		if errors.Is(err, negotiate.ErrWrongTub) {
			err = fmt.Errorf("%w: %w", handlers.ErrWrongTub, err)
		}
		return &handlers.Error{Hint: s.Hint, Handler: h.Description(), Phase: handlers.PhaseNegotiate, Elapsed: time.Since(s.Started), Err: err}
	}
	return nil
}

// attach makes c the connection to the peer, and ends the attempt, even if c
// is lost again in the next moment. Who learns of c in whatever way finds that
// s has won.
func (a *attempt) attach(c *connection, s *HintStatus, r *negotiate.Result) error {
	established := c.established
	a.mu.Lock()
	if err := c.attach(); err != nil {
		a.mu.Unlock()
		return err
	}
	s.Won, s.Elapsed, s.Timings = true, established.Sub(s.Started), r.Timings
	a.t.infos.connected(a.peer, s.Hint, established)
	a.finishAndUnlock(c, nil)
	a.t.wg.Add(1) // not from zero: who dials is in there
	c.b.OnDisconnect(func(reason error) {
		defer a.t.wg.Done()
		a.t.infos.lost(a.peer, established, reason)
	})
	return nil
}

func (a *attempt) update(s *HintStatus, f func()) {
	a.mu.Lock()
	f()
	a.mu.Unlock()
	a.t.infos.signal()
}

func (a *attempt) phase(s *HintStatus) handlers.Phase {
	a.mu.Lock()
	defer a.mu.Unlock()
	return s.Phase
}

// helloSlot is one hint's claim on the attempt's slot: of several hints that
// lead to the Tub one at a time says hello, so that the peer sees no duplicate.
type helloSlot struct {
	a     *attempt
	mu    sync.Mutex
	held  bool
	timer *time.Timer
}

func (s *helloSlot) acquire(ctx context.Context) error {
	select {
	case s.a.slot <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
	s.timer = time.AfterFunc(slotTime, s.release)
	return nil
}

// release lets the next hint go on: this one has failed, or takes too long.
func (s *helloSlot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		s.held = false
		s.timer.Stop()
		<-s.a.slot
	}
}
