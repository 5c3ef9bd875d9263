package negotiate

import (
	"container/list"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A memory is what a slave knows of connections that have ended: for each
// master, how that one called the last of them, whichever side had dialled. The
// slave says it when it dials.
//
// Anybody can have a TubID that makes it our master, and connect. Peers that we
// have dialled are therefore kept apart, where strangers cannot displace them.
type memory struct {
	dialled recentPeers
	others  recentPeers
}

func newMemory(limit int) memory {
	return memory{
		dialled: recentPeers{limit: limit, byPeer: make(map[furl.TubID]*list.Element)},
		others:  recentPeers{limit: max(limit/4, 1), byPeer: make(map[furl.TubID]*list.Element)},
	}
}

// dialling returns the last connection to a peer, or noConnection, and knows the
// peer for one that we dial from now on.
func (m *memory) dialling(peer furl.TubID) connID {
	id, ok := m.dialled.get(peer)
	if !ok {
		if id, ok = m.others.get(peer); !ok {
			id = noConnection
		}
		m.others.remove(peer)
	}
	m.dialled.put(peer, id)
	return id
}

// ended keeps the connection to a peer that has just ended.
func (m *memory) ended(peer furl.TubID, id connID) {
	if _, ok := m.dialled.get(peer); ok {
		m.dialled.put(peer, id)
	} else {
		m.others.put(peer, id)
	}
}

// recentPeers has a connection for each of a bounded number of peers. The one
// not put for longest makes way for a new one.
type recentPeers struct {
	limit  int
	byPeer map[furl.TubID]*list.Element
	recent list.List // of lastConnection, the one put last in front
}

type lastConnection struct {
	peer furl.TubID
	id   connID
}

func (r *recentPeers) get(peer furl.TubID) (connID, bool) {
	e := r.byPeer[peer]
	if e == nil {
		return connID{}, false
	}
	return e.Value.(lastConnection).id, true
}

func (r *recentPeers) put(peer furl.TubID, id connID) {
	r.remove(peer)
	if r.recent.Len() >= r.limit {
		r.remove(r.recent.Back().Value.(lastConnection).peer)
	}
	r.byPeer[peer] = r.recent.PushFront(lastConnection{peer, id})
}

func (r *recentPeers) remove(peer furl.TubID) {
	if e := r.byPeer[peer]; e != nil {
		r.recent.Remove(e)
		delete(r.byPeer, peer)
	}
}
