package tub

import (
	"crypto/x509"
	"time"

	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// What tests see of the inside.

const (
	DuplicateWait = duplicateWait
	SlotTime      = slotTime
	MaxInfos      = maxInfos
)

// Leaf returns the certificate of a Tub.
func (t *Tub) Leaf() *x509.Certificate { return t.id.cert().Leaf }

// Open returns how many connections a Listener counts.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Names returns how many names a Tub knows: given ones, and those that last as
// long as their objects.
func (t *Tub) Names() (given, passing int) {
	n := &t.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.weakByName) != len(n.weakByObj) {
		panic("the tables of passing names differ")
	}
	return len(n.byName), len(n.weakByName)
}

// PassingName returns the name of an object that was sent and not registered.
func (t *Tub) PassingName(o *Object) (string, bool) {
	f, err := furl.Parse(t.passing(o))
	return f.Name.Reveal(), err == nil
}

// Waiting returns how many wait for the attempt to reach a Tub, or -1 if there
// is none going on.
func (t *Tub) Waiting(peer furl.TubID) int {
	t.mu.Lock()
	a := t.attempts[peer]
	t.mu.Unlock()
	if a == nil {
		return -1
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting
}

// Owned returns how many Listeners end with the Tub.
func (t *Tub) Owned() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.owned)
}

// Broker returns the connection to a Tub, or nil.
func (t *Tub) Broker(peer furl.TubID) *broker.Broker {
	if c := t.current(peer); c != nil {
		return c.b
	}
	return nil
}

// EndLoopback loses the connection of a Tub with itself.
func (t *Tub) EndLoopback() {
	t.mu.Lock()
	loop := t.loop
	t.mu.Unlock()
	loop.client.Close(ErrLost)
}

// InfoRecorded makes up what an attempt leaves behind.
func (t *Tub) InfoRecorded(peer furl.TubID, hint furl.Hint, established time.Time) {
	t.infos.connected(peer, hint, established)
}

// InfoLost makes up what the end of a connection leaves behind.
func (t *Tub) InfoLost(peer furl.TubID, established time.Time, reason error) {
	t.infos.lost(peer, established, reason)
}
