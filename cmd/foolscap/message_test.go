package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestMessagesAreOneLine(t *testing.T) {
	one, two, three := errors.New("one"), errors.New("two"), errors.New("three\nlines")
	dial := &tub.DialError{Peer: furl.TubID(someTub), Hints: []tub.HintStatus{
		{Hint: "tcp:a.example:1", Started: time.Now(), Err: &handlers.Error{Hint: "tcp:a.example:1", Phase: handlers.PhaseDial, Err: errors.Join(one, two)}},
		{Hint: "tcp:b.example:1", Started: time.Now(), Phase: handlers.PhaseNegotiate, Text: "tls"},
		{Hint: "tcp:c.example:1"},
		{Hint: "tor:d.example:1", Started: time.Now(), Phase: handlers.PhaseDial, Text: "bootstrap 0%"},
	}}
	const dialText = "cannot connect to Tub ka5xurmk; tcp:a.example:1 failed in dial: one; two; " +
		"tcp:b.example:1 ended in tls: it did not get any further; tcp:c.example:1 ended in parse: it was not tried; " +
		`tor:d.example:1 ended in dial: it did not get any further than "bootstrap 0%"`
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a simple one", one, "one"},
		{"joined ones", errors.Join(one, two), "one; two"},
		{"a single one that is joined", errors.Join(one), "one"},
		{"joined ones that are wrapped", fmt.Errorf("file: %w!", errors.Join(one, two)), "file: one; two!"},
		{"joined ones that are wrapped with another", fmt.Errorf("%w: %w", errors.Join(one, two), two), "one; two: two"},
		{"joined ones that are joined", errors.Join(errors.Join(one, two), one), "one; two; one"},
		{"one that has lines itself", errors.Join(one, three), "one; three\nlines"},
		{"a connection", dial, dialText},
		{"a connection in an argument", fmt.Errorf("argument 1: %w", dial), "argument 1: " + dialText},
		{"a connection that was not tried", &tub.DialError{Peer: furl.TubID(someTub), Err: one}, "cannot connect to Tub ka5xurmk: one"},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, messageOf(c.err)) })
	}
}
