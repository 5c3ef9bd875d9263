package flog

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// A Log keeps the latest events in memory, passes them on to subscribers, and
// writes incidents. All its methods may be called concurrently.
type Log struct {
	opts        Options
	incarnation string

	// mu protects what follows. It is held for copying in memory only: never
	// while code of the program runs, a value is formatted, or a file is
	// written.
	mu          sync.Mutex
	num         uint64
	buffers     buffers
	subscribers []*Subscription
	current     *recording // the last incident that was declared
	stats       Stats
	closed      bool

	incidents chan *recording
	ended     chan struct{}
	writer    sync.WaitGroup
}

// Stats counts what has happened to a Log.
type Stats struct {
	Events   uint64 // that were kept
	Declared uint64 // incidents, including those that were lost
	Folded   uint64 // events that would have declared one but belong to another
	Lost     uint64 // incidents that came too fast, or could not be written
	Recorded uint64 // incidents that are in files
}

// ErrClosed is why a Subscription of a closed Log has ended.
var ErrClosed = errors.New("flog: closed")

// New returns a Log; nil stands for the zero Options. It fails if the folder
// for incidents cannot be made. What a process that has died has left there of
// incidents is completed in the background. Close ends what New has started.
func New(opts *Options) (*Log, error) {
	if opts == nil {
		opts = &Options{}
	}
	o := opts.complete()
	l := &Log{
		opts:        o,
		incarnation: newIncarnation(),
		buffers: buffers{
			events: o.BufferEvents, bytes: o.BufferBytes, total: o.TotalBytes, facilities: o.MaxFacilities,
			rings: make(map[string]*[8]ring),
		},
		ended: make(chan struct{}),
	}
	if o.Incidents.Dir != "" {
		if err := os.MkdirAll(o.Incidents.Dir, 0o700); err != nil {
			return nil, err
		}
		l.incidents = make(chan *recording, 2)
		l.writer.Go(l.writeIncidents)
	}
	return l, nil
}

func newIncarnation() string {
	var unique [8]byte
	rand.Read(unique[:])
	return hex.EncodeToString(unique[:])
}

// Incarnation returns what tells the events of this Log from those of others,
// earlier starts of the program among them.
func (l *Log) Incarnation() string { return l.incarnation }

// Stats returns the counts so far.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Close ends subscriptions, and writes without delay the incidents that have
// been declared. Later events are not kept. It may be called several times.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.ended)
		for _, s := range l.subscribers {
			s.end()
		}
		l.subscribers = nil
	}
	l.mu.Unlock()
	l.writer.Wait()
	return nil
}

// Log adds an event and returns its number, or 0 if the level is below the
// threshold or the Log is closed. The attributes [FacilityKey] and [ParentKey]
// say where it belongs; without a parent it has that of the context.
func (l *Log) Log(ctx context.Context, level Level, message string, attrs ...slog.Attr) uint64 {
	return l.log(ctx, level, message, true, attrs)
}

func (l *Log) log(ctx context.Context, level Level, message string, qualifies bool, attrs []slog.Attr) uint64 {
	if level < l.opts.Threshold {
		return 0
	}
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.begin(l.opts.MaxEvent)
	for _, a := range attrs {
		e.attr(a, true, 0)
	}
	return l.finish(ctx, e, time.Now(), level, message, qualifies)
}

// finish adds the event that an encoder has the attributes of.
func (l *Log) finish(ctx context.Context, e *encoder, t time.Time, level Level, message string, qualifies bool) uint64 {
	cause := causeOf(ctx)
	if !e.hasParent {
		e.parent, e.hasParent = cause.get()
	}
	e.end(t, level, message)
	num := l.add(e.facility, level, e.buf, qualifies)
	cause.set(num)
	return num
}

// add numbers an event and keeps it.
func (l *Log) add(facility string, level Level, rec []byte, qualifies bool) uint64 {
	facility = facility[:min(len(facility), maxFacility)]
	in := &l.opts.Incidents
	trigger := qualifies && l.incidents != nil && (in.Qualify != nil || level >= in.Threshold)
	if trigger && in.Qualify != nil {
		trigger = in.Qualify(decode(rec, l.incarnation))
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0
	}
	l.num++
	l.stats.Events++
	num := l.num
	setNumber(rec, num)
	l.buffers.add(facility, level, rec)
	var kept []byte // shared by those who keep the event longer
	if trigger || len(l.subscribers) > 0 || l.current != nil {
		kept = slices.Clone(rec)
	}
	for _, s := range l.subscribers {
		s.add(kept)
	}
	if l.current != nil && !l.current.add(kept) {
		l.current = nil
	}
	if trigger {
		l.declare(kept)
	}
	return num
}

// Events returns what is in the buffers, in the order of the numbers.
func (l *Log) Events() []Event {
	l.mu.Lock()
	records := l.buffers.all()
	l.mu.Unlock()
	sortRecords(records)
	events := make([]Event, len(records))
	for i, rec := range records {
		events[i] = decode(rec, l.incarnation)
	}
	return events
}

func sortRecords(records [][]byte) {
	slices.SortFunc(records, func(a, b []byte) int { return cmp.Compare(number(a), number(b)) })
}
