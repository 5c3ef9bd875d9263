package tub

import (
	"time"

	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

type (
	// An Observer is told of events; see [Options.Observer].
	Observer = broker.Observer
	// An Event is what an Observer is told: of which Kind it is, its ID and that of
	// the event it belongs to, and what there is to be told of that kind. It
	// contains no secret.
	Event = broker.Event
	// An Interceptor stands around calls; see [Options.Inbound].
	Interceptor = broker.Interceptor
	// CallInfo says to an Interceptor what is called: Peer, Object, Interface,
	// Method and Args.
	CallInfo = broker.CallInfo
)

// Kinds of events.
const (
	EventDial       = broker.EventDial       // a hint was tried
	EventNegotiate  = broker.EventNegotiate  // a negotiation has ended
	EventConnect    = broker.EventConnect    // a connection is up
	EventDisconnect = broker.EventDisconnect // a connection is gone
	EventCall       = broker.EventCall       // a call has ended
	EventReference  = broker.EventReference  // a reference was sent, received or released
	EventGift       = broker.EventGift       // an introduction goes on
	EventLimit      = broker.EventLimit      // a limit was hit
	EventRevoke     = broker.EventRevoke     // a forwarder has ended
)

func now() time.Time { return time.Now() }

func (t *Tub) observe(e Event) {
	if t.opts.Observer != nil {
		e.ID = broker.NextEventID()
		t.opts.Observer(e)
	}
}

func (t *Tub) observeNegotiation(inbound bool, peer furl.TubID, began time.Time, err error) {
	if t.opts.Observer != nil {
		t.observe(Event{Kind: EventNegotiate, Inbound: inbound, Peer: peer, Elapsed: time.Since(began), Err: err})
	}
}
