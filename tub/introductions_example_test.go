package tub_test

import (
	"context"
	"fmt"

	"github.com/foolscap-go/foolscap/tub"
)

// Alice gives Bob a reference to an object of Carol. Bob gets there by himself:
// what he calls does not pass through Alice.
func Example_introductions() {
	ctx := context.Background()
	alice, bob, carol := callingTub(), listeningTub(), listeningTub()
	defer alice.Close()
	defer bob.Close()
	defer carol.Close()

	atCarol, err := carol.Register(tub.NewObject(
		tub.Method("name", func(context.Context, tub.None) (string, error) { return "Carol", nil }),
	))
	check(err)
	atBob, err := bob.Register(tub.NewObject(
		tub.Method("meet", func(ctx context.Context, a struct{ Whom *tub.Ref }) (string, error) {
			name, err := tub.Call[string](ctx, a.Whom, "name")
			return "Hello, " + name, err
		}),
	))
	check(err)

	text, err := tub.Call[string](ctx, alice.Ref(atBob), "meet", alice.Ref(atCarol))
	check(err)
	fmt.Println(text)
	info, _ := bob.Info(carol.TubID())
	fmt.Println("Bob is connected to Carol:", info.Connected)
	// Output:
	// Hello, Carol
	// Bob is connected to Carol: true
}
