package tub

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Anonymity is how a Tub chooses between transports that hide its address and
// those that do not.
type Anonymity int

const (
	// AnonymityAllowed: transports that hide the address, which are slow, are
	// used when the others have failed, or take long.
	AnonymityAllowed Anonymity = iota
	// AnonymityPreferred: the others are used when those that hide the
	// address have failed, or take very long.
	AnonymityPreferred
	// AnonymityRequired: only transports that hide the address are used.
	AnonymityRequired
)

// A Ranker decides when the hints of a FURL are dialled, if at all; see
// [Options.Ranker]. It looks nothing up. It may be called from several
// goroutines.
type Ranker func(RankRequest) []RankedHint

// RankRequest is what a Ranker may go by.
type RankRequest struct {
	// Peer is the Tub that is to be reached.
	Peer furl.TubID
	// Hints are those that a handler takes, each once, in the order of the
	// FURL.
	Hints []RankHint
	// Anonymity and Stagger are the Tub's options.
	Anonymity Anonymity
	Stagger   time.Duration
	// Networks are those that this machine has an address in.
	Networks []netip.Prefix
	// Now is the time of the request.
	Now time.Time
}

// RankHint is a hint and what is known of it.
type RankHint struct {
	Hint furl.Hint
	// Exposure is that of its handler.
	Exposure handlers.Exposure
	// Won is when it last made a connection to the Tub, Failed when it last
	// failed to; zero if never, or not remembered.
	Won, Failed time.Time
}

// RankedHint is a hint and its place among the others.
type RankedHint struct {
	Hint furl.Hint
	// Delay is when it is dialled, from the beginning. One that fails brings
	// the next one forward.
	Delay time.Duration
}

// failureMemory is for how long a hint that has failed stands behind others.
const failureMemory = 10 * time.Minute

// Groups of hints that hide the address, and of those that do not, do not
// begin a moment after each other, as hints do within them.
const (
	afterClear  = 5 * time.Second  // until hints that hide the address are tried as well
	afterHidden = 30 * time.Second // until those that do not are, when the former are preferred
)

// Rank is the Ranker of a Tub that has no other. Hints that hide the address
// come after, before, or instead of those that do not, as Anonymity says. Among
// equals, that by which the last connection was made comes first, and those
// that have lately failed come last. Literal addresses that this machine can
// reach directly come before public ones, those before names and whatever else
// a handler takes, and addresses that it probably cannot reach come after them;
// addresses of both families take turns, IPv6 first. What is still equal stays
// in the order of the FURL.
func Rank(r RankRequest) []RankedHint {
	type place struct {
		RankHint
		hides, failed bool
		score         int
		turn          int // among addresses of one score and family
		v4            bool
	}
	last := time.Time{}
	for _, h := range r.Hints {
		if h.Won.After(last) && h.Won.After(h.Failed) {
			last = h.Won
		}
	}
	var all []place
	turns := make(map[[2]int]int)
	for _, h := range r.Hints {
		p := place{RankHint: h, hides: h.Exposure.HidesAddress}
		if r.Anonymity == AnonymityRequired && !p.hides {
			continue
		}
		p.failed = h.Failed.After(h.Won) && r.Now.Sub(h.Failed) < failureMemory
		switch {
		case !last.IsZero() && h.Won.Equal(last):
			p.score = winner
		case p.hides:
			p.score = unknown // the machine's own networks do not matter
		default:
			p.score, p.v4 = reach(h.Hint, r.Networks)
		}
		family := [2]int{p.score, 0}
		if p.v4 {
			family[1] = 1
		}
		p.turn = turns[family]
		turns[family]++
		all = append(all, p)
	}
	later := func(hides bool) bool { return hides == (r.Anonymity == AnonymityAllowed) }
	slices.SortStableFunc(all, func(a, b place) int {
		return cmp.Or(
			compareBool(later(a.hides), later(b.hides)),
			compareBool(a.failed, b.failed),
			cmp.Compare(a.score, b.score),
			cmp.Compare(a.turn, b.turn),
			compareBool(a.v4, b.v4),
		)
	})
	ranked := make([]RankedHint, len(all))
	var delay time.Duration
	for i, p := range all {
		switch {
		case i == 0:
		case p.hides == all[i-1].hides:
			delay += r.Stagger
		case p.hides:
			delay += max(afterClear, r.Stagger)
		default:
			delay += max(afterHidden, r.Stagger)
		}
		ranked[i] = RankedHint{p.Hint, delay}
	}
	return ranked
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Scores of hints that do not hide the address, the best first.
const (
	winner  = iota // the last connection was made by it
	ourself        // this machine
	near           // a network that this machine is in
	public         // a public address of a family that this machine has one of
	unknown        // a name, or something that only its handler understands
	far            // a private network elsewhere, a family that this machine lacks
	nowhere        // no address of a machine
)

// reach says how well an address can be reached.
func reach(h furl.Hint, networks []netip.Prefix) (score int, v4 bool) {
	host, _, err := h.HostPort()
	if err != nil {
		return unknown, false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return unknown, false
	}
	addr = addr.Unmap()
	zoneless := addr.WithZone("")
	v4 = addr.Is4()
	switch {
	case addr.IsLoopback():
		return ourself, v4
	case addr.IsUnspecified() || addr.IsMulticast():
		return nowhere, v4
	case slices.ContainsFunc(networks, func(n netip.Prefix) bool { return !n.Addr().IsLoopback() && n.Contains(zoneless) }):
		return near, v4
	case addr.IsPrivate() || addr.IsLinkLocalUnicast():
		return far, v4
	case slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Addr().Is4() == v4 && reachesOut(n.Addr()) }):
		return public, v4
	}
	return far, v4
}

// reachesOut reports whether a machine with that address may have a way to
// public ones: behind a private IPv4 address there usually is one, by address
// translation.
func reachesOut(a netip.Addr) bool {
	return a.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() || a.Is6() && a.IsGlobalUnicast() && !a.IsPrivate()
}

// networks returns those that this machine has an address in. It asks the
// kernel, nothing else.
func networks() []netip.Prefix {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var all []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p)
		}
	}
	return all
}
