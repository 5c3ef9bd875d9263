package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// Streams is the name of the extension by which readers are read in chunks:
// docs/streams.md.
const Streams = "streams-1"

const (
	chunkType  = "chunk"
	creditType = "credit"

	maxCredit = math.MaxInt32
)

// inflow is a stream that the peer sends: the answer to a call of ours, for as
// long as which chunks come.
type inflow struct {
	b      *Broker
	call   *Pending
	window int64 // what the account was charged for

	// mu of the Broker guards these. The reader of the connection fills the free
	// part of ring without it, the reader of the stream reads the other part.
	ring  []byte
	head  int   // where what there is to be read begins
	size  int   // and how much it is
	owed  int64 // bytes that the peer may still send
	spent int64 // that were read, and are not granted again yet
	err   error // after what there is to be read
	dead  bool

	wake chan struct{}
}

// openFlow asks for a stream of what stands behind a reference.
func (b *Broker) openFlow(ctx context.Context, r *Remote) (*inflow, error) {
	window := int64(b.cfg.Limits.StreamWindow)
	if err := r.usable("stream"); err != nil {
		return nil, err
	}
	f := &inflow{b: b, window: window, owed: window, wake: make(chan struct{}, 1)}
	f.call = &Pending{b: b, method: "stream", done: make(chan struct{}), flow: f}
	if err := b.account.Reserve(window); err != nil {
		return nil, b.callError(f.call, NotSent, err)
	}
	f.call.then = func(error) {
		f.call.unsetCharge()
		f.finish(f.call.explain())
	}
	if err := b.begin(ctx, f.call, callee{object: r}, Args{Positional: []any{window}}, false); err != nil {
		b.account.Release(window)
		return nil, err
	}
	return f, nil
}

// finish is called when no more chunks come.
func (f *inflow) finish(err error) {
	if err == nil {
		err = io.EOF
	}
	f.b.mu.Lock()
	f.err = err
	f.b.mu.Unlock()
	f.awake()
}

func (f *inflow) awake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next waits for bytes, which may be read until used or close is called.
func (f *inflow) next(ctx context.Context) ([]byte, error) {
	for {
		f.b.mu.Lock()
		p, err := f.ring[f.head:min(f.head+f.size, len(f.ring))], f.err
		f.b.mu.Unlock()
		switch {
		case len(p) > 0:
			return p, nil
		case err != nil:
			return nil, err
		}
		ReleaseTurn(ctx)
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctxError(ctx)
		}
	}
}

// used makes room of the first n bytes. The peer is told of half a window at a
// time.
func (f *inflow) used(n int) {
	b := f.b
	b.mu.Lock()
	defer b.unlock()
	f.head += n
	if f.head == len(f.ring) {
		f.head = 0
	}
	f.size -= n
	f.spent += int64(n)
	if f.spent < (f.window+1)/2 || f.err != nil || b.err != nil {
		return
	}
	more := f.spent
	f.spent = 0
	f.owed += more
	b.pushOwn(func(e *banana.Encoder) {
		e.Open(creditType)
		e.Int(f.call.req)
		e.Int(more)
		e.Close()
	})
	b.writeHere()
}

// close gives the stream up, or ends its use.
func (f *inflow) close() {
	f.call.cancel()
	f.b.mu.Lock()
	dead := f.dead
	f.dead, f.ring, f.size, f.head = true, nil, 0, 0
	f.b.mu.Unlock()
	if !dead {
		f.b.account.Release(f.window)
	}
}

// room returns free space of the ring for n bytes, in two parts. mu is held.
func (f *inflow) room(n int) (first, second []byte) {
	if f.size+n > len(f.ring) {
		ring := make([]byte, min(int(f.window), max(f.size+n, 2*len(f.ring), 4<<10)))
		k := copy(ring, f.ring[f.head:min(f.head+f.size, len(f.ring))])
		copy(ring[k:], f.ring[:f.size-k])
		f.ring, f.head = ring, 0
	}
	at := (f.head + f.size) % len(f.ring)
	first = f.ring[at:min(at+n, len(f.ring))]
	return first, f.ring[:n-len(first)]
}

// readChunk reads a part of a stream.
func (b *Broker) readChunk() error {
	err := b.fillChunk()
	if v, ok := err.(*banana.Violation); ok { // a stream with a hole is of no use
		err = &banana.ProtocolError{Reason: "a chunk: " + v.Error()}
	}
	return err
}

func (b *Broker) fillChunk() error {
	req, err := b.dec.Int("the number of a stream")
	if err != nil {
		return err
	}
	n, err := b.dec.Block("a chunk")
	if err != nil {
		return err
	}
	if n == 0 {
		return &banana.ProtocolError{Reason: "an empty chunk"}
	}
	var f *inflow
	var first, second []byte
	b.mu.Lock()
	if p := b.calls.waiting[req]; p != nil && p.flow != nil && !p.flow.dead {
		f = p.flow
		if int64(n) <= f.owed {
			f.owed -= int64(n)
			first, second = f.room(n)
		}
	}
	b.mu.Unlock()
	switch {
	case f == nil: // nobody reads it any more
		return b.dec.Skip()
	case first == nil:
		return &banana.ProtocolError{Reason: fmt.Sprintf("a chunk of %d bytes, for which there is no credit", n)}
	}
	if err := b.dec.BlockPart(first); err != nil {
		return err
	}
	if err := b.dec.BlockPart(second); err != nil {
		return err
	}
	if err := b.dec.Close(chunkType); err != nil {
		return err
	}
	b.mu.Lock()
	if !f.dead {
		f.size += n
	}
	b.mu.Unlock()
	f.awake()
	return nil
}

// readCredit reads that the peer takes more of a stream of ours.
func (b *Broker) readCredit() error {
	req, err := b.dec.Int("the number of a stream")
	var more int64
	if err == nil {
		more, err = b.dec.Int("a credit")
	}
	if err == nil {
		err = b.dec.Close(creditType)
	}
	if err != nil {
		if isViolation(err) {
			return b.refuse()
		}
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.outflows[req]
	switch {
	case more <= 0 || more > maxCredit:
		return &banana.ProtocolError{Reason: fmt.Sprintf("a credit of %d bytes", more)}
	case f == nil: // it has ended
		return nil
	case f.credit+more > maxCredit:
		return &banana.ProtocolError{Reason: fmt.Sprintf("a credit of %d bytes altogether", f.credit+more)}
	}
	f.credit += more
	select {
	case f.more <- struct{}{}:
	default:
	}
	return nil
}

// Why a reader of ours is not read any more.
var (
	errReleased = errors.New("the other side has released the reader")
	errReturned = errors.New("the call that brought the reader has returned")
	errNotSent  = errors.New("the reader was not sent")
)
