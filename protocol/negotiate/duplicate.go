package negotiate

import (
	"fmt"
	"time"
)

// standing is what a master knows of the connection that already exists.
type standing struct {
	peerIncarnation string
	seqnum          uint64
	age             time.Duration
}

// A verdict on an offer is the rule that it was decided by.
type verdict uint8

const (
	acceptFirst      verdict = iota // there is no connection
	acceptAged                      // a very old peer, and the connection is old enough
	acceptRestarted                 // the peer has been restarted since
	acceptPastLife                  // the peer last heard of a connection to our former life
	acceptLost                      // the peer knows of the connection, and wants another
	refuseUninformed                // the peer does not say what it remembers
	refuseParallel                  // the peer has not heard of the connection yet
	refuseBehind                    // the peer only knows of an earlier connection
	refuseAhead                     // the peer knows of a connection that we do not
	refuseStale                     // as slave: a newer one has already been decided on
	needless                        // as client: one has come up before our hello
	refuseGarbled                   // what the peer says it remembers cannot be read
)

func (v verdict) accepted() bool { return v < refuseUninformed }

// decide is the rule for duplicates, as a master follows it: which of the
// existing connection, nil if there is none, and the offered one is to live. own
// is the master's incarnation.
//
// A new offer can mean that the peer has lost the connection that we believe in:
// then it must replace that, or the peer is cut off until we notice. Or it can be
// one of several attempts at the same time: then the first decided on must stay,
// or the connections replace each other without end. What the peer remembers
// tells the two apart.
//
// The hello of a server never says what it remembers, so that a master does not
// accept a connection it has itself opened beside an existing one.
func decide(existing *standing, offer hello, own string, handleOld time.Duration) verdict {
	switch {
	case existing == nil:
		return acceptFirst
	case offer.incarnation == "" || offer.last == nil:
		if handleOld > 0 && existing.age >= handleOld {
			return acceptAged
		}
		return refuseUninformed
	case offer.incarnation != existing.peerIncarnation:
		return acceptRestarted
	case *offer.last == garbledConnection:
		return refuseGarbled
	case offer.last.incarnation == noConnection.incarnation:
		return refuseParallel
	case offer.last.incarnation != own:
		return acceptPastLife
	case offer.last.seqnum == existing.seqnum:
		return acceptLost
	case offer.last.seqnum < existing.seqnum:
		return refuseBehind
	default:
		return refuseAhead
	}
}

// duplicateError is our own reason to give up a connection for another.
type duplicateError struct{ verdict verdict }

func (e *duplicateError) Error() string {
	why := "unknown"
	switch e.verdict {
	case refuseUninformed:
		why = "the offer does not say which connection the peer knows of"
	case refuseParallel:
		why = "the offer was made before the peer knew of that"
	case refuseBehind:
		why = "the offer was made when the peer knew of an earlier one"
	case refuseAhead:
		why = "the peer claims to know of a later one"
	case refuseStale:
		why = "it was decided on later than this one"
	case needless:
		why = "it came up before this one"
	}
	return fmt.Sprintf("%v: %s", ErrDuplicate, why)
}

func (e *duplicateError) Is(target error) bool { return target == ErrDuplicate }
