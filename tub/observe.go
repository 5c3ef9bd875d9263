package tub

import (
	"time"

	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

type (
	// An Observer is told of events; see [Options.Observer].
	Observer = broker.Observer
	// An Event is what an Observer is told.
	Event = broker.Event
	// An Interceptor stands around calls; see [Options.Inbound].
	Interceptor = broker.Interceptor
	// CallInfo says to an Interceptor what is called.
	CallInfo = broker.CallInfo
)

// Kinds of events.
const (
	EventDial       = broker.EventDial
	EventNegotiate  = broker.EventNegotiate
	EventConnect    = broker.EventConnect
	EventDisconnect = broker.EventDisconnect
	EventCall       = broker.EventCall
	EventReference  = broker.EventReference
	EventGift       = broker.EventGift
	EventLimit      = broker.EventLimit
	EventRevoke     = broker.EventRevoke
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
