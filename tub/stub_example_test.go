package tub_test

import (
	"context"
	"fmt"

	"github.com/foolscap-go/foolscap/tub"
)

// A Lamp is used in the same way wherever it is.
type Lamp interface {
	Switch(ctx context.Context, a Position) (string, error)
}

type Position struct{ On bool }

type deskLamp struct{ name string }

func (l *deskLamp) Switch(_ context.Context, a Position) (string, error) {
	return fmt.Sprintf("%s: %v", l.name, a.On), nil
}

// remoteLamp is a Lamp elsewhere.
type remoteLamp struct{ *tub.Ref }

func (l remoteLamp) Switch(ctx context.Context, a Position) (string, error) {
	return tub.Call[string](ctx, l.Ref, "switch", a.On)
}

var lampStub = tub.StubOf(
	func(r *tub.Ref) Lamp { return remoteLamp{r} },
	func(l Lamp) *tub.Object {
		return tub.NewObject(tub.Interface("RILamp.example.org"), tub.Value(l), tub.MethodsOf(l, nil))
	},
)

// With a Stub, values of an interface type go by reference: a method takes a local
// one, a remote one, and its own that comes home.
func ExampleStubOf() {
	ctx := context.Background()
	opts := &tub.Options{Stubs: []tub.Stub{lampStub}}
	server, client := listeningTub(opts), callingTub(opts)
	defer server.Close()
	defer client.Close()

	furl, err := server.Register(tub.NewObject(
		tub.Method("lamp", func(context.Context, tub.None) (Lamp, error) { return &deskLamp{"the server's"}, nil }),
		tub.Method("switch_on", func(ctx context.Context, a struct{ Lamp Lamp }) (string, error) {
			text, err := a.Lamp.Switch(ctx, Position{true})
			return fmt.Sprintf("%T, %s", a.Lamp, text), err
		}),
	))
	check(err)

	house := client.Ref(furl)
	theirs, err := tub.Call[Lamp](ctx, house, "lamp")
	check(err)
	text, err := theirs.Switch(ctx, Position{true})
	check(err)
	fmt.Println(text)
	for _, lamp := range []Lamp{theirs, &deskLamp{"the client's"}} {
		text, err := tub.Call[string](ctx, house, "switch_on", lamp)
		check(err)
		fmt.Println(text)
	}
	// Output:
	// the server's: true
	// *tub_test.deskLamp, the server's: true
	// tub_test.remoteLamp, the client's: true
}
