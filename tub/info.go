package tub

import (
	"container/list"
	"context"
	"iter"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
)

// HintStatus is how far one hint has come, or what became of it.
type HintStatus struct {
	Hint furl.Hint
	// Handler describes what has dialled it; "" if there is no handler.
	Handler string
	// Phase is the last phase that was reached, Text what it waited for.
	Phase handlers.Phase
	Text  string
	// Started is when the dial began, zero if it has not; Dialled how long it
	// took to a stream, Elapsed the whole time to the end of negotiation or to
	// the failure.
	Started time.Time
	Dialled time.Duration
	Elapsed time.Duration
	// Timings are those of the phases of negotiation, as far as it came.
	Timings negotiate.Timings
	// Won says that the connection was made by this hint.
	Won bool
	// Err is why the hint failed, a *handlers.Error; nil if it won, or was
	// given up because another one did.
	Err error
}

// ConnInfo is what is known of the way to a Tub: a snapshot that does not
// change any more.
type ConnInfo struct {
	Peer furl.TubID
	// Connected says that there is a connection now; Inbound that the peer
	// has opened it, Master that the decision in negotiation was ours.
	Connected bool
	Inbound   bool
	Master    bool
	// Winner is the hint that the connection was made by, if we made it.
	Winner furl.Hint
	// Listener is what the connection came in by, if the peer made it: the
	// hints that it advertises.
	Listener []furl.Hint
	// Established and Lost are when the connection that is there, or else the
	// last one that we made, came and went; zero if it has not. Reason is why
	// it went.
	Established time.Time
	Lost        time.Time
	Reason      error
	// Hints are those of our last attempt.
	Hints []HintStatus
	// Err is why that attempt has failed, if it has.
	Err error
}

// maxInfos is the number of Tubs that a Tub remembers its attempts for.
const maxInfos = 256

// infoTable remembers what became of attempts. It knows only Tubs that we
// have dialled.
type infoTable struct {
	mu      sync.Mutex
	byPeer  map[furl.TubID]*list.Element
	recent  *list.List    // of *ConnInfo, the last used in front
	changed chan struct{} // closed when something has changed, of any Tub
}

func (n *infoTable) init() {
	n.byPeer = make(map[furl.TubID]*list.Element)
	n.recent = list.New()
	n.changed = make(chan struct{})
}

// signal wakes those who watch.
func (n *infoTable) signal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *infoTable) change(peer furl.TubID, f func(*ConnInfo)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.byPeer[peer]
	if e == nil {
		e = n.recent.PushFront(&ConnInfo{Peer: peer})
		n.byPeer[peer] = e
		if n.recent.Len() > maxInfos {
			last := n.recent.Back()
			delete(n.byPeer, n.recent.Remove(last).(*ConnInfo).Peer)
		}
	}
	n.recent.MoveToFront(e)
	f(e.Value.(*ConnInfo))
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *infoTable) attempted(peer furl.TubID, hints []HintStatus, err error) {
	n.change(peer, func(i *ConnInfo) { i.Hints, i.Err = hints, err })
}

func (n *infoTable) connected(peer furl.TubID, winner furl.Hint, established time.Time) {
	n.change(peer, func(i *ConnInfo) {
		i.Winner, i.Established = winner, established
		i.Lost, i.Reason = time.Time{}, nil
	})
}

// past returns what is remembered of the hints of a Tub, for the Ranker.
func (n *infoTable) past(peer furl.TubID) map[furl.Hint]RankHint {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.byPeer[peer]
	if e == nil {
		return nil
	}
	i := e.Value.(*ConnInfo)
	all := make(map[furl.Hint]RankHint)
	for _, s := range i.Hints {
		if s.Err != nil && !s.Started.IsZero() {
			all[s.Hint] = RankHint{Failed: s.Started.Add(s.Elapsed)}
		}
	}
	if i.Winner != "" {
		won := all[i.Winner]
		won.Won = i.Established
		all[i.Winner] = won
	}
	return all
}

// lost records the end of the connection that was established then, unless
// there has been another one since.
func (n *infoTable) lost(peer furl.TubID, established time.Time, reason error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.byPeer[peer]
	if e == nil {
		return // forgotten
	}
	if i := e.Value.(*ConnInfo); i.Established.Equal(established) {
		i.Lost, i.Reason = now(), reason
		close(n.changed)
		n.changed = make(chan struct{})
	}
}

// Info returns what is known of the way to a Tub: the connection, and the fate
// of every hint of the last attempt, one in progress included. ok is false for
// a Tub that was never dialled and is not connected.
func (t *Tub) Info(peer furl.TubID) (info ConnInfo, ok bool) {
	n := &t.infos
	n.mu.Lock()
	if e := n.byPeer[peer]; e != nil {
		info, ok = *e.Value.(*ConnInfo), true
	}
	n.mu.Unlock()
	info.Peer = peer
	info.Hints = slices.Clone(info.Hints)
	t.mu.Lock()
	a := t.attempts[peer]
	t.mu.Unlock()
	if a != nil {
		info.Hints, info.Err, ok = a.snapshot(), nil, true
	}
	if c := t.current(peer); c != nil {
		info.Connected, info.Inbound, info.Master, ok = true, c.b.Inbound(), c.master, true
		info.Established, info.Lost, info.Reason = c.established, time.Time{}, nil
		if info.Inbound {
			info.Winner = ""
			info.Listener = c.listener.Hints()
		}
	}
	return info, ok
}

// WatchInfo yields what Info returns, at once and after every change: also the
// progress of handlers, such as a tor that starts. Changes that follow each
// other faster than they are taken are seen as one. It ends with ctx, or with
// the Tub.
func (t *Tub) WatchInfo(ctx context.Context, peer furl.TubID) iter.Seq[ConnInfo] {
	return func(yield func(ConnInfo) bool) {
		var last ConnInfo
		for first := true; ; first = false {
			t.infos.mu.Lock()
			changed := t.infos.changed
			t.infos.mu.Unlock()
			info, _ := t.Info(peer)
			if first || !reflect.DeepEqual(info, last) {
				if !yield(info) {
					return
				}
				last = info
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-t.ctx.Done():
				return
			}
		}
	}
}

// Peers returns the Tubs that are connected now.
func (t *Tub) Peers() []furl.TubID {
	var all []furl.TubID
	for _, b := range t.brokers(nil) {
		if b.Err() == nil && !slices.Contains(all, b.Peer()) {
			all = append(all, b.Peer())
		}
	}
	slices.Sort(all)
	return all
}
