package negotiate

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// LedgerConfig sets up a [Ledger].
type LedgerConfig struct {
	// Remember is for how many peers that we have dialled the last connection is
	// remembered after its end, where the peer is the master; the one not used
	// for longest is forgotten first. Of peers that have only dialled us, a
	// quarter as many are remembered, in a list of their own. A peer that we have
	// forgotten may refuse a new connection until it has noticed the end of the
	// old one. Default 4096; an entry takes some 200 bytes.
	Remember int

	// HandleOldDuplicates applies to offers that do not say what the peer
	// remembers, as those of very old peers: they replace an existing
	// connection that is at least this old. Zero refuses them.
	HandleOldDuplicates time.Duration
}

// A Ledger knows a Tub's connections. It is the one place where duplicate
// connections are decided. A Tub has one Ledger for its whole life; it is safe
// for concurrent use.
//
// What it remembers of peers to which there is no connection is bounded by
// LedgerConfig.Remember.
type Ledger struct {
	incarnation         string
	handleOldDuplicates time.Duration

	// mu guards what follows and the mutable part of every Link. It is never
	// held while a Connection is called.
	mu      sync.Mutex
	links   map[furl.TubID]*Link
	waiters map[furl.TubID]*waiter
	entered uint64 // how many links there have been
	past    memory // of the connections that the links no longer stand for
}

// NewLedger returns the ledger of a Tub that has just come to life.
func NewLedger(cfg LedgerConfig) *Ledger {
	if cfg.Remember <= 0 {
		cfg.Remember = 4096
	}
	incarnation := make([]byte, 8)
	rand.Read(incarnation)
	return &Ledger{
		incarnation:         hex.EncodeToString(incarnation),
		handleOldDuplicates: cfg.HandleOldDuplicates,
		links:               make(map[furl.TubID]*Link),
		waiters:             make(map[furl.TubID]*waiter),
		past:                newMemory(cfg.Remember),
	}
}

// Incarnation returns the random name of this life of the Tub, under which peers
// learn that it has been restarted.
func (l *Ledger) Incarnation() string { return l.incarnation }

// Current returns the link of the current connection to peer, or nil. It may not
// be attached yet.
func (l *Ledger) Current(peer furl.TubID) *Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[peer]
}

type waiter struct {
	attached chan struct{} // closed by the next Attach
	waiting  int
}

// Wait returns the link of the current connection to peer once there is one and
// it is attached, or the context's error. After [ErrDuplicate] it waits for the
// other connection.
func (l *Ledger) Wait(ctx context.Context, peer furl.TubID) (*Link, error) {
	for {
		l.mu.Lock()
		if link := l.links[peer]; link != nil && link.attached {
			l.mu.Unlock()
			return link, nil
		}
		w := l.waiters[peer]
		if w == nil {
			w = &waiter{attached: make(chan struct{})}
			l.waiters[peer] = w
		}
		w.waiting++
		l.mu.Unlock()

		select {
		case <-w.attached:
		case <-ctx.Done():
			l.mu.Lock()
			if w.waiting--; w.waiting == 0 && l.waiters[peer] == w {
				delete(l.waiters, peer)
			}
			l.mu.Unlock()
			return nil, ctx.Err()
		}
	}
}

// dialling returns what a client says in its hello to peer: the last connection
// it knows of. That must be one that has been lost, for the peer takes it so, and
// gives up the connection if it still believes in it; with a current connection,
// therefore, there must be no hello. Who is the master remembers nothing.
func (l *Ledger) dialling(peer furl.TubID, master bool) (connID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := noConnection
	if !master {
		last = l.past.dialling(peer)
	}
	if l.links[peer] != nil {
		return connID{}, &duplicateError{needless}
	}
	return last, nil
}

// now returns a mark for accept: the number of links entered so far.
func (l *Ledger) now() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entered
}

// offer decides as master on an offer. If it is accepted, the returned link is
// the current one from that moment on, and the connection that was current
// before has been shut down; otherwise the error is a refusal. conn is
// what is to be shut down until the link is attached.
func (l *Ledger) offer(peer furl.TubID, h hello, conn Connection) (*Link, error) {
	l.mu.Lock()
	old := l.links[peer]
	var existing *standing
	seqnum := randomSeqnum()
	if old != nil {
		existing = &standing{old.peerIncarnation, old.id.seqnum, time.Since(old.since)}
		seqnum = old.id.seqnum + 1
	}
	if v := decide(existing, h, l.incarnation, l.handleOldDuplicates); !v.accepted() {
		l.mu.Unlock()
		if v == refuseGarbled {
			return nil, refuse(ErrMalformed, "its last connection is not an incarnation and a number")
		}
		return nil, &refusal{tell: textDuplicate, err: &duplicateError{v}}
	}
	link := l.enterAndUnlock(&Link{
		ledger: l, peer: peer, conn: conn,
		id: connID{l.incarnation, seqnum}, master: true, peerIncarnation: h.incarnation,
	})
	return link, nil
}

// accept enters the link for a connection on which the peer, as master, has
// decided. began is what now returned before our hello went out. conn is what
// is to be shut down until the link is attached.
func (l *Ledger) accept(peer furl.TubID, id connID, began uint64, conn Connection) (*Link, error) {
	l.mu.Lock()
	// Of several negotiations with one master, we may come to read the decisions
	// in another order than they were made, and the connection that has the
	// smaller number of two in a row is the one given up. Two numbers that are not
	// near each other say nothing: with no connection left, a master may draw the
	// next one at random. What we take wrongly then has ended at the master
	// already, so that its stream ends, too, and the next attempt succeeds.
	if old := l.links[peer]; old != nil && old.entered > began && old.id.incarnation == id.incarnation &&
		old.id.seqnum > id.seqnum && old.id.seqnum-id.seqnum <= maxReordered {
		l.mu.Unlock()
		return nil, &refusal{tell: textDuplicate, err: &duplicateError{refuseStale}}
	}
	return l.enterAndUnlock(&Link{ledger: l, peer: peer, conn: conn, id: id}), nil
}

// maxReordered is how many numbers a master uses up for one peer while one
// negotiation goes on, at the very most. Two random ones are hardly ever that
// near each other: once in a million times.
const maxReordered = 1 << 10

// enterAndUnlock makes link the current one, unlocks the ledger and then shuts
// down the connection that was current before.
func (l *Ledger) enterAndUnlock(link *Link) *Link {
	old := l.links[link.peer]
	l.links[link.peer] = link
	l.entered++
	link.entered, link.since = l.entered, time.Now()
	var displaced Connection
	if old != nil {
		displaced = old.endLocked(ErrReplaced)
	}
	l.mu.Unlock()
	if displaced != nil {
		displaced.Shutdown(ErrReplaced)
	}
	return link
}

// randomSeqnum numbers the first of a series of connections: no table of former
// peers is needed to keep a number from coming again by accident.
func randomSeqnum() uint64 {
	var b [4]byte
	rand.Read(b[:])
	return uint64(binary.BigEndian.Uint32(b[:])>>1) | 1
}

// A Connection is what runs over a link: what the Tub makes of a [Result].
type Connection interface {
	// Shutdown is called, at most once, when a newer connection has become
	// the current one. It must not wait for the peer or for other
	// negotiations: it begins the end of the connection, and returns. It may
	// call methods of the Ledger and of links.
	Shutdown(reason error)
}

// A Link is the place of one connection in the ledger, from the moment it was
// decided on until it is released or replaced. Whoever gets it in a [Result]
// must call Attach, or Release if the connection is not wanted. Its methods are
// safe for concurrent use.
type Link struct {
	ledger  *Ledger
	peer    furl.TubID
	id      connID
	since   time.Time
	entered uint64 // the how many-th of the ledger

	// master reports that the decision was ours, and peerIncarnation is then the
	// slave's.
	master          bool
	peerIncarnation string

	conn     Connection // nil after the end
	attached bool
	end      error // ErrReplaced or ErrReleased
}

// Peer returns the Tub at the other end.
func (k *Link) Peer() furl.TubID { return k.peer }

// Since returns when the connection was decided on.
func (k *Link) Since() time.Time { return k.since }

// Attach hands the link over to the connection that now runs over it, which is
// from then on told when it is replaced, and wakes those who [Ledger.Wait] for
// it. It returns ErrReplaced if a newer connection has replaced it already (the
// stream of the Result is closed then), and ErrReleased after Release.
func (k *Link) Attach(c Connection) error {
	l := k.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.end != nil {
		return k.end
	}
	k.conn, k.attached = c, true
	if w := l.waiters[k.peer]; w != nil {
		close(w.attached)
		delete(l.waiters, k.peer)
	}
	return nil
}

// Connection returns what was attached, or nil if nothing was yet, or if the
// link has been replaced or released.
func (k *Link) Connection() Connection {
	k.ledger.mu.Lock()
	defer k.ledger.mu.Unlock()
	if !k.attached {
		return nil
	}
	return k.conn
}

// Release says that the connection has ended. It takes effect once, and does
// nothing to a newer link to the same Tub.
func (k *Link) Release() {
	l := k.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.end != nil {
		return
	}
	k.endLocked(ErrReleased)
	delete(l.links, k.peer)
}

// endLocked takes the link out of use, and returns what ran over it. Until now
// the link itself was the memory of the connection.
func (k *Link) endLocked(why error) Connection {
	if !k.master && k.id.incarnation != "" {
		k.ledger.past.ended(k.peer, k.id)
	}
	conn := k.conn
	k.conn, k.end = nil, why
	return conn
}
