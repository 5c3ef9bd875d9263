package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/foolscap-go/foolscap/tub"
)

// messageOf is the text of an error as it is told: joined errors are in one
// line, and a failed connection is described as the commands' tables do it.
func messageOf(err error) string {
	text := err.Error()
	var inner []error
	switch err := err.(type) {
	case *tub.DialError:
		return dialMessage(err)
	case interface{ Unwrap() error }:
		inner = []error{err.Unwrap()}
	case interface{ Unwrap() []error }:
		inner = err.Unwrap()
		if text == errors.Join(inner...).Error() {
			var texts []string
			for _, part := range inner {
				texts = append(texts, messageOf(part))
			}
			return strings.Join(texts, "; ")
		}
	}
	for _, part := range inner {
		if part != nil && part.Error() != "" {
			text = strings.Replace(text, part.Error(), messageOf(part), 1)
		}
	}
	return text
}

// dialMessage tells the fate of every hint.
func dialMessage(err *tub.DialError) string {
	if len(err.Hints) == 0 {
		return err.Error()
	}
	text := "cannot connect to Tub " + err.Peer.Short()
	if err.Err != nil {
		text += ": " + messageOf(err.Err)
	}
	for _, h := range err.Hints {
		verb := "failed"
		if h.Err == nil {
			verb = "ended"
		}
		phase, why := fateOf(h)
		text += fmt.Sprintf("; %s %s in %s: %s", h.Hint, verb, phase, why)
	}
	return text
}
