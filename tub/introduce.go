package tub

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Introductions is what a Tub does when a peer sends a reference to an object of
// a third Tub: an introduction, which Foolscap also calls a gift. Whatever it
// does, it dials by its own handlers, hints and policy, as for any other FURL.
type Introductions int

const (
	// IntroductionsByDefault are IntroductionsLazy in a hidden Tub, and
	// otherwise IntroductionsAccepted.
	IntroductionsByDefault Introductions = iota
	// IntroductionsAccepted are resolved at once, as in Python Foolscap: the
	// method gets a live reference. Until then its call, and those of the peer
	// behind it, wait, for Options.IntroductionTimeout at most; then it fails,
	// with what kept the connection from coming about.
	IntroductionsAccepted
	// IntroductionsLazy become unresolved references, as of Tub.Ref: nothing is
	// dialled before the first call, and no call waits. The peer is to keep the
	// object alive until then, or until the reference is closed or not
	// reachable any more.
	IntroductionsLazy
	// IntroductionsRefused: a call that brings one fails with ErrIntroduction.
	IntroductionsRefused
)

// An Introduction is what Options.AskIntroduction is asked about.
type Introduction struct {
	// Giver is the peer who introduces.
	Giver furl.TubID
	// Target is the Tub of the object, with where it is to be found.
	Target furl.TubID
	Hints  []furl.Hint
}

// Introduce makes what the program sees of an introduction.
func (h *host) Introduce(i *broker.Introduction) (banana.External, error) {
	t := (*Tub)(h)
	policy, ask := t.opts.Introductions, t.opts.AskIntroduction
	if i.Giver == t.TubID() { // by its own FURL: the program itself has sent it
		policy, ask = IntroductionsAccepted, nil
	}
	if ask == nil && policy == IntroductionsRefused {
		return nil, ErrIntroduction
	}
	if err := complete(i.FURL); err != nil {
		return nil, errors.New("an introduction with a FURL that is not complete")
	}
	ref := t.Ref(i.FURL)
	ref.receipt = i.Receipt
	runtime.AddCleanup(ref, (*broker.Receipt).Acknowledge, i.Receipt)
	i.Drop = ref.Close
	if ask != nil || policy != IntroductionsLazy {
		i.Resolve = func(ctx context.Context) error {
			if ask != nil {
				policy = cmp.Or(ask(ctx, Introduction{Giver: i.Giver, Target: ref.furl.TubID, Hints: slices.Clone(ref.furl.Hints)}), policy)
			}
			return t.introduce(ctx, policy, ref)
		}
	}
	return ref, nil
}

// introduce resolves a reference that was introduced, if it may.
func (t *Tub) introduce(ctx context.Context, policy Introductions, ref *Ref) error {
	switch policy {
	case IntroductionsRefused:
		return &banana.Violation{Err: ErrIntroduction}
	case IntroductionsLazy:
		return nil
	}
	remote, err := t.lookup(ctx, ref.furl)
	if err != nil {
		return err
	}
	ref.mu.Lock()
	dropped := ref.closed
	if !dropped {
		ref.live = remote // nobody has seen the reference yet, but a Stub
		if ref.assumed != nil {
			remote.Assume(ref.assumed)
		}
	}
	ref.mu.Unlock()
	if dropped {
		remote.Close()
	}
	ref.receipt.Acknowledge()
	return nil
}

// Go runs f in a goroutine that ends before Close and Shutdown return, unless they
// have begun. Its context ends with their beginning.
func (h *host) Go(f func(context.Context)) bool {
	t := (*Tub)(h)
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return false
	}
	t.wg.Add(1)
	t.mu.Unlock()
	go func() {
		defer t.wg.Done()
		f(t.ctx)
	}()
	return true
}
