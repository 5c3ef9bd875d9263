package tor

import (
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
)

// What tor says about an onion service if its SOCKS port has ExtendedErrors, for
// errors.Is. A tor that is launched has them; in a torrc it is
// "SocksPort 9050 ExtendedErrors". Without them tor tells only ErrNotPublished.
var (
	ErrNotPublished       = errors.New("the onion service is not published; it may be down, or about to come up")
	ErrDescriptorInvalid  = errors.New("what the onion service has published cannot be read; its tor may be very old or very new")
	ErrIntroductionFailed = errors.New("the onion service could not be contacted through its introduction points; it may have gone down a while ago")
	ErrRendezvousFailed   = errors.New("the onion service was contacted but no circuit to it came about; try again")
	ErrClientKeyMissing   = errors.New("the onion service admits authorised clients only; ask its operator to authorise a key, and put that into ClientKeys")
	ErrClientKeyWrong     = errors.New("the onion service does not admit our key; ask its operator to authorise it, or put the right one into ClientKeys")
)

// Codes that only tor uses (its proposal 304).
const (
	descriptorNotFound  socks.ReplyCode = 0xF0
	descriptorInvalid   socks.ReplyCode = 0xF1
	introductionFailed  socks.ReplyCode = 0xF2
	rendezvousFailed    socks.ReplyCode = 0xF3
	clientKeyMissing    socks.ReplyCode = 0xF4
	clientKeyWrong      socks.ReplyCode = 0xF5
	addressInvalid      socks.ReplyCode = 0xF6
	introductionTimeout socks.ReplyCode = 0xF7
)

// ReplyError says that tor was asked for a connection and could not make it.
// Besides the sentinels of this package it wraps handlers.ErrUnreachable if the
// code is about the peer, handlers.ErrInvalidHint if it is about the address, and
// handlers.ErrProxyRefused otherwise.
type ReplyError struct {
	Code  socks.ReplyCode
	Onion bool // whether the target was an onion service
}

func (e *ReplyError) Error() string {
	text, _ := e.meaning()
	return fmt.Sprintf("%s (reply 0x%02X of tor)", text, byte(e.Code))
}

// Unwrap returns the sentinels that fit.
func (e *ReplyError) Unwrap() []error {
	_, wrapped := e.meaning()
	return wrapped
}

func (e *ReplyError) meaning() (text string, wrapped []error) {
	known := func(own, general error) (string, []error) { return own.Error(), []error{own, general} }
	unreachable := []error{handlers.ErrUnreachable}
	switch e.Code {
	case descriptorNotFound:
		return known(ErrNotPublished, handlers.ErrUnreachable)
	case descriptorInvalid:
		return known(ErrDescriptorInvalid, handlers.ErrUnreachable)
	case introductionFailed, introductionTimeout:
		return known(ErrIntroductionFailed, handlers.ErrUnreachable)
	case rendezvousFailed:
		return known(ErrRendezvousFailed, handlers.ErrUnreachable)
	case clientKeyMissing:
		return known(ErrClientKeyMissing, handlers.ErrProxyRefused)
	case clientKeyWrong:
		return known(ErrClientKeyWrong, handlers.ErrProxyRefused)
	case addressInvalid:
		return "tor does not know this form of onion address", []error{handlers.ErrInvalidHint}
	case socks.NotAllowed:
		return "this SOCKS port of tor does not allow such targets; use another port, or look at its flags in the torrc", []error{handlers.ErrProxyRefused}
	case socks.TTLExpired:
		return "tor has tried for as long as it would, and nothing answered", unreachable
	}
	if e.Onion {
		switch e.Code {
		case socks.HostUnreachable:
			return known(ErrNotPublished, handlers.ErrUnreachable)
		case socks.ConnectionRefused:
			return "the onion service is there, but not on this port", unreachable
		case socks.GeneralFailure:
			return "the onion service cannot be reached; the program behind it may be down, or it admits authorised clients only (a SOCKS port with ExtendedErrors would tell)", unreachable
		}
	}
	switch e.Code {
	case socks.GeneralFailure, socks.ConnectionRefused:
		return "the exit of Tor could not connect; the peer may be down, or no exit allows this port", unreachable
	case socks.HostUnreachable, socks.NetworkUnreachable:
		return "the exit of Tor does not know the name, or no way to its address", unreachable
	}
	return fmt.Sprintf("tor refused: %v", e.Code), []error{handlers.ErrProxyRefused}
}
