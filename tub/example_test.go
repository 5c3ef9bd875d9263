package tub_test

import (
	"context"
	"log"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

// listeningTub returns a Tub that listens on loopback. A program that wants
// to stay the same Tub uses tub.LoadOrCreateIdentity.
func listeningTub(opts ...*tub.Options) *tub.Tub {
	t := callingTub(opts...)
	l, err := tcp.Listen(context.Background(), "127.0.0.1:0")
	check(err)
	_, err = t.Listen(l)
	check(err)
	return t
}

// callingTub returns a Tub that can only call: it needs no listener.
func callingTub(opts ...*tub.Options) *tub.Tub {
	id, err := tub.NewIdentity()
	check(err)
	t, err := tub.New(id, append(opts, nil)[0])
	check(err)
	return t
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
