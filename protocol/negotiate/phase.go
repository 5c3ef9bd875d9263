package negotiate

import "time"

// Phase is a stage of a negotiation.
type Phase uint8

// The phases, in their order. A stream whose transport has authenticated the
// peer begins with PhaseSlot or PhaseHello; PhaseSlot is left out where
// [ClientConfig.HelloSlot] is nil.
const (
	PhasePlaintext Phase = iota // request and answer by TubID
	PhaseTLS                    // handshake, and who the peer is
	PhaseSlot                   // waiting for leave to send the hello
	PhaseHello                  // both sides' offers
	PhaseDecision               // the master's decision
	numPhases
)

func (p Phase) String() string {
	switch p {
	case PhasePlaintext:
		return "plaintext"
	case PhaseTLS:
		return "TLS"
	case PhaseSlot:
		return "hello slot"
	case PhaseHello:
		return "hello"
	case PhaseDecision:
		return "decision"
	}
	return "unknown phase"
}

// Timings says how long each phase took, indexed by [Phase]; zero for a phase
// that was left out or not reached.
type Timings [numPhases]time.Duration

// Timeouts bounds the phases. The zero value of each field means its default;
// there is no way to switch one off, since whoever may connect may also fall
// silent. Waiting for the hello slot is bounded by Total alone.
type Timeouts struct {
	Plaintext time.Duration // default 30 s
	TLS       time.Duration // default 30 s
	// Hello is generous by default, because the dialling side may hold its
	// hello back while it tries another way to the same Tub. Default 60 s.
	Hello    time.Duration
	Decision time.Duration // default 30 s
	// Total bounds the whole negotiation. Default, and at most, 120 s: other
	// implementations give up then.
	Total time.Duration
}

const maxTotal = 120 * time.Second

func (t Timeouts) total() time.Duration {
	if t.Total <= 0 || t.Total > maxTotal {
		return maxTotal
	}
	return t.Total
}

// of returns the limit of a phase and the name of the option that sets it, or
// zero if the phase has none of its own.
func (t Timeouts) of(p Phase) (time.Duration, string) {
	or := func(d, byDefault time.Duration) time.Duration {
		if d <= 0 {
			return byDefault
		}
		return d
	}
	switch p {
	case PhasePlaintext:
		return or(t.Plaintext, 30*time.Second), "Plaintext"
	case PhaseTLS:
		return or(t.TLS, 30*time.Second), "TLS"
	case PhaseHello:
		return or(t.Hello, 60*time.Second), "Hello"
	case PhaseDecision:
		return or(t.Decision, 30*time.Second), "Decision"
	}
	return 0, ""
}
