package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// An introduction hands on a reference to an object of a third Tub, by its
// FURL: a "their-reference". The giver keeps the object alive until the receiver
// acknowledges with "decgift", once for each time that it was sent.

// A Gift is a reference to an object of a third Tub that is to be sent.
type Gift struct {
	// FURL is how the receiver gets there; a secret.
	FURL string
	// Held is kept until the receiver has acknowledged; nil for nothing.
	Held *Remote
}

// given are the gifts that the peer has not acknowledged. mu is held.
type given struct {
	byID   map[int64]*gift
	byFURL map[string]*gift
	last   int64
	count  int
}

type gift struct {
	id    int64
	furl  string
	count int64
	held  []handle
}

// take returns everything that is held, and forgets it.
func (g *given) take() (held []handle) {
	for _, one := range g.byID {
		held = append(held, one.held...)
	}
	*g = given{}
	return held
}

// holdGift prepares a gift for a message.
func (b *Broker) holdGift(g *Gift) (any, error) {
	b.mu.Lock()
	full := b.refs.given.count >= b.cfg.Limits.MaxReferences
	if !full {
		b.refs.given.count++
	}
	b.mu.Unlock()
	if full {
		return nil, &banana.LimitError{Limit: "MaxReferences", Max: int64(b.cfg.Limits.MaxReferences), Asked: int64(b.cfg.Limits.MaxReferences) + 1}
	}
	out := &outRef{gift: true, furl: g.FURL}
	if g.Held != nil {
		h, err := g.Held.hold()
		switch {
		case err == nil:
			out.held = &h
		case g.FURL == "" || !errors.Is(err, ErrDeadReference): // otherwise others can still get there
			b.releaseHeld([]any{out})
			return nil, err
		}
	}
	if g.FURL == "" {
		b.releaseHeld([]any{out})
		return nil, ErrNoFURL
	}
	return out, nil
}

// hold takes one more handle on an object, for as long as it is handed on.
func (r *Remote) hold() (handle, error) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	switch {
	case r.b.err != nil:
		return handle{}, &deadError{r.b.err}
	case r.closed.Load() || r.p.handles == 0:
		return handle{}, ErrClosedReference
	}
	r.p.handles++
	return handle{r.b, r.p}, nil
}

// appendGift writes a gift into a message that goes out now. mu is held.
func (b *Broker) appendGift(dst []byte, out *outRef) []byte {
	t := &b.refs.given
	g := t.byFURL[out.furl]
	if g == nil {
		if t.byID == nil {
			t.byID, t.byFURL = make(map[int64]*gift), make(map[string]*gift)
		}
		for {
			if t.last++; t.last > math.MaxInt32 {
				t.last = 1
			}
			if t.byID[t.last] == nil {
				break
			}
		}
		g = &gift{id: t.last, furl: out.furl}
		t.byID[g.id], t.byFURL[g.furl] = g, g
	}
	g.count++
	if out.held != nil {
		g.held = append(g.held, *out.held)
		out.held = nil
	}
	b.note(Event{Kind: EventGift, Parent: b.id, Peer: b.peer, Detail: "given"})
	dst = b.appendWord(dst, "their-reference")
	dst = banana.AppendInt(dst, g.id)
	return banana.AppendString(dst, g.furl)
}

// decgift is the acknowledgement of a gift of ours.
func (b *Broker) decgift(id, count int64) error {
	b.mu.Lock()
	t := &b.refs.given
	g := t.byID[id]
	if g == nil || count < 0 || count > g.count {
		b.mu.Unlock()
		if g == nil {
			return fmt.Errorf("there is no introduction %d", id)
		}
		return fmt.Errorf("introduction %d was sent %d times, it cannot be acknowledged %d times", id, g.count, count)
	}
	t.count -= int(count)
	if g.count -= count; g.count == 0 {
		delete(t.byID, id)
		delete(t.byFURL, g.furl)
	}
	// One for each that is still on the way; the newest are of the newest
	// connection.
	n := max(0, len(g.held)-int(g.count))
	held := g.held[:n:n]
	g.held = slices.Clone(g.held[n:])
	b.mu.Unlock()
	for _, h := range held {
		releaseHandle(h)
	}
	b.observe(Event{Kind: EventGift, Parent: b.id, Peer: b.peer, Detail: "acknowledged"})
	return nil
}

// A Receipt lets the giver of an introduction forget it.
type Receipt struct {
	id int64
	b  atomic.Pointer[Broker] // nil once it is acknowledged
}

// Acknowledge tells the giver, unless that was done before, that it need not keep
// the object alive any more.
func (r *Receipt) Acknowledge() {
	if b := r.b.Swap(nil); b != nil {
		b.acknowledge(r.id)
	}
}

// acknowledge counts an introduction that was received as dealt with.
func (b *Broker) acknowledge(id int64) {
	b.mu.Lock()
	defer b.unlock()
	if b.err != nil || id == 0 {
		return
	}
	b.queueInternal(0, "decgift", func(e *banana.Encoder) {
		e.Name("count")
		e.Int(1)
		e.Name("giftID")
		e.Int(id)
	})
}

// An Introduction is a gift of the peer that has arrived.
type Introduction struct {
	// Giver is who introduces, FURL what leads to the object.
	Giver furl.TubID
	FURL  furl.FURL
	// Receipt is acknowledged when Resolve has failed, or does not run. Otherwise
	// that is up to the Host, which may do it much later.
	Receipt *Receipt

	// Resolve, which Host.Introduce may set, makes the connection, in a
	// goroutine of its own. The call, or the answer, waits until it returns, and
	// fails with its error.
	Resolve func(ctx context.Context) error
	// Drop, which Host.Introduce sets, gives up what nobody will see.
	Drop func()

	begin  sync.Once
	cancel context.CancelFunc
	done   chan struct{} // closed when Resolve has returned
	err    error

	value banana.External // what the program is to see
	// unsure are the constraints that could not be checked before it is resolved.
	unsure []schema.Constraint
}

// maxIntroducing is how many introductions of one peer are resolved at a time.
const maxIntroducing = 16

// defaultIntroductionTimeout is what Config.IntroductionTimeout is by default.
const defaultIntroductionTimeout = 30 * time.Second

// introductionCost is what an introduction is charged for besides its FURL: it
// takes a goroutine.
const introductionCost = 8 << 10

// readTheirReference reads an introduction. It is acknowledged in any case.
func (b *Broker) readTheirReference(d *banana.Decoder) (any, error) {
	id, err := d.Int("the number of an introduction")
	if err != nil {
		return nil, err
	}
	i, v, err := b.readIntroduction(d)
	if isViolation(err) {
		b.introduced(err)
		b.acknowledge(id)
	}
	if err != nil {
		return nil, err
	}
	i.Receipt.id = id
	i.Receipt.b.Store(b)
	b.gifts = append(b.gifts, i)
	return v, nil
}

func (b *Broker) readIntroduction(d *banana.Decoder) (*Introduction, any, error) {
	text, err := d.Name("the FURL of an introduction", maxFURL)
	if err != nil {
		return nil, nil, err
	}
	if err := d.Charge(introductionCost + len(text)); err != nil {
		return nil, nil, err
	}
	if len(text) == 0 {
		return nil, nil, &banana.Violation{Err: ErrNoFURL}
	}
	f, err := furl.Parse(string(text))
	if err != nil {
		return nil, nil, &banana.Violation{Reason: "an introduction with a FURL that is none"}
	}
	if err := d.Close("their-reference"); err != nil {
		return nil, nil, err
	}
	if b.noGifts {
		return nil, nil, &banana.Violation{Reason: "an introduction where an object of the peer is expected"}
	}
	i := &Introduction{Giver: b.peer, FURL: f, Receipt: new(Receipt), done: make(chan struct{})}
	v, err := b.cfg.Host.Introduce(i)
	if err != nil {
		return nil, nil, &banana.Violation{Err: err}
	}
	b.observe(Event{Kind: EventGift, Parent: b.id, Peer: b.peer, Inbound: true, Detail: "received"})
	i.value = v
	return i, v, nil
}

// introduced tells the observer what has become of an introduction.
func (b *Broker) introduced(err error) {
	detail := "resolved"
	switch {
	case errors.Is(err, ErrIntroduction):
		detail = "refused"
	case err != nil:
		detail = "failed"
	}
	b.observe(Event{Kind: EventGift, Parent: b.id, Peer: b.peer, Inbound: true, Detail: detail, Err: err})
}

// gifts are the introductions of one message.
type gifts []*Introduction

// takeGifts returns those of the message that was read, which are the caller's
// from then on.
func (b *Broker) takeGifts() gifts {
	all := b.gifts
	b.gifts = nil
	for _, u := range b.tasting.Unsure() {
		for _, i := range all {
			if i.value == u.Value {
				i.unsure = append(i.unsure, u.Constraint)
			}
		}
	}
	return all
}

// openType tells a reference that was put off, and whose interface nobody knows
// yet, from others.
func (all gifts) openType(x banana.External) string {
	for _, i := range all {
		if i.value == x && (i.Resolve == nil || i.Receipt.b.Load() != nil) {
			return "their-reference"
		}
	}
	return ""
}

// introduce begins to resolve introductions, unless that has begun. ctx ends it.
func (b *Broker) introduce(ctx context.Context, all gifts) {
	for _, i := range all {
		if i.Resolve == nil {
			continue
		}
		i.begin.Do(func() {
			var one context.Context
			one, i.cancel = context.WithCancel(ctx)
			if !b.cfg.Host.Go(func(life context.Context) {
				defer context.AfterFunc(life, i.cancel)()
				b.resolve(one, i)
			}) {
				i.finish(ErrShutdown)
			}
		})
	}
}

// resolve resolves one introduction, when there is a place for it. It may run
// code of users.
func (b *Broker) resolve(ctx context.Context, i *Introduction) {
	select {
	case b.introducing <- struct{}{}:
	case <-ctx.Done():
		i.finish(ctxError(ctx))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.introductionTime())
	defer cancel()
	err := errors.New("whoever was asked about an introduction did not return")
	defer func() {
		if v := recover(); v != nil {
			err = b.panicked("whoever was asked about an introduction", "introduction", v)
		}
		<-b.introducing
		b.introduced(err)
		i.finish(err)
	}()
	err = i.Resolve(ctx)
}

func (b *Broker) introductionTime() time.Duration {
	return cmp.Or(b.cfg.IntroductionTimeout, defaultIntroductionTimeout)
}

func (i *Introduction) finish(err error) {
	i.cancel()
	if err != nil {
		i.Receipt.Acknowledge()
	}
	i.err = err
	close(i.done)
}

// await waits until introductions are resolved, for as long as one may take.
func (b *Broker) await(ctx context.Context, all gifts) error {
	if len(all) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.introductionTime())
	defer cancel()
	for _, i := range all {
		if i.Resolve == nil {
			continue
		}
		err := error(nil)
		select {
		case <-i.done:
			err = i.err
		case <-ctx.Done():
			err = ctxError(ctx)
		}
		if err != nil {
			b.log.Debug("an introduction has failed", "peer", b.peer.Short(), "tub", i.FURL.TubID.Short(), "error", err)
			return &IntroductionError{Tub: i.FURL.TubID, Err: err}
		}
		if i.Receipt.b.Load() != nil { // it was put off after all
			continue
		}
		for _, c := range i.unsure {
			if err := c.Check(i.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitFor waits for the introductions among the arguments of a call. Its error is
// for the peer.
func (b *Broker) awaitFor(in *inbound) error {
	if len(in.gifts) == 0 {
		return nil
	}
	if b.stranger.Load() {
		return &banana.Violation{Err: ErrIntroduction}
	}
	// Not the context of the method, which would give up its turn.
	b.introduce(in.Context, in.gifts)
	var failed *IntroductionError
	err := b.await(in.Context, in.gifts)
	if errors.As(err, &failed) {
		return failed.forPeer()
	}
	return err
}

// An IntroductionError says that a reference to an object of a third Tub could not
// be resolved.
type IntroductionError struct {
	Tub furl.TubID // that of the object
	Err error
}

func (e *IntroductionError) Error() string {
	return fmt.Sprintf("the introduction to Tub %s has failed: %v", e.Tub.Short(), e.Err)
}

// Unwrap returns what has gone wrong, unless it would be mistaken for something
// that has gone wrong with the call, or that its method has raised.
func (e *IntroductionError) Unwrap() error {
	var failure *Failure
	if errors.Is(e.Err, ErrDeadReference) || errors.As(e.Err, &failure) {
		return nil
	}
	return e.Err
}

// forPeer is what the giver is told: not how we have tried to get there.
func (e *IntroductionError) forPeer() error {
	var failure *Failure
	switch {
	case errors.Is(e.Err, ErrIntroduction):
		return &banana.Violation{Err: ErrIntroduction}
	case errors.Is(e.Err, context.DeadlineExceeded):
		return introductionFailure("the introduction to Tub " + e.Tub.Short() + " has failed: it took too long")
	case errors.As(e.Err, &failure):
		return introductionFailure("the introduction to Tub " + e.Tub.Short() + " has failed: that does not give the object out")
	}
	return introductionFailure("the introduction to Tub " + e.Tub.Short() + " has failed: that cannot be reached from here")
}

// introductionFailure is an error with a name of its own on the wire.
type introductionFailure string

func (e introductionFailure) Error() string { return string(e) }

// RemoteType returns that name.
func (introductionFailure) RemoteType() (string, []string) { return "foolscap.IntroductionFailed", nil }

// drop gives introductions up that nobody will see.
func (all gifts) drop() {
	for _, i := range all {
		i.begin.Do(func() {
			i.Receipt.Acknowledge()
			i.err = context.Canceled
			close(i.done)
		})
		if i.cancel != nil {
			i.cancel()
		}
		i.Drop()
	}
}

// finishLater begins to resolve the introductions of an answer, which ends its call
// once that is done.
func (b *Broker) finishLater(p *Pending, fresh []*Remote, all gifts, charge int64) {
	b.introduce(context.WithoutCancel(b.ctx), all)
	finish := func(context.Context) { b.finishIntroduced(p, fresh, all, charge) }
	if !b.cfg.Host.Go(finish) {
		go finish(nil) // which does not take long, since nothing is resolved any more
	}
}

// finishIntroduced ends a call whose answer has been read, once its introductions
// are resolved. The connection may have ended by then.
func (b *Broker) finishIntroduced(p *Pending, fresh []*Remote, all gifts, charge int64) {
	err := b.await(context.Background(), all)
	b.mu.Lock()
	gone := p.gone
	if !gone {
		b.calls.remove(p)
	}
	b.mu.Unlock()
	if gone || err != nil {
		charge = b.letGo(fresh, all, charge)
	}
	if !gone {
		p.setCharge(charge)
		p.finish(err)
	}
}
