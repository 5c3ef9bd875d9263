package handlers

// Exposure is what a transport lets others learn about the machine it runs on.
// The zero value means that everything is revealed, so that a transport which
// declares nothing is never taken for one that hides something.
//
// It is about the transport's own doing. That the machine uses, say, Tor at all
// may still be seen in its network.
type Exposure struct {
	// HidesAddress says that no network address of this machine, or of the
	// network it is in, becomes known to the peer or to anyone on the way who
	// also knows the peer.
	HidesAddress bool

	// HidesLookups says that no name from a hint is looked up through the
	// machine's resolver or the local network.
	HidesLookups bool
}

// Hidden reports whether a Tub that must stay hidden may use the transport: it
// reveals nothing.
func (e Exposure) Hidden() bool { return e.HidesAddress && e.HidesLookups }

// WithLookups returns e for a transport that besides looks up names itself. A
// handler that resolves a name and then dials through a ContextDialer has the
// exposure of that dialer, with look-ups.
func (e Exposure) WithLookups() Exposure {
	e.HidesLookups = false
	return e
}

// Combine returns the exposure of something that uses two transports: it hides
// only what both hide.
func (e Exposure) Combine(other Exposure) Exposure {
	return Exposure{
		HidesAddress: e.HidesAddress && other.HidesAddress,
		HidesLookups: e.HidesLookups && other.HidesLookups,
	}
}

// String says in words what is revealed.
func (e Exposure) String() string {
	switch {
	case e.Hidden():
		return "reveals nothing"
	case e.HidesLookups:
		return "reveals the address"
	case e.HidesAddress:
		return "reveals name look-ups"
	default:
		return "reveals the address and name look-ups"
	}
}
