package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

// phases are the times of the way to an object, in milliseconds; nil for a
// phase that was not reached or is left out by the transport.
type phases struct {
	Dial      *float64 `json:"dial_ms"`
	Plaintext *float64 `json:"plaintext_ms"`
	TLS       *float64 `json:"tls_ms"`
	Hello     *float64 `json:"hello_ms"`
	Decision  *float64 `json:"decision_ms"`
	Lookup    *float64 `json:"lookup_ms"`
	Total     *float64 `json:"total_ms"`
}

var phaseTitles = []any{
	number("DIAL"), number("PLAINTEXT"), number("TLS"), number("HELLO"), number("DECISION"), number("LOOKUP"), number("TOTAL"),
}

// times are the phases of a hint. total is how long all took, the look-up of
// the name included if the hint has led to a connection.
func times(h tub.HintStatus, total time.Duration) []time.Duration {
	lookup := time.Duration(0)
	if h.Won {
		lookup = total - h.Dialled
		for _, d := range h.Timings {
			lookup -= d
		}
	}
	t := h.Timings
	hello := t[negotiate.PhaseSlot] + t[negotiate.PhaseHello] // the wait for leave to say it is a part of it
	return []time.Duration{
		h.Dialled, t[negotiate.PhasePlaintext], t[negotiate.PhaseTLS], hello, t[negotiate.PhaseDecision], lookup, total,
	}
}

func phasesOf(all []time.Duration) phases {
	at := func(i int) *float64 {
		if all[i] <= 0 {
			return nil
		}
		ms := milliseconds(all[i])
		return &ms
	}
	return phases{at(0), at(1), at(2), at(3), at(4), at(5), at(6)}
}

// noFurther says what a hint waited for that was given up. If that is a phase of
// negotiation, it is told already.
func noFurther(h tub.HintStatus) string {
	if h.Text == "" || h.Phase == handlers.PhaseNegotiate {
		return "it did not get any further"
	}
	return fmt.Sprintf("it did not get any further than %q", h.Text)
}

// fateOf says in which phase a hint has failed or hangs, and why.
func fateOf(h tub.HintStatus) (phase, text string) {
	phase = string(h.Phase)
	switch {
	case h.Phase == "":
		phase = string(handlers.PhaseParse)
	case h.Phase == handlers.PhaseNegotiate && h.Text != "":
		phase = h.Text
	}
	if h.Err == nil {
		if h.Started.IsZero() {
			return phase, "it was not tried"
		}
		return phase, noFurther(h)
	}
	text = messageOf(h.Err)
	var dial *handlers.Error
	if errors.As(h.Err, &dial) {
		if dial.Phase != handlers.PhaseNegotiate {
			phase = string(dial.Phase)
		}
		text = dialAdvice(h, dial.Err)
	}
	switch {
	case errors.Is(h.Err, handlers.ErrNoHandler):
		text = fmt.Sprintf("no handler for hints of this type is built in, only for %s; ask for a FURL with other hints", transportTypes())
	case errors.Is(h.Err, negotiate.ErrUnknownTub):
		text += "; the FURL may be out of date"
	}
	return phase, text
}
