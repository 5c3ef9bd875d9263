package negotiate

import "context"

// A Gate bounds how many negotiations run at the same time, whose peers have
// proven nothing yet. The accepting loop of a listener enters before it starts
// the goroutine of a new stream, so that there is never more than a bounded
// number of them:
//
//	if !gate.TryEnter() {
//		stream.Close() // or Enter, with a context that is soon over
//		continue
//	}
//	go func() {
//		result, err := negotiate.Server(ctx, stream, cfg)
//		gate.Leave()
//		...
//	}()
//
// It is safe for concurrent use.
type Gate struct{ inside chan struct{} }

// NewGate returns a gate for limit negotiations at the same time; 64 if limit is
// zero or less.
func NewGate(limit int) *Gate {
	if limit <= 0 {
		limit = 64
	}
	return &Gate{make(chan struct{}, limit)}
}

// TryEnter enters if there is room, and reports whether there was.
func (g *Gate) TryEnter() bool {
	select {
	case g.inside <- struct{}{}:
		return true
	default:
		return false
	}
}

// Enter waits for room until the context is over, and returns the context's
// error then. Room that is there is taken whatever the context's state.
func (g *Gate) Enter(ctx context.Context) error {
	if g.TryEnter() {
		return nil
	}
	select {
	case g.inside <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave makes room for another. There must have been one Enter for each Leave.
func (g *Gate) Leave() {
	select {
	case <-g.inside:
	default:
		panic("negotiate: Gate.Leave without Enter")
	}
}
