package broker

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// Who reads. At any time one goroutine at most reads the connection; usually
// it is one that does nothing else. But what a call costs is waking
// goroutines, so there are two cases in which the reading rests for a moment:
//
//   - A call of the peer comes alone: the reader runs it itself.
//   - Our calls come one after the other: after an answer nobody reads, and
//     whoever makes the next call reads the answer himself.
//
// When the reading has rested for guardTime, another goroutine reads on.
//
// A caller waits for bytes, and reads messages that are in the buffer as a
// whole. So he can always leave in between, when his context ends; what comes
// in pieces is left to a goroutine that reads.

// guardTime is how long the reading may rest.
const guardTime = time.Millisecond

// serialCalls is after how many calls that were alone, with none of the peer
// between, callers read for themselves.
const serialCalls = 8

// readRole says who reads. mu is held, but for byCaller, which belongs to whoever
// reads.
type readRole struct {
	here   *inbound // the call of the peer that the reader runs
	vacant bool     // nobody reads
	serial int      // calls of ours that were alone

	rests   uint64 // how often the reading has rested
	guarded bool   // the timer runs
	guard   *time.Timer

	byCaller bool // a caller reads
}

// What readMessage returns when it was not the connection that ended.
var (
	// errNotReader: another goroutine reads now.
	errNotReader = errors.New("another goroutine reads")
	// errResting: nobody reads now.
	errResting = errors.New("nobody reads")
	// errInterrupted: the caller who reads is to look at his context.
	errInterrupted = errors.New("interrupted")
)

// reader is the connection as the Decoder reads it.
type reader Broker

func (r *reader) Read(p []byte) (int, error) {
	for {
		n, err := r.conn.Read(p)
		if n > 0 {
			r.received.Store(int64(time.Since(start)))
			return n, nil
		}
		if r.stream == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		// An interrupt: it may be stale. Nothing was lost by it.
		r.conn.SetReadDeadline(time.Time{})
		if r.role.byCaller {
			return 0, errInterrupted
		}
	}
}

// interrupt makes a caller who reads look at his context.
func (b *Broker) interrupt() { b.conn.SetReadDeadline(time.Unix(1, 0)) }

// readLoop reads messages, until the connection has ended or this goroutine is
// not the one that reads any more.
func (b *Broker) readLoop() {
	b.role.byCaller = false
	err := b.readMessage()
	for err == nil {
		err = b.readMessage()
	}
	switch err {
	case errResting:
	case errNotReader:
		b.wg.Done()
	default:
		b.finishReading(err)
	}
}

// finishReading ends the connection, and waits for everything that belongs to
// it.
func (b *Broker) finishReading(err error) {
	var protocol *banana.ProtocolError
	if errors.As(err, &protocol) {
		b.tell(protocol.Reason)
	}
	b.end(b.readError(err))
	b.dec.Release()
	b.wg.Wait()
	close(b.done)
}

// rest begins a pause of the reading. mu is held.
func (b *Broker) rest() {
	r := &b.role
	r.rests++
	if !r.guarded {
		b.guardRest()
	}
}

func (b *Broker) guardRest() {
	r := &b.role
	r.guarded = true
	number := r.rests
	r.guard = time.AfterFunc(guardTime, func() { b.endRest(number) })
}

// endRest lets another goroutine read when the pause with that number lasts.
func (b *Broker) endRest(number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &b.role
	resting := r.here != nil || r.vacant
	switch {
	case b.err != nil, !resting && r.rests == number:
		r.guarded = false // the next pause starts the timer again
	case r.rests != number:
		b.guardRest()
	case r.vacant:
		r.guarded = false
		r.vacant = false
		r.serial = 0
		go b.readLoop()
	default:
		r.guarded = false
		b.readElsewhere()
	}
}

// readElsewhere starts another reader, in place of one that runs a method. mu
// is held.
func (b *Broker) readElsewhere() {
	b.role.here = nil
	b.wg.Add(1) // for the goroutine that was the reader
	go b.readLoop()
}

// takeTurn gives a call the turn, for the reader to run it, when answers can be
// written without waiting and the call is alone, or so long that waking
// somebody for it costs more than it spares.
func (b *Broker) takeTurn(in *inbound) bool {
	if b.stream == nil || in.method.concurrent || len(in.gifts) > 0 || b.role.byCaller || b.dec.Buffered() > 0 && in.charge < lendSize {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &b.turns
	if b.err != nil || t.taken || t.head < len(t.queue) {
		return false
	}
	t.taken = true
	t.active++
	t.charge += in.charge
	t.number++
	t.method = in.method.name
	in.turn = true
	b.role.here = in
	b.rest()
	return true
}

// runHere runs a call on the reader.
func (b *Broker) runHere(in *inbound) error {
	returned := false
	defer func() {
		if !returned { // and never will: see abandoned
			b.wg.Done()
		}
	}()
	b.run(in)
	returned = true
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.role.here != in {
		if b.ran(in) {
			b.kick()
			b.runTurns()
		} else { // whoever has the turn now, it is not this goroutine
			b.writeHere()
			b.signalQuiet()
		}
		return errNotReader
	}
	b.role.here = nil
	if b.ran(in) { // calls have waited for its answer
		b.turns.taken = false
		b.startTurn()
	}
	b.writeHere()
	b.signalQuiet()
	return nil
}

// mayRest reports whether the reading can be left to the next caller. mu is
// held by whoever reads.
func (b *Broker) mayRest() bool {
	return b.stream != nil && b.err == nil && !b.closing && b.role.serial >= serialCalls &&
		len(b.calls.waiting) == 0 && b.turns.active == 0 && b.dec.Buffered() == 0
}

// takeReading makes the caller the one who reads, if nobody does. It does not
// when his answer has been read: it may be that he was not told yet, and he
// would wait for another one.
func (b *Broker) takeReading(p *Pending) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.role.vacant || b.err != nil || p.gone {
		return false
	}
	b.role.vacant = false
	return true
}

// readFor reads, on behalf of a caller, until his answer is there or his
// context has ended.
func (b *Broker) readFor(ctx context.Context, p *Pending) {
	b.role.byCaller = true
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, b.interrupt)
		defer stop()
	}
	for {
		if b.dec.Buffered() == 0 {
			switch err := b.dec.Fill(); {
			case err == nil:
			case err == errInterrupted:
				if ctx.Err() != nil {
					go b.readLoop()
					return
				}
				continue
			default:
				go b.finishReading(err)
				return
			}
		}
		if !b.dec.Whole() {
			go b.readLoop()
			return
		}
		if err := b.readMessage(); err != nil {
			go b.finishReading(err)
			return
		}
		if p.over.Load() || p.answered {
			b.leaveReading()
			return
		}
	}
}

// leaveReading ends a caller's reading between two messages.
func (b *Broker) leaveReading() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mayRest() {
		b.role.vacant = true
		b.rest()
		return
	}
	go b.readLoop()
}
