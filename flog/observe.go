package flog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// Bounds of what is remembered to find parents: anybody can connect.
const (
	maxRemembered = 10_000
	maxEnded      = 1_000
)

// Observe returns an observer that logs what a Tub does, for
// [tub.Options.Observer]. The facilities are foolscap.dial, .negotiate,
// .connection, .call, .reference, .gift, .limit and .revoke. Calls, references
// and introductions have their connection as parent. What leads to a connection has
// the first dial or negotiation of that attempt, the connection too; what is
// tried while there is one, it. What went
// well is Operational, or Noisy if it happens with every call; what failed is
// Unusual or Infrequent; a limit that was hit is Curious. Nothing is an
// incident by default, since peers could declare one whenever they like.
func Observe(l *Log) tub.Observer {
	o := &observer{log: l}
	return o.observe
}

type observer struct {
	log *Log

	mu          sync.Mutex
	connections memory[uint64] // by the ID of the event
	ended       memory[uint64] // likewise: some events come late
	// stories have the first event of an attempt to connect, then the
	// connection.
	stories memory[storyKey]
}

type storyKey struct {
	peer    furl.TubID
	inbound bool
}

func (o *observer) observe(e tub.Event) {
	level, message := Operational, ""
	switch e.Kind {
	case tub.EventDial:
		message = "dialled " + string(e.Hint)
		if e.Err != nil {
			level, message = Unusual, "dialling "+string(e.Hint)+" failed in the phase "+e.Phase
		}
	case tub.EventNegotiate:
		message = "negotiated"
		if e.Err != nil {
			level, message = Unusual, "a negotiation failed"
		}
	case tub.EventConnect:
		message = "connected"
	case tub.EventDisconnect:
		message = "disconnected"
		if e.Err != nil && !errors.Is(e.Err, tub.ErrClosed) && !errors.Is(e.Err, tub.ErrShutdown) {
			level = Unusual
		}
	case tub.EventCall:
		level, message = Noisy, "a call was answered"
		if e.Err != nil {
			level, message = Unusual, "a call failed"
		}
		if e.Detail == "refused" {
			level, message = Infrequent, "a call was refused"
		}
	case tub.EventReference:
		level, message = Noisy, "a reference was "+e.Detail
	case tub.EventGift:
		message = "an introduction was " + e.Detail
		if e.Err != nil {
			level = Infrequent
		}
	case tub.EventLimit:
		level, message = Curious, "a limit was hit"
	case tub.EventRevoke:
		message = "a forwarder was " + e.Detail
	default:
		message = string(e.Kind)
	}
	if level < o.log.opts.Threshold {
		return
	}
	facility := string(e.Kind)
	if e.Kind == tub.EventConnect || e.Kind == tub.EventDisconnect {
		facility = "connection"
	}
	var room [10]slog.Attr
	attrs := append(room[:0], Facility(facilities[facility]))
	if parent, ok := o.parent(e); ok {
		attrs = append(attrs, Parent(parent))
	}
	if e.Peer != "" {
		attrs = append(attrs, slog.String("peer", e.Peer.Short()), slog.Bool("inbound", e.Inbound))
	}
	for _, a := range []slog.Attr{
		slog.String("hint", string(e.Hint)), slog.String("phase", e.Phase), slog.String("method", e.Method), slog.String("detail", e.Detail),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if e.Elapsed != 0 {
		attrs = append(attrs, slog.Duration("elapsed", e.Elapsed))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	o.remember(e, o.log.Log(context.Background(), level, message, attrs...))
}

var facilities = map[string]string{
	"dial": "foolscap.dial", "negotiate": "foolscap.negotiate", "connection": "foolscap.connection", "call": "foolscap.call",
	"reference": "foolscap.reference", "gift": "foolscap.gift", "limit": "foolscap.limit", "revoke": "foolscap.revoke",
}

// parent returns the number of the event that e belongs to.
func (o *observer) parent(e tub.Event) (uint64, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.Parent != 0 {
		if num, ok := o.connections.get(e.Parent); ok {
			return num, true
		}
		return o.ended.get(e.Parent)
	}
	return o.stories.get(storyKey{e.Peer, e.Inbound})
}

// remember keeps the number of an event that others belong to.
func (o *observer) remember(e tub.Event, num uint64) {
	if num == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	story := storyKey{e.Peer, e.Inbound}
	switch e.Kind {
	case tub.EventDial, tub.EventNegotiate:
		if _, ok := o.stories.get(story); !ok && e.Peer != "" {
			o.stories.put(story, num, maxRemembered)
		}
	case tub.EventConnect:
		o.stories.put(story, num, maxRemembered)
		o.connections.put(e.ID, num, maxRemembered)
	case tub.EventDisconnect:
		connection, ok := o.connections.get(e.Parent)
		if !ok {
			return
		}
		if last, ok := o.stories.get(story); ok && last == connection {
			o.stories.forget(story)
		}
		o.connections.forget(e.Parent)
		o.ended.put(e.Parent, connection, maxEnded)
	}
}

// A memory is a map that forgets what it was told first when it is full.
type memory[K comparable] struct {
	nums  map[K]uint64
	order []K
}

func (m *memory[K]) get(key K) (uint64, bool) {
	n, ok := m.nums[key]
	return n, ok
}

func (m *memory[K]) put(key K, num uint64, limit int) {
	if m.nums == nil {
		m.nums = make(map[K]uint64)
	}
	if _, ok := m.nums[key]; !ok {
		m.order = append(m.order, key)
	}
	m.nums[key] = num
	for len(m.order) > limit {
		delete(m.nums, m.order[0])
		m.order = m.order[1:]
	}
}

func (m *memory[K]) forget(key K) {
	if _, ok := m.nums[key]; ok {
		delete(m.nums, key)
		m.order = slices.DeleteFunc(m.order, func(k K) bool { return k == key })
	}
}
