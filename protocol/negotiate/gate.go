package negotiate

import (
	"container/list"
	"context"
	"sync"
)

// A Gate bounds how many negotiations run at the same time, whose peers have
// proven nothing yet. The accepting loop of a listener enters before it starts
// the goroutine of a new stream, so that there is never more than a bounded
// number of them:
//
//	ctx, place := gate.TryEnter(ctx)
//	if place == nil {
//		stream.Close()
//		continue
//	}
//	go func() {
//		cfg.Progress = place.Progress
//		result, err := negotiate.Server(ctx, stream, cfg)
//		place.Leave()
//		...
//	}()
//
// When all places are taken, a newcomer gets that of the oldest negotiation that
// is still in PhasePlaintext: a peer asks for a Tub as soon as it is connected,
// and silence must not shut everybody else out. Negotiations that are further
// keep their places, however many newcomers there are.
//
// It is safe for concurrent use.
type Gate struct {
	limit int

	mu     sync.Mutex
	inside int
	silent list.List // of *Place: those in PhasePlaintext, the oldest in front
}

// A Place is that of one negotiation inside a [Gate]. Its methods are safe for
// concurrent use.
type Place struct {
	gate   *Gate
	cancel context.CancelCauseFunc
	silent *list.Element // in gate.silent; nil once it is not in there
	left   bool
}

// NewGate returns a gate for limit negotiations at the same time; 64 if limit is
// zero or less.
func NewGate(limit int) *Gate {
	if limit <= 0 {
		limit = 64
	}
	return &Gate{limit: limit}
}

// TryEnter takes a place, or returns nil if there is none to be had. The context
// is what the negotiation is to run in: derived from parent, and ended with
// [ErrShed] as its cause when a newcomer gets the place. It does not matter that
// the negotiation takes a moment longer to return.
func (g *Gate) TryEnter(parent context.Context) (context.Context, *Place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= g.limit {
		oldest := g.silent.Front()
		if oldest == nil {
			return nil, nil
		}
		shed := oldest.Value.(*Place)
		shed.leaveLocked()
		shed.cancel(ErrShed)
	}
	g.inside++
	p := &Place{gate: g}
	p.silent = g.silent.PushBack(p)
	var ctx context.Context
	ctx, p.cancel = context.WithCancelCause(parent)
	return ctx, p
}

// Progress tells the gate how far the negotiation is; see
// [ServerConfig.Progress].
func (p *Place) Progress(phase Phase) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if phase > PhasePlaintext {
		p.spokenLocked()
	}
}

// Leave makes room for another, and ends the context. It does nothing the second
// time, or when the place is a newcomer's already.
func (p *Place) Leave() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.leaveLocked()
	p.cancel(nil)
}

func (p *Place) leaveLocked() {
	if !p.left {
		p.left = true
		p.gate.inside--
		p.spokenLocked()
	}
}

func (p *Place) spokenLocked() {
	if p.silent != nil {
		p.gate.silent.Remove(p.silent)
		p.silent = nil
	}
}
