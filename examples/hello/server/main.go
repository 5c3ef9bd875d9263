// Command server publishes a calculator and prints its FURL.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

func main() {
	ctx := context.Background()
	id, err := tub.LoadOrCreateIdentity("server.pem", nil)
	check(err)
	t, err := tub.New(id, nil)
	check(err)
	l, err := tcp.Listen(ctx, "127.0.0.1:9900")
	check(err)
	_, err = t.Listen(l)
	check(err)
	calculator := tub.NewObject(
		tub.Method("add", func(ctx context.Context, a struct{ A, B int }) (int, error) {
			return a.A + a.B, nil
		}),
	)
	furl, err := t.RegisterFile("server.furl", calculator)
	check(err)
	fmt.Println(furl.Reveal()) // the capability: who has it can call the object
	select {}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
