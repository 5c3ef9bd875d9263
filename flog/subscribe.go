package flog

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// SubscribeOptions says what a subscriber wants. The zero value is all new
// events.
type SubscribeOptions struct {
	// CatchUp is for what is in the buffers, before what is new.
	CatchUp bool
	// Level is the lowest that is wanted.
	Level Level
	// QueueEvents and QueueBytes bound what waits for the subscriber, without
	// that of CatchUp. Defaults: 2000 events, as in Foolscap, and 1 MiB.
	QueueEvents, QueueBytes int
}

// LostError says that events have been lost because the subscriber was slow.
type LostError struct{ Events uint64 }

func (e *LostError) Error() string {
	return fmt.Sprintf("flog: %d events are lost, because they came faster than they were taken", e.Events)
}

// A Subscription is a stream of events.
type Subscription struct {
	log   *Log
	level Level
	limit SubscribeOptions

	mu      sync.Mutex
	past    [][]byte
	queue   []queued
	bytes   int
	lost    uint64 // after the last in the queue
	ended   bool
	arrived chan struct{} // of capacity 1
}

type queued struct {
	rec  []byte
	lost uint64 // before it
}

// Subscribe returns a stream of events. It holds up nobody: what finds the
// queue full is lost, and counted. Close it when it is not needed any more.
func (l *Log) Subscribe(o SubscribeOptions) *Subscription {
	or(&o.QueueEvents, 2000)
	or(&o.QueueBytes, 1<<20)
	s := &Subscription{log: l, level: o.Level, limit: o, arrived: make(chan struct{}, 1)}
	l.mu.Lock()
	if o.CatchUp {
		s.past = l.buffers.all()
	}
	if l.closed {
		s.ended = true
	} else {
		l.subscribers = append(l.subscribers, s)
	}
	l.mu.Unlock()
	s.past = slices.DeleteFunc(s.past, func(rec []byte) bool { return recordLevel(rec) < s.level })
	sortRecords(s.past)
	return s
}

// Close ends the stream.
func (s *Subscription) Close() {
	s.log.mu.Lock()
	s.log.subscribers = slices.DeleteFunc(s.log.subscribers, func(o *Subscription) bool { return o == s })
	s.log.mu.Unlock()
	s.mu.Lock()
	s.past, s.queue = nil, nil
	s.mu.Unlock()
	s.end()
}

// Next waits for the next event. A *LostError stands for events that are
// missing at this place; the ones after it follow. The end is ErrClosed, or why
// the context has ended. One goroutine at a time may call it.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		rec, err := s.take()
		if rec != nil {
			return decode(rec, s.log.incarnation), nil
		}
		if err != nil {
			return Event{}, err
		}
		select {
		case <-s.arrived:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

// All gives what Next does, until the end; which it does not give.
func (s *Subscription) All(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := s.Next(ctx)
			if _, lost := err.(*LostError); err != nil && !lost || !yield(e, err) {
				return
			}
		}
	}
}

func (s *Subscription) take() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.past) > 0 {
		rec := s.past[0]
		s.past[0] = nil
		s.past = s.past[1:]
		return rec, nil
	}
	lost := &s.lost
	if len(s.queue) > 0 {
		lost = &s.queue[0].lost
	}
	if n := *lost; n > 0 {
		*lost = 0
		return nil, &LostError{n}
	}
	if len(s.queue) > 0 {
		rec := s.queue[0].rec
		s.queue[0] = queued{}
		s.queue = s.queue[1:]
		s.bytes -= len(rec)
		return rec, nil
	}
	if s.ended {
		return nil, ErrClosed
	}
	return nil, nil
}

// add takes an event that nobody changes.
func (s *Subscription) add(rec []byte) {
	if recordLevel(rec) < s.level {
		return
	}
	s.mu.Lock()
	if len(s.queue) >= s.limit.QueueEvents || s.bytes+len(rec) > s.limit.QueueBytes {
		s.lost++
	} else {
		s.queue = append(s.queue, queued{rec, s.lost})
		s.bytes += len(rec)
		s.lost = 0
	}
	s.mu.Unlock()
	s.wake()
}

func (s *Subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.wake()
}

func (s *Subscription) wake() {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}
