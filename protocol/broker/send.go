package broker

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// writeSize is how many bytes one write of the connection gets, at most a
// little more: eight TLS records.
const writeSize = 128 << 10

// lendSize is from which length on byte strings are written from where they
// are: one TLS record.
const lendSize = 16 << 10

var writeBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, writeSize+4<<10)
	return &b
}}

var pingToken = banana.AppendPing(nil, nil)

// item is a message on its way out. It is in the queue until its last byte
// has been handed to a write.
type item struct {
	m          *banana.Message
	next, prev *item
	queued     bool
	kind       itemKind
	// size is what it counts for in the queue.
	size int
	gone chan struct{} // of a chunk, with room for one: it has been written
}

type itemKind uint8

const (
	waitedCall itemKind = iota // its caller waits, and lends its arguments
	ownedCall                  // nobody waits for it here: one without an answer, or one that was started
	answerItem
	chunkItem // a part of a stream, whose memory the sender wants back
	smallItem // an answer, or a message of the protocol's own, for which memory was too short
)

// smallRoom is how many bytes of messages that are not charged a connection may
// queue: a peer that reads gets its error even when others have used up the
// Tub's memory.
const smallRoom = 4 << 10

// answers are reused: there is one for each call of the peer.
var answers = sync.Pool{New: func() any { return new(item) }}

func newAnswer(m *banana.Message) *item {
	it := answers.Get().(*item)
	it.m, it.kind, it.size = m, answerItem, m.Size()
	return it
}

// free ends the use of an item that is not in the queue.
func (it *item) free() {
	it.m.Free()
	it.m = nil
	if it.kind == answerItem || it.kind == smallItem {
		answers.Put(it)
	}
}

// charged reports whether a message belongs to us, and its size to the account.
func (k itemKind) charged() bool { return k == ownedCall || k == answerItem }

// sendQueue is what waits to be written. mu is held for all of it.
type sendQueue struct {
	first, last *item
	control     []byte // PING and PONG tokens, for the next gap between messages
	farewell    []byte // an ERROR token, for the next gap; nothing follows it
	over        bool   // it was written, or cannot be
	told        chan struct{}
	lent        *item      // whose memory is being written from
	returned    *sync.Cond // lent was reset
	num         banana.Numberer
	writing     bool
	calls       int             // bytes of calls that nobody waits for here
	answers     int             // bytes of answers
	room        []chan struct{} // who waits for room, in order
}

func (q *sendQueue) empty() bool {
	return q.over || q.first == nil && len(q.control) == 0 && q.farewell == nil
}

func (q *sendQueue) push(it *item) {
	it.queued = true
	it.prev = q.last
	if q.last != nil {
		q.last.next = it
	} else {
		q.first = it
	}
	q.last = it
}

func (q *sendQueue) remove(it *item) {
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		q.first = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		q.last = it.prev
	}
	it.next, it.prev, it.queued = nil, nil, false
}

// dropQueue empties the queue at the end of the connection. mu is held; the
// caller releases the items afterwards.
func (b *Broker) dropQueue() []*item {
	var all []*item
	for it := b.send.first; it != nil; {
		next := it.next
		b.send.remove(it)
		all = append(all, it)
		it = next
	}
	b.send.control = nil
	b.send.wakeWaiting()
	return all
}

// wakeWaiting lets everybody who waits for room look again.
func (q *sendQueue) wakeWaiting() {
	for _, c := range q.room {
		close(c)
	}
	q.room = nil
}

// releaseItem gives back what a message held that will not be sent (any more).
func (b *Broker) releaseItem(it *item) {
	if it.kind.charged() {
		b.account.Release(int64(it.size))
	}
	b.releaseHeld(it.m.Externals())
	it.free()
}

// kick makes sure that a goroutine writes what is queued. mu is held.
func (b *Broker) kick() {
	if b.send.writing || b.err != nil {
		return
	}
	b.send.writing = true
	b.startWriter()
}

func (b *Broker) startWriter() {
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.calls.waiting) > 1 || b.turns.head < len(b.turns.queue) {
			// Others are about to call, or to answer: what they queue
			// goes out with the same write.
			b.mu.Unlock()
			runtime.Gosched()
			b.mu.Lock()
		}
		b.writeAll(true)
	}()
}

// writeHere writes what is queued, unless somebody else does already, without
// waiting if the connection allows that. It is for goroutines that would
// otherwise have to wake another one. mu is held, but not during a write.
func (b *Broker) writeHere() {
	if b.send.writing || b.err != nil || b.send.empty() {
		return
	}
	b.send.writing = true
	b.writeAll(false)
}

// maxRounds is how often in a row a goroutine writes that has other things to
// do.
const maxRounds = 16

// writeAll writes until the queue is empty. Who may not wait passes the rest
// on when the connection takes no more. mu is held, but not during a write.
func (b *Broker) writeAll(wait bool) {
	buf := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(buf)
	for round := 0; b.err == nil && !b.send.empty(); round++ {
		if round == maxRounds && !wait { // others queue more and more
			b.startWriter()
			return
		}
		*buf = b.fill((*buf)[:0])
		lent := b.lend()
		b.unlock()
		var err error
		if len(*buf) > 0 {
			_, err = b.conn.Write(*buf)
		}
		if len(lent) > 0 && err == nil {
			_, err = b.conn.Write(lent)
		}
		if lent != nil {
			b.mu.Lock()
			b.send.lent = nil
			b.send.returned.Broadcast()
			b.mu.Unlock()
		}
		stalled := false
		if b.stream != nil && err == nil {
			stalled, err = b.stream.push()
		}
		if stalled && wait && err == nil {
			err = b.stream.flush()
			stalled = false
		}
		b.mu.Lock()
		if err != nil {
			b.cannotWrite(err)
		} else if stalled && b.err == nil {
			b.startFlusher()
			return
		}
	}
	b.send.writing = b.send.over
	if b.send.over {
		close(b.send.told)
	}
	b.signalQuiet()
}

// cannotWrite ends the connection, unless it is about to end for a better
// reason. mu is held, but not by those who are told.
func (b *Broker) cannotWrite(err error) {
	if b.send.told != nil {
		b.send.over = true
		return
	}
	b.mu.Unlock()
	b.end(errors.Join(ErrLost, err))
	b.mu.Lock()
}

// startFlusher starts a goroutine that writes on, once the connection takes
// more. mu is held.
func (b *Broker) startFlusher() {
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		err := b.stream.flush()
		b.mu.Lock()
		defer b.mu.Unlock()
		if err != nil {
			b.cannotWrite(err)
		}
		b.writeAll(true)
	}()
}

// lend returns a part of the message that is being sent that fill has not
// copied. It may be the memory of a caller: he does not get away before lent is
// reset, which does not wait for the peer, because a Stream takes whatever is
// written. mu is held.
func (b *Broker) lend() []byte {
	it := b.send.first
	if b.stream == nil || it == nil {
		return nil
	}
	part := b.send.num.Lent(it.m, writeSize)
	if part != nil {
		b.send.lent = it
	}
	return part
}

// takeBack makes sure that a message that is being sent does not refer to the
// memory of its caller any more. mu is held, but not all the time.
func (b *Broker) takeBack(it *item) {
	for b.send.lent == it {
		b.send.returned.Wait()
	}
	if it.queued {
		it.m.Own()
	}
}

// fill appends the next bytes to be written. mu is held.
func (b *Broker) fill(buf []byte) []byte {
	q := &b.send
	for len(buf) < writeSize {
		it := q.first
		if q.farewell != nil && (it == nil || !it.m.Started()) {
			q.over = true
			return append(buf, q.farewell...)
		}
		if len(q.control) > 0 && (it == nil || !it.m.Started()) {
			buf = append(buf, q.control...)
			if q.control = q.control[:0]; cap(q.control) > maxKeptControl {
				q.control = nil
			}
			continue
		}
		if it == nil {
			break
		}
		var complete bool
		buf, complete = q.num.Append(buf, it.m, writeSize, b.appendExternal)
		if !complete {
			break
		}
		q.remove(it)
		b.written(it)
	}
	return buf
}

// written accounts for a message whose last byte goes into this write. mu is
// held.
func (b *Broker) written(it *item) {
	b.uncount(it)
	if it.kind.charged() {
		b.account.Release(int64(it.size))
	}
	gone := it.gone
	it.free() // from here on it may be somebody else's
	if gone != nil {
		gone <- struct{}{}
	}
}

// uncount makes the room of a message free that has left the queue. mu is
// held.
func (b *Broker) uncount(it *item) {
	q := &b.send
	switch it.kind {
	case answerItem, smallItem:
		q.answers -= it.size
	case ownedCall:
		q.calls -= it.size
		if q.calls < b.cfg.Limits.SendQueue {
			q.wakeWaiting()
		}
	}
}

// maxControl bounds the PONGs that a peer can ask for without reading them.
const maxControl = 64 << 10

// maxKeptControl bounds the memory that is kept for the next ones.
const maxKeptControl = 256

// control sends a PING or PONG as soon as the current message is through.
func (b *Broker) control(token []byte) error {
	b.mu.Lock()
	if len(b.send.control)+len(token) > maxControl {
		b.mu.Unlock()
		b.end(ErrOverflow)
		return ErrOverflow
	}
	b.send.control = append(b.send.control, token...)
	b.kick()
	b.mu.Unlock()
	return nil
}

func (b *Broker) gotPing(number []byte) error {
	return b.control(banana.AppendPong(nil, number))
}

// sendAnswer queues an answer. When too much waits already, the connection
// ends. An error says that there is no memory for the answer: then that is what
// the peer has to be told.
func (b *Broker) sendAnswer(m *banana.Message, written bool, then func(error)) error {
	it := newAnswer(m)
	if err := b.account.Reserve(int64(it.size)); err != nil {
		it.kind = smallItem // nothing is charged
		b.releaseItem(it)
		return err
	}
	b.queueAnswer(it, written, then)
	return nil
}

// sendError queues an error, as sendAnswer does, if need be one that is not
// charged.
func (b *Broker) sendError(m *banana.Message, written bool, then func(error)) {
	it := newAnswer(m)
	if b.account.Reserve(int64(it.size)) != nil {
		it.kind = smallItem
	}
	b.queueAnswer(it, written, then)
}

// queueAnswer queues an answer and calls then under mu, unless the connection
// has ended.
func (b *Broker) queueAnswer(it *item, written bool, then func(error)) {
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		b.releaseItem(it)
		return
	}
	if err := b.answerRoom(it); err != nil {
		b.mu.Unlock()
		b.releaseItem(it)
		b.observeLimit(err)
		b.end(errors.Join(ErrOverflow, err))
		return
	}
	b.send.answers += it.size
	b.send.push(it)
	then(nil)
	if !written {
		b.kick()
	}
	b.mu.Unlock()
}

// strangerQueue is how many times StrangerMessage the calls of a stranger, and
// the answers to him, may hold.
const strangerQueue = 256

// answerRoom objects when an answer would be too much for the queue. A single
// one never is. mu is held.
func (b *Broker) answerRoom(it *item) error {
	limit, max := "AnswerQueue", b.cfg.Limits.AnswerQueue
	if s := strangerQueue * b.cfg.Limits.StrangerMessage; s < max && b.stranger.Load() {
		limit, max = "StrangerMessage", s
	}
	queued := b.send.answers
	switch {
	case queued > 0 && queued+it.size > max:
		return &banana.LimitError{Limit: limit, Max: int64(max), Asked: int64(queued + it.size)}
	case it.kind == smallItem && queued+it.size > smallRoom:
		// Why it is not charged.
		if err := b.account.Reserve(int64(it.size)); err != nil {
			return err
		}
		it.kind = answerItem
	}
	return nil
}

// lockAlive takes mu, unless the connection has ended.
func (b *Broker) lockAlive() error {
	b.mu.Lock()
	if b.err == nil {
		return nil
	}
	err := &deadError{b.err}
	b.mu.Unlock()
	return err
}

// lockWithRoom waits until a call that nobody waits for may be queued, and
// charges for it. When it succeeds, mu is held.
func (b *Broker) lockWithRoom(ctx context.Context, it *item) error {
	for {
		if err := b.lockAlive(); err != nil {
			return err
		}
		if b.send.calls < b.cfg.Limits.SendQueue {
			if err := b.account.Reserve(int64(it.size)); err != nil {
				b.mu.Unlock()
				return err
			}
			it.kind = ownedCall
			b.send.calls += it.size
			return nil
		}
		c := make(chan struct{})
		b.send.room = append(b.send.room, c)
		b.mu.Unlock()
		ReleaseTurn(ctx)
		select {
		case <-c:
		case <-ctx.Done():
			b.mu.Lock()
			if i := slices.Index(b.send.room, c); i >= 0 {
				b.send.room = slices.Delete(b.send.room, i, i+1)
			}
			b.mu.Unlock()
			return ctxError(ctx)
		}
	}
}
