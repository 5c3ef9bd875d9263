package handlers

import (
	"errors"
	"fmt"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Phase is a stage on the way from a hint to a negotiated connection.
type Phase string

// The phases, in their order. A handler goes through those before
// PhaseNegotiate, or some of them.
const (
	PhaseParse     Phase = "parse"     // choosing a handler, reading the hint
	PhaseResolve   Phase = "resolve"   // looking up the host's addresses
	PhaseDial      Phase = "dial"      // connecting to the peer, or to the proxy
	PhaseProxy     Phase = "proxy"     // waiting for the proxy, its circuits included, to reach the peer
	PhaseTransport Phase = "transport" // the transport's own handshake with the peer
	PhaseNegotiate Phase = "negotiate" // the Tub's part: plaintext, TLS, hello, decision
)

// Why a dial failed, for errors.Is. The texts are for the person who has to do
// something about it.
var (
	ErrNoHandler        = errors.New("no handler is registered for hints of this type; register one, or ask for a FURL with other hints")
	ErrInvalidHint      = errors.New("the handler cannot use this hint; whoever published the FURL has to correct it")
	ErrRefusedByPolicy  = errors.New("this Tub may not use a transport or hint that reveals so much; give it a handler that hides it, or make the Tub one that need not be hidden")
	ErrWrongTub         = errors.New("another Tub than the one in the FURL answered; the hint is out of date, or somebody is in the way")
	ErrNameNotResolved  = errors.New("the name could not be resolved to an address; check the name and the resolver")
	ErrProxyUnreachable = errors.New("the proxy cannot be reached; check that it runs and that its address is right")
	ErrProxyRefused     = errors.New("the proxy refused or failed to connect to the peer; its answer says why")
	ErrUnreachable      = errors.New("nothing accepts connections there; the peer may be down, moved or behind a firewall")
	ErrTimeout          = errors.New("there was no answer in the time allowed; try again, or allow more time")
)

// Error says how one hint failed. errors.Is finds the sentinels of this package,
// the errors of contexts, and whatever else Err wraps.
type Error struct {
	Hint    furl.Hint
	Handler string // the handler's description, or "" if there was none
	Phase   Phase
	Elapsed time.Duration // from the start of the dial
	Err     error         // never nil
}

func (e *Error) Error() string {
	by := ""
	if e.Handler != "" {
		by = " by " + e.Handler
	}
	return fmt.Sprintf("dialling %s%s failed in phase %s after %v: %v",
		e.Hint, by, e.Phase, e.Elapsed.Round(10*time.Microsecond), e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
